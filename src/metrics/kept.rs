//! Connections to upstreams that wait for the next request: each pool says now and then how many it
//! has.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use super::{
    count::{Count, Shards},
    list,
    scrape::{Scraped, Value},
};

/// What one pool has; when it is dropped, it has nothing.
#[derive(Debug)]
pub struct KeptConnections(Arc<Counts>);

/// Written whole, by the pool's thread.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts {
    http1: Count,
    http2: Count,
}

impl KeptConnections {
    /// So many that speak HTTP/1.1 and are idle, and so many that speak HTTP/2.
    pub fn are(&self, http1: usize, http2: usize) {
        for (count, many) in [(&self.0.http1, http1), (&self.0.http2, http2)] {
            count.add((many as u64).wrapping_sub(count.get()));
        }
    }
}

impl Drop for KeptConnections {
    fn drop(&mut self) {
        self.are(0, 0);
    }
}

/// All pools, by upstream.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<BTreeMap<String, Shards<Counts>>>);

impl Kept {
    pub(super) fn of(&self, upstream: &str) -> KeptConnections {
        let mut all = self.0.lock();
        KeptConnections(all.entry(upstream.to_owned()).or_default().take())
    }

    pub(super) fn scrape(&self) -> Scraped {
        let mut scraped = Scraped::of(&list::UPSTREAM_CONNECTIONS_KEPT);
        for (upstream, pools) in self.0.lock().iter() {
            let sum = |of: fn(&Counts) -> &Count| {
                pools.fold(0_u64, |sum, pool| sum.wrapping_add(of(pool).get()))
            };
            for (protocol, many) in [
                ("http1", sum(|pool| &pool.http1)),
                ("http2", sum(|pool| &pool.http2)),
            ] {
                let labels = vec![upstream.clone(), protocol.to_owned()];
                scraped.push(labels, Value::Level(many.cast_signed()));
            }
        }
        scraped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(all: &Kept) -> Vec<(String, f64)> {
        let series = all.scrape().series.into_iter();
        let series = series.map(|one| (one.labels.join(" "), one.value.as_f64()));
        series.collect()
    }

    #[test]
    fn pools_of_one_upstream_are_added_up_and_one_that_is_gone_has_nothing() {
        let all = Kept::default();
        let (one, other) = (all.of("https://a"), all.of("https://a"));
        one.are(3, 0);
        one.are(2, 0);
        other.are(4, 1);
        let named = |http1, http2| {
            vec![
                ("https://a http1".to_owned(), http1),
                ("https://a http2".to_owned(), http2),
            ]
        };
        assert_eq!(kept(&all), named(6.0, 1.0));
        drop(other);
        assert_eq!(kept(&all), named(2.0, 0.0));
    }
}
