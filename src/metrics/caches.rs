//! What is kept in memory, so that nobody has to ask or compute again: how much there is, how often
//! it helped, and how often it had to make room.
//!
//! A cache that each thread has for itself counts apart ([`CacheMetrics`]), as requests do. One that
//! all threads share counts in one place ([`SharedCache`]), and is asked how much it holds when
//! somebody looks.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use super::{
    count::{Count, Shards},
    list,
    scrape::{Columns, Scraped, Value},
    value::Counter,
};

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cache {
    VerifiedTokens,
    ToldCallers,
    Introspection,
    ExchangedTokens,
    Assertions,
    AuthorityDocuments,
    Certificates,
    UsedProofs,
    RevokedTokens,
}

impl Cache {
    #[cfg(test)]
    pub(super) const ALL: [Self; 9] = [
        Self::VerifiedTokens,
        Self::ToldCallers,
        Self::Introspection,
        Self::ExchangedTokens,
        Self::Assertions,
        Self::AuthorityDocuments,
        Self::Certificates,
        Self::UsedProofs,
        Self::RevokedTokens,
    ];

    /// What it is called in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::VerifiedTokens => "verified_tokens",
            Self::ToldCallers => "told_callers",
            Self::Introspection => "introspection",
            Self::ExchangedTokens => "exchanged_tokens",
            Self::Assertions => "assertions",
            Self::AuthorityDocuments => "authority_documents",
            Self::Certificates => "certificates",
            Self::UsedProofs => "used_proofs",
            Self::RevokedTokens => "revoked_tokens",
        }
    }

    /// What is found in a list is a refusal, and counted as one; nothing leaves it before its time.
    fn is_list(self) -> bool {
        matches!(self, Self::UsedProofs | Self::RevokedTokens)
    }
}

/// How one thread's memory is used; when it is dropped, it holds nothing.
#[derive(Debug, Default)]
pub struct CacheMetrics(Arc<Counts>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts {
    hits: Count,
    misses: Count,
    evicted: Count,
    /// Written whole, by the one thread.
    entries: Count,
}

impl CacheMetrics {
    pub fn hit(&self) {
        self.0.hits.add(1);
    }

    pub fn missed(&self) {
        self.0.misses.add(1);
    }

    /// So many had to make room.
    pub fn evicted(&self, entries: usize) {
        self.0.evicted.add(entries as u64);
    }

    /// It holds so many now.
    pub fn holds(&self, entries: usize) {
        let now = self.0.entries.get();
        self.0.entries.add((entries as u64).wrapping_sub(now));
    }
}

impl Drop for CacheMetrics {
    fn drop(&mut self) {
        self.holds(0);
    }
}

/// How a memory is used that all threads share. Clones share.
#[derive(Debug, Clone, Default)]
pub struct SharedCache {
    hits: Counter,
    misses: Counter,
    evicted: Counter,
    holders: Arc<Mutex<Vec<Holder>>>,
}

/// `None`: it is gone.
struct Holder(Box<dyn Fn() -> Option<u64> + Send>);

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Holder")
    }
}

impl SharedCache {
    /// What was looked for was there, or not.
    pub fn looked<T>(&self, found: &Option<T>) {
        match found {
            Some(_) => self.hits.inc(),
            None => self.misses.inc(),
        }
    }

    /// One had to make room.
    pub fn evicted(&self) {
        self.evicted.inc();
    }

    /// From now on until it is dropped, `entries` of `holder` count as well.
    pub fn held_by<T: Send + Sync + 'static>(
        &self,
        holder: &Arc<T>,
        entries: impl Fn(&T) -> u64 + Send + 'static,
    ) {
        let holder: Weak<T> = Arc::downgrade(holder);
        let holder = Holder(Box::new(move || holder.upgrade().map(|one| entries(&one))));
        let mut all = self.holders.lock();
        all.retain(|one| (one.0)().is_some());
        all.push(holder);
    }

    fn entries(&self) -> u64 {
        let all = self.holders.lock();
        all.iter().filter_map(|one| (one.0)()).sum()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Caches {
    apart: Mutex<BTreeMap<Cache, Shards<Counts>>>,
    shared: Mutex<BTreeMap<Cache, SharedCache>>,
}

impl Caches {
    pub(super) fn apart(&self, cache: Cache) -> CacheMetrics {
        CacheMetrics(self.apart.lock().entry(cache).or_default().take())
    }

    pub(super) fn shared(&self, cache: Cache) -> SharedCache {
        self.shared.lock().entry(cache).or_default().clone()
    }

    pub(super) fn scrape(&self) -> Vec<Scraped> {
        let mut totals: BTreeMap<Cache, Total> = BTreeMap::new();
        for (cache, shards) in self.apart.lock().iter() {
            let total = shards.fold(Total::default(), Total::plus);
            totals.insert(*cache, total);
        }
        for (cache, shared) in self.shared.lock().iter() {
            let total = Total {
                hits: shared.hits.get(),
                misses: shared.misses.get(),
                evicted: shared.evicted.get(),
                entries: shared.entries(),
            };
            totals.insert(*cache, total);
        }
        let mut all = Columns::of(&[
            &list::CACHE_REQUESTS,
            &list::CACHE_ENTRIES,
            &list::CACHE_EVICTIONS,
        ]);
        for (cache, total) in totals {
            let name = || cache.name().to_owned();
            let entries = Value::Level(total.entries.cast_signed());
            all.push(&list::CACHE_ENTRIES, vec![name()], entries);
            if cache.is_list() {
                continue;
            }
            for (result, number) in [("hit", total.hits), ("miss", total.misses)] {
                let labels = vec![name(), result.to_owned()];
                all.push(&list::CACHE_REQUESTS, labels, Value::Count(number));
            }
            let evicted = Value::Count(total.evicted);
            all.push(&list::CACHE_EVICTIONS, vec![name()], evicted);
        }
        all.into()
    }
}

#[derive(Debug, Default)]
struct Total {
    hits: u64,
    misses: u64,
    evicted: u64,
    entries: u64,
}

impl Total {
    fn plus(self, counts: &Counts) -> Self {
        Self {
            hits: self.hits + counts.hits.get(),
            misses: self.misses + counts.misses.get(),
            evicted: self.evicted + counts.evicted.get(),
            entries: self.entries.wrapping_add(counts.entries.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::text;

    fn lines(caches: &Caches) -> Vec<String> {
        let text = text::prometheus(&caches.scrape());
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.replace("itwin_auth_proxy_cache_", ""))
            .collect()
    }

    #[test]
    fn what_threads_and_all_of_them_keep_is_counted_under_its_name() {
        let caches = Caches::default();
        let (one, other) = (
            caches.apart(Cache::VerifiedTokens),
            caches.apart(Cache::VerifiedTokens),
        );
        one.missed();
        one.holds(7);
        one.evicted(2);
        other.hit();
        other.holds(3);
        let kept = Arc::new(Mutex::new(vec![1, 2]));
        let shared = caches.shared(Cache::Introspection);
        shared.held_by(&kept, |kept| kept.lock().len() as u64);
        shared.looked(&Some(()));
        shared.looked(&None::<()>);
        kept.lock().pop();
        let list = caches.shared(Cache::RevokedTokens);
        list.held_by(&kept, |_| 5);
        assert_eq!(
            lines(&caches),
            [
                "requests_total{cache=\"verified_tokens\",result=\"hit\"} 1",
                "requests_total{cache=\"verified_tokens\",result=\"miss\"} 1",
                "requests_total{cache=\"introspection\",result=\"hit\"} 1",
                "requests_total{cache=\"introspection\",result=\"miss\"} 1",
                "entries{cache=\"verified_tokens\"} 10",
                "entries{cache=\"introspection\"} 1",
                "entries{cache=\"revoked_tokens\"} 5",
                "evictions_total{cache=\"verified_tokens\"} 2",
                "evictions_total{cache=\"introspection\"} 0",
            ]
        );
    }

    #[test]
    fn what_is_gone_holds_nothing_and_its_counts_stay() {
        let caches = Caches::default();
        let thread = caches.apart(Cache::VerifiedTokens);
        thread.hit();
        thread.holds(7);
        drop(thread);
        let kept = Arc::new(());
        caches.shared(Cache::UsedProofs).held_by(&kept, |()| 9);
        drop(kept);
        assert_eq!(
            lines(&caches),
            [
                "requests_total{cache=\"verified_tokens\",result=\"hit\"} 1",
                "requests_total{cache=\"verified_tokens\",result=\"miss\"} 0",
                "entries{cache=\"verified_tokens\"} 0",
                "entries{cache=\"used_proofs\"} 0",
                "evictions_total{cache=\"verified_tokens\"} 0",
            ]
        );
    }

    #[test]
    fn the_list_says_what_each_of_them_keeps() {
        let said = list::CACHE_ENTRIES.labels[0].values;
        for cache in Cache::ALL {
            assert!(said.contains(&format!("`{}`", cache.name())), "{cache:?}");
        }
    }
}
