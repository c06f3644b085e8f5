//! What a token endpoint gives, and the ways in which it gives nothing.

use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::{config::ScopeSet, http::client::ClientError, metrics::result_of, secret::Secret};

/// A token, checked: it can be sent as a bearer token (RFC 6750 section 2.1) and lives for a while.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The token as it is sent: `Bearer …`, marked as sensitive.
    pub header: HeaderValue,
    /// From the moment the request was sent; at least a second, at most a week.
    pub life: Duration,
    /// What was granted, where the provider says so.
    pub scopes: Option<ScopeSet>,
    /// RFC 6749 section 6: absent means that the old one stays.
    pub refresh: Option<Secret>,
    /// Who signed in, still unchecked (OpenID Connect Core section 3.1.3.3).
    pub id_token: Option<Secret>,
    pub notes: Vec<Note>,
}

/// What was odd about an answer that could be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Neither `expires_in` nor a JWT's `exp`: five minutes are assumed.
    NoLifetime,
    /// No `token_type`: `Bearer` is assumed.
    NoTokenType,
}

/// What a failure means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It may succeed if repeated.
    Transient,
    /// It will not, until somebody changes the client here or there.
    Fatal,
    /// The grant itself is refused (RFC 6749 section 5.2).
    InvalidGrant,
}

/// An exchange with a token endpoint that brought no token.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An error of RFC 6749 section 5.2, whatever the status.
    #[error("{host} answered {error}{}", described(.description.as_deref()))]
    Refused {
        host: String,
        /// As the provider wrote it, cleaned.
        error: String,
        description: Option<String>,
        retry_after: Option<Duration>,
    },
    #[error("{host} answered {status}")]
    Status {
        host: String,
        status: StatusCode,
        retry_after: Option<Duration>,
    },
    #[error("the answer of {host} {what}")]
    Unusable { host: String, what: &'static str },
    #[error("there is nothing to ask for a token with")]
    NothingShown,
}

impl ExchangeError {
    /// Whether the provider understood the request, and said no.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// By the `error` field, not by the status: some servers answer 400 to everything.
    pub fn class(&self) -> Class {
        match self {
            Self::Refused { error, .. } => match error.as_str() {
                "invalid_client"
                | "unauthorized_client"
                | "invalid_scope"
                | "unsupported_grant_type" => Class::Fatal,
                "invalid_grant" => Class::InvalidGrant,
                _ => Class::Transient,
            },
            Self::NothingShown => Class::Fatal,
            Self::Client(_) | Self::Status { .. } | Self::Unusable { .. } => Class::Transient,
        }
    }

    /// A word for metrics.
    pub fn label(&self) -> &'static str {
        match (self, self.class()) {
            (Self::Refused { error, .. }, Class::Fatal) => {
                let known = KNOWN_ERRORS.iter().find(|known| *known == error);
                known.copied().unwrap_or("fatal")
            }
            (_, Class::Fatal) => "fatal",
            (_, Class::InvalidGrant) => "invalid_grant",
            (Self::Client(error), _) => match error.class() {
                "too_large" => "parse",
                class => class,
            },
            (Self::Refused { .. }, _) => "transient",
            (Self::Status { status, .. }, _) => result_of(*status),
            (Self::Unusable { .. }, _) => "parse",
            (Self::NothingShown, _) => "fatal",
        }
    }

    /// What may be told to callers: fixed text, the host, an error code of the RFC.
    pub fn reason(&self) -> String {
        match self {
            Self::Client(error) => error.to_string(),
            Self::Refused { host, error, .. } => {
                let known = KNOWN_ERRORS.iter().find(|known| *known == error);
                let error = known.map_or("an error of its own", |known| *known);
                format!("the provider {host} answered {error}")
            }
            Self::Status { host, status, .. } => {
                format!("the provider {host} answered {}", status.as_u16())
            }
            Self::Unusable { host, what } => format!("the answer of the provider {host} {what}"),
            Self::NothingShown => self.to_string(),
        }
    }

    /// Whether the token that was to be exchanged is refused, or this exchange of it (RFC 8693
    /// section 2.2.2). More than it may do is `invalid_scope`; the last two are what Keycloak and
    /// others say there.
    pub fn refuses_the_subject(&self) -> bool {
        let codes = [
            "invalid_grant",
            "invalid_request",
            "invalid_target",
            "invalid_scope",
            "invalid_token",
            "access_denied",
        ];
        matches!(self, Self::Refused { error, .. } if codes.contains(&error.as_str()))
    }

    /// Whether it may be the assertion that is refused (RFC 7521 section 4.1.1), so that another
    /// one may help; servers do not agree on the code.
    pub fn refuses_the_assertion(&self) -> bool {
        let codes = [
            "invalid_grant",
            "invalid_request",
            "invalid_token",
            "access_denied",
        ];
        matches!(self, Self::Refused { error, .. } if codes.contains(&error.as_str()))
    }

    /// Whether another token might be exchanged: what was not answered well may be this one.
    pub fn may_be_the_subjects(&self) -> bool {
        match self {
            Self::Client(error) => matches!(error.class(), "too_large" | "http"),
            Self::Refused { error, .. } => {
                self.class() == Class::Transient && error != "temporarily_unavailable"
            }
            Self::Status { status, .. } => !is_the_endpoints(*status),
            Self::Unusable { .. } => true,
            Self::NothingShown => false,
        }
    }

    /// How long the provider asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } | Self::Status { retry_after, .. } => *retry_after,
            Self::Client(_) | Self::Unusable { .. } | Self::NothingShown => None,
        }
    }

    /// Whether this client authentication was refused, so that another secret may help.
    pub fn is_invalid_client(&self) -> bool {
        matches!(self, Self::Refused { error, .. } if error == "invalid_client")
    }

    /// Whether there is no token endpoint at this address (any more).
    pub fn is_wrong_address(&self) -> bool {
        matches!(self, Self::Status { status, .. }
            if matches!(*status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED))
    }
}

/// RFC 6749 section 5.2, RFC 8707 section 2, RFC 6749 section 4.1.2.1, RFC 6750 section 3.1,
/// RFC 7009 section 2.2.1, RFC 8628 section 3.5.
const KNOWN_ERRORS: [&str; 14] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "access_denied",
    "server_error",
    "temporarily_unavailable",
    "invalid_token",
    "unsupported_token_type",
    "authorization_pending",
    "expired_token",
];

fn described(description: Option<&str>) -> String {
    description
        .map(|text| format!(": {text}"))
        .unwrap_or_default()
}

/// Text of a provider, fit for a log: printable ASCII, bounded.
pub fn clean(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut cleaned: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        cleaned.push_str("...");
    }
    cleaned
}

/// Whether a status says something of the endpoint, or of who asks, whatever token is asked about.
pub(super) fn is_the_endpoints(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
    )
}
