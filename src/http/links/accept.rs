//! `Accept-Encoding` (RFC 9110 section 12.5.3), reduced to what we can decode.

use http::{HeaderMap, HeaderValue, header::ACCEPT_ENCODING};

use crate::http::decode::Coding;

/// What to ask the upstream for when links are rewritten. `None`: what the caller sent is good.
///
/// Codings that we cannot decode go, `*` among them unless it forbids; the others keep order and
/// weight. With none left it is `identity`.
pub fn acceptable(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = headers.get_all(ACCEPT_ENCODING);
    let items = || {
        lines
            .iter()
            .flat_map(|line| line.to_str().unwrap_or("unreadable").split(','))
            .map(str::trim)
            .filter(|item| !item.is_empty())
    };
    if items().all(is_acceptable) {
        return None;
    }
    let left: Vec<&str> = items().filter(|item| is_acceptable(item)).collect();
    if left.is_empty() {
        return Some(HeaderValue::from_static("identity"));
    }
    HeaderValue::from_str(&left.join(", ")).ok()
}

fn is_acceptable(item: &str) -> bool {
    let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
    let name = name.trim();
    Coding::named(name).is_some()
        || name.eq_ignore_ascii_case("identity")
        || is_zero(parameters.trim())
}

/// `q=0`, with up to three zeros behind the point.
fn is_zero(weight: &str) -> bool {
    let value = weight
        .split_once('=')
        .filter(|(q, _)| q.eq_ignore_ascii_case("q"));
    value.is_some_and(|(_, value)| {
        value.starts_with('0') && value.bytes().all(|b| matches!(b, b'0' | b'.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstream_is_asked_for_codings_that_can_be_taken_off() {
        for (asked, passed) in [
            ("gzip, compress, deflate, br", "gzip, deflate, br"),
            ("gzip, deflate, br, zstd", "gzip, deflate, br"),
            (
                "br;q=1.0, zstd;q=0.9, gzip; q=0.8, *;q=0.1",
                "br;q=1.0, gzip; q=0.8",
            ),
            ("gzip, *;q=0", "gzip, *;q=0"),
            ("zstd;q=0, br", "zstd;q=0, br"),
            ("*", "identity"),
            ("zstd", "identity"),
            ("identity;q=0.5, zstd", "identity;q=0.5"),
            ("GZIP,deflate;q=0.5", "GZIP,deflate;q=0.5"),
            ("", ""),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, asked.parse().unwrap());
            let found = acceptable(&headers).unwrap_or_else(|| asked.parse().unwrap());
            assert_eq!(found, passed, "{asked}");
        }
        assert_eq!(acceptable(&HeaderMap::new()), None);
    }

    #[test]
    fn several_lines_count_as_one() {
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT_ENCODING, "gzip".parse().unwrap());
        headers.append(ACCEPT_ENCODING, "zstd, br".parse().unwrap());
        assert_eq!(acceptable(&headers).unwrap(), "gzip, br");
    }
}
