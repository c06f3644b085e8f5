//! Requests, counted where they are served: each thread has a desk of its own, so that counting one
//! takes no lock that another thread wants.
//!
//! Who was given which credential is counted by caller, credential and route, and told once an interval;
//! where every request is to be told, each waits in a list. Both are bounded: what has no room
//! is counted, and the stream says that it is missing. The newest refusals are kept in any case, for the
//! status page.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use super::{Every, Shared};
use crate::{caller::Caller, telemetry::RequestId};

/// Different callers, credentials and routes of one thread in an interval, and requests that wait.
const ENTRIES: usize = 16 * 1024;
/// From here on the writer is woken before its time.
const HURRY: usize = ENTRIES / 4;
/// Refusals that are kept for the status page.
pub(super) const REFUSALS: usize = 100;

/// A longer reason is cut.
const REASON: usize = 1024;

/// One thread's place to tell of requests.
#[derive(Debug)]
pub struct Desk {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
}

/// What waits there. Aligned so that no two threads' locks are in one pair of cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Lane {
    pub(super) tally: Mutex<Tally>,
    pub(super) refusals: Mutex<VecDeque<Refusal>>,
}

/// How a caller came to a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Given {
    /// It went with its request.
    Injected,
    /// The token itself was in the answer.
    HandedOut,
}

/// A request with which a credential was given.
#[derive(Debug, Clone, Copy)]
pub struct Use<'a> {
    /// Since 1970-01-01T00:00:00Z.
    pub at: Duration,
    pub caller: Option<&'a Caller>,
    pub credential: &'a str,
    pub route: Option<&'a Arc<str>>,
    pub given: Given,
    pub id: RequestId,
    pub status: Option<u16>,
}

/// A request that we answered with an error of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Since 1970-01-01T00:00:00Z.
    pub at: Duration,
    pub code: &'static str,
    pub status: u16,
    pub route: Option<Arc<str>>,
    pub caller: Option<Caller>,
    /// The chain of reasons; no query, no secret.
    pub reason: Box<str>,
    pub id: RequestId,
}

/// How often, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) times: u64,
    pub(super) first: Duration,
    pub(super) last: Duration,
}

/// Code, status, route and caller.
type Refused = (&'static str, u16, Option<Arc<str>>, Option<Caller>);

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) uses: Vec<Row>,
    pub(super) refusals: HashMap<Refused, Count>,
    pub(super) single: Vec<Single>,
    pub(super) entries: usize,
    pub(super) lost: u64,
}

/// One credential on one route.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) route: Option<Arc<str>>,
    pub(super) credential: Box<str>,
    pub(super) given: Given,
    pub(super) callers: HashMap<Option<Caller>, Count>,
}

/// One request, where each is told.
#[derive(Debug)]
pub(super) enum Single {
    Used {
        at: Duration,
        caller: Option<Caller>,
        credential: Box<str>,
        route: Option<Arc<str>>,
        given: Given,
        id: RequestId,
        status: Option<u16>,
    },
    Refused(Refusal),
}

impl Desk {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let lane = Arc::new(Lane::default());
        let mut lanes = shared.lanes.lock();
        // those of threads that have ended, once all is told that was counted there
        lanes.retain(|lane| Arc::strong_count(lane) > 1 || lane.tally.lock().entries > 0);
        lanes.push(Arc::clone(&lane));
        drop(lanes);
        Self {
            shared: Arc::clone(shared),
            lane,
        }
    }

    /// A credential was given.
    #[inline]
    pub fn used(&self, used: &Use<'_>) {
        if let Some(every) = self.shared.every {
            self.count(used, every);
        }
    }

    fn count(&self, used: &Use<'_>, every: Every) {
        let mut tally = self.lane.tally.lock();
        let before = tally.entries;
        match every {
            Every::Request if before < ENTRIES => tally.push(Single::Used {
                at: used.at,
                caller: used.caller.cloned(),
                credential: used.credential.into(),
                route: used.route.cloned(),
                given: used.given,
                id: used.id,
                status: used.status,
            }),
            Every::Request => tally.lost += 1,
            Every::Interval(_) => tally.count(used),
        }
        self.hurry(before, tally.entries);
    }

    /// We answered with an error of ours.
    pub fn refused(&self, mut refusal: Refusal) {
        if refusal.reason.len() > REASON {
            let mut reason = String::from(refusal.reason);
            let cut = (0..=REASON).rev().find(|at| reason.is_char_boundary(*at));
            reason.truncate(cut.unwrap_or_default());
            refusal.reason = reason.into();
        }
        if let Some(every) = self.shared.every.filter(|_| refusal.status < 500) {
            let mut tally = self.lane.tally.lock();
            let before = tally.entries;
            match every {
                Every::Request if before < ENTRIES => tally.push(Single::Refused(refusal.clone())),
                Every::Request => tally.lost += 1,
                Every::Interval(_) => tally.refuse(&refusal),
            }
            self.hurry(before, tally.entries);
        }
        let mut refusals = self.lane.refusals.lock();
        if refusals.len() == REFUSALS {
            refusals.pop_front();
        }
        refusals.push_back(refusal);
    }

    fn hurry(&self, before: usize, now: usize) {
        if before < HURRY && now >= HURRY {
            self.shared.hurry();
        }
    }
}

impl Tally {
    fn push(&mut self, single: Single) {
        self.single.push(single);
        self.entries += 1;
    }

    fn count(&mut self, used: &Use<'_>) {
        let found = self.uses.iter().position(|row| {
            row.given == used.given
                && same(row.route.as_ref(), used.route)
                && *row.credential == *used.credential
        });
        let at = found.unwrap_or(self.uses.len());
        if found.is_none() {
            self.uses.push(Row {
                route: used.route.cloned(),
                credential: used.credential.into(),
                given: used.given,
                callers: HashMap::new(),
            });
        }
        // a number is added to, or none: a caller's text is shared
        let caller = used.caller.cloned();
        if let Some(count) = self.uses[at].callers.get_mut(&caller) {
            count.again(used.at);
        } else if self.entries < ENTRIES {
            self.uses[at].callers.insert(caller, Count::once(used.at));
            self.entries += 1;
        } else {
            self.lost += 1;
        }
    }

    fn refuse(&mut self, refusal: &Refusal) {
        let key = (
            refusal.code,
            refusal.status,
            refusal.route.clone(),
            refusal.caller.clone(),
        );
        if let Some(count) = self.refusals.get_mut(&key) {
            count.again(refusal.at);
        } else if self.entries < ENTRIES {
            self.refusals.insert(key, Count::once(refusal.at));
            self.entries += 1;
        } else {
            self.lost += 1;
        }
    }
}

impl Count {
    pub(super) const fn once(at: Duration) -> Self {
        Self {
            times: 1,
            first: at,
            last: at,
        }
    }

    pub(super) fn again(&mut self, at: Duration) {
        self.times += 1;
        self.last = self.last.max(at);
    }
}

/// Whether it is the same route: nearly always the very same text.
fn same(one: Option<&Arc<str>>, other: Option<&Arc<str>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
        (None, None) => true,
        _ => false,
    }
}
