//! Names of our cookies, and finding them among a browser's.
//!
//! Everything of ours begins with [`PREFIX`]; `.` behind a session's name begins a part of it, and
//! never stands in the name itself, so that no two cookies have the same name. What begins so never
//! goes to an upstream, and no upstream can set it: a server behind us that could would sign people
//! in as whom it likes.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{COOKIE, SET_COOKIE},
};
use memchr::{memchr, memmem};

/// `__Host-`: a browser takes it from this very host only, over TLS, for all paths (RFC 6265bis
/// section 4.1.3.2); another subdomain cannot plant it.
pub const PREFIX: &str = "__Host-itwin-auth";

/// Of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// What a browser sent under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found<'h> {
    Nothing,
    One(&'h [u8]),
    /// Somebody planted a second one: which is ours cannot be known.
    Several,
}

impl Name {
    /// Where there is one session only.
    pub fn sole() -> Self {
        Self(PREFIX.to_owned())
    }

    /// As the configuration has it: [`PREFIX`], and behind it, where there are several sessions, `-`
    /// and a name of letters, digits, `.`, `_` and `-`.
    pub fn new(cookie: &str) -> Self {
        Self(cookie.replace('.', "~"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of a further chunk; the first has the name itself.
    pub(super) fn chunk(&self, number: usize) -> String {
        if number == 0 {
            return self.0.clone();
        }
        format!("{}.{number}", self.0)
    }

    /// Of transaction cookies, without what tells one from another.
    pub(super) fn transaction(&self) -> String {
        format!("{}.tx-", self.0)
    }
}

/// The value of the cookie with exactly this name, in any number of `Cookie` lines (HTTP/2 may
/// send one a line, RFC 9113 section 8.2.3).
pub(super) fn find<'h>(headers: &'h HeaderMap, name: &str) -> Found<'h> {
    let mut found = Found::Nothing;
    for (this, value) in pairs(headers) {
        if this == name.as_bytes() {
            match found {
                Found::Nothing => found = Found::One(value),
                Found::One(_) | Found::Several => return Found::Several,
            }
        }
    }
    found
}

/// All cookies of a request, with names as they are; one without `=` has an empty name, as browsers
/// mean it.
pub(super) fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = headers.get_all(COOKIE).into_iter();
    lines.flat_map(|line| split(line.as_bytes())).map(pair)
}

fn pair(cookie: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b'=', cookie) {
        Some(at) => (cookie[..at].trim_ascii(), cookie[at + 1..].trim_ascii()),
        None => (&[], cookie.trim_ascii()),
    }
}

/// The cookies of a line.
fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let (cookie, behind) = match memchr(b';', line) {
            Some(at) => (&line[..at], Some(&line[at + 1..])),
            None => (line, None),
        };
        rest = behind;
        Some(cookie)
    })
}

/// Takes all cookies of ours, of whatever session, out of a request that goes upstream. Lines
/// without any stay as they are, to the byte.
pub fn strip_ours(headers: &mut HeaderMap) {
    change(headers, &COOKIE, |line| {
        if memmem::find(line.as_bytes(), PREFIX.as_bytes()).is_none() {
            return Line::Stays;
        }
        let ours = |cookie: &&[u8]| {
            let (name, value) = pair(cookie);
            name.starts_with(PREFIX.as_bytes())
                || (name.is_empty() && value.starts_with(PREFIX.as_bytes()))
        };
        let others: Vec<_> = split(line.as_bytes())
            .map(<[u8]>::trim_ascii)
            .filter(|cookie| !ours(cookie) && !cookie.is_empty())
            .collect();
        match HeaderValue::from_bytes(&others.join(b"; ".as_slice())) {
            Ok(others) if !others.is_empty() => Line::Becomes(others),
            _ => Line::Goes,
        }
    });
}

/// Takes what sets a cookie of ours out of an upstream's answer, in every spelling that some
/// browser takes for it.
pub fn strip_set_by_others(headers: &mut HeaderMap) {
    change(headers, &SET_COOKIE, |line| {
        if sets_ours(line.as_bytes()) {
            Line::Goes
        } else {
            Line::Stays
        }
    });
}

/// Browsers trim, have stored `=name=value` as a cookie without a name that they then send as
/// `name=value`, and compare prefixes of names without regard to case.
fn sets_ours(line: &[u8]) -> bool {
    let trimmed = |byte: &u8| *byte == b'=' || byte.is_ascii_whitespace();
    let start = line.iter().position(|byte| !trimmed(byte));
    let name = start.and_then(|start| line.get(start..start + PREFIX.len()));
    name.is_some_and(|name| name.eq_ignore_ascii_case(PREFIX.as_bytes()))
}

enum Line {
    Stays,
    Becomes(HeaderValue),
    Goes,
}

/// What `judge` says becomes of each line of a field. Where all stay, nothing is touched.
fn change(headers: &mut HeaderMap, name: &HeaderName, judge: impl Fn(&HeaderValue) -> Line) {
    let lines = headers.get_all(name);
    if lines.iter().all(|line| matches!(judge(line), Line::Stays)) {
        return;
    }
    let judged = lines.iter().filter_map(|line| match judge(line) {
        Line::Stays => Some(line.clone()),
        Line::Becomes(line) => Some(line),
        Line::Goes => None,
    });
    let judged: Vec<_> = judged.collect();
    headers.remove(name);
    for line in judged {
        headers.append(name.clone(), line);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name.clone(), line.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_cookie_is_found_by_its_exact_name_in_any_line() {
        let one = Found::One(b"x");
        for (given, expected) in [
            (&["__Host-itwin-auth=x"] as &[&str], one),
            (&["a=b; __Host-itwin-auth=x;c=d"], one),
            (&["a=b", "__Host-itwin-auth=x"], one),
            (&["a=b;__Host-itwin-auth = x "], one),
            (&[" ;; ;__Host-itwin-auth=x;"], one),
            (&["__Host-itwin-auth=x", "__Host-itwin-auth.1=y"], one),
            (&["__Host-itwin-auth=a=b"], Found::One(b"a=b")),
            (&["__Host-itwin-auth="], Found::One(b"")),
            (&[], Found::Nothing),
            (&["a=__Host-itwin-auth=x"], Found::Nothing),
            (&["__host-itwin-auth=x"], Found::Nothing),
            (&["__Host-itwin-auth"], Found::Nothing),
            (&["__Host-itwin-auth-web=x"], Found::Nothing),
            (
                &["__Host-itwin-auth=x; __Host-itwin-auth=x"],
                Found::Several,
            ),
            (
                &["__Host-itwin-auth=x", "__Host-itwin-auth=y"],
                Found::Several,
            ),
        ] {
            let headers = lines(&COOKIE, given);
            assert_eq!(find(&headers, Name::sole().as_str()), expected, "{given:?}");
        }
    }

    #[test]
    fn no_two_sessions_chunks_and_transactions_share_a_name() {
        let names = ["web", "web.1", "web-1", "web.tx-abcd", "tx-abcd", "web_1"];
        let mut all = std::collections::BTreeSet::new();
        let names = names.map(|name| Name::new(&format!("{PREFIX}-{name}")));
        for name in names.iter().chain([&Name::sole()]) {
            for chunk in 0..4 {
                assert!(all.insert(name.chunk(chunk)), "{name:?}");
            }
            assert!(all.insert(name.transaction() + "abcd"), "{name:?}");
        }
        assert!(all.iter().all(|name| name.starts_with(PREFIX)));
    }

    #[test]
    fn ours_never_go_upstream_and_others_go_as_they_were() {
        for (given, expected) in [
            (&["a=b;  c=d ;e"] as &[&str], &["a=b;  c=d ;e"] as &[&str]),
            (&["a=b;c=d; __Host-itwin-auth=v1.x"], &["a=b; c=d"]),
            (&["__Host-itwin-auth=v1.x"], &[]),
            (&["__Host-itwin-auth-web.1=x; a=\"b c\""], &["a=\"b c\""]),
            (&["__Host-itwin-auth.tx-abcdefgh=x", "a=b"], &["a=b"]),
            (&["__Host-itwin-auth", "=__Host-itwin-auth=x"], &[]),
            (&["a=__Host-itwin-auth"], &["a=__Host-itwin-auth"]),
            (&["a=1", "a=2"], &["a=1", "a=2"]),
        ] {
            let mut headers = lines(&COOKIE, given);
            strip_ours(&mut headers);
            assert_eq!(headers, lines(&COOKIE, expected), "{given:?}");
        }
    }

    #[test]
    fn an_upstream_cannot_set_ours_in_any_spelling() {
        for bad in [
            "__Host-itwin-auth=v1.x; Path=/; Secure",
            "__Host-itwin-auth.2=x",
            "__Host-itwin-auth-web=x",
            "__host-ITWIN-auth=x",
            "  __Host-itwin-auth=x",
            "\t__Host-itwin-auth=x",
            "=__Host-itwin-auth=x",
            " = =__Host-itwin-auth=x",
            "__Host-itwin-auth",
            "__Host-itwin-auth.tx-abcdefgh=; Max-Age=0",
        ] {
            let mut headers = lines(&SET_COOKIE, &["a=b; Path=/", bad, "c=d"]);
            strip_set_by_others(&mut headers);
            assert_eq!(
                headers,
                lines(&SET_COOKIE, &["a=b; Path=/", "c=d"]),
                "{bad}"
            );
        }
        let fine = lines(&SET_COOKIE, &["sid=__Host-itwin-auth", "__Host-other=1"]);
        let mut headers = fine.clone();
        strip_set_by_others(&mut headers);
        assert_eq!(headers, fine);
    }

    proptest! {
        #[test]
        fn after_stripping_nothing_of_ours_is_found(
            line in "(__Host-itwin-auth|\\.1|=|;| |,|\"|[a-c]|\u{e9}){0,30}"
        ) {
            let mut headers = HeaderMap::new();
            headers.append(COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            strip_ours(&mut headers);
            prop_assert_eq!(find(&headers, PREFIX), Found::Nothing);
            let begins = |(name, _): (&[u8], _)| name.starts_with(PREFIX.as_bytes());
            prop_assert!(!pairs(&headers).any(begins), "{:?}", headers);
        }
    }
}
