//! Tokens that are good no longer, though nothing in them says so.
//!
//! A list names them by `jti`, `sid` or `sub`. It has two parts with a writer each: what a file
//! holds ([`file`]) and what providers said since the start ([`Revoked::add`]). It is asked each time
//! that a token is used, after the rules of the route; while it is empty that costs one load.

mod file;

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::{Value, json};

pub(super) use self::file::follow;
use super::{Claims, Refusal, json::Json};
use crate::{clock::Moment, health::Report};

/// Of those that providers said; each takes about 100 octets.
const MOST: usize = 100_000;

/// The list as it is now. All threads share it.
#[derive(Debug, Default)]
pub struct Revoked {
    now: ArcSwap<Lists>,
    /// Held by who replaces one of the two.
    writing: Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct Lists {
    file: Arc<List>,
    said: Arc<List>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct List(HashMap<Name, Vec<Entry>>);

/// What an entry names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    pub claim: Claim,
    pub value: Box<str>,
}

/// A claim that tokens are revoked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Claim {
    /// One token.
    Jti,
    /// All tokens of a session.
    Sid,
    /// All tokens of a user or client.
    Sub,
}

/// Which tokens with the name an entry is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Those of this issuer; `None`: of any.
    pub issuer: Option<Box<str>>,
    /// Those that are older, by the wall clock; `None`: of any age. Who signs in anew is let in.
    pub before: Option<Duration>,
    /// When the entry ends, by the wall clock; `None`: it does not.
    pub until: Option<Duration>,
}

/// There is no room for a further entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the list of revoked tokens is full")]
pub struct Full;

impl Claim {
    const ALL: [Self; 3] = [Self::Jti, Self::Sid, Self::Sub];

    fn name(self) -> &'static str {
        match self {
            Self::Jti => "jti",
            Self::Sid => "sid",
            Self::Sub => "sub",
        }
    }
}

impl Revoked {
    /// # Errors
    /// When the token is on the list.
    pub fn check(&self, claims: &Claims, now: Moment) -> Result<(), Refusal> {
        let lists = self.now.load();
        if lists.file.0.is_empty() && lists.said.0.is_empty() {
            return Ok(());
        }
        for claim in Claim::ALL {
            let Some(value) = claims.get(claim.name()).and_then(Json::text) else {
                continue;
            };
            let value = value.into();
            let name = Name { claim, value };
            let mut entries = [&lists.file, &lists.said].into_iter();
            if entries.any(|list| list.has(&name, claims, now)) {
                let claim = claim.name();
                return Err(Refusal::Revoked { claim });
            }
        }
        Ok(())
    }

    /// Adds what a provider said.
    ///
    /// # Errors
    /// When there is no room.
    pub fn add(&self, name: Name, entry: Entry, now: Moment) -> Result<(), Full> {
        let _writing = self.writing.lock();
        let mut lists = Lists::clone(&self.now.load());
        let mut said = List::clone(&lists.said);
        said.forget_ended(now);
        if said.0.len() >= MOST {
            return Err(Full);
        }
        let entries = said.0.entry(name).or_default();
        // a later one of the same issuer says all that the earlier did
        entries.retain(|known| known.issuer != entry.issuer);
        entries.push(entry);
        lists.said = Arc::new(said);
        self.now.store(Arc::new(lists));
        Ok(())
    }

    fn replace_file(&self, list: List) {
        let _writing = self.writing.lock();
        let mut lists = Lists::clone(&self.now.load());
        lists.file = Arc::new(list);
        self.now.store(Arc::new(lists));
    }
}

impl Report for Revoked {
    fn name(&self) -> &'static str {
        "revoked_tokens"
    }

    fn report(&self) -> Value {
        let lists = self.now.load();
        json!({"from_file": lists.file.0.len(), "from_providers": lists.said.0.len()})
    }
}

impl List {
    fn has(&self, name: &Name, claims: &Claims, now: Moment) -> bool {
        let entries = self.0.get(name).map(Vec::as_slice).unwrap_or_default();
        entries.iter().any(|entry| entry.is_about(claims, now))
    }

    fn forget_ended(&mut self, now: Moment) {
        self.0.retain(|_, entries| {
            entries.retain(|entry| !entry.ended(now));
            !entries.is_empty()
        });
    }
}

impl Entry {
    fn ended(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| until <= now.wall)
    }

    fn is_about(&self, claims: &Claims, now: Moment) -> bool {
        let without_slash = |name: &str| name.strip_suffix('/').unwrap_or(name).to_owned();
        let its = self
            .issuer
            .as_deref()
            .is_none_or(|issuer| without_slash(issuer) == without_slash(&claims.issuer));
        // a token that was renewed is as old as the sign-in; one that does not say is old
        let age = claims.signed_in.or(claims.issued);
        let old = self
            .before
            .is_none_or(|before| age.is_none_or(|age| age < before));
        its && old && !self.ended(now)
    }
}
