//! Where traces and metrics are sent.

use std::{collections::BTreeMap, time::Duration};

use http::HeaderName;
use url::Url;

use super::{ClientTls, SecretSource};
use crate::trace::Sampling;

/// A collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    pub headers: Vec<(HeaderName, SecretSource)>,
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
    pub way: Way,
    pub sampling: Sampling,
}

/// How often metrics are sent, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpMetrics {
    pub way: Way,
    pub every: Duration,
}

/// How one of both gets there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Whole, with its path.
    pub endpoint: Url,
    /// `name=value,…`, with `%` escapes; a variable's.
    pub more_headers: Option<SecretSource>,
    pub timeout: Duration,
    pub compression: Compression,
}

/// What bodies are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
}

impl Compression {
    /// As configuration and variables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::None, Self::Gzip]
            .into_iter()
            .find(|one| one.name() == name)
    }
}
