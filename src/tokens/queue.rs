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
    /// The same, of somebody who signed in.
    Person(u64),
    /// Whoever comes second finds the assertion that the first one signed in for.
    SignIn(Name),
}

/// Fetches that wait for their turn, and those that have it.
#[derive(Debug)]
pub(super) struct Queue {
    slots: usize,
    arrivals: u64,
    waiting: BTreeMap<Place, Fetch>,
    places: HashMap<u64, Place>,
    running: HashMap<u64, Option<Lane>>,
    busy: HashSet<Lane>,
}

type Place = (Urgency, u64);

#[derive(Debug)]
struct Fetch {
    key: u64,
    lane: Option<Lane>,
}

/// People wait in a line of their own.
#[derive(Debug)]
pub(super) struct Queues {
    pub(super) programs: Queue,
    pub(super) peoples: Queue,
}

impl Queues {
    pub(super) fn push(&mut self, key: u64, lane: Option<Lane>, urgency: Urgency) {
        match lane {
            Some(Lane::Person(_)) => self.peoples.push(key, lane, urgency),
            _ => self.programs.push(key, lane, urgency),
        }
    }

    pub(super) fn hurry(&mut self, key: u64) {
        self.programs.hurry(key);
        self.peoples.hurry(key);
    }

    pub(super) fn next(&mut self) -> Option<u64> {
        self.programs.next().or_else(|| self.peoples.next())
    }

    pub(super) fn finished(&mut self, key: u64) {
        self.programs.finished(key);
        self.peoples.finished(key);
    }

    /// It waits no longer; if it runs, it runs on.
    pub(super) fn forget(&mut self, key: u64) {
        self.programs.forget(key);
        self.peoples.forget(key);
    }
}

impl Queue {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots,
            arrivals: 0,
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            running: HashMap::new(),
            busy: HashSet::new(),
        }
    }

    pub(super) fn push(&mut self, key: u64, lane: Option<Lane>, urgency: Urgency) {
        self.arrivals += 1;
        let place = (urgency, self.arrivals);
        self.waiting.insert(place, Fetch { key, lane });
        self.places.insert(key, place);
    }

    /// A request waits now for a fetch that was queued for the background.
    pub(super) fn hurry(&mut self, key: u64) {
        if let Some(place @ (Urgency::Background, arrival)) = self.places.get(&key).copied()
            && let Some(fetch) = self.waiting.remove(&place)
        {
            let place = (Urgency::Request, arrival);
            self.waiting.insert(place, fetch);
            self.places.insert(key, place);
        }
    }

    /// The next that may start; it runs until [`Queue::finished`].
    pub(super) fn next(&mut self) -> Option<u64> {
        if self.running.len() >= self.slots {
            return None;
        }
        let free = |fetch: &Fetch| {
            fetch
                .lane
                .as_ref()
                .is_none_or(|lane| !self.busy.contains(lane))
        };
        let place = self
            .waiting
            .iter()
            .find(|(_, fetch)| free(fetch))
            .map(|(place, _)| *place)?;
        let fetch = self.waiting.remove(&place)?;
        self.places.remove(&fetch.key);
        self.busy.extend(fetch.lane.clone());
        self.running.insert(fetch.key, fetch.lane);
        Some(fetch.key)
    }

    pub(super) fn finished(&mut self, key: u64) {
        if let Some(Some(lane)) = self.running.remove(&key) {
            self.busy.remove(&lane);
        }
    }

    pub(super) fn forget(&mut self, key: u64) {
        if let Some(place) = self.places.remove(&key) {
            self.waiting.remove(&place);
        }
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
