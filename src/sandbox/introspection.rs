//! The introspection endpoint, as IdentityServer has it (RFC 7662).
//!
//! Who asks is an API with a secret of its own, not a client. It learns of the scopes that are its
//! own, and of a token without any of them that it is not active. A wrong secret is a bare 401.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{
    answer,
    hub::serial,
    idp::{Form, Idp},
    server::Body,
};

impl Idp {
    pub(super) fn introspect(&self, request: &Request<Bytes>) -> Response<Body> {
        if request.method() != Method::POST {
            return answer::empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        let Ok(form) = Form::read(request.headers(), request.body()) else {
            return answer::empty(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        };
        let now = self.clock.now();
        let known = self.apis.authenticate(request.headers(), &form, now);
        let Some(api) = known.ok().filter(|who| who.method != "none") else {
            return answer::empty(StatusCode::UNAUTHORIZED);
        };
        let Some(token) = form.get("token") else {
            let body = json!({"error": "missing_token"});
            return answer::json(StatusCode::BAD_REQUEST, &body);
        };
        let said = self.said_of(token, &api.client.scopes);
        let said = said.unwrap_or_else(|| json!({"active": false}));
        answer::no_store(answer::json(StatusCode::OK, &said))
    }

    fn said_of(&self, token: &str, scopes: &[String]) -> Option<Value> {
        let mut claims = self.signer.verify(token, self.clock.now()).ok()?;
        if self.faults.is_revoked(serial(&claims)) {
            return None;
        }
        claims
            .scope
            .retain(|scope| scopes.is_empty() || scopes.contains(scope));
        if claims.scope.is_empty() {
            return None;
        }
        let mut said = serde_json::to_value(&claims).ok()?;
        said["active"] = true.into();
        said["scope"] = claims.scope.join(" ").into();
        Some(said)
    }
}
