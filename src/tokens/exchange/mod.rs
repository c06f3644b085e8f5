//! Callers' tokens, exchanged for others (RFC 8693, RFC 7523), once for all callers that show the same.
//!
//! An exchange is a task of the control plane: who goes away cancels none. What it brought is kept
//! under a keyed digest, until it or the caller's own token ends; that the provider refused is kept
//! for a moment, so that one token cannot make us ask often; a provider that does not answer is left
//! alone for a while ([`Trouble`]). A token that the service rejects is replaced once. Exchanges, and
//! what is kept, are bounded.

mod flight;
mod report;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use aws_lc_rs::hmac;
use moka::notification::RemovalCause;
use parking_lot::Mutex;
use rand::{Rng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use self::flight::Flight;
pub use self::report::Exchanges;
use super::{
    error::{ErrorKind, Occasion, TokenError},
    handle::Ready,
    providers::Providers,
};
use crate::{
    clock::{Clock, Deadline, Moment},
    config::{Credential, ScopeSet},
    metrics::{Cache, Metrics, SharedCache},
    secret::Secret,
    shutdown::Shutdown,
    trouble::Trouble,
};

/// Exchanges of one credential that are waited for at once.
const MOST_ASKED: usize = 1024;
/// Exchanged tokens of one credential.
const MOST_KEPT: u64 = 4096;
/// Longer, none is kept: memory does not say when a session ended.
const LONGEST: Duration = Duration::from_secs(600);
/// When to come again, if nothing else says so.
const SOON: Duration = Duration::from_secs(1);

type Digest = [u8; 32];
type Outcome = Result<Ready, TokenError>;

/// Exchanges tokens by one credential. Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub struct Exchanger(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    credential: Arc<Credential>,
    scopes: ScopeSet,
    clock: Clock,
    key: hmac::Key,
    kept: moka::sync::Cache<Digest, Kept>,
    counts: SharedCache,
    flights: Mutex<HashMap<Digest, watch::Receiver<Option<Outcome>>>>,
    queue: mpsc::Sender<Flight>,
    trouble: Mutex<(Trouble, StdRng)>,
    last: Mutex<Last>,
    number: AtomicU64,
}

#[derive(Debug, Clone)]
struct Kept {
    outcome: Outcome,
    until: Deadline,
    /// Until then another would not help, if the service rejects this one.
    settled: Deadline,
}

/// What a request needs.
#[derive(Debug, Clone, Copy)]
enum Want {
    Any,
    /// Another than this one.
    Not(u64),
}

/// For the status page.
#[derive(Debug, Default)]
struct Last {
    answer: Option<Moment>,
    /// Since then.
    error: Option<Arc<str>>,
}

impl Exchanger {
    pub(super) fn start(
        (credential, scopes): (Arc<Credential>, ScopeSet),
        providers: Providers,
        metrics: Arc<Metrics>,
        clock: Clock,
        shutdown: &Shutdown,
        mut rng: StdRng,
    ) -> Self {
        let (queue, asked) = mpsc::channel(MOST_ASKED);
        let key: Digest = rng.random();
        let counts = metrics.shared_cache(Cache::ExchangedTokens);
        let evicted = counts.clone();
        let shared = Arc::new(Shared {
            credential,
            scopes,
            clock,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            kept: moka::sync::Cache::builder()
                .max_capacity(MOST_KEPT)
                // when one ends is looked at below, by our clock
                .time_to_live(LONGEST)
                .eviction_listener(move |_, _, cause| {
                    if cause == RemovalCause::Size {
                        evicted.evicted();
                    }
                })
                .build(),
            counts: counts.clone(),
            flights: Mutex::default(),
            queue,
            trouble: Mutex::new((Trouble::default(), rng)),
            last: Mutex::default(),
            number: AtomicU64::default(),
        });
        counts.held_by(&shared, |one| {
            one.kept.run_pending_tasks();
            one.kept.entry_count()
        });
        shutdown.spawn(flight::run(asked, providers, metrics, shutdown.clone()));
        Self(shared)
    }

    /// A token for the one that the caller showed, which `ends` then; waits for it so long.
    ///
    /// # Errors
    /// When there is none, or not in time; the exchange goes on.
    pub async fn get(&self, subject: &Secret, ends: Deadline, wait: Duration) -> Outcome {
        self.wanted(subject, ends, wait, Want::Any).await
    }

    /// Another token than this one, which the service rejected. Fifty who were rejected with the
    /// same cause one exchange, and what came of it is not replaced again.
    ///
    /// # Errors
    /// When there is no other, or not in time.
    pub async fn replace(
        &self,
        rejected: &Ready,
        subject: &Secret,
        ends: Deadline,
        wait: Duration,
    ) -> Outcome {
        let needed = Want::Not(rejected.id());
        let fresh = self.wanted(subject, ends, wait, needed).await;
        fresh.map_err(|error| TokenError {
            occasion: Occasion::Rejected,
            ..error
        })
    }

    async fn wanted(
        &self,
        subject: &Secret,
        ends: Deadline,
        wait: Duration,
        needed: Want,
    ) -> Outcome {
        let shared = &self.0;
        let now = shared.clock.now();
        let digest = shared.digest(subject);
        let kept = shared.kept(&digest, needed, now);
        shared.counts.looked(&kept);
        if let Some(kept) = kept {
            return kept;
        }
        let mut flight = self.flight(digest, subject, ends, needed, now)?;
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
        needed: Want,
        now: Moment,
    ) -> Result<watch::Receiver<Option<Outcome>>, TokenError> {
        let shared = &self.0;
        let mut flights = shared.flights.lock();
        if let Some(flight) = flights.get(&digest) {
            return Ok(flight.clone());
        }
        // it may have landed in between
        if let Some(kept) = shared.kept(&digest, needed, now) {
            return Ok(watch::channel(Some(kept)).1);
        }
        if flights.len() >= MOST_ASKED {
            let reason = "too many tokens are exchanged at once";
            return Err(shared.error(ErrorKind::Unavailable, reason));
        }
        if let Err((reason, retry_after)) = shared.trouble.lock().0.pass(now) {
            return Err(shared.unavailable(reason, retry_after));
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
            needed,
            begun: now,
            came: None,
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

    /// What is known already and is good enough.
    fn kept(&self, digest: &Digest, needed: Want, now: Moment) -> Option<Outcome> {
        let kept = self.kept.get(digest)?;
        if kept.until.passed(now) {
            return None;
        }
        match (needed, &kept.outcome) {
            (Want::Not(rejected), Ok(ready)) if ready.id() == rejected => {
                let error = || {
                    let reason = "the token that replaced a rejected one was rejected too";
                    self.error(ErrorKind::RecentlyReplaced, reason)
                };
                (!kept.settled.passed(now)).then(|| Err(error()))
            }
            _ => Some(kept.outcome),
        }
    }

    fn error(&self, kind: ErrorKind, reason: impl Into<Arc<str>>) -> TokenError {
        TokenError {
            credential: Arc::clone(&self.credential.name),
            kind,
            occasion: Occasion::NoToken,
            reason: reason.into(),
            retry_after: Some(SOON),
        }
    }

    fn unavailable(&self, reason: Arc<str>, retry_after: Duration) -> TokenError {
        TokenError {
            retry_after: Some(retry_after),
            ..self.error(ErrorKind::Unavailable, reason)
        }
    }

    fn report(&self, now: Moment) -> Value {
        let ago = |then: Moment| now.wall.saturating_sub(then.wall).as_secs();
        let last = self.last.lock();
        self.kept.run_pending_tasks();
        json!({
            "credential": &*self.credential.name,
            "provider": self.credential.provider.issuer.as_str(),
            "scopes": self.scopes.iter().collect::<Vec<_>>(),
            "under_way": self.flights.lock().len(),
            "kept": self.kept.entry_count(),
            "last_answer_seconds_ago": last.answer.map(ago),
            "last_error": last.error.as_deref(),
            "paused": self.trouble.lock().0.reason(),
        })
    }

    fn answered(&self, now: Moment) {
        self.trouble.lock().0.answered();
        *self.last.lock() = Last {
            answer: Some(now),
            error: None,
        };
    }
}
