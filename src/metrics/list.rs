//! Every metric that the program has: the one place that says what it is called, counts and is for.
//!
//! What a scrape tells, `docs/metrics.md`, the dashboard and the alert rules are made of it. A
//! metric that is not here cannot be exposed; one that is here and is not exposed fails a test.
//!
//! Every label has few values: names of the configuration, or words that are listed here. None is
//! ever taken from a request, a token or an answer.

/// A metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// As the program calls it: without [`PREFIX`], and a counter without `_total`.
    pub name: &'static str,
    pub kind: Kind,
    pub part: Part,
    pub labels: &'static [Label],
    /// What it is, in a few words: the help of a scrape.
    pub help: &'static str,
    /// What an operator does with it, Markdown; empty if that needs no words.
    pub purpose: &'static str,
}

/// A label, and which values it has.
#[derive(Debug, PartialEq, Eq)]
pub struct Label {
    pub name: &'static str,
    /// Markdown; empty if it is a name of the configuration.
    pub values: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// Always 1: what it says is in its labels.
    Info,
}

/// What a metric belongs to: a heading of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Requests,
    Connections,
    Tokens,
    Checks,
    People,
    Memory,
    Configuration,
    Program,
    Process,
    Injector,
}

/// What all names but those of the process begin with.
pub const PREFIX: &str = "itwin_auth_proxy_";

impl Metric {
    /// What it is called for everybody else: with prefix, without what a format appends.
    pub fn family(&self) -> String {
        let prefix = if self.part == Part::Process {
            ""
        } else {
            PREFIX
        };
        format!("{prefix}{}", self.name)
    }

    /// What its series are called where Prometheus asks for them; a histogram's have
    /// `_bucket`, `_sum` or `_count` added.
    pub fn series(&self) -> String {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.family() + suffix
    }

    /// `seconds` or `bytes`, if it is measured in one.
    pub fn unit(&self) -> Option<&'static str> {
        let units = ["seconds", "bytes"].into_iter();
        let mut units = units.filter(|unit| self.name.ends_with(unit));
        units.next()
    }

    pub(super) fn label_names(&self) -> Vec<&'static str> {
        self.labels.iter().map(|label| label.name).collect()
    }
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

impl Part {
    pub(super) const ALL: [Self; 10] = [
        Self::Requests,
        Self::Connections,
        Self::Tokens,
        Self::Checks,
        Self::People,
        Self::Memory,
        Self::Configuration,
        Self::Program,
        Self::Process,
        Self::Injector,
    ];

    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Requests => "Requests",
            Self::Connections => "Connections",
            Self::Tokens => "Tokens that are fetched",
            Self::Checks => "Tokens that callers show",
            Self::People => "People who sign in",
            Self::Memory => "What is kept in memory",
            Self::Configuration => "The configuration",
            Self::Program => "The program",
            Self::Process => "The process",
            Self::Injector => "The injector",
        }
    }
}

/// A label whose values are names of the configuration.
const fn name(name: &'static str) -> Label {
    Label { name, values: "" }
}

const fn label(name: &'static str, values: &'static str) -> Label {
    Label { name, values }
}

/// Declares the metrics, and [`ALL`] of them in this order.
macro_rules! metrics {
    ($($id:ident: $part:ident $kind:ident $name:literal [$($label:expr),*] $help:literal $purpose:literal)*) => {
        $(pub static $id: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            part: Part::$part,
            labels: &[$($label),*],
            help: $help,
            purpose: $purpose,
        };)*

        /// All of them, in the order of the page.
        pub static ALL: &[&Metric] = &[$(&$id),*];
    };
}

const ROUTE: Label = name("route");
const CREDENTIAL: Label = name("credential");
const LISTENER: Label = label(
    "listener",
    "as it is bound; `interception`: connections that were opened",
);
const CACHE: Label = label(
    "cache",
    "`verified_tokens`: callers' tokens whose signature was right; `told_callers`: what services are told of them; `introspection`: what providers said of tokens; `exchanged_tokens`: tokens that were had for callers'; `assertions`: SAML assertions of security token services; `authority_documents`: metadata and keys of providers that are [stood in for](authority.md); `certificates`: those made for opened connections; lists, which are not looked up for a hit: `used_proofs` (DPoP), `revoked_tokens`",
);
const PROVIDER: Label = name("provider");
const ASKED: Label = label(
    "provider",
    "as it is named in the configuration; `NAME sts`: its security token service",
);
const SESSION: Label = name("session");
const SCOPES: Label = label("scopes", "as they are asked for");
const STATUS: Label = label(
    "status",
    "`1xx` … `5xx`; `none`: it went away before an answer",
);
const DIRECTION: Label = label("direction", "`received` of their callers, `sent` to them");

metrics! {
    REQUESTS: Requests Counter "requests" [ROUTE, STATUS]
        "Requests finished, by the status the caller saw"
        "Rate and share of errors: the first thing to look at."
    UPSTREAM_ANSWERS: Requests Counter "upstream_answers" [ROUTE, STATUS]
        "Answers of upstreams, by status"
        "A `5xx` here is the service's, one in `requests` alone is ours. A request that was sent again has two."
    FAILURES: Requests Counter "failures" [ROUTE, label("code", "the [error](troubleshooting.md) as the caller reads it")]
        "Answers that the proxy made itself, by code"
        "Refusals and faults by reason."
    REQUEST_DURATION: Requests Histogram "request_duration_seconds" [ROUTE]
        "From the header of the request to the end of the answer"
        "Latency that callers see."
    UPSTREAM_DURATION: Requests Histogram "upstream_duration_seconds" [ROUTE]
        "From sending the request to the header of the upstream's answer"
        "What the service takes: the rest of `request_duration_seconds` is the body and us."
    RECEIVED_BYTES: Requests Counter "received_bytes" [ROUTE]
        "Body bytes from callers" ""
    SENT_BYTES: Requests Counter "sent_bytes" [ROUTE]
        "Body bytes to callers" ""
    REPLAYS: Requests Counter "replays" [ROUTE, label("reason",
            "`new_token`: after a 401 for ours; `new_connection`: a kept one had died")]
        "Requests sent again, by reason"
        "More than a few with `new_token`: a service rejects tokens that the provider thinks good."
    REFUSED_TOKENS: Requests Counter "refused_tokens" [ROUTE, label("status", "`401`, `403`")]
        "Answers 401 and 403 of upstreams to requests with a token of ours, as callers got them"
        "All calls of a route: the service does not take that token, whatever the provider thinks of it. Some: what the token's owner may not do."
    REQUESTS_IN_FLIGHT: Requests Gauge "requests_in_flight" []
        "Requests under way"
        "Near `limits.requests`, callers are turned away."
    LISTENER_CONNECTIONS: Connections Counter "listener_connections" [LISTENER]
        "Connections accepted, by listener" ""
    LISTENER_TLS_FAILURES: Connections Counter "listener_tls_failures" [LISTENER]
        "Connections whose TLS handshake failed, by listener"
        "Callers that do not trust the certificate, or show none that is good."
    LISTENER_REQUESTS: Connections Counter "listener_requests" [LISTENER]
        "Requests, by listener" ""
    UPSTREAM_CONNECTIONS_REUSED: Connections Counter "upstream_connections_reused" [ROUTE]
        "Requests sent on a connection that was kept"
        "Its share of `upstream_answers` says how well the pool works; more `upstream.idle_connections` may raise it."
    UPSTREAM_CONNECT_DURATION: Connections Histogram "upstream_connect_duration_seconds" [ROUTE]
        "What a new connection to the upstream took: name, TCP and TLS"
        "Its count is that of new connections."
    UPSTREAM_CONNECTIONS_KEPT: Connections Gauge "upstream_connections_kept" [label("upstream",
            "its origin; `(passed)`: all hosts that no route names"), label("protocol",
            "`http1`: idle, each for one request at a time; `http2`: open, for all requests of a thread")]
        "Connections to upstreams that are kept for the next requests, of all threads"
        "0 with traffic: the service closes each, or `upstream.idle_connections` is 0."
    CONNECTIONS: Connections Gauge "connections" []
        "Connections of callers"
        "Near `limits.connections`, new ones wait."
    CONNECTIONS_HANDED_OVER: Connections Counter "connections_handed_over" []
        "Connections that another thread serves than the one that accepted them" ""
    REDIRECTED_CONNECTIONS: Connections Counter "redirected_connections" [label("course",
            "`opened` (TLS of a host of `interception`), `served` (plain HTTP to a host that a route names), `passed` on as they are, `refused`, `failed` (nobody is at the address that they were going to)")]
        "Connections to transparent listeners, by what became of them"
        "`refused` or `failed` after a change of the rules: they catch what they should not."
    TUNNELS: Connections Gauge "tunnels" []
        "Tunnels that are open: after CONNECT, an upgrade (WebSocket) or a redirection" ""
    TUNNEL_BYTES: Connections Counter "tunnel_bytes" [DIRECTION]
        "Bytes of tunnels that have ended" ""
    CREDENTIAL_REQUESTS: Tokens Counter "credential_requests" [CREDENTIAL, label("zone",
            "of the token's life: `fresh`, `ageing` (being renewed), `last_resort` (less left than the route wants, and no other to be had), `none` (there was none: 503)")]
        "Requests that need a credential's token, by the zone of the one they got"
        "`last_resort` warns before callers notice, `none` is what they notice."
    TOKEN_REMAINING_SERVED: Tokens Histogram "token_remaining_served_seconds" [CREDENTIAL]
        "Remaining life of tokens when they went with a request"
        "The low end must not reach the time that the longest call takes."
    TOKEN_FETCHES: Tokens Counter "token_fetches" [CREDENTIAL, label("result",
            "`ok`; no answer: `dns`, `connect`, `tls`, `timeout`, `http` (broken off); another one: `400`, `401`, `403`, `404`, `429`, `4xx`, `500`, `502`, `503`, `504`, `5xx`, `3xx`; `parse` (not understood), `discovery` (its metadata); what the provider said: `invalid_client`, `unauthorized_client`, `invalid_scope`, `unsupported_grant_type`, `invalid_grant`, `transient` (any other error); ours: `secret` (a file cannot be used), `signed_out`, `fatal`; `subject_refused`: the provider does not exchange a caller's token; `assertion`: the other credential whose token is shown (`jwt_bearer`) has none")]
        "Token requests, by result"
        "What the provider said does not pass by itself: the client, its secret or its scopes are wrong."
    TOKEN_LAST_SUCCESS: Tokens Gauge "token_last_success_timestamp_seconds" [CREDENTIAL, SCOPES]
        "Unix time at which a token was last fetched" ""
    TOKEN_REMAINING: Tokens Gauge "token_remaining_seconds" [CREDENTIAL, SCOPES]
        "What is left of the token in use; 0: it has ended"
        "Below a few minutes, renewals fail: callers get 503 when it ends."
    TOKEN_EXPIRY: Tokens Gauge "token_expiry_timestamp_seconds" [CREDENTIAL, SCOPES]
        "Unix time at which the token in use ends" ""
    PREVIOUS_SECRET_IN_USE: Tokens Gauge "previous_secret_in_use" [CREDENTIAL, SCOPES]
        "1 while the previous of two secrets is the one that works"
        "After a rotation: the new one does not work."
    TOKENS_HANDED_OUT: Tokens Counter "tokens_handed_out" [CREDENTIAL]
        "Tokens that callers were given themselves"
        "By the [endpoints that stand in](authority.md) for a provider."
    PROVIDER_EXCHANGES: Tokens Counter "provider_exchanges" [ASKED, label("result",
            "`2xx`, or as for `token_fetches`")]
        "Requests to providers: for metadata, tokens, keys, assertions and answers about tokens, and those passed on where we stand in"
        "Any provider that does not answer."
    PROVIDER_EXCHANGE_DURATION: Tokens Histogram "provider_exchange_duration_seconds" [ASKED]
        "What an exchange with a provider took, connecting included" ""
    PROVIDER_CLOCK_OFFSET: Tokens Gauge "provider_clock_offset_seconds" [ASKED]
        "How much later it is at the provider than here; 0: no difference that can be told"
        "From the `Date` of its answers. Past a minute one of the clocks is wrong, and tokens are misjudged."
    KEYS: Checks Gauge "keys" [PROVIDER]
        "Keys that callers' tokens are checked with"
        "0: no token of that provider is taken."
    KEYS_LAST_SUCCESS: Checks Gauge "keys_last_success_timestamp_seconds" [PROVIDER]
        "Unix time at which the keys were last fetched"
        "`time() - …` is their age; they are believed for `keys.max_stale`."
    KEY_FETCHES: Checks Counter "key_fetches" [PROVIDER, label("result", "`ok` or `failed`")]
        "Fetches of the keys that callers' tokens are checked with"
        "Failing, no new key is known: tokens signed with one are refused."
    INTROSPECTIONS: Checks Counter "introspections" [PROVIDER, label("result",
            "`active`, `inactive` (or not fit for use), `failed` (no answer), `unauthorized` (the provider refuses the introspection client)")]
        "Questions to providers about callers' tokens, by result"
        "`unauthorized`: somebody must act."
    REVOKED_TOKENS_REFUSED: Checks Counter "revoked_tokens_refused" []
        "Requests with a good token that is on the list of revoked ones" ""
    SESSIONS: People Gauge "sessions" [SESSION]
        "People who are signed in with a browser, as far as this process knows them" ""
    SIGN_INS: People Counter "sign_ins" [SESSION, label("result",
            "`begun`, and how they ended: `ok`, `denied` (by the person), `needs_person` (a hidden renewal was not possible), `provider`, `refused`, `exchange`, `id_token`, `response`, `not_begun`, `cookie`, `too_many`")]
        "Sign-ins that began, and how they ended" ""
    SESSIONS_ENDED: People Counter "sessions_ended" [SESSION, label("reason",
            "`signed_out`, `by_provider`, `idle`, `old`, `refused` (the provider renews no longer), `replaced` (by a new sign-in), `no_room`")]
        "Sessions that have ended, by reason" ""
    CACHE_REQUESTS: Memory Counter "cache_requests" [CACHE, label("result", "`hit` or `miss`")]
        "What was looked up in memory"
        "Each miss costs what its cache saves: a signature, a question to a provider, a certificate. Many mean many callers, or tokens that are used once."
    CACHE_ENTRIES: Memory Gauge "cache_entries" [CACHE]
        "Entries in memory, of all threads" ""
    CACHE_EVICTIONS: Memory Counter "cache_evictions" [CACHE]
        "Entries that had to make room for others before their time"
        "All the time: more is in use at once than there is room for."
    RELOADS: Configuration Counter "reloads" [label("result", "`applied`, `unchanged` or `refused`: the one before stays in use")]
        "Attempts to take another configuration, by result" ""
    LAST_RELOAD_SUCCESSFUL: Configuration Gauge "last_reload_successful" []
        "1 unless the last attempt to take another configuration was refused"
        "0: what is written is not what runs; `check`, the log and `/status` say what is wrong with it."
    CONFIGURATION_GENERATION: Configuration Gauge "configuration_generation" []
        "Which configuration since the start of the process is in use, the first being 1" ""
    CONFIGURATION_APPLIED: Configuration Gauge "configuration_applied_timestamp_seconds" []
        "Unix time since which the configuration is in use" ""
    ROTATIONS: Configuration Counter "rotations" [label("of", "whose it is: `credential agent`, `listener 0.0.0.0:8443`, `provider bentley`, `upstream https://api.bentley.com` …"), label("what", "`client_secret`, `certificate`, `client_certificate`, `assertion`, `assertion_key`, `password`, `ca`, `key` …"), label("result", "`applied`, or `refused`: what the files held before stays in use")]
        "Secrets, certificates and authorities that changed in their files while the program ran"
        "`refused`: mend the file, before what is in use ends."
    LOG_LINES_DROPPED: Program Counter "log_lines_dropped" []
        "Log lines dropped because their reader was too slow" ""
    AUDIT_LINES: Program Counter "audit_lines" [label("result", "`written`, or `lost`: there was no room for them")]
        "Lines of the audit stream, where there is one"
        "`lost`: the stream itself says how many are missing; `/status` says what keeps it."
    PANICS: Program Counter "panics" []
        "Panics caught at a connection"
        "Each is a bug."
    BUILD: Program Info "build" [label("version", "")]
        "What is running" ""
    PROCESS_START: Process Gauge "process_start_time_seconds" []
        "Unix time at which the process started" ""
    PROCESS_CPU: Process Counter "process_cpu_seconds" []
        "CPU time, user and system" ""
    PROCESS_MEMORY: Process Gauge "process_resident_memory_bytes" []
        "Memory in RAM" ""
    PROCESS_THREADS: Process Gauge "process_threads" []
        "Threads" ""
    PROCESS_OPEN_FDS: Process Gauge "process_open_fds" []
        "Open file descriptors" ""
    PROCESS_MAX_FDS: Process Gauge "process_max_fds" []
        "File descriptors that may be open" ""
    ADMISSIONS: Injector Counter "admissions" [label("result",
            "`injected`, `again` (there is a sidecar already), `untouched` (the pod does not ask), `refused` (what it asks for is wrong), `invalid` (not a question)")]
        "Questions of the API server, by result" ""
    WEBHOOK_CERTIFICATE_EXPIRY: Injector Gauge "webhook_certificate_expiry_timestamp_seconds" []
        "Unix time at which the webhook's certificate ends; 0: not known yet" ""
    WEBHOOK_CERTIFICATE_FAILURES: Injector Counter "webhook_certificate_failures" []
        "Failed attempts to keep the webhook's certificate, and its authority in the cluster, current" ""
    WEBHOOK_TLS_FAILURES: Injector Counter "webhook_tls_failures" []
        "Connections to the webhook that failed in the TLS handshake"
        "An API server that does not trust the certificate, or somebody else; one in twenty is logged."
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(names.insert(metric.family()), "{name} is there twice");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
            for end in ["_total", "_info", "_count", "_sum", "_bucket", "_created"] {
                assert!(!name.ends_with(end), "{name}: formats append {end}");
            }
            for scaled in ["_ms", "milli", "micro", "minutes", "hours", "kilo", "_mb"] {
                assert!(
                    !name.contains(scaled),
                    "{name}: seconds and bytes are the units"
                );
            }
            if metric.kind == Kind::Histogram {
                assert!(metric.unit().is_some(), "{name}: a histogram of what?");
            }
            assert!(
                !metric.help.ends_with('.') && !metric.help.contains('`'),
                "{name}"
            );
            assert!(
                metric.purpose.is_empty() || metric.purpose.ends_with('.'),
                "{name}"
            );
            for label in metric.label_names() {
                assert!(
                    !["le", "quantile", "job", "instance"].contains(&label),
                    "{name}"
                );
            }
        }
    }
}
