//! One key as the worker holds it: the cell, the token itself, and those who wait for it.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use rand::Rng;

use super::{
    cell::{Action, Cell, Class, Event, Verdict, served},
    error::{ErrorKind, TokenError},
    handle::{Asked, Failed, Owner, Ready, Renewal, Shared, Snapshot},
    person::PersonToken,
    shown::Evidence,
    source::{Failure, Fingerprint, Granted},
};
use crate::{
    clock::{Deadline, Moment},
    trace::Background,
};

/// Between looks at the secrets of a client that the provider refuses.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// There may be many of them.
const LOOK_FOR_PEOPLE_EVERY: Duration = Duration::from_secs(60);

const REJECTED_TOO: &str = "the token that replaced a rejected one was rejected too; the upstream \
                            may not know this client";

/// Who waits for a key after somebody asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Not the one who asked.
    None,
    /// Only the one who asked: what runs in the background is urgent now.
    First,
    More,
}

/// One key.
pub(super) struct Entry {
    pub(super) shared: Arc<Shared>,
    pub(super) cell: Cell,
    pub(super) waiters: Vec<Asked>,
    pub(super) failure: Option<Failure>,
    pub(super) scopes_warned: bool,
    pub(super) evidence: Evidence,
    /// The fetch that is under way.
    pub(super) fetch: Background,
    token: Option<Token>,
    look: Look,
}

struct Token {
    ready: Ready,
    since: Moment,
    life: Duration,
}

impl Token {
    fn new(id: u64, header: HeaderValue, since: Moment, life: Duration) -> Self {
        let ends = since.plus(served(life));
        Self {
            ready: Ready::new(header, id, ends),
            since,
            life,
        }
    }
}

/// Whether the secrets of a refused client are watched for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Never,
    /// At once: they may have changed while they were being refused. Until that is known, whoever
    /// waits is told nothing.
    First,
    FirstUnderWay,
    At(Deadline),
    UnderWay,
}

impl Look {
    fn is_first(self) -> bool {
        matches!(self, Self::First | Self::FirstUnderWay)
    }
}

impl Entry {
    /// Takes over what a store had for the key.
    pub(super) fn adopt(shared: Arc<Shared>, now: Moment, rng: &mut impl Rng) -> Self {
        let stored = shared.snapshot.load_full();
        let mut entry = Self {
            shared,
            cell: Cell::default(),
            waiters: Vec::new(),
            failure: None,
            scopes_warned: false,
            evidence: Evidence::None,
            fetch: Background::off(),
            token: None,
            look: Look::Never,
        };
        if let Some(stored) = stored {
            let (since, life) = (stored.since, stored.life);
            entry.token = Some(Token {
                ready: stored.ready.clone(),
                since,
                life,
            });
            let id = stored.ready.id();
            entry.step(Event::Fetched { id, since, life }, now, rng);
        }
        entry
    }

    /// Lets the cell take a step and publishes what it changed.
    pub(super) fn step(&mut self, event: Event, now: Moment, rng: &mut impl Rng) -> Option<Action> {
        let (cell, action) = std::mem::take(&mut self.cell).step(event, now, rng);
        self.cell = cell;
        if !matches!(event, Event::Asked(_)) {
            self.publish(now);
        }
        self.shared.status.lock().fetching = self.cell.is_fetching();
        action
    }

    pub(super) fn granted(&mut self, id: u64, granted: &Granted, now: Moment, rng: &mut impl Rng) {
        {
            let mut status = self.shared.status.lock();
            status.last_success = Some(now);
            status.last_error = None;
            status.failures = 0;
            status.missing.clone_from(&granted.missing);
            status.secret = Some(granted.secret);
        }
        let token = Token::new(id, granted.header.clone(), granted.since, granted.life);
        self.holds(token, now, rng);
    }

    /// A person has another refresh token: what was refused before is tried again.
    pub(super) fn renewed(
        &mut self,
        id: u64,
        token: Option<PersonToken>,
        now: Moment,
        rng: &mut impl Rng,
    ) {
        self.step(Event::SecretChanged, now, rng);
        let had = self.token.as_ref().map(|token| token.ready.header());
        let Some(token) = token.filter(|token| had != Some(&token.header)) else {
            return;
        };
        if !token.ends(now).passed(now) {
            let token = Token::new(id, token.header.clone(), token.begun(now), token.life);
            self.holds(token, now, rng);
        }
    }

    /// Nobody has the key any more.
    pub(super) fn retire(self) {
        if let Owner::Person(holding) = &self.shared.owner
            && holding.is_ended()
        {
            self.shared.snapshot.store(None);
        }
        self.waiters.into_iter().for_each(Asked::retired);
    }

    fn holds(&mut self, token: Token, now: Moment, rng: &mut impl Rng) {
        let (id, since, life) = (token.ready.id(), token.since, token.life);
        self.token = Some(token);
        self.failure = None;
        self.look = Look::Never;
        self.step(Event::Fetched { id, since, life }, now, rng);
    }

    pub(super) fn refused(&mut self, failure: &Failure, now: Moment, rng: &mut impl Rng) {
        {
            let mut status = self.shared.status.lock();
            status.last_error = Some(failure.reason.clone());
            status.last_failure = Some(Failed {
                at: now,
                class: failure.label,
                reason: failure.reason.clone(),
            });
            status.failures += 1;
        }
        let event = Event::Failed {
            class: failure.class,
            retry_after: failure.retry_after,
        };
        self.step(event, now, rng);
        self.look = match failure.class {
            Class::Transient | Class::Slow => Look::Never,
            // the refresh token of a person is in no file
            Class::Ended if self.shared.is_persons() => Look::Never,
            Class::Fatal | Class::InvalidGrant | Class::Ended => Look::First,
        };
    }

    /// Answers at once, or keeps who asks until a fetch ends.
    pub(super) fn wait(&mut self, asked: Asked, now: Moment) -> Waiting {
        let Some(asked) = self.answer(asked, now) else {
            return Waiting::None;
        };
        if self.waiters.len() == self.waiters.capacity() {
            // before there is more room: whoever went away is not kept
            self.waiters.retain(|waiter| !waiter.reply.is_closed());
        }
        self.waiters.push(asked);
        match self.waiters.len() {
            1 => Waiting::First,
            _ => Waiting::More,
        }
    }

    /// Answers those whose waiting is over.
    pub(super) fn settle(&mut self, now: Moment) {
        let waiters = std::mem::take(&mut self.waiters);
        self.waiters = waiters
            .into_iter()
            .filter(|waiter| !waiter.reply.is_closed())
            .filter_map(|waiter| self.answer(waiter, now))
            .collect();
    }

    /// Gives back who must wait.
    fn answer(&self, waiter: Asked, now: Moment) -> Option<Asked> {
        let answer = match (self.cell.verdict(waiter.ask, now), &self.token) {
            (Verdict::Token, Some(token)) => Ok(token.ready.clone()),
            // the cell holds what we hold
            (Verdict::Wait, _) | (Verdict::Token, None) => return Some(waiter),
            (Verdict::Failed(_), _) if self.look.is_first() => return Some(waiter),
            (Verdict::Failed(until), _) => Err(self.failed(&waiter, until, now)),
            (Verdict::RecentlyReplaced(until), _) => Err(TokenError {
                credential: self.shared.credential.load().name.clone(),
                kind: ErrorKind::RecentlyReplaced,
                occasion: waiter.ask.occasion(),
                reason: REJECTED_TOO.into(),
                retry_after: Some(until.remaining(now)),
            }),
        };
        // it may have gone away
        let _ = waiter.reply.send(answer);
        None
    }

    /// Whether it is time to see whether the secrets have changed.
    pub(super) fn looks_at_secrets(&mut self, now: Moment) -> bool {
        self.look = match self.look {
            Look::First => Look::FirstUnderWay,
            Look::At(next) if next.passed(now) => Look::UnderWay,
            Look::Never | Look::FirstUnderWay | Look::At(_) | Look::UnderWay => return false,
        };
        true
    }

    pub(super) fn next_look(&self, now: Moment) -> Option<Duration> {
        match self.look {
            Look::First => Some(Duration::ZERO),
            Look::At(next) => Some(next.remaining(now)),
            Look::Never | Look::FirstUnderWay | Look::UnderWay => None,
        }
    }

    /// Whether this is another content than the one that the provider refused.
    pub(super) fn secrets_seen(&mut self, seen: Fingerprint, now: Moment) -> bool {
        if !matches!(self.look, Look::FirstUnderWay | Look::UnderWay) {
            return false;
        }
        let refused = self.failure.as_ref().and_then(|f| f.fingerprint);
        let changed = refused.is_some_and(|refused| refused != seen);
        self.look = if changed {
            Look::Never
        } else {
            let every = if self.shared.is_persons() {
                LOOK_FOR_PEOPLE_EVERY
            } else {
                LOOK_EVERY
            };
            Look::At(now.plus(every))
        };
        changed
    }

    fn failed(&self, waiter: &Asked, until: Deadline, now: Moment) -> TokenError {
        let class = self.failure.as_ref().map_or(Class::Transient, |f| f.class);
        let credential = self.shared.credential.load();
        TokenError {
            credential: credential.name.clone(),
            kind: match class {
                Class::Transient | Class::Slow => ErrorKind::Unavailable,
                Class::Fatal => ErrorKind::Refused,
                Class::Ended if self.shared.is_persons() || credential.grant.is_kept() => {
                    ErrorKind::SignInAgain
                }
                Class::InvalidGrant | Class::Ended => ErrorKind::InvalidGrant,
            },
            occasion: waiter.ask.occasion(),
            reason: self
                .failure
                .as_ref()
                .map_or_else(|| "not fetched yet".into(), |f| f.reason.clone()),
            retry_after: (class != Class::Ended).then(|| until.remaining(now)),
        }
    }

    fn publish(&mut self, now: Moment) {
        let failing = self.cell.failing();
        self.shared.status.lock().next_attempt = match failing {
            Some((Class::Ended, _)) => None,
            Some((_, until)) => Some(until),
            None => self.cell.renews(),
        };
        if self.cell.token(now).is_none() {
            self.token = None;
        }
        let snapshot = self.token.as_ref().map(|token| {
            let renews = self.cell.renews().unwrap_or(token.ready.expires());
            Arc::new(Snapshot {
                ready: token.ready.clone().ageing(renews, token.life),
                since: token.since,
                life: token.life,
                renews,
                reserve: self.cell.reserve(),
                renewal: match failing {
                    None => Renewal::Fine,
                    Some(_) => Renewal::Failing,
                },
            })
        });
        self.shared.snapshot.store(snapshot);
    }
}
