//! The mock iTwin platform: takes no call without a valid token, then answers as the iModels and
//! iTwins APIs do.
//!
//! It answers clients of older generations too (`wsg`). Links are absolute and name the hub's own origin, however the call reached it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use parking_lot::Mutex;
use serde_json::Value;

use super::{
    answer::{self, ApiError, CORRELATION_ID},
    faults::{Faults, HubFault},
    imodels, itwins,
    journal::{HubRequest, Journal},
    model::Model,
    page::{Ask, Detail},
    server::{Body, Cut},
    signing::{Claims, Signer},
    wsg,
};
use crate::clock::Clock;

/// The platform.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) issuer: String,
    pub(super) clock: Clock,
    pub(super) signer: Arc<Signer>,
    pub(super) faults: Faults,
    pub(super) journal: Arc<Journal>,
    pub(super) model: Mutex<Model>,
}

/// A token that was taken.
#[derive(Debug)]
struct Token {
    serial: u64,
    scopes: Vec<String>,
}

impl Hub {
    pub(super) async fn handle(&self, request: Request<Bytes>) -> Result<Response<Body>, Cut> {
        self.journal.count(|counts| counts.hub_requests += 1);
        let token = self.authenticate(request.headers());
        let fault = self.faults.strike_hub();
        let answered = match &fault {
            Some(HubFault::Hang) => std::future::pending().await,
            Some(HubFault::Reset) => Err(Cut),
            Some(HubFault::Slow { milliseconds }) => {
                tokio::time::sleep(Duration::from_millis(*milliseconds)).await;
                Ok(self.answer(&request, &token))
            }
            Some(HubFault::ResetMidBody) => answer::halved(self.answer(&request, &token)).await,
            Some(HubFault::Unauthorized) if wsg::is_ours(request.uri().path()) => {
                Ok(wsg::sign_in(&self.issuer))
            }
            Some(fault) => Ok(self.fail(fault)),
            None => Ok(self.answer(&request, &token)),
        };
        let status = answered
            .as_ref()
            .map_or(0, |answer| answer.status().as_u16());
        let (serial, scopes) = token.ok().map(|token| (token.serial, token.scopes)).unzip();
        self.journal.hub_request(HubRequest {
            method: request.method().to_string(),
            target: request.uri().to_string(),
            token: serial,
            scopes: scopes.unwrap_or_default(),
            status,
        });
        let mut response = answered?;
        if fault.is_none() {
            response = answer::compressed(response, request.headers()).await?;
        }
        let id = request.headers().get(CORRELATION_ID).cloned();
        let id = id.unwrap_or_else(|| HeaderValue::from_static("sandbox"));
        response.headers_mut().insert(CORRELATION_ID, id);
        Ok(response)
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<Token, ApiError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            let message = "Header Authorization was not found in the request. Access denied.";
            let status = StatusCode::UNAUTHORIZED;
            return Err(ApiError::new(status, "HeaderNotFound", message));
        };
        let bearer = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token);
        let Some(token) = bearer.filter(|_| values.next().is_none()) else {
            return Err(unauthorized("one bearer token is expected"));
        };
        let claims = self
            .signer
            .verify(token, self.clock.now())
            .map_err(|why| unauthorized(&why.to_string()))?;
        if claims.iss != self.issuer {
            return Err(unauthorized("the issuer is not known"));
        }
        let serial = serial(&claims);
        if self.faults.is_revoked(serial) {
            return Err(unauthorized("it was revoked"));
        }
        Ok(Token {
            serial,
            scopes: claims.scope,
        })
    }

    fn answer(&self, request: &Request<Bytes>, token: &Result<Token, ApiError>) -> Response<Body> {
        let wsg = wsg::is_ours(request.uri().path());
        if let Err(error) = token {
            return if wsg {
                wsg::sign_in(&self.issuer)
            } else {
                error.clone().response()
            };
        }
        if wsg {
            return wsg::serve(&mut self.model.lock(), request);
        }
        self.serve(request).unwrap_or_else(ApiError::response)
    }

    fn serve(&self, request: &Request<Bytes>) -> Result<Response<Body>, ApiError> {
        let ask = Ask::read(request)?;
        let mut model = self.model.lock();
        match ask.segments.first().map(|first| first.to_lowercase()) {
            Some(first) if first == "imodels" => imodels::serve(&mut model, &ask),
            Some(first) if first == "itwins" => itwins::serve(&mut model, &ask),
            _ => Err(imodels::no_such_resource()),
        }
    }

    fn fail(&self, fault: &HubFault) -> Response<Body> {
        let error = |status, code, message: &str| ApiError::new(status, code, message).response();
        match fault {
            HubFault::UnknownClient => denied()
                .detail("UnknownClient", "The client is not known to the platform.")
                .response(),
            HubFault::Forbidden => {
                let message = "The user has insufficient permissions for the requested operation.";
                error(StatusCode::FORBIDDEN, "InsufficientPermissions", message)
            }
            HubFault::RateLimited { retry_after } => {
                let message = "The client sent more requests than allowed.";
                let status = StatusCode::TOO_MANY_REQUESTS;
                let response = error(status, "RateLimitExceeded", message);
                answer::retry_after(response, Some(*retry_after))
            }
            HubFault::Status {
                status,
                retry_after,
            } => {
                let status = StatusCode::from_u16(*status);
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let response = error(status, "Unknown", "As the sandbox was told.");
                answer::retry_after(response, *retry_after)
            }
            HubFault::LoginPage => answer::login_page(),
            HubFault::LoginRedirect => answer::redirect(&format!(
                "{}/connect/authorize?client_id=gateway",
                self.issuer
            )),
            // the others were dealt with by the caller
            _ => unauthorized("as the sandbox was told").response(),
        }
    }
}

fn unauthorized(why: &str) -> ApiError {
    denied().detail("Unauthorized", why)
}

fn denied() -> ApiError {
    let message = "Access denied due to invalid access_token. \
                   Make sure to provide a valid token for this API endpoint.";
    ApiError::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
}

/// The number in front of the dot of `sid`.
pub(super) fn serial(claims: &Claims) -> u64 {
    let number = claims.sid.split('.').next().unwrap_or_default();
    number.parse().unwrap_or(0)
}

impl<'a> Ask<'a> {
    fn read(request: &'a Request<Bytes>) -> Result<Self, ApiError> {
        let (path, headers) = (request.uri().path(), request.headers());
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .unwrap_or_default();
        let body = match request.body() {
            body if body.is_empty() || content_type.starts_with("image/") => Value::Null,
            body => serde_json::from_slice(body).map_err(|error| {
                ApiError::invalid("InvalidRequestBody", "body", &error.to_string())
            })?,
        };
        let minimal = headers
            .get_all("prefer")
            .iter()
            .any(|value| value.as_bytes() == b"return=minimal");
        let decode = |text: &str| {
            let text = percent_encoding::percent_decode_str(text);
            text.decode_utf8_lossy().into_owned()
        };
        Ok(Self {
            method: request.method(),
            path,
            segments: path
                .split('/')
                .filter(|segment| !segment.is_empty())
                .map(decode)
                .collect(),
            query: request
                .uri()
                .query()
                .unwrap_or_default()
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    // a space is often written as `+` here, but a `+` never as itself
                    (decode(name), decode(&value.replace('+', " ")))
                })
                .collect(),
            body,
            content: request.body(),
            content_type,
            detail: if minimal {
                Detail::Minimal
            } else {
                Detail::Representation
            },
        })
    }
}
