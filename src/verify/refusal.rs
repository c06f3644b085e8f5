//! Why a token is not taken.
//!
//! The text is for the log: it may name what the token claims, never the token. What a caller is
//! told is decided where a refusal becomes an answer.

use std::time::Duration;

use crate::config::Algorithm;

/// A token that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the token is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the token is no JWT")]
    NotJwt,
    #[error("the token has characters that no access token has")]
    Characters,
    #[error("the provider says that the token is not active")]
    Inactive,
    #[error("the token is encrypted")]
    Encrypted,
    #[error("the token's {part} is not base64url without padding")]
    Encoding { part: Part },
    #[error("the token's {part} is not a JSON object that can be read")]
    Unreadable { part: Part },
    #[error("the token's {part} has a member twice")]
    Repeated { part: Part },
    #[error("the token's header has a member `{member}` of a wrong type")]
    HeaderMember { member: &'static str },
    #[error("the token's header asks for extensions (`{member}`) that are not understood")]
    Extension { member: &'static str },
    #[error("the token is not signed")]
    Unsigned,
    #[error("the token's algorithm is not one with a public key")]
    Algorithm,
    #[error("the token says it is signed with {said}, for which the issuer has no key of that id")]
    WrongAlgorithm { said: Algorithm },
    #[error("the token's `typ` is not one that is taken")]
    Type,
    #[error("the token is {kind}, not an access token")]
    Kind { kind: &'static str },
    #[error("the token's signature is wrong")]
    Signature,
    #[error("no key of the issuer has the token's key id")]
    UnknownKey,
    #[error("the token has no `{claim}`")]
    Missing { claim: &'static str },
    #[error("the token's `{claim}` has a wrong type")]
    WrongType { claim: &'static str },
    #[error("the token's `{claim}` is on the list of those that are revoked")]
    Revoked { claim: &'static str },
    #[error("the token is from another issuer, {found}")]
    Issuer { found: String },
    #[error("the token expired {ago:?} ago")]
    Expired { ago: Duration },
    #[error("the token is not valid before {ahead:?} from now")]
    TooEarly { ahead: Duration },
    #[error("the token was issued {ahead:?} from now")]
    FromTheFuture { ahead: Duration },
    #[error("the token lives longer than {limit:?}")]
    LivesTooLong { limit: Duration },
    #[error("the token is for another audience: {found}")]
    Audience { found: String },
    #[error("the token is of another client, {found}")]
    Client { found: String },
    #[error("the token's `{claim}` is not what the route asks for")]
    Claim { claim: String },
    #[error("the token's user signed in {age:?} ago")]
    SignedInLongAgo { age: Duration },
    #[error("the token lacks the scopes {missing}")]
    Scopes { missing: String },
}

impl Refusal {
    /// Whether newer keys of the issuer may set it right. An id that stays may come to be that of a
    /// key of another kind.
    pub(super) fn is_of_the_keys(&self) -> bool {
        matches!(
            self,
            Self::UnknownKey | Self::Signature | Self::WrongAlgorithm { .. }
        )
    }
}

/// A part of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Header,
    Claims,
    Signature,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Claims => "payload",
            Self::Signature => "signature",
        })
    }
}

/// Text of a token that has been verified, for a log: printable, bounded.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 100;
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}
