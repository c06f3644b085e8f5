//! Callers' tokens, exchanged for others (RFC 8693), once for all callers that show the same.
//!
//! An exchange is a task of the control plane: who goes away cancels none. What it brought is kept
//! under a keyed digest, until it or the caller's own token ends; that it brought nothing is kept
//! for a moment, so that one token cannot make us ask often. Exchanges, and what is kept, are
//! bounded.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_lc_rs::{hmac, rand};
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};
use tracing::warn;

use super::{
    cell::{Class, served},
    error::{ErrorKind, Occasion, TokenError},
    providers::Providers,
    source::Failure,
};
use crate::{
    clock::{Clock, Deadline, Moment},
    config::Credential,
    metrics::{FetchLabels, Metrics},
    secret::Secret,
    shutdown::Shutdown,
};

/// Exchanges of one credential that are waited for at once.
const MOST_ASKED: usize = 1024;
/// Of which so many are under way.
const AT_ONCE: usize = 32;
/// Exchanged tokens of one credential.
const MOST_KEPT: u64 = 4096;
/// Longer, none is kept: memory does not say when a session ended.
const LONGEST: Duration = Duration::from_secs(600);
/// How long an exchange is not tried again that brought nothing, at least and at most.
const NOTHING_FOR: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

type Digest = [u8; 32];
type Outcome = Result<HeaderValue, TokenError>;

/// Exchanges tokens by one credential. Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub struct Exchanger(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    credential: Arc<Credential>,
    clock: Clock,
    key: hmac::Key,
    kept: moka::sync::Cache<Digest, Kept>,
    flights: Mutex<HashMap<Digest, watch::Receiver<Option<Outcome>>>>,
    queue: mpsc::Sender<Flight>,
}

#[derive(Debug, Clone)]
struct Kept {
    outcome: Outcome,
    until: Deadline,
}

/// An exchange. However it ends, it makes room.
#[derive(Debug)]
struct Flight {
    shared: Arc<Shared>,
    digest: Digest,
    subject: Secret,
    /// When the caller's token ends.
    ends: Deadline,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Exchanger {
    pub(super) fn start(
        credential: &Arc<Credential>,
        providers: Providers,
        metrics: Arc<Metrics>,
        clock: Clock,
        shutdown: &Shutdown,
    ) -> Self {
        let (queue, asked) = mpsc::channel(MOST_ASKED);
        let mut key = Digest::default();
        // fails only where the system has no randomness; digests then merely have no key
        let _ = rand::fill(&mut key);
        let shared = Arc::new(Shared {
            credential: Arc::clone(credential),
            clock,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            kept: moka::sync::Cache::builder()
                .max_capacity(MOST_KEPT)
                // when one ends is looked at below, by our clock
                .time_to_live(LONGEST)
                .build(),
            flights: Mutex::default(),
            queue,
        });
        shutdown.spawn(run(asked, providers, metrics, shutdown.clone()));
        Self(shared)
    }

    /// `Bearer …` for what the caller showed, whose token `ends` then; waits for it so long.
    ///
    /// # Errors
    /// When there is none, or not in time; the exchange goes on.
    pub async fn get(&self, subject: &Secret, ends: Deadline, wait: Duration) -> Outcome {
        let shared = &self.0;
        let now = shared.clock.now();
        let digest = shared.digest(subject);
        if let Some(kept) = shared.kept(&digest, now) {
            return kept;
        }
        let mut flight = self.flight(digest, subject, ends, now)?;
        let landed = flight.wait_for(Option::is_some);
        match timeout(wait, landed).await {
            Ok(Ok(outcome)) => match &*outcome {
                Some(outcome) => outcome.clone(),
                None => Err(shared.error(ErrorKind::Stopped, "this proxy stops")),
            },
            Ok(Err(_)) => Err(shared.error(ErrorKind::Stopped, "this proxy stops")),
            Err(_) => Err(shared.error(
                ErrorKind::TimedOut,
                "the caller's token was not exchanged in time",
            )),
        }
    }

    fn flight(
        &self,
        digest: Digest,
        subject: &Secret,
        ends: Deadline,
        now: Moment,
    ) -> Result<watch::Receiver<Option<Outcome>>, TokenError> {
        let shared = &self.0;
        let mut flights = shared.flights.lock();
        if let Some(flight) = flights.get(&digest) {
            return Ok(flight.clone());
        }
        // it may have landed in between
        if let Some(kept) = shared.kept(&digest, now) {
            return Ok(watch::channel(Some(kept)).1);
        }
        if flights.len() >= MOST_ASKED {
            let reason = "too many tokens are exchanged at once";
            return Err(shared.error(ErrorKind::Unavailable, reason));
        }
        let (outcome, flight) = watch::channel(None);
        flights.insert(digest, flight.clone());
        drop(flights);
        // there is room for as many as there are flights; one that is dropped says so
        let _ = shared.queue.try_send(Flight {
            shared: Arc::clone(shared),
            digest,
            subject: subject.clone(),
            ends,
            outcome,
        });
        Ok(flight)
    }
}

impl Shared {
    fn digest(&self, subject: &Secret) -> Digest {
        let tag = hmac::sign(&self.key, &subject.fingerprint());
        let mut digest = Digest::default();
        digest.copy_from_slice(tag.as_ref());
        digest
    }

    fn kept(&self, digest: &Digest, now: Moment) -> Option<Outcome> {
        let kept = self.kept.get(digest)?;
        (!kept.until.passed(now)).then_some(kept.outcome)
    }

    fn error(&self, kind: ErrorKind, reason: impl Into<Arc<str>>) -> TokenError {
        TokenError {
            credential: Arc::clone(&self.credential.name),
            kind,
            occasion: Occasion::NoToken,
            reason: reason.into(),
            retry_after: Some(Duration::from_secs(1)),
        }
    }

    fn failed(&self, failure: Failure) -> (TokenError, Duration) {
        let kind = match failure.class {
            Class::Fatal => ErrorKind::Refused,
            Class::InvalidGrant | Class::Ended => ErrorKind::InvalidGrant,
            Class::Transient | Class::Slow => ErrorKind::Unavailable,
        };
        let (least, most) = NOTHING_FOR;
        let pause = failure.retry_after.unwrap_or(least).clamp(least, most);
        let error = TokenError {
            retry_after: Some(pause),
            ..self.error(kind, failure.reason)
        };
        (error, pause)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.flights.lock().remove(&self.digest);
    }
}

async fn run(
    mut asked: mpsc::Receiver<Flight>,
    providers: Providers,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(flight) = asked.recv().await {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
            return; // it is never closed
        };
        let (providers, metrics) = (providers.clone(), Arc::clone(&metrics));
        shutdown.spawn(async move {
            flight.exchange(providers, &metrics).await;
            drop(turn);
        });
    }
}

impl Flight {
    async fn exchange(self, providers: Providers, metrics: &Metrics) {
        let credential = Arc::clone(&self.shared.credential);
        let name = Arc::clone(&credential.name);
        let granted = providers.exchanged(credential, self.subject.clone()).await;
        let now = self.shared.clock.now();
        let (outcome, until, result) = match granted {
            Ok(granted) => {
                let own = granted.since.plus(served(granted.life).min(LONGEST));
                let left = own.remaining(now).min(self.ends.remaining(now));
                (Ok(granted.header), now.plus(left), "ok")
            }
            Err(failure) => {
                let (label, detail) = (failure.label, failure.detail.clone());
                warn!(
                    target: "itwin_auth_proxy::tokens",
                    credential = %name,
                    error = detail,
                    "a caller's token was not exchanged"
                );
                let (error, pause) = self.shared.failed(failure);
                (Err(error), now.plus(pause), label)
            }
        };
        let credential = name.to_string();
        let labels = FetchLabels { credential, result };
        metrics.token_fetches.get_or_create(&labels).inc();
        // before the flight is gone, or somebody would ask again
        let kept = Kept {
            outcome: outcome.clone(),
            until,
        };
        self.shared.kept.insert(self.digest, kept);
        self.outcome.send_replace(Some(outcome));
    }
}
