//! Every metric, in one struct that is handed down; no statics.
//!
//! `list` says what there is. Labels come from the configuration or from a fixed list, so the number
//! of series is bounded by what an operator wrote. What the hot path counts, every thread counts
//! apart ([`RouteMetrics`], [`Level`]); it is added up when somebody looks.

pub mod alerts;
mod apart;
mod caches;
mod count;
pub mod dashboard;
mod histogram;
mod injector;
mod kept;
mod labels;
pub mod list;
mod panels;
pub mod protobuf;
mod provider;
mod query;
pub mod reference;
mod route;
mod scrape;
pub mod text;
mod value;

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use self::{
    apart::Named,
    caches::Caches,
    count::Shards,
    kept::Kept,
    provider::Providers,
    route::Routes,
    value::{Labels, Shown},
};
pub use self::{
    apart::{CredentialMetrics, ListenerMetrics, Zone},
    caches::{Cache, CacheMetrics, SharedCache},
    count::Level,
    histogram::{HistogramTotal, SCHEMA},
    injector::{AdmissionLabels, InjectorMetrics},
    kept::KeptConnections,
    labels::*,
    provider::{Exchanges, result_of},
    route::{Again, RouteMetrics},
    scrape::{Scraped, Series, Value},
    value::{Counter, Family, Gauge, Measure},
};
use crate::clock::{Clock, Deadline, Moment};

/// All metrics of the program.
#[derive(Debug, Default)]
pub struct Metrics {
    role: Role,
    routes: Routes,
    credentials: Named<CredentialMetrics>,
    listeners: Named<ListenerMetrics>,
    caches: Caches,
    kept: Kept,
    providers: Providers,
    pub failures: Family<FailureLabels, Counter>,
    requests_in_flight: Shards<Level>,
    /// Shared: a connection is opened more seldom than a request is made, and may be handed on.
    pub connections: Gauge,
    pub connections_handed_over: Counter,
    pub redirected_connections: Family<RedirectedLabels, Counter>,
    pub tunnels: Gauge,
    tunnel_bytes: Family<DirectionLabels, Counter>,
    pub panics: Counter,
    pub log_lines_dropped: Counter,
    pub audit_lines: Family<AuditLabels, Counter>,
    pub configuration: ConfigurationMetrics,
    pub token_fetches: Family<FetchLabels, Counter>,
    /// Unix time.
    pub token_last_success: Family<CredentialLabels, Measure>,
    pub keys: Family<ProviderLabels, Gauge>,
    /// Unix time.
    pub keys_last_success: Family<ProviderLabels, Measure>,
    pub key_fetches: Family<KeyFetchLabels, Counter>,
    pub rotations: Family<RotationLabels, Counter>,
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

/// Of the configuration that runs.
#[derive(Debug, Default)]
pub struct ConfigurationMetrics {
    pub reloads: Family<ReloadLabels, Counter>,
    /// 1 unless the last attempt was refused.
    pub last_successful: Gauge,
    pub generation: Gauge,
    /// Unix time.
    pub applied: Gauge,
}

/// What the program is: it shows no metrics of what it is not.
#[derive(Debug, Default)]
enum Role {
    #[default]
    Proxy,
    Injector(InjectorMetrics),
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of the injector from here on, in place of the proxy's.
    pub fn injector(&mut self) -> InjectorMetrics {
        let injector = InjectorMetrics::default();
        self.role = Role::Injector(injector.clone());
        injector
    }

    /// Bytes that a tunnel passed on, once it has ended: `received` of its caller, or `sent` to it.
    pub fn tunnelled(&self, direction: &'static str, bytes: u64) {
        let labels = DirectionLabels { direction };
        self.tunnel_bytes.get_or_create(&labels).inc_by(bytes);
    }

    /// What requests on a route count, for one thread: each thread asks once, before its first
    /// request. `none` is for requests that match no route.
    #[must_use]
    pub fn route(&self, route: &str) -> RouteMetrics {
        self.routes.route(route, &self.failures)
    }

    /// What requests count that need a credential's token; for one thread.
    #[must_use]
    pub fn credential(&self, credential: &str) -> Arc<CredentialMetrics> {
        self.credentials.take(credential)
    }

    /// What a listener's connections count; for one thread.
    #[must_use]
    pub fn listener(&self, listener: &str) -> Arc<ListenerMetrics> {
        self.listeners.take(listener)
    }

    /// How a memory is used that is one thread's.
    #[must_use]
    pub fn cache(&self, cache: Cache) -> CacheMetrics {
        self.caches.apart(cache)
    }

    /// How a memory is used that all threads share.
    #[must_use]
    pub fn shared_cache(&self, cache: Cache) -> SharedCache {
        self.caches.shared(cache)
    }

    /// What a pool of connections to an upstream keeps.
    #[must_use]
    pub fn kept_connections(&self, upstream: &str) -> KeptConnections {
        self.kept.of(upstream)
    }

    /// What exchanges with a provider count.
    #[must_use]
    pub fn provider(&self, provider: &str, clock: &Clock) -> Exchanges {
        self.providers.of(provider, clock)
    }

    /// What exchanges with its security token service count.
    #[must_use]
    pub fn sts_of(&self, provider: &str, clock: &Clock) -> Exchanges {
        // no name of the configuration has a space in it
        self.providers.of(&format!("{provider} sts"), clock)
    }

    /// How many seconds later it is at the provider than here, if that is known.
    #[must_use]
    pub fn clock_offset(&self, provider: &str) -> Option<f64> {
        self.providers.offset(provider)
    }

    /// The requests that one thread has under way.
    #[must_use]
    pub fn requests_in_flight(&self) -> Arc<Level> {
        self.requests_in_flight.take()
    }

    /// All of them at this time, but those of the process.
    #[must_use]
    pub fn scrape(&self, now: Moment) -> Vec<Scraped> {
        let mut all = match &self.role {
            Role::Proxy => self.scrape_proxy(now),
            Role::Injector(injector) => injector.scrape(),
        };
        let mut build = Scraped::of(&list::BUILD);
        build.push(vec![env!("CARGO_PKG_VERSION").to_owned()], Value::Level(1));
        all.extend([
            one(&list::PANICS, &self.panics),
            one(&list::LOG_LINES_DROPPED, &self.log_lines_dropped),
            family(&list::AUDIT_LINES, &self.audit_lines),
            build,
        ]);
        all
    }

    fn scrape_proxy(&self, now: Moment) -> Vec<Scraped> {
        let in_flight = self
            .requests_in_flight
            .fold(0, |sum, level| sum + level.get());
        let mut all = self.routes.scrape();
        all.extend(self.credentials.scrape());
        all.extend(self.listeners.scrape());
        all.extend(self.caches.scrape());
        all.extend(self.providers.scrape());
        all.extend([
            self.kept.scrape(),
            family(&list::FAILURES, &self.failures),
            Scraped::one(&list::REQUESTS_IN_FLIGHT, Value::Level(in_flight)),
            one(&list::CONNECTIONS, &self.connections),
            one(
                &list::CONNECTIONS_HANDED_OVER,
                &self.connections_handed_over,
            ),
            family(&list::REDIRECTED_CONNECTIONS, &self.redirected_connections),
            one(&list::TUNNELS, &self.tunnels),
            family(&list::TUNNEL_BYTES, &self.tunnel_bytes),
            family(&list::TOKEN_FETCHES, &self.token_fetches),
            family(&list::PREVIOUS_SECRET_IN_USE, &self.previous_secret_in_use),
            family(&list::TOKENS_HANDED_OUT, &self.tokens_handed_out),
            family(&list::TOKEN_LAST_SUCCESS, &self.token_last_success),
            family(&list::KEYS, &self.keys),
            family(&list::KEYS_LAST_SUCCESS, &self.keys_last_success),
            family(&list::KEY_FETCHES, &self.key_fetches),
            family(&list::INTROSPECTIONS, &self.introspections),
            one(&list::REVOKED_TOKENS_REFUSED, &self.revoked_tokens_refused),
            family(&list::ROTATIONS, &self.rotations),
            family(&list::RELOADS, &self.configuration.reloads),
            one(
                &list::LAST_RELOAD_SUCCESSFUL,
                &self.configuration.last_successful,
            ),
            one(
                &list::CONFIGURATION_GENERATION,
                &self.configuration.generation,
            ),
            one(&list::CONFIGURATION_APPLIED, &self.configuration.applied),
            family(&list::SESSIONS, &self.sessions),
            family(&list::SIGN_INS, &self.sign_ins),
            family(&list::SESSIONS_ENDED, &self.sessions_ended),
        ]);
        all.extend(self.token_expiries.scrape(now));
        all
    }
}

fn one(metric: &'static list::Metric, number: &impl Shown) -> Scraped {
    Scraped::one(metric, number.shown())
}

fn family<L: Labels, N: Shown>(metric: &'static list::Metric, family: &Family<L, N>) -> Scraped {
    let mut scraped = Scraped::of(metric);
    family.scrape(&mut scraped);
    scraped
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
    fn scrape(&self, now: Moment) -> [Scraped; 2] {
        let mut ends = Scraped::of(&list::TOKEN_EXPIRY);
        let mut left = Scraped::of(&list::TOKEN_REMAINING);
        for (labels, expires) in self.0.lock().iter() {
            let wall = expires.moment().wall.as_secs_f64();
            ends.push(labels.values(), Value::Measure(wall));
            let remaining = expires.remaining(now).as_secs_f64();
            left.push(labels.values(), Value::Measure(remaining));
        }
        [ends, left]
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

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
        route.replayed(Again::NewToken);
        route.failed("RouteNotFound");
        for status in [200, 401, 403, 403] {
            route.answered_to_ours(status);
        }
        let text = text::open_metrics(&metrics.scrape(Clock::for_tests(Duration::ZERO).now()));
        for line in [
            "itwin_auth_proxy_requests_total{route=\"imodels\",status=\"2xx\"} 1",
            "itwin_auth_proxy_requests_total{route=\"imodels\",status=\"none\"} 1",
            "itwin_auth_proxy_requests_total{route=\"imodels\",status=\"5xx\"} 0",
            "itwin_auth_proxy_upstream_answers_total{route=\"imodels\",status=\"5xx\"} 1",
            "itwin_auth_proxy_request_duration_seconds_count{route=\"imodels\"} 2",
            "itwin_auth_proxy_sent_bytes_total{route=\"imodels\"} 20",
            "itwin_auth_proxy_replays_total{route=\"imodels\",reason=\"new_token\"} 1",
            "itwin_auth_proxy_refused_tokens_total{route=\"imodels\",status=\"401\"} 1",
            "itwin_auth_proxy_refused_tokens_total{route=\"imodels\",status=\"403\"} 2",
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
        let text = text::open_metrics(&metrics.scrape(Clock::for_tests(Duration::ZERO).now()));
        for line in [
            "itwin_auth_proxy_requests_total{route=\"imodels\",status=\"2xx\"} 2",
            "itwin_auth_proxy_request_duration_seconds_sum{route=\"imodels\"} 0.00208",
            "itwin_auth_proxy_request_duration_seconds_bucket{route=\"imodels\",le=\"0.0001\"} 1",
            "itwin_auth_proxy_request_duration_seconds_bucket{route=\"imodels\",le=\"0.0025\"} 2",
            "itwin_auth_proxy_request_duration_seconds_bucket{route=\"imodels\",le=\"+Inf\"} 2",
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
        let text = text::open_metrics(&metrics.scrape(clock.now()));
        let of = "{credential=\"agent\",scopes=\"itwin-platform\"}";
        for line in [
            format!("itwin_auth_proxy_token_expiry_timestamp_seconds{of} 1003600.0\n"),
            format!("itwin_auth_proxy_token_remaining_seconds{of} 3000.0\n"),
        ] {
            assert!(text.contains(&line), "{line} in\n{text}");
        }
        metrics.token_expiries.remove(&labels);
        assert!(!text::open_metrics(&metrics.scrape(clock.now())).contains(of));
    }

    #[test]
    fn what_is_listed_is_exposed_and_nothing_else() {
        let now = Clock::for_tests(Duration::ZERO).now();
        let mut injector = Metrics::new();
        let _ = injector.injector();
        for (metrics, other) in [
            (Metrics::new(), list::Part::Injector),
            (injector, list::Part::Requests),
        ] {
            let scraped = metrics.scrape(now);
            let found: Vec<_> = scraped.iter().map(|s| s.metric.name).collect();
            let distinct: BTreeSet<_> = found.iter().copied().collect();
            assert_eq!(found.len(), distinct.len(), "one is there twice: {found:?}");
            let mine = |part| match other {
                list::Part::Injector => part != list::Part::Injector,
                _ => matches!(part, list::Part::Injector | list::Part::Program),
            };
            let listed = list::ALL
                .iter()
                .filter(|metric| mine(metric.part) && metric.part != list::Part::Process);
            let listed: BTreeSet<_> = listed.map(|metric| metric.name).collect();
            assert_eq!(
                distinct, listed,
                "the program on the left, the list on the right"
            );
        }
    }
}
