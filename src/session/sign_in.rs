//! Signing in: the browser goes to the provider, and comes back with a code.
//!
//! What comes back is believed only if this browser began that sign-in (its sealed transaction has the
//! `state`), if the provider that answers is the one that was asked (RFC 9207), and if the ID token
//! is for us, for this transaction and signed by the provider. Each sign-in makes a new session.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header::SET_COOKIE};
use url::{Url, form_urlencoded};

use super::{
    Realm,
    answer::{self, Problem},
    cookie::{NoTransaction, SameSite, Transaction},
    endpoints::Visit,
    live::{Ended, Id, Known, Session},
    provider::ProviderError,
    realm::Who,
    return_to::ReturnTo,
    state::Facts,
};
use crate::{
    clock::Moment,
    config::Flow,
    oauth::{
        Class, ExchangeError, Issued, SignInMetadata, TokenRequest,
        authorization::{
            Answer, AuthorizationRequest, Pkce, RefusedKind, ResponseError, ResponseType,
            read_response, unguessable,
        },
        chain,
        grant::authorization_code::{self, Code},
    },
    secret::Secret,
    tokens::Deposit,
    verify::{AtHash, BadIdToken, ExpectedIdToken, IdToken, SentNonce},
};

/// What a link to sign in may say of how.
const PASSED: [&str; 5] = [
    "prompt",
    "login_hint",
    "acr_values",
    "max_age",
    "ui_locales",
];
/// After the provider would not renew without the person.
const QUIET: Duration = Duration::from_secs(600);
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
                        if !metadata.requires_pushed && error.class() == Class::Transient =>
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

    /// The browser comes back.
    pub(super) async fn callback(&self, parameters: &[u8], visit: &Visit) -> Response<Bytes> {
        let now = self.0.clock.now();
        let state = state_of(parameters);
        let mut return_to = ReturnTo::root();
        let ended = self.ended(parameters, visit, now, &mut return_to).await;
        let mut response = match ended {
            Ok(response) => response,
            Err(error) => self.refused(visit, &error, &return_to),
        };
        // it ends once, however
        let over = state.and_then(|state| self.0.cookies.load().end(&state));
        if let Some(over) = over {
            response.headers_mut().append(SET_COOKIE, over);
        }
        response
    }

    async fn ended(
        &self,
        parameters: &[u8],
        visit: &Visit,
        now: Moment,
        return_to: &mut ReturnTo,
    ) -> Result<Response<Bytes>, SignInError> {
        let this = &*self.0;
        let flow = this.config.credential.grant.flow().unwrap_or(Flow::Code);
        let answered = read_response(parameters, flow, now)?;
        let cookies = this.cookies.load_full();
        let seconds = now.unix_seconds();
        let transaction = cookies.transaction(&visit.headers, &answered.state, seconds)?;
        drop(cookies);
        if let Some(wished) = ReturnTo::parse(&transaction.return_to, &this.config) {
            *return_to = wished;
        }
        let metadata = this.provider.metadata().await?;
        answered.check_issuer(&metadata)?;
        if !metadata.is_named(&transaction.issuer) {
            return Err(NoTransaction::Unknown.into());
        }
        if let Some(id) = transaction.renews {
            let answer = answered.answer;
            return Ok(self
                .renewal(&id, answer, &transaction, return_to, now)
                .await);
        }
        let redeemed = self.brought(answered.answer, &transaction, &metadata, now);
        let redeemed = redeemed.await?;
        let token = self
            .identified(&redeemed.issued, &transaction, flow)
            .await?;
        if let Who::Person(before) = self.seen(&visit.headers, now) {
            self.end(&before.session, Ended::Replaced);
        }
        let session = self.session_for(&token, &redeemed, now);
        let held = this.cookies.load().held(&visit.headers);
        let lines = self.cookies_of(&session, held, now)?;
        this.count.sign_in("ok");
        tracing::info!(
            session = %this.config.name,
            subject = %session.facts.subject,
            request_id = %visit.request_id,
            "a person has signed in"
        );
        let mut response = answer::redirect(StatusCode::SEE_OTHER, return_to.as_str());
        answer::set_cookies(&mut response, lines);
        Ok(response)
    }

    /// Another token for a session that is there. Whatever comes of it, the person goes on: the token is
    /// good for a while, and when it has ended, they sign in.
    async fn renewal(
        &self,
        id: &Id,
        answered: Answer,
        transaction: &Transaction,
        return_to: &ReturnTo,
        now: Moment,
    ) -> Response<Bytes> {
        // one that has ended meanwhile does not come back so
        if let Known::Here(session) = self.0.live.find(id) {
            let renewed = async {
                let Answer::Tokens(issued) = answered else {
                    return Err(SignInError::OtherFlow);
                };
                let (issued, since) = (*issued, now);
                let flow = Flow::Implicit;
                let token = self.identified(&issued, transaction, flow).await?;
                if *session.facts.subject != *token.subject {
                    let subject = session.facts.subject.clone();
                    return Err(SignInError::AnotherPerson(subject));
                }
                Ok(Redeemed { issued, since })
            };
            match renewed.await {
                Ok(redeemed) => {
                    session.person.deposit(redeemed.deposit(self));
                    self.0.count.sign_in("ok");
                }
                // OpenID Connect Core section 3.1.2.6: the provider has somebody else's session now
                Err(error @ SignInError::AnotherPerson(_)) => {
                    self.0.count.sign_in(error.word());
                    self.end(&session, Ended::ByProvider);
                }
                Err(error) => {
                    self.0.count.sign_in("needs_person");
                    session.be_quiet(now.wall + QUIET);
                    let (name, error) = (&self.0.config.name, chain(&error));
                    tracing::info!(session = %name, error, "a token is not renewed without the person");
                }
            }
        }
        answer::redirect(StatusCode::SEE_OTHER, return_to.as_str())
    }

    /// What the provider's answer is good for.
    async fn brought(
        &self,
        answered: Answer,
        transaction: &Transaction,
        metadata: &SignInMetadata,
        now: Moment,
    ) -> Result<Redeemed, SignInError> {
        match (self.0.config.credential.grant.flow(), answered) {
            (_, Answer::Refused(refused)) => Err(SignInError::Refused {
                kind: refused.kind(),
                error: refused.error,
                description: refused.description,
            }),
            (Some(Flow::Code), Answer::Code(code)) => {
                self.redeemed(&code, transaction, metadata).await
            }
            (Some(Flow::Implicit), Answer::Tokens(issued)) => {
                let (issued, since) = (*issued, now);
                Ok(Redeemed { issued, since })
            }
            _ => Err(SignInError::OtherFlow),
        }
    }

    async fn redeemed(
        &self,
        code: &Secret,
        transaction: &Transaction,
        metadata: &SignInMetadata,
    ) -> Result<Redeemed, SignInError> {
        let credential = &self.0.config.credential;
        let client = self.0.provider.client().await?;
        let endpoint = &metadata.token_endpoint;
        let redirect_uri = self.0.config.redirect_uri();
        let code = Code {
            code,
            verifier: &transaction.verifier,
            redirect_uri: &redirect_uri,
        };
        let now = self.0.clock.now();
        let proofs = client.material.proofs(&credential.client_id, endpoint, now);
        let mut proofs = proofs.map_err(ProviderError::from)?.into_iter().peekable();
        while let Some((_, proof)) = proofs.next() {
            let request = TokenRequest {
                endpoint,
                client_id: &credential.client_id,
                proof: &proof,
                scopes: &credential.scopes,
                extra: &credential.extra,
            };
            let since = self.0.clock.now();
            match authorization_code::exchange(&request, &code, &client.http, since).await {
                Ok(issued) => return Ok(Redeemed { issued, since }),
                Err(error) if error.is_invalid_client() && proofs.peek().is_some() => {}
                Err(error) => return Err(SignInError::Exchange(error)),
            }
        }
        Err(ProviderError::NoProof.into())
    }

    async fn identified(
        &self,
        issued: &Issued,
        transaction: &Transaction,
        flow: Flow,
    ) -> Result<IdToken, SignInError> {
        let id_token = issued.id_token.as_ref().ok_or(SignInError::NoIdToken)?;
        let header = &issued.header;
        let config = &self.0.config;
        // what a link asked for is not the operator's demand
        let max_age = config.parameters.get("max_age");
        let max_age = max_age.and_then(|seconds| seconds.parse().ok());
        let expected = ExpectedIdToken {
            client_id: &config.credential.client_id,
            nonce: SentNonce::Was(transaction.nonce.expose()),
            access_token: match flow {
                Flow::Code => AtHash::IfPresent(header),
                Flow::Implicit => AtHash::Required(header),
            },
            max_age: max_age.map(Duration::from_secs),
        };
        let checked = self
            .0
            .issuer
            .id_token(id_token.expose(), &expected, &self.0.clock);
        checked.await.map_err(SignInError::IdToken)
    }

    /// A new session.
    fn session_for(&self, token: &IdToken, redeemed: &Redeemed, now: Moment) -> Arc<Session> {
        let this = &*self.0;
        let credential = &this.config.credential;
        let issuer = credential.provider.issuer.as_str();
        let mut facts = Facts::new(issuer, &credential.client_id, token, now.wall);
        facts.id_token.clone_from(&redeemed.issued.id_token);
        let (id, facts) = (self.new_id(), Arc::new(facts));
        let keep = self.keeps(id, &facts);
        let person = this.tokens.person(credential, redeemed.deposit(self), keep);
        let session = Arc::new(Session::new(id, facts, person, now.wall));
        self.make_room();
        if let Some(directory) = &this.directory {
            directory.save(&session, &this.shutdown);
        }
        // its name is new
        this.live.put(Arc::clone(&session)).unwrap_or(session)
    }

    /// What is said of a sign-in that failed.
    fn refused(&self, visit: &Visit, error: &SignInError, return_to: &ReturnTo) -> Response<Bytes> {
        self.0.count.sign_in(error.word());
        tracing::warn!(
            session = %self.0.config.name,
            request_id = %visit.request_id,
            error = chain(error),
            "a sign-in has failed"
        );
        answer::problem(self, visit, &Problem::SignIn(error, return_to))
    }
}

/// What a sign-in brought.
struct Redeemed {
    issued: Issued,
    /// When it was asked for.
    since: Moment,
}

impl Redeemed {
    fn deposit(&self, realm: &Realm) -> Deposit {
        let issued = &self.issued;
        Deposit {
            refresh: issued.refresh.clone(),
            token: Some((issued.header.clone(), self.since, issued.life)),
            scopes: realm.0.config.credential.scopes.clone(),
        }
    }
}

fn state_of(parameters: &[u8]) -> Option<String> {
    let mut pairs = form_urlencoded::parse(parameters);
    let (_, state) = pairs.find(|(name, _)| name == "state")?;
    Some(state.into_owned())
}

impl SignInError {
    /// For metrics.
    fn word(&self) -> &'static str {
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
            Self::Response(_) | Self::OtherFlow => "response",
            Self::NoIdToken | Self::IdToken(_) | Self::AnotherPerson(_) => "id_token",
            Self::Cookie(_) => "cookie",
        }
    }
}

/// `HeaderValue`s are made by the cookies; nothing else here sets any.
pub(super) type Lines = Vec<HeaderValue>;
