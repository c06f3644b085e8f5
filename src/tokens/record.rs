//! What the log and the metrics hear of a token's life. Never the token, never a secret.
//!
//! There may be many people: their tokens have no gauge, and no line at the usual level but the
//! first failure in a minute of each credential.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tracing::{debug, error, info, warn};

use super::{
    cell::Class,
    handle::Shared,
    source::{Failure, Granted, SecretInUse},
};
use crate::{
    clock::{Deadline, Moment},
    config::{Name, ScopeSet},
    metrics::{CredentialLabels, FetchLabels, Metrics},
    trace::{Background, Tracer},
};

/// In seconds: more makes tokens begin and end at the wrong time.
const CLOCK_OFF: f64 = 60.0;
const TARGET: &str = "itwin_auth_proxy::tokens";

/// Between lines about people's tokens that were not fetched.
const PEOPLE_TOLD_EVERY: Duration = Duration::from_secs(60);

/// Writes log and metrics.
#[derive(Debug)]
pub(super) struct Record {
    metrics: Arc<Metrics>,
    tracer: Tracer,
    /// Until when no other failure to fetch a person's token is told.
    told: HashMap<Name, Deadline>,
}

impl Record {
    pub(super) fn new(metrics: Arc<Metrics>, tracer: Tracer) -> Self {
        Self {
            metrics,
            tracer,
            told: HashMap::new(),
        }
    }

    /// A fetch begins.
    pub(super) fn begins(&self, shared: &Shared) -> Background {
        let credential = shared.credential.load();
        let attributes = [
            (
                "itwin_auth_proxy.credential",
                credential.name.to_string().into(),
            ),
            ("itwin_auth_proxy.scopes", shared.scopes.to_string().into()),
        ];
        self.tracer.background("token fetch", attributes)
    }

    /// Says so where the provider's clock is another than ours.
    pub(super) fn clock(&self, shared: &Shared, fetch: &mut Background) {
        let credential = shared.credential.load();
        let offset = self.metrics.clock_offset(&credential.provider.name);
        if let Some(offset) = offset.filter(|offset| offset.abs() > CLOCK_OFF) {
            #[expect(clippy::cast_possible_truncation, reason = "whole seconds say enough")]
            let seconds = offset.round() as i64;
            fetch.attribute("itwin_auth_proxy.clock_offset_s", seconds);
        }
    }

    pub(super) fn fetched(&self, shared: &Shared, granted: &Granted, ends: Deadline) {
        let credential = shared.credential.load();
        self.count(&credential.name, "ok");
        let lifetime_s = granted.life.as_secs();
        let (name, scopes) = (&credential.name, &shared.scopes);
        if shared.is_persons() {
            debug!(
                target: TARGET,
                credential = %name, %scopes, lifetime_s, "token of a person fetched"
            );
        } else {
            info!(target: TARGET, credential = %name, %scopes, lifetime_s, "token fetched");
        }
        let labels = labels(shared);
        let previous = granted.secret == SecretInUse::Previous;
        if previous && !shared.is_persons() {
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
        if !shared.is_persons() {
            let fetched = self.metrics.token_last_success.get_or_create(&labels);
            fetched.set(granted.since.wall.as_secs_f64());
        }
        self.expires(shared, ends);
    }

    pub(super) fn missing_scopes(shared: &Shared, granted: &Granted) {
        if shared.is_persons() {
            return; // whoever knows the person says it at the sign-in
        }
        warn!(
            target: TARGET,
            credential = %shared.credential.load().name,
            scopes = %shared.scopes,
            missing = %granted.missing,
            "the provider granted fewer scopes than were asked for"
        );
    }

    pub(super) fn failed(
        &mut self,
        shared: &Shared,
        failure: &Failure,
        next: Deadline,
        now: Moment,
    ) {
        let credential = shared.credential.load();
        self.count(&credential.name, failure.label);
        if shared.is_persons() {
            return self.failed_for_person(&credential.name, &shared.scopes, failure, now);
        }
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

    fn failed_for_person(
        &mut self,
        name: &Name,
        scopes: &ScopeSet,
        failure: &Failure,
        now: Moment,
    ) {
        let quiet = self.told.get(name).is_some_and(|until| !until.passed(now));
        let (class, reason) = (failure.label, &failure.detail);
        // that a sign-in ends is no trouble
        if quiet || failure.class == Class::Ended {
            debug!(
                target: TARGET,
                credential = %name, %scopes, class, reason, "token of a person not fetched"
            );
            return;
        }
        self.told
            .insert(Name::clone(name), now.plus(PEOPLE_TOLD_EVERY));
        warn!(
            target: TARGET,
            credential = %name,
            %scopes,
            class,
            reason,
            "token of a person not fetched; others within a minute are not told"
        );
    }

    /// A valid token is served although it is older than a request wished.
    pub(super) fn last_resort(shared: &Shared, ends: Deadline, now: Moment) {
        if shared.is_persons() {
            return;
        }
        warn!(
            target: TARGET,
            credential = %shared.credential.load().name,
            scopes = %shared.scopes,
            remaining_s = ends.remaining(now).as_secs(),
            "the token cannot be renewed and is near its end"
        );
    }

    pub(super) fn restored(&self, shared: &Shared, ends: Deadline, now: Moment) {
        if shared.is_persons() {
            return;
        }
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
        if !shared.is_persons() {
            self.metrics.token_expiries.set(labels(shared), ends);
        }
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
