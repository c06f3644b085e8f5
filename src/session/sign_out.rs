//! Signing out: here, at the provider, and because the provider says so.
//!
//! OpenID Connect RP-Initiated Logout 1.0, Back-Channel Logout 1.0, Front-Channel Logout 1.0. A link on
//! another site signs nobody out: it leads to a page that asks.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode, header::CONTENT_TYPE};
use url::form_urlencoded;

use super::{
    Realm,
    answer::{self, Problem},
    endpoints::Visit,
    live::{Ended, Session},
    realm::{Trace, Who},
};
use crate::{
    oauth::{
        chain,
        end_session::EndSession,
        revoke::{RevocationRequest, TokenKind, revoke},
    },
    secret::Secret,
    verify::LoggedOut,
};

impl Realm {
    /// Ends the session here, and sends the browser to the provider to end its own.
    pub(super) async fn sign_out(&self, visit: &Visit) -> Response<Bytes> {
        let now = self.0.clock.now();
        let present = match self.seen(&visit.headers, now) {
            Who::Person(present) => present,
            Who::Nobody(trace) => {
                let mut response = answer::redirect(StatusCode::SEE_OTHER, &self.signed_out_at());
                // a form of another site comes without cookies, and must not take them away
                if trace == Trace::Stale {
                    answer::set_cookies(&mut response, self.cleared());
                }
                return response;
            }
        };
        // a link of ours is as good as a form of ours; one of another site is neither
        let ours = self.allows(&Method::POST, &visit.headers)
            && (visit.method == Method::POST || answer::comes_from_us(&visit.headers));
        if !ours {
            return answer::sign_out_asked(self, visit);
        }
        let session = Arc::clone(&present.session);
        // a process that has just begun may not know it yet
        let provider = self.0.provider.metadata().await.ok();
        let id_token = session.facts.id_token.clone();
        self.end(&session, Ended::SignedOut);
        let return_to = self.signed_out_url();
        let to = provider
            .as_ref()
            .and_then(|metadata| metadata.end_session.as_ref())
            .map(|endpoint| {
                let request = EndSession {
                    client_id: &self.config().credential.client_id,
                    id_token: id_token.as_ref(),
                    return_to: &return_to,
                    state: None,
                };
                request.url(endpoint).to_string()
            });
        let to = to.unwrap_or_else(|| self.signed_out_at());
        let mut response = answer::redirect(StatusCode::SEE_OTHER, &to);
        answer::set_cookies(&mut response, self.cleared());
        response
    }

    fn signed_out_at(&self) -> String {
        let config = self.config();
        let configured = config.signed_out.clone();
        configured.unwrap_or_else(|| config.path("signed-out"))
    }

    /// What is registered with the provider as `post_logout_redirect_uri`.
    fn signed_out_url(&self) -> url::Url {
        let public = &self.config().public;
        let joined = public.join(&self.signed_out_at());
        joined.unwrap_or_else(|_| public.clone())
    }

    /// A logout token of the provider. Anybody can send one; only what the provider signed counts.
    pub(super) async fn backchannel(&self, form: &[u8]) -> Response<Bytes> {
        let mut tokens = form_urlencoded::parse(form).filter(|(name, _)| name == "logout_token");
        let (Some((_, token)), None) = (tokens.next(), tokens.next()) else {
            return bad_logout("send exactly one logout_token");
        };
        match self.0.logouts.take(&token).await {
            Ok(logged_out) => {
                let ends = |session: &Session| match &logged_out {
                    LoggedOut::Session(sid) => session.facts.sid.as_deref() == Some(&**sid),
                    LoggedOut::Subject(subject) => session.facts.subject == **subject,
                };
                self.end_all(ends, Ended::ByProvider);
                Response::new(Bytes::new())
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(session = %self.config().name, error, "logout not taken");
                bad_logout(
                    "the logout token is not a new and good one of the provider for this client",
                )
            }
        }
    }

    /// A frame in a page of the provider's. The browser keeps our cookies from it, so that the session's
    /// name at the provider is all there is to go by: it has to be right, and nobody can guess it.
    pub(super) async fn frontchannel(&self, visit: &Visit) -> Response<Bytes> {
        let query = visit.query.as_deref().unwrap_or_default();
        let mut issuer = None;
        let mut sid = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "iss" => &mut issuer,
                "sid" => &mut sid,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return answer::plain(StatusCode::BAD_REQUEST);
            }
        }
        let (Some(issuer), Some(sid)) = (issuer, sid) else {
            return answer::plain(StatusCode::BAD_REQUEST);
        };
        let now = self.0.clock.now();
        if let Err(wait) = self.0.rates.lock().take(visit.peer, now) {
            return answer::problem(self, visit, &Problem::TooMany { wait });
        }
        let named = self.0.provider.metadata().await;
        if !named.is_ok_and(|metadata| metadata.is_named(&issuer)) || sid.is_empty() {
            return answer::plain(StatusCode::BAD_REQUEST);
        }
        let ends = |session: &Session| session.facts.sid.as_deref() == Some(&*sid);
        self.end_all(ends, Ended::ByProvider);
        // one that only a cookie knows does not come back either
        let until = now.wall + self.config().absolute;
        self.0.framed.add(&sid, until, now);
        answer::framed_by_anybody(StatusCode::OK)
    }

    fn end_all(&self, ends: impl Fn(&Session) -> bool, why: Ended) {
        for session in self.0.live.all() {
            if ends(&session) {
                self.end(&session, why);
            }
        }
    }

    /// Tells the provider that a refresh token is not needed any more; nobody waits for it.
    pub(super) fn revoke(&self, token: Secret) {
        let realm = self.clone();
        self.0.shutdown.spawn(async move {
            if let Err(error) = realm.revoked(&token).await {
                let session = &realm.config().name;
                tracing::warn!(%session, error, "a refresh token is not revoked");
            }
        });
    }

    async fn revoked(&self, token: &Secret) -> Result<(), String> {
        let this = &*self.0;
        let Some(metadata) = this.provider.known() else {
            return Err("the provider's metadata are not known".to_owned());
        };
        let Some(endpoint) = &metadata.revocation else {
            return Ok(());
        };
        let _turn = this.provider.turn().await;
        let client = this.provider.client().await;
        let client = client.map_err(|error| chain(&error))?;
        let client_id = &this.config.credential.client_id;
        let now = this.clock.now();
        let proofs = client.material.proofs(client_id, endpoint, now);
        let proofs = proofs.map_err(|error| chain(&error))?;
        let mut last = "there is nothing to prove the client with".to_owned();
        for (_, proof) in proofs {
            let request = RevocationRequest {
                endpoint,
                client_id,
                proof: &proof,
                token,
                kind: TokenKind::Refresh,
            };
            match revoke(&client.http, &request, now).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_invalid_client() => last = chain(&error),
                Err(error) => return Err(chain(&error)),
            }
        }
        Err(last)
    }
}

/// OpenID Connect Back-Channel Logout 1.0 section 2.8.
fn bad_logout(why: &str) -> Response<Bytes> {
    let body = serde_json::json!({"error": "invalid_request", "error_description": why});
    let mut response = answer::json(StatusCode::BAD_REQUEST, &body);
    response
        .headers_mut()
        .entry(CONTENT_TYPE)
        .or_insert(answer::JSON);
    response
}
