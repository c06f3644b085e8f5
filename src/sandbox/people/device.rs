//! The device flow (RFC 8628): a code that a person enters on a page, while a program polls.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::super::{
    answer,
    idp::{Form, Idp, OAuthError, random_text},
    server::Body,
    token::{Issue, scopes},
};
use super::{
    Granted,
    authorize::Goal,
    pages,
    request::{Ask, Back, Flow, Mode, Prompt},
};

pub(in crate::sandbox) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
pub(in crate::sandbox) const PAGE: &str = "/device";
/// Seconds.
const LIFE: u64 = 600;
/// Seconds between two polls; shorter than the usual five, so that trying takes no time.
const INTERVAL: u64 = 1;

/// A device that waits.
#[derive(Debug)]
pub(in crate::sandbox) struct Device {
    user_code: String,
    client_id: String,
    scopes: Vec<String>,
    answer: Answer,
    ends: u64,
    interval: u64,
    /// Unix milliseconds of the last poll.
    polled: u128,
}

#[derive(Debug, Clone)]
enum Answer {
    Pending,
    Denied,
    Allowed(Arc<Granted>),
}

impl Idp {
    /// `/connect/deviceauthorization`.
    pub(in crate::sandbox) fn authorize_device(&self, request: &Request<Bytes>) -> Response<Body> {
        let asked = || {
            if request.method() != Method::POST {
                return Err(OAuthError::request("a device asks with POST"));
            }
            let form = Form::read(request.headers(), request.body())?;
            let now = self.clock.now();
            let who = self.clients.authenticate(request.headers(), &form, now)?;
            let scopes = scopes(&who, form.get("scope"))?;
            Ok((who.client.id, scopes, now.unix_seconds()))
        };
        let (client_id, scopes, now) = match asked() {
            Ok(asked) => asked,
            Err(error) => return error.response(),
        };
        let (device_code, user_code) = (random_text(), user_code());
        let device = Device {
            user_code: user_code.clone(),
            client_id,
            scopes,
            answer: Answer::Pending,
            ends: now + LIFE,
            interval: INTERVAL,
            polled: 0,
        };
        let mut desk = self.desk.lock();
        desk.devices.retain(|_, device| now < device.ends);
        desk.devices.insert(device_code.clone(), device);
        drop(desk);
        let page = format!("{}{PAGE}", self.issuer);
        let body = json!({
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": page,
            "verification_uri_complete": format!("{page}?user_code={user_code}"),
            "expires_in": LIFE,
            "interval": INTERVAL,
        });
        answer::no_store(answer::json(StatusCode::OK, &body))
    }

    /// The page on which the code is entered.
    pub(in crate::sandbox) fn enter_code(&self, request: &Request<Bytes>) -> Response<Body> {
        let form = match *request.method() {
            Method::GET => Form::parse(request.uri().query().unwrap_or_default().as_bytes()),
            Method::POST => Form::read(request.headers(), request.body()),
            _ => return answer::empty(StatusCode::METHOD_NOT_ALLOWED),
        };
        let Ok(form) = form else {
            return pages::error("This is not what the page sends.");
        };
        let code = form.get("user_code").unwrap_or_default();
        // section 3.3.1: a link may fill the code in, but a person says that it is theirs
        if request.method() == Method::GET {
            return pages::device(code, None);
        }
        let letters = |text: &str| {
            let letters = text.chars().filter(char::is_ascii_alphanumeric);
            letters.collect::<String>().to_ascii_uppercase()
        };
        let now = self.clock.now().unix_seconds();
        let desk = self.desk.lock();
        let waiting = desk.devices.iter().find(|(_, device)| {
            letters(&device.user_code) == letters(code)
                && now < device.ends
                && matches!(device.answer, Answer::Pending)
        });
        let found = waiting.map(|(handle, device)| {
            (
                handle.clone(),
                device.client_id.clone(),
                device.scopes.clone(),
            )
        });
        drop(desk);
        let Some((handle, client_id, scopes)) = found else {
            return pages::device(code, Some("No program waits with this code."));
        };
        let Ok(client) = self.clients.known(&client_id) else {
            return pages::error("This client is not known any more.");
        };
        let ask = Ask {
            client,
            back: Back {
                redirect_uri: String::new(),
                mode: Mode::Query,
                state: None,
            },
            flow: Flow::Code,
            scopes,
            nonce: None,
            challenge: None,
            prompts: vec![Prompt::Consent],
            login_hint: None,
            id_token_hint: None,
            max_age: None,
        };
        self.begin(ask, Goal::Device(handle), request)
    }

    pub(super) fn device_allowed(&self, code: &str, granted: Arc<Granted>) -> Response<Body> {
        self.device_answered(code, Answer::Allowed(granted));
        pages::says(
            "The device is connected",
            "You can close this page and go back to it.",
        )
    }

    pub(super) fn device_denied(&self, code: &str) -> Response<Body> {
        self.device_answered(code, Answer::Denied);
        pages::says("Nothing was connected", "You can close this page.")
    }

    fn device_answered(&self, code: &str, answer: Answer) {
        if let Some(device) = self.desk.lock().devices.get_mut(code) {
            device.answer = answer;
        }
    }

    /// A poll at the token endpoint (section 3.4).
    pub(in crate::sandbox) fn poll(
        &self,
        client_id: String,
        form: &Form,
    ) -> Result<Issue, OAuthError> {
        self.journal.count(|counts| counts.device_polls += 1);
        let shown = form.get("device_code");
        let shown = shown.ok_or_else(|| OAuthError::request("device_code is missing"))?;
        let now = self.clock.now();
        let milliseconds = now.wall.as_millis();
        let mut desk = self.desk.lock();
        let known = desk.devices.get_mut(shown);
        let device = known
            .filter(|device| device.client_id == client_id)
            .ok_or_else(|| OAuthError::new("invalid_grant", "the device code is not good"))?;
        if now.unix_seconds() >= device.ends {
            return Err(OAuthError::new("expired_token", "it took too long"));
        }
        let soonest = device.polled + u128::from(device.interval) * 1000;
        device.polled = milliseconds;
        // a timer of a poller may be a little early
        if milliseconds + 50 < soonest {
            device.interval += 5;
            return Err(OAuthError::new("slow_down", "polled too often"));
        }
        match device.answer.clone() {
            Answer::Pending => Err(OAuthError::new(
                "authorization_pending",
                "nobody has answered",
            )),
            Answer::Denied => Err(OAuthError::new("access_denied", "the person said no")),
            Answer::Allowed(granted) => {
                desk.devices.remove(shown);
                drop(desk);
                Ok(Issue::of(client_id, granted))
            }
        }
    }
}

/// Letters that make no words and are not mistaken for others (section 6.1).
fn user_code() -> String {
    const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte) % LETTERS.len()]);
    let mut bytes = [0; 8];
    // fails only where the system has no randomness; then the code is merely guessable
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    let code: String = bytes.into_iter().map(letter).collect();
    format!("{}-{}", &code[..4], &code[4..])
}
