//! What a token is bound to (RFC 7800): the key (RFC 9449) or the certificate (RFC 8705) of who may
//! use it, so that a token which was stolen is of no use.
//!
//! A token says it in `cnf`, by thumbprints.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// SHA-256 of a certificate or of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    pub fn of(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// As `cnf` writes it: base64url without padding.
    pub fn parse(text: &str) -> Option<Self> {
        let octets = URL_SAFE_NO_PAD.decode(text).ok()?;
        octets.try_into().map(Self).ok()
    }

    pub(super) fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}
