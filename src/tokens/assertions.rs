//! SAML assertions that a security token service gave for names and passwords, kept in memory.
//!
//! One is used until it ends or is refused, so that a password is rarely sent. One that is refused
//! is replaced once, and only if it was good before: what was wrong with a new one is wrong with
//! the next one too.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::key::Key;
use crate::{
    clock::{Clock, Deadline},
    config::{Credential, ScopeSet, Sts},
    metrics::SharedCache,
    oauth::{HttpClient, SamlAssertion, StsError, sts},
    secret::Secret,
};

/// Less life than this is not worth keeping.
const MARGIN: Duration = Duration::from_secs(60);

/// One for each way of signing in. Clones share.
#[derive(Debug, Clone)]
pub(super) struct Assertions {
    clock: Clock,
    kept: Arc<Mutex<HashMap<Key, Kept>>>,
    counts: SharedCache,
}

#[derive(Debug, Clone)]
struct Kept {
    assertion: SamlAssertion,
    ends: Deadline,
    /// Of the password that it was given for.
    password: [u8; 32],
    standing: Standing,
}

/// What is known of a kept assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Untried,
    /// A token was issued for it.
    Good,
}

/// An assertion for the token endpoint.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) assertion: SamlAssertion,
    /// Of what it was made from: whether a new one may be good where this one is refused.
    pub(super) standing: Standing,
}

/// Who signs in, where, with what.
pub(super) struct SignIn<'a> {
    pub(super) credential: &'a Credential,
    pub(super) sts: &'a Sts,
    pub(super) password: &'a Secret,
    pub(super) http: &'a HttpClient,
}

impl Assertions {
    pub(super) fn new(clock: Clock, counts: SharedCache) -> Self {
        let kept: Arc<Mutex<HashMap<Key, Kept>>> = Arc::default();
        counts.held_by(&kept, |kept| kept.lock().len() as u64);
        Self {
            clock,
            kept,
            counts,
        }
    }

    /// The assertion to show, with as few requests as it takes.
    pub(super) async fn get(&self, who: &SignIn<'_>) -> Result<Found, StsError> {
        let kept = self.kept(who);
        self.counts.looked(&kept);
        let Some(kept) = kept else {
            return self.fresh(who).await;
        };
        match self.delegated(who, &kept.assertion).await {
            Err(error) if error.refuses_the_assertion() && kept.standing == Standing::Good => {
                self.fresh(who).await
            }
            found => Ok(Found {
                assertion: found?,
                standing: kept.standing,
            }),
        }
    }

    /// Signs in, whatever is kept.
    pub(super) async fn fresh(&self, who: &SignIn<'_>) -> Result<Found, StsError> {
        let key = key(who);
        self.kept.lock().remove(&key);
        let sent = self.clock.now();
        let issued = sts::sign_in(who.http, who.sts, who.password, sent).await?;
        if let Some(life) = issued.life.filter(|life| *life > MARGIN) {
            let kept = Kept {
                assertion: issued.assertion.clone(),
                ends: sent.plus(life.saturating_sub(MARGIN)),
                password: who.password.fingerprint(),
                standing: Standing::Untried,
            };
            self.kept.lock().insert(key, kept);
        }
        Ok(Found {
            assertion: self.delegated(who, &issued.assertion).await?,
            standing: Standing::Untried,
        })
    }

    /// A token was issued for what is kept.
    pub(super) fn good(&self, who: &SignIn<'_>) {
        if let Some(kept) = self.kept.lock().get_mut(&key(who)) {
            kept.standing = Standing::Good;
        }
    }

    fn kept(&self, who: &SignIn<'_>) -> Option<Kept> {
        let now = self.clock.now();
        let mut all = self.kept.lock();
        all.retain(|_, kept| !kept.ends.passed(now));
        let kept = all.get(&key(who))?;
        (kept.password == who.password.fingerprint()).then(|| kept.clone())
    }

    async fn delegated(
        &self,
        who: &SignIn<'_>,
        first: &SamlAssertion,
    ) -> Result<SamlAssertion, StsError> {
        let Some(url) = &who.sts.delegation else {
            return Ok(first.clone());
        };
        let now = self.clock.now();
        let issued = sts::delegate(who.http, who.sts, url, first, now).await?;
        Ok(issued.assertion)
    }
}

/// The same for all scopes.
fn key(who: &SignIn<'_>) -> Key {
    Key::new(who.credential, &ScopeSet::default())
}
