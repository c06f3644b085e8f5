//! A provider says that a session has ended (OpenID Connect Back-Channel Logout 1.0, sections 2.5
//! to 2.8). Anybody can ask; only what the provider signed counts.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::json;
use url::form_urlencoded;

use super::{Endpoint, Visitor, document, other_method};
use crate::verify::{BadLogout, LONGEST, Logouts};

/// A token and its name.
const LARGEST: usize = LONGEST + 1024;
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The endpoint of one provider.
#[derive(Debug, Clone)]
pub(super) struct Logout(pub(super) Arc<Logouts>);

impl Endpoint for Logout {
    fn answer(
        &self,
        request: Request<Incoming>,
        Visitor { reference, .. }: Visitor,
    ) -> BoxFuture<'static, Response<Bytes>> {
        let logouts = Arc::clone(&self.0);
        Box::pin(async move {
            let mut answer = if *request.method() == Method::POST {
                post(&logouts, request, &reference.request_id).await
            } else {
                other_method("POST", &reference)
            };
            let headers = answer.headers_mut();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            answer
        })
    }
}

async fn post(logouts: &Logouts, request: Request<Incoming>, request_id: &str) -> Response<Bytes> {
    let form = request.headers().get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes().split(|b| *b == b';').next();
        let kind = kind.unwrap_or_default().trim_ascii();
        kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    });
    if !form {
        return refused("send a form with a logout_token");
    }
    let body = Limited::new(request.into_body(), LARGEST).collect();
    let Ok(Ok(body)) = tokio::time::timeout(LONGEST_WAIT, body).await else {
        return refused("the form is too large, or did not come");
    };
    let body = body.to_bytes();
    let mut tokens = form_urlencoded::parse(&body).filter(|(name, _)| name == "logout_token");
    let (Some((_, token)), None) = (tokens.next(), tokens.next()) else {
        return refused("send exactly one logout_token");
    };
    match logouts.take(&token).await {
        Ok(_) => Response::new(Bytes::new()),
        Err(error) => {
            let full = error == BadLogout::Full;
            let reason = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(request_id, %error, reason, "logout not taken");
            if full {
                return failed(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "no room for a further logout",
                );
            }
            refused("the logout token is not a new and good one of the provider for this client")
        }
    }
}

fn refused(description: &str) -> Response<Bytes> {
    failed(StatusCode::BAD_REQUEST, description)
}

fn failed(status: StatusCode, description: &str) -> Response<Bytes> {
    let error = json!({"error": "invalid_request", "error_description": description});
    let mut answer = document("application/json", error.to_string().into());
    *answer.status_mut() = status;
    answer
}
