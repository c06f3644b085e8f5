//! Interception: whose TLS is opened, and with what authority.

use std::time::Duration;

use super::{Identity, route::is_among};

/// TLS connections to these hosts are answered with certificates of our own making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interception {
    /// The authority that signs them; callers are told to trust it.
    pub authority: Identity,
    /// Lower case, without port; `*.example.com` is one or more labels before it. Never empty,
    /// never an address.
    pub hosts: Vec<String>,
    /// How long a certificate is good for, unless the authority ends earlier.
    pub leaf_lifetime: Duration,
}

/// What the authority is to be, before it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedAuthority {
    /// Where it is to be; nothing need be there.
    pub files: Identity,
    /// As [`Interception::hosts`].
    pub hosts: Vec<String>,
}

impl Interception {
    /// Whether connections to `host` (lower case, without port) are opened.
    pub fn opens(&self, host: &str) -> bool {
        is_among(&self.hosts, host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_hosts_are_opened_and_no_other() {
        let interception = Interception {
            authority: Identity {
                certificate: "ca.crt".into(),
                key: "ca.key".into(),
            },
            hosts: vec!["api.bentley.com".into(), "*.example.com".into()],
            leaf_lifetime: Duration::from_secs(60),
        };
        for (host, opened) in [
            ("api.bentley.com", true),
            ("qa-api.bentley.com", false),
            ("x.api.bentley.com", false),
            ("api.bentley.com.evil.test", false),
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            (".example.com", false),
            ("anexample.com", false),
            ("", false),
        ] {
            assert_eq!(interception.opens(host), opened, "{host}");
        }
    }
}
