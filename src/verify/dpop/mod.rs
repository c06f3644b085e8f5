//! Proofs of possession (DPoP, RFC 9449): a small JWT for each request, signed with the key that an
//! access token is bound to.
//!
//! A proof brings its key along, in its header. That is the only place where a key of a caller's is
//! ever used, and it counts for nothing unless the token, which an issuer signed, names it. A proof
//! is for one method, one URI and one token, is young, and is taken once.

mod key;
mod nonce;
mod seen;
mod uri;

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use self::{
    key::ProofKey,
    nonce::Nonces,
    seen::{NotNew, Seen},
};
pub use self::{nonce::Nonce, uri::Requested};
use super::{
    bound::Thumbprint,
    claims,
    json::{Json, Object},
    jwt::{self, Parts},
    refusal::Refusal,
};
use crate::{
    clock::Moment,
    config::{LONGEST_SKEW, NonceUse, ProofRules, TokenRules},
};

/// A key of 4,096 bits, a signature with it, and a long URI.
const LONGEST: usize = 8 * 1024;
const LONGEST_ID: usize = 256;

/// What all threads check proofs with.
#[derive(Debug)]
pub struct Proofs {
    seen: Seen,
    nonces: Nonces,
    longest: Duration,
}

/// What a proof must prove.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'r> {
    pub asked: Requested<'r>,
    /// The access token that it goes with.
    pub token: &'r str,
    /// The key that the token is bound to.
    pub key: &'r Thumbprint,
    pub rules: &'r ProofRules,
    /// How far the caller's clock and ours may be apart.
    pub skew: Duration,
}

/// Why a proof is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    #[error("there is no DPoP field")]
    Missing,
    #[error("there is more than one DPoP field")]
    Several,
    #[error("it is no JWS: {0}")]
    Jws(Refusal),
    #[error("its `typ` is not dpop+jwt")]
    Type,
    #[error("its algorithm is not one that the route takes")]
    Algorithm,
    #[error("its key cannot be used: {why}")]
    Key { why: &'static str },
    #[error("its key is not the one that the token is bound to")]
    OtherKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("its `{claim}` is missing or of a wrong type")]
    Claim { claim: &'static str },
    #[error("it is for another method")]
    Method,
    #[error("it is for another URI")]
    Uri,
    #[error("it is for another access token")]
    Token,
    #[error("it is {age:?} old")]
    Old { age: Duration },
    #[error("it was made {ahead:?} from now")]
    FromTheFuture { ahead: Duration },
    #[error("its nonce is missing, too old or not one of ours")]
    Nonce,
    #[error("it was used before")]
    Used,
    #[error("too many proofs are remembered to take a further one")]
    NoRoom,
}

impl Proofs {
    /// `key`: random and nobody else's. `longest`: the longest time after a proof's issue at which
    /// any rule takes it; what one rule took, no other must take again.
    pub fn new(key: &[u8; 32], longest: Duration, now: Moment) -> Self {
        Self {
            seen: Seen::new(now),
            nonces: Nonces::new(key),
            longest,
        }
    }

    /// The longest time after a proof's issue at which these rules take it.
    pub fn longest(rules: &TokenRules) -> Duration {
        rules.proofs.max_age + rules.clock_skew.min(LONGEST_SKEW)
    }

    /// How many used ones are remembered.
    pub fn remembered(&self) -> usize {
        self.seen.len()
    }

    /// A nonce for the next proof.
    pub fn nonce(&self, now: Moment) -> String {
        self.nonces.current(now)
    }

    /// Takes a proof, once. What costs least is looked at first.
    ///
    /// # Errors
    /// When it is not what is expected, or was used before.
    pub fn check(
        &self,
        proof: &[u8],
        expected: &Expected<'_>,
        now: Moment,
    ) -> Result<Nonce, BadProof> {
        let proof = std::str::from_utf8(proof.trim_ascii());
        let proof = proof.map_err(|_| BadProof::Jws(Refusal::NotJwt))?;
        let parts = Parts::of(proof, LONGEST).map_err(BadProof::Jws)?;
        let claims = verified(&parts, expected)?;
        if text(&claims, "htm")? != expected.asked.method {
            return Err(BadProof::Method);
        }
        if !expected.asked.is_at(text(&claims, "htu")?) {
            return Err(BadProof::Uri);
        }
        let hash = digest(&SHA256, expected.token.as_bytes());
        if text(&claims, "ath")? != URL_SAFE_NO_PAD.encode(hash) {
            return Err(BadProof::Token);
        }
        let issued = young(&claims, expected, now)?;
        let keep = issued.saturating_add(self.longest);
        let keep = keep.saturating_sub(now.wall);
        let jti = text(&claims, "jti")?;
        if jti.is_empty() || jti.len() > LONGEST_ID {
            return Err(BadProof::Claim { claim: "jti" });
        }
        let nonce = self.nonce_of(&claims, expected.rules.nonce, now)?;
        // last: a proof that is refused for another reason is not used up
        match self.seen.first(expected.key, jti, keep, now) {
            Ok(()) => Ok(nonce),
            Err(NotNew::Used) => Err(BadProof::Used),
            Err(NotNew::NoRoom) => Err(BadProof::NoRoom),
        }
    }

    fn nonce_of(&self, claims: &Object, wanted: NonceUse, now: Moment) -> Result<Nonce, BadProof> {
        let nonce = match claims.get("nonce") {
            None if wanted == NonceUse::Required => return Err(BadProof::Nonce),
            None => Nonce::Stale,
            Some(Json::Text(nonce)) => self.nonces.look(nonce, now),
            Some(_) => return Err(BadProof::Claim { claim: "nonce" }),
        };
        match wanted {
            NonceUse::Off => Ok(Nonce::Current),
            // who sends one that is stale wants to know
            _ if nonce == Nonce::Stale && claims.has("nonce") => Err(BadProof::Nonce),
            NonceUse::Optional | NonceUse::Required => Ok(nonce),
        }
    }
}

/// The claims of a proof that was signed with the key that is expected.
fn verified(parts: &Parts<'_>, expected: &Expected<'_>) -> Result<Object, BadProof> {
    let header = &parts.header;
    match jwt::declared(header) {
        Ok(Some(typ)) if &*typ == "dpop+jwt" => {}
        _ => return Err(BadProof::Type),
    }
    let algorithm = jwt::algorithm(header).map_err(|refusal| match refusal {
        Refusal::Algorithm | Refusal::Unsigned => BadProof::Algorithm,
        other => BadProof::Jws(other),
    })?;
    if !expected.rules.algorithms.contains(&algorithm) {
        return Err(BadProof::Algorithm);
    }
    let signature = parts.signature().map_err(BadProof::Jws)?;
    let key = ProofKey::read(header.get("jwk"), algorithm)?;
    if key.thumbprint != *expected.key {
        return Err(BadProof::OtherKey);
    }
    if !key.signed(parts.signed.as_bytes(), &signature) {
        return Err(BadProof::Signature);
    }
    parts.payload().map_err(BadProof::Jws)
}

/// When the proof was issued: not long ago.
fn young(claims: &Object, expected: &Expected<'_>, now: Moment) -> Result<Duration, BadProof> {
    let skew = expected.skew.min(LONGEST_SKEW);
    let issued = date(claims, "iat")?.ok_or(BadProof::Claim { claim: "iat" })?;
    let not_before = date(claims, "nbf")?.unwrap_or_default();
    let whole = |time: Duration| Duration::from_secs(time.as_secs());
    let ahead = issued.max(not_before).saturating_sub(now.wall);
    if ahead > skew {
        let ahead = whole(ahead);
        return Err(BadProof::FromTheFuture { ahead });
    }
    let age = now.wall.saturating_sub(issued);
    let ended = date(claims, "exp")?.is_some_and(|ends| ends.saturating_add(skew) <= now.wall);
    if age > expected.rules.max_age.saturating_add(skew) || ended {
        let age = whole(age);
        return Err(BadProof::Old { age });
    }
    Ok(issued)
}

fn text<'c>(claims: &'c Object, claim: &'static str) -> Result<&'c str, BadProof> {
    let text = claims.get(claim).and_then(Json::text);
    text.ok_or(BadProof::Claim { claim })
}

fn date(claims: &Object, claim: &'static str) -> Result<Option<Duration>, BadProof> {
    claims::date(claims, claim).map_err(|_| BadProof::Claim { claim })
}
