//! Nonces that proofs must carry (RFC 9449 section 9): they show that a proof was not made long
//! ago, whatever the clock of who made it says.
//!
//! None is remembered: a nonce is a keyed digest of the time, cut into windows, and that of this
//! window and of the one before are good. The key is random and this process's own, so that proofs
//! from before a restart are not taken after it, when it is no longer known which were used.

use std::time::Duration;

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    hmac::{HMAC_SHA256, Key, sign},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::clock::Moment;

/// A nonce is good for one to two windows.
const WINDOW: Duration = Duration::from_secs(60);

/// Makes nonces and knows them again.
#[derive(Debug)]
pub(super) struct Nonces(Key);

/// What a proof's nonce is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonce {
    Current,
    /// Good, but not for long.
    Ageing,
    /// None, or none of ours.
    Stale,
}

impl Nonces {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Key::new(HMAC_SHA256, key))
    }

    /// The nonce that is given out now.
    pub(super) fn current(&self, now: Moment) -> String {
        self.of(window(now))
    }

    pub(super) fn look(&self, nonce: &str, now: Moment) -> Nonce {
        let window = window(now);
        let is = |window| verify_slices_are_equal(self.of(window).as_bytes(), nonce.as_bytes());
        if is(window).is_ok() {
            Nonce::Current
        } else if window.checked_sub(1).is_some_and(|last| is(last).is_ok()) {
            Nonce::Ageing
        } else {
            Nonce::Stale
        }
    }

    fn of(&self, window: u64) -> String {
        let digest = sign(&self.0, &window.to_be_bytes());
        URL_SAFE_NO_PAD.encode(&digest.as_ref()[..18])
    }
}

fn window(now: Moment) -> u64 {
    now.unix_seconds() / WINDOW.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_nonce_is_good_for_two_windows_and_with_its_key_only() {
        let clock = Clock::for_tests(Duration::from_secs(600));
        let nonces = Nonces::new(&[1; 32]);
        let nonce = nonces.current(clock.now());
        assert_eq!(nonces.look(&nonce, clock.now()), Nonce::Current);
        let other = Nonces::new(&[2; 32]);
        assert_eq!(other.look(&nonce, clock.now()), Nonce::Stale);
        for (seconds, expected) in [
            (59, Nonce::Current),
            (1, Nonce::Ageing),
            (59, Nonce::Ageing),
            (1, Nonce::Stale),
        ] {
            clock.jump(seconds * 1000);
            assert_eq!(nonces.look(&nonce, clock.now()), expected);
        }
        assert_eq!(nonces.look("", clock.now()), Nonce::Stale);
        clock.jump(-180_000);
        assert_eq!(
            nonces.look(&nonce, clock.now()),
            Nonce::Stale,
            "from the future"
        );
    }
}
