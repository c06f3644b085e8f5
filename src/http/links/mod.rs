//! Links in answers that point at exactly the upstream's origin point back at us.
//!
//! Header fields always, bodies where [`plan`] finds JSON that may be changed: of a 206 we would
//! see a part only, and `Cache-Control: no-transform` (RFC 9111 section 5.2.2.6) forbids it. Bodies
//! stream ([`LinksBody`]); gzip, deflate and br are taken off, and not put on again. Links to
//! storage, whose signatures a single byte would break, are other origins and stay as they are.

mod accept;
mod body;
mod fields;
mod json;
mod origin;
mod text;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, response::Parts};
use http_body_util::Either;

pub use accept::acceptable;
pub use body::{LinksBody, LinksError};
pub use fields::rewrite_headers;
pub use json::LinkRewriter;

use super::{
    decode::Decoder,
    survey::{Field, Survey},
};
use crate::config::Origin;

/// What happens to the body of an answer.
#[derive(Debug)]
pub enum Rewriting {
    /// It passes as it is.
    None,
    /// It is decoded and rewritten.
    Json(Decoder),
}

/// Rewrites an answer to a `method` request: links at `from` point at `to`, which is asked for only
/// when there is something to rewrite. `survey` is of the answer's fields.
pub fn rewrite<B>(
    method: &Method,
    parts: &mut Parts,
    body: B,
    survey: Survey,
    from: &Origin,
    to: impl FnOnce() -> Option<Origin>,
) -> Either<B, LinksBody<B>> {
    let plan = if survey.has(Field::ContentType) {
        plan(method, parts)
    } else {
        Rewriting::None
    };
    if matches!(plan, Rewriting::None) && !survey.has(Field::Link) {
        return Either::Left(body);
    }
    let Some(to) = to() else {
        return Either::Left(body);
    };
    if survey.has(Field::Link) {
        rewrite_headers(&mut parts.headers, from, &to);
    }
    match plan {
        Rewriting::None => Either::Left(body),
        Rewriting::Json(decoder) => {
            describe_rewritten(&mut parts.headers);
            Either::Right(LinksBody::new(body, decoder, LinkRewriter::new(from, &to)))
        }
    }
}

/// Whether the body of this answer to a `method` request is rewritten.
pub fn plan(method: &Method, response: &Parts) -> Rewriting {
    let headers = &response.headers;
    let whole = || {
        !response.status.is_informational()
            && !matches!(
                response.status,
                StatusCode::NO_CONTENT
                    | StatusCode::RESET_CONTENT
                    | StatusCode::PARTIAL_CONTENT
                    | StatusCode::NOT_MODIFIED
            )
            && !headers.contains_key(header::CONTENT_RANGE)
            && !matches!(*method, Method::HEAD | Method::CONNECT)
    };
    if !is_json(headers) || !whole() || is_forbidden(headers) {
        return Rewriting::None;
    }
    Decoder::for_headers(headers).map_or(Rewriting::None, Rewriting::Json)
}

/// `application/json` or `…+json` (RFC 6839), in UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(content_type)) = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str) else {
        return false;
    };
    let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let essence = essence.trim();
    let ends = |end: &str| {
        let start = essence.len().checked_sub(end.len());
        start.is_some_and(|start| essence.as_bytes()[start..].eq_ignore_ascii_case(end.as_bytes()))
    };
    let json = [
        "application/json",
        "application/x-ndjson",
        "application/jsonl",
    ]
    .iter()
    .any(|ours| essence.eq_ignore_ascii_case(ours))
        || (ends("+json") && essence.contains('/'));
    if !json {
        return false;
    }
    let charset = parameters
        .split(';')
        .filter_map(|parameter| parameter.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("charset"))
        .map(|(_, value)| value.trim_matches('"'));
    charset.is_none_or(|c| {
        ["utf-8", "utf8", "us-ascii"]
            .iter()
            .any(|ours| c.eq_ignore_ascii_case(ours))
    })
}

fn is_forbidden(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CACHE_CONTROL).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
}

/// Takes out what was true of the upstream's bytes only. `Vary` stays: what was chosen by
/// `Accept-Encoding` was.
fn describe_rewritten(headers: &mut HeaderMap) {
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::ACCEPT_RANGES,
        HeaderName::from_static("content-md5"),
        HeaderName::from_static("digest"),
        HeaderName::from_static("content-digest"),
        HeaderName::from_static("repr-digest"),
    ] {
        headers.remove(name);
    }
    if let Some(tag) = headers.get_mut(header::ETAG)
        && tag.as_bytes().starts_with(b"\"")
    {
        let weak = [b"W/", tag.as_bytes()].concat();
        if let Ok(weak) = HeaderValue::from_bytes(&weak) {
            *tag = weak;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn is_rewritten(method: &Method, status: u16, fields: &[(&str, &str)]) -> bool {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let (parts, ()) = response.body(()).unwrap().into_parts();
        matches!(plan(method, &parts), Rewriting::Json(_))
    }

    #[test]
    fn json_is_rewritten_and_nothing_else() {
        for (content_type, expected) in [
            ("application/json", true),
            ("application/json;charset=UTF-8", true),
            ("Application/JSON; a=b; charset=\"utf-8\"", true),
            ("application/vnd.bentley.itwin-platform.v2+json", true),
            ("application/hal+json; charset=utf-8", true),
            ("application/problem+json", true),
            ("application/x-ndjson", true),
            ("application/json; charset=utf-16", false),
            ("application/json+xml", false),
            ("application/jsonp", false),
            ("+json", false),
            ("text/html", false),
            ("application/octet-stream", false),
            ("image/png", false),
        ] {
            let found = is_rewritten(&Method::GET, 200, &[("content-type", content_type)]);
            assert_eq!(found, expected, "{content_type}");
        }
        assert!(!is_rewritten(&Method::GET, 200, &[]));
    }

    #[test]
    fn only_a_whole_body_that_may_be_changed_and_decoded_is_rewritten() {
        let json = ("content-type", "application/json");
        for (method, status, field, expected) in [
            (Method::GET, 200, ("x-a", "b"), true),
            (Method::POST, 201, ("x-a", "b"), true),
            (Method::PATCH, 404, ("cache-control", "no-cache"), true),
            (Method::GET, 503, ("x-a", "b"), true),
            (Method::HEAD, 200, ("x-a", "b"), false),
            (Method::GET, 204, ("x-a", "b"), false),
            (Method::GET, 206, ("x-a", "b"), false),
            (Method::GET, 304, ("x-a", "b"), false),
            (Method::GET, 101, ("x-a", "b"), false),
            (Method::GET, 200, ("content-range", "bytes 0-1/2"), false),
            (
                Method::GET,
                200,
                ("cache-control", "private, No-Transform"),
                false,
            ),
            (Method::GET, 200, ("content-encoding", "br"), true),
            (
                Method::GET,
                200,
                ("content-encoding", "gzip, deflate"),
                true,
            ),
            (Method::GET, 200, ("content-encoding", "zstd"), false),
        ] {
            let found = is_rewritten(&method, status, &[json, field]);
            assert_eq!(found, expected, "{method} {status} {field:?}");
        }
    }

    #[test]
    fn fields_that_described_the_upstreams_bytes_go() {
        let origin = |port| Origin {
            https: false,
            host: "h".into(),
            port,
        };
        let response = Response::builder()
            .header("content-type", "application/json")
            .header("content-length", "2")
            .header("content-encoding", "gzip")
            .header("content-md5", "x")
            .header("digest", "x")
            .header("content-digest", "x")
            .header("repr-digest", "x")
            .header("accept-ranges", "bytes")
            .header("etag", "\"a\"")
            .header("vary", "accept-encoding")
            .header("location", "http://h:1/x")
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        let (mut parts, body) = response.into_parts();
        let survey = Survey::of(&parts.headers);
        let (method, to) = (Method::POST, || Some(origin(2)));
        let body = rewrite(&method, &mut parts, body, survey, &origin(1), to);
        assert!(matches!(body, Either::Right(_)));
        let left: Vec<_> = parts
            .headers
            .iter()
            .map(|(n, v)| format!("{n}: {}", v.to_str().unwrap()))
            .collect();
        let expected = [
            "content-type: application/json",
            "etag: W/\"a\"",
            "vary: accept-encoding",
            "location: http://h:2/x",
        ];
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        assert_eq!(sorted(left), sorted(expected.map(String::from).to_vec()));
    }
}
