//! The limit of requests under way, over all threads.
//!
//! One number that every request adds to and takes from would travel between the cores twice a
//! request. So threads take slots by the handful and keep a few that are free: there are never more
//! requests than the limit, and at most a sixteenth of it stands idle with other threads when one
//! thread refuses. Limits too small for that are exact.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The slots that no thread has.
#[derive(Debug)]
pub struct Limit {
    free: AtomicUsize,
    /// How many go to and from a thread at once.
    handful: usize,
}

impl Limit {
    /// At most `requests` under way on `threads` threads.
    pub fn new(requests: usize, threads: usize) -> Arc<Self> {
        Arc::new(Self {
            free: AtomicUsize::new(requests),
            handful: (requests / (32 * threads.max(1))).clamp(1, 64),
        })
    }

    /// For one thread.
    pub fn slots(self: &Arc<Self>) -> Slots {
        Slots {
            limit: Arc::clone(self),
            free: AtomicUsize::new(0),
        }
    }
}

/// One thread's slots.
#[derive(Debug)]
pub struct Slots {
    limit: Arc<Limit>,
    /// Written by this thread only, so that it need not be locked.
    free: AtomicUsize,
}

/// There is no free slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Slots {
    /// Takes one; it is to be given back.
    pub(super) fn take(&self) -> Result<(), Full> {
        let mut free = self.free.load(Ordering::Relaxed);
        if free == 0 {
            free = self.fetch()?;
        }
        self.free.store(free - 1, Ordering::Relaxed);
        Ok(())
    }

    /// A handful of the shared slots, or as many as there are.
    fn fetch(&self) -> Result<usize, Full> {
        let Limit { free, handful } = &*self.limit;
        let taken = free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
            (free > 0).then(|| free.saturating_sub(*handful))
        });
        taken.map(|free| free.min(*handful)).map_err(|_| Full)
    }

    pub(super) fn give_back(&self) {
        let handful = self.limit.handful;
        let mut free = self.free.load(Ordering::Relaxed) + 1;
        // as many are kept as let a thread come and go by one without asking for more
        if free > 2 * (handful - 1) {
            self.limit.free.fetch_add(handful, Ordering::Relaxed);
            free -= handful;
        }
        self.free.store(free, Ordering::Relaxed);
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let free = *self.free.get_mut();
        self.limit.free.fetch_add(free, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_limit_is_exact_whichever_thread_had_the_slots() {
        let limit = Limit::new(2, 2);
        let (one, other) = (limit.slots(), limit.slots());
        for _ in 0..3 {
            assert_eq!(
                (one.take(), one.take(), one.take()),
                (Ok(()), Ok(()), Err(Full))
            );
            assert_eq!(other.take(), Err(Full));
            one.give_back();
            assert_eq!((other.take(), other.take()), (Ok(()), Err(Full)));
            one.give_back();
            other.give_back();
        }
    }

    #[test]
    fn what_a_thread_leaves_is_there_for_the_others() {
        let limit = Limit::new(10_000, 2);
        let one = limit.slots();
        (0..5).for_each(|_| assert_eq!(one.take(), Ok(())));
        (0..5).for_each(|_| one.give_back());
        assert!(limit.free.load(Ordering::Relaxed) < 10_000);
        drop(one);
        assert_eq!(limit.free.load(Ordering::Relaxed), 10_000);
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_and_hardly_fewer(
            requests in 1_usize..5000, threads in 1_usize..9,
            steps in prop::collection::vec((0_usize..8, 1_usize..300, any::<bool>()), 0..60),
        ) {
            let limit = Limit::new(requests, threads);
            let slots: Vec<_> = (0..threads).map(|_| limit.slots()).collect();
            let mut held = vec![0_usize; threads];
            for (thread, times, takes) in steps {
                let thread = thread % threads;
                for _ in 0..times {
                    let under_way: usize = held.iter().sum();
                    if !takes {
                        if held[thread] > 0 {
                            slots[thread].give_back();
                            held[thread] -= 1;
                        }
                    } else if slots[thread].take().is_ok() {
                        held[thread] += 1;
                        prop_assert!(under_way < requests);
                    } else {
                        prop_assert!(under_way >= requests - requests / 16);
                    }
                }
            }
        }
    }
}
