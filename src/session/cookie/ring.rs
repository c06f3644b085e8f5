//! The keys of one session's cookies: AES-256-GCM, one key for each purpose, derived from a
//! configured secret and the session's name, so that no cookie can be shown as another kind, or to
//! another session whose secret is the same.
//!
//! The first secret seals, both open: so a secret is replaced without signing anybody out. Nonces
//! are random, which is good for 2^32 cookies of one kind and secret; a person has some hundred a
//! day.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Salt},
};
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What sealing adds: the nonce before, the tag behind.
pub(super) const OVERHEAD: usize = NONCE_LEN + TAG;
const TAG: usize = 16;
/// Of everything that is sealed; another version is foreign.
const FORMAT: u8 = 1;
/// What a cookie is bound to beside its purpose.
pub(super) type Bound = [u8; 24];

/// What is sealed, so that its key is no other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Handle,
    State,
    Transaction,
}

/// Whose key opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedBy {
    Current,
    /// It should be sealed anew, before this key goes.
    Previous,
}

/// It was not sealed by a key of this ring for this purpose, or is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Foreign;

/// The keys of one session.
pub struct Ring {
    current: Keys,
    previous: Option<Keys>,
}

struct Keys {
    handle: LessSafeKey,
    state: LessSafeKey,
    transaction: LessSafeKey,
}

impl Ring {
    /// Keys that are derived from secrets: replicas that have the same open each other's cookies.
    /// `session` is the session's name.
    ///
    /// # Errors
    /// When the library cannot derive a key, which does not happen.
    pub fn new(
        session: &str,
        current: &Secret,
        previous: Option<&Secret>,
    ) -> Result<Self, Unspecified> {
        let derive = |secret: &Secret| Keys::derive(session, secret.expose().as_bytes());
        Ok(Self {
            current: derive(current)?,
            previous: previous.map(derive).transpose()?,
        })
    }

    /// Keys that nobody else has: what they sealed ends with this process.
    ///
    /// # Errors
    /// As [`Ring::new`].
    pub fn random(session: &str, rng: &mut impl CryptoRng) -> Result<Self, Unspecified> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        Ok(Self {
            current: Keys::derive(session, &*secret)?,
            previous: None,
        })
    }

    /// `nonce ‖ sealed content ‖ tag`.
    ///
    /// # Errors
    /// When there is more than 64 GiB of it.
    pub(super) fn seal(
        &self,
        purpose: Purpose,
        bound: &Bound,
        content: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, Unspecified> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let mut sealed = Vec::with_capacity(content.len() + OVERHEAD);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(content);
        let tag = self.current.of(purpose).seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            aad(purpose, bound),
            sealed.get_mut(NONCE_LEN..).unwrap_or_default(),
        )?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens into `content`, which must be [`OVERHEAD`] shorter than `sealed`.
    pub(super) fn open(
        &self,
        purpose: Purpose,
        bound: &Bound,
        sealed: &[u8],
        content: &mut [u8],
    ) -> Result<SealedBy, Foreign> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(Foreign)?;
        let (rest, tag) = rest.split_at_checked(content.len()).ok_or(Foreign)?;
        let mut try_with = |keys: &Keys| {
            let nonce = Nonce::try_assume_unique_for_key(nonce)?;
            let aad = aad(purpose, bound);
            let key = keys.of(purpose);
            key.open_separate_gather(nonce, aad, rest, tag, content)
        };
        if try_with(&self.current).is_ok() {
            return Ok(SealedBy::Current);
        }
        match self.previous.as_ref().map(try_with) {
            Some(Ok(())) => Ok(SealedBy::Previous),
            Some(Err(_)) | None => Err(Foreign),
        }
    }
}

impl Keys {
    fn derive(session: &str, secret: &[u8]) -> Result<Self, Unspecified> {
        let root = Salt::new(HKDF_SHA256, b"itwin-auth-proxy session cookies").extract(secret);
        let key = |purpose: Purpose| -> Result<_, Unspecified> {
            // the name is last, so that the two cannot be mistaken for each other
            let info = [purpose.label(), session.as_bytes()];
            let key = root.expand(&info, &AES_256_GCM)?;
            Ok(LessSafeKey::new(UnboundKey::from(key)))
        };
        Ok(Self {
            handle: key(Purpose::Handle)?,
            state: key(Purpose::State)?,
            transaction: key(Purpose::Transaction)?,
        })
    }

    fn of(&self, purpose: Purpose) -> &LessSafeKey {
        match purpose {
            Purpose::Handle => &self.handle,
            Purpose::State => &self.state,
            Purpose::Transaction => &self.transaction,
        }
    }
}

impl Purpose {
    /// None begins another.
    fn label(self) -> &'static [u8] {
        match self {
            Self::Handle => b"handle, AES-256-GCM, of session ",
            Self::State => b"state, AES-256-GCM, of session ",
            Self::Transaction => b"transaction, AES-256-GCM, of session ",
        }
    }
}

fn aad(purpose: Purpose, bound: &Bound) -> Aad<[u8; 26]> {
    let mut aad = [0; 26];
    aad[0] = purpose as u8;
    aad[1] = FORMAT;
    aad[2..].copy_from_slice(bound);
    Aad::from(aad)
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ring(…)")
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const BOUND: Bound = [7; 24];

    fn ring(session: &str, current: &str, previous: Option<&str>) -> Ring {
        let previous = previous.map(Secret::new);
        Ring::new(session, &Secret::new(current), previous.as_ref()).unwrap()
    }

    fn opened(ring: &Ring, purpose: Purpose, bound: &Bound, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut content = vec![0; sealed.len().checked_sub(OVERHEAD)?];
        let opened = ring.open(purpose, bound, sealed, &mut content);
        opened.ok().map(|_| content)
    }

    #[test]
    fn only_the_same_purpose_session_secret_and_binding_open_it() {
        let seal = |by: &Ring| {
            let mut rng = StdRng::seed_from_u64(1);
            let sealed = by.seal(Purpose::State, &BOUND, b"content", &mut rng);
            sealed.unwrap()
        };
        let ours = ring("web", "one", None);
        let sealed = seal(&ours);
        let with = |ring: &Ring, purpose, bound| opened(ring, purpose, &bound, &sealed).is_some();
        assert!(with(&ours, Purpose::State, BOUND));
        assert!(with(&ring("web", "one", None), Purpose::State, BOUND));
        assert!(!with(&ours, Purpose::Handle, BOUND));
        assert!(!with(&ours, Purpose::Transaction, BOUND));
        assert!(!with(&ours, Purpose::State, [8; 24]));
        assert!(!with(&ring("other", "one", None), Purpose::State, BOUND));
        assert!(!with(&ring("web", "two", None), Purpose::State, BOUND));
        let mut rng = StdRng::seed_from_u64(2);
        let random = Ring::random("web", &mut rng).unwrap();
        assert!(!with(&random, Purpose::State, BOUND));
        assert!(opened(&random, Purpose::State, &BOUND, &seal(&random)).is_some());
    }

    #[test]
    fn a_replaced_secret_still_opens_and_is_said_to_be_the_previous() {
        let mut rng = StdRng::seed_from_u64(1);
        let old = ring("web", "one", None);
        let sealed = old.seal(Purpose::Handle, &BOUND, b"abc", &mut rng).unwrap();
        let mut content = [0; 3];
        for (ring, expected) in [
            (ring("web", "one", Some("zero")), Ok(SealedBy::Current)),
            (ring("web", "two", Some("one")), Ok(SealedBy::Previous)),
            (ring("web", "three", Some("two")), Err(Foreign)),
        ] {
            let opened = ring.open(Purpose::Handle, &BOUND, &sealed, &mut content);
            assert_eq!(opened, expected);
        }
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let mut rng = StdRng::seed_from_u64(1);
        let keys = ring("web", "one", Some("zero"));
        let sealed = keys.seal(Purpose::State, &BOUND, b"abc", &mut rng).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(opened(&keys, Purpose::State, &BOUND, &changed), None);
            assert_eq!(opened(&keys, Purpose::State, &BOUND, &sealed[..at]), None);
        }
        // and a buffer of another size
        for size in [0, 2, 4, 100] {
            let mut content = vec![0; size];
            let opened = keys.open(Purpose::State, &BOUND, &sealed, &mut content);
            assert_eq!(opened, Err(Foreign), "{size}");
        }
    }

    #[test]
    fn nothing_is_sealed_twice_alike() {
        let mut rng = StdRng::seed_from_u64(1);
        let keys = ring("web", "one", None);
        let mut seal = || keys.seal(Purpose::State, &BOUND, b"abc", &mut rng).unwrap();
        assert_ne!(seal(), seal());
    }
}
