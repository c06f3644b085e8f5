//! An issuer's public keys (RFC 7517), ready for use.
//!
//! A key is parsed once and is for one algorithm: the one that it names, or the first of the
//! issuer's that its type allows. A key that cannot be used is left out, and costs the set nothing
//! else; a set without any usable key is no set. Each key has an identity made of all that it is,
//! so that what was remembered by its word goes when it goes, and stays when it stays.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::{
    digest::{Context, SHA256},
    signature::ParsedPublicKey,
};

use super::{
    json::{Json, Object},
    jwk::{self, PublicKey},
    jwt::Jws,
    refusal::{Refusal, shown},
};
use crate::config::Algorithm;

/// Kept of one set; more is no rotation but an attack or a mistake.
const MOST_KEYS: usize = 64;
/// Signatures that are tried for one token: several keys may share an id, or the token may name
/// none.
const MOST_TRIES: usize = 4;

/// What a key is: a digest of its id, algorithm and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyIdentity([u8; 32]);

/// A key that signatures are checked with.
pub struct Key {
    identity: KeyIdentity,
    id: Option<Box<str>>,
    algorithm: Algorithm,
    public: ParsedPublicKey,
    history: Arc<History>,
}

/// What is told of a key; the same for all sets that have it. Unix seconds; 0: never.
#[derive(Debug, Default)]
struct History {
    since: AtomicU64,
    used: AtomicU64,
}

/// A key, as people are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts<'k> {
    pub id: Option<&'k str>,
    pub algorithm: Algorithm,
    /// When it came, since 1970.
    pub since: Option<Duration>,
    /// When a token that it signed was last let through to the rules, since 1970; to the second.
    pub used: Option<Duration>,
}

/// The keys of an issuer at one time.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    generation: u64,
}

/// A key set that cannot be had from a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    #[error("the key set is no JSON object with a list of `keys`")]
    Unreadable,
    #[error("the key set has no key that can be used{}", because(.0))]
    Empty(Vec<Unusable>),
}

/// A key of a set that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// As the set writes it, cleaned.
    pub id: String,
    pub why: &'static str,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({})", self.id, self.algorithm)
    }
}

impl KeySet {
    /// No keys: those that were known are too old, or none have been had yet.
    pub fn none() -> Self {
        Self::of(Vec::new())
    }

    /// Reads a JWK set (RFC 7517 section 5), with those keys that were left out.
    ///
    /// # Errors
    /// When there is no usable key in it.
    pub fn read(
        document: &[u8],
        allowed: &[Algorithm],
    ) -> Result<(Self, Vec<Unusable>), KeySetError> {
        let set = Object::read(document).map_err(|_| KeySetError::Unreadable)?;
        let Some(Json::List(written)) = set.get("keys") else {
            return Err(KeySetError::Unreadable);
        };
        let mut keys: Vec<Key> = Vec::new();
        let mut unusable = Vec::new();
        for written in written {
            let key = if keys.len() < MOST_KEYS {
                Key::read(written, allowed)
            } else {
                Err("there are too many keys")
            };
            match key {
                // the same twice is one
                Ok(key) if keys.iter().any(|known| known.identity == key.identity) => {}
                Ok(key) => keys.push(key),
                Err(why) if unusable.len() < MOST_KEYS => unusable.push(Unusable {
                    id: shown(key_id(written).unwrap_or("without id")),
                    why,
                }),
                Err(_) => {}
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::Empty(unusable));
        }
        Ok((Self::of(keys), unusable))
    }

    fn of(keys: Vec<Key>) -> Self {
        Self {
            keys,
            generation: 0,
        }
    }

    /// The set that comes after `old`. What is told of a key that is in both goes on.
    pub(super) fn after(mut self, old: &Self) -> Self {
        self.generation = old.generation + 1;
        for key in &mut self.keys {
            if let Some(known) = old.keys.iter().find(|old| old.identity == key.identity) {
                key.history = Arc::clone(&known.history);
            }
        }
        self
    }

    /// Those of its keys that are new came then, since 1970.
    pub(super) fn came(&self, at: Duration) {
        for History { since, .. } in self.keys.iter().map(|key| &*key.history) {
            if since.load(Ordering::Relaxed) == 0 {
                since.store(at.as_secs(), Ordering::Relaxed);
            }
        }
    }

    /// A token that this key signed is taken now, since 1970.
    pub(super) fn used(&self, identity: KeyIdentity, now: Duration) {
        let key = self.keys.iter().find(|key| key.identity == identity);
        let (Some(key), now) = (key, now.as_secs()) else {
            return;
        };
        // written once a second at most, so that threads do not fight for the cache line
        if key.history.used.load(Ordering::Relaxed) != now {
            key.history.used.store(now, Ordering::Relaxed);
        }
    }

    /// What is told of each key.
    pub fn facts(&self) -> impl Iterator<Item = KeyFacts<'_>> {
        let time = |seconds: &AtomicU64| match seconds.load(Ordering::Relaxed) {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        };
        self.keys.iter().map(move |key| KeyFacts {
            id: key.id.as_deref(),
            algorithm: key.algorithm,
            since: time(&key.history.since),
            used: time(&key.history.used),
        })
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Of one issuer's sets, no two have the same.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn has(&self, identity: KeyIdentity) -> bool {
        self.keys.iter().any(|key| key.identity == identity)
    }

    /// The ids of its keys, for a log.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_deref().unwrap_or("-"))
    }

    /// Whether both hold the same keys.
    pub fn same(&self, other: &Self) -> bool {
        self.keys.len() == other.keys.len() && self.keys.iter().all(|key| other.has(key.identity))
    }

    /// The key that signed the token.
    ///
    /// # Errors
    /// That no key of the set signed it; a newer set may have one that did.
    pub fn verify(&self, token: &Jws<'_>) -> Result<KeyIdentity, Refusal> {
        let id = token.key_id.as_deref();
        self.signer(id, token.algorithm, token.signed(), token.signature())
    }

    /// The key that signed a text; the limits are those of [`Self::verify`].
    pub(super) fn signer(
        &self,
        id: Option<&str>,
        said: Algorithm,
        text: &[u8],
        signature: &[u8],
    ) -> Result<KeyIdentity, Refusal> {
        let mut named = self
            .keys
            .iter()
            .filter(|key| id.is_none() || key.id.as_deref() == id)
            .peekable();
        if named.peek().is_none() {
            return Err(Refusal::UnknownKey);
        }
        let fitting = named.filter(|key| key.algorithm == said);
        let mut tried = fitting.take(MOST_TRIES).peekable();
        if tried.peek().is_none() {
            return Err(Refusal::WrongAlgorithm { said });
        }
        tried
            .find(|key| key.public.verify_sig(text, signature).is_ok())
            .map(|key| key.identity)
            .ok_or(Refusal::Signature)
    }
}

impl Key {
    fn read(written: &Json, allowed: &[Algorithm]) -> Result<Self, &'static str> {
        let Json::Object(jwk) = written else {
            return Err("it is no object");
        };
        if jwk.repeats() {
            return Err("it has a member twice");
        }
        let text = |name| jwk::text(jwk, name);
        if jwk.has("d") || jwk.has("k") {
            return Err("it shows its secret, so that anybody can sign with it");
        }
        jwk::check_use(jwk)?;
        if jwk.has("kid") && text("kid").is_none() {
            return Err("its `kid` is no text");
        }
        let named = match jwk.get("alg") {
            None => None,
            Some(name) => {
                let algorithm = name.text().and_then(Algorithm::named);
                let algorithm = algorithm.ok_or("its `alg` is not one that is known")?;
                Some(algorithm)
            }
        };
        let fits = |algorithm: &Algorithm| {
            allowed.contains(algorithm) && named.is_none_or(|named| named == *algorithm)
        };
        let mut all = allowed.iter().copied().filter(fits);
        let algorithm = all.find(|algorithm| jwk::is_for(*algorithm, text("kty"), text("crv")));
        let algorithm = algorithm.ok_or("no algorithm that is allowed fits it")?;
        let public = PublicKey::read(jwk, algorithm)?;
        let id = text("kid");
        Ok(Self {
            identity: KeyIdentity::of(id, algorithm, &public.value),
            id: id.map(Into::into),
            algorithm,
            public: public.parsed,
            history: Arc::default(),
        })
    }
}

impl KeyIdentity {
    fn of(id: Option<&str>, algorithm: Algorithm, value: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in [
            algorithm.name().as_bytes(),
            if id.is_some() { b"id" } else { b"" },
            id.unwrap_or_default().as_bytes(),
            value,
        ] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut identity = [0; 32];
        identity.copy_from_slice(context.finish().as_ref());
        Self(identity)
    }
}

fn key_id(written: &Json) -> Option<&str> {
    match written {
        Json::Object(jwk) => jwk.get("kid").and_then(Json::text),
        _ => None,
    }
}

fn because(unusable: &[Unusable]) -> String {
    let each = unusable.iter().take(4);
    let each: Vec<String> = each.map(|key| format!("{}: {}", key.id, key.why)).collect();
    match each.as_slice() {
        [] => String::new(),
        each => format!(" ({})", each.join("; ")),
    }
}
