//! Asking a provider about a token: RFC 7662.
//!
//! One POST, one answer: 200 with a JSON object, bounded, no redirect followed. What the object
//! says is read elsewhere; it is nobody's word but the endpoint's, which TLS vouches for. Everything
//! else is an error that says whether the *asking* was refused: servers do that with a bare 401
//! (IdentityServer) or with the words of RFC 6749 section 5.2.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::{
    client_auth::Proof,
    sent::Sent,
    token_endpoint::retry_after,
    types::{clean, is_the_endpoints},
};
use crate::{
    clock::Moment,
    http::client::{ClientError, HttpClient},
    secret::Secret,
};

/// The largest answer read; those that are known have one or two kilobytes.
const LARGEST_ANSWER: usize = 64 * 1024;

/// One question.
#[derive(Debug, Clone, Copy)]
pub struct IntrospectionRequest<'a> {
    pub endpoint: &'a Url,
    /// The API that asks.
    pub client_id: &'a str,
    pub proof: &'a Proof,
    pub token: &'a Secret,
}

/// A question that got no answer about the token.
#[derive(Debug, thiserror::Error)]
pub enum IntrospectionError {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The API's own authentication was refused (RFC 7662 section 2.3).
    #[error("{host} refuses the API's own client ({status}{})", said(.error.as_deref()))]
    Unauthorized {
        host: String,
        status: StatusCode,
        /// As the provider wrote it, cleaned.
        error: Option<String>,
    },
    #[error("{host} answered {status}{} to a question about a token", said(.error.as_deref()))]
    Status {
        host: String,
        status: StatusCode,
        error: Option<String>,
        retry_after: Option<Duration>,
    },
    #[error("the answer of {host} {what}")]
    Unusable { host: String, what: &'static str },
}

impl IntrospectionError {
    /// What may be told to callers: fixed text, the host, a status.
    pub fn reason(&self) -> String {
        match self {
            Self::Client(error) => error.to_string(),
            Self::Unauthorized { host, .. } => {
                format!("the provider {host} refuses this proxy's own introspection client")
            }
            Self::Status { host, status, .. } => {
                format!("the provider {host} answered {}", status.as_u16())
            }
            Self::Unusable { host, what } => format!("the answer of the provider {host} {what}"),
        }
    }

    /// How long the provider asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Client(_) | Self::Unauthorized { .. } | Self::Unusable { .. } => None,
        }
    }

    /// Whether another secret may help.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Unauthorized { .. })
    }

    /// Whether there is no introspection endpoint at this address (any more).
    pub fn is_wrong_address(&self) -> bool {
        matches!(self, Self::Status { status, .. }
            if matches!(*status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED))
    }

    /// Whether another token might get an answer: what was refused may be this one.
    pub fn may_be_the_tokens(&self) -> bool {
        match self {
            Self::Client(error) => matches!(error.class(), "too_large" | "http"),
            Self::Unauthorized { .. } => false,
            Self::Status { status, .. } => !is_the_endpoints(*status),
            Self::Unusable { .. } => true,
        }
    }
}

/// The object that is said about the token, as it was written.
///
/// # Errors
/// When there is none.
pub async fn introspect(
    http: &HttpClient,
    request: &IntrospectionRequest<'_>,
    now: Moment,
) -> Result<Bytes, IntrospectionError> {
    let message = request.message()?;
    let sent = Sent::of(&message);
    let response = http.send(message).await?;
    let host = request.endpoint.host_str().unwrap_or_default();
    judge(response, host, &sent, now)
}

impl IntrospectionRequest<'_> {
    fn message(&self) -> Result<Request<Bytes>, ClientError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("token", self.token.expose());
        form.append_pair("token_type_hint", "access_token");
        let mut request = Request::post(self.endpoint.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(field) = self.proof.write(self.client_id, &mut form) {
            request = request.header(header::AUTHORIZATION, field);
        }
        request
            .body(form.finish().into())
            .map_err(|_| ClientError::Url)
    }
}

fn judge(
    response: Response<Bytes>,
    host: &str,
    sent: &Sent,
    now: Moment,
) -> Result<Bytes, IntrospectionError> {
    let (head, body) = response.into_parts();
    let host = || host.to_owned();
    let unusable = |what| IntrospectionError::Unusable { host: host(), what };
    if body.len() > LARGEST_ANSWER {
        return Err(unusable("is too large"));
    }
    if head.status != StatusCode::OK {
        let json: Option<Value> = serde_json::from_slice(&body).ok();
        let error = json.as_ref().and_then(|json| json.get("error")?.as_str());
        let refused = matches!(
            head.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) || matches!(error, Some("invalid_client" | "unauthorized_client"));
        let error = error.map(|text| clean(&sent.mask(text)));
        let status = head.status;
        return Err(if refused {
            let host = host();
            IntrospectionError::Unauthorized {
                host,
                status,
                error,
            }
        } else {
            IntrospectionError::Status {
                host: host(),
                status,
                error,
                retry_after: retry_after(&head.headers, now.wall),
            }
        });
    }
    // `Cache-Control` is for caches of HTTP: servers write no-store into everything that is OAuth's.
    // RFC 7662 section 4 leaves the time that an answer is believed to the one who asked, and that
    // is what the configuration bounds.
    if is_json(&head.headers) {
        Ok(body)
    } else {
        Err(unusable("is not JSON"))
    }
}

/// RFC 7662 section 2.2. A signed answer (RFC 9701) was not asked for.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let essence = value
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn said(error: Option<&str>) -> String {
    error.map(|error| format!(" {error}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Clock;

    fn message(proof: &Proof, token: &str) -> Request<Bytes> {
        let endpoint = "https://ids.example/connect/introspect".parse().unwrap();
        let request = IntrospectionRequest {
            endpoint: &endpoint,
            client_id: "an api",
            proof,
            token: &Secret::new(token),
        };
        request.message().unwrap()
    }

    fn judged(status: u16, content_type: &str, body: &str) -> Result<Bytes, IntrospectionError> {
        let sent = message(&Proof::Post(Secret::new("canary")), "a-token");
        let response = Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, content_type)
            .header(header::RETRY_AFTER, "7")
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .unwrap();
        let now = Clock::for_tests(Duration::from_secs(1_700_000_000)).now();
        judge(response, "ids.example", &Sent::of(&sent), now)
    }

    const JSON: &str = "application/json; charset=UTF-8";

    #[test]
    fn a_question_is_a_form_with_the_apis_own_proof() {
        let text = |request: &Request<Bytes>| String::from_utf8(request.body().to_vec()).unwrap();
        let basic = message(&Proof::Basic(Secret::new("p:ä")), "a+b/c==");
        assert_eq!(
            text(&basic),
            "token=a%2Bb%2Fc%3D%3D&token_type_hint=access_token"
        );
        let pair = STANDARD.encode("an+api:p%3A%C3%A4");
        assert_eq!(
            basic.headers()[header::AUTHORIZATION],
            format!("Basic {pair}")
        );
        let jwt = message(&Proof::Assertion(Secret::new("ey.x")), "t");
        assert!(jwt.headers().get(header::AUTHORIZATION).is_none());
        assert!(text(&jwt).ends_with(
            "&client_id=an+api&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=ey.x"
        ));
        assert!(text(&message(&Proof::None, "t")).ends_with("&client_id=an+api"));
    }

    #[test]
    fn only_json_with_status_200_is_an_answer() {
        assert_eq!(judged(200, JSON, "{}").unwrap(), "{}");
        for (status, content_type, body) in [
            (200, "text/html", "<html>"),
            (200, "application/token-introspection+jwt", "ey"),
            (204, JSON, ""),
            (302, JSON, "{}"),
            (500, JSON, r#"{"active":true}"#),
        ] {
            assert!(
                judged(status, content_type, body).is_err(),
                "{status} {content_type}"
            );
        }
        let large = format!("{{\"a\":\"{}\"}}", "a".repeat(LARGEST_ANSWER));
        assert!(judged(200, JSON, &large).is_err());
    }

    #[test]
    fn a_refused_api_is_told_from_a_provider_in_trouble() {
        for (status, body) in [(401, ""), (403, ""), (400, r#"{"error":"invalid_client"}"#)] {
            assert!(
                judged(status, JSON, body).unwrap_err().is_unauthorized(),
                "{status} {body}"
            );
        }
        let busy = judged(503, JSON, "").unwrap_err();
        assert!(!busy.is_unauthorized() && !busy.may_be_the_tokens());
        assert_eq!(busy.retry_after(), Some(Duration::from_secs(7)));
        let odd = judged(400, JSON, r#"{"error":"invalid_request"}"#).unwrap_err();
        assert!(odd.may_be_the_tokens());
        assert!(
            judged(404, "text/plain", "")
                .unwrap_err()
                .is_wrong_address()
        );
    }

    #[test]
    fn a_provider_that_quotes_the_question_tells_nobody_its_secrets() {
        let quoted = r#"{"error":"bad canary for a-token"}"#;
        for status in [400, 401] {
            let error = judged(status, JSON, quoted).unwrap_err();
            let shown = format!("{error} {error:?} {}", error.reason());
            assert!(
                !shown.contains("canary") && !shown.contains("a-token"),
                "{shown}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_passed_on_or_refused(status in 200..600_u16, body in ".{0,80}") {
            let _ = judged(status, JSON, &body);
        }
    }
}
