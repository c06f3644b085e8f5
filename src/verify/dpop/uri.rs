//! Whether a proof is for the URI that a request asks for (RFC 9449 section 4.3): without query and
//! fragment, and in the normal form of RFC 3986 sections 6.2.2 and 6.2.3.

use std::fmt::Write as _;

/// What a request asks for, as its caller wrote it.
#[derive(Debug, Clone, Copy)]
pub struct Requested<'r> {
    pub method: &'r str,
    /// Of the URL that the caller used, which a proxy in front of us may have taken off.
    pub scheme: &'r str,
    /// Host and port, likewise.
    pub authority: &'r str,
    /// As it was sent.
    pub path: &'r str,
}

/// A URI in normal form, without query and fragment.
#[derive(Debug, PartialEq, Eq)]
struct Normal {
    scheme: &'static str,
    host: String,
    port: u16,
    path: String,
}

impl Requested<'_> {
    /// Whether a proof with this `htu` is for it.
    pub(super) fn is_at(&self, htu: &str) -> bool {
        let asked = Normal::new(self.scheme, self.authority, self.path);
        asked.is_some() && asked == Normal::parse(htu)
    }
}

impl Normal {
    fn parse(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest[..end].split_at(rest[..end].find('/').unwrap_or(end));
        Self::new(scheme, authority, path)
    }

    fn new(scheme: &str, authority: &str, path: &str) -> Option<Self> {
        let known = [("https", 443), ("http", 80)];
        let mut known = known.into_iter();
        let (scheme, default) = known.find(|(name, _)| name.eq_ignore_ascii_case(scheme))?;
        // the colons of an IPv6 address are in brackets
        let colon = authority.rfind(':');
        let (host, port) = match colon.filter(|colon| !authority[*colon..].contains(']')) {
            None => (authority, default),
            Some(colon) => match &authority[colon + 1..] {
                "" => (&authority[..colon], default),
                digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
                    (&authority[..colon], digits.parse().ok()?)
                }
                _ => return None,
            },
        };
        let odd = |b: u8| !b.is_ascii_graphic() || matches!(b, b'@' | b'/' | b'\\' | b'?' | b'#');
        if host.is_empty() || host.bytes().any(odd) {
            return None;
        }
        Some(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
            path: without_dots(&unescaped(path)?),
        })
    }
}

/// Percent-encoded octets in upper case, and those decoded that need no encoding (RFC 3986 section
/// 2.3).
fn unescaped(path: &str) -> Option<String> {
    let mut octets = path.bytes();
    let mut normal = String::with_capacity(path.len());
    while let Some(octet) = octets.next() {
        if octet != b'%' {
            if !octet.is_ascii_graphic() {
                return None;
            }
            normal.push(char::from(octet));
            continue;
        }
        let mut digit = || char::from(octets.next()?).to_digit(16);
        let value = char::from(u8::try_from(digit()? * 16 + digit()?).ok()?);
        if value.is_ascii_alphanumeric() || matches!(value, '-' | '.' | '_' | '~') {
            normal.push(value);
        } else {
            let _ = write!(normal, "%{:02X}", u32::from(value));
        }
    }
    Some(normal)
}

/// RFC 3986 section 5.2.4, of an absolute path.
fn without_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut rest = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = rest.next() {
        let last = rest.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                if last {
                    segments.push("");
                }
            }
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASKED: Requested<'_> = Requested {
        method: "GET",
        scheme: "https",
        authority: "Api.Example",
        path: "/imodels/%7Ea%2fb",
    };

    #[test]
    fn two_spellings_of_one_uri_are_the_same() {
        for htu in [
            "https://api.example/imodels/~a%2Fb",
            "HTTPS://API.EXAMPLE:443/imodels/%7ea%2fb",
            "https://api.example:/imodels/~a%2Fb",
            "https://api.example/imodels/~a%2Fb?x=1#y",
            "https://api.example/imodels/~a%2Fb#y?x=1",
            "https://api.example/x/../imodels/./~a%2Fb",
            "https://api.example/%2E%2E/imodels/~a%2Fb",
        ] {
            assert!(ASKED.is_at(htu), "{htu}");
        }
        let root = Requested { path: "/", ..ASKED };
        assert!(root.is_at("https://api.example"));
        assert!(root.is_at("https://api.example?x"));
        let local = Requested {
            scheme: "http",
            authority: "[::1]:8080",
            ..root
        };
        assert!(local.is_at("http://[::1]:8080/"));
        assert!(!local.is_at("http://[::1]/"));
    }

    #[test]
    fn another_uri_is_another() {
        for htu in [
            "",
            "/imodels/~a%2Fb",
            "http://api.example/imodels/~a%2Fb",
            "wss://api.example/imodels/~a%2Fb",
            "https://api.example:8443/imodels/~a%2Fb",
            "https://api.example:99999/imodels/~a%2Fb",
            "https://api.example:x/imodels/~a%2Fb",
            "https://api.example.evil/imodels/~a%2Fb",
            "https://api.example@evil/imodels/~a%2Fb",
            "https://evil@api.example/imodels/~a%2Fb",
            "https://api.example\\/imodels/~a%2Fb",
            "https:///imodels/~a%2Fb",
            "https://api.example/imodels/~a/b",
            "https://api.example/imodels/~a%252Fb",
            "https://api.example/imodels/~a%2Fb/",
            "https://api.example/IModels/~a%2Fb",
            "https://api.example/imodels//~a%2Fb",
            "https://api.example/imodels/~a%2F",
            "https://api.example/imodels/~a%2",
            "https://api.example/imodels/~a%2Fb\u{e9}",
            " https://api.example/imodels/~a%2Fb",
        ] {
            assert!(!ASKED.is_at(htu), "{htu}");
        }
    }

    proptest! {
        #[test]
        fn a_uri_is_at_itself_and_at_no_other_path(
            path in "(/[a-zA-Z0-9~%!$&'()*+,;=:@-]{0,6}){1,4}",
            more in "[a-z]{1,4}",
        ) {
            let asked = Requested { path: &path, ..ASKED };
            let itself = format!("https://api.example{path}");
            // a percent sign that encodes nothing is at no URI
            prop_assert_eq!(asked.is_at(&itself), unescaped(&path).is_some());
            let longer = format!("{itself}{more}");
            prop_assert!(!asked.is_at(&longer));
        }

        #[test]
        fn no_text_can_do_harm(htu in ".{0,40}") {
            prop_assert!(!ASKED.is_at(&htu));
        }
    }
}
