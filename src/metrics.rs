//! Every metric, in one struct that is handed down; no statics.
//!
//! Names follow the Prometheus conventions (base units, `_total`). Labels come from the
//! configuration or from a fixed list, so the number of series is bounded by what an operator
//! wrote. What the hot path counts is looked up once, when the plan is built, and kept in
//! [`RouteMetrics`].

use std::{collections::HashMap, sync::Arc, sync::atomic::AtomicU64, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::Registry,
};

use crate::clock::{Deadline, Moment};

/// Labels of a token metric.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CredentialLabels {
    pub credential: String,
    /// The scope set, as it is sent.
    pub scopes: String,
}

/// Labels of a token fetch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FetchLabels {
    pub credential: String,
    /// `ok`, or the failure's class: `dns`, `connect`, `tls`, `timeout`, `http`, `parse`,
    /// `discovery`, `transient`, `fatal`, `invalid_grant`, `secret`.
    pub result: &'static str,
}

/// Labels of a finished request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub route: String,
    /// `1xx` … `5xx`, or `none`: no answer had begun.
    pub status: &'static str,
}

/// Labels of a refusal or failure of our own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FailureLabels {
    pub route: String,
    /// The error's code, as the caller reads it.
    pub code: &'static str,
}

/// Labels of what has only a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    pub route: String,
}

/// All metrics of the program.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub requests: Family<RequestLabels, Counter>,
    pub upstream_answers: Family<RequestLabels, Counter>,
    pub failures: Family<FailureLabels, Counter>,
    pub request_duration: Family<RouteLabels, Histogram>,
    /// Until the header of the upstream's answer.
    pub upstream_duration: Family<RouteLabels, Histogram>,
    /// Body bytes from callers.
    pub received_bytes: Family<RouteLabels, Counter>,
    /// Body bytes to callers.
    pub sent_bytes: Family<RouteLabels, Counter>,
    /// 401 answers to a token of ours that led to one more try.
    pub replays: Family<RouteLabels, Counter>,
    pub requests_in_flight: Gauge,
    pub connections: Gauge,
    pub panics: Counter,
    pub log_lines_dropped: Counter,
    pub token_fetches: Family<FetchLabels, Counter>,
    pub token_expiries: TokenExpiries,
    /// 1 while the previous of two secrets is the one that works.
    pub previous_secret_in_use: Family<CredentialLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        // a millisecond, what a loopback upstream takes, to about a minute
        let durations = || Histogram::new(exponential_buckets(0.001, 2.5, 13));
        let mut metrics = Self {
            registry: Registry::with_prefix(PREFIX),
            requests: Family::default(),
            upstream_answers: Family::default(),
            failures: Family::default(),
            request_duration: Family::new_with_constructor(durations),
            upstream_duration: Family::new_with_constructor(durations),
            received_bytes: Family::default(),
            sent_bytes: Family::default(),
            replays: Family::default(),
            requests_in_flight: Gauge::default(),
            connections: Gauge::default(),
            panics: Counter::default(),
            log_lines_dropped: Counter::default(),
            token_fetches: Family::default(),
            token_expiries: TokenExpiries::default(),
            previous_secret_in_use: Family::default(),
        };
        metrics.register_requests();
        metrics.register_program();
        metrics.register_tokens();
        metrics
    }

    fn register_requests(&mut self) {
        let r = &mut self.registry;
        r.register(
            "requests",
            "Requests finished, by the status the caller saw",
            self.requests.clone(),
        );
        r.register(
            "upstream_answers",
            "Answers of upstreams, by status",
            self.upstream_answers.clone(),
        );
        r.register(
            "failures",
            "Answers that the proxy made itself, by code",
            self.failures.clone(),
        );
        r.register(
            "request_duration_seconds",
            "From the header of the request to the end of the answer",
            self.request_duration.clone(),
        );
        r.register(
            "upstream_duration_seconds",
            "From sending the request to the header of the upstream's answer",
            self.upstream_duration.clone(),
        );
        r.register(
            "received_bytes",
            "Body bytes from callers",
            self.received_bytes.clone(),
        );
        r.register(
            "sent_bytes",
            "Body bytes to callers",
            self.sent_bytes.clone(),
        );
        r.register(
            "replays",
            "Requests sent again with a new token after a 401",
            self.replays.clone(),
        );
    }

    fn register_program(&mut self) {
        let r = &mut self.registry;
        r.register(
            "build",
            "What is running",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        r.register(
            "requests_in_flight",
            "Requests under way",
            self.requests_in_flight.clone(),
        );
        r.register(
            "connections",
            "Connections of callers",
            self.connections.clone(),
        );
        r.register(
            "panics",
            "Panics caught at a connection; each is a bug",
            self.panics.clone(),
        );
        r.register(
            "log_lines_dropped",
            "Log lines dropped because their reader was too slow",
            self.log_lines_dropped.clone(),
        );
    }

    fn register_tokens(&mut self) {
        let r = &mut self.registry;
        r.register(
            "token_fetches",
            "Token requests, by result",
            self.token_fetches.clone(),
        );
        r.register(
            "previous_secret_in_use",
            "1 while the previous of two secrets is the one that works",
            self.previous_secret_in_use.clone(),
        );
    }

    /// What requests on a route count, looked up once; `none` is for those that match no route.
    #[must_use]
    pub fn route(&self, route: &str) -> RouteMetrics {
        let labels = RouteLabels {
            route: route.to_owned(),
        };
        RouteMetrics {
            requests: ByStatus::of(&self.requests, route),
            upstream_answers: ByStatus::of(&self.upstream_answers, route),
            request_duration: self.request_duration.get_or_create_owned(&labels),
            upstream_duration: self.upstream_duration.get_or_create_owned(&labels),
            received_bytes: self.received_bytes.get_or_create_owned(&labels),
            sent_bytes: self.sent_bytes.get_or_create_owned(&labels),
            replays: self.replays.get_or_create_owned(&labels),
            failures: self.failures.clone(),
            route: labels.route,
        }
    }

    /// All of them, and those of `more`, as OpenMetrics 1.0 text.
    #[must_use]
    pub fn open_metrics(&self, now: Moment, more: &Registry) -> String {
        let mut text = String::with_capacity(16 * 1024);
        // writing to a String cannot fail
        let _ = encode_registry(&mut text, &self.registry);
        let _ = encode_registry(&mut text, &self.token_expiries.registry(now));
        let _ = encode_registry(&mut text, more);
        let _ = encode_eof(&mut text);
        text
    }
}

const PREFIX: &str = "itwin_auth_proxy";

/// What requests on one route count. Every method touches counters that were looked up before,
/// but for [`RouteMetrics::failed`], which is not on the hot path.
#[derive(Debug, Clone)]
pub struct RouteMetrics {
    route: String,
    requests: ByStatus,
    upstream_answers: ByStatus,
    request_duration: Histogram,
    upstream_duration: Histogram,
    received_bytes: Counter,
    sent_bytes: Counter,
    replays: Counter,
    failures: Family<FailureLabels, Counter>,
}

impl RouteMetrics {
    /// A request has ended; `status` is what the caller saw, `None` if no answer had begun.
    pub fn finished(&self, status: Option<u16>, took: Duration) {
        self.requests.inc(status);
        self.request_duration.observe(took.as_secs_f64());
    }

    /// The header of an upstream's answer has come.
    pub fn upstream_answered(&self, status: u16, took: Duration) {
        self.upstream_answers.inc(Some(status));
        self.upstream_duration.observe(took.as_secs_f64());
    }

    /// Body bytes that have passed in both directions.
    pub fn passed(&self, received: u64, sent: u64) {
        self.received_bytes.inc_by(received);
        self.sent_bytes.inc_by(sent);
    }

    /// A request was sent again with a new token.
    pub fn replayed(&self) {
        self.replays.inc();
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
#[derive(Debug, Clone)]
struct ByStatus([Counter; 6]);

impl ByStatus {
    fn of(family: &Family<RequestLabels, Counter>, route: &str) -> Self {
        Self(["none", "1xx", "2xx", "3xx", "4xx", "5xx"].map(|status| {
            let route = route.to_owned();
            family.get_or_create_owned(&RequestLabels { route, status })
        }))
    }

    fn inc(&self, status: Option<u16>) {
        let class = status.map_or(0, |status| usize::from(status / 100));
        // HTTP ends at 599; what an upstream invents beyond it is an error (RFC 9110 section 15)
        self.0[class.min(5)].inc();
    }
}

/// When the tokens in use end. Clones share.
#[derive(Debug, Clone, Default)]
pub struct TokenExpiries(Arc<Mutex<HashMap<CredentialLabels, Deadline>>>);

impl TokenExpiries {
    /// The token in use for `labels` ends at `expires`.
    pub fn set(&self, labels: CredentialLabels, expires: Deadline) {
        self.0.lock().insert(labels, expires);
    }

    /// There is no token for `labels` any more.
    pub fn remove(&self, labels: &CredentialLabels) {
        self.0.lock().remove(labels);
    }

    /// The point in time for who computes, and what is left of it by both clocks for who looks.
    fn registry(&self, now: Moment) -> Registry {
        let ends = Family::<CredentialLabels, Gauge<f64, AtomicU64>>::default();
        let left = Family::<CredentialLabels, Gauge<f64, AtomicU64>>::default();
        for (labels, expires) in self.0.lock().iter() {
            let wall = expires.moment().wall;
            ends.get_or_create(labels).set(wall.as_secs_f64());
            let remaining = expires.remaining(now);
            left.get_or_create(labels).set(remaining.as_secs_f64());
        }
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register(
            "token_expiry_timestamp_seconds",
            "Unix time at which the token in use ends",
            ends,
        );
        registry.register(
            "token_remaining_seconds",
            "What is left of the token in use; 0: it has ended",
            left,
        );
        registry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_route_counts_under_its_name_and_shows_zeros_before_it_is_used() {
        let metrics = Metrics::new();
        let route = metrics.route("imodels");
        route.finished(Some(200), Duration::from_millis(3));
        route.finished(None, Duration::from_secs(1));
        route.upstream_answered(999, Duration::from_millis(2));
        route.passed(10, 20);
        route.replayed();
        route.failed("RouteNotFound");
        let text =
            metrics.open_metrics(Clock::for_tests(Duration::ZERO).now(), &Registry::default());
        for line in [
            "itwin_auth_proxy_requests_total{route=\"imodels\",status=\"2xx\"} 1",
            "itwin_auth_proxy_requests_total{route=\"imodels\",status=\"none\"} 1",
            "itwin_auth_proxy_requests_total{route=\"imodels\",status=\"5xx\"} 0",
            "itwin_auth_proxy_upstream_answers_total{route=\"imodels\",status=\"5xx\"} 1",
            "itwin_auth_proxy_request_duration_seconds_count{route=\"imodels\"} 2",
            "itwin_auth_proxy_sent_bytes_total{route=\"imodels\"} 20",
            "itwin_auth_proxy_replays_total{route=\"imodels\"} 1",
            "itwin_auth_proxy_failures_total{route=\"imodels\",code=\"RouteNotFound\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_shown_with_the_seconds_it_has_left() {
        let clock = Clock::for_tests(Duration::from_secs(1_000_000));
        let metrics = Metrics::new();
        let labels = CredentialLabels {
            credential: "agent".into(),
            scopes: "itwin-platform".into(),
        };
        let expires = clock.now().plus(Duration::from_secs(3600));
        metrics.token_expiries.set(labels.clone(), expires);
        clock.jump(600_000);
        let text = metrics.open_metrics(clock.now(), &Registry::default());
        let of = "{credential=\"agent\",scopes=\"itwin-platform\"}";
        for line in [
            format!("itwin_auth_proxy_token_expiry_timestamp_seconds{of} 1003600.0\n"),
            format!("itwin_auth_proxy_token_remaining_seconds{of} 3000.0\n"),
        ] {
            assert!(text.contains(&line), "{line} in\n{text}");
        }
        metrics.token_expiries.remove(&labels);
        assert!(
            !metrics
                .open_metrics(clock.now(), &Registry::default())
                .contains(of)
        );
    }

    #[test]
    fn every_metric_is_documented() {
        let metrics = Metrics::new();
        let now = Clock::for_tests(Duration::ZERO).now();
        // a family without a series is not shown
        metrics.route("r").failed("c");
        let labels = CredentialLabels {
            credential: "c".into(),
            scopes: "s".into(),
        };
        let fetch = FetchLabels {
            credential: "c".into(),
            result: "ok",
        };
        metrics.token_fetches.get_or_create(&fetch).inc();
        metrics.previous_secret_in_use.get_or_create(&labels).set(0);
        let expires = now.plus(Duration::ZERO);
        metrics.token_expiries.set(labels, expires);
        let text = metrics.open_metrics(now, &Registry::default());
        let page = include_str!("../docs/metrics.md");
        let mut count = 0;
        for line in text.lines() {
            let Some(metric) = line.strip_prefix("# TYPE itwin_auth_proxy_") else {
                continue;
            };
            let name = metric.split(' ').next().unwrap();
            let named =
                page.contains(&format!("`{name}`")) || page.contains(&format!("`{name}_info`"));
            assert!(named, "docs/metrics.md does not name `{name}`");
            count += 1;
        }
        assert_eq!(count, 17, "a new metric is to be shown here, too");
    }
}
