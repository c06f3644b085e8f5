//! What a caller lacked whom no rule admits.
//!
//! A key is asked for in the answer; what a connection cannot change is only named. A host that the caller
//! chose is shown as it came, with nothing in it that acts on a terminal or a page.

use std::fmt;

use crate::handbook::Code;

/// What would have admitted the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wants {
    /// Something in the request: 401.
    Key,
    /// Something about the connection: 403.
    Another,
    /// Another host than this one, which could be a page's: 403.
    KnownName(Host),
    /// A host that is this machine or the route's, other than this one: 403.
    ThisMachine(Host),
}

/// What a caller called us by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(Box<str>);

impl Host {
    pub(in crate::proxy) fn new(host: &str) -> Self {
        // as long as a name may be (RFC 1035 section 2.3.4)
        let shown = host.chars().take(253).flat_map(char::escape_debug);
        Self(shown.filter(|c| !matches!(c, '<' | '>' | '&')).collect())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Wants {
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Key | Self::Another => String::new(),
            Self::KnownName(host) => format!(" by the host {host}, which is not in its `hosts`"),
            Self::ThisMachine(host) => {
                format!(" by the host {host}, which is neither this machine nor the route's")
            }
        }
    }

    /// Beside the route's name.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::Key | Self::Another => String::new(),
            Self::KnownName(host) | Self::ThisMachine(host) => {
                format!(", called by the host {host}")
            }
        }
    }

    /// Code, error of `Proxy-Status`, message.
    pub(super) fn told(&self) -> (Code, &'static str, &'static str) {
        let (code, message) = match self {
            Self::Key => (
                Code::Unauthorized,
                "This route needs a key that the request does not carry.",
            ),
            Self::Another => (
                Code::NotAdmitted,
                "No rule of this route admits the caller.",
            ),
            Self::KnownName(_) => (
                Code::NotAdmitted,
                "A web page could ask by this host: write it in the proxy's `hosts`, or use an address or a short name.",
            ),
            Self::ThisMachine(_) => (
                Code::NotAdmitted,
                "A web page could ask by this host: this route is for callers on this machine that ask for localhost, 127.0.0.1 or a host of the route.",
            ),
        };
        (code, "http_request_denied", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_the_callers_acts_on_nobody() {
        let host = Host::new("evil<b>\u{1b}[2J\u{202e}\n.example").to_string();
        assert!(!host.chars().any(|c| c.is_control() || c == '<'), "{host}");
        assert!(host.starts_with("evil") && host.ends_with(".example"));
        assert_eq!(Host::new(&"a".repeat(9999)).to_string().len(), 253);
    }
}
