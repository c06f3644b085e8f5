//! Lists that operators may change: who may, and what a request for that has to be like.
//!
//! Nothing of the body is read before the key is known to be right. The key comes in a header that
//! no browser sends by itself; requests of web pages are refused all the same.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;
use tokio::time::timeout;

use super::{
    Admin, Answer, access,
    access::Peer,
    orders::{self, Noted},
    pages,
};
use crate::{
    config::SecretSource,
    health::{Change, Editable, Unchanged},
};

/// Octets of a key, as the configuration asks.
const SHORTEST: usize = 16;
const LARGEST_BODY: usize = 64 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn serve<B>(
    admin: &Admin,
    list: &dyn Editable,
    request: Request<B>,
    peer: Peer,
) -> Result<Answer, Box<Answer>>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let permitted = permitted(admin, &request, peer)
        .inspect_err(|_| orders::forbidden(admin, &request, peer))?;
    let Some(change) = permitted else {
        let page = list.page(from(request.uri().query()), admin.state.clock.now());
        return Ok(pages::json_answer(StatusCode::OK, &page));
    };
    let what = (request.method(), list.path());
    let noted = Noted::new(admin, what, request.headers(), peer);
    let json = is_json(request.headers());
    json.inspect_err(|_| noted.audit("", "wrong"))?;
    let body = read(request.into_body()).await;
    let body = body.inspect_err(|_| noted.audit("", "wrong"))?;
    let changed = list.change(change, &body, admin.state.clock.now());
    match &changed {
        Ok(_) => noted.note(&orders::entries(&body), "obeyed"),
        // it may say anything
        Err(Unchanged::Faults(_)) => noted.note("", "wrong"),
        Err(Unchanged::Full) => noted.note(&orders::entries(&body), "refused"),
    }
    match changed {
        Ok(mut done) => {
            if let Value::Object(done) = &mut done {
                let survives = list.survives().await;
                done.insert("survives_restart".into(), survives.into());
            }
            Ok(pages::json_answer(StatusCode::OK, &done))
        }
        Err(Unchanged::Faults(faults)) => {
            let message = "nothing was changed: the details say what is wrong";
            let status = StatusCode::BAD_REQUEST;
            let answer = pages::problem_with(status, "InvalidRequest", message, &faults);
            Err(Box::new(answer))
        }
        Err(Unchanged::Full) => refuse(
            StatusCode::INSUFFICIENT_STORAGE,
            "ListFull",
            "nothing was changed: the list has no room for that; take entries back, or give them an until",
        ),
    }
}

/// What the request may do; `None`: read.
fn permitted<B>(
    admin: &Admin,
    request: &Request<B>,
    peer: Peer,
) -> Result<Option<Change>, Box<Answer>> {
    let headers = request.headers();
    let change = match *request.method() {
        Method::GET | Method::HEAD => None,
        Method::POST => Some(Change::Add),
        Method::DELETE => Some(Change::Remove),
        _ => {
            let message = "GET shows the list, POST adds to it, DELETE takes back";
            let allowed = "GET, HEAD, POST, DELETE";
            return Err(access::method_not_allowed(allowed, message));
        }
    };
    if let (Peer::Address(_), None) = (peer, &admin.state.key) {
        return refuse(
            StatusCode::NOT_FOUND,
            "NotFound",
            "this needs a key: set admin.key_file (or admin.key_env, admin.key) in the configuration, or an admin.socket",
        );
    }
    if headers.contains_key(header::ORIGIN) {
        let message = "a request with an Origin comes from a web page, and is not for this";
        return refuse(StatusCode::FORBIDDEN, "CrossSite", message);
    }
    if let (Peer::Address(_), Some(key)) = (peer, &admin.state.key) {
        has(headers, key)?;
    }
    Ok(change)
}

fn is_json(headers: &HeaderMap) -> Result<(), Box<Answer>> {
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.to_str().unwrap_or_default().split(';').next();
        kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    });
    if is_json {
        return Ok(());
    }
    let message = "the body has to be JSON, with Content-Type: application/json";
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    refuse(status, "UnsupportedMediaType", message)
}

/// That the request carries the key.
pub(super) fn has(headers: &HeaderMap, key: &SecretSource) -> Result<(), Box<Answer>> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let shown = match (fields.next(), fields.next()) {
        (Some(field), None) => bearer(field),
        _ => None,
    };
    let Some(shown) = shown else {
        let challenge = "Bearer realm=\"itwin-auth-proxy admin\"";
        return Err(unauthorized(
            challenge,
            "send Authorization: Bearer KEY, once",
        ));
    };
    let key = match key.read() {
        Ok(key) => key,
        Err(error) => {
            tracing::error!(%error, "the key of the admin listener cannot be read");
            let message = "the key cannot be read: the log says why";
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "KeyUnavailable", message);
        }
    };
    // a file that is being written may hold a part of the key, which could be guessed
    if shown.len() >= SHORTEST && key.matches(shown) {
        return Ok(());
    }
    tracing::warn!("admin: a request with a wrong key was refused");
    let challenge = "Bearer realm=\"itwin-auth-proxy admin\", error=\"invalid_token\"";
    Err(unauthorized(
        challenge,
        "this is not the key of the admin listener",
    ))
}

fn bearer(field: &HeaderValue) -> Option<&[u8]> {
    let (scheme, key) = field.as_bytes().split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| key.trim_ascii())
}

fn unauthorized(challenge: &'static str, message: &str) -> Box<Answer> {
    let mut answer = pages::problem(StatusCode::UNAUTHORIZED, "Unauthorized", message);
    let challenge = HeaderValue::from_static(challenge);
    answer
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    Box::new(answer)
}

fn refuse<T>(status: StatusCode, code: &str, message: &str) -> Result<T, Box<Answer>> {
    Err(Box::new(pages::problem(status, code, message)))
}

pub(super) async fn read<B>(body: B) -> Result<Bytes, Box<Answer>>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    match timeout(BODY_TIMEOUT, Limited::new(body, LARGEST_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = "the body is larger than 64 KiB: send the entries in several requests";
            refuse(StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge", message)
        }
        Ok(Err(_)) => {
            let message = "the body did not arrive as a whole";
            refuse(StatusCode::BAD_REQUEST, "InvalidRequest", message)
        }
        Err(_) => {
            let message = "the body did not arrive in ten seconds";
            refuse(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", message)
        }
    }
}

/// `from=NUMBER` of the query; the beginning if there is none.
fn from(query: Option<&str>) -> usize {
    let mut pairs = query.unwrap_or_default().split('&');
    let from = pairs.find_map(|pair| pair.strip_prefix("from="));
    from.and_then(|from| from.parse().ok()).unwrap_or_default()
}
