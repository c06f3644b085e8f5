//! Keeps web pages out: a browser on this machine must not be a way to the admin listener.
//!
//! A page at `evil.example` can have its name resolve to 127.0.0.1 and then read our answers as its
//! own (DNS rebinding). The browser still sends that name as `Host`, so names that can belong to
//! somebody on the internet are refused: only addresses, `localhost` and names without a dot
//! (containers and services beside us) are answered.

use std::net::IpAddr;

use http::{HeaderMap, StatusCode, Uri, header, uri::Authority};

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// No host, several, or none that could be one.
    Invalid,
    /// This name, which may belong to a web page.
    Foreign(String),
}

impl Refused {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Foreign(_) => StatusCode::MISDIRECTED_REQUEST,
        }
    }

    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Invalid => "InvalidHost",
            Self::Foreign(_) => "ForeignHost",
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Self::Invalid => "exactly one valid Host field is needed".into(),
            Self::Foreign(host) => format!(
                "asked for as {}: only IP addresses, localhost and names without a dot are answered here, \
                 so that no web page can read this through a browser",
                host.escape_debug()
            ),
        }
    }
}

/// Whether the request names us in a way that no foreign page can.
pub(super) fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let named = match (uri.host(), hosts.next(), hosts.next()) {
        // absolute form beats the field (RFC 9112 section 3.2.2)
        (Some(host), _, _) => Some(host.to_owned()),
        (None, Some(field), None) => field
            .to_str()
            .ok()
            .and_then(|text| text.parse::<Authority>().ok())
            // a Host has no user (RFC 9110 section 7.2)
            .filter(|authority| !authority.as_str().contains('@'))
            .map(|authority| authority.host().to_owned()),
        _ => None,
    };
    let host = named.ok_or(Refused::Invalid)?;
    if is_ours(&host) {
        Ok(())
    } else {
        Err(Refused::Foreign(host))
    }
}

fn is_ours(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return true;
    }
    !host.is_empty() && (!host.contains('.') || host.ends_with(".localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(uri: &str, hosts: &[&str]) -> u16 {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        match check(&uri.parse().unwrap(), &headers) {
            Ok(()) => 200,
            Err(refused) => refused.status().as_u16(),
        }
    }

    #[test]
    fn a_page_on_the_internet_cannot_ask_through_a_browser() {
        for (host, expected) in [
            ("127.0.0.1:9901", 200),
            ("[::1]:9901", 200),
            ("10.1.2.3", 200),
            ("localhost:9901", 200),
            ("LOCALHOST.", 200),
            ("proxy.localhost", 200),
            ("itwin-auth-proxy:9901", 200),
            ("evil.example", 421),
            ("127.0.0.1.evil.example:9901", 421),
            ("localhost.evil.example", 421),
            ("127.0.0.1@evil.example", 400),
            ("evil.example@127.0.0.1", 400),
            ("", 400),
            ("a b", 400),
        ] {
            assert_eq!(status("/ready", &[host]), expected, "{host}");
        }
        assert_eq!(status("/ready", &[]), 400);
        assert_eq!(status("/ready", &["localhost", "localhost"]), 400);
        assert_eq!(status("http://evil.example/", &["localhost"]), 421);
        assert_eq!(status("http://127.0.0.1/", &["evil.example"]), 200);
    }
}
