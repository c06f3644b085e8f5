//! What is counted of requests, by route: a set of counters for each route and thread.
//!
//! [`RouteMetrics`] is one thread's set, looked up when the thread starts. [`Routes`] knows all
//! sets, and adds them up when it is scraped. Failures are apart: their codes are many, most of them
//! are never seen, and they are not on the hot path.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{
    FailureLabels,
    count::{Count, Shards},
    histogram::{DURATIONS, Histogram, HistogramTotal},
    list,
    scrape::{Columns, Scraped, Value},
    value::{Counter, Family},
};

/// What requests on one route count. One thread uses it: see [`super::Metrics::route`].
#[derive(Debug)]
pub struct RouteMetrics {
    route: String,
    counts: Arc<Counts>,
    failures: Family<FailureLabels, Counter>,
}

/// Aligned as [`super::count::Level`] says.
#[derive(Debug)]
#[repr(align(128))]
struct Counts {
    requests: ByStatus,
    upstream_answers: ByStatus,
    request_duration: Histogram,
    upstream_duration: Histogram,
    received_bytes: Count,
    sent_bytes: Count,
    replays: [Count; AGAIN.len()],
    refused: [Count; REFUSALS.len()],
    reused: Count,
    connecting: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            requests: ByStatus::default(),
            upstream_answers: ByStatus::default(),
            request_duration: Histogram::new(&DURATIONS),
            upstream_duration: Histogram::new(&DURATIONS),
            received_bytes: Count::default(),
            sent_bytes: Count::default(),
            replays: Default::default(),
            refused: Default::default(),
            reused: Count::default(),
            connecting: Histogram::new(&DURATIONS),
        }
    }
}

impl RouteMetrics {
    /// A request has ended; `status` is what the caller saw, `None` if no answer had begun.
    pub fn finished(&self, status: Option<u16>, took: Duration) {
        self.counts.requests.add(status);
        self.counts.request_duration.observe(took);
    }

    /// The header of an upstream's answer has come.
    pub fn upstream_answered(&self, status: u16, took: Duration) {
        self.counts.upstream_answers.add(Some(status));
        self.counts.upstream_duration.observe(took);
    }

    /// Body bytes that have passed in both directions.
    pub fn passed(&self, received: u64, sent: u64) {
        self.counts.received_bytes.add(received);
        self.counts.sent_bytes.add(sent);
    }

    /// A request was sent again.
    pub fn replayed(&self, why: Again) {
        self.counts.replays[why as usize].add(1);
    }

    /// An answer with this status to a request with a token of ours is passed on.
    pub fn answered_to_ours(&self, status: u16) {
        if let Some(at) = REFUSALS.iter().position(|(refusal, _)| *refusal == status) {
            self.counts.refused[at].add(1);
        }
    }

    /// A request goes out on a connection that was kept.
    pub fn reused(&self) {
        self.counts.reused.add(1);
    }

    /// A new connection was made for a request.
    pub fn connected(&self, took: Duration) {
        self.counts.connecting.observe(took);
    }

    /// The proxy answered itself, with this code.
    pub fn failed(&self, code: &'static str) {
        let route = self.route.clone();
        self.failures
            .get_or_create(&FailureLabels { route, code })
            .inc();
    }
}

/// Why a request was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The upstream refused our token.
    NewToken,
    /// A connection that was kept had died.
    NewConnection,
}

/// The service does not take the token, or not for this.
const REFUSALS: [(u16, &str); 2] = [(401, "401"), (403, "403")];

const AGAIN: [&str; 2] = ["new_token", "new_connection"];

/// A counter for each class of status.
#[derive(Debug, Default)]
struct ByStatus([Count; CLASSES.len()]);

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl ByStatus {
    fn add(&self, status: Option<u16>) {
        let class = status.map_or(0, |status| usize::from(status / 100));
        // HTTP ends at 599; what an upstream invents beyond it is an error (RFC 9110 section 15)
        self.0[class.min(5)].add(1);
    }
}

/// The sets of all routes and threads.
#[derive(Debug, Default)]
pub(super) struct Routes(Mutex<BTreeMap<String, Shards<Counts>>>);

impl Routes {
    pub(super) fn route(
        &self,
        route: &str,
        failures: &Family<FailureLabels, Counter>,
    ) -> RouteMetrics {
        let mut all = self.0.lock();
        RouteMetrics {
            counts: all.entry(route.to_owned()).or_default().take(),
            failures: failures.clone(),
            route: route.to_owned(),
        }
    }

    /// All threads' counts, added up.
    pub(super) fn scrape(&self) -> Vec<Scraped> {
        let mut families = Columns::of(&[
            &list::REQUESTS,
            &list::UPSTREAM_ANSWERS,
            &list::REQUEST_DURATION,
            &list::UPSTREAM_DURATION,
            &list::RECEIVED_BYTES,
            &list::SENT_BYTES,
            &list::REPLAYS,
            &list::REFUSED_TOKENS,
            &list::UPSTREAM_CONNECTIONS_REUSED,
            &list::UPSTREAM_CONNECT_DURATION,
        ]);
        for (route, shards) in self.0.lock().iter() {
            let total = shards.fold(Total::default(), Total::plus);
            for (metric, numbers) in [
                (&list::REQUESTS, total.requests),
                (&list::UPSTREAM_ANSWERS, total.upstream_answers),
            ] {
                for (class, number) in CLASSES.iter().zip(numbers) {
                    let labels = vec![route.clone(), (*class).to_owned()];
                    families.push(metric, labels, Value::Count(number));
                }
            }
            for (reason, number) in AGAIN.iter().zip(total.replays) {
                let labels = vec![route.clone(), (*reason).to_owned()];
                families.push(&list::REPLAYS, labels, Value::Count(number));
            }
            for ((_, status), number) in REFUSALS.iter().zip(total.refused) {
                let labels = vec![route.clone(), (*status).to_owned()];
                families.push(&list::REFUSED_TOKENS, labels, Value::Count(number));
            }
            let Total {
                request_duration,
                upstream_duration,
                connecting,
                ..
            } = total;
            for (metric, value) in [
                (&list::REQUEST_DURATION, Value::Histogram(request_duration)),
                (
                    &list::UPSTREAM_DURATION,
                    Value::Histogram(upstream_duration),
                ),
                (&list::RECEIVED_BYTES, Value::Count(total.received_bytes)),
                (&list::SENT_BYTES, Value::Count(total.sent_bytes)),
                (
                    &list::UPSTREAM_CONNECTIONS_REUSED,
                    Value::Count(total.reused),
                ),
                (
                    &list::UPSTREAM_CONNECT_DURATION,
                    Value::Histogram(connecting),
                ),
            ] {
                families.push(metric, vec![route.clone()], value);
            }
        }
        families.into()
    }
}

/// All threads' counts of a route.
#[derive(Debug)]
struct Total {
    requests: [u64; CLASSES.len()],
    upstream_answers: [u64; CLASSES.len()],
    request_duration: HistogramTotal,
    upstream_duration: HistogramTotal,
    received_bytes: u64,
    sent_bytes: u64,
    replays: [u64; AGAIN.len()],
    refused: [u64; REFUSALS.len()],
    reused: u64,
    connecting: HistogramTotal,
}

impl Default for Total {
    fn default() -> Self {
        Self {
            requests: [0; CLASSES.len()],
            upstream_answers: [0; CLASSES.len()],
            request_duration: HistogramTotal::new(&DURATIONS),
            upstream_duration: HistogramTotal::new(&DURATIONS),
            received_bytes: 0,
            sent_bytes: 0,
            replays: [0; AGAIN.len()],
            refused: [0; REFUSALS.len()],
            reused: 0,
            connecting: HistogramTotal::new(&DURATIONS),
        }
    }
}

impl Total {
    fn plus(mut self, counts: &Counts) -> Self {
        let classes = |total: &mut [u64], more: &ByStatus| {
            for (total, count) in total.iter_mut().zip(&more.0) {
                *total += count.get();
            }
        };
        classes(&mut self.requests, &counts.requests);
        classes(&mut self.upstream_answers, &counts.upstream_answers);
        self.request_duration.add(&counts.request_duration);
        self.upstream_duration.add(&counts.upstream_duration);
        self.received_bytes += counts.received_bytes.get();
        self.sent_bytes += counts.sent_bytes.get();
        for (total, count) in self.replays.iter_mut().zip(&counts.replays) {
            *total += count.get();
        }
        for (total, count) in self.refused.iter_mut().zip(&counts.refused) {
            *total += count.get();
        }
        self.reused += counts.reused.get();
        self.connecting.add(&counts.connecting);
        self
    }
}
