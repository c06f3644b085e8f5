//! What the log and the metrics hear of a token's life. Never the token, never a secret.

use std::sync::Arc;

use tracing::{error, info, warn};

use super::{
    cell::Class,
    handle::Shared,
    source::{Failure, Granted, SecretInUse},
};
use crate::{
    clock::{Deadline, Moment},
    metrics::{CredentialLabels, FetchLabels, Metrics},
};

const TARGET: &str = "itwin_auth_proxy::tokens";

/// Writes log and metrics.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) metrics: Arc<Metrics>,
}

impl Record {
    pub(super) fn fetched(&self, shared: &Shared, granted: &Granted, ends: Deadline) {
        let credential = shared.credential.load();
        info!(
            target: TARGET,
            credential = %credential.name,
            scopes = %shared.scopes,
            lifetime_s = granted.life.as_secs(),
            "token fetched"
        );
        self.count(&credential.name, "ok");
        let labels = labels(shared);
        let previous = granted.secret == SecretInUse::Previous;
        if previous {
            warn!(
                target: TARGET,
                credential = %credential.name,
                "the provider accepts only the previous of the two secrets"
            );
        }
        self.metrics
            .previous_secret_in_use
            .get_or_create(&labels)
            .set(previous.into());
        self.expires(shared, ends);
    }

    pub(super) fn missing_scopes(shared: &Shared, granted: &Granted) {
        warn!(
            target: TARGET,
            credential = %shared.credential.load().name,
            scopes = %shared.scopes,
            missing = %granted.missing,
            "the provider granted fewer scopes than were asked for"
        );
    }

    pub(super) fn failed(&self, shared: &Shared, failure: &Failure, next: Deadline, now: Moment) {
        let credential = shared.credential.load();
        self.count(&credential.name, failure.label);
        let scopes = &shared.scopes;
        let next_attempt_ms = u64::try_from(next.remaining(now).as_millis()).unwrap_or(u64::MAX);
        let (name, reason) = (&credential.name, &failure.detail);
        match failure.class {
            Class::Transient | Class::Slow => warn!(
                target: TARGET,
                credential = %name, %scopes, class = failure.label, reason, next_attempt_ms,
                "token not fetched"
            ),
            Class::Fatal | Class::InvalidGrant => error!(
                target: TARGET,
                credential = %name, %scopes, class = failure.label, reason, next_attempt_ms,
                "token refused"
            ),
            Class::Ended => error!(
                target: TARGET,
                credential = %name, %scopes, class = failure.label, reason,
                "token refused; a new refresh token is needed"
            ),
        }
    }

    /// A valid token is served although it is older than a request wished.
    pub(super) fn last_resort(shared: &Shared, ends: Deadline, now: Moment) {
        warn!(
            target: TARGET,
            credential = %shared.credential.load().name,
            scopes = %shared.scopes,
            remaining_s = ends.remaining(now).as_secs(),
            "the token cannot be renewed and is near its end"
        );
    }

    pub(super) fn restored(&self, shared: &Shared, ends: Deadline, now: Moment) {
        info!(
            target: TARGET,
            credential = %shared.credential.load().name,
            scopes = %shared.scopes,
            remaining_s = ends.remaining(now).as_secs(),
            "token taken from the store"
        );
        self.expires(shared, ends);
    }

    fn expires(&self, shared: &Shared, ends: Deadline) {
        self.metrics.token_expiries.set(labels(shared), ends);
    }

    fn count(&self, credential: &str, result: &'static str) {
        let credential = credential.to_owned();
        self.metrics
            .token_fetches
            .get_or_create(&FetchLabels { credential, result })
            .inc();
    }
}

fn labels(shared: &Shared) -> CredentialLabels {
    CredentialLabels {
        credential: shared.credential.load().name.to_string(),
        scopes: shared.scopes.to_string(),
    }
}
