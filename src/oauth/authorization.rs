//! Authorization requests: where a browser is sent so that somebody signs in.
//!
//! RFC 6749 section 4.1.1 with PKCE (RFC 7636, S256 only) and OpenID Connect's `nonce` (Core section
//! 3.1.2.1), or section 3.2.2.1 of the latter for registrations that have nothing else. A request may
//! be pushed (RFC 9126), so that the browser carries nothing but its number. Further parameters can
//! be added, but none that the request has itself can be replaced. [`response`] reads what comes back.

mod response;

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, header};
use rand::CryptoRng;
use url::{Url, form_urlencoded};

pub use self::response::{
    Answer, AuthorizationResponse, Refused, RefusedKind, ResponseError, read_response,
};
use super::{
    client_auth::Proof,
    token_endpoint::{TokenEndpoint, seconds},
    types::ExchangeError,
};
use crate::{
    clock::Moment,
    config::ScopeSet,
    http::client::{ClientError, HttpClient},
    secret::Secret,
};

/// A `state` or a `nonce` that nobody guesses: 192 random bits, in characters of base64url.
pub fn unguessable(rng: &mut impl CryptoRng) -> String {
    let mut octets = [0_u8; 24];
    rng.fill_bytes(&mut octets);
    URL_SAFE_NO_PAD.encode(octets)
}

/// The proof that who redeems a code is who asked for it (RFC 7636).
#[derive(Debug, Clone)]
pub struct Pkce {
    pub verifier: Secret,
    pub challenge: String,
}

impl Pkce {
    pub fn new(rng: &mut impl CryptoRng) -> Self {
        let mut octets = [0_u8; 32];
        rng.fill_bytes(&mut octets);
        Self::of(Secret::new(URL_SAFE_NO_PAD.encode(octets)))
    }

    /// For a verifier that there is already.
    pub fn of(verifier: Secret) -> Self {
        let hash = digest(&SHA256, verifier.expose().as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(hash);
        Self {
            verifier,
            challenge,
        }
    }
}

/// What the provider is to answer with.
#[derive(Debug, Clone, Copy)]
pub enum ResponseType<'a> {
    /// A code, in the query.
    Code(&'a Pkce),
    /// ID token and access token, in a form.
    Tokens,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct AuthorizationRequest<'a> {
    pub client_id: &'a str,
    pub redirect_uri: &'a Url,
    pub scopes: &'a ScopeSet,
    pub response: ResponseType<'a>,
    pub state: &'a str,
    pub nonce: &'a str,
    /// `prompt`, `login_hint`, `resource` … Of a name that comes twice, the last counts; empty values
    /// are left out.
    pub extra: &'a [(String, String)],
}

/// A request that the provider keeps under a number of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    request_uri: String,
    /// From when it was pushed; where the provider says it.
    pub life: Option<Duration>,
}

/// What `extra` cannot say: the request itself does, or nothing here could answer it.
const OWN: [&str; 13] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "request",
    "request_uri",
    "client_secret",
    "client_assertion",
];

/// Longer ones do not fit into a URL that every server takes.
const LONGEST_REQUEST_URI: usize = 2048;

impl AuthorizationRequest<'_> {
    /// Where the browser is sent. A query that the endpoint has is kept (RFC 6749 section 3.1).
    pub fn url(&self, endpoint: &Url) -> Url {
        let mut url = endpoint.clone();
        url.query_pairs_mut().extend_pairs(self.parameters());
        url
    }

    /// Pushes the request at `now`; the browser is then sent to [`Pushed::url`].
    ///
    /// # Errors
    /// When the provider does not take it.
    pub async fn push(
        &self,
        endpoint: &Url,
        proof: &Proof,
        http: &HttpClient,
        now: Moment,
    ) -> Result<Pushed, ExchangeError> {
        let asked = TokenEndpoint::new(http, endpoint, now);
        let answer = asked.object(self.message(endpoint, proof)?).await?;
        let request_uri = answer.get("request_uri").and_then(|uri| uri.as_str());
        let request_uri = request_uri
            .filter(|uri| !uri.is_empty() && uri.len() <= LONGEST_REQUEST_URI)
            .ok_or_else(|| asked.unusable("holds no `request_uri`"))?;
        Ok(Pushed {
            request_uri: request_uri.to_owned(),
            life: answer.get("expires_in").and_then(seconds),
        })
    }

    fn message(&self, endpoint: &Url, proof: &Proof) -> Result<Request<Bytes>, ClientError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        let parameters = self.parameters().into_iter();
        form.extend_pairs(parameters.filter(|(name, _)| *name != "client_id"));
        let field = proof.write(self.client_id, &mut form);
        let mut message = Request::post(endpoint.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(field) = field {
            // RFC 9126 section 2.1: it is a parameter of the request as well
            form.append_pair("client_id", self.client_id);
            message = message.header(header::AUTHORIZATION, field);
        }
        message
            .body(form.finish().into())
            .map_err(|_| ClientError::Url)
    }

    fn parameters(&self) -> Vec<(&str, String)> {
        let mut all = vec![
            ("client_id", self.client_id.to_owned()),
            ("redirect_uri", self.redirect_uri.as_str().to_owned()),
        ];
        match self.response {
            ResponseType::Code(pkce) => {
                all.push(("response_type", "code".to_owned()));
                all.push(("code_challenge", pkce.challenge.clone()));
                all.push(("code_challenge_method", "S256".to_owned()));
            }
            ResponseType::Tokens => {
                all.push(("response_type", "id_token token".to_owned()));
                all.push(("response_mode", "form_post".to_owned()));
            }
        }
        if !self.scopes.is_empty() {
            all.push(("scope", self.scopes.to_string()));
        }
        all.push(("state", self.state.to_owned()));
        all.push(("nonce", self.nonce.to_owned()));
        for (n, (name, value)) in self.extra.iter().enumerate() {
            let comes_again = self
                .extra
                .iter()
                .skip(n + 1)
                .any(|(other, _)| other == name);
            if !comes_again && !value.is_empty() && !OWN.contains(&&**name) {
                all.push((name, value.clone()));
            }
        }
        all
    }
}

impl Pushed {
    /// Where the browser is sent (RFC 9126 section 4).
    pub fn url(&self, endpoint: &Url, client_id: &str) -> Url {
        let mut url = endpoint.clone();
        url.query_pairs_mut()
            .append_pair("client_id", client_id)
            .append_pair("request_uri", &self.request_uri);
        url
    }
}
