//! What must not be taken a second time, for a while: bounded, so that nobody fills memory with it.
//!
//! Of a text a keyed digest is kept, 16 octets. Where there is no room the oldest goes: whoever can add
//! many is held back elsewhere, by the rate of sign-ins.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use rand::RngCore;

use crate::clock::Moment;

const MOST: usize = 10_000;

type Digest = [u8; 16];

/// Some texts, until a time each.
pub(super) struct Remembered {
    key: hmac::Key,
    texts: Mutex<Texts>,
}

#[derive(Default)]
struct Texts {
    until: HashMap<Digest, Duration>,
    order: VecDeque<Digest>,
}

impl std::fmt::Debug for Remembered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

impl Remembered {
    pub(super) fn new(rng: &mut impl RngCore) -> Self {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            texts: Mutex::default(),
        }
    }

    /// Whether it is new; from now on it is not, until then.
    pub(super) fn add(&self, text: &str, until: Duration, now: Moment) -> bool {
        let digest = self.digest(text);
        let mut texts = self.texts.lock();
        if texts
            .until
            .get(&digest)
            .is_some_and(|until| *until > now.wall)
        {
            return false;
        }
        if texts.until.insert(digest, until).is_none() {
            texts.order.push_back(digest);
        }
        if texts.order.len() > MOST
            && let Some(oldest) = texts.order.pop_front()
        {
            texts.until.remove(&oldest);
        }
        true
    }

    pub(super) fn has(&self, text: &str, now: Moment) -> bool {
        let digest = self.digest(text);
        let texts = self.texts.lock();
        texts
            .until
            .get(&digest)
            .is_some_and(|until| *until > now.wall)
    }

    fn digest(&self, text: &str) -> Digest {
        let tag = hmac::sign(&self.key, text.as_bytes());
        let mut digest = Digest::default();
        digest.copy_from_slice(&tag.as_ref()[..16]);
        digest
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_text_is_new_once_until_it_ends_and_there_are_never_too_many() {
        let clock = Clock::for_tests(Duration::from_secs(1_700_000_000));
        let remembered = Remembered::new(&mut StdRng::seed_from_u64(1));
        let now = clock.now();
        let until = now.wall + Duration::from_secs(10);
        assert!(remembered.add("a", until, now));
        assert!(!remembered.add("a", until, now));
        assert!(remembered.has("a", now) && !remembered.has("b", now));
        clock.jump(11_000);
        let now = clock.now();
        assert!(!remembered.has("a", now));
        assert!(remembered.add("a", now.wall + Duration::from_secs(10), now));
        for n in 0..2 * MOST {
            remembered.add(&n.to_string(), now.wall + Duration::from_secs(10), now);
        }
        let texts = remembered.texts.lock();
        assert_eq!((texts.until.len(), texts.order.len()), (MOST, MOST));
    }
}
