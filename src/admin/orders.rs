//! `POST /drain` and `POST /quit`: for Jobs in clusters whose sidecars do not end by themselves, and
//! for scripts.
//!
//! Ending the program is not for everybody who may look at it. Who is on this machine may, where
//! `admin.allow_quit` says so; from elsewhere, or without that, it takes the `admin.key`. No web page may.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;

use super::{Admin, edit, host, pages};

type Answer = Response<Full<Bytes>>;

/// What may be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Not ready any more; calls are still served.
    Drain,
    /// As at SIGTERM.
    Quit,
}

impl Order {
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/drain" => Some(Self::Drain),
            "/quit" => Some(Self::Quit),
            _ => None,
        }
    }
}

/// Obeys, or says why not. The body is not read: there is nothing to be said in it.
pub(super) fn serve<B>(admin: &Admin, order: Order, request: &Request<B>, peer: IpAddr) -> Answer {
    if let Err(refusal) = permitted(
        admin,
        request.method(),
        request.uri(),
        request.headers(),
        peer,
    ) {
        return *refusal;
    }
    let said = match order {
        Order::Drain => {
            tracing::info!("told to be not ready any more");
            admin.state.readiness.drain();
            json!({ "draining": true })
        }
        Order::Quit => {
            admin.state.shutdown.ask();
            json!({ "stopping": true })
        }
    };
    pages::json_answer(StatusCode::ACCEPTED, &said)
}

fn permitted(
    admin: &Admin,
    method: &Method,
    uri: &http::Uri,
    headers: &HeaderMap,
    peer: IpAddr,
) -> Result<(), Box<Answer>> {
    let refuse = |status, code, message: &str| Err(Box::new(pages::problem(status, code, message)));
    if let Err(refused) = host::check(uri, headers) {
        return refuse(refused.status(), refused.code(), refused.message());
    }
    let from_a_page = headers.contains_key(header::ORIGIN)
        || headers
            .get_all("sec-fetch-site")
            .iter()
            .any(|site| site != "none");
    if from_a_page {
        let message = "a web page's request, and not for web pages";
        return refuse(StatusCode::FORBIDDEN, "CrossSite", message);
    }
    if *method != Method::POST {
        let (status, code) = (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed");
        let mut answer = pages::problem(status, code, "this is an order: POST it");
        let allowed = HeaderValue::from_static("POST");
        answer.headers_mut().insert(header::ALLOW, allowed);
        return Err(Box::new(answer));
    }
    let here = peer.to_canonical().is_loopback();
    match &admin.state.key {
        _ if admin.state.allow_quit && here => Ok(()),
        Some(key) => edit::has(headers, key),
        None => refuse(
            StatusCode::FORBIDDEN,
            "NotAllowed",
            "orders are not taken: set admin.allow_quit, for programs on this machine, or an admin.key in the configuration",
        ),
    }
}
