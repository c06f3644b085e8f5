//! What is asked of tokens that are bound to the key or certificate of who may use them.

use std::time::Duration;

use super::Algorithm;

/// What a route does about a token's `cnf` (RFC 7800).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// A token that is bound is good with its proof only; others are good as they are.
    Checked,
    /// As before, and every token must be bound.
    Required,
    /// It is not looked at: something in front of us does, or takes the connection's end away.
    Ignored,
}

/// What proofs of possession must be like (DPoP, RFC 9449).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofRules {
    pub algorithms: Vec<Algorithm>,
    pub nonce: NonceUse,
    /// From its issue to its use.
    pub max_age: Duration,
    pub offered: Offered,
}

/// Whether a caller without a token is told that it may use DPoP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    Yes,
    No,
}

/// Whether proofs carry a nonce of ours (RFC 9449 section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceUse {
    /// None is given out.
    Off,
    /// Given out, and checked where there is one.
    Optional,
    Required,
}

/// Older proofs are never taken.
pub const OLDEST_PROOF: Duration = Duration::from_secs(300);

impl Default for ProofRules {
    fn default() -> Self {
        Self {
            algorithms: Algorithm::ALL.to_vec(),
            nonce: NonceUse::Off,
            max_age: Duration::from_secs(60),
            offered: Offered::No,
        }
    }
}
