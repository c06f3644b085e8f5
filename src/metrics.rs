//! Every metric, in one struct that is handed down; no statics.
//!
//! Names follow the Prometheus conventions (base units, `_total`). Labels come from the
//! configuration or from a fixed list, so the number of series is bounded by what an operator
//! wrote. What the hot path counts is looked up once, when the plan is built, and kept in
//! [`RouteMetrics`].

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

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
    /// `transient`, `fatal`, `invalid_grant`, `secret`.
    pub result: &'static str,
}

/// Labels of a finished request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub route: String,
    /// `1xx` … `5xx`.
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
    /// 401 answers to a token of ours that led to one more try.
    pub replays: Family<RouteLabels, Counter>,
    pub requests_in_flight: Gauge,
    pub connections: Gauge,
    pub panics: Counter,
    pub token_fetches: Family<FetchLabels, Counter>,
    /// Unix time at which the token in use ends.
    pub token_expires_at: Family<CredentialLabels, Gauge<f64, AtomicU64>>,
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
        let mut metrics = Self {
            registry: Registry::with_prefix("itwin_auth_proxy"),
            requests: Family::default(),
            upstream_answers: Family::default(),
            failures: Family::default(),
            request_duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.5, 12))
            }),
            replays: Family::default(),
            requests_in_flight: Gauge::default(),
            connections: Gauge::default(),
            panics: Counter::default(),
            token_fetches: Family::default(),
            token_expires_at: Family::default(),
            previous_secret_in_use: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
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
            "replays",
            "Requests sent again with a new token after a 401",
            self.replays.clone(),
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
            "token_fetches",
            "Token requests, by result",
            self.token_fetches.clone(),
        );
        r.register(
            "token_expires_at_seconds",
            "Unix time at which the token in use ends",
            self.token_expires_at.clone(),
        );
        r.register(
            "previous_secret_in_use",
            "1 while the previous of two secrets is the one that works",
            self.previous_secret_in_use.clone(),
        );
    }

    /// The OpenMetrics text of all of them.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // writing to a String cannot fail
        let _ = encode(&mut text, &self.registry);
        text
    }
}
