//! What the injector counts; the proxy itself has none of it.

use super::{
    list,
    scrape::{Scraped, Value},
    value::{Counter, Family, Measure, labels},
};

labels! {
    /// Labels of an admission.
    pub struct AdmissionLabels {
        /// `injected`, `again`, `untouched`, `refused` or `invalid`.
        result: &'static str,
    }
}

/// What the injector counts. Clones share.
#[derive(Debug, Clone, Default)]
pub struct InjectorMetrics {
    pub admissions: Family<AdmissionLabels, Counter>,
    /// Unix time; 0 until it is known.
    pub certificate_expiry: Measure,
    pub certificate_failures: Counter,
    pub tls_failures: Counter,
}

impl InjectorMetrics {
    pub(super) fn scrape(&self) -> Vec<Scraped> {
        let mut admissions = Scraped::of(&list::ADMISSIONS);
        self.admissions.scrape(&mut admissions);
        let expiry = Value::Measure(self.certificate_expiry.get());
        let failures = Value::Count(self.certificate_failures.get());
        vec![
            admissions,
            Scraped::one(&list::WEBHOOK_CERTIFICATE_EXPIRY, expiry),
            Scraped::one(&list::WEBHOOK_CERTIFICATE_FAILURES, failures),
            Scraped::one(
                &list::WEBHOOK_TLS_FAILURES,
                Value::Count(self.tls_failures.get()),
            ),
        ]
    }
}
