//! What a caller's own access token must be like.

use std::{collections::BTreeSet, fmt, time::Duration};

/// A signature algorithm with a public key (RFC 7518 section 3.1, RFC 8037). There is no `none` and
/// no HMAC: with those, whoever can check a token can make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    /// In the order in which a key that does not say its `alg` is taken for one.
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// By the `alg` of a token or key; case matters. `Ed25519` is RFC 9864's name for `EdDSA`.
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        match name {
            "Ed25519" => Some(Self::EdDsa),
            name => all.find(|algorithm| algorithm.name() == name),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a token must say beyond being signed by its issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// One of these must be in `aud`.
    pub audiences: BTreeSet<String>,
    /// All of these must be in `scope`.
    pub scopes: BTreeSet<String>,
    /// The client that the token was issued to is one of these; empty: any.
    pub clients: BTreeSet<String>,
    /// How far the issuer's clock and ours may be apart; at most [`LONGEST_SKEW`].
    pub clock_skew: Duration,
    /// From issue to expiry; `None`: unlimited.
    pub max_lifetime: Option<Duration>,
}

/// More is no difference between clocks.
pub const LONGEST_SKEW: Duration = Duration::from_secs(300);
