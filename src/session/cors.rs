//! What a browser must be told before another origin's page may use a session's routes (Fetch,
//! section 3.3): the front ends that the configuration lists, with credentials, and nobody else.
//!
//! Never `*`, and never what an upstream says about it: an upstream that repeats every `Origin` would
//! let any page read with a person's token.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
        CACHE_CONTROL, CONTENT_TYPE, ORIGIN, SET_COOKIE, VARY,
    },
};

use super::asked::{Origins, Whose};

/// How long a browser need not ask again: no browser takes more than two hours.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// Of the names that a page asks for.
const REQUESTED_BYTES: usize = 4_096;
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// The answer to a preflight, for a route of a session.
pub fn preflight(origins: &Origins, request: &HeaderMap) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(
        VARY,
        HeaderValue::from_static(
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        ),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let Some(origin) = allowed(origins, request) else {
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        *response.status_mut() = StatusCode::FORBIDDEN;
        *response.body_mut() = Bytes::from_static(
            b"itwin-auth-proxy: pages of this origin may not use this route: \
              the session's `origins` do not list it\n",
        );
        return response;
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    // with credentials `*` is a name like any other, so what was asked for is repeated
    for (asked, granted) in [
        (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
        (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
    ] {
        let names = request.get(asked).filter(|names| are_names(names));
        if let Some(names) = names {
            headers.insert(granted, names.clone());
        }
    }
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Puts what a browser must know into the answer to a request itself, in place of what the upstream
/// said about it.
pub fn add(origins: &Origins, request: &HeaderMap, response: &mut HeaderMap) {
    for name in [
        ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_MAX_AGE,
    ] {
        response.remove(name);
    }
    if origins.are_only_own() {
        response.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
        return;
    }
    // also where there is no `Origin`: a cache must not give this answer to who sends one
    if !varies(response) {
        response.append(VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = allowed(origins, request) else {
        response.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
        return;
    };
    let all = |names: &HeaderValue| names.as_bytes().trim_ascii() == b"*";
    if response.get(ACCESS_CONTROL_EXPOSE_HEADERS).is_none_or(all)
        && let Some(names) = names(response)
    {
        response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names);
    }
    response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
}

/// The request's origin, where its pages may read the answer. Our own needs no permission, but a
/// browser that asks (after a redirect) is told.
fn allowed(origins: &Origins, request: &HeaderMap) -> Option<HeaderValue> {
    match origins.whose(request) {
        Whose::Own | Whose::Listed(_) => request.get(ORIGIN).cloned(),
        Whose::Unsaid | Whose::Foreign => None,
    }
}

fn varies(response: &HeaderMap) -> bool {
    let mut lines = response.get_all(VARY).iter();
    lines.any(|line| {
        let mut names = line.as_bytes().split(|byte| *byte == b',');
        names.any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(b"origin")
        })
    })
}

/// The fields of an answer, so that a page of another origin reads what one of ours does.
fn names(response: &HeaderMap) -> Option<HeaderValue> {
    let told = |name: &&HeaderName| {
        **name != SET_COOKIE && **name != VARY && **name != ACCESS_CONTROL_EXPOSE_HEADERS
    };
    let names: Vec<_> = response
        .keys()
        .filter(told)
        .map(HeaderName::as_str)
        .collect();
    HeaderValue::try_from(names.join(", ")).ok()
}

/// Tokens with commas between them (RFC 9110 section 5.6.2).
fn are_names(value: &HeaderValue) -> bool {
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(byte);
    value.len() <= REQUESTED_BYTES && value.as_bytes().iter().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPA: &str = "https://spa.example.com";

    fn origins(others: &[&str]) -> Origins {
        let others: Vec<_> = others.iter().map(|origin| (*origin).to_owned()).collect();
        Origins::new(&"https://app.example.com".parse().unwrap(), &others)
    }

    fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn asked(origin: &str) -> HeaderMap {
        fields(&[
            ("origin", origin),
            ("access-control-request-method", "PATCH"),
            (
                "access-control-request-headers",
                "content-type, x-correlation-id",
            ),
        ])
    }

    #[test]
    fn a_preflight_of_a_listed_front_end_is_granted_what_it_asks() {
        let response = preflight(&origins(&[SPA]), &asked(SPA));
        assert_eq!(response.status(), 204);
        let told = response.headers();
        assert_eq!(told["access-control-allow-origin"], SPA);
        assert_eq!(told["access-control-allow-credentials"], "true");
        assert_eq!(told["access-control-allow-methods"], "PATCH");
        let names = "content-type, x-correlation-id";
        assert_eq!(told["access-control-allow-headers"], names);
        assert_eq!(told["access-control-max-age"], "7200");
        assert!(told["vary"].to_str().unwrap().contains("Origin"));
    }

    #[test]
    fn a_preflight_of_anybody_else_is_granted_nothing() {
        for origin in [
            "https://evil.example",
            "null",
            "*",
            "https://spa.example.com.evil.example",
            "https://spa.example.com:8443",
            "http://spa.example.com",
        ] {
            let response = preflight(&origins(&[SPA]), &asked(origin));
            assert_eq!(response.status(), 403, "{origin}");
            let mut names = response.headers().keys();
            assert!(!names.any(|name| name.as_str().starts_with("access-control")));
        }
        let mut twice = asked(SPA);
        twice.append("origin", SPA.parse().unwrap());
        assert_eq!(preflight(&origins(&[SPA]), &twice).status(), 403);
    }

    #[test]
    fn what_is_no_list_of_names_is_not_repeated() {
        for names in ["a\"b", "x: y", "<script>", &"a".repeat(5_000)] {
            let mut request = asked(SPA);
            request.insert("access-control-request-headers", names.parse().unwrap());
            let response = preflight(&origins(&[SPA]), &request);
            assert!(
                !response
                    .headers()
                    .contains_key("access-control-allow-headers")
            );
        }
    }

    #[test]
    fn an_answer_says_what_the_configuration_says_and_nothing_of_the_upstreams() {
        let upstream = fields(&[
            ("access-control-allow-origin", "https://evil.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "*"),
            ("access-control-allow-headers", "*"),
            ("etag", "x"),
            ("set-cookie", "a=b"),
            ("vary", "accept"),
        ]);
        let plain = fields(&[("etag", "x"), ("set-cookie", "a=b"), ("vary", "accept")]);
        let mut varied = plain.clone();
        varied.append("vary", "Origin".parse().unwrap());
        let mut granted = varied.clone();
        for (name, value) in [
            ("access-control-allow-origin", SPA),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "etag"),
        ] {
            granted.insert(name, value.parse().unwrap());
        }
        for (others, origin, expected) in [
            (&[SPA] as &[_], Some(SPA), &granted),
            (&[SPA], Some("https://evil.example"), &varied),
            (&[SPA], Some("null"), &varied),
            (&[SPA], None, &varied),
            (&[], Some("https://evil.example"), &plain),
            (&[], None, &plain),
        ] {
            let mut response = upstream.clone();
            let request = origin.map(|origin| fields(&[("origin", origin)]));
            add(
                &origins(others),
                &request.unwrap_or_default(),
                &mut response,
            );
            assert_eq!(&response, expected, "{others:?} {origin:?}");
        }
    }

    #[test]
    fn names_that_the_upstream_exposes_and_its_vary_stay() {
        let mut response = fields(&[
            ("access-control-expose-headers", "x-a"),
            ("vary", "accept, ORIGIN"),
            ("x-b", "b"),
        ]);
        add(&origins(&[SPA]), &fields(&[("origin", SPA)]), &mut response);
        assert_eq!(response["access-control-expose-headers"], "x-a");
        assert_eq!(response.get_all("vary").iter().count(), 1);
    }
}
