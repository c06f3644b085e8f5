//! One fetch as a task of its own, which always reports: a cell whose fetch never ends would never
//! fetch again.
//!
//! For a person, a rotated refresh token is kept before anybody hears of the access token; and a
//! refusal counts only if it is for the refresh token that is still the person's.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc::UnboundedSender, task::spawn_blocking, time::timeout};
use tracing::error;
use url::Position;

use super::{
    cell::Class,
    entry::Entry,
    handle::Owner,
    person::{Holding, SignedOut},
    source::{Failure, Granted, Shown, Source},
    worker::Report,
};
use crate::{
    config::{Credential, ScopeSet},
    secret::Secret,
    shutdown::Shutdown,
};

/// Beyond the provider's timeout: files to read and write.
const LOCAL_WORK: Duration = Duration::from_secs(5);
/// To read from a keyring and to write to it.
const UNLOCKING: Duration = Duration::from_secs(130);

type Outcome = Result<Granted, Failure>;

/// Goes out for the key's token.
pub(super) fn start(
    number: u64,
    entry: &Entry,
    source: &dyn Source,
    reports: &UnboundedSender<Report>,
    shutdown: &Shutdown,
) {
    let credential = entry.shared.credential.load_full();
    let total = credential.provider.timeouts.total;
    let limit = if credential.grant.is_kept() {
        // its turn, two attempts, and a person who unlocks the keyring
        total.saturating_mul(3).saturating_add(UNLOCKING)
    } else {
        total.saturating_add(LOCAL_WORK)
    };
    let reporting = Reporting {
        number,
        outcome: None,
        reports: reports.clone(),
        credential: credential.clone(),
    };
    let scopes = entry.shared.scopes.clone();
    match &entry.shared.owner {
        Owner::Program(_) => {
            let fetch = source.fetch(credential, scopes, entry.evidence.shown());
            shutdown.spawn(async move {
                reporting.send(timeout(limit, fetch).await.ok());
            });
        }
        Owner::Person(holding) => {
            let sent = match holding.to_send() {
                Ok(sent) => sent,
                Err(why) => {
                    let failure = Failure::signed_out(&credential, why);
                    return reporting.send(Some(Err(failure)));
                }
            };
            let holding = Arc::clone(holding);
            let shown = Shown::RefreshToken(sent.clone());
            let fetch = source.fetch(credential, scopes.clone(), shown);
            shutdown.spawn(async move {
                let outcome = timeout(limit, fetch).await.ok();
                reporting.send(settled(holding, sent, scopes, outcome).await);
            });
        }
    }
}

/// What it means for the person.
async fn settled(
    holding: Arc<Holding>,
    sent: Secret,
    scopes: ScopeSet,
    outcome: Option<Outcome>,
) -> Option<Outcome> {
    match outcome {
        Some(Ok(granted)) => {
            let (kept, granted) = (granted.clone(), granted);
            let kept = spawn_blocking(move || holding.granted(&sent, &scopes, &kept));
            if kept.await.is_err() {
                // it is in memory, and the call goes on
                error!(
                    target: "itwin_auth_proxy::tokens",
                    "a person's rotated refresh token could not be kept"
                );
            }
            Some(Ok(granted))
        }
        Some(Err(failure)) if failure.class == Class::Ended && !holding.refused(&sent) => {
            // there is another one by now
            Some(Err(Failure {
                class: Class::Transient,
                label: "transient",
                ..failure
            }))
        }
        other => other,
    }
}

/// Reports however the task ends, a panic included.
struct Reporting {
    number: u64,
    outcome: Option<Outcome>,
    reports: UnboundedSender<Report>,
    credential: Arc<Credential>,
}

impl Reporting {
    fn send(mut self, outcome: Option<Outcome>) {
        self.outcome = Some(outcome.unwrap_or_else(|| Err(Failure::deadline(&self.credential))));
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        let broken = || Err(Failure::internal(&self.credential));
        let outcome = self.outcome.take().unwrap_or_else(broken);
        // nobody listens when everything ends
        let _ = self.reports.send(Report::Fetch(self.number, outcome));
    }
}

impl Failure {
    fn deadline(credential: &Credential) -> Self {
        let host = host(credential);
        let reason = format!("the provider {host} did not answer in time");
        Self {
            class: Class::Slow,
            label: "timeout",
            reason: reason.as_str().into(),
            detail: reason,
            retry_after: None,
            fingerprint: None,
        }
    }

    fn internal(credential: &Credential) -> Self {
        let host = host(credential);
        Self {
            class: Class::Transient,
            label: "transient",
            reason: format!("the token request to {host} broke off").into(),
            detail: "the fetch ended without a result".into(),
            retry_after: None,
            fingerprint: None,
        }
    }

    fn signed_out(credential: &Credential, why: SignedOut) -> Self {
        let host = host(credential);
        let reason = format!("the sign-in at {host} has ended: {why}");
        Self {
            class: Class::Ended,
            label: "signed_out",
            reason: reason.as_str().into(),
            detail: reason,
            retry_after: None,
            fingerprint: None,
        }
    }
}

fn host(credential: &Credential) -> &str {
    // with its port, if it is not the usual one: two may be on one host
    &credential.provider.issuer[Position::BeforeHost..Position::AfterPort]
}
