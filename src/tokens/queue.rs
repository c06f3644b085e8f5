//! Which fetch starts next: those that a request waits for before background renewals, each kind
//! in the order of arrival, so many at once over all keys, and one at a time per lane.
//!
//! A lane is something that two fetches must not use at the same time.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
};

use super::cell::Urgency;
use crate::config::Name;

/// What two fetches must not use at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// A refresh token that is rotated would be sent twice, and the provider would take that for
    /// theft.
    RefreshToken(PathBuf),
    /// Whoever comes second finds the assertion that the first one signed in for.
    SignIn(Name),
}

/// Fetches that wait for their turn, and those that have it.
#[derive(Debug)]
pub(super) struct Queue {
    slots: usize,
    arrivals: u64,
    waiting: BTreeMap<(Urgency, u64), Fetch>,
    running: HashMap<u64, Option<Lane>>,
}

#[derive(Debug)]
struct Fetch {
    key: u64,
    lane: Option<Lane>,
}

impl Queue {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots,
            arrivals: 0,
            waiting: BTreeMap::new(),
            running: HashMap::new(),
        }
    }

    pub(super) fn push(&mut self, key: u64, lane: Option<Lane>, urgency: Urgency) {
        self.arrivals += 1;
        self.waiting
            .insert((urgency, self.arrivals), Fetch { key, lane });
    }

    /// A request waits now for a fetch that was queued for the background.
    pub(super) fn hurry(&mut self, key: u64) {
        let found = self
            .waiting
            .iter()
            .find(|((urgency, _), fetch)| *urgency == Urgency::Background && fetch.key == key)
            .map(|(place, _)| *place);
        if let Some((_, arrival)) = found
            && let Some(fetch) = self.waiting.remove(&(Urgency::Background, arrival))
        {
            self.waiting.insert((Urgency::Request, arrival), fetch);
        }
    }

    /// The next that may start; it runs until [`Queue::finished`].
    pub(super) fn next(&mut self) -> Option<u64> {
        if self.running.len() >= self.slots {
            return None;
        }
        let busy: HashSet<&Lane> = self.running.values().flatten().collect();
        let place = self
            .waiting
            .iter()
            .find(|(_, fetch)| fetch.lane.as_ref().is_none_or(|lane| !busy.contains(lane)))
            .map(|(place, _)| *place)?;
        let fetch = self.waiting.remove(&place)?;
        self.running.insert(fetch.key, fetch.lane);
        Some(fetch.key)
    }

    pub(super) fn finished(&mut self, key: u64) {
        self.running.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_before_renewals_and_both_in_the_order_of_arrival() {
        let mut queue = Queue::new(9);
        queue.push(1, None, Urgency::Background);
        queue.push(2, None, Urgency::Request);
        queue.push(3, None, Urgency::Background);
        queue.push(4, None, Urgency::Request);
        queue.hurry(3);
        let order: Vec<u64> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(order, [2, 3, 4, 1]);
    }

    #[test]
    fn no_more_run_than_there_are_slots() {
        let mut queue = Queue::new(2);
        for key in 1..=3 {
            queue.push(key, None, Urgency::Request);
        }
        assert_eq!(
            (queue.next(), queue.next(), queue.next()),
            (Some(1), Some(2), None)
        );
        queue.finished(1);
        assert_eq!(queue.next(), Some(3));
    }

    #[test]
    fn two_fetches_never_use_one_refresh_token_at_once() {
        let mut queue = Queue::new(9);
        let file = || Some(Lane::RefreshToken("/run/refresh".into()));
        queue.push(1, file(), Urgency::Request);
        queue.push(2, file(), Urgency::Request);
        queue.push(3, None, Urgency::Background);
        assert_eq!(
            (queue.next(), queue.next(), queue.next()),
            (Some(1), Some(3), None)
        );
        queue.finished(1);
        assert_eq!(queue.next(), Some(2));
    }
}
