//! Which keys the worker has to look at, and when: only those whose time has come.
//!
//! It knows the monotonic clock alone. When the wall clock has moved by itself, all are looked at
//! once more: a clock that was set, or a machine that slept.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::clock::Moment;

/// Further ahead nothing is planned.
const FAR: Duration = Duration::from_secs(24 * 3600);
/// Clocks that differ by less run alike.
const DRIFT: Duration = Duration::from_secs(1);

/// Times at which keys are due.
#[derive(Debug)]
pub(super) struct Agenda {
    by_time: BTreeSet<(Instant, u64)>,
    by_key: HashMap<u64, Instant>,
    /// When the clocks were compared last, and found apart.
    set: Moment,
}

impl Agenda {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            by_time: BTreeSet::new(),
            by_key: HashMap::new(),
            set: now,
        }
    }

    /// The key is due `after` from now, and at no other time.
    pub(super) fn plan(&mut self, key: u64, after: Duration, now: Moment) {
        self.forget(key);
        let at = now.mono + after.min(FAR);
        self.by_key.insert(key, at);
        self.by_time.insert((at, key));
    }

    pub(super) fn forget(&mut self, key: u64) {
        if let Some(at) = self.by_key.remove(&key) {
            self.by_time.remove(&(at, key));
        }
    }

    /// Those that are due; each must be planned again.
    pub(super) fn due(&mut self, now: Moment) -> Vec<u64> {
        let ran = now.mono.saturating_duration_since(self.set.mono);
        if now.wall.abs_diff(self.set.wall.saturating_add(ran)) > DRIFT {
            self.set = now;
            self.by_key.clear();
            let all = std::mem::take(&mut self.by_time);
            return all.into_iter().map(|(_, key)| key).collect();
        }
        let mut due = Vec::new();
        while let Some((at, key)) = self.by_time.first().copied()
            && at <= now.mono
        {
            self.forget(key);
            due.push(key);
        }
        due
    }

    /// How long until the first is due.
    pub(super) fn pause(&self, now: Moment) -> Option<Duration> {
        let (at, _) = self.by_time.first()?;
        Some(at.saturating_duration_since(now.mono))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn only_those_are_looked_at_whose_time_has_come() {
        let clock = Clock::for_tests(Duration::from_secs(1_700_000_000));
        let mut agenda = Agenda::new(clock.now());
        for key in 0..50_000 {
            agenda.plan(key, MINUTE * 60, clock.now());
        }
        agenda.plan(7, MINUTE, clock.now());
        agenda.plan(8, MINUTE * 2, clock.now());
        agenda.forget(9);
        assert_eq!(agenda.pause(clock.now()), Some(MINUTE));
        assert!(agenda.due(clock.now()).is_empty());
        tokio::time::advance(MINUTE).await;
        assert_eq!(agenda.due(clock.now()), [7]);
        assert!(agenda.due(clock.now()).is_empty(), "once");
        assert_eq!(agenda.pause(clock.now()), Some(MINUTE));
        tokio::time::advance(MINUTE * 60).await;
        assert_eq!(agenda.due(clock.now()).len(), 49_998);
        assert_eq!(agenda.pause(clock.now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_looked_at_once_when_the_wall_clock_was_moved() {
        let clock = Clock::for_tests(Duration::from_secs(1_700_000_000));
        let mut agenda = Agenda::new(clock.now());
        for jump in [3_600_000, -7_200_000] {
            agenda.plan(1, MINUTE, clock.now());
            agenda.plan(2, MINUTE * 5, clock.now());
            clock.jump(jump);
            assert_eq!(agenda.due(clock.now()), [1, 2]);
            assert!(agenda.due(clock.now()).is_empty());
        }
    }
}
