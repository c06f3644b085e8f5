//! Where tokens come from, as the worker sees it: the seam between the life of a token and the
//! protocol that gets one.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::HeaderValue;

use super::cell::Class;
pub(super) use crate::oauth::SecretInUse;
use crate::{
    clock::Moment,
    config::{Credential, ScopeSet},
    secret::Secret,
    trouble::Fault,
};

/// Gets tokens.
pub(super) trait Source: Send + Sync + 'static {
    /// Goes out for a token.
    fn fetch(
        &self,
        credential: Arc<Credential>,
        scopes: ScopeSet,
        shown: Shown,
    ) -> BoxFuture<'static, Result<Granted, Failure>>;

    /// A digest of the secrets' present content, to see whether they have changed.
    fn fingerprint(&self, credential: Arc<Credential>) -> BoxFuture<'static, Fingerprint>;
}

/// What a token is asked for with, besides the credential's own secrets.
#[derive(Debug, Clone)]
pub(super) enum Shown {
    Nothing,
    /// Another token: a caller's (RFC 8693), or another credential's (RFC 7523 section 2.1).
    Token(Secret),
    /// The refresh token of a person (RFC 6749 section 6).
    RefreshToken(Secret),
}

pub(super) type Fingerprint = [u8; 32];

/// A token that may be sent.
#[derive(Debug, Clone)]
pub(super) struct Granted {
    /// `Bearer …`, marked as sensitive.
    pub(super) header: HeaderValue,
    /// Just before it was asked for.
    pub(super) since: Moment,
    /// From `since`.
    pub(super) life: Duration,
    /// A refresh token that came with it.
    pub(super) refresh: Option<Secret>,
    /// What was asked for and not granted.
    pub(super) missing: ScopeSet,
    pub(super) secret: SecretInUse,
}

/// No token for one that a caller showed.
#[derive(Debug)]
pub(super) struct NotExchanged {
    pub(super) failure: Failure,
    pub(super) blame: Blame,
}

/// Who has to do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The caller: another token would have been exchanged.
    Subject,
    /// The provider, or whoever registered this client there; or the token is an odd one.
    Provider(Fault),
}

/// The label of a refused grant.
pub(super) const INVALID_GRANT: &str = "invalid_grant";

/// No token.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) class: Class,
    /// For the metric.
    pub(super) label: &'static str,
    /// Fixed text and the provider's host, for callers.
    pub(super) reason: Arc<str>,
    /// For the log: may hold what the provider wrote, cleaned; never a secret.
    pub(super) detail: String,
    pub(super) retry_after: Option<Duration>,
    /// Of the secrets that were used.
    pub(super) fingerprint: Option<Fingerprint>,
}
