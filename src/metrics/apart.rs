//! What the data plane counts by anything else than a route: each thread for itself, as for routes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{
    count::{Count, Shards},
    histogram::{Histogram, HistogramTotal, LIVES},
    list,
    scrape::{Columns, Scraped, Value},
};

/// One thread's counts for each name.
#[derive(Debug)]
pub(super) struct Named<T>(Mutex<BTreeMap<String, Shards<T>>>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> Named<T> {
    pub(super) fn take(&self, name: &str) -> Arc<T> {
        self.0.lock().entry(name.to_owned()).or_default().take()
    }

    fn each(&self, mut see: impl FnMut(&str, &Shards<T>)) {
        for (name, shards) in self.0.lock().iter() {
            see(name, shards);
        }
    }
}

/// How old a token was that went with a request; see the zones of a token's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    Fresh,
    Ageing,
    LastResort,
    /// There was none: the request failed.
    None,
}

const ZONES: [&str; 4] = ["fresh", "ageing", "last_resort", "none"];

/// What requests that need a credential's token count; one thread.
#[derive(Debug)]
#[repr(align(128))]
pub struct CredentialMetrics {
    zones: [Count; ZONES.len()],
    remaining: Histogram,
}

impl Default for CredentialMetrics {
    fn default() -> Self {
        Self {
            zones: Default::default(),
            remaining: Histogram::new(&LIVES),
        }
    }
}

impl CredentialMetrics {
    /// A token of this zone, with so much of its life left, goes with a request.
    pub fn served(&self, zone: Zone, remaining: Duration) {
        self.zones[zone as usize].add(1);
        self.remaining.observe(remaining);
    }

    /// A request got none.
    pub fn missed(&self) {
        self.zones[Zone::None as usize].add(1);
    }
}

impl Named<CredentialMetrics> {
    pub(super) fn scrape(&self) -> Vec<Scraped> {
        let mut all = Columns::of(&[&list::CREDENTIAL_REQUESTS, &list::TOKEN_REMAINING_SERVED]);
        self.each(|name, shards| {
            let start = ([0; ZONES.len()], HistogramTotal::new(&LIVES));
            let (zones, remaining) = shards.fold(start, |(mut zones, mut total), counts| {
                for (sum, more) in zones.iter_mut().zip(&counts.zones) {
                    *sum += more.get();
                }
                total.add(&counts.remaining);
                (zones, total)
            });
            for (zone, number) in ZONES.iter().zip(zones) {
                let labels = vec![name.to_owned(), (*zone).to_owned()];
                all.push(&list::CREDENTIAL_REQUESTS, labels, Value::Count(number));
            }
            all.push(
                &list::TOKEN_REMAINING_SERVED,
                vec![name.to_owned()],
                Value::Histogram(remaining),
            );
        });
        all.into()
    }
}

/// What a listener's connections count; one thread.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ListenerMetrics {
    connections: Count,
    tls_failures: Count,
    requests: Count,
}

impl ListenerMetrics {
    /// A connection is served.
    pub fn connected(&self) {
        self.connections.add(1);
    }

    /// Its TLS handshake failed.
    pub fn tls_failed(&self) {
        self.tls_failures.add(1);
    }

    /// A request has come.
    pub fn requested(&self) {
        self.requests.add(1);
    }
}

impl Named<ListenerMetrics> {
    pub(super) fn scrape(&self) -> Vec<Scraped> {
        let mut all = Columns::of(&[
            &list::LISTENER_CONNECTIONS,
            &list::LISTENER_TLS_FAILURES,
            &list::LISTENER_REQUESTS,
        ]);
        self.each(|name, shards| {
            let sum = |of: fn(&ListenerMetrics) -> &Count| {
                shards.fold(0, |sum, counts| sum + of(counts).get())
            };
            for (metric, number) in [
                (&list::LISTENER_CONNECTIONS, sum(|one| &one.connections)),
                (&list::LISTENER_TLS_FAILURES, sum(|one| &one.tls_failures)),
                (&list::LISTENER_REQUESTS, sum(|one| &one.requests)),
            ] {
                all.push(metric, vec![name.to_owned()], Value::Count(number));
            }
        });
        all.into()
    }
}
