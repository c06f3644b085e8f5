//! A value that must not be shown: client secrets, passwords, tokens, private keys.
//!
//! It has no `Display`, no `Serialize`, and its `Debug` shows nothing of it; the memory is
//! overwritten when the last owner goes. [`Secret::expose`] is the only way in, so that a search
//! for that word finds every place that looks.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest;
use zeroize::Zeroizing;

/// Text that is never shown. Cloning shares the same memory.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes the text over.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(value.into())))
    }

    /// The text itself. Only the code that sends, seals, signs or compares it may ask.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is anything in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A digest of it, to see later whether it is still the same.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut fingerprint = [0; 32];
        let digest = digest::digest(&digest::SHA256, self.0.as_bytes());
        fingerprint.copy_from_slice(digest.as_ref());
        fingerprint
    }

    /// As [`Secret::matches`], with another secret.
    pub fn is(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }

    /// Compares in a time that depends on the lengths only.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), candidate).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_it() {
        let shown = format!(
            "{:?} {:#?}",
            Secret::new("hunter2"),
            Some(Secret::new("hunter2"))
        );
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn matches_only_the_same_text() {
        let secret = Secret::new("correct horse");
        assert!(secret.matches(b"correct horse"));
        assert!(!secret.matches(b"correct horsf"));
        assert!(!secret.matches(b"correct"));
        assert!(!secret.matches(b""));
    }
}
