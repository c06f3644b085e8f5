//! Field values that are made already, so that a token that was seen before costs a lookup.
//!
//! Each data-plane thread has its own. There are two generations: when the young one is full, it
//! takes the place of the old one, and what is asked for again moves over. What is never asked for
//! again is so forgotten by the second time.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::Told;
use crate::{metrics::CacheMetrics, verify::Verified};

/// Tokens of one generation; as many as are remembered as verified.
const MOST: usize = 4096;
/// Octets of one generation, the claims that are kept alive included.
const MOST_OCTETS: usize = 8 << 20;

/// See the module.
#[derive(Debug)]
pub(in crate::proxy) struct Memory {
    /// Never contended: it belongs to one thread, but is shared between that thread's tasks.
    generations: Mutex<Generations>,
    counts: CacheMetrics,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Key, Arc<Told>>,
    old: HashMap<Key, Arc<Told>>,
    octets: usize,
}

/// Who tells, and the address of what was verified, which is kept with the value.
type Key = (usize, usize);

impl Memory {
    /// Nothing yet.
    pub(in crate::proxy) fn counting(counts: CacheMetrics) -> Self {
        Self {
            generations: Mutex::default(),
            counts,
        }
    }

    /// What `number` tells of this token: what is kept if it is `good`, otherwise what `make` makes.
    pub(super) fn told(
        &self,
        number: usize,
        verified: &Arc<Verified>,
        good: impl Fn(&Told) -> bool,
        make: impl FnOnce() -> Told,
    ) -> Arc<Told> {
        let key = (number, Arc::as_ptr(verified).addr());
        let mut generations = self.generations.lock();
        if let Some(told) = generations.young.get(&key)
            && good(told)
        {
            self.counts.hit();
            return Arc::clone(told);
        }
        let old = generations.old.remove(&key).filter(|told| good(told));
        let told = if let Some(old) = old {
            self.counts.hit();
            old
        } else {
            self.counts.missed();
            Arc::new(make())
        };
        self.counts.evicted(generations.put(key, &told));
        self.counts
            .holds(generations.young.len() + generations.old.len());
        told
    }
}

impl Generations {
    /// How many had to make room for it.
    fn put(&mut self, key: Key, told: &Arc<Told>) -> usize {
        let mut evicted = 0;
        if self.young.len() == MOST || self.octets > MOST_OCTETS {
            let gone = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            evicted = gone.len();
            self.octets = 0;
        }
        self.octets += told.size();
        if let Some(before) = self.young.insert(key, Arc::clone(told)) {
            self.octets -= before.size();
        }
        evicted
    }
}
