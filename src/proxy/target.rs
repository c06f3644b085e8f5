//! Who is asked for what, in canonical form.
//!
//! Absolute form beats `Host`, and they may not disagree (RFC 9112 section 3.2.2); HTTP/2's
//! `:authority` likewise. Routes match the decoded, normalised path. What was matched is sent byte
//! for byte, so a path that another server could read differently is refused, not repaired.

use std::borrow::Cow;

use http::{Request, header::HOST, uri::Authority};

use super::failure::Failure;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'r> {
    /// Host and port as the caller wrote them.
    pub authority: &'r str,
    /// Lower case, without port, IPv6 without brackets.
    pub host: Cow<'r, str>,
    /// Decoded and normalised where a route depends on it; as it came otherwise.
    pub path: Cow<'r, str>,
}

/// Whether any route asks for more of the path than that there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathMatters {
    Yes,
    No,
}

impl<'r> Target<'r> {
    /// # Errors
    /// When the host is missing or doubtful, or the path is ambiguous and matters.
    pub fn read<B>(request: &'r Request<B>, matters: PathMatters) -> Result<Self, Failure> {
        let authority = authority(request)?;
        let path = request.uri().path();
        let path = match matters {
            PathMatters::No => Cow::Borrowed(path),
            PathMatters::Yes => canonical(path).ok_or(Failure::AmbiguousPath)?,
        };
        Ok(Self {
            authority,
            host: host(authority),
            path,
        })
    }
}

fn authority<B>(request: &Request<B>) -> Result<&str, Failure> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(Failure::NoHost),
        (None, None) => None,
        (Some(value), None) => Some(value.to_str().map_err(|_| Failure::NoHost)?),
    };
    match (request.uri().authority(), host) {
        (Some(target), Some(host)) if !target.as_str().eq_ignore_ascii_case(host) => {
            Err(Failure::HostMismatch)
        }
        (Some(target), _) if target.as_str().contains('@') => Err(Failure::NoHost),
        (Some(target), _) => Ok(target.as_str()),
        (None, Some(host)) if is_authority(host) => Ok(host),
        (None, _) => Err(Failure::NoHost),
    }
}

fn is_authority(host: &str) -> bool {
    // the common case without parsing: a name or address, perhaps with a port
    let mut colons = 0;
    let mut plain = !host.is_empty();
    for byte in host.bytes() {
        colons += u32::from(byte == b':');
        plain &= byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_');
    }
    (plain && colons <= 1) || (!host.contains('@') && host.parse::<Authority>().is_ok())
}

/// The host of an authority, in canonical form.
pub(super) fn host(authority: &str) -> Cow<'_, str> {
    let bracketed = authority.strip_prefix('[');
    let name = bracketed
        .and_then(|rest| rest.split_once(']'))
        .map_or_else(|| before_port(authority), |(address, _)| address);
    // a name with a final dot is the same name
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

fn before_port(authority: &str) -> &str {
    let end = authority.bytes().position(|byte| byte == b':');
    &authority[..end.unwrap_or(authority.len())]
}

/// The decoded path with empty segments left out, or `None` when servers read it differently:
/// encoded slashes, backslashes and percent signs before hex digits, dot segments in any spelling,
/// path parameters, control characters, and what is not UTF-8.
pub(super) fn canonical(path: &str) -> Option<Cow<'_, str>> {
    let plain = !path.contains("//")
        && !path.contains("/.")
        && path
            .bytes()
            .all(|b| !matches!(b, b'%' | b'\\' | b';') && b > b' ' && b != 0x7f);
    if plain {
        return Some(Cow::Borrowed(path));
    }
    let decoded = decode(path)?;
    let mut normal = String::with_capacity(decoded.len());
    for segment in decoded.split('/').skip(1) {
        if matches!(segment, "." | "..") {
            return None;
        }
        if !segment.is_empty() {
            normal.push('/');
            normal.push_str(segment);
        }
    }
    if normal.is_empty() || (decoded.ends_with('/') && !normal.ends_with('/')) {
        normal.push('/');
    }
    Some(Cow::Owned(normal))
}

fn decode(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            if matches!(byte, b'\\' | b';') || byte.is_ascii_control() {
                return None;
            }
            out.push(byte);
            at += 1;
            continue;
        }
        let digit = |n: usize| bytes.get(at + n).and_then(|b| char::from(*b).to_digit(16));
        let value = u8::try_from(digit(1)? * 16 + digit(2)?).ok()?;
        if matches!(value, b'/' | b'\\' | b';') || value.is_ascii_control() {
            return None;
        }
        out.push(value);
        at += 3;
    }
    let text = String::from_utf8(out).ok()?;
    // decoded a second time it would be something else
    let twice = text.match_indices('%').any(|(n, _)| {
        text.as_bytes()[n + 1..]
            .iter()
            .take(2)
            .filter(|b| b.is_ascii_hexdigit())
            .count()
            == 2
    });
    (!twice).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_normalised_or_refused() {
        let table = [
            ("/", Some("/")),
            ("/imodels", Some("/imodels")),
            ("/imodels/", Some("/imodels/")),
            ("/imodels//x", Some("/imodels/x")),
            ("//imodels", Some("/imodels")),
            ("/a%20b", Some("/a b")),
            ("/%69models", Some("/imodels")),
            ("/.well-known/x", Some("/.well-known/x")),
            ("/a/..b", Some("/a/..b")),
            ("/a/../b", None),
            ("/a/./b", None),
            ("/a/%2e%2e/b", None),
            ("/a/.%2E/b", None),
            ("/a%2fb", None),
            ("/a%5cb", None),
            ("/a\\b", None),
            ("/a;x=1/b", None),
            ("/a%3bx", None),
            ("/a%00", None),
            ("/a%252e%252e/b", None),
            ("/100%25", Some("/100%")),
            ("/a%zz", None),
            ("/a%ff", None),
        ];
        for (path, expected) in table {
            assert_eq!(canonical(path).as_deref(), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_canonical_path_has_nothing_left_to_decode(path in "/[a-z%0-9./;\\\\]{0,24}") {
            if let Some(first) = canonical(&path) {
                prop_assert!(first.starts_with('/'));
                let odd = first.split('/').any(|s| s == "." || s == "..");
                prop_assert!(!odd, "{first}");
                prop_assert!(!first.contains("//"));
            }
        }
    }

    fn target(uri: &str, hosts: &[&str]) -> Result<String, &'static str> {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let request = request.body(()).unwrap();
        match Target::read(&request, PathMatters::Yes) {
            Ok(target) => Ok(target.host.into_owned()),
            Err(failure) => Err(failure.code().name()),
        }
    }

    #[test]
    fn the_host_comes_from_one_place() {
        let table: [(&str, &[&str], Result<&str, &str>); 10] = [
            ("/", &["127.0.0.1:8080"], Ok("127.0.0.1")),
            ("/", &["API.Bentley.com."], Ok("api.bentley.com")),
            ("/", &["[::1]:80"], Ok("::1")),
            ("/", &[], Err("HostMissing")),
            ("/", &["a", "b"], Err("HostMissing")),
            ("/", &["user@a"], Err("HostMissing")),
            ("/", &["a/b"], Err("HostMissing")),
            ("http://a/x", &["a"], Ok("a")),
            ("http://a/x", &[], Ok("a")),
            ("http://a/x", &["b"], Err("HostMismatch")),
        ];
        for (uri, hosts, expected) in table {
            assert_eq!(
                target(uri, hosts).as_deref(),
                expected.as_deref(),
                "{uri} {hosts:?}"
            );
        }
    }
}
