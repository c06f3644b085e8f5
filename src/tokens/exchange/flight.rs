//! One exchange, from the queue to what is kept of it.
//!
//! Everything that can come of it is decided here: a token, a refusal of the one that was shown, a
//! provider that is left alone from now on.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use tokio::sync::{Semaphore, mpsc, watch};
use tracing::warn;

use super::{Digest, Kept, LONGEST, Outcome, SOON, Shared, Want};
use crate::{
    clock::{Deadline, Moment},
    metrics::{FetchLabels, Metrics},
    secret::Secret,
    shutdown::Shutdown,
    tokens::{
        cell::served,
        error::ErrorKind,
        handle::Ready,
        providers::Providers,
        source::{Blame, NotExchanged},
    },
    trouble::{Failed, Fault},
};

/// Of which so many are under way.
const AT_ONCE: usize = 32;
/// How long it is believed that a token is not exchanged.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// How long an exchange is not tried again that the provider had no answer to.
const ODD_FOR: Duration = Duration::from_secs(5);
/// An exchange. However it ends, it makes room.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) shared: Arc<Shared>,
    pub(super) digest: Digest,
    pub(super) subject: Secret,
    /// When the caller's token ends.
    pub(super) ends: Deadline,
    pub(super) needed: Want,
    pub(super) begun: Moment,
    /// What came of it; said when it is gone.
    pub(super) came: Option<Outcome>,
    pub(super) outcome: watch::Sender<Option<Outcome>>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        // first, or who is told and comes again would find it under way still
        self.shared.flights.lock().remove(&self.digest);
        if let Some(outcome) = self.came.take() {
            self.outcome.send_replace(Some(outcome));
        }
    }
}

pub(super) async fn run(
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
        let shared = Arc::clone(&self.shared);
        let held = shared
            .trouble
            .lock()
            .0
            .held_back(self.begun, shared.clock.now());
        if let Some((reason, retry_after)) = held {
            self.land(Err(shared.unavailable(reason, retry_after)));
            return;
        }
        let (credential, scopes) = (Arc::clone(&shared.credential), shared.scopes.clone());
        let subject = self.subject.clone();
        let granted = providers.exchanged(credential, scopes, subject).await;
        let now = shared.clock.now();
        let result = match &granted {
            Ok(_) => "ok",
            Err(NotExchanged {
                blame: Blame::Subject,
                ..
            }) => "subject_refused",
            Err(NotExchanged { failure, .. }) => failure.label,
        };
        let labels = FetchLabels {
            credential: shared.credential.name.to_string(),
            result,
        };
        metrics.token_fetches.get_or_create(&labels).inc();
        match granted {
            Ok(granted) => {
                shared.answered(now);
                let own = granted.since.plus(served(granted.life).min(LONGEST));
                let left = own.remaining(now).min(self.ends.remaining(now));
                let until = now.plus(left);
                let settled = match self.needed {
                    Want::Any => now.plus(Duration::ZERO),
                    Want::Not(_) => until,
                };
                let id = shared.number.fetch_add(1, Ordering::Relaxed);
                let outcome = Ok(Ready::new(granted.header, id, until));
                self.keep(outcome, until, settled);
            }
            Err(not) => self.failed(not, now),
        }
    }

    fn failed(self, NotExchanged { failure, blame }: NotExchanged, now: Moment) {
        let shared = Arc::clone(&self.shared);
        warn!(
            target: "itwin_auth_proxy::tokens",
            credential = %shared.credential.name,
            error = failure.detail,
            "a caller's token was not exchanged"
        );
        let fault = match blame {
            Blame::Subject => {
                shared.answered(now);
                let error = shared.error(ErrorKind::SubjectRefused, failure.reason);
                let until = now.plus(REFUSED_FOR);
                return self.keep(Err(error), until, until);
            }
            Blame::Provider(fault) => fault,
        };
        shared.last.lock().error = Some(Arc::clone(&failure.reason));
        let failed = Failed {
            fault,
            reason: Arc::clone(&failure.reason),
            retry_after: failure.retry_after,
        };
        let pause = {
            let (trouble, rng) = &mut *shared.trouble.lock();
            trouble.failed(failed, self.begun, now, rng)
        };
        let odd = match fault {
            Fault::PerhapsTheToken => ODD_FOR,
            Fault::Endpoint => Duration::ZERO,
        };
        let error = shared.unavailable(failure.reason, pause.unwrap_or(odd).max(SOON));
        match (self.needed, shared.kept.get(&self.digest)) {
            // one that the service rejected once may be good elsewhere, and is all there is
            (Want::Not(_), Some(before)) => {
                let kept = Kept {
                    settled: now.plus(odd),
                    ..before
                };
                shared.kept.insert(self.digest, kept);
                self.land(Err(error));
            }
            _ => self.keep(Err(error), now.plus(odd), now.plus(odd)),
        }
    }

    fn keep(self, outcome: Outcome, until: Deadline, settled: Deadline) {
        // before the flight is gone, or somebody would ask again
        let kept = Kept {
            outcome: outcome.clone(),
            until,
            settled,
        };
        self.shared.kept.insert(self.digest, kept);
        self.land(outcome);
    }

    fn land(mut self, outcome: Outcome) {
        self.came = Some(outcome);
    }
}
