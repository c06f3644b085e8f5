//! The beginning of a sign-in: the browser is sent to the provider, with what only it can end it by. What
//! a link may say of how, and why there was none.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use url::{Url, form_urlencoded};

use super::{
    Realm,
    answer::{self, Problem},
    cookie::{NoTransaction, SameSite, Transaction},
    endpoints::Visit,
    live::Id,
    provider::ProviderError,
    return_to::ReturnTo,
};
use crate::{
    clock::Moment,
    config::Flow,
    oauth::{
        ExchangeError,
        authorization::{
            AuthorizationRequest, Pkce, RefusedKind, ResponseError, ResponseType, unguessable,
        },
        chain,
    },
    secret::Secret,
    verify::BadIdToken,
};

/// What a link to sign in may say of how.
const PASSED: [&str; 5] = [
    "prompt",
    "login_hint",
    "acr_values",
    "max_age",
    "ui_locales",
];
/// Each of them.
const LONGEST: usize = 256;

/// A sign-in that somebody wishes.
pub(super) struct Wish {
    pub(super) return_to: ReturnTo,
    /// Besides those of the configuration.
    pub(super) parameters: Vec<(String, String)>,
    pub(super) purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    SignIn,
    /// Another token for this session, without showing anybody anything.
    Renewal(Id),
}

/// Why a sign-in did not begin, or did not end in a session.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignInError {
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("the sign-in cannot be kept")]
    Cookie(#[from] super::cookie::SealError),
    #[error("the request could not be pushed")]
    Push(#[source] ExchangeError),
    #[error(transparent)]
    Response(#[from] ResponseError),
    #[error(transparent)]
    NoTransaction(#[from] NoTransaction),
    #[error("the provider refused: {error}")]
    Refused {
        error: String,
        description: Option<String>,
        kind: RefusedKind,
    },
    #[error("the provider answered with something else than was asked for")]
    OtherFlow,
    #[error("the code is not exchanged")]
    Exchange(#[source] ExchangeError),
    #[error("the provider gave no ID token")]
    NoIdToken,
    #[error("the ID token is refused")]
    IdToken(#[source] BadIdToken),
    #[error("too many come back from the provider to this address")]
    TooMany(Duration),
    #[error("the person said to be `{0}` signs in as another")]
    AnotherPerson(String),
}

impl Wish {
    /// What is asked of `login`.
    pub(super) fn of_query(query: Option<&str>, realm: &Realm) -> Self {
        let mut return_to = None;
        let mut parameters = Vec::new();
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        for (name, value) in pairs {
            if name == "return_to" {
                return_to = ReturnTo::parse(&value, realm.config());
            } else if PASSED.contains(&&*name) && value.len() <= LONGEST {
                parameters.push((name.into_owned(), value.into_owned()));
            }
        }
        Self {
            return_to: return_to.unwrap_or_else(ReturnTo::root),
            parameters,
            purpose: Purpose::SignIn,
        }
    }
}

impl Realm {
    /// Sends the browser to the provider.
    pub(super) async fn begin(&self, wish: Wish, visit: &Visit) -> Response<Bytes> {
        let now = self.0.clock.now();
        if let Err(wait) = self.0.rates.lock().take(visit.peer, now) {
            self.0.count.sign_in("too_many");
            return answer::problem(self, visit, &Problem::TooMany { wait });
        }
        let return_to = wish.return_to.clone();
        match self.sent(wish, &visit.headers, now).await {
            Ok(response) => response,
            Err(error) => self.refused(visit, &error, &return_to),
        }
    }

    async fn sent(
        &self,
        wish: Wish,
        headers: &HeaderMap,
        now: Moment,
    ) -> Result<Response<Bytes>, SignInError> {
        let this = &*self.0;
        let credential = &this.config.credential;
        let metadata = this.provider.metadata().await?;
        let endpoint = metadata
            .authorization_endpoint()
            .map_err(ProviderError::from)?;
        let mut rng = self.rng();
        let pkce = Pkce::new(&mut rng);
        let transaction = Transaction {
            state: Secret::new(unguessable(&mut rng)),
            nonce: Secret::new(unguessable(&mut rng)),
            verifier: pkce.verifier.clone(),
            return_to: wish.return_to.as_str().to_owned(),
            issuer: metadata.issuer.clone(),
            renews: match wish.purpose {
                Purpose::SignIn => None,
                Purpose::Renewal(id) => Some(id),
            },
            started_at: now.unix_seconds(),
        };
        let flow = credential.grant.flow().unwrap_or(Flow::Code);
        let same_site = match flow {
            Flow::Code => SameSite::Lax,
            // the form comes from the provider's page
            Flow::Implicit => SameSite::None,
        };
        let cookies = this.cookies.load();
        let lines = cookies.begin(headers, &transaction, same_site, &mut rng)?;
        let configured = &this.config.parameters;
        let mut extra = wish.parameters;
        // a link does not lower what the operator demands
        extra.retain(|(name, _)| !configured.contains_key(name));
        let configured = configured.iter();
        extra.extend(configured.map(|(name, value)| (name.clone(), value.clone())));
        if transaction.renews.is_some() {
            extra.push(("prompt".to_owned(), "none".to_owned()));
        }
        let redirect_uri = this.config.redirect_uri();
        let request = AuthorizationRequest {
            client_id: &credential.client_id,
            redirect_uri: &redirect_uri,
            scopes: &credential.scopes,
            response: match flow {
                Flow::Code => ResponseType::Code(&pkce),
                Flow::Implicit => ResponseType::Tokens,
            },
            state: transaction.state.expose(),
            nonce: transaction.nonce.expose(),
            extra: &extra,
        };
        let url = match &metadata.pushed {
            // what is there is used: the address bar and its history then hold nothing of it
            Some(pushed) if flow == Flow::Code || metadata.requires_pushed => {
                match self.pushed(&request, pushed, endpoint, now).await {
                    Err(SignInError::Push(error))
                        if !metadata.requires_pushed && error.is_wrong_address() =>
                    {
                        request.url(endpoint)
                    }
                    pushed => pushed?,
                }
            }
            _ => request.url(endpoint),
        };
        let mut response = answer::redirect(StatusCode::FOUND, url.as_str());
        answer::set_cookies(&mut response, lines);
        this.count.sign_in("begun");
        Ok(response)
    }

    async fn pushed(
        &self,
        request: &AuthorizationRequest<'_>,
        to: &Url,
        endpoint: &Url,
        now: Moment,
    ) -> Result<Url, SignInError> {
        let _place = self.0.provider.place()?;
        let client = self.0.provider.client().await?;
        let client_id = request.client_id;
        let proofs = client.material.proofs(client_id, to, now);
        let mut proofs = proofs.map_err(ProviderError::from)?.into_iter().peekable();
        while let Some((_, proof)) = proofs.next() {
            match request.push(to, &proof, &client.http, now).await {
                Ok(pushed) => return Ok(pushed.url(endpoint, client_id)),
                Err(error) if error.is_invalid_client() && proofs.peek().is_some() => {}
                Err(error) => return Err(SignInError::Push(error)),
            }
        }
        Err(ProviderError::NoProof.into())
    }

    /// What is said of a sign-in that failed.
    pub(super) fn refused(
        &self,
        visit: &Visit,
        error: &SignInError,
        return_to: &ReturnTo,
    ) -> Response<Bytes> {
        self.0.count.sign_in(error.word());
        tracing::warn!(
            session = %self.0.config.name,
            request_id = %visit.reference.request_id,
            error = chain(error),
            "a sign-in has failed"
        );
        if let SignInError::TooMany(wait) = error {
            return answer::problem(self, visit, &Problem::TooMany { wait: *wait });
        }
        answer::problem(self, visit, &Problem::SignIn(error, return_to))
    }
}

impl SignInError {
    /// For metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Provider(_) | Self::Push(_) => "provider",
            Self::Refused { kind, .. } => match kind {
                RefusedKind::Denied => "denied",
                RefusedKind::NeedsPerson => "needs_person",
                RefusedKind::Unavailable => "provider",
                RefusedKind::Request => "refused",
            },
            Self::Exchange(_) => "exchange",
            Self::NoTransaction(_) => "not_begun",
            Self::TooMany(_) => "too_many",
            Self::Response(_) | Self::OtherFlow => "response",
            Self::NoIdToken | Self::IdToken(_) | Self::AnotherPerson(_) => "id_token",
            Self::Cookie(_) => "cookie",
        }
    }
}

/// `HeaderValue`s are made by the cookies; nothing else here sets any.
pub(super) type Lines = Vec<HeaderValue>;
