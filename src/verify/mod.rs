//! Tokens that callers show: whether their issuer signed them, and what they say.
//!
//! Which key and which algorithm check a token is decided by the configuration and the issuer's
//! keys, never by the token. [`Verified`] is the proof that a signature was right and is made here
//! only; [`Claims::check`] then asks a route's rules, each time. A token that was seen before costs
//! one digest and one lookup.

mod algorithm;
mod bound;
mod cache;
mod claims;
mod coming;
mod dpop;
mod examine;
mod follow;
mod id_token;
mod introspection;
mod issuer;
mod json;
mod jwk;
mod jwt;
mod kept;
mod keys;
mod logout;
mod refusal;
mod revoked;
mod rules;
mod service;

use std::sync::Arc;

use aws_lc_rs::error::Unspecified;
use parking_lot::Mutex;

use self::cache::{Cache, Digest, Proof};
pub use self::{
    bound::{Scheme, Shown, ShownProof, Thumbprint, Unbound},
    cache::Verified,
    claims::Claims,
    coming::{Coming, LONGEST_WAIT, Waited},
    dpop::{BadProof, Expected, Nonce, Proofs, Requested},
    examine::{Finding, Verdict, examine},
    id_token::{
        AtHash, BadIdToken, ExpectedIdToken, IdToken, IdTokenError, SentNonce, id_token_once,
    },
    introspection::{Introspector, Outcome, Said, Unavailable, UnreadableAnswer, read_answer},
    issuer::{Issuer, Newer, NewerKeys},
    json::{Json, Object},
    jwt::{Jws, LONGEST},
    keys::{Key, KeyIdentity, KeySet, KeySetError, Unusable},
    logout::{BadLogout, LoggedOut, Logouts},
    refusal::{Part, Refusal},
    revoked::{Revoked, SignedIn},
    service::KeyService,
};
use crate::{clock::Moment, metrics::CacheMetrics};

/// A token that is not taken, and by which keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverified {
    pub refusal: Refusal,
    generation: u64,
}

impl From<Unverified> for Refusal {
    fn from(unverified: Unverified) -> Self {
        unverified.refusal
    }
}

/// What one data-plane thread checks tokens with.
#[derive(Debug)]
pub struct Verifier {
    /// Never contended: it belongs to one thread, but is shared between that thread's tasks.
    cache: Mutex<Cache>,
    /// All threads share them: a proof is taken by one.
    proofs: Arc<Proofs>,
    counts: CacheMetrics,
}

impl Verifier {
    /// `key`: random, another for each thread, for the digests that tokens are remembered by.
    ///
    /// # Errors
    /// When the key cannot be used, which does not happen.
    pub fn new(
        key: &[u8; 32],
        proofs: Arc<Proofs>,
        counts: CacheMetrics,
    ) -> Result<Self, Unspecified> {
        Ok(Self {
            cache: Mutex::new(Cache::new(key)?),
            proofs,
            counts,
        })
    }

    pub fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// The token, if `issuer` signed it; the caller's rules are still to be asked.
    ///
    /// # Errors
    /// Why the token is not taken. [`Issuer::newer`] says whether newer keys may set that right.
    pub fn verify(
        &self,
        issuer: &Issuer,
        token: &str,
        now: Moment,
    ) -> Result<Arc<Verified>, Unverified> {
        let keys = issuer.keys();
        let generation = keys.generation();
        let unverified = |refusal| Unverified {
            refusal,
            generation,
        };
        if token.len() > LONGEST {
            return Err(unverified(Refusal::TooLarge { limit: LONGEST }));
        }
        let mut cache = self.cache.lock();
        let digest = cache.digest(issuer.number(), token);
        if let Some(digest) = digest
            && let Some(known) = cache.get(digest, &keys, now)
        {
            self.counts.hit();
            if let Proof::Signed(key) = known.proof {
                keys.used(key, now.wall);
            }
            return Ok(known);
        }
        self.counts.missed();
        let verified = verify(issuer, &keys, token, now).map_err(unverified)?;
        let verified = Arc::new(verified);
        if let Some(digest) = digest
            && !verified.claims.gone().passed(now)
        {
            self.put(&mut cache, digest, &keys, &verified);
        }
        Ok(verified)
    }

    /// What is remembered of the token.
    pub fn known(&self, issuer: &Issuer, token: &str, now: Moment) -> Option<Arc<Verified>> {
        let mut cache = self.cache.lock();
        let digest = cache.digest(issuer.number(), token)?;
        let known = cache.get(digest, &issuer.keys(), now);
        // who finds nothing goes on to ask, and counts when it remembers or verifies
        if known.is_some() {
            self.counts.hit();
        }
        known
    }

    /// Remembers what the issuer said of the token, as long as that is believed.
    pub fn remember(&self, issuer: &Issuer, token: &str, verified: &Arc<Verified>, now: Moment) {
        let Proof::Answered { until } = verified.proof else {
            return;
        };
        let mut cache = self.cache.lock();
        if let Some(digest) = cache.digest(issuer.number(), token)
            && !until.passed(now)
        {
            self.counts.missed();
            self.put(&mut cache, digest, &issuer.keys(), verified);
        }
    }

    fn put(&self, cache: &mut Cache, digest: Digest, keys: &KeySet, verified: &Arc<Verified>) {
        self.counts.evicted(cache.put(digest, keys, verified));
        self.counts.holds(cache.len());
    }
}

/// Without memory.
fn verify(issuer: &Issuer, keys: &KeySet, token: &str, now: Moment) -> Result<Verified, Refusal> {
    let token = Jws::parse(token)?;
    match keys.verify(&token) {
        Ok(key) => {
            let claims = issuer.claims(&token, now)?;
            keys.used(key, now.wall);
            Ok(Verified {
                claims,
                proof: Proof::Signed(key),
            })
        }
        // no key is asked for on behalf of what would be refused with any
        Err(refusal) if refusal.is_of_the_keys() => issuer.claims(&token, now).and(Err(refusal)),
        Err(refusal) => Err(refusal),
    }
}

#[cfg(test)]
mod tests;
