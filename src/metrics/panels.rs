//! What the dashboard shows: panels in rows, from left to right and top to bottom in the order of a
//! person's questions.

use super::{list as m, query::Query};

/// One picture.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) kind: &'static str,
    pub(super) width: u64,
    /// Each with its legend.
    pub(super) queries: &'static [(Query, &'static str)],
}

/// Panels under a heading.
pub(super) struct Row(pub(super) &'static str, pub(super) &'static [Panel]);

macro_rules! lines {
    ($title:literal, $unit:literal, $queries:expr $(,)?) => {
        Panel {
            title: $title,
            unit: $unit,
            kind: "timeseries",
            width: 8,
            queries: $queries,
        }
    };
}

macro_rules! number {
    ($title:literal, $unit:literal, $queries:expr $(,)?) => {
        Panel {
            title: $title,
            unit: $unit,
            kind: "stat",
            width: 4,
            queries: $queries,
        }
    };
}

pub(super) const ROWS: &[Row] = &[
    Row(
        "At a glance",
        &[
            number!(
                "Requests",
                "reqps",
                &[(Query("sum(rate(%[$__rate_interval]))", &[&m::REQUESTS]), "")],
            ),
            number!(
                "Answered 5xx",
                "percentunit",
                &[(
                    Query(
                        r#"sum(rate(%{status="5xx"}[$__rate_interval])) / sum(rate(%[$__rate_interval]))"#,
                        &[&m::REQUESTS, &m::REQUESTS],
                    ),
                    "",
                )],
            ),
            number!(
                "Shortest token",
                "s",
                &[(
                    Query("min by (credential) (%)", &[&m::TOKEN_REMAINING]),
                    "{{credential}}",
                )],
            ),
            number!(
                "Without token",
                "reqps",
                &[(
                    Query(
                        r#"sum(rate(%{zone="none"}[$__rate_interval]))"#,
                        &[&m::CREDENTIAL_REQUESTS],
                    ),
                    "",
                )],
            ),
            number!(
                "Clock",
                "s",
                &[(
                    Query("max by (provider) (%)", &[&m::PROVIDER_CLOCK_OFFSET]),
                    "{{provider}}",
                )],
            ),
            number!(
                "Configuration",
                "none",
                &[
                    (
                        Query("max(%)", &[&m::CONFIGURATION_GENERATION]),
                        "generation"
                    ),
                    (
                        Query("min(%)", &[&m::LAST_RELOAD_SUCCESSFUL]),
                        "last reload"
                    ),
                ],
            ),
        ],
    ),
    Row(
        "Requests",
        &[
            lines!(
                "By status",
                "reqps",
                &[(
                    Query(
                        "sum by (status) (rate(%[$__rate_interval]))",
                        &[&m::REQUESTS]
                    ),
                    "{{status}}",
                )],
            ),
            lines!(
                "By route",
                "reqps",
                &[(
                    Query(
                        "sum by (route) (rate(%[$__rate_interval]))",
                        &[&m::REQUESTS]
                    ),
                    "{{route}}",
                )],
            ),
            lines!(
                "Refusals and failures of ours",
                "reqps",
                &[(
                    Query(
                        "sum by (route, code) (rate(%[$__rate_interval]))",
                        &[&m::FAILURES],
                    ),
                    "{{route}} {{code}}",
                )],
            ),
            lines!(
                "Latency that callers see",
                "s",
                &[
                    (
                        Query(
                            "histogram_quantile(0.5, sum by (route, le) (rate(%_bucket[$__rate_interval])))",
                            &[&m::REQUEST_DURATION],
                        ),
                        "{{route}} p50",
                    ),
                    (
                        Query(
                            "histogram_quantile(0.99, sum by (route, le) (rate(%_bucket[$__rate_interval])))",
                            &[&m::REQUEST_DURATION],
                        ),
                        "{{route}} p99",
                    ),
                ],
            ),
            lines!(
                "Latency of the services",
                "s",
                &[
                    (
                        Query(
                            "histogram_quantile(0.5, sum by (route, le) (rate(%_bucket[$__rate_interval])))",
                            &[&m::UPSTREAM_DURATION],
                        ),
                        "{{route}} p50",
                    ),
                    (
                        Query(
                            "histogram_quantile(0.99, sum by (route, le) (rate(%_bucket[$__rate_interval])))",
                            &[&m::UPSTREAM_DURATION],
                        ),
                        "{{route}} p99",
                    ),
                ],
            ),
            lines!(
                "Answers of the services",
                "reqps",
                &[(
                    Query(
                        "sum by (route, status) (rate(%[$__rate_interval]))",
                        &[&m::UPSTREAM_ANSWERS],
                    ),
                    "{{route}} {{status}}",
                )],
            ),
            lines!(
                "Sent again",
                "reqps",
                &[(
                    Query(
                        "sum by (route, reason) (rate(%[$__rate_interval]))",
                        &[&m::REPLAYS],
                    ),
                    "{{route}} {{reason}}",
                )],
            ),
            lines!(
                "Bodies",
                "Bps",
                &[
                    (
                        Query(
                            "sum by (route) (rate(%[$__rate_interval]))",
                            &[&m::RECEIVED_BYTES],
                        ),
                        "{{route}} received",
                    ),
                    (
                        Query(
                            "sum by (route) (rate(%[$__rate_interval]))",
                            &[&m::SENT_BYTES]
                        ),
                        "{{route}} sent",
                    ),
                ],
            ),
            lines!(
                "Under way",
                "none",
                &[(Query("sum(%)", &[&m::REQUESTS_IN_FLIGHT]), "requests")],
            ),
        ],
    ),
    Row(
        "Credentials and providers",
        &[
            lines!(
                "Remaining life of tokens in use",
                "s",
                &[(
                    Query("min by (credential, scopes) (%)", &[&m::TOKEN_REMAINING]),
                    "{{credential}} {{scopes}}",
                )],
            ),
            lines!(
                "Requests by zone of their token's life",
                "reqps",
                &[(
                    Query(
                        "sum by (credential, zone) (rate(%[$__rate_interval]))",
                        &[&m::CREDENTIAL_REQUESTS],
                    ),
                    "{{credential}} {{zone}}",
                )],
            ),
            lines!(
                "Remaining life of tokens that were sent",
                "s",
                &[(
                    Query(
                        "histogram_quantile(0.01, sum by (credential, le) (rate(%_bucket[$__rate_interval])))",
                        &[&m::TOKEN_REMAINING_SERVED],
                    ),
                    "{{credential}} p1",
                )],
            ),
            lines!(
                "Fetches of tokens",
                "none",
                &[(
                    Query(
                        "sum by (credential, result) (increase(%[$__rate_interval]))",
                        &[&m::TOKEN_FETCHES],
                    ),
                    "{{credential}} {{result}}",
                )],
            ),
            lines!(
                "Since a token was fetched",
                "s",
                &[(
                    Query(
                        "time() - max by (credential, scopes) (%)",
                        &[&m::TOKEN_LAST_SUCCESS],
                    ),
                    "{{credential}} {{scopes}}",
                )],
            ),
            lines!(
                "Exchanges with providers",
                "none",
                &[(
                    Query(
                        "sum by (provider, result) (increase(%[$__rate_interval]))",
                        &[&m::PROVIDER_EXCHANGES],
                    ),
                    "{{provider}} {{result}}",
                )],
            ),
            lines!(
                "Latency of providers",
                "s",
                &[(
                    Query(
                        "histogram_quantile(0.9, sum by (provider, le) (rate(%_bucket[$__rate_interval])))",
                        &[&m::PROVIDER_EXCHANGE_DURATION],
                    ),
                    "{{provider}} p90",
                )],
            ),
            lines!(
                "Clocks of providers",
                "s",
                &[(
                    Query("max by (provider) (%)", &[&m::PROVIDER_CLOCK_OFFSET]),
                    "{{provider}}",
                )],
            ),
            lines!(
                "Previous secret in use",
                "none",
                &[(
                    Query(
                        "max by (credential, scopes) (%)",
                        &[&m::PREVIOUS_SECRET_IN_USE],
                    ),
                    "{{credential}} {{scopes}}",
                )],
            ),
        ],
    ),
    Row(
        "Callers' tokens and people",
        &[
            lines!(
                "Age of keys",
                "s",
                &[(
                    Query("time() - max by (provider) (%)", &[&m::KEYS_LAST_SUCCESS]),
                    "{{provider}}",
                )],
            ),
            lines!(
                "Keys",
                "none",
                &[(Query("min by (provider) (%)", &[&m::KEYS]), "{{provider}}")],
            ),
            lines!(
                "Fetches of keys",
                "none",
                &[(
                    Query(
                        "sum by (provider, result) (increase(%[$__rate_interval]))",
                        &[&m::KEY_FETCHES],
                    ),
                    "{{provider}} {{result}}",
                )],
            ),
            lines!(
                "Found in memory",
                "percentunit",
                &[(
                    Query(
                        r#"sum by (cache) (rate(%{result="hit"}[$__rate_interval])) / sum by (cache) (rate(%[$__rate_interval]))"#,
                        &[&m::CACHE_REQUESTS, &m::CACHE_REQUESTS],
                    ),
                    "{{cache}} hits",
                )],
            ),
            lines!(
                "Questions about tokens",
                "reqps",
                &[(
                    Query(
                        "sum by (provider, result) (rate(%[$__rate_interval]))",
                        &[&m::INTROSPECTIONS],
                    ),
                    "{{provider}} {{result}}",
                )],
            ),
            lines!(
                "People",
                "none",
                &[
                    (
                        Query("sum by (session) (%)", &[&m::SESSIONS]),
                        "{{session}} signed in",
                    ),
                    (
                        Query(
                            "sum by (session, result) (increase(%[$__rate_interval]))",
                            &[&m::SIGN_INS],
                        ),
                        "{{session}} {{result}}",
                    ),
                ],
            ),
        ],
    ),
    Row(
        "Connections and the process",
        &[
            lines!(
                "Connections",
                "none",
                &[
                    (Query("sum(%)", &[&m::CONNECTIONS]), "callers"),
                    (Query("sum(%)", &[&m::TUNNELS]), "tunnels"),
                    (Query("sum(%)", &[&m::UPSTREAM_CONNECTIONS_KEPT]), "kept",),
                ],
            ),
            lines!(
                "Requests by listener",
                "reqps",
                &[(
                    Query(
                        "sum by (listener) (rate(%[$__rate_interval]))",
                        &[&m::LISTENER_REQUESTS],
                    ),
                    "{{listener}}",
                )],
            ),
            lines!(
                "New connections to services",
                "none",
                &[(
                    Query(
                        "sum by (route) (rate(%_count[$__rate_interval]))",
                        &[&m::UPSTREAM_CONNECT_DURATION],
                    ),
                    "{{route}}",
                )],
            ),
            lines!(
                "Failed TLS handshakes of callers",
                "none",
                &[(
                    Query(
                        "sum by (listener) (rate(%[$__rate_interval]))",
                        &[&m::LISTENER_TLS_FAILURES],
                    ),
                    "{{listener}}",
                )],
            ),
            lines!(
                "CPU",
                "none",
                &[(
                    Query(
                        "sum by (instance) (rate(%[$__rate_interval]))",
                        &[&m::PROCESS_CPU],
                    ),
                    "{{instance}}",
                )],
            ),
            lines!(
                "Memory",
                "bytes",
                &[(
                    Query("sum by (instance) (%)", &[&m::PROCESS_MEMORY]),
                    "{{instance}}",
                )],
            ),
            lines!(
                "File descriptors",
                "percentunit",
                &[(
                    Query("% / %", &[&m::PROCESS_OPEN_FDS, &m::PROCESS_MAX_FDS]),
                    "{{instance}}",
                )],
            ),
            lines!(
                "Panics and dropped lines of the log",
                "none",
                &[
                    (
                        Query("sum(increase(%[$__rate_interval]))", &[&m::PANICS]),
                        "panics",
                    ),
                    (
                        Query(
                            "sum(increase(%[$__rate_interval]))",
                            &[&m::LOG_LINES_DROPPED]
                        ),
                        "lines",
                    ),
                ],
            ),
        ],
    ),
];
