//! What the injector counts; the proxy itself has none of it.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

use super::Metrics;

/// Labels of an admission.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AdmissionLabels {
    /// `injected`, `again`, `untouched`, `refused` or `invalid`.
    pub result: &'static str,
}

/// What the injector counts. Clones share.
#[derive(Debug, Clone, Default)]
pub struct InjectorMetrics {
    pub admissions: Family<AdmissionLabels, Counter>,
    /// Unix time; 0 until it is known.
    pub certificate_expiry: Gauge<f64, AtomicU64>,
    pub certificate_failures: Counter,
    pub tls_failures: Counter,
}

impl Metrics {
    /// Adds them to what is shown.
    pub fn injector(&mut self) -> InjectorMetrics {
        let injector = InjectorMetrics::default();
        let r = &mut self.registry;
        r.register(
            "admissions",
            "Questions of the API server, by result",
            injector.admissions.clone(),
        );
        r.register(
            "webhook_certificate_expiry_timestamp_seconds",
            "Unix time at which the webhook's certificate ends",
            injector.certificate_expiry.clone(),
        );
        r.register(
            "webhook_certificate_failures",
            "Failed attempts to keep the webhook's certificate and its authority in the cluster current",
            injector.certificate_failures.clone(),
        );
        r.register(
            "webhook_tls_failures",
            "Connections to the webhook that failed in the TLS handshake: an API server that does not trust the certificate, or somebody else",
            injector.tls_failures.clone(),
        );
        injector
    }
}
