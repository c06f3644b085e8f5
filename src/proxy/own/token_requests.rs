//! A token for the asking, for scripts and SDKs.
//!
//! Only GET, and only with a header that a page of another site cannot send without being allowed
//! to, which nothing here ever does: there is no CORS. Who was given whose token is logged.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderName, Method, Response, header::RETRY_AFTER};

use super::{
    form,
    guarded::{Asked, Pages, Service},
    handout::{Handout, never_stored, retry_after},
    other_method, refusal,
};
use crate::{config::ScopeSet, handbook::Code, tokens::TokenHandle};

/// The endpoint.
#[derive(Debug, Clone)]
pub(super) struct TokenRequests(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: String,
    header: HeaderName,
    handouts: Vec<Handout>,
}

impl TokenRequests {
    pub(super) fn new(path: &str, header: HeaderName, handouts: Vec<Handout>) -> Self {
        Self(Arc::new(Shared {
            path: path.to_owned(),
            header,
            handouts,
        }))
    }
}

impl Service for TokenRequests {
    fn serves(&self, path: &str) -> bool {
        path == self.0.path
    }

    fn pages(&self) -> Pages {
        Pages::Refused
    }

    fn answer(&self, asked: Asked) -> BoxFuture<'static, Response<Bytes>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { never_stored(shared.answer(&asked).await) })
    }

    fn tokens(&self) -> Vec<TokenHandle> {
        let handouts = self.0.handouts.iter();
        handouts.map(|one| one.handle().clone()).collect()
    }
}

impl Shared {
    async fn answer(&self, asked: &Asked) -> Response<Bytes> {
        let reference = &asked.reference;
        if *asked.request.method() != Method::GET {
            return other_method("GET", reference);
        }
        if !asked.request.headers().contains_key(&self.header) {
            let text = "The request must carry the header that token_requests.header names, with any value.";
            return refusal(Code::HeaderRequired, text, reference);
        }
        let query = asked.request.uri().query().unwrap_or_default();
        let Ok(parameters) = form::parameters(query.as_bytes()) else {
            let text = "A parameter is there more than once.";
            return refusal(Code::ParameterTwice, text, reference);
        };
        let known = |name: &&String| !matches!(name.as_str(), "credential" | "scope");
        if parameters.keys().any(|name| known(&name)) {
            let text = "The parameters are credential and scope.";
            return refusal(Code::ParameterUnknown, text, reference);
        }
        let handout = match (parameters.get("credential"), self.handouts.as_slice()) {
            (Some(name), all) => all.iter().find(|one| **one.credential() == **name),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        let Some(handout) = handout else {
            let text = "Name a credential of token_requests.credentials, as in ?credential=agent.";
            return refusal(Code::CredentialUnknown, text, reference);
        };
        let wanted = parameters.get("scope").map_or("", String::as_str);
        let wanted = ScopeSet::new([wanted]);
        if !handout.has(&wanted) {
            let text = "The credential does not have all of these scopes.";
            return refusal(Code::ScopeUnknown, text, reference);
        }
        match handout.token(&wanted).await {
            Ok(handed) => handout.answer(&handed),
            Err(failure) => {
                let credential = handout.credential();
                tracing::warn!(request_id = reference.request_id, %credential, error = %failure, "no token to hand out");
                let text = format!("credential {credential}: {}", failure.reason);
                let mut answer = refusal(Code::TokenUnavailable, &text, reference);
                let after = retry_after(&failure);
                answer.headers_mut().insert(RETRY_AFTER, after);
                answer
            }
        }
    }
}
