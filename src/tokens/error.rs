//! Why there is no token, as far as a caller may know: a class, a fixed text with the provider's
//! host, and when trying again makes sense. What the provider wrote itself is in the log only.

use std::{fmt, sync::Arc, time::Duration};

use crate::config::Name;

/// No token, or no other token.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{occasion} `{credential}`: {reason}")]
pub struct TokenError {
    pub credential: Name,
    pub kind: ErrorKind,
    pub occasion: Occasion,
    /// Fixed text and a host; no secret, nothing that a provider wrote.
    pub reason: Arc<str>,
    /// Until the next attempt; `None` when waiting does not help.
    pub retry_after: Option<Duration>,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The provider cannot be reached or does not give a usable answer; it is tried again.
    Unavailable,
    /// The provider refuses the client, its scopes or its grant type.
    Refused,
    /// The provider refuses the grant: a refresh token that is used up, a wrong password.
    InvalidGrant,
    /// The person's sign-in has ended: there is no refresh token, or the provider refuses it.
    SignInAgain,
    /// The provider answers, but does not exchange the token that a caller showed.
    SubjectRefused,
    /// No answer within the time that the request may wait; the fetch goes on.
    TimedOut,
    /// A token that had replaced a rejected one was rejected too: another one would not help.
    RecentlyReplaced,
    /// The program is stopping.
    Stopped,
}

impl ErrorKind {
    /// A word for logs and error codes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::InvalidGrant => "invalid_grant",
            Self::SignInAgain => "sign_in_again",
            Self::SubjectRefused => "subject_refused",
            Self::TimedOut => "timed_out",
            Self::RecentlyReplaced => "recently_replaced",
            Self::Stopped => "stopped",
        }
    }
}

/// What the token was wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// There was none that could be used.
    NoToken,
    /// The upstream rejected the one we had.
    Rejected,
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoToken => "no token for credential",
            Self::Rejected => {
                "the upstream rejected the token and there is no other for credential"
            }
        })
    }
}
