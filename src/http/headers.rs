//! Header fields that must not, or must not as they are, pass a proxy.
//!
//! Hop-by-hop fields and those that any `Connection` line names (RFC 9110 section 7.6.1), the
//! spellings in which a backend could take a caller's field for one of ours, and what a caller's
//! `Authorization` means.

use std::{collections::BTreeSet, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, AUTHORIZATION, CONNECTION, Entry, TE, TRANSFER_ENCODING, UPGRADE},
};

use super::survey::{Field, Survey};

/// Fields that concern one connection only, beside those that are looked at one by one.
const OTHER_HOP: [HeaderName; 4] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

/// What `strip_hop_by_hop` took away that the other side may have to be told.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The sender understands trailers (`TE: trailers`).
    pub trailers: Trailers,
    /// The sender asks for the WebSocket protocol, and for nothing else.
    pub upgrade: Upgrade,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Trailers {
    #[default]
    NotWelcome,
    Welcome,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    #[default]
    None,
    WebSocket,
    /// Some other protocol: a server may ignore the wish (RFC 9110 section 7.8), and we do.
    Other,
}

/// Removes what concerns one connection only, the fields that **all** `Connection` lines name
/// included. `survey` is of these headers.
pub fn strip_hop_by_hop(headers: &mut HeaderMap, survey: Survey) -> Hop {
    if !survey.has_hop_by_hop() {
        return Hop::default();
    }
    let hop = Hop {
        trailers: if survey.has(Field::Te) {
            trailers(headers)
        } else {
            Trailers::NotWelcome
        },
        upgrade: if survey.has(Field::Upgrade) {
            upgrade(headers)
        } else {
            Upgrade::None
        },
    };
    if survey.has(Field::Connection) {
        strip_connection(headers);
    }
    if survey.has(Field::OtherHop) {
        for name in &OTHER_HOP {
            headers.remove(name);
        }
    }
    for (field, name) in [
        (Field::Te, TE),
        (Field::Upgrade, UPGRADE),
        // decoded anew by hyper for each side, so that it never goes out with `Content-Length`
        (Field::TransferEncoding, TRANSFER_ENCODING),
    ] {
        if survey.has(field) {
            headers.remove(name);
        }
    }
    hop
}

/// Removes `Connection` and what it names.
fn strip_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = match headers.entry(CONNECTION) {
        Entry::Vacant(_) => return,
        Entry::Occupied(entry) => {
            // no fields, and what nearly everybody says
            let plain = |value: &HeaderValue| {
                let value = value.as_bytes();
                value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
            };
            if entry.iter().all(plain) {
                entry.remove();
                return;
            }
            let options = entry.iter().flat_map(tokens);
            let named = options.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
            let named = named.collect();
            entry.remove();
            named
        }
    };
    for name in named {
        // a caller must not use this to take away what frames or addresses the message
        if name != header::HOST && name != header::CONTENT_LENGTH {
            headers.remove(name);
        }
    }
}

fn trailers(headers: &HeaderMap) -> Trailers {
    let welcome = headers
        .get_all(TE)
        .iter()
        .flat_map(tokens)
        .any(|coding| coding.eq_ignore_ascii_case("trailers"));
    if welcome {
        Trailers::Welcome
    } else {
        Trailers::NotWelcome
    }
}

fn upgrade(headers: &HeaderMap) -> Upgrade {
    if !headers.contains_key(UPGRADE) {
        return Upgrade::None;
    }
    let asked = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .any(|option| option.eq_ignore_ascii_case("upgrade"));
    let mut protocols = headers.get_all(UPGRADE).iter().flat_map(tokens);
    let only = protocols.next().filter(|_| protocols.next().is_none());
    match only {
        Some(protocol) if asked && protocol.eq_ignore_ascii_case("websocket") => Upgrade::WebSocket,
        _ => Upgrade::Other,
    }
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value
        .to_str()
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// Fields that say who or where the caller is. A proxy in front of us may have set them; whoever
/// else sends one is making it up.
const FORWARDED: [&str; 9] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-real-ip",
];

/// Removes the fields that say where the caller is, in every spelling that a backend could take for
/// them.
pub fn strip_forwarded(headers: &mut HeaderMap) {
    remove(headers, is_forwarded);
}

/// Names of fields, in every spelling that a backend could take for one of them: many turn all that
/// is no letter or digit into one character.
#[derive(Debug, Clone, Default)]
pub struct Aliases {
    names: Arc<[HeaderName]>,
    /// A bit for each length that a name has: nearly no field of a request has one of these.
    lengths: u128,
}

impl FromIterator<HeaderName> for Aliases {
    fn from_iter<T: IntoIterator<Item = HeaderName>>(names: T) -> Self {
        let mut names: Vec<HeaderName> = names.into_iter().collect();
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        let lengths = names.iter().map(|name| length(name.as_str()));
        Self {
            lengths: lengths.fold(0, |all, one| all | one),
            names: names.into(),
        }
    }
}

impl Aliases {
    /// Removes them.
    pub fn strip(&self, headers: &mut HeaderMap) {
        if self.lengths != 0 {
            remove(headers, |field| self.has(field));
        }
    }

    /// A field that could be taken for one of them, and is none.
    pub fn mistakable<'h>(&self, headers: &'h HeaderMap) -> Option<&'h HeaderName> {
        let other = |field: &&HeaderName| self.has(field.as_str()) && !self.names.contains(field);
        headers.keys().find(other)
    }

    /// The same for one more thread, which counts references in a place of its own.
    #[must_use]
    pub fn for_thread(&self) -> Self {
        self.names.iter().cloned().collect()
    }

    fn has(&self, field: &str) -> bool {
        self.lengths & length(field) != 0
            && self.names.iter().any(|name| is_alias(field, name.as_str()))
    }
}

/// Longer ones share a bit.
fn length(name: &str) -> u128 {
    1 << name.len().min(127)
}

/// Removes the fields whose names (lower case) are such.
fn remove(headers: &mut HeaderMap, such: impl Fn(&str) -> bool) {
    if !headers.keys().any(|name| such(name.as_str())) {
        return;
    }
    let found = headers.keys().filter(|name| such(name.as_str()));
    let found: Vec<HeaderName> = found.cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Whether a backend could take this name (lower case) for a field about where the caller is.
pub(super) fn is_forwarded(name: &str) -> bool {
    // the first letter is no character that spellings differ in
    matches!(name.as_bytes().first(), Some(b'f' | b'x'))
        && FORWARDED.iter().any(|forwarded| is_alias(name, forwarded))
}

fn is_alias(field: &str, name: &str) -> bool {
    let plain = |c: u8| if c.is_ascii_alphanumeric() { c } else { b'-' };
    field.len() == name.len() && field.bytes().map(plain).eq(name.bytes().map(plain))
}

/// What a caller's `Authorization` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented {
    /// None, an empty one, a bare `Bearer` or a placeholder: inject.
    Nothing,
    /// An access token: by the scheme `Bearer`, or `DPoP` (RFC 9449).
    Bearer,
    /// Another scheme: `Basic`, `SharedAccessSignature`, `X509` …
    OtherScheme,
    /// More than one, which no service has to understand (RFC 9110 section 5.3).
    Several,
}

/// Reads what the caller presented. `placeholders` are tokens that stand for none.
pub fn presented(headers: &HeaderMap, placeholders: &BTreeSet<String>) -> Presented {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = all.next() else {
        return Presented::Nothing;
    };
    if all.next().is_some() {
        return Presented::Several;
    }
    let text = value.as_bytes().trim_ascii();
    let scheme_end = text
        .iter()
        .position(|b| *b == b' ' || *b == b'\t')
        .unwrap_or(text.len());
    let (scheme, rest) = text.split_at(scheme_end);
    let credentials = rest.trim_ascii();
    if text.is_empty() {
        return Presented::Nothing;
    }
    let placeholder = std::str::from_utf8(credentials)
        .is_ok_and(|token| token.is_empty() || placeholders.contains(token));
    // the whole value may be the placeholder, too: clients without a scheme exist
    let bare = std::str::from_utf8(text).is_ok_and(|token| placeholders.contains(token));
    match scheme {
        scheme
            if [b"bearer".as_slice(), b"dpop"]
                .iter()
                .any(|one| scheme.eq_ignore_ascii_case(one)) =>
        {
            if placeholder {
                Presented::Nothing
            } else {
                Presented::Bearer
            }
        }
        _ if bare => Presented::Nothing,
        _ => Presented::OtherScheme,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(headers: &mut HeaderMap) -> Hop {
        let survey = Survey::of(headers);
        strip_hop_by_hop(headers, survey)
    }

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    #[test]
    fn every_connection_line_is_read() {
        let mut headers = map(&[
            ("connection", "keep-alive, x-one"),
            ("connection", "X-Two, authorization"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("authorization", "Bearer theirs"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, Trailers"),
            ("x-stays", "3"),
        ]);
        let hop = strip(&mut headers);
        assert_eq!(headers, map(&[("x-stays", "3")]));
        assert_eq!(hop.trailers, Trailers::Welcome);
    }

    #[test]
    fn connection_cannot_take_away_host_or_length() {
        let mut headers = map(&[
            ("connection", "host, content-length"),
            ("host", "a"),
            ("content-length", "5"),
        ]);
        strip(&mut headers);
        assert_eq!(headers, map(&[("host", "a"), ("content-length", "5")]));
    }

    #[test]
    fn only_websocket_alone_is_an_upgrade() {
        let table = [
            ("upgrade", "websocket", Upgrade::WebSocket),
            ("keep-alive, Upgrade", "WebSocket", Upgrade::WebSocket),
            ("keep-alive", "websocket", Upgrade::Other),
            ("upgrade", "h2c", Upgrade::Other),
            ("upgrade", "h2c, websocket", Upgrade::Other),
        ];
        for (connection, protocol, expected) in table {
            let mut headers = map(&[("connection", connection), ("upgrade", protocol)]);
            let hop = strip(&mut headers);
            assert_eq!(hop.upgrade, expected, "{connection}; {protocol}");
        }
    }

    #[test]
    fn no_spelling_of_a_forwarded_field_passes() {
        let mut headers = map(&[
            ("X-Forwarded-For", "1"),
            ("x_forwarded_for", "2"),
            ("x.forwarded-proto", "3"),
            ("X_Real-IP", "4"),
            ("x~real|ip", "5"),
            ("x-forwarded", "stays"),
        ]);
        strip_forwarded(&mut headers);
        assert_eq!(headers, map(&[("x-forwarded", "stays")]));
    }

    #[test]
    fn no_spelling_of_a_name_of_ours_passes() {
        let ours: Aliases = ["x-itwin-subject", "x-api-key"]
            .map(HeaderName::from_static)
            .into_iter()
            .collect();
        let mut headers = map(&[
            ("X-Itwin-Subject", "1"),
            ("x_itwin_subject", "2"),
            ("X.iTwin.Subject", "3"),
            ("x!itwin*subject", "4"),
            ("x-api_key", "5"),
            ("x-itwin-subjects", "stays"),
            ("xxitwin-subject", "stays"),
        ]);
        ours.strip(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-itwin-subjects", "xxitwin-subject"]);
    }

    #[test]
    fn what_a_presented_authorization_means() {
        let placeholders = BTreeSet::from(["dummy".to_owned()]);
        let table = [
            ("", Presented::Nothing),
            ("Bearer", Presented::Nothing),
            ("bearer  ", Presented::Nothing),
            ("Bearer dummy", Presented::Nothing),
            ("dummy", Presented::Nothing),
            ("BEARER eyJ", Presented::Bearer),
            ("Basic dummy", Presented::OtherScheme),
            ("SharedAccessSignature sr=x", Presented::OtherScheme),
            ("eyJ", Presented::OtherScheme),
        ];
        for (value, expected) in table {
            let headers = map(&[("authorization", value)]);
            assert_eq!(presented(&headers, &placeholders), expected, "{value:?}");
        }
        assert_eq!(
            presented(&HeaderMap::new(), &placeholders),
            Presented::Nothing
        );
        let two = map(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]);
        assert_eq!(presented(&two, &placeholders), Presented::Several);
    }
}
