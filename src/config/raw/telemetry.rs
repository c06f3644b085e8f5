//! Telemetry: traces and metrics, sent to a collector.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ClientTls, SecretText};

/// Traces and metrics, sent to a collector (OTLP over HTTP, protobuf). What is not written here is
/// taken from the standard variables `OTEL_…`, if they are set; `OTEL_SDK_DISABLED=true` switches it
/// off.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Telemetry {
    /// Where to, and what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) otlp: Option<Otlp>,
    /// `service.name`. Default: `OTEL_SERVICE_NAME`, or `itwin-auth-proxy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) service_name: Option<String>,
    /// Other attributes of what sends, such as `deployment.environment.name`. Default:
    /// `OTEL_RESOURCE_ATTRIBUTES`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::config) resource: BTreeMap<String, String>,
}

/// A collector.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"], "x-short" = "endpoint"))]
pub(in crate::config) struct Otlp {
    /// Its URL; `/v1/traces` and `/v1/metrics` are put behind it. Default:
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`; without that, nothing is sent.
    #[schemars(example = "http://127.0.0.1:4318")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) endpoint: Option<String>,
    /// Header fields that the collector wants, each a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::config) headers: BTreeMap<String, OtlpHeader>,
    /// An environment variable that holds such fields, `name=value,name=value` with `%` escapes.
    /// Default: `OTEL_EXPORTER_OTLP_HEADERS`, if it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) headers_env: Option<String>,
    /// Time for one request. Default: `OTEL_EXPORTER_OTLP_TIMEOUT`, if it is set.
    #[schemars(extend("default" = "10s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) timeout: Option<String>,
    /// `gzip` or `none`. Default: `OTEL_EXPORTER_OTLP_COMPRESSION`, if it is set.
    #[schemars(extend("default" = "none"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) compression: Option<String>,
    /// TLS towards it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tls: Option<ClientTls>,
    /// Which traces are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) traces: Option<OtlpTraces>,
    /// How often metrics are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) metrics: Option<OtlpMetrics>,
}

/// The metrics that are also at `/metrics`.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"], "x-short" = "every"))]
pub(in crate::config) struct OtlpMetrics {
    /// From one time to the next, or `never`, as with `OTEL_METRICS_EXPORTER=none`. Default:
    /// `OTEL_METRIC_EXPORT_INTERVAL`, if it is set.
    #[schemars(extend("default" = "30s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) every: Option<String>,
    /// Its whole URL, where metrics go elsewhere. Default: behind `otlp.endpoint`, or
    /// `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) endpoint: Option<String>,
    /// As `otlp.headers_env`. Default: `OTEL_EXPORTER_OTLP_METRICS_HEADERS`, if it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) headers_env: Option<String>,
    /// As `otlp.timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) timeout: Option<String>,
    /// As `otlp.compression`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) compression: Option<String>,
}

/// A header field for the collector.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"], "x-short" = "value"))]
pub(in crate::config) struct OtlpHeader {
    /// Its value, written here.
    #[schemars(extend("x-secret" = "value"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) value: Option<SecretText>,
    /// A file that holds it; read again for every request.
    #[schemars(extend("x-secret" = "value"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) value_file: Option<String>,
    /// An environment variable that holds it.
    #[schemars(extend("x-secret" = "value"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) value_env: Option<String>,
}

/// Which traces are sent.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"], "x-short" = "sampling"))]
pub(in crate::config) struct OtlpTraces {
    /// The share of traces, `0` to `1`, that are kept where a caller has not decided already;
    /// `parent`: all of those. `none`: there are no traces, and what callers say of theirs is passed
    /// on as it is. Default: what `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` say.
    #[schemars(extend("default" = "parent"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) sampling: Option<String>,
    /// Whether a caller decides for its own traces (`traceparent`). `false`: the share decides about
    /// all of them, so that no caller can have more kept.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) heed_callers: Option<bool>,
    /// Its whole URL, where traces go elsewhere. Default: behind `otlp.endpoint`, or
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) endpoint: Option<String>,
    /// As `otlp.headers_env`. Default: `OTEL_EXPORTER_OTLP_TRACES_HEADERS`, if it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) headers_env: Option<String>,
    /// As `otlp.timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) timeout: Option<String>,
    /// As `otlp.compression`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) compression: Option<String>,
}
