//! What a message's header has of the fields that some rule is about, found in one pass.
//!
//! Most messages have none of them. Asking a header map for twenty names costs twenty hashes and
//! was a tenth of what a request costs; one pass that looks at the names that are there is a
//! fraction of that.

use http::HeaderMap;

use super::headers::is_forwarded;

/// See the module. Each field of a header counts, also where its name repeats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Survey {
    found: u16,
    /// Bytes that the fields take in HTTP/1.1: name, colon, space, value, line end.
    pub bytes: usize,
    /// Lines, repeated names included.
    pub lines: usize,
}

/// A field, or a group of which a rule asks whether any is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Field {
    Connection = 1,
    /// `Keep-Alive`, and what concerns a proxy only.
    OtherHop = 1 << 1,
    Te = 1 << 2,
    Upgrade = 1 << 3,
    TransferEncoding = 1 << 4,
    Authorization = 1 << 5,
    Cookie = 1 << 6,
    AcceptEncoding = 1 << 7,
    Expect = 1 << 8,
    /// `Origin`, `Referer` or `Sec-Fetch-Site`: a browser says where a request comes from.
    Site = 1 << 9,
    /// A field about where the caller is, in any spelling.
    Forwarded = 1 << 10,
    /// A field with a link: `Location`, `Content-Location`, `Link`.
    Link = 1 << 11,
    ContentType = 1 << 12,
    /// A proof of possession (RFC 9449).
    Dpop = 1 << 13,
}

const HOP_BY_HOP: u16 = Field::Connection as u16
    | Field::OtherHop as u16
    | Field::Te as u16
    | Field::Upgrade as u16
    | Field::TransferEncoding as u16;

impl Survey {
    pub fn of(headers: &HeaderMap) -> Self {
        let mut survey = Self::default();
        for (name, value) in headers {
            let name = name.as_str();
            survey.bytes += name.len() + value.len() + 4;
            survey.lines += 1;
            if let Some(field) = field(name) {
                survey.found |= field as u16;
            }
        }
        survey
    }

    pub fn has(self, field: Field) -> bool {
        self.found & field as u16 != 0
    }

    /// Whether any field concerns one connection only.
    pub fn has_hop_by_hop(self) -> bool {
        self.found & HOP_BY_HOP != 0
    }
}

/// `name` in lower case, as header maps keep it. By length first: that is one jump, and most names
/// end there.
fn field(name: &str) -> Option<Field> {
    let found = match (name.len(), name) {
        (2, "te") => Field::Te,
        (4, "dpop") => Field::Dpop,
        (6, "cookie") => Field::Cookie,
        (6, "expect") => Field::Expect,
        (6, "origin") | (7, "referer") | (14, "sec-fetch-site") => Field::Site,
        (7, "upgrade") => Field::Upgrade,
        (4, "link") | (8, "location") | (16, "content-location") => Field::Link,
        (10, "connection") => Field::Connection,
        (10, "keep-alive")
        | (16, "proxy-connection")
        | (18, "proxy-authenticate")
        | (19, "proxy-authorization") => Field::OtherHop,
        (12, "content-type") => Field::ContentType,
        (13, "authorization") => Field::Authorization,
        (15, "accept-encoding") => Field::AcceptEncoding,
        (17, "transfer-encoding") => Field::TransferEncoding,
        _ if is_forwarded(name) => Field::Forwarded,
        _ => return None,
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn every_field_that_a_rule_is_about_is_found() {
        let table: &[(Field, &[&str])] = &[
            (Field::Connection, &["connection"]),
            (
                Field::OtherHop,
                &[
                    "keep-alive",
                    "proxy-connection",
                    "proxy-authenticate",
                    "proxy-authorization",
                ],
            ),
            (Field::Te, &["te"]),
            (Field::Dpop, &["dpop"]),
            (Field::Upgrade, &["upgrade"]),
            (Field::TransferEncoding, &["transfer-encoding"]),
            (Field::Authorization, &["authorization"]),
            (Field::Cookie, &["cookie"]),
            (Field::AcceptEncoding, &["accept-encoding"]),
            (Field::Expect, &["expect"]),
            (Field::Site, &["origin", "referer", "sec-fetch-site"]),
            (
                Field::Forwarded,
                &[
                    "forwarded",
                    "x-forwarded-for",
                    "x_real.ip",
                    "x-forwarded_host",
                ],
            ),
            (Field::Link, &["link", "location", "content-location"]),
            (Field::ContentType, &["content-type"]),
        ];
        for (expected, names) in table {
            for name in *names {
                let mut headers = HeaderMap::new();
                headers.insert("x-before", HeaderValue::from_static("1"));
                headers.insert(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_static("a"),
                );
                let survey = Survey::of(&headers);
                assert!(survey.has(*expected), "{name}");
                assert_eq!(survey.found, *expected as u16, "{name} and nothing else");
                assert_eq!(survey.bytes, 8 + 1 + 4 + name.len() + 1 + 4);
                let hop = survey.found & HOP_BY_HOP != 0;
                assert_eq!(survey.has_hop_by_hop(), hop);
            }
        }
        for name in [
            "te2",
            "x-te",
            "cookies",
            "upgrad",
            "xforwardedfor",
            "accept",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static("a"));
            assert_eq!(Survey::of(&headers).found, 0, "{name}");
        }
    }
}
