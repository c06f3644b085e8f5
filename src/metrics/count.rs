//! Numbers that one thread writes and any thread reads.
//!
//! A data-plane thread counts a dozen things for every request. Adding to a number that threads
//! share is a locked instruction, and takes the number's cache line away from the other threads:
//! ten to a hundred nanoseconds each. A number of the thread's own is a load and a store. [`Shards`]
//! keeps those of all threads, so that a scrape can add them up.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

/// Goes up; wraps around at 2⁶⁴.
///
/// One thread at a time may write. What another one added at the same moment would be lost, nothing
/// worse: the numbers stay valid.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        let now = self.0.load(Ordering::Relaxed).wrapping_add(more);
        self.0.store(now, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down; one thread writes it, as for [`Count`].
///
/// Aligned to the pair of cache lines that a processor fetches together, as everything is that
/// lives in [`Shards`]: two threads' numbers never meet in one.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Level(Count);

impl Level {
    pub fn up(&self) {
        self.0.add(1);
    }

    pub fn down(&self) {
        self.0.add(u64::MAX);
    }

    pub(super) fn get(&self) -> i64 {
        self.0.get().cast_signed()
    }
}

/// What threads count apart. Shards are kept when their thread has ended: counters only go up.
#[derive(Debug)]
pub(super) struct Shards<T>(Mutex<Vec<Arc<T>>>);

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> Shards<T> {
    /// One for a thread that begins to count. It goes on with one that nobody holds any more, if
    /// there is such a one, so that there are never more than threads at a time.
    pub(super) fn take(&self) -> Arc<T> {
        let mut all = self.0.lock();
        // `get_mut` and not `strong_count`: it also sees all that the last holder has written
        if let Some(free) = all.iter_mut().find_map(|shard| {
            Arc::get_mut(shard)?;
            Some(Arc::clone(shard))
        }) {
            return free;
        }
        let new = Arc::new(T::default());
        all.push(Arc::clone(&new));
        new
    }

    pub(super) fn fold<A>(&self, start: A, mut add: impl FnMut(A, &T) -> A) -> A {
        let all = self.0.lock();
        all.iter().fold(start, |sum, shard| add(sum, shard))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_threads_count_apart_is_added_up_and_outlives_them() {
        let shards = Shards::<Level>::default();
        thread::scope(|scope| {
            let levels: Vec<_> = (0..4).map(|_| shards.take()).collect();
            for level in levels {
                scope.spawn(move || {
                    for _ in 0..1000 {
                        level.up();
                        level.up();
                        level.down();
                    }
                });
            }
        });
        let sum = |shards: &Shards<Level>| shards.fold(0, |sum, level| sum + level.get());
        assert_eq!(sum(&shards), 4000);
        shards.take().down();
        assert_eq!(sum(&shards), 3999);
        assert_eq!(
            shards.fold(0, |n, _| n + 1),
            4,
            "one of the four is taken over"
        );
    }

    #[test]
    fn one_thread_may_end_what_another_has_begun() {
        let shards = Shards::<Level>::default();
        let (one, other) = (shards.take(), shards.take());
        one.up();
        other.down();
        assert_eq!(shards.fold(0, |sum, level| sum + level.get()), 0);
    }
}
