//! What a hostile or broken provider does when people sign in.

use serde::{Deserialize, Serialize};

/// Strikes where it can: a request that has nothing of it goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SignInFault {
    // the answer to an authorization request
    WrongState,
    MissingState,
    MissingIss,
    ForeignIss,
    /// The code of the sign-in before, whoever that was.
    ReplayedCode,
    /// This parameter comes twice.
    Duplicate {
        name: String,
    },
    /// `server_error`, with markup in the description and a script in `error_uri`.
    HtmlInError,
    /// This error.
    Refuse {
        error: String,
    },
    // the ID token
    WrongNonce,
    MissingNonce,
    WrongAtHash,
    MissingAtHash,
    MissingSubject,
    WrongIssuer,
    /// `aud` and `azp` of somebody else.
    OtherClient,
    /// `azp` alone of somebody else.
    OtherParty,
    /// `sub` of somebody else: in a refresh, or where a person was expected.
    OtherSubject,
    /// Two audiences and no `azp`.
    TwoAudiences,
    Expired,
    /// Issued in an hour.
    FromTheFuture,
    /// `auth_time` ten days ago.
    OldSignIn,
    /// Signed with a key that is not in the key set, under the name of one that is.
    ForeignKey,
    AlgNone,
    /// Signed with the client's secret.
    Hs256,
    /// A logout token in its place.
    LogoutToken,
    /// The access token in its place.
    AccessToken,
    // elsewhere
    /// Every refresh token gets `invalid_grant`.
    RefreshRefused,
    /// Every pushed request gets `invalid_request`.
    PushRefused,
}

/// Where a fault can strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Point {
    Response,
    IdToken,
    Refresh,
    Push,
}

impl SignInFault {
    pub(in crate::sandbox) fn point(&self) -> Point {
        match self {
            Self::WrongState
            | Self::MissingState
            | Self::MissingIss
            | Self::ForeignIss
            | Self::ReplayedCode
            | Self::Duplicate { .. }
            | Self::HtmlInError
            | Self::Refuse { .. } => Point::Response,
            Self::WrongNonce
            | Self::MissingNonce
            | Self::WrongAtHash
            | Self::MissingAtHash
            | Self::MissingSubject
            | Self::WrongIssuer
            | Self::OtherClient
            | Self::OtherParty
            | Self::OtherSubject
            | Self::TwoAudiences
            | Self::Expired
            | Self::FromTheFuture
            | Self::OldSignIn
            | Self::ForeignKey
            | Self::AlgNone
            | Self::Hs256
            | Self::LogoutToken
            | Self::AccessToken => Point::IdToken,
            Self::RefreshRefused => Point::Refresh,
            Self::PushRefused => Point::Push,
        }
    }
}
