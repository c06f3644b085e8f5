//! Tokens that leave our hands: those of a credential, with its scopes or some of them.
//!
//! All who ask share what the token service has, so that any number of them causes one fetch. Sets
//! of scopes are kept for good by that service: only so many are told apart here. Text that goes
//! into an answer is the provider's token and our own; nothing of it is logged.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Response,
    header::{CACHE_CONTROL, PRAGMA},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::document;
use crate::{
    clock::Clock,
    config::{Credential, Name, ScopeSet},
    tokens::{Ready, TokenError, TokenHandle, TokenService},
};

/// Clients give up after ten seconds.
const WAIT: Duration = Duration::from_secs(8);
/// Sets of scopes besides the credential's own.
const MOST_SETS: usize = 16;

/// Hands out one credential's tokens.
#[derive(Debug)]
pub(super) struct Handout {
    credential: Arc<Credential>,
    own: TokenHandle,
    narrower: Mutex<HashMap<ScopeSet, TokenHandle>>,
    service: TokenService,
    clock: Clock,
    min_remaining: Duration,
}

/// A token in somebody's hands.
#[derive(Debug)]
pub(super) struct Handed {
    ready: Ready,
    scopes: ScopeSet,
    expires_in: u64,
}

/// Marks an answer for the log: whose token is in it.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct HandedOut(pub(in crate::proxy) Name);

impl Handout {
    pub(super) fn new(
        credential: &Arc<Credential>,
        service: &TokenService,
        clock: &Clock,
        min_remaining: Duration,
    ) -> Self {
        Self {
            credential: Arc::clone(credential),
            own: service.handle(credential, &credential.scopes),
            narrower: Mutex::default(),
            service: service.clone(),
            clock: clock.clone(),
            min_remaining,
        }
    }

    pub(super) fn credential(&self) -> &Name {
        &self.credential.name
    }

    /// The token that everybody gets who asks for nothing else.
    pub(super) fn handle(&self) -> &TokenHandle {
        &self.own
    }

    /// Whether `wanted` are scopes of the credential.
    pub(super) fn has(&self, wanted: &ScopeSet) -> bool {
        self.credential.scopes.missing(wanted).is_empty()
    }

    /// A token with the scopes that are wanted, if the credential has them all and the provider
    /// grants them alone; with the credential's own otherwise (RFC 6749 section 3.3).
    pub(super) async fn token(&self, wanted: &ScopeSet) -> Result<Handed, TokenError> {
        if let Some(handle) = self.narrower(wanted)
            && let Ok(ready) = handle.get(self.min_remaining, WAIT).await
        {
            return Ok(self.handed(ready, wanted.clone()));
        }
        let ready = self.own.get(self.min_remaining, WAIT).await?;
        Ok(self.handed(ready, self.credential.scopes.clone()))
    }

    fn narrower(&self, wanted: &ScopeSet) -> Option<TokenHandle> {
        if wanted.is_empty() || *wanted == self.credential.scopes || !self.has(wanted) {
            return None;
        }
        let mut narrower = self.narrower.lock();
        if let Some(handle) = narrower.get(wanted) {
            return Some(handle.clone());
        }
        if narrower.len() >= MOST_SETS {
            return None;
        }
        let handle = self.service.handle(&self.credential, wanted);
        narrower.insert(wanted.clone(), handle.clone());
        Some(handle)
    }

    fn handed(&self, ready: Ready, scopes: ScopeSet) -> Handed {
        let left = ready.expires().remaining(self.clock.now());
        Handed {
            ready,
            scopes,
            expires_in: left.as_secs(),
        }
    }

    /// The answer of a token endpoint (RFC 6749 section 5.1).
    pub(super) fn answer(&self, handed: &Handed) -> Response<Bytes> {
        self.service.handed_out(&self.credential.name);
        let mut body = json!({
            "access_token": handed.ready.text(),
            "token_type": "Bearer",
            "expires_in": handed.expires_in,
        });
        if !handed.scopes.is_empty() {
            body["scope"] = Value::from(handed.scopes.to_string());
        }
        let mut answer = never_stored(document("application/json", body.to_string().into()));
        let mark = HandedOut(Arc::clone(&self.credential.name));
        answer.extensions_mut().insert(mark);
        answer
    }
}

/// For answers that hold a token, or say that there is none.
pub(super) fn never_stored(mut answer: Response<Bytes>) -> Response<Bytes> {
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}

/// When to come back, in whole seconds: the next one, so that nobody comes too early.
pub(super) fn retry_after(error: &TokenError) -> HeaderValue {
    let wait = error.retry_after.unwrap_or(Duration::from_secs(5));
    HeaderValue::from(wait.as_secs().saturating_add(1))
}
