//! Every way in which a request can fail here, and what the caller is told.
//!
//! Statuses are the codes' own (`handbook`). Callers get fixed text in the shape that iTwin clients parse,
//! `{"error":{"code","message","details"}}`, beside it in the one that clients of iModel.js 1.x and
//! 2.x do, a request id, and `Proxy-Status` (RFC 9209) so that our answers can be told from the
//! upstream's; the chain of reasons goes to the log.

mod connect;
mod unpassed;
mod wants;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::json;

pub use self::unpassed::Unpassed;
pub(super) use self::{
    connect::ConnectError,
    wants::{Host, Wants},
};
use super::{
    bearer::Denial,
    bound::{self, Challenge, DPOP_NONCE},
    upstream::UpstreamError,
};
use crate::{
    config::InsufficientScope,
    handbook::{Code, Help},
    tokens::{ErrorKind, TokenError},
    verify::{BadProof, Refusal, Unbound},
};

/// RFC 9209.
pub(super) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// A request that got no answer from the upstream.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the request names no host, or more than one")]
    NoHost,
    #[error("the request's target and its Host field name different hosts")]
    HostMismatch,
    #[error("the path can be read in more than one way")]
    AmbiguousPath,
    #[error("the body's length is said in two ways")]
    Framing,
    #[error("the header fields are larger or more than the limit")]
    HeaderTooLarge,
    #[error("the body is larger than the limit")]
    BodyTooLarge,
    #[error("the body stopped coming")]
    BodyStalled,
    #[error("the body ended before its end")]
    BodyBroken,
    #[error("more than one Authorization field")]
    SeveralAuthorizations,
    #[error("this route takes no Authorization field from callers")]
    AuthorizationRefused,
    #[error("the method {0} is not served")]
    MethodRefused(http::Method),
    #[error("no route matches")]
    NoRoute,
    #[error("no rule of route {route} admits the caller{}", .wants.hint())]
    NotAdmitted { route: String, wants: Wants },
    #[error("route {route} takes access tokens only")]
    Bearer {
        route: String,
        #[source]
        denial: Denial,
        /// Where the resource's metadata are (RFC 9728).
        metadata: Option<Arc<str>>,
        /// Where the caller may or must use DPoP (RFC 9449).
        dpop: Option<Box<Challenge>>,
    },
    #[error("the field {field} could be taken for one that only we may set")]
    AmbiguousField { field: HeaderName },
    #[error("the caller is admitted otherwise, and shows a token that nobody has checked")]
    UncheckedToken,
    #[error("the gateway's question does not say in one {field} what is asked for")]
    Undescribed { field: HeaderName },
    #[error("the limit of requests at once is reached")]
    Overloaded,
    #[error("no token of credential {credential}")]
    Token {
        credential: String,
        source: TokenError,
    },
    #[error("the caller's token is not exchanged by credential {credential}")]
    NotExchanged {
        credential: String,
        source: TokenError,
    },
    #[error("cannot connect to {origin}")]
    Connect {
        origin: String,
        source: ConnectError,
    },
    #[error("{origin} closed the connection or broke the protocol")]
    Broken {
        origin: String,
        source: hyper::Error,
    },
    #[error("{origin} did not answer in {after:?}")]
    ResponseTimeout { origin: String, after: Duration },
    #[error("the request took longer than {after:?}")]
    TotalTimeout { after: Duration },
    #[error("{origin} answered with a login page")]
    LoginPage { origin: String },
    #[error("{origin} switched protocols without being asked")]
    UnwantedUpgrade { origin: String },
    #[error("the request does not pass")]
    Unpassed(#[source] Box<Unpassed>),
    #[error("{origin} cannot be connected to")]
    Unusable {
        origin: String,
        source: UpstreamError,
    },
    #[error("a fault of the proxy's own")]
    Panicked,
}

/// What a caller is told.
struct Told {
    code: Code,
    /// RFC 9209 section 2.3.
    proxy_error: &'static str,
    message: &'static str,
}

impl Failure {
    /// The code that callers, logs and metrics see.
    pub fn code(&self) -> Code {
        self.told().code
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::Bearer {
                denial:
                    Denial::Scopes {
                        answer: InsufficientScope::Unauthorized,
                        ..
                    },
                ..
            } => StatusCode::UNAUTHORIZED,
            _ => self.code().status(),
        }
    }

    /// Seconds after which another try makes sense.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Token { source, .. } => {
                let wait = source.retry_after.unwrap_or(Duration::from_secs(5));
                // the next second, so that nobody comes back too early
                Some(wait.as_secs().saturating_add(1))
            }
            Self::Bearer {
                denial: Denial::NoKeys(_),
                ..
            } => Some(5),
            Self::Bearer {
                denial: Denial::Unanswered(why),
                ..
            } => Some(why.retry_after.as_secs().saturating_add(1)),
            Self::Bearer {
                denial: Denial::Unbound(Unbound::Proof(BadProof::NoRoom)),
                ..
            }
            | Self::Overloaded
            | Self::Connect { .. } => Some(1),
            _ => None,
        }
    }

    /// A sentence more, from fixed words, names of the configuration and hosts that the caller named.
    fn detail(&self) -> Option<String> {
        match self {
            Self::Token { credential, source } | Self::NotExchanged { credential, source } => {
                Some(format!("credential {credential}: {}", source.reason))
            }
            Self::Connect { origin, source } => Some(format!("{origin}: {}", source.kind())),
            Self::Broken { origin, .. }
            | Self::LoginPage { origin }
            | Self::Unusable { origin, .. }
            | Self::ResponseTimeout { origin, .. } => Some(origin.clone()),
            Self::Unpassed(why) => why.detail(),
            Self::AmbiguousField { field } => Some(field.to_string()),
            Self::Undescribed { field } => {
                Some(format!("{field} is missing, doubled or unreadable"))
            }
            Self::Bearer {
                denial: Denial::Unanswered(why),
                ..
            } => Some(format!("provider {}: {}", why.provider, why.reason)),
            Self::NotAdmitted { route, wants } => Some(format!("route {route}{}", wants.detail())),
            Self::Bearer { route, .. } => Some(format!("route {route}")),
            _ => None,
        }
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    fn told(&self) -> Told {
        let (code, proxy_error, message) = match self {
            Self::NoHost => (
                Code::HostMissing,
                "http_request_error",
                "The request must name exactly one host.",
            ),
            Self::HostMismatch => (
                Code::HostMismatch,
                "http_request_error",
                "The request's target and its Host header name different hosts.",
            ),
            Self::AmbiguousPath => (
                Code::AmbiguousPath,
                "http_request_error",
                "The path contains an encoded slash or dot, a backslash, a semicolon or a dot segment, which services read differently. Send it in its plain form.",
            ),
            Self::Framing => (
                Code::AmbiguousLength,
                "http_request_error",
                "The request says the length of its body in two ways.",
            ),
            Self::HeaderTooLarge => (
                Code::HeaderTooLarge,
                "http_request_error",
                "The request's headers are larger or more than this proxy's limits (limits.header_size, limits.header_count).",
            ),
            Self::BodyTooLarge => (
                Code::BodyTooLarge,
                "http_request_error",
                "The request's body is larger than this proxy's limit (limits.body_size).",
            ),
            Self::BodyStalled => (
                Code::BodyTimeout,
                "http_request_error",
                "The request's body stopped coming before its end.",
            ),
            Self::BodyBroken => (
                Code::BodyIncomplete,
                "http_request_error",
                "The request's body ended before its end.",
            ),
            Self::SeveralAuthorizations => (
                Code::SeveralAuthorizations,
                "http_request_error",
                "The request carries more than one Authorization header.",
            ),
            Self::AuthorizationRefused => (
                Code::AuthorizationRefused,
                "http_request_denied",
                "This route adds the access token itself. Send no Authorization header.",
            ),
            Self::MethodRefused(_) => (
                Code::MethodRefused,
                "http_request_denied",
                "This proxy does not serve the method: its answer could show the access token.",
            ),
            Self::NoRoute => (
                Code::RouteNotFound,
                "destination_not_found",
                "No route of this proxy matches the request.",
            ),
            Self::NotAdmitted { wants, .. } => wants.told(),
            Self::Bearer { denial, .. } => {
                let (code, proxy_error) = match denial {
                    Denial::Missing => (Code::TokenMissing, "http_request_denied"),
                    Denial::OtherScheme => (Code::TokenSchemeUnknown, "http_request_denied"),
                    Denial::InQuery => (Code::TokenInQuery, "http_request_denied"),
                    Denial::Invalid(Refusal::Expired { .. }) => {
                        (Code::TokenExpired, "http_request_denied")
                    }
                    refused if refused.is_about_the_holder() => {
                        (Code::CallerNotAdmitted, "http_request_denied")
                    }
                    Denial::Invalid(_) => (Code::TokenInvalid, "http_request_denied"),
                    Denial::Stale { .. } => (Code::SignInTooOld, "http_request_denied"),
                    Denial::Scopes { .. } => (Code::InsufficientScope, "http_request_denied"),
                    Denial::Unbound(Unbound::Proof(proof)) => match proof {
                        BadProof::NoRoom => (Code::ProofsFull, "proxy_internal_response"),
                        BadProof::Nonce => (Code::ProofNeedsNonce, "http_request_denied"),
                        _ => (Code::ProofInvalid, "http_request_denied"),
                    },
                    Denial::Unbound(_) => (Code::TokenNotProven, "http_request_denied"),
                    Denial::NoKeys(_) => (Code::KeysUnavailable, "proxy_internal_response"),
                    Denial::Unanswered(_) => {
                        (Code::IntrospectionUnavailable, "proxy_internal_response")
                    }
                };
                (code, proxy_error, denial.description())
            }
            Self::AmbiguousField { .. } => (
                Code::AmbiguousField,
                "http_request_error",
                "A header field could be taken for one that only this proxy may set.",
            ),
            Self::UncheckedToken => (
                Code::TokenNotChecked,
                "http_request_error",
                "The caller is admitted by something else. Send no access token with it.",
            ),
            Self::Undescribed { .. } => (
                Code::Undescribed,
                "http_request_error",
                "The gateway must describe the request that it asks about.",
            ),
            Self::Overloaded => (
                Code::Overloaded,
                "proxy_internal_response",
                "This proxy serves as many requests at once as it may (limits.requests).",
            ),
            Self::Token { source, .. } if source.kind == ErrorKind::SignInAgain => (
                Code::SignInRequired,
                "http_request_denied",
                "The person whose token this route uses is not signed in any more.",
            ),
            Self::Token { .. } => (
                Code::TokenUnavailable,
                "proxy_internal_response",
                "No access token could be had from the authorization server, and none that is still valid is left.",
            ),
            Self::NotExchanged { .. } => (
                Code::TokenNotExchanged,
                "http_request_denied",
                "The access token is good here, but the authorization server does not exchange it for one that the service takes.",
            ),
            Self::Connect { source, .. } => return source.told(),
            Self::Unpassed(why) => why.told(),
            Self::Unusable { .. } => (
                Code::UpstreamTls,
                "tls_protocol_error",
                "The host's certificate could not be checked: see the log.",
            ),
            Self::Broken { .. } => (
                Code::UpstreamBroken,
                "connection_terminated",
                "The upstream closed the connection or broke the protocol before its answer.",
            ),
            Self::ResponseTimeout { .. } => (
                Code::UpstreamTimeout,
                "http_response_timeout",
                "The upstream did not answer in time.",
            ),
            Self::TotalTimeout { .. } => (
                Code::RequestTimeout,
                "http_response_timeout",
                "The request took longer than this route allows.",
            ),
            Self::LoginPage { .. } => (
                Code::UpstreamLoginPage,
                "http_protocol_error",
                "The upstream answered with a login page or a redirect to one instead of an API answer. The service client may not be registered with the service, or something in between asks for a sign-in.",
            ),
            Self::UnwantedUpgrade { .. } => (
                Code::UpstreamUpgrade,
                "http_upgrade_failed",
                "The upstream switched to another protocol without being asked.",
            ),
            Self::Panicked => (
                Code::ProxyFault,
                "proxy_internal_error",
                "The proxy made a mistake. Its log has the request id.",
            ),
        };
        Told {
            code,
            proxy_error,
            message,
        }
    }

    /// What the caller must show (RFC 9110 section 11.6.1).
    fn challenges(&self) -> Vec<HeaderValue> {
        match self {
            Self::Bearer {
                denial,
                metadata,
                dpop,
                ..
            } => bound::challenges(denial, metadata.as_deref(), dpop.as_deref()),
            Self::NotAdmitted {
                wants: Wants::Key, ..
            } => vec![HeaderValue::from_static(
                "SharedKey realm=\"itwin-auth-proxy\"",
            )],
            _ => Vec::new(),
        }
    }

    /// Whether the caller's connection can carry another request after this answer: a body that
    /// was not read to its end would be taken for one.
    fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::BodyTooLarge | Self::BodyStalled | Self::BodyBroken | Self::Framing
        )
    }

    /// The answer for the caller.
    pub fn response(&self, request_id: &str, help: &Help) -> Response<Bytes> {
        let told = self.told();
        let code = told.code.name();
        let mut details = vec![json!({"code": "RequestId", "message": request_id})];
        let detail = self.detail();
        if let Some(detail) = &detail {
            details.insert(0, json!({"code": code, "message": detail}));
        }
        details.push(json!({"code": "Help", "message": help.to(told.code)}));
        let body = json!({
            "error": {"code": code, "message": told.message, "details": details},
            // where clients of iModel.js 1.x and 2.x look
            "errorId": code,
            "errorMessage": told.message,
            "errorDescription": detail,
        });
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let status = format!(
            "itwin-auth-proxy; error={}; details=\"{}; request {request_id}\"",
            told.proxy_error, told.code
        );
        if let Ok(value) = HeaderValue::try_from(status) {
            headers.insert(PROXY_STATUS, value);
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        for challenge in self.challenges() {
            headers.append(WWW_AUTHENTICATE, challenge);
        }
        if let Self::Unpassed(why) = self {
            why.challenge(headers);
        }
        if let Self::Bearer {
            dpop: Some(dpop), ..
        } = self
            && let Some(nonce) = &dpop.nonce
        {
            headers.insert(DPOP_NONCE, nonce.clone());
        }
        if told.code == Code::MethodRefused {
            let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            headers.insert(ALLOW, allowed);
        }
        if self.ends_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_failure_looks_like_success() {
        let origin = || "https://api.test".to_owned();
        let after = Duration::from_secs(1);
        let connect = |source| Failure::Connect {
            origin: origin(),
            source,
        };
        let all = [
            Failure::NoHost,
            Failure::Framing,
            Failure::BodyStalled,
            Failure::NoRoute,
            Failure::Overloaded,
            Failure::Panicked,
            Failure::LoginPage { origin: origin() },
            Failure::UnwantedUpgrade { origin: origin() },
            Failure::TotalTimeout { after },
            Failure::ResponseTimeout {
                origin: origin(),
                after,
            },
            Failure::NotAdmitted {
                route: "r".into(),
                wants: Wants::Key,
            },
            connect(ConnectError::Timeout(after)),
            connect(ConnectError::NoHttp2),
        ];
        for failure in all {
            let response = failure.response("id-1", &Help::Program);
            assert!(response.status().as_u16() >= 400, "{failure}");
            assert!(response.headers().contains_key(PROXY_STATUS), "{failure}");
            let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(body["error"]["code"], failure.code().name());
            let details = body["error"]["details"].as_array().unwrap();
            assert!(details.iter().any(|d| d["message"] == "id-1"), "{failure}");
        }
    }
}
