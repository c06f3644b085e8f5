//! A token endpoint's answer: RFC 6749 section 5, read as servers really write it.
//!
//! Requests are made by the `oauth2` crate; this sends them and judges the answer first, because
//! the status says little: some servers answer 400 to everything, some 200 with an error in it.

use std::{fmt, sync::OnceLock, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{DATE, RETRY_AFTER},
};
use oauth2::{
    AccessToken, AsyncHttpClient, HttpRequest, HttpResponse, RefreshToken, RequestTokenError,
    Scope, TokenResponse,
    basic::{BasicErrorResponse, BasicTokenType},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::{
    sent::Sent,
    types::{ExchangeError, Issued, Note, clean},
};
use crate::{clock::Moment, config::ScopeSet, http::client::HttpClient, secret::Secret};

/// No token is believed to live longer: a renewal a week is no burden.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// A token that says nothing about its life.
const UNKNOWN: Duration = Duration::from_secs(300);
const SHORTEST: Duration = Duration::from_secs(1);
/// A header of this size is refused by most servers.
const TOKEN_MAX_BYTES: usize = 32 * 1024;
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// One exchange with one endpoint.
pub(super) struct TokenEndpoint {
    http: HttpClient,
    host: String,
    sent: Moment,
    /// What time it is there.
    date: OnceLock<Duration>,
}

/// The members of a token answer, still unchecked. Lenient where servers differ.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    access_token: AccessToken,
    #[serde(default)]
    token_type: Option<Value>,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    refresh_token: Option<RefreshToken>,
    #[serde(default)]
    scope: Value,
    #[serde(default)]
    id_token: Unshown,
    #[serde(skip, default = "bearer")]
    kind: BasicTokenType,
}

/// A member that no log shows, of whatever type.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Unshown(Value);

impl fmt::Debug for Unshown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unshown(…)")
    }
}

fn bearer() -> BasicTokenType {
    BasicTokenType::Bearer
}

impl TokenResponse for Answer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.kind
    }

    fn expires_in(&self) -> Option<Duration> {
        seconds(&self.expires_in)
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None // servers write them in two ways: see `granted`
    }
}

/// Boxed, because the `oauth2` crate's bounds cannot name a borrowing one that is `Send`.
impl<'c> AsyncHttpClient<'c> for TokenEndpoint {
    type Error = ExchangeError;
    type Future = BoxFuture<'c, Result<HttpResponse, ExchangeError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        self.send(request).boxed()
    }
}

impl TokenEndpoint {
    pub(super) fn new(http: &HttpClient, url: &Url, sent: Moment) -> Self {
        Self {
            http: http.clone(),
            host: url.host_str().unwrap_or_default().to_owned(),
            sent,
            date: OnceLock::new(),
        }
    }

    /// Sends, and lets only an answer pass that may hold a token.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ExchangeError> {
        let sent = Sent::of(&request);
        let response = self.http.send(request.map(Bytes::from)).await?;
        if let Some(date) = date(response.headers()) {
            let _ = self.date.set(date); // once per exchange
        }
        self.judge(&response, &sent)?;
        Ok(Response::new(response.into_body().into()))
    }

    /// The same, for a grant that the `oauth2` crate does not know.
    pub(super) async fn answer(&self, request: Request<Bytes>) -> Result<Answer, ExchangeError> {
        let answer = self.send(request.map(Vec::from)).await?;
        // the error would quote the answer, and so perhaps a token
        serde_json::from_slice(answer.body()).map_err(|_| self.unusable("holds no access token"))
    }

    /// The JSON object that another endpoint of the provider answers.
    pub(super) async fn object(&self, request: Request<Bytes>) -> Result<Value, ExchangeError> {
        let answer = self.send(request.map(Vec::from)).await?;
        serde_json::from_slice(answer.body()).map_err(|_| self.unusable("is not a JSON object"))
    }

    /// Sends what is answered by a status alone.
    pub(super) async fn told(&self, request: Request<Bytes>) -> Result<(), ExchangeError> {
        let sent = Sent::of(&request);
        let response = self.http.send(request).await?;
        let json = serde_json::from_slice(response.body()).ok();
        self.refused(&response, json.as_ref(), &sent)
    }

    fn judge(&self, response: &Response<Bytes>, sent: &Sent) -> Result<(), ExchangeError> {
        let json: Option<Value> = serde_json::from_slice(response.body()).ok();
        self.refused(response, json.as_ref(), sent)?;
        match json {
            Some(Value::Object(_)) => Ok(()),
            _ if response.body().is_empty() => Err(self.unusable("is empty")),
            _ => Err(self.unusable("is not a JSON object")),
        }
    }

    fn refused(
        &self,
        response: &Response<Bytes>,
        json: Option<&Value>,
        sent: &Sent,
    ) -> Result<(), ExchangeError> {
        let status = response.status();
        let host = || self.host.clone();
        let now = self.date.get().copied().unwrap_or(self.sent.wall);
        let retry_after = retry_after(response.headers(), now);
        let error = json.and_then(|json| json.get("error")?.as_str());
        let overloaded = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        if let Some(error) = error.filter(|error| !error.is_empty() && !overloaded) {
            let described = json.and_then(|j| j.get("error_description")?.as_str());
            return Err(ExchangeError::Refused {
                host: host(),
                error: clean(&sent.mask(error)),
                description: described.map(|text| clean(&sent.mask(text))),
                retry_after,
            });
        }
        if status.is_success() {
            return Ok(());
        }
        Err(ExchangeError::Status {
            host: host(),
            status,
            retry_after,
        })
    }

    /// Judges what the `oauth2` crate read.
    pub(super) fn read(
        &self,
        result: Result<Answer, RequestTokenError<ExchangeError, BasicErrorResponse>>,
    ) -> Result<Issued, ExchangeError> {
        let answer = match result {
            Ok(answer) => answer,
            Err(RequestTokenError::Request(error)) => return Err(error),
            // it holds the answer's text, and so perhaps a token
            Err(_) => return Err(self.unusable("holds no access token")),
        };
        let mut notes = Vec::new();
        match &answer.token_type {
            None | Some(Value::Null) => notes.push(Note::NoTokenType),
            Some(Value::String(kind)) if kind.eq_ignore_ascii_case("bearer") => {}
            Some(_) => return Err(self.unusable("holds a token that is not a bearer token")),
        }
        let token = answer.access_token.secret();
        let header = header(token)
            .ok_or_else(|| self.unusable("holds a token that cannot be sent (RFC 6750)"))?;
        let told = answer.expires_in();
        let life = life(told, token, self.date.get().copied(), self.sent);
        let life = life.unwrap_or_else(|| {
            notes.push(Note::NoLifetime);
            UNKNOWN
        });
        if life < SHORTEST {
            return Err(self.unusable("holds a token that has already expired"));
        }
        let refresh = answer.refresh_token.as_ref().map(RefreshToken::secret);
        let id_token = answer.id_token.0.as_str();
        Ok(Issued {
            header,
            life: life.min(LONGEST),
            scopes: granted(&answer.scope),
            refresh: refresh.filter(|t| !t.is_empty()).map(Secret::new),
            id_token: id_token.filter(|t| !t.is_empty()).map(Secret::new),
            notes,
        })
    }

    pub(super) fn unusable(&self, what: &'static str) -> ExchangeError {
        ExchangeError::Unusable {
            host: self.host.clone(),
            what,
        }
    }
}

/// What came with a token in an authorization response rather than here (OpenID Connect Core section
/// 3.2.2.5): all of it text.
pub(super) struct Fragment<'a> {
    pub(super) access_token: &'a str,
    pub(super) token_type: Option<&'a str>,
    pub(super) expires_in: Option<&'a str>,
    pub(super) scope: Option<&'a str>,
    pub(super) id_token: Secret,
}

impl Fragment<'_> {
    /// The tokens; or what is wrong with them.
    pub(super) fn read(self, now: Moment) -> Result<Issued, &'static str> {
        let mut notes = Vec::new();
        match self.token_type {
            None => notes.push(Note::NoTokenType),
            Some(kind) if kind.eq_ignore_ascii_case("bearer") => {}
            Some(_) => return Err("token_type"),
        }
        let header = header(self.access_token).ok_or("access_token")?;
        let told = self.expires_in.map(|text| Value::String(text.to_owned()));
        let told = told.as_ref().and_then(seconds);
        let life = life(told, self.access_token, None, now).unwrap_or_else(|| {
            notes.push(Note::NoLifetime);
            UNKNOWN
        });
        if life < SHORTEST {
            return Err("expires_in");
        }
        Ok(Issued {
            header,
            life: life.min(LONGEST),
            scopes: self.scope.map(|scope| ScopeSet::new([scope])),
            refresh: None,
            id_token: Some(self.id_token),
            notes,
        })
    }
}

/// `expires_in`, unless the token itself ends earlier: a provider that caches tokens may hand
/// out one that is nearly spent. By the provider's clock where it tells the time, so that ours
/// need not be right.
fn life(
    told: Option<Duration>,
    token: &str,
    date: Option<Duration>,
    sent: Moment,
) -> Option<Duration> {
    match (told, expiry(token), date) {
        (Some(told), Some(ends), Some(date)) => Some(told.min(ends.saturating_sub(date))),
        (Some(told), _, _) => Some(told),
        (None, Some(ends), date) => Some(ends.saturating_sub(date.unwrap_or(sent.wall))),
        (None, None, _) => None,
    }
}

/// `expires_in` as a number or a numeric string; what is not positive says nothing.
pub(super) fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let positive = seconds.is_finite() && seconds >= 1.0;
    positive.then(|| Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())))
}

/// A string, or an array as some servers write it.
fn granted(scope: &Value) -> Option<ScopeSet> {
    match scope {
        Value::String(text) => Some(ScopeSet::new([text])),
        Value::Array(all) => Some(ScopeSet::new(all.iter().filter_map(Value::as_str))),
        _ => None,
    }
}

/// The `exp` of a JWT, unverified: it is for whom we send it to that it must be right.
fn expiry(token: &str) -> Option<Duration> {
    let mut parts = token.split('.');
    let payload = (parts.next()?, parts.next()?, parts.next()?).1;
    if parts.next().is_some() {
        return None;
    }
    let claims = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let exp = claims.get("exp")?.as_f64()?;
    Duration::try_from_secs_f64(exp).ok()
}

fn header(token: &str) -> Option<HeaderValue> {
    if !is_b64token(token) {
        return None;
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// RFC 6750 section 2.1.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    !body.is_empty() && token.len() <= TOKEN_MAX_BYTES && body.bytes().all(legal)
}

fn date(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(DATE)?.to_str().ok()?;
    since_1970(httpdate::parse_http_date(text).ok()?)
}

/// Seconds or a date (RFC 9110 section 10.2.3), at most an hour.
pub(super) fn retry_after(headers: &HeaderMap, now: Duration) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => since_1970(httpdate::parse_http_date(text).ok()?)?.saturating_sub(now),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

fn since_1970(time: std::time::SystemTime) -> Option<Duration> {
    time.duration_since(std::time::UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{clock::Clock, config::ClientTls};

    fn endpoint() -> TokenEndpoint {
        let second = Duration::from_secs(1);
        let http = HttpClient::new(&ClientTls::default(), second, second).unwrap();
        let url = "https://ims.example/token".parse().unwrap();
        let now = Clock::for_tests(Duration::from_secs(1_700_000_000)).now();
        TokenEndpoint::new(&http, &url, now)
    }

    /// What becomes of an answer.
    fn read(status: u16, body: &[u8]) -> Result<Issued, ExchangeError> {
        let response = Response::builder().status(status);
        let response = response.body(Bytes::copy_from_slice(body)).unwrap();
        let endpoint = endpoint();
        endpoint.judge(&response, &Sent::default())?;
        let answer = serde_json::from_slice(body);
        endpoint.read(answer.map_err(|_| RequestTokenError::Other(String::new())))
    }

    #[test]
    fn a_token_type_is_compared_without_case_and_may_be_missing() {
        for kind in [r#""Bearer""#, r#""bearer""#, r#""BEARER""#] {
            let body = format!(r#"{{"access_token":"a","expires_in":9,"token_type":{kind}}}"#);
            assert_eq!(read(200, body.as_bytes()).unwrap().notes, []);
        }
        let issued = read(200, br#"{"access_token":"a","expires_in":9}"#).unwrap();
        assert_eq!(issued.notes, [Note::NoTokenType]);
        for kind in [r#""N_A""#, r#""""#, "5"] {
            let body = format!(r#"{{"access_token":"a","token_type":{kind}}}"#);
            assert!(read(200, body.as_bytes()).is_err(), "{kind}");
        }
    }

    #[test]
    fn only_a_b64token_is_a_bearer_token() {
        for good in ["a", "a.b-c_d~e+f/g", "abc==", "0"] {
            assert!(header(good).is_some(), "{good}");
        }
        for bad in ["", "=", "a=b", "a b", "a\n", "ä", "a,b", "a\"b", "a;b"] {
            assert!(header(bad).is_none(), "{bad}");
        }
        assert!(header(&"a".repeat(TOKEN_MAX_BYTES + 1)).is_none());
    }

    #[test]
    fn an_answer_shows_its_token_to_nobody() {
        let issued = read(
            200,
            br#"{"access_token":"canary","refresh_token":"canary"}"#,
        );
        assert!(!format!("{issued:?}").contains("canary"));
        let error = read(200, br#"{"access_token":["canary"]}"#).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("canary"));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(status in 200..600_u16, body in any::<Vec<u8>>()) {
            let _ = read(status, &body);
        }

        #[test]
        fn any_json_is_read_or_refused(
            token in "[ -~]{0,20}",
            expires in "-?[0-9]{1,30}|[0-9]{1,3}[.][0-9]{1,3}|null|\"[0-9a-z]{0,5}\"|1e[0-9]{1,3}",
            scope in "\"[ -!#-\\[\\]-~]{0,9}\"|null|\\[\"a\"\\]|5|\\{\\}",
        ) {
            let token = serde_json::to_string(&token).unwrap();
            let body = format!(
                r#"{{"access_token":{token},"expires_in":{expires},"scope":{scope}}}"#
            );
            if let Ok(issued) = read(200, body.as_bytes()) {
                prop_assert!(issued.life >= SHORTEST && issued.life <= LONGEST);
                prop_assert!(issued.header.is_sensitive());
            }
        }

        #[test]
        fn any_text_is_a_jwt_or_not(token in "[A-Za-z0-9_.-]{0,60}") {
            let _ = expiry(&token);
        }
    }
}
