//! Numbers that one thread writes and any thread reads.
//!
//! A data-plane thread counts a dozen things for every request. Adding to a number that threads
//! share is a locked instruction, and takes the number's cache line away from the other threads:
//! ten to a hundred nanoseconds each. A number of the thread's own is a load and a store. [`Shards`]
//! keeps those of all threads, so that a scrape can add them up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
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

/// Upper ends of the buckets of a histogram of durations, in nanoseconds: from 100 µs, what a
/// loopback upstream takes, to a minute, in steps that a person thinks in.
const BOUNDS: [u64; 18] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// A histogram of durations; one thread writes it, as for [`Count`].
#[derive(Debug, Default)]
pub(super) struct Durations {
    /// The last is for what is longer than every bound.
    buckets: [Count; BOUNDS.len() + 1],
    /// In microseconds: nanoseconds would wrap around after 584 years, which ten thousand waiting
    /// requests live through in three weeks. A whole number, because sums of fractions are noisy.
    micros: Count,
}

impl Durations {
    pub(super) fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // from the low end: most requests are short, and their branches are well predicted
        let bucket = BOUNDS.iter().position(|bound| nanos <= *bound);
        self.buckets[bucket.unwrap_or(BOUNDS.len())].add(1);
        self.micros.add(nanos.saturating_add(500) / 1000);
    }
}

/// A histogram that has been added up.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct DurationsTotal {
    counts: [u64; BOUNDS.len() + 1],
    micros: u64,
}

impl DurationsTotal {
    pub(super) fn add(&mut self, durations: &Durations) {
        for (total, bucket) in self.counts.iter_mut().zip(&durations.buckets) {
            *total += bucket.get();
        }
        self.micros = self.micros.wrapping_add(durations.micros.get());
    }

    /// In seconds.
    pub(super) fn sum(&self) -> f64 {
        Duration::from_micros(self.micros).as_secs_f64()
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Upper ends in seconds, and how many were in each bucket alone.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let ends = BOUNDS.map(|bound| Duration::from_nanos(bound).as_secs_f64());
        let ends = ends.into_iter().chain([f64::INFINITY]);
        ends.zip(self.counts).collect()
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

    #[test]
    fn a_duration_is_in_the_bucket_whose_end_it_does_not_pass() {
        let durations = Durations::default();
        for took in [
            Duration::ZERO,
            Duration::from_micros(100),
            Duration::from_nanos(100_001),
            Duration::from_secs(60),
            Duration::from_nanos(60_000_000_001),
            Duration::MAX,
        ] {
            durations.observe(took);
        }
        let mut total = DurationsTotal::default();
        total.add(&durations);
        let filled: Vec<_> = total.buckets().into_iter().filter(|b| b.1 > 0).collect();
        assert_eq!(
            filled,
            [(0.0001, 2), (0.00025, 1), (60.0, 1), (f64::INFINITY, 2)]
        );
        assert_eq!(total.count(), 6);
    }
}
