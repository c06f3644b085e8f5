//! The one task that owns every token's life and runs every fetch.
//!
//! Requests wait here, but they own nothing: one that goes away cancels its waiting, never the
//! fetch. Fetches are bounded over all keys, requests before background renewals, and one at a
//! time per refresh token. It looks only at what is due ([`Agenda`]), and wakes at least every
//! [`LOOK_AGAIN`], so that a clock that jumped or a laptop that slept is noticed.

use std::{collections::HashMap, sync::Arc, time::Duration};

use rand::rngs::StdRng;
use tokio::{
    sync::mpsc::{self, UnboundedSender},
    time::sleep,
};

use super::{
    agenda::Agenda,
    cell::{Action, Event, Urgency},
    entry::{Entry, Waiting},
    errand,
    handle::{Asked, Owner, Shared},
    queue::{Lane, Queue, Queues},
    record::Record,
    registry::{Registry, Renewed},
    rotation,
    shown::{self, Evidence},
    source::{Failure, Fingerprint, Granted, SecretInUse, Source},
    store::{Keeper, Stored},
};
use crate::{
    clock::{Clock, Moment},
    config::{Grant, SamlSource},
    secret::Secret,
    shutdown::{Shutdown, Stage},
    trace::Background,
};

/// Fetches at once over all keys of the program.
const FETCHES: usize = 16;
/// The same for people: however many there are, the program's own credentials do not wait.
const PEOPLES_FETCHES: usize = 32;
/// Timers stand still while the machine sleeps.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

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
    entries: HashMap<u64, Entry>,
    agenda: Agenda,
    queues: Queues,
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
            agenda: Agenda::new(seams.clock.now()),
            seams,
            entries: HashMap::new(),
            queues: Queues {
                programs: Queue::new(FETCHES),
                peoples: Queue::new(PEOPLES_FETCHES),
            },
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

    /// Takes over keys that have a handle now, with the tokens that were kept for them; what else
    /// has come for people; and lets go of keys that have nobody any more.
    fn adopt(&mut self) {
        let changes = self.seams.registry.take_changes();
        let now = self.seams.clock.now();
        for shared in changes.fresh {
            let number = shared.number;
            let entry = Entry::adopt(shared, now, &mut self.seams.rng);
            if let Some(ends) = entry.cell.ends() {
                self.seams.record.restored(&entry.shared, ends, now);
            }
            self.entries.insert(number, entry);
            self.plan(number, now);
        }
        for Renewed { number, token } in changes.renewed {
            if let Some(entry) = self.entries.get_mut(&number) {
                let id = self.seams.registry.token_number();
                entry.renewed(id, token, now, &mut self.seams.rng);
                entry.settle(now);
                self.plan(number, now);
            }
        }
        for number in changes.retired {
            self.agenda.forget(number);
            self.queues.forget(number);
            if let Some(entry) = self.entries.remove(&number) {
                entry.retire();
            }
        }
    }

    fn asked(&mut self, asked: Asked) {
        let number = asked.shared.number;
        // what came before the request is known before it is answered
        self.adopt();
        let now = self.seams.clock.now();
        let Some(entry) = self.entries.get_mut(&number) else {
            return asked.retired();
        };
        let action = entry.step(Event::Asked(asked.ask), now, &mut self.seams.rng);
        if let Some(Action::Fetch(urgency)) = action {
            let (reports, shutdown) = (&self.reports, &self.seams.shutdown);
            shown::begin(number, entry, urgency, &mut self.queues, reports, shutdown);
        }
        if entry.wait(asked, now) == Waiting::First {
            self.queues.hurry(number);
        }
        self.plan(number, now);
    }

    /// Lets time pass for the cells that are due, and says until when nothing will happen by
    /// itself.
    fn wake(&mut self) -> Duration {
        let now = self.seams.clock.now();
        for number in self.agenda.due(now) {
            #[cfg(test)]
            self.seams.registry.looked();
            self.look(number, now);
            self.plan(number, now);
        }
        let next = self.agenda.pause(now);
        next.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN)
    }

    fn look(&mut self, number: u64, now: Moment) {
        let unused = self.unused(number, now);
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
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
                shown::begin(number, entry, urgency, &mut self.queues, reports, shutdown);
            }
        }
        if entry.looks_at_secrets(now) {
            let reports = self.reports.clone();
            let credential = entry.shared.credential.load_full();
            let look = self.seams.source.fingerprint(credential);
            self.seams.shutdown.spawn(async move {
                // the worker is gone only when everything ends
                let _ = reports.send(Report::Fingerprint(number, look.await));
            });
        }
    }

    /// When to look at it next.
    fn plan(&mut self, number: u64, now: Moment) {
        let unused = self.unused(number, now);
        let next = self.entries.get(&number).and_then(|entry| {
            let due = entry.cell.next_due(unused, now);
            due.into_iter().chain(entry.next_look(now)).min()
        });
        match next {
            Some(after) => self.agenda.plan(number, after, now),
            None => self.agenda.forget(number),
        }
    }

    /// How long nobody has needed it.
    fn unused(&self, number: u64, now: Moment) -> Duration {
        let stopping = self.seams.shutdown.stage() != Stage::Running;
        match self.entries.get(&number) {
            Some(entry) if !entry.waiters.is_empty() => Duration::ZERO,
            Some(entry) if !stopping => entry.shared.unused(now),
            _ => Duration::MAX,
        }
    }

    fn start_fetches(&mut self) {
        while let Some(number) = self.queues.next() {
            let Some(entry) = self.entries.get_mut(&number) else {
                self.queues.finished(number);
                continue;
            };
            let Seams {
                source,
                shutdown,
                record,
                ..
            } = &self.seams;
            entry.fetch = record.begins(&entry.shared);
            errand::start(number, entry, &**source, &self.reports, shutdown);
        }
    }

    fn reported(&mut self, report: Report) {
        let (Report::Fetch(number, _) | Report::Shown(number, _) | Report::Fingerprint(number, _)) =
            report;
        self.take(report);
        self.plan(number, self.seams.clock.now());
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Fetch(number, result) => {
                self.queues.finished(number);
                self.ended(number, &result);
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
                if let Some(entry) = self.entries.get_mut(&number) {
                    if entry.secrets_seen(fingerprint, now) {
                        entry.step(Event::SecretChanged, now, &mut self.seams.rng);
                    }
                    entry.settle(now);
                }
            }
        }
    }

    /// The fetch itself has ended, whatever is made of it.
    fn ended(&mut self, number: u64, result: &Result<Granted, Failure>) {
        if let Some(entry) = self.entries.get_mut(&number) {
            let mut fetch = std::mem::replace(&mut entry.fetch, Background::off());
            self.seams.record.clock(&entry.shared, &mut fetch);
            for waiter in &entry.waiters {
                waiter.who.into_iter().for_each(|who| fetch.link(who));
            }
            match result {
                Ok(granted) => {
                    let secret = match granted.secret {
                        SecretInUse::Current => "current",
                        SecretInUse::Previous => "previous",
                    };
                    fetch.attribute("itwin_auth_proxy.secret", secret);
                }
                Err(failure) => fetch.fails(failure.label, failure.reason.to_string()),
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
        if let Owner::Program(digest) = shared.owner
            // a person's is not found by who comes after them
            && !shared.credential.load().grant.is_kept()
            && let Ok(token) = granted.header.to_str()
        {
            let stored = Stored {
                token: Secret::new(token),
                since: granted.since.wall,
                life: granted.life,
            };
            self.seams.keeper.keep(digest, stored, now);
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
        self.queues.push(number, lane(&entry.shared), urgency);
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
        if !entry.cell.is_fetching() {
            return; // a person's token came meanwhile, by another sign-in
        }
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

/// What two fetches of this kind must not use at the same time.
pub(super) fn lane(shared: &Shared) -> Option<Lane> {
    if let Owner::Person(holding) = &shared.owner {
        return Some(Lane::Person(holding.number));
    }
    let credential = shared.credential.load();
    match &credential.grant {
        Grant::RefreshToken { .. } => rotation::watched(&credential).map(Lane::RefreshToken),
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
