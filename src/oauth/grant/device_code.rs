//! RFC 8628: a token for somebody who signs in on another machine, or by hand.
//!
//! One request starts it, and each further one asks once whether it is done; how long to wait in
//! between is the caller's business, by the interval that the provider says. What the provider
//! writes is shown in a terminal, so it is cleaned here.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::TokenRequest;
use crate::{
    clock::Moment,
    http::client::HttpClient,
    oauth::{
        discovery::usable,
        token_endpoint::{TokenEndpoint, seconds},
        types::{ExchangeError, Issued, clean},
    },
    secret::Secret,
};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Section 3.2, where the provider is silent.
const INTERVAL: Duration = Duration::from_secs(5);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
/// Where the provider is silent, though it must not be.
const LIFE: Duration = Duration::from_secs(300);
const LONGEST_LIFE: Duration = Duration::from_secs(3600);
const LONGEST_USER_CODE: usize = 64;

/// A sign-in that has begun.
#[derive(Debug, Clone)]
pub struct DeviceAuthorization {
    pub device_code: Secret,
    /// What the person types; printable ASCII.
    pub user_code: String,
    /// Where: `https`, or `http` on this machine.
    pub verification_uri: Url,
    /// The same with the code in it, to be scanned rather than typed.
    pub verification_uri_complete: Option<Url>,
    /// From when it began.
    pub life: Duration,
    /// Between two questions.
    pub interval: Duration,
}

/// How far the person is.
#[derive(Debug, Clone)]
pub enum Progress {
    Done(Box<Issued>),
    Pending,
    /// As pending, and the interval grows by five seconds, for good (section 3.5).
    SlowDown,
    /// The person said no.
    Denied,
    /// It took too long; another sign-in may be begun.
    Expired,
}

/// Begins, at `now`. The request's endpoint is the device authorization endpoint.
///
/// # Errors
/// When the provider begins none.
pub async fn start(
    request: &TokenRequest<'_>,
    http: &HttpClient,
    now: Moment,
) -> Result<DeviceAuthorization, ExchangeError> {
    let endpoint = TokenEndpoint::new(http, request.endpoint, now);
    let answer = endpoint.object(request.message(&[])?).await?;
    read(&answer, request.endpoint).map_err(|what| endpoint.unusable(what))
}

/// Asks once, at `now`. The request's endpoint is the token endpoint; its scopes are not sent.
///
/// # Errors
/// When there is no answer, or another refusal than those of RFC 8628. After one whose class is
/// transient, the caller may ask again, later than it would have.
pub async fn poll(
    request: &TokenRequest<'_>,
    device_code: &Secret,
    http: &HttpClient,
    now: Moment,
) -> Result<Progress, ExchangeError> {
    let scopes = crate::config::ScopeSet::default();
    let request = TokenRequest {
        scopes: &scopes,
        ..*request
    };
    let parameters = [
        ("grant_type", GRANT_TYPE),
        ("device_code", device_code.expose()),
    ];
    progress(request.send(&parameters, http, now).await)
}

fn progress(answer: Result<Issued, ExchangeError>) -> Result<Progress, ExchangeError> {
    let error = match answer {
        Ok(issued) => return Ok(Progress::Done(Box::new(issued))),
        Err(error) => error,
    };
    let code = match &error {
        ExchangeError::Refused { error, .. } => error.as_str(),
        _ => "",
    };
    match code {
        "authorization_pending" => Ok(Progress::Pending),
        "slow_down" => Ok(Progress::SlowDown),
        "access_denied" => Ok(Progress::Denied),
        "expired_token" => Ok(Progress::Expired),
        _ => Err(error),
    }
}

fn read(answer: &Value, endpoint: &Url) -> Result<DeviceAuthorization, &'static str> {
    let text = |name| answer.get(name).and_then(Value::as_str);
    let url = |name| {
        let url = Url::parse(text(name)?).ok()?;
        usable(&url, endpoint).is_ok().then_some(url)
    };
    let device_code = text("device_code").filter(|code| !code.is_empty());
    let device_code = device_code.ok_or("holds no device code")?;
    let user_code = text("user_code").filter(|code| !code.is_empty());
    let user_code = user_code.ok_or("holds no user code")?;
    if user_code.len() > LONGEST_USER_CODE {
        return Err("holds a user code that nobody would type");
    }
    // drafts of the RFC, and Google, wrote it otherwise
    let verification_uri = url("verification_uri").or_else(|| url("verification_url"));
    let within = |name, otherwise: Duration, longest| {
        let told = answer.get(name).and_then(seconds);
        told.unwrap_or(otherwise).min(longest)
    };
    Ok(DeviceAuthorization {
        device_code: Secret::new(device_code),
        user_code: clean(user_code),
        verification_uri: verification_uri.ok_or("holds no address where to sign in")?,
        verification_uri_complete: url("verification_uri_complete"),
        life: within("expires_in", LIFE, LONGEST_LIFE),
        interval: within("interval", INTERVAL, LONGEST_INTERVAL),
    })
}
