//! Whether a URL has exactly one origin (RFC 6454), told one character at a time.
//!
//! Scheme and host are compared without case, a missing port equals the scheme's own. What follows
//! the origin is a path, a query, a fragment or nothing: `https://api.example.com.evil`,
//! `https://api.example.com@evil` and `https://user@api.example.com` are other origins.

use crate::config::Origin;

/// The origin that is looked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// As it is usually written; for comparing in one go.
    text: Box<[u8]>,
    /// `https://api.example.com`, lower case, without a port.
    prefix: Box<[u8]>,
    port: u16,
    default_port: u16,
}

/// How much of the origin was seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    prefix: usize,
    port: Port,
}

#[derive(Debug, Clone, Copy, Default)]
enum Port {
    #[default]
    Absent,
    Digits {
        count: u8,
        value: u32,
    },
}

/// What a character tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not decided yet.
    More,
    /// The origin is the wanted one and ended before this character.
    Same,
    Other,
}

impl Wanted {
    pub(super) fn new(origin: &Origin) -> Self {
        let default_port = if origin.https { 443 } else { 80 };
        let without_port = Origin {
            port: default_port,
            ..origin.clone()
        };
        let mut prefix = without_port.to_string().into_bytes();
        prefix.make_ascii_lowercase();
        let mut text = prefix.clone();
        if origin.port != default_port {
            text.extend_from_slice(format!(":{}", origin.port).as_bytes());
        }
        Self {
            text: text.into(),
            prefix: prefix.into(),
            port: origin.port,
            default_port,
        }
    }

    /// The length of the origin if `url` begins with it as it is usually written. `None` says
    /// nothing: [`Wanted::step`] decides.
    pub(super) fn usual(&self, url: &[u8]) -> Option<usize> {
        let length = self.text.len();
        let ends = matches!(url.get(length)?, b'/' | b'?' | b'#');
        (ends && url[..length].eq_ignore_ascii_case(&self.text)).then_some(length)
    }

    /// The length of the origin if `url` has it.
    pub(super) fn length_in(&self, url: &[u8]) -> Option<usize> {
        let mut progress = Progress::default();
        for (n, &c) in url.iter().enumerate() {
            match self.step(&mut progress, c) {
                Verdict::More => {}
                Verdict::Same => return Some(n),
                Verdict::Other => return None,
            }
        }
        self.ends(progress).then_some(url.len())
    }

    /// One more character of the URL.
    pub(super) fn step(&self, progress: &mut Progress, c: u8) -> Verdict {
        if let Some(&expected) = self.prefix.get(progress.prefix) {
            progress.prefix += 1;
            return if c.to_ascii_lowercase() == expected {
                Verdict::More
            } else {
                Verdict::Other
            };
        }
        match (c, progress.port) {
            (b'/' | b'?' | b'#', _) if self.ends(*progress) => Verdict::Same,
            (b':', Port::Absent) => {
                progress.port = Port::Digits { count: 0, value: 0 };
                Verdict::More
            }
            (b'0'..=b'9', Port::Digits { count, value }) if count < 5 => {
                progress.port = Port::Digits {
                    count: count + 1,
                    value: value * 10 + u32::from(c - b'0'),
                };
                Verdict::More
            }
            _ => Verdict::Other,
        }
    }

    /// Whether a URL that ends here has the wanted origin.
    pub(super) fn ends(&self, progress: Progress) -> bool {
        progress.prefix == self.prefix.len()
            && match progress.port {
                Port::Absent | Port::Digits { count: 0, .. } => self.port == self.default_port,
                Port::Digits { value, .. } => value == u32::from(self.port),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(https: bool, host: &str, port: u16) -> Wanted {
        Wanted::new(&Origin {
            https,
            host: host.into(),
            port,
        })
    }

    #[test]
    fn only_the_exact_origin_is_the_upstreams() {
        let api = wanted(true, "api.bentley.com", 443);
        for (url, length) in [
            ("https://api.bentley.com", Some(23)),
            ("https://api.bentley.com/", Some(23)),
            ("https://api.bentley.com/imodels?a=b#c", Some(23)),
            ("https://api.bentley.com?a", Some(23)),
            ("https://api.bentley.com#a", Some(23)),
            ("HTTPS://API.Bentley.COM/x", Some(23)),
            ("https://api.bentley.com:443/x", Some(27)),
            ("https://api.bentley.com:443", Some(27)),
            ("https://api.bentley.com:/x", Some(24)),
            ("https://api.bentley.com:00443/x", Some(29)),
            ("https://api.bentley.com:000443/x", None),
            ("https://api.bentley.com:80/x", None),
            ("https://api.bentley.com:443@evil/", None),
            ("https://api.bentley.com:443:443/", None),
            ("https://api.bentley.com:65979/", None),
            ("http://api.bentley.com/x", None),
            ("https://api.bentley.com.evil/", None),
            ("https://api.bentley.com@evil/", None),
            ("https://user@api.bentley.com/", None),
            ("https://api.bentley.com\\evil/", None),
            ("https://api.bentley.co", None),
            ("https:api.bentley.com/", None),
            ("//api.bentley.com/", None),
            (" https://api.bentley.com/", None),
            ("/imodels", None),
            ("", None),
        ] {
            assert_eq!(api.length_in(url.as_bytes()), length, "{url}");
            if let Some(usual) = api.usual(url.as_bytes()) {
                assert_eq!(Some(usual), length, "{url}");
            }
        }
    }

    #[test]
    fn a_port_of_its_own_must_be_written() {
        let local = wanted(false, "127.0.0.1", 3001);
        assert_eq!(local.length_in(b"http://127.0.0.1:3001/x"), Some(21));
        assert_eq!(local.usual(b"http://127.0.0.1:3001/x"), Some(21));
        assert_eq!(local.length_in(b"http://127.0.0.1/x"), None);
        assert_eq!(local.length_in(b"http://127.0.0.1:30010/x"), None);
        assert_eq!(local.usual(b"http://127.0.0.1:30010/x"), None);
        let six = wanted(true, "::1", 443);
        assert_eq!(six.length_in(b"https://[::1]/x"), Some(13));
        assert_eq!(six.length_in(b"https://[::1]:443/x"), Some(17));
    }
}
