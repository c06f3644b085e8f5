//! What is known of tokens whose signature was right, so that the thousandth use costs none.
//!
//! It remembers what a token says and who signed it, never that it was let through: the rules are
//! asked each time. Neither the token nor anything that it could be found by is kept, but a keyed
//! digest. An entry ends with the token, with the key that signed it, and with the issuer that the
//! configuration named. Refused tokens are not remembered: there are as many of those as anybody
//! wants to make, and a key that arrives later makes some of them good.
//!
//! Each data-plane thread has its own, so that nobody waits for another; a token is verified once
//! a thread. When it is full, what was not used since the clock's hand came by last makes room.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    error::Unspecified,
};

use super::{
    claims::Claims,
    keys::{KeyIdentity, KeySet},
};
use crate::clock::{Deadline, Moment};

/// Tokens of one thread.
const MOST: usize = 4096;
/// Octets of one thread; a token's claims take 1 to 4 KB.
const MOST_OCTETS: usize = 8 << 20;

/// A token whose issuer vouches for it.
#[derive(Debug)]
pub struct Verified {
    pub claims: Claims,
    pub(super) proof: Proof,
}

/// How the issuer does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Proof {
    /// It signed the token with this key.
    Signed(KeyIdentity),
    /// It was asked, and its answer is believed until then.
    Answered { until: Deadline },
}

/// One thread's memory.
#[derive(Debug)]
pub(super) struct Cache {
    digester: Digester,
    slots: Vec<Slot>,
    by_digest: HashMap<u128, usize, BuildHasherDefault<Digested>>,
    hand: usize,
    octets: usize,
    most: usize,
}

#[derive(Debug)]
struct Slot {
    digest: u128,
    /// The key set that had the key when that was last looked at.
    generation: u64,
    verified: Arc<Verified>,
    used: Used,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Used {
    SinceTheHand,
    NotSince,
}

/// A token's digest for one issuer, which is what an entry is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest(u128);

impl Cache {
    /// Empty; `key` is random and known to nobody else.
    pub(super) fn new(key: &[u8; 32]) -> Result<Self, Unspecified> {
        Self::with(key, MOST)
    }

    /// Room for `most` tokens.
    pub(super) fn with(key: &[u8; 32], most: usize) -> Result<Self, Unspecified> {
        Ok(Self {
            digester: Digester::new(key)?,
            slots: Vec::new(),
            by_digest: HashMap::default(),
            hand: 0,
            octets: 0,
            most,
        })
    }

    /// How many tokens are remembered.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// `issuer`: its number in this process; what one issuer signed says nothing about another.
    pub(super) fn digest(&self, issuer: u32, token: &str) -> Option<Digest> {
        self.digester.digest(issuer, token).map(Digest)
    }

    /// What is known of a token, while it is good and so is what vouches for it.
    pub(super) fn get(
        &mut self,
        digest: Digest,
        keys: &KeySet,
        now: Moment,
    ) -> Option<Arc<Verified>> {
        let number = *self.by_digest.get(&digest.0)?;
        let slot = self.slots.get_mut(number)?;
        match slot.verified.proof {
            Proof::Signed(key) if slot.generation != keys.generation() => {
                if !keys.has(key) {
                    self.remove(number);
                    return None;
                }
                slot.generation = keys.generation();
            }
            Proof::Answered { until } if until.passed(now) => {
                self.remove(number);
                return None;
            }
            Proof::Signed(_) | Proof::Answered { .. } => {}
        }
        if slot.verified.claims.gone().passed(now) {
            self.remove(number);
            return None;
        }
        slot.used = Used::SinceTheHand;
        Some(Arc::clone(&slot.verified))
    }

    /// How many had to make room for it.
    pub(super) fn put(&mut self, digest: Digest, keys: &KeySet, verified: &Arc<Verified>) -> usize {
        let mut evicted = 0;
        if let Some(known) = self.by_digest.get(&digest.0) {
            self.remove(*known);
        }
        let size = verified.claims.size();
        while self.octets + size > MOST_OCTETS && !self.slots.is_empty() {
            let unused = self.unused();
            self.remove(unused);
            evicted += 1;
        }
        self.octets += size;
        let slot = Slot {
            digest: digest.0,
            generation: keys.generation(),
            verified: Arc::clone(verified),
            // one that is never used again is the first to go
            used: Used::NotSince,
        };
        if self.slots.len() < self.most {
            self.by_digest.insert(digest.0, self.slots.len());
            self.slots.push(slot);
            return evicted;
        }
        let unused = self.unused();
        if let Some(place) = self.slots.get_mut(unused) {
            let gone = std::mem::replace(place, slot);
            self.octets -= gone.verified.claims.size();
            self.by_digest.remove(&gone.digest);
            self.by_digest.insert(digest.0, unused);
            self.hand = unused + 1;
            evicted += 1;
        }
        evicted
    }

    /// The first slot from the hand on that was not used since the hand came by last. There is at
    /// least one slot.
    fn unused(&mut self) -> usize {
        loop {
            self.hand %= self.slots.len();
            let used = &mut self.slots[self.hand].used;
            match std::mem::replace(used, Used::NotSince) {
                Used::NotSince => return self.hand,
                Used::SinceTheHand => self.hand += 1,
            }
        }
    }

    fn remove(&mut self, number: usize) {
        let gone = self.slots.swap_remove(number);
        self.by_digest.remove(&gone.digest);
        self.octets -= gone.verified.claims.size();
        if let Some(moved) = self.slots.get(number) {
            self.by_digest.insert(moved.digest, number);
        }
    }
}

/// GHASH under a secret key, as AES-GCM computes it over additional data (GMAC, NIST SP 800-38D).
///
/// Two texts of at most 16 KB have the same digest with a probability of 2⁻¹¹⁷ at most, whoever
/// chose them, as long as nobody sees a digest; none is ever shown to anybody, so that the nonce may
/// always be the same. It takes 0.1 µs for a token of 1 KB, where SHA-256 takes 0.6 µs and on
/// processors without instructions for it 2.3 µs.
pub(super) struct Digester(LessSafeKey);

impl std::fmt::Debug for Digester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digester")
    }
}

impl Digester {
    pub(super) fn new(key: &[u8; 32]) -> Result<Self, Unspecified> {
        Ok(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?)))
    }

    pub(super) fn digest(&self, issuer: u32, token: &str) -> Option<u128> {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&issuer.to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(token.as_bytes()), &mut []);
        let tag: [u8; 16] = sealed.ok()?.as_ref().try_into().ok()?;
        Some(u128::from_be_bytes(tag))
    }
}

/// A digest under a secret key needs no hashing.
#[derive(Debug, Default)]
struct Digested(u64);

impl Hasher for Digested {
    fn finish(&self) -> u64 {
        self.0
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "64 of the digest's 128 bits"
    )]
    fn write_u128(&mut self, digest: u128) {
        self.0 = digest as u64;
    }

    fn write(&mut self, octets: &[u8]) {
        // no key but a digest is ever looked up
        for octet in octets {
            self.0 = self.0.rotate_left(8) ^ u64::from(*octet);
        }
    }
}
