//! The end of a session (`OpenID` Connect RP-Initiated Logout 1.0): clients are told, the browser
//! goes back.
//!
//! Who brings no ID token of the session is asked. An address that is not registered is never gone
//! to: the page says so.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::SET_COOKIE};

use super::super::{
    answer,
    idp::{Form, Idp},
    server::Body,
};
use super::{browser, notify::Ended, pages, response::see_other, set_cookie};

/// Of the form that asks.
const SURE: &str = "sure";

impl Idp {
    /// `/connect/endsession`, by GET or POST.
    pub(in crate::sandbox) async fn end_session(&self, request: &Request<Bytes>) -> Response<Body> {
        let form = match *request.method() {
            Method::GET => Form::parse(request.uri().query().unwrap_or_default().as_bytes()),
            Method::POST => Form::read(request.headers(), request.body()),
            _ => return answer::empty(StatusCode::METHOD_NOT_ALLOWED),
        };
        let Ok(form) = form else {
            return pages::error("A parameter is given twice.");
        };
        let hint = form.get("id_token_hint").map(|hint| self.hinted(hint));
        if matches!(hint, Some(None)) {
            return pages::error("id_token_hint is no ID token of this provider.");
        }
        let hint = hint.flatten();
        let client_id = form.get("client_id");
        let named = hint.as_ref().map(|hint| hint.client_id.as_str());
        if named
            .zip(client_id)
            .is_some_and(|(named, said)| named != said)
        {
            return pages::error("id_token_hint is another client's.");
        }
        let browser = browser(request.headers(), &self.issuer);
        let accounts = self.desk.lock().accounts(browser.as_deref()).to_vec();
        let sure = match &hint {
            // what was signed in here meanwhile is another's
            Some(hint) => accounts
                .iter()
                .all(|account| account.person.subject() == hint.subject),
            None => false,
        };
        // a form of another site is without the cookie's `SameSite`, so the cookie's value confirms
        let confirmed = form
            .get(SURE)
            .is_some_and(|value| Some(value) == browser.as_deref());
        if !(sure || confirmed || accounts.is_empty()) {
            let kept = [
                "client_id",
                "id_token_hint",
                "post_logout_redirect_uri",
                "state",
            ];
            let mut fields: Vec<(&str, &str)> = kept
                .iter()
                .filter_map(|name| Some((*name, form.get(name)?)))
                .collect();
            fields.push((SURE, browser.as_deref().unwrap_or_default()));
            return pages::sign_out(&fields);
        }
        let mut ended: Vec<Ended> = Vec::new();
        if let Some(browser) = &browser {
            let accounts = self.desk.lock().browsers.remove(browser);
            ended.extend(accounts.unwrap_or_default().iter().flat_map(Ended::of));
        }
        self.journal.count(|counts| counts.logouts += 1);
        let frames = self.notify(&ended).await;
        let client = named
            .or(client_id)
            .and_then(|id| self.clients.known(id).ok());
        let asked = form.get("post_logout_redirect_uri");
        let next = asked.filter(|uri| {
            client
                .as_ref()
                .is_some_and(|client| client.registration.may_end_at(uri))
        });
        let note = match (asked, next) {
            (Some(_), None) => "The address to go on to is not registered, so this is the end.",
            _ => "The applications that you used have been told.",
        };
        let next = next.map(|uri| with_state(uri, form.get("state")));
        let mut response = match next {
            Some(next) if frames.is_empty() => see_other(&next),
            next => pages::signed_out(&frames, next.as_deref(), note),
        };
        if let Some(cookie) = set_cookie(&self.issuer, "") {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }
}

fn with_state(uri: &str, state: Option<&str>) -> String {
    let Some(state) = state else {
        return uri.to_owned();
    };
    let state: String = url::form_urlencoded::byte_serialize(state.as_bytes()).collect();
    let joint = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{joint}state={state}")
}
