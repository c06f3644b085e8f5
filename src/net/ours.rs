//! Where we accept ourselves. An upstream that is found there is no upstream: its name leads back to
//! us (`/etc/hosts`, `hostAliases`), and a request would go round until something gives way.

use std::net::SocketAddr;

/// The addresses of our own listeners.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ours(Vec<SocketAddr>);

impl Ours {
    pub fn new(listening: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self(listening.into_iter().collect())
    }

    /// Whether a listener of ours may be at this address: no connection need be looked at otherwise.
    pub fn may_be(&self, there: SocketAddr) -> bool {
        self.0
            .iter()
            .any(|listener| listener.port() == there.port())
    }

    /// Whether a connection between these ends is one to a listener of ours. Who reaches this
    /// machine at an address of its own has it at both ends.
    pub fn accept(&self, own: SocketAddr, there: SocketAddr) -> bool {
        let (own, address) = (own.ip().to_canonical(), there.ip().to_canonical());
        let here = address.is_loopback() || own == address;
        self.0.iter().any(|listener| {
            let at = listener.ip().to_canonical();
            listener.port() == there.port() && (at == address || at.is_unspecified() && here)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_to_a_listener_of_ours_is_known_by_its_ends() {
        let ours = ["127.0.0.1:443", "0.0.0.0:8080", "[::]:8081", "10.0.0.1:80"];
        let ours = Ours::new(ours.map(|text| text.parse().unwrap()));
        for (own, there, expected) in [
            ("127.0.0.1:5000", "127.0.0.1:443", true),
            ("127.0.0.1:5000", "127.0.0.2:443", false),
            ("127.0.0.1:5000", "127.0.0.1:444", false),
            ("[::ffff:127.0.0.1]:5000", "[::ffff:127.0.0.1]:443", true),
            ("127.0.0.1:5000", "127.0.0.2:8080", true),
            ("10.0.0.1:5000", "10.0.0.1:8080", true),
            ("10.0.0.1:5000", "10.0.0.9:8080", false),
            ("[fd00::1]:5000", "[fd00::1]:8081", true),
            ("10.0.0.1:5000", "10.0.0.1:8081", true),
            ("10.0.0.1:5000", "10.0.0.1:80", true),
            ("10.0.0.1:5000", "52.1.1.1:443", false),
        ] {
            let (from, to) = (own.parse().unwrap(), there.parse().unwrap());
            assert_eq!(ours.accept(from, to), expected, "{own} {there}");
            assert!(!expected || ours.may_be(to));
        }
    }
}
