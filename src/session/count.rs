//! What metrics and audit hear of people: how many are signed in, how sign-ins end, and sessions.

use std::sync::Arc;

use super::live::Ended;
use crate::{
    audit::{Audit, Event},
    config::Name,
    metrics::{Metrics, SessionEndLabels, SessionLabels, SignInLabels},
};

/// Counts for one configured session.
#[derive(Debug)]
pub(super) struct Count {
    pub(super) metrics: Arc<Metrics>,
    pub(super) audit: Audit,
    pub(super) session: Name,
}

impl Count {
    pub(super) fn sign_in(&self, result: &'static str) {
        let session = self.session.to_string();
        let labels = SignInLabels { session, result };
        self.metrics.sign_ins.get_or_create(&labels).inc();
    }

    /// A person has signed in.
    pub(super) fn signed_in(&self, subject: &str) {
        self.sign_in("ok");
        self.audit.note(Event::SignedIn {
            session: self.session.to_string(),
            person: subject.to_owned(),
        });
    }

    pub(super) fn ended(&self, subject: &str, why: Ended) {
        self.audit.note(Event::SignedOut {
            session: self.session.to_string(),
            person: subject.to_owned(),
            cause: why.word(),
        });
        let session = self.session.to_string();
        let reason = why.word();
        let labels = SessionEndLabels { session, reason };
        self.metrics.sessions_ended.get_or_create(&labels).inc();
    }

    pub(super) fn live(&self, number: usize) {
        let session = self.session.to_string();
        let gauge = self
            .metrics
            .sessions
            .get_or_create(&SessionLabels { session });
        gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
    }
}
