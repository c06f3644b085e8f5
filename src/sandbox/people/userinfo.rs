//! Who a token is about (`OpenID` Connect Core section 5.3), and the end of tokens (RFC 7009).

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use serde_json::{Map, Value};

use super::super::{
    answer,
    hub::serial,
    idp::{Form, Idp, OAuthError},
    server::Body,
};

impl Idp {
    /// `/connect/userinfo`.
    pub(in crate::sandbox) fn userinfo(&self, request: &Request<Bytes>) -> Response<Body> {
        let claims = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .and_then(|token| self.signer.verify(token, self.clock.now()).ok())
            .filter(|claims| !self.faults.is_revoked(serial(claims)));
        let person = claims.as_ref().and_then(|claims| {
            let mut people = self.people.iter();
            let person = people.find(|person| person.subject() == claims.sub)?;
            let openid = claims.scope.iter().any(|scope| scope == "openid");
            openid.then_some((person, &claims.scope))
        });
        let (status, error) = match (&claims, person) {
            (_, Some((person, scopes))) => {
                let mut said = Map::from_iter([("sub".to_owned(), person.subject().into())]);
                person.describe(scopes, &mut said);
                return answer::no_store(answer::json(StatusCode::OK, &Value::Object(said)));
            }
            (None, None) => (StatusCode::UNAUTHORIZED, "Bearer error=\"invalid_token\""),
            (Some(_), None) => (StatusCode::FORBIDDEN, "Bearer error=\"insufficient_scope\""),
        };
        let mut response = answer::empty(status);
        let headers = response.headers_mut();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(error));
        response
    }

    /// `/connect/revocation`.
    pub(in crate::sandbox) fn revoke(&self, request: &Request<Bytes>) -> Response<Body> {
        let revoked = || {
            if request.method() != Method::POST {
                return Err(OAuthError::request("a token is revoked with POST"));
            }
            let form = Form::read(request.headers(), request.body())?;
            let now = self.clock.now();
            let who = self.clients.authenticate(request.headers(), &form, now)?;
            let token = form.get("token");
            self.forget(
                token.ok_or_else(|| OAuthError::request("token is missing"))?,
                &who.client.id,
            );
            Ok(())
        };
        match revoked() {
            Ok(()) => answer::empty(StatusCode::OK),
            Err(error) => error.response(),
        }
    }

    /// What is no token of this client's is left alone (section 2.2 wants no error).
    fn forget(&self, token: &str, client_id: &str) {
        let mut tokens = self.refresh_tokens.lock();
        let of_client = tokens
            .get(token)
            .filter(|token| token.client_id == client_id);
        if let Some(granted) = of_client.map(|token| token.granted.clone()) {
            tokens.remove(token);
            drop(tokens);
            // section 2.1: access tokens of the same grant as well
            if let Some(granted) = granted {
                self.revoke_family(granted.family);
            }
            self.journal
                .count(|counts| counts.refresh_tokens_revoked += 1);
            return;
        }
        drop(tokens);
        if let Ok(claims) = self.signer.verify(token, self.clock.now())
            && claims.client_id == client_id
        {
            self.faults.revoke_token(serial(&claims));
            self.journal
                .count(|counts| counts.access_tokens_revoked += 1);
        }
    }
}
