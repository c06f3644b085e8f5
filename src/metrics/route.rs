//! What is counted of requests, by route: a set of counters for each route and thread.
//!
//! [`RouteMetrics`] is one thread's set, looked up when the thread starts. [`Routes`] knows all
//! sets, and adds them up when it is scraped. Failures are apart: their codes are many, most of them
//! are never seen, and they are not on the hot path.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet},
    metrics::{MetricType, counter::Counter, family::Family},
};

use super::{
    FailureLabels, RequestLabels, RouteLabels,
    count::{Count, Durations, DurationsTotal, Shards},
};

/// What requests on one route count. One thread uses it: see [`super::Metrics::route`].
#[derive(Debug)]
pub struct RouteMetrics {
    route: String,
    counts: Arc<Counts>,
    failures: Family<FailureLabels, Counter>,
}

/// Aligned as [`super::count::Level`] says.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts {
    requests: ByStatus,
    upstream_answers: ByStatus,
    request_duration: Durations,
    upstream_duration: Durations,
    received_bytes: Count,
    sent_bytes: Count,
    replays: Count,
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

    /// A request was sent again with a new token.
    pub fn replayed(&self) {
        self.counts.replays.add(1);
    }

    /// The proxy answered itself, with this code.
    pub fn failed(&self, code: &'static str) {
        let route = self.route.clone();
        self.failures
            .get_or_create(&FailureLabels { route, code })
            .inc();
    }
}

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

/// The sets of all routes and threads. Clones share.
#[derive(Debug, Clone, Default)]
pub(super) struct Routes(Arc<Mutex<BTreeMap<String, Shards<Counts>>>>);

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

    fn totals(&self) -> Vec<(RouteLabels, Total)> {
        let all = self.0.lock();
        let total = |(route, shards): (&String, &Shards<Counts>)| {
            let route = route.clone();
            (
                RouteLabels { route },
                shards.fold(Total::default(), Total::plus),
            )
        };
        all.iter().map(total).collect()
    }
}

/// All threads' counts of a route.
#[derive(Debug, Default)]
struct Total {
    requests: [u64; CLASSES.len()],
    upstream_answers: [u64; CLASSES.len()],
    request_duration: DurationsTotal,
    upstream_duration: DurationsTotal,
    received_bytes: u64,
    sent_bytes: u64,
    replays: u64,
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
        self.replays += counts.replays.get();
        self
    }
}

impl Collector for Routes {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let totals = self.totals();
        if totals.is_empty() {
            return Ok(());
        }
        let mut families = Families { encoder, totals };
        families.by_status(
            "requests",
            "Requests finished, by the status the caller saw.",
            |total| &total.requests,
        )?;
        families.by_status(
            "upstream_answers",
            "Answers of upstreams, by status.",
            |total| &total.upstream_answers,
        )?;
        families.durations(
            "request_duration_seconds",
            "From the header of the request to the end of the answer.",
            |total| &total.request_duration,
        )?;
        families.durations(
            "upstream_duration_seconds",
            "From sending the request to the header of the upstream's answer.",
            |total| &total.upstream_duration,
        )?;
        families.counter("received_bytes", "Body bytes from callers.", |total| {
            total.received_bytes
        })?;
        families.counter("sent_bytes", "Body bytes to callers.", |total| {
            total.sent_bytes
        })?;
        families.counter(
            "replays",
            "Requests sent again with a new token after a 401.",
            |total| total.replays,
        )
    }
}

/// Writes one family after the other.
struct Families<'a> {
    encoder: DescriptorEncoder<'a>,
    totals: Vec<(RouteLabels, Total)>,
}

impl Families<'_> {
    fn counter(&mut self, name: &str, help: &str, of: impl Fn(&Total) -> u64) -> fmt::Result {
        let kind = MetricType::Counter;
        let mut family = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (labels, total) in &self.totals {
            count(&mut family, labels, of(total))?;
        }
        Ok(())
    }

    fn by_status(
        &mut self,
        name: &str,
        help: &str,
        of: impl Fn(&Total) -> &[u64; CLASSES.len()],
    ) -> fmt::Result {
        let kind = MetricType::Counter;
        let mut family = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (RouteLabels { route }, total) in &self.totals {
            for (status, number) in CLASSES.into_iter().zip(of(total)) {
                let route = route.clone();
                count(&mut family, &RequestLabels { route, status }, *number)?;
            }
        }
        Ok(())
    }

    fn durations(
        &mut self,
        name: &str,
        help: &str,
        of: impl Fn(&Total) -> &DurationsTotal,
    ) -> fmt::Result {
        let kind = MetricType::Histogram;
        let mut family = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (labels, total) in &self.totals {
            let took = of(total);
            family
                .encode_family(labels)?
                .encode_histogram::<NoLabelSet>(took.sum(), took.count(), &took.buckets(), None)?;
        }
        Ok(())
    }
}

fn count(family: &mut MetricEncoder, labels: &impl EncodeLabelSet, number: u64) -> fmt::Result {
    let mut series = family.encode_family(labels)?;
    series.encode_counter::<NoLabelSet, _, f64>(&number, None)
}
