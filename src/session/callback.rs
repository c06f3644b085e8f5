//! The end of a sign-in: the browser comes back from the provider.
//!
//! What comes back is believed only if this browser began that sign-in (its sealed transaction has the
//! `state`), if the provider that answers is the one that was asked (RFC 9207), and if the ID token
//! is for us, for this transaction and signed by the provider. Each sign-in makes a new session.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode, header::SET_COOKIE};
use url::form_urlencoded;

use super::{
    Realm, answer,
    cookie::{NoTransaction, SIGN_IN_LIFE, Transaction},
    endpoints::Visit,
    live::{Ended, Id, Known, Session},
    provider::ProviderError,
    realm::Who,
    return_to::ReturnTo,
    sign_in::SignInError,
    state::Facts,
};
use crate::{
    clock::Moment,
    config::Flow,
    oauth::{
        Issued, SignInMetadata, TokenRequest,
        authorization::{Answer, read_response},
        chain,
        grant::authorization_code::{self, Code},
    },
    secret::Secret,
    tokens::Deposit,
    verify::{AtHash, ExpectedIdToken, IdToken, SentNonce},
};

/// After the provider would not renew without the person.
const QUIET: Duration = Duration::from_secs(600);

impl Realm {
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
        if let Err(wait) = this.returns.lock().take(visit.peer, now) {
            return Err(SignInError::TooMany(wait));
        }
        // a browser need not give its cookie up; it ends once all the same
        if !this
            .spent
            .add(&answered.state, now.wall + SIGN_IN_LIFE, now)
        {
            return Err(NoTransaction::Unknown.into());
        }
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
        this.count.signed_in(&session.facts.subject);
        tracing::info!(
            session = %this.config.name,
            subject = %session.facts.subject,
            request_id = %visit.reference.request_id,
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
        let _place = self.0.provider.place()?;
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
