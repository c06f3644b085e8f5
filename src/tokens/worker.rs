//! The one task that owns every token's life and runs every fetch.
//!
//! Requests wait here, but they own nothing: one that goes away cancels its waiting, never the
//! fetch. Fetches are bounded over all keys, requests before background renewals, and one at a
//! time per refresh-token file. It wakes at least every [`LOOK_AGAIN`], so that a clock that jumped
//! or a laptop that slept is noticed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::rngs::StdRng;
use tokio::{
    sync::mpsc::{self, UnboundedSender},
    time::{sleep, timeout},
};

use super::{
    cell::{Action, Class, Event, Urgency},
    entry::{Entry, Waiting},
    handle::{Asked, Shared},
    queue::{Lane, Queue},
    record::Record,
    registry::Registry,
    shown::{self, Evidence},
    source::{Failure, Fingerprint, Granted, Source},
    store::{Keeper, Stored},
};
use crate::{
    clock::Clock,
    config::{Credential, Grant, SamlSource},
    secret::Secret,
    shutdown::{Shutdown, Stage},
};

/// Fetches at once over all keys.
const FETCHES: usize = 16;
/// Timers stand still while the machine sleeps.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Beyond the provider's timeout: files to read and write.
const LOCAL_WORK: Duration = Duration::from_secs(5);

/// What the worker stands on.
pub(super) struct Seams {
    pub(super) source: Arc<dyn Source>,
    pub(super) clock: Clock,
    pub(super) record: Record,
    pub(super) shutdown: Shutdown,
    pub(super) registry: Arc<Registry>,
    pub(super) keeper: Keeper,
    pub(super) rng: StdRng,
}

/// Owns every cell.
pub(super) struct Worker {
    seams: Seams,
    entries: BTreeMap<u64, Entry>,
    queue: Queue,
    reports: UnboundedSender<Report>,
}

/// What came out of a task.
pub(super) enum Report {
    Fetch(u64, Result<Granted, Failure>),
    /// The token that a fetch shows, or why there is none.
    Shown(u64, Result<Evidence, Failure>),
    Fingerprint(u64, Fingerprint),
}

impl Worker {
    /// Runs until the program stops for good or nobody can ask any more.
    pub(super) async fn run(seams: Seams, mut asks: mpsc::Receiver<Asked>) {
        let (reports, mut reported) = mpsc::unbounded_channel();
        let registry = seams.registry.clone();
        let mut worker = Self {
            seams,
            entries: BTreeMap::new(),
            queue: Queue::new(FETCHES),
            reports,
        };
        loop {
            worker.adopt();
            let pause = worker.wake();
            worker.start_fetches();
            tokio::select! {
                asked = asks.recv() => match asked {
                    Some(asked) => {
                        worker.asked(asked);
                        // a burst is one round
                        while let Ok(asked) = asks.try_recv() {
                            worker.asked(asked);
                        }
                    }
                    None => return,
                },
                Some(report) = reported.recv() => worker.reported(report),
                () = registry.changed() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Takes over keys that have a handle now, with the tokens that a store kept for them.
    fn adopt(&mut self) {
        for shared in self.seams.registry.take_fresh() {
            let now = self.seams.clock.now();
            let entry = Entry::adopt(shared, now, &mut self.seams.rng);
            if let Some(ends) = entry.cell.ends() {
                self.seams.record.restored(&entry.shared, ends, now);
            }
            self.entries.insert(entry.shared.number, entry);
        }
    }

    fn asked(&mut self, asked: Asked) {
        let number = asked.shared.number;
        if !self.entries.contains_key(&number) {
            self.adopt();
        }
        let now = self.seams.clock.now();
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        let action = entry.step(Event::Asked(asked.ask), now, &mut self.seams.rng);
        if let Some(Action::Fetch(urgency)) = action {
            let (reports, shutdown) = (&self.reports, &self.seams.shutdown);
            shown::begin(number, entry, urgency, &mut self.queue, reports, shutdown);
        }
        if entry.wait(asked, now) == Waiting::First {
            self.queue.hurry(number);
        }
    }

    /// Lets time pass for every cell, and says until when nothing will happen by itself.
    fn wake(&mut self) -> Duration {
        let now = self.seams.clock.now();
        let stopping = self.seams.shutdown.stage() != Stage::Running;
        let mut pause = LOOK_AGAIN;
        for (number, entry) in &mut self.entries {
            let unused = match (entry.waiters.is_empty(), stopping) {
                (false, _) => Duration::ZERO,
                (true, true) => Duration::MAX,
                (true, false) => entry.shared.unused(now),
            };
            if entry.cell.next_due(unused, now) == Some(Duration::ZERO) {
                let action = entry.step(Event::Due { unused }, now, &mut self.seams.rng);
                if let Some(Action::Fetch(urgency)) = action {
                    let urgency = if entry.waiters.is_empty() {
                        urgency
                    } else {
                        Urgency::Request
                    };
                    let (reports, shutdown) = (&self.reports, &self.seams.shutdown);
                    shown::begin(*number, entry, urgency, &mut self.queue, reports, shutdown);
                }
            }
            if entry.looks_at_secrets(now) {
                let (number, reports) = (*number, self.reports.clone());
                let credential = entry.shared.credential.load_full();
                let look = self.seams.source.fingerprint(credential);
                self.seams.shutdown.spawn(async move {
                    // the worker is gone only when everything ends
                    let _ = reports.send(Report::Fingerprint(number, look.await));
                });
            }
            let due = entry.cell.next_due(unused, now).unwrap_or(LOOK_AGAIN);
            pause = pause
                .min(due)
                .min(entry.next_look(now).unwrap_or(LOOK_AGAIN));
        }
        pause
    }

    fn start_fetches(&mut self) {
        while let Some(number) = self.queue.next() {
            let Some(entry) = self.entries.get(&number) else {
                continue;
            };
            let credential = entry.shared.credential.load_full();
            let limit = credential
                .provider
                .timeouts
                .total
                .saturating_add(LOCAL_WORK);
            let outcome = Outcome {
                number,
                result: None,
                reports: self.reports.clone(),
                credential: credential.clone(),
            };
            let scopes = entry.shared.scopes.clone();
            let shown = entry.evidence.shown();
            let fetch = self.seams.source.fetch(credential, scopes, shown);
            self.seams.shutdown.spawn(async move {
                let result = timeout(limit, fetch).await;
                outcome.send(result.ok());
            });
        }
    }

    fn reported(&mut self, report: Report) {
        match report {
            Report::Fetch(number, result) => {
                self.queue.finished(number);
                match result {
                    Ok(granted) => self.fetched(number, &granted),
                    Err(failure) => self.refused(number, failure),
                }
            }
            Report::Shown(number, found) => match found {
                Ok(evidence) => self.shows(number, evidence),
                Err(failure) => self.failed(number, failure),
            },
            Report::Fingerprint(number, fingerprint) => {
                let now = self.seams.clock.now();
                if let Some(entry) = self.entries.get_mut(&number)
                    && entry.secrets_seen(fingerprint, now)
                {
                    entry.step(Event::SecretChanged, now, &mut self.seams.rng);
                }
            }
        }
    }

    fn fetched(&mut self, number: u64, granted: &Granted) {
        let now = self.seams.clock.now();
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        let id = self.seams.registry.token_number();
        entry.evidence = Evidence::None;
        entry.granted(id, granted, now, &mut self.seams.rng);
        let shared = &entry.shared;
        if let Some(ends) = entry.cell.ends() {
            self.seams.record.fetched(shared, granted, ends);
        }
        if !granted.missing.is_empty() && !std::mem::replace(&mut entry.scopes_warned, true) {
            Record::missing_scopes(shared, granted);
        }
        if let Ok(token) = granted.header.to_str() {
            let stored = Stored {
                token: Secret::new(token),
                since: granted.since.wall,
                life: granted.life,
            };
            self.seams.keeper.keep(shared.digest, stored, now);
        }
        entry.settle(now);
    }

    fn shows(&mut self, number: u64, evidence: Evidence) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        entry.evidence = evidence;
        let urgency = if entry.waiters.is_empty() {
            Urgency::Background
        } else {
            Urgency::Request
        };
        self.queue.push(number, lane(&entry.shared), urgency);
    }

    fn refused(&mut self, number: u64, failure: Failure) {
        let (reports, shutdown) = (&self.reports, &self.seams.shutdown);
        let left = match self.entries.get_mut(&number) {
            Some(entry) => shown::again(number, entry, failure, reports, shutdown),
            None => None,
        };
        if let Some(failure) = left {
            self.failed(number, failure);
        }
    }

    fn failed(&mut self, number: u64, failure: Failure) {
        let now = self.seams.clock.now();
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        entry.refused(&failure, now, &mut self.seams.rng);
        if let Some((_, next)) = entry.cell.failing() {
            self.seams.record.failed(&entry.shared, &failure, next, now);
        }
        if let Some(ends) = entry.cell.last_resort(now) {
            Record::last_resort(&entry.shared, ends, now);
        }
        entry.failure = Some(failure);
        entry.settle(now);
    }
}

/// Reports a fetch however its task ends, a panic included: a cell whose fetch never ends would
/// never fetch again.
struct Outcome {
    number: u64,
    result: Option<Result<Granted, Failure>>,
    reports: UnboundedSender<Report>,
    credential: Arc<Credential>,
}

impl Outcome {
    fn send(mut self, result: Option<Result<Granted, Failure>>) {
        self.result = Some(result.unwrap_or_else(|| Err(Failure::deadline(&self.credential))));
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        let broken = || Err(Failure::internal(&self.credential));
        let result = self.result.take().unwrap_or_else(broken);
        // nobody listens when everything ends
        let _ = self.reports.send(Report::Fetch(self.number, result));
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
}

fn host(credential: &Credential) -> &str {
    credential.provider.issuer.host_str().unwrap_or("?")
}

/// What two fetches of this kind must not use at the same time.
pub(super) fn lane(shared: &Shared) -> Option<Lane> {
    let credential = shared.credential.load();
    match &credential.grant {
        Grant::RefreshToken { file } => Some(Lane::RefreshToken(file.clone())),
        Grant::SamlBearer {
            assertion: SamlSource::Sts(_),
            ..
        } => Some(Lane::SignIn(credential.name.clone())),
        Grant::ClientCredentials
        | Grant::Password { .. }
        | Grant::TokenExchange { .. }
        | Grant::SamlBearer { .. }
        | Grant::JwtBearer { .. }
        | Grant::AuthorizationCode { .. } => None,
    }
}
