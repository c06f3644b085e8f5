//! Which thread serves a connection that was just accepted.
//!
//! With `SO_REUSEPORT` the kernel chooses a thread by a hash. That is fair to thousands, but of eight
//! connections that stay it may give seven to one thread. So each thread counts those it serves, and
//! hands a new one to the least busy when it has noticeably more itself. Nobody needs that among
//! thousands of short ones, where it would only cost time: how many are handed over in a second is
//! bounded.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Hand-overs that are free at once: the clients of a service that connect after a restart.
const BURST: u32 = 32;

/// Afterwards there is one in this time: fifty a second cost a thread less than 1 % of its time.
const EVERY: Duration = Duration::from_millis(20);

/// Connections of one listener that one thread serves. Aligned so that counting on one thread takes
/// no cache line from another.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Load(AtomicUsize);

/// A connection that counts for the thread that serves it, until it is dropped.
#[derive(Debug)]
pub struct Counted(Arc<Load>);

impl Counted {
    fn new(load: &Arc<Load>) -> Self {
        load.0.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How connections come to the threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// The kernel spreads them; we correct it.
    ByKernel,
    /// One thread accepts all.
    ByUs,
}

/// The view of one thread that accepts from a listener.
#[derive(Debug)]
pub struct Share {
    loads: Vec<Arc<Load>>,
    own: usize,
    /// The one that was looked at last.
    neighbour: usize,
    spread: Spread,
    credit: u32,
    /// When the credit last grew.
    grown: Option<Instant>,
}

impl Share {
    /// One for each of the threads of a listener, in their order.
    pub fn of_threads(threads: NonZeroUsize, spread: Spread) -> Vec<Self> {
        let loads: Vec<_> = (0..threads.get()).map(|_| Arc::default()).collect();
        let share = |own| Self {
            loads: loads.clone(),
            own,
            neighbour: own,
            spread,
            credit: BURST,
            grown: None,
        };
        (0..threads.get()).map(share).collect()
    }

    /// Decides about a new connection: the number of the thread that is to serve it, where it
    /// counts from now on. `now` is asked only if that may be another thread.
    pub fn take(&mut self, now: impl FnOnce() -> Instant) -> (usize, Counted) {
        let thread = self.choose(now);
        (thread, Counted::new(&self.loads[thread]))
    }

    /// Looks at one other thread, each time the next; only if that one is much less busy, at all.
    fn choose(&mut self, now: impl FnOnce() -> Instant) -> usize {
        let own = self.load(self.own);
        if own == 0 || self.loads.len() == 1 {
            return self.own;
        }
        self.neighbour = self.after(self.neighbour);
        if self.neighbour == self.own {
            self.neighbour = self.after(self.own);
        }
        if !is_much_more(own, self.load(self.neighbour)) {
            return self.own;
        }
        let least = (0..self.loads.len()).min_by_key(|thread| self.load(*thread));
        if self.spread == Spread::ByKernel && !self.pay(now()) {
            return self.own;
        }
        least.unwrap_or(self.own)
    }

    fn after(&self, thread: usize) -> usize {
        (thread + 1) % self.loads.len()
    }

    fn load(&self, thread: usize) -> usize {
        self.loads[thread].0.load(Ordering::Relaxed)
    }

    fn pay(&mut self, now: Instant) -> bool {
        let grown = *self.grown.get_or_insert(now);
        let periods = now.saturating_duration_since(grown).as_nanos() / EVERY.as_nanos();
        if periods > 0 {
            let more = u32::try_from(periods).unwrap_or(u32::MAX);
            self.credit = self.credit.saturating_add(more).min(BURST);
            self.grown = Some(now);
        }
        let left = self.credit.checked_sub(1);
        self.credit = left.unwrap_or(0);
        left.is_some()
    }
}

/// Whether a thread with `own` connections is busier than one with `other` by more than chance
/// among many: one of a few, an eighth of many.
fn is_much_more(own: usize, other: usize) -> bool {
    own >= other + (other / 8).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(threads: usize, spread: Spread) -> Vec<Share> {
        Share::of_threads(NonZeroUsize::new(threads).unwrap(), spread)
    }

    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn some_time() -> Instant {
        Instant::now()
    }

    fn loads(shares: &[Share]) -> Vec<usize> {
        (0..shares.len()).map(|at| shares[0].load(at)).collect()
    }

    proptest! {
        #[test]
        fn a_few_connections_are_spread_evenly_whatever_the_kernel_does(
            hashes in proptest::collection::vec(0_usize..1000, 0..64),
        ) {
            for (threads, uneven) in [(1, 0), (2, 1), (3, 2), (8, 8)] {
                let mut shares = shares(threads, Spread::ByKernel);
                let mut now = some_time();
                let all: Vec<_> = hashes
                    .iter()
                    .map(|hash| {
                        now += EVERY;
                        shares[hash % threads].take(|| now)
                    })
                    .collect();
                let loads = loads(&shares);
                prop_assert_eq!(loads.iter().sum::<usize>(), all.len());
                // of many threads, one looks at the others in turn
                let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
                prop_assert!(most - least <= uneven + most / 8, "{:?}", loads);
                drop(all);
                prop_assert!(shares[0].loads.iter().all(|load| load.0.load(Ordering::Relaxed) == 0));
            }
        }
    }

    #[test]
    fn eight_connections_that_one_thread_accepts_are_four_for_each_of_two() {
        for spread in [Spread::ByKernel, Spread::ByUs] {
            let mut shares = shares(2, spread);
            let all: Vec<_> = (0..8).map(|_| shares[0].take(some_time)).collect();
            assert_eq!(loads(&shares), [4, 4]);
            drop(all);
        }
    }

    #[test]
    fn a_thread_that_is_not_much_busier_keeps_what_it_accepts() {
        for (own, other, hands_over) in [
            (0, 0, false),
            (1, 0, true),
            (1, 1, false),
            (2, 1, true),
            (16, 16, false),
            (17, 16, false),
            (18, 16, true),
            (1124, 1000, false),
            (1125, 1000, true),
            (0, usize::MAX / 2, false),
        ] {
            assert_eq!(is_much_more(own, other), hands_over, "{own} and {other}");
        }
    }

    #[test]
    fn what_is_handed_over_in_a_second_is_bounded_where_the_kernel_spreads() {
        let begin = some_time();
        for (spread, most) in [(Spread::ByKernel, BURST + 101), (Spread::ByUs, 10_000)] {
            let mut shares = shares(2, spread);
            let long = shares[0].take(|| begin);
            let handed_over = (0..10_000_u32)
                .filter(|at| shares[0].take(|| begin + EVERY * (at / 100)).0 == 1)
                .count();
            assert!(handed_over <= most as usize, "{handed_over}");
            assert!(handed_over > most as usize / 2, "{handed_over}");
            drop(long);
        }
    }
}
