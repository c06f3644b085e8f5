//! What the sandbox answers: JSON in iTwin's shapes, compressed when the caller takes it.

use std::io::Write;

use bytes::Bytes;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use futures_util::{StreamExt, stream};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION,
        PRAGMA, RETRY_AFTER, VARY,
    },
};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};

use super::server::{Body, Cut};

/// Of every answer of the hub; support asks for it.
pub(super) const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// An error in the shape that iTwin clients parse.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) details: Vec<Value>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// 404.
    pub(super) fn not_found(code: &'static str, what: &str) -> Self {
        let message = format!("Requested {what} is not available.");
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 422 for one property or parameter.
    pub(super) fn invalid(code: &'static str, target: &str, message: &str) -> Self {
        let mut error = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "InvalidiModelsRequest",
            "Cannot process the request.",
        );
        error.details = vec![json!({"code": code, "message": message, "target": target})];
        error
    }

    #[must_use]
    pub(super) fn detail(mut self, code: &str, message: &str) -> Self {
        self.details.push(json!({"code": code, "message": message}));
        self
    }

    pub(super) fn response(self) -> Response<Body> {
        let mut error = json!({"code": self.code, "message": self.message});
        if !self.details.is_empty() {
            error["details"] = self.details.into();
        }
        json(self.status, &json!({"error": error}))
    }
}

/// A JSON document.
pub(super) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    bytes(status, JSON, value.to_string())
}

/// Any document.
pub(super) fn bytes(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// 413.
pub(super) fn too_large() -> Response<Body> {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestTooLarge",
        "The request is larger than the sandbox takes.",
    )
    .response()
}

/// A sign-in page, as a gateway in front of a service shows one with status 200.
pub(super) fn login_page() -> Response<Body> {
    bytes(
        StatusCode::OK,
        HeaderValue::from_static("text/html; charset=utf-8"),
        "<!DOCTYPE html><html><head><title>Sign in</title></head><body>\
         <form method=\"post\"><input name=\"username\"></form></body></html>",
    )
}

/// A redirect.
pub(super) fn redirect(to: &str) -> Response<Body> {
    let mut response = empty(StatusCode::FOUND);
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

/// `size` bytes of space that are made while they are sent.
pub(super) fn spaces(size: u64) -> Response<Body> {
    const CHUNK: Bytes = Bytes::from_static(&[b' '; 16 * 1024]);
    let chunks = (0..size.div_ceil(CHUNK.len() as u64)).map(|_| Ok(Frame::data(CHUNK)));
    let mut response = Response::new(StreamBody::new(stream::iter(chunks)).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// The first half of `response`, announced as the whole, then the cut.
pub(super) async fn halved(response: Response<Body>) -> Result<Response<Body>, Cut> {
    let (mut parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let half = body.slice(..body.len() / 2);
    let frames = stream::iter([Ok(Frame::data(half)), Err(Cut)]).then(|frame| async {
        if frame.is_err() {
            // lets the first half be flushed before the cut is seen
            tokio::task::yield_now().await;
        }
        frame
    });
    Ok(Response::from_parts(
        parts,
        StreamBody::new(frames).boxed_unsync(),
    ))
}

/// `response` in a coding that `accept` (the request's headers) takes, if there is one.
pub(super) async fn compressed(
    response: Response<Body>,
    accept: &HeaderMap,
) -> Result<Response<Body>, Cut> {
    let json = response.headers().get(CONTENT_TYPE) == Some(&JSON);
    let Some(coding) = json.then(|| Coding::accepted(accept)).flatten() else {
        return Ok(response);
    };
    let (mut parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    let coded = coding.encode(&body);
    let name = HeaderValue::from_static(coding.name());
    parts.headers.insert(CONTENT_ENCODING, name);
    let vary = HeaderValue::from(ACCEPT_ENCODING);
    parts.headers.insert(VARY, vary);
    Ok(Response::from_parts(parts, full(coded)))
}

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Brotli,
    Gzip,
    Deflate,
}

impl Coding {
    /// The best that `Accept-Encoding` names without `q=0`; a `*` alone names none.
    fn accepted(headers: &HeaderMap) -> Option<Self> {
        let takes = |coding: Self| {
            headers
                .get_all(ACCEPT_ENCODING)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(','))
                .any(|member| {
                    let (name, weight) = member.split_once(';').unwrap_or((member, ""));
                    let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
                    name.trim().eq_ignore_ascii_case(coding.name())
                        && weight.parse::<f32>().is_ok_and(|weight| weight > 0.0)
                })
        };
        [Self::Brotli, Self::Gzip, Self::Deflate]
            .into_iter()
            .find(|coding| takes(*coding))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    fn encode(self, body: &[u8]) -> Vec<u8> {
        let mut coded = Vec::with_capacity(body.len() / 2);
        // writing to a Vec cannot fail
        let _ = match self {
            Self::Brotli => brotli::CompressorWriter::new(&mut coded, 4096, 4, 20).write_all(body),
            Self::Gzip => GzEncoder::new(&mut coded, Compression::fast()).write_all(body),
            Self::Deflate => ZlibEncoder::new(&mut coded, Compression::fast()).write_all(body),
        };
        coded
    }
}

/// Adds `Retry-After` in seconds.
pub(super) fn retry_after(mut response: Response<Body>, seconds: Option<u64>) -> Response<Body> {
    if let Some(seconds) = seconds {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Adds what RFC 6749 section 5.1 asks for.
pub(super) fn no_store(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}
