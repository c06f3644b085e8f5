//! What an upstream is told of where the caller is: `Forwarded` (RFC 7239) and `X-Forwarded-*`.
//!
//! The set is rebuilt, never patched: what the caller sent goes in every spelling. Only what a
//! trusted proxy in front of us said is kept, all of its lines, before what we say ourselves.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Request,
    header::{FORWARDED, HOST},
};

use super::{bound::Called, plan::Plan};
use crate::{
    config::{Forwarded, Mode},
    http::headers,
    net::{Conn, Peer},
};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST_NAME: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Who is in front of us, read before the request is taken apart.
#[derive(Debug)]
pub(super) struct Forwarding {
    peer: Option<IpAddr>,
    trust: Trust,
    scheme: &'static str,
    host: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Trusted,
    Stranger,
}

impl Forwarding {
    pub(super) fn read<B>(request: &Request<B>, plan: &Plan, conn: &Conn) -> Self {
        let peer = match conn.peer {
            Peer::Tcp(address) => Some(address.ip().to_canonical()),
            Peer::Unix { .. } => None,
        };
        let trusted = peer.is_some_and(|ip| plan.trusted_proxies.iter().any(|n| n.contains(&ip)));
        let named = || request.headers().get(HOST)?.to_str().ok();
        let host = request.uri().authority().map(http::uri::Authority::as_str);
        Self {
            peer,
            trust: if trusted {
                Trust::Trusted
            } else {
                Trust::Stranger
            },
            scheme: if conn.security.is_tls() {
                "https"
            } else {
                "http"
            },
            host: host.or_else(named).unwrap_or_default().to_owned(),
        }
    }

    /// Takes the fields out, and writes them anew if the upstream is to be told.
    pub(super) fn write(&self, fields: &mut HeaderMap, told: Forwarded) {
        if told == Forwarded::Silent {
            headers::strip_forwarded(fields);
            return;
        }
        let mut addresses = Vec::new();
        let mut elements = Vec::new();
        let (mut scheme, mut host) = (self.scheme.to_owned(), self.host.clone());
        if self.trust == Trust::Trusted {
            addresses = lines(fields, &FOR);
            elements = lines(fields, &FORWARDED);
            scheme = lines(fields, &PROTO)
                .pop()
                .filter(|s| is_plain(s))
                .unwrap_or(scheme);
            host = lines(fields, &HOST_NAME)
                .pop()
                .filter(|h| is_plain(h))
                .unwrap_or(host);
        }
        headers::strip_forwarded(fields);
        let node = self
            .peer
            .map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
        let quoted = match self.peer {
            Some(IpAddr::V6(ip)) => format!("\"[{ip}]\""),
            _ => node.clone(),
        };
        addresses.push(node);
        let element = format!("for={quoted};proto={scheme}");
        elements.push(if is_plain(&host) {
            format!("{element};host=\"{host}\"")
        } else {
            element
        });
        let mut say = |name: &HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                fields.insert(name.clone(), value);
            }
        };
        say(&FOR, &addresses.join(", "));
        say(&PROTO, &scheme);
        say(&HOST_NAME, &host);
        say(&FORWARDED, &elements.join(", "));
    }
}

/// Where a request comes from, as far as that can be known: the peer's address, or what trusted proxies
/// say of the one before them.
pub(super) fn address(headers: &HeaderMap, conn: &Conn, trusted: &[ipnet::IpNet]) -> IpAddr {
    let Peer::Tcp(peer) = conn.peer else {
        return IpAddr::from([127, 0, 0, 1]); // somebody on this machine
    };
    nearest(headers, peer.ip(), trusted)
}

fn nearest(headers: &HeaderMap, peer: IpAddr, trusted: &[ipnet::IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer.to_canonical();
    let told = lines(headers, &FOR);
    let mut told = told.iter().rev().flat_map(|line| line.rsplit(','));
    while is_trusted(&nearest) {
        let Some(next) = told
            .next()
            .and_then(|text| text.trim().parse::<IpAddr>().ok())
        else {
            break; // it said nothing, or nothing that could be counted by
        };
        nearest = next.to_canonical();
    }
    nearest
}

/// Scheme and authority of the URL that a caller used, as far as that can be known: what the route's
/// resource is called, else what a gateway that asks us or a trusted proxy in front of us says, else
/// the connection and the request.
pub(super) fn called<'r>(headers: &'r HeaderMap, called: &Called<'r>) -> (&'r str, &'r str) {
    let &Called {
        conn, authority, ..
    } = called;
    if let Some(resource) = called.resource {
        return (resource.scheme(), resource.authority());
    }
    if conn.mode != Mode::Reverse
        && let Some(scheme) = called.uri.scheme_str()
    {
        return (scheme, authority);
    }
    let scheme = if conn.security.is_tls() {
        "https"
    } else {
        "http"
    };
    let Peer::Tcp(peer) = conn.peer else {
        return (scheme, authority);
    };
    let peer = peer.ip().to_canonical();
    let mut trusted = called.trusted_proxies.iter();
    if !trusted.any(|network| network.contains(&peer)) {
        return (scheme, authority);
    }
    // the last line is that of the proxy next to us
    let said = |name: &HeaderName| {
        let line = headers.get_all(name).iter().next_back()?;
        line.to_str().ok().filter(|text| is_plain(text))
    };
    (
        said(&PROTO).unwrap_or(scheme),
        said(&HOST_NAME).unwrap_or(authority),
    )
}

/// All lines of a field.
fn lines(fields: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let all = fields.get_all(name).iter();
    all.filter_map(|value| value.to_str().ok().map(str::to_owned))
        .collect()
}

/// A scheme, or a host with its port: nothing that could end a quoted string.
fn is_plain(text: &str) -> bool {
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    !text.is_empty() && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(
        trust: Trust,
        told: Forwarded,
        sent: &[(&'static str, &'static str)],
    ) -> Vec<String> {
        let forwarding = Forwarding {
            peer: "10.0.0.1".parse().ok(),
            trust,
            scheme: "https",
            host: "proxy.test".into(),
        };
        let mut fields = HeaderMap::new();
        for (name, value) in sent {
            fields.append(*name, HeaderValue::from_static(value));
        }
        forwarding.write(&mut fields, told);
        let mut shown: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        shown.sort();
        shown
    }

    const SENT: [(&str, &str); 4] = [
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2"),
        ("forwarded", "for=1.1.1.1;proto=http"),
        ("x-forwarded-host", "a\";for=9.9.9.9;x=\""),
    ];

    #[test]
    fn where_a_request_comes_from_is_what_trusted_proxies_say_of_the_one_before_them() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let table: &[(&str, &[&str], &str)] = &[
            ("192.0.2.1:5", &["198.51.100.9"], "192.0.2.1"),
            ("10.0.0.1:5", &["198.51.100.9"], "198.51.100.9"),
            (
                "10.0.0.1:5",
                &["1.1.1.1, 198.51.100.9, 10.9.9.9"],
                "198.51.100.9",
            ),
            ("10.0.0.1:5", &["1.1.1.1", "198.51.100.9"], "198.51.100.9"),
            ("10.0.0.1:5", &[], "10.0.0.1"),
            ("10.0.0.1:5", &["unknown"], "10.0.0.1"),
            ("10.0.0.1:5", &["10.0.0.2"], "10.0.0.2"),
            ("[::ffff:10.0.0.1]:5", &["2001:db8::1"], "2001:db8::1"),
        ];
        for (peer, lines, expected) in table {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(FOR, line.parse().unwrap());
            }
            let found = nearest(
                &headers,
                peer.parse::<std::net::SocketAddr>().unwrap().ip(),
                &trusted,
            );
            assert_eq!(found.to_string(), *expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn a_stranger_s_word_is_not_passed_on() {
        let ours = [
            "forwarded: for=10.0.0.1;proto=https;host=\"proxy.test\"",
            "x-forwarded-for: 10.0.0.1",
            "x-forwarded-host: proxy.test",
            "x-forwarded-proto: https",
        ];
        assert_eq!(written(Trust::Stranger, Forwarded::Told, &SENT), ours);
        assert!(written(Trust::Trusted, Forwarded::Silent, &SENT).is_empty());
    }

    #[test]
    fn a_trusted_proxy_s_word_is_kept_whole_and_cannot_add_to_ours() {
        let kept = [
            "forwarded: for=1.1.1.1;proto=http, for=10.0.0.1;proto=https;host=\"proxy.test\"",
            "x-forwarded-for: 1.1.1.1, 2.2.2.2, 10.0.0.1",
            "x-forwarded-host: proxy.test",
            "x-forwarded-proto: https",
        ];
        assert_eq!(written(Trust::Trusted, Forwarded::Told, &SENT), kept);
    }
}
