//! Where traces and metrics are sent.

use std::{collections::BTreeMap, time::Duration};

use http::HeaderName;
use url::Url;

use super::{ClientTls, SecretSource};
use crate::trace::Sampling;

/// A collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    /// What was written, or `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: Url,
    pub headers: Vec<(HeaderName, SecretSource)>,
    /// `name=value,…`, with `%` escapes; a variable's.
    pub more_headers: Option<SecretSource>,
    pub timeout: Duration,
    pub tls: ClientTls,
    /// `None`: there are none.
    pub traces: Option<OtlpTraces>,
    /// `None`: none.
    pub metrics: Option<OtlpMetrics>,
    pub service_name: String,
    pub resource: BTreeMap<String, String>,
}

/// Which traces, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpTraces {
    pub endpoint: Url,
    pub sampling: Sampling,
}

/// How often metrics are sent, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpMetrics {
    pub endpoint: Url,
    pub every: Duration,
}
