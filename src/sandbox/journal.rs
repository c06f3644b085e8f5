//! What happened in the sandbox: counts, and the last requests.
//!
//! Tests and the demonstration state nothing that is not read from here.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use serde::Serialize;

/// What happened so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub idp_connections: u64,
    pub discovery_requests: u64,
    pub key_requests: u64,
    pub introspection_requests: u64,
    pub sts_requests: u64,
    pub delegation_requests: u64,
    /// Whatever became of them; hanging ones included.
    pub token_requests: u64,
    pub token_requests_by_client: BTreeMap<String, u64>,
    pub tokens_issued: u64,
    /// By `error`.
    pub token_errors: BTreeMap<String, u64>,
    /// Requests for a token by a refresh token, refused ones included.
    pub refreshes: u64,
    /// Refresh tokens shown for a second time.
    pub refresh_reuses: u64,
    /// At the authorization endpoint, by GET or POST.
    pub authorization_requests: u64,
    /// Browsers sent back to a client, errors included.
    pub authorizations: u64,
    /// By `error`; those shown on a page are not among them.
    pub authorization_errors: BTreeMap<String, u64>,
    /// Passwords shown and taken.
    pub sign_ins: u64,
    pub code_exchanges: u64,
    /// Codes shown for a second time.
    pub code_reuses: u64,
    pub pushed_requests: u64,
    pub device_requests: u64,
    pub device_polls: u64,
    pub revocation_requests: u64,
    pub refresh_tokens_revoked: u64,
    pub access_tokens_revoked: u64,
    pub userinfo_requests: u64,
    /// Sessions ended by a client's request.
    pub logouts: u64,
    /// Logout tokens that a client answered with success, and others.
    pub logout_tokens_taken: u64,
    pub logout_tokens_refused: u64,
    pub hub_connections: u64,
    pub hub_requests: u64,
    /// By status.
    pub hub_answers: BTreeMap<u16, u64>,
    /// With a token that was valid and not revoked.
    pub hub_authorized: u64,
    /// Different tokens among them.
    pub hub_tokens: u64,
    pub storage_requests: u64,
    /// Refused because they carried `Authorization`.
    pub storage_with_authorization: u64,
    /// Refused because the link was not what was given out, to the byte.
    pub storage_bad_signature: u64,
}

/// A request that the token endpoint got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenRequest {
    pub client_id: String,
    pub grant_type: String,
    /// The mail of the person who had granted this in a browser.
    pub person: Option<String>,
    /// `client_secret_basic`, `client_secret_post`, `private_key_jwt` or `none`.
    pub client_auth: &'static str,
    /// As sent.
    pub scope: String,
    /// All other parameters that are no secrets.
    pub parameters: BTreeMap<String, String>,
    /// `ok` or the `error`.
    pub result: String,
}

/// A request that the hub got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HubRequest {
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// The serial number of its token, if that was valid and not revoked.
    pub token: Option<u64>,
    /// Of the token.
    pub scopes: Vec<String>,
    pub status: u16,
}

/// Requests kept of each kind; older ones are forgotten.
const KEPT: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    counts: Counts,
    token: VecDeque<TokenRequest>,
    hub: VecDeque<HubRequest>,
    /// Serial numbers of the tokens that the hub has seen; they are given out in order.
    seen: std::collections::BTreeSet<u64>,
}

impl Journal {
    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().counts);
    }

    pub(super) fn counts(&self) -> Counts {
        self.0.lock().counts.clone()
    }

    pub(super) fn token_request(&self, request: TokenRequest) {
        let mut pages = self.0.lock();
        if request.result == "ok" {
            pages.counts.tokens_issued += 1;
        } else {
            let errors = &mut pages.counts.token_errors;
            *errors.entry(request.result.clone()).or_default() += 1;
        }
        let clients = &mut pages.counts.token_requests_by_client;
        *clients.entry(request.client_id.clone()).or_default() += 1;
        keep(&mut pages.token, request);
    }

    pub(super) fn hub_request(&self, request: HubRequest) {
        let mut pages = self.0.lock();
        *pages.counts.hub_answers.entry(request.status).or_default() += 1;
        if let Some(serial) = request.token {
            pages.counts.hub_authorized += 1;
            if pages.seen.insert(serial) {
                pages.counts.hub_tokens += 1;
            }
        }
        keep(&mut pages.hub, request);
    }

    pub(super) fn token_requests(&self) -> Vec<TokenRequest> {
        self.0.lock().token.iter().cloned().collect()
    }

    pub(super) fn hub_requests(&self) -> Vec<HubRequest> {
        self.0.lock().hub.iter().cloned().collect()
    }
}

fn keep<T>(pages: &mut VecDeque<T>, request: T) {
    if pages.len() == KEPT {
        pages.pop_front();
    }
    pages.push_back(request);
}
