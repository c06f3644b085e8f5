//! Pushed authorization requests (RFC 9126).

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::super::{
    answer,
    faults::Point,
    idp::{Form, Idp, OAuthError, random_text},
    server::Body,
};
use super::request::{Ask, Bad};

/// Seconds until a pushed request is forgotten.
const LIFE: u64 = 60;
const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

/// Parameters that wait to be used, once.
#[derive(Debug)]
pub(in crate::sandbox) struct Pushed {
    form: Form,
    client_id: String,
    ends: u64,
}

impl Idp {
    /// `/connect/par`.
    pub(in crate::sandbox) fn push(&self, request: &Request<Bytes>) -> Response<Body> {
        match self.pushed(request) {
            Ok(handle) => {
                let body = json!({"request_uri": handle, "expires_in": LIFE});
                answer::no_store(answer::json(StatusCode::CREATED, &body))
            }
            Err(error) => error.response(),
        }
    }

    fn pushed(&self, request: &Request<Bytes>) -> Result<String, OAuthError> {
        if request.method() != Method::POST {
            return Err(OAuthError::request("a request is pushed with POST"));
        }
        let form = Form::read(request.headers(), request.body())?;
        let now = self.clock.now();
        let who = self.clients.authenticate(request.headers(), &form, now)?;
        if self.faults.strike_sign_in(Point::Push).is_some() {
            return Err(OAuthError::request("as the sandbox was told"));
        }
        // section 2.1: not a pushed request in a pushed request
        let form = form.with("client_id", &who.client.id);
        if form.get("request_uri").is_some() {
            return Err(OAuthError::request("request_uri cannot be pushed"));
        }
        Ask::read(&form, &self.clients).map_err(|bad| match bad {
            Bad::Here(text) => OAuthError::request(&text),
            Bad::There(_, error) => error,
        })?;
        let handle = format!("{PREFIX}{}", random_text());
        let pushed = Pushed {
            form,
            client_id: who.client.id,
            ends: now.unix_seconds() + LIFE,
        };
        let mut desk = self.desk.lock();
        desk.pushed
            .retain(|_, pushed| now.unix_seconds() < pushed.ends);
        desk.pushed.insert(handle.clone(), pushed);
        Ok(handle)
    }

    /// The parameters to go by: those of the request, or those that were pushed before.
    pub(super) fn pulled(&self, form: Form) -> Result<Form, Bad> {
        let Some(handle) = form
            .get("request_uri")
            .filter(|uri| uri.starts_with(PREFIX))
        else {
            return Ok(form);
        };
        let bad =
            || Bad::Here("this request_uri was used, has expired, or is another client's".into());
        let pushed = self.desk.lock().pushed.remove(handle).ok_or_else(bad)?;
        let good = self.clock.now().unix_seconds() < pushed.ends
            && form.get("client_id") == Some(&pushed.client_id);
        good.then_some(pushed.form).ok_or_else(bad)
    }
}
