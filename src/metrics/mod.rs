//! Every metric, in one struct that is handed down; no statics.
//!
//! Names follow the Prometheus conventions (base units, `_total`). Labels come from the
//! configuration or from a fixed list, so the number of series is bounded by what an operator
//! wrote. What the hot path counts, every thread counts apart ([`RouteMetrics`], [`Level`]); it is
//! added up when somebody looks.

mod count;
mod injector;
mod route;

use std::{collections::HashMap, fmt, sync::Arc, sync::atomic::AtomicU64};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{
        EncodeLabelSet, EncodeMetric, MetricEncoder,
        text::{encode_eof, encode_registry},
    },
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};

pub use self::{
    count::Level,
    injector::{AdmissionLabels, InjectorMetrics},
    route::RouteMetrics,
};
use self::{count::Shards, route::Routes};

use crate::clock::{Deadline, Moment};

/// Labels of a fetch of a provider's keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeyFetchLabels {
    pub provider: String,
    /// `ok` or `failed`.
    pub result: &'static str,
}

/// Labels of a question to a provider about a caller's token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct IntrospectionLabels {
    pub provider: String,
    /// `active`, `inactive`, `failed` or `unauthorized`.
    pub result: &'static str,
}

/// Labels of a token metric.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CredentialLabels {
    pub credential: String,
    /// The scope set, as it is sent.
    pub scopes: String,
}

/// Labels of a token that a caller was given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HandedOutLabels {
    pub credential: String,
}

/// Labels of the people of a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SessionLabels {
    pub session: String,
}

/// Labels of a sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SignInLabels {
    pub session: String,
    /// `begun`, `ok`, or why there was none.
    pub result: &'static str,
}

/// Labels of sessions that have ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SessionEndLabels {
    pub session: String,
    pub reason: &'static str,
}

/// Labels of a token fetch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FetchLabels {
    pub credential: String,
    /// `ok`, or the failure's class: `dns`, `connect`, `tls`, `timeout`, `http`, `parse`,
    /// `discovery`, `transient`, `fatal`, `invalid_grant`, `secret`,
    /// `subject_refused`, `signed_out`.
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

/// Labels of bytes that were passed on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DirectionLabels {
    /// `received` of callers, or `sent` to them.
    pub direction: &'static str,
}

/// Labels of a redirected connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RedirectedLabels {
    /// `opened`, `served`, `passed`, `refused` or `failed`.
    pub course: &'static str,
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
    routes: Routes,
    pub failures: Family<FailureLabels, Counter>,
    requests_in_flight: InFlight,
    /// Shared: a connection is opened more seldom than a request is made, and may be handed on.
    pub connections: Gauge,
    pub connections_handed_over: Counter,
    pub redirected_connections: Family<RedirectedLabels, Counter>,
    pub tunnels: Gauge,
    tunnel_bytes: Family<DirectionLabels, Counter>,
    pub panics: Counter,
    pub log_lines_dropped: Counter,
    pub token_fetches: Family<FetchLabels, Counter>,
    pub key_fetches: Family<KeyFetchLabels, Counter>,
    pub introspections: Family<IntrospectionLabels, Counter>,
    pub tokens_handed_out: Family<HandedOutLabels, Counter>,
    pub revoked_tokens_refused: Counter,
    /// People who are signed in.
    pub sessions: Family<SessionLabels, Gauge>,
    pub sign_ins: Family<SignInLabels, Counter>,
    pub sessions_ended: Family<SessionEndLabels, Counter>,
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
        let mut metrics = Self {
            registry: Registry::with_prefix(PREFIX),
            routes: Routes::default(),
            failures: Family::default(),
            requests_in_flight: InFlight::default(),
            connections: Gauge::default(),
            connections_handed_over: Counter::default(),
            redirected_connections: Family::default(),
            tunnels: Gauge::default(),
            tunnel_bytes: Family::default(),
            panics: Counter::default(),
            log_lines_dropped: Counter::default(),
            token_fetches: Family::default(),
            key_fetches: Family::default(),
            introspections: Family::default(),
            tokens_handed_out: Family::default(),
            revoked_tokens_refused: Counter::default(),
            sessions: Family::default(),
            sign_ins: Family::default(),
            sessions_ended: Family::default(),
            token_expiries: TokenExpiries::default(),
            previous_secret_in_use: Family::default(),
        };
        metrics.register_requests();
        metrics.register_program();
        metrics.register_tokens();
        metrics.register_people();
        metrics
    }

    /// Bytes that a tunnel passed on, once it has ended: `received` of its caller, or `sent` to it.
    pub fn tunnelled(&self, direction: &'static str, bytes: u64) {
        let labels = DirectionLabels { direction };
        self.tunnel_bytes.get_or_create(&labels).inc_by(bytes);
    }

    fn register_requests(&mut self) {
        let r = &mut self.registry;
        r.register_collector(Box::new(self.routes.clone()));
        r.register(
            "failures",
            "Answers that the proxy made itself, by code",
            self.failures.clone(),
        );
        r.register(
            "requests_in_flight",
            "Requests under way",
            self.requests_in_flight.clone(),
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
            "connections",
            "Connections of callers",
            self.connections.clone(),
        );
        r.register(
            "connections_handed_over",
            "Connections that another thread serves than the one that accepted them",
            self.connections_handed_over.clone(),
        );
        r.register(
            "redirected_connections",
            "Connections to transparent listeners, by what became of them",
            self.redirected_connections.clone(),
        );
        r.register(
            "tunnels",
            "Tunnels that are open: after CONNECT, an upgrade or a redirection",
            self.tunnels.clone(),
        );
        r.register(
            "tunnel_bytes",
            "Bytes of tunnels that have ended",
            self.tunnel_bytes.clone(),
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

    fn register_people(&mut self) {
        let r = &mut self.registry;
        r.register(
            "sessions",
            "People who are signed in with a browser",
            self.sessions.clone(),
        );
        r.register(
            "sign_ins",
            "Sign-ins that began, and how they ended",
            self.sign_ins.clone(),
        );
        r.register(
            "sessions_ended",
            "Sessions that have ended, by reason",
            self.sessions_ended.clone(),
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
            "key_fetches",
            "Fetches of providers' key sets, by result",
            self.key_fetches.clone(),
        );
        r.register(
            "introspections",
            "Questions to providers about callers' tokens, by result",
            self.introspections.clone(),
        );
        r.register(
            "tokens_handed_out",
            "Tokens that callers were given themselves",
            self.tokens_handed_out.clone(),
        );
        r.register(
            "revoked_tokens_refused",
            "Requests whose good token was on the list of those that are revoked",
            self.revoked_tokens_refused.clone(),
        );
        r.register(
            "previous_secret_in_use",
            "1 while the previous of two secrets is the one that works",
            self.previous_secret_in_use.clone(),
        );
    }

    /// What requests on a route count, for one thread: each thread asks once, before its first
    /// request. `none` is for requests that match no route.
    #[must_use]
    pub fn route(&self, route: &str) -> RouteMetrics {
        self.routes.route(route, &self.failures)
    }

    /// The requests that one thread has under way.
    #[must_use]
    pub fn requests_in_flight(&self) -> Arc<Level> {
        self.requests_in_flight.0.take()
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

/// Requests under way on all threads. Clones share.
#[derive(Debug, Clone, Default)]
struct InFlight(Arc<Shards<Level>>);

impl EncodeMetric for InFlight {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let sum = self.0.fold(0, |sum, level| sum + level.get());
        encoder.encode_gauge(&sum)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
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
    use std::time::Duration;

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

    #[test]
    fn what_threads_count_apart_is_one_number_in_a_scrape() {
        let metrics = Metrics::new();
        let (one, other) = (metrics.route("imodels"), metrics.route("imodels"));
        one.finished(Some(200), Duration::from_micros(80));
        other.finished(Some(200), Duration::from_millis(2));
        drop(other);
        let (here, there) = (metrics.requests_in_flight(), metrics.requests_in_flight());
        here.up();
        there.up();
        let text =
            metrics.open_metrics(Clock::for_tests(Duration::ZERO).now(), &Registry::default());
        for line in [
            "itwin_auth_proxy_requests_total{route=\"imodels\",status=\"2xx\"} 2",
            "itwin_auth_proxy_request_duration_seconds_sum{route=\"imodels\"} 0.00208",
            "itwin_auth_proxy_request_duration_seconds_bucket{le=\"0.0001\",route=\"imodels\"} 1",
            "itwin_auth_proxy_request_duration_seconds_bucket{le=\"0.0025\",route=\"imodels\"} 2",
            "itwin_auth_proxy_request_duration_seconds_bucket{le=\"+Inf\",route=\"imodels\"} 2",
            "itwin_auth_proxy_requests_in_flight 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        let types: Vec<_> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
        let mut distinct = types.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(
            distinct.len(),
            types.len(),
            "a family is described once: {types:?}"
        );
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
        let keys = KeyFetchLabels {
            provider: "p".into(),
            result: "ok",
        };
        metrics.key_fetches.get_or_create(&keys).inc();
        let asked = IntrospectionLabels {
            provider: "p".into(),
            result: "active",
        };
        metrics.introspections.get_or_create(&asked).inc();
        metrics.tunnelled("sent", 1);
        metrics.previous_secret_in_use.get_or_create(&labels).set(0);
        let expires = now.plus(Duration::ZERO);
        metrics.token_expiries.set(labels, expires);
        let text = metrics.open_metrics(now, &Registry::default());
        let page = include_str!("../../docs/metrics.md");
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
        assert_eq!(count, 23, "a new metric is to be shown here, too");
    }
}
