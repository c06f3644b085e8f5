//! An issuer whose tokens are taken: its names and its keys as they are now.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::{
    claims::Claims,
    jwt::Jws,
    keys::KeySet,
    refusal::{Refusal, shown},
};
use crate::{clock::Moment, config::Provider};

/// One writer replaces the keys; every thread reads them.
#[derive(Debug)]
pub struct Issuer {
    number: u32,
    /// Without a slash at the end.
    names: Box<[Box<str>]>,
    keys: ArcSwap<KeySet>,
}

impl Issuer {
    /// No keys yet. `number` is its own among all issuers of the process.
    pub fn new(number: u32, provider: &Provider) -> Self {
        let names = provider.issuers();
        Self {
            number,
            names: names
                .map(|name| without_slash(name.as_str()).into())
                .collect(),
            keys: ArcSwap::from_pointee(KeySet::none()),
        }
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
    }

    /// Reads the claims of a token that one of its keys signed, or of one that no rule would take
    /// anyway.
    pub(super) fn claims(&self, token: &Jws<'_>, now: Moment) -> Result<Claims, Refusal> {
        let claims = Claims::read(&token.payload()?, token.declared, now)?;
        // to the character, but for one slash at the end, which a URL without a path may have
        let issuer = without_slash(&claims.issuer);
        if self.names.iter().any(|name| **name == *issuer) {
            return Ok(claims);
        }
        let found = shown(&claims.issuer);
        Err(Refusal::Issuer { found })
    }
}

fn without_slash(name: &str) -> &str {
    name.strip_suffix('/').unwrap_or(name)
}
