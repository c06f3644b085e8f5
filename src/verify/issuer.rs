//! An issuer whose tokens are taken: its names and its keys as they are now.
//!
//! One task replaces the keys ([`super::follow`]); every thread reads them. Who meets a token whose
//! key is not known may ask that task for newer keys, once in [`ASK_AGAIN`] for all callers
//! together; whoever asks in between is told no. So no caller can make us ask the provider often,
//! and nobody waits longer than [`super::LONGEST_WAIT`].

use std::{collections::VecDeque, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};

use super::{
    LONGEST_WAIT, Unverified,
    claims::Claims,
    introspection::Introspector,
    jwt::{Jws, said_issuer},
    keys::KeySet,
    refusal::{Refusal, shown},
};
use crate::{
    clock::{Clock, Deadline, Moment},
    config::{Name, Provider},
};

/// Between fetches that callers cause.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(10);
/// Requests that wait for them at once; more are refused.
const MOST_WAITING: usize = 256;
/// A key id that was not in the newest set is not asked for again for so long.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);
/// Of so many ids.
const MOST_UNKNOWN: usize = 128;

#[derive(Debug)]
pub struct Issuer {
    number: u32,
    pub name: Name,
    /// Without a slash at the end.
    names: Box<[Box<str>]>,
    introspector: Option<Arc<Introspector>>,
    keys: ArcSwap<KeySet>,
    /// Wakes the task that follows the keys.
    pub(super) asked: Notify,
    pub(super) progress: watch::Sender<Progress>,
    unknown: Mutex<VecDeque<(Box<str>, Deadline)>>,
}

/// How far the task that follows the keys has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// Fetches that have ended.
    pub(super) rounds: u64,
    pub(super) fetch: Fetch,
    pub(super) last_success: Option<Moment>,
    /// When others took the place of the known ones.
    pub(super) keys_changed: Option<Moment>,
    /// Since the last success.
    pub(super) last_error: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Fetch {
    #[default]
    UnderWay,
    /// And callers cause none before this.
    NotBefore(Deadline),
}

/// Newer keys that are being fetched.
#[derive(Debug)]
pub struct NewerKeys {
    progress: watch::Receiver<Progress>,
    rounds: u64,
}

/// Whether a token may be verified by newer keys.
#[derive(Debug)]
pub enum Newer {
    No,
    /// They are there already.
    Here,
    Coming(NewerKeys),
}

impl NewerKeys {
    /// Waits for the end of the fetch, whatever comes of it, but no longer than until then.
    pub async fn ended(mut self, then: Instant) {
        let rounds = self.rounds;
        let newer = self.progress.wait_for(|now| now.rounds > rounds);
        // who waits too long finds the keys as they were
        let _ = timeout_at(then, newer).await;
    }
}

impl Issuer {
    /// No keys yet. `number` is its own among all issuers of the process.
    pub fn new(number: u32, provider: &Provider) -> Self {
        let names = provider.issuers();
        Self {
            number,
            name: provider.name.clone(),
            names: names
                .map(|name| without_slash(name.as_str()).into())
                .collect(),
            introspector: None,
            keys: ArcSwap::from_pointee(KeySet::none()),
            asked: Notify::new(),
            progress: watch::Sender::default(),
            unknown: Mutex::default(),
        }
    }

    /// Tokens that are no JWTs are asked about.
    #[must_use]
    pub(super) fn asking(mut self, introspector: Arc<Introspector>) -> Self {
        self.introspector = Some(introspector);
        self
    }

    /// Who says whether tokens are good that cannot be checked with keys.
    pub fn introspector(&self) -> Option<&Arc<Introspector>> {
        self.introspector.as_ref()
    }

    /// Whether it is asked about this token.
    ///
    /// # Errors
    /// When no issuer could be; or when the token says that it is of another, which is none of
    /// this one's business.
    pub fn is_asked_about(&self, by: &Introspector, token: &str) -> Result<bool, Refusal> {
        let asked = by.is_for(token)?;
        let foreign = said_issuer(token).filter(|said| asked && !self.is_called(said));
        match foreign {
            Some(said) => Err(Refusal::Issuer {
                found: shown(&said),
            }),
            None => Ok(asked),
        }
    }

    /// All that its tokens may call it.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// Its own name, rather than another that its tokens may have.
    pub(super) fn first_name(&self) -> &str {
        self.names.first().map(|name| &**name).unwrap_or_default()
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub fn keys(&self) -> Guard<Arc<KeySet>> {
        self.keys.load()
    }

    /// Takes other keys. What was verified with one that stays, stays.
    pub fn replace(&self, keys: KeySet) {
        let keys = keys.after(&self.keys.load());
        self.keys.store(Arc::new(keys));
        self.unknown.lock().clear();
    }

    /// Asks for newer keys on behalf of a token that was not verified.
    pub fn newer(&self, token: &str, unverified: &Unverified, now: Moment) -> Newer {
        if !unverified.refusal.is_of_the_keys() {
            return Newer::No;
        }
        match self.ask(token, now) {
            Some(coming) => Newer::Coming(coming),
            // the fetch may have ended after the token was looked at
            None if self.keys().generation() != unverified.generation => Newer::Here,
            None => Newer::No,
        }
    }

    /// Whether one of its keys signed the token; newer ones are asked for where that may help.
    pub(super) async fn signed(
        &self,
        token: &str,
        jws: &Jws<'_>,
        clock: &Clock,
    ) -> Result<(), Refusal> {
        let keys = self.keys();
        let generation = keys.generation();
        let refusal = match keys.verify(jws) {
            Ok(key) => {
                keys.used(key, clock.now().wall);
                return Ok(());
            }
            Err(refusal) => refusal,
        };
        drop(keys);
        let unverified = Unverified {
            refusal,
            generation,
        };
        match self.newer(token, &unverified, clock.now()) {
            Newer::No => return Err(unverified.refusal),
            Newer::Here => {}
            Newer::Coming(keys) => keys.ended(clock.mono() + LONGEST_WAIT).await,
        }
        let keys = self.keys();
        let key = keys.verify(jws)?;
        keys.used(key, clock.now().wall);
        Ok(())
    }

    fn ask(&self, token: &str, now: Moment) -> Option<NewerKeys> {
        if let Some(id) = key_id(token)
            && self.is_unknown(&id, now)
        {
            return None;
        }
        if self.progress.receiver_count() >= MOST_WAITING {
            return None;
        }
        let progress = self.progress.subscribe();
        let seen = progress.borrow().clone();
        match seen.fetch {
            Fetch::NotBefore(then) if !then.passed(now) => return None,
            Fetch::NotBefore(_) => self.asked.notify_one(),
            Fetch::UnderWay => {}
        }
        Some(NewerKeys {
            rounds: seen.rounds,
            progress,
        })
    }

    /// The newest keys do not have the token's key id either.
    pub fn stays_unknown(&self, token: &str, now: Moment) {
        let Some(id) = key_id(token) else {
            return;
        };
        let mut unknown = self.unknown.lock();
        unknown.retain(|(known, until)| **known != *id && !until.passed(now));
        if unknown.len() >= MOST_UNKNOWN {
            unknown.pop_front();
        }
        unknown.push_back((id.into(), now.plus(UNKNOWN_FOR)));
    }

    #[cfg(test)]
    pub(super) fn unknown_ids(&self) -> usize {
        self.unknown.lock().len()
    }

    fn is_unknown(&self, id: &str, now: Moment) -> bool {
        let unknown = self.unknown.lock();
        let mut known = unknown.iter().filter(|(known, _)| **known == *id);
        known.any(|(_, until)| !until.passed(now))
    }

    /// Whether it is this issuer that a token names.
    pub(super) fn is_named(&self, issuer: &str) -> Result<(), Refusal> {
        if self.is_called(issuer) {
            return Ok(());
        }
        let found = shown(issuer);
        Err(Refusal::Issuer { found })
    }

    /// Reads the claims of a token that one of its keys signed, or of one that no rule would take
    /// anyway.
    pub(super) fn claims(&self, token: &Jws<'_>, now: Moment) -> Result<Claims, Refusal> {
        self.is_from(Claims::read(token.payload()?, token.typ.clone(), now)?)
    }

    /// The claims, if they are this issuer's.
    pub(super) fn is_from(&self, claims: Claims) -> Result<Claims, Refusal> {
        self.is_named(&claims.issuer).map(|()| claims)
    }

    /// To the character, but for one slash at the end, which a URL without a path may have.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let name = without_slash(name);
        self.names.iter().any(|known| **known == *name)
    }
}

fn key_id(token: &str) -> Option<String> {
    Jws::parse(token).ok()?.key_id
}

pub(super) fn without_slash(name: &str) -> &str {
    name.strip_suffix('/').unwrap_or(name)
}
