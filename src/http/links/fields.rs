//! Links in header fields: `Location` (RFC 9110 section 10.2.2), `Content-Location` (section 8.7)
//! and the targets of `Link` (RFC 8288). An `anchor` names what a link is about and stays.

use bytes::BytesMut;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_LOCATION, LINK, LOCATION},
};

use super::origin::Wanted;
use crate::config::Origin;

/// Points links at `from` back at `to`; relative ones are good as they are.
pub fn rewrite_headers(headers: &mut HeaderMap, from: &Origin, to: &Origin) {
    for name in [LOCATION, CONTENT_LOCATION, LINK] {
        if headers.contains_key(&name) {
            rewrite_field(
                headers,
                &name,
                &Wanted::new(from),
                to.to_string().as_bytes(),
            );
        }
    }
}

fn rewrite_field(headers: &mut HeaderMap, name: &HeaderName, from: &Wanted, to: &[u8]) {
    for value in headers
        .iter_mut()
        .filter(|(n, _)| *n == name)
        .map(|(_, v)| v)
    {
        let rewritten = if name == LINK {
            link(value.as_bytes(), from, to)
        } else {
            url(value.as_bytes(), from, to)
        };
        if let Some(Ok(new)) = rewritten.map(|new| HeaderValue::from_maybe_shared(new.freeze())) {
            *value = new;
        }
    }
}

/// `None`: it stays as it is.
fn url(value: &[u8], from: &Wanted, to: &[u8]) -> Option<BytesMut> {
    let length = from.length_in(value)?;
    let mut out = BytesMut::from(to);
    out.extend_from_slice(&value[length..]);
    Some(out)
}

/// `None`: it stays as it is.
fn link(value: &[u8], from: &Wanted, to: &[u8]) -> Option<BytesMut> {
    let mut out = BytesMut::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        at += 1;
        match byte {
            b'<' => {
                let end = memchr::memchr(b'>', &value[at..]).map(|n| at + n)?;
                if let Some(length) = from.length_in(&value[at..end]) {
                    out.extend_from_slice(&value[copied..at]);
                    out.extend_from_slice(to);
                    copied = at + length;
                }
                at = end + 1;
            }
            b'"' => at = quoted_end(value, at),
            _ => {}
        }
    }
    out.extend_from_slice(&value[copied..]);
    (copied > 0).then_some(out)
}

/// Behind the quote that ends the string which began before `at` (RFC 9110 section 5.6.4).
fn quoted_end(value: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = value.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(name: HeaderName, value: &str) -> String {
        let origin = |https, host: &str, port| Origin {
            https,
            host: host.into(),
            port,
        };
        let mut headers = HeaderMap::new();
        headers.append(name.clone(), HeaderValue::from_static("/first"));
        headers.append(name.clone(), value.parse().unwrap());
        rewrite_headers(
            &mut headers,
            &origin(true, "api.bentley.com", 443),
            &origin(false, "localhost", 8080),
        );
        let mut lines = headers.get_all(name).iter();
        assert_eq!(lines.next().unwrap(), "/first");
        lines.next().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn a_location_at_the_upstream_points_back_at_us() {
        for name in [LOCATION, CONTENT_LOCATION] {
            for (before, after) in [
                ("https://api.bentley.com/a?b", "http://localhost:8080/a?b"),
                ("HTTPS://api.bentley.com:443", "http://localhost:8080"),
            ] {
                assert_eq!(rewrite(name.clone(), before), after);
            }
            for other in [
                "/imodels/1",
                "imodels",
                "//api.bentley.com/a",
                "http://api.bentley.com/a",
                "https://ims.bentley.com/connect/authorize?redirect_uri=https://api.bentley.com/a",
                "https://api.bentley.com.evil/",
                "https://api.bentley.com@evil/",
            ] {
                assert_eq!(rewrite(name.clone(), other), other);
            }
        }
        let other = "https://api.bentley.com/a";
        assert_eq!(rewrite(http::header::REFERER, other), other);
    }

    #[test]
    fn every_target_of_a_link_field_points_back_at_us_and_nothing_else_changes() {
        for (before, after) in [
            (
                r#"<https://api.bentley.com/a>; rel="next", </b>;rel=prev ,<https://api.bentley.com>"#,
                r#"<http://localhost:8080/a>; rel="next", </b>;rel=prev ,<http://localhost:8080>"#,
            ),
            (
                r#"</a>; anchor="https://api.bentley.com/x"; title="a \"<https://api.bentley.com/b>", <https://api.bentley.com/c>"#,
                r#"</a>; anchor="https://api.bentley.com/x"; title="a \"<https://api.bentley.com/b>", <http://localhost:8080/c>"#,
            ),
            (
                "<https://storage.example/a?sig=a%2Bb%3D>; rel=x",
                "<https://storage.example/a?sig=a%2Bb%3D>; rel=x",
            ),
            ("<https://api.bentley.com/a", "<https://api.bentley.com/a"),
            (r#"</a>; title="open"#, r#"</a>; title="open"#),
            (r#"</a>; title="open\"#, r#"</a>; title="open\"#),
        ] {
            assert_eq!(rewrite(LINK, before), after);
        }
    }
}
