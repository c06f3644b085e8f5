//! What a client that signs people in is registered with.

use url::{Host, Url};

/// What the provider knows of such a client; by default that it is none.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// Shown to people.
    pub name: String,
    /// Compared as text; but where the host is the machine itself, any port will do (RFC 8252
    /// section 7.3, and for `localhost` as providers have it).
    pub redirect_uris: Vec<String>,
    /// Compared in the same way.
    pub post_logout_redirect_uris: Vec<String>,
    /// May ask for `id_token token`, and for nothing else.
    pub implicit: Implicit,
    pub consent: Consent,
    /// Told of the end of a session by a logout token.
    pub backchannel_logout_uri: Option<String>,
    /// Told of it by a frame in the browser.
    pub frontchannel_logout_uri: Option<String>,
}

/// What a client may ask the authorization endpoint for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Implicit {
    /// Codes.
    #[default]
    No,
    /// Tokens: a registration of former days.
    Only,
}

/// Whether people are asked what a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consent {
    /// Once for each scope, or whenever the client wants it.
    #[default]
    Asked,
    /// Only when the client wants it.
    Given,
}

impl Registration {
    pub(super) fn may_return_to(&self, uri: &str) -> bool {
        self.redirect_uris.iter().any(|known| same(known, uri))
    }

    pub(super) fn may_end_at(&self, uri: &str) -> bool {
        let known = &self.post_logout_redirect_uris;
        known.iter().any(|known| same(known, uri))
    }
}

fn same(registered: &str, asked: &str) -> bool {
    registered == asked
        || matches!(
            (without_port(registered), without_port(asked)),
            (Some(registered), Some(asked)) if registered == asked
        )
}

/// Of an address of this machine, written as the URL standard writes it.
fn without_port(uri: &str) -> Option<String> {
    let mut url = Url::parse(uri).ok()?;
    let here = match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    // what was written otherwise than it is compared is not compared
    if !here || url.scheme() != "http" || url.as_str() != uri {
        return None;
    }
    url.set_port(None).ok()?;
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_good_as_it_was_registered_and_on_this_machine_with_any_port() {
        let known = Registration {
            redirect_uris: vec![
                "http://127.0.0.1/callback".into(),
                "http://[::1]/callback".into(),
                "http://localhost:3000/signin-callback".into(),
                "https://app.example/callback".into(),
            ],
            ..Registration::default()
        };
        for (uri, good) in [
            ("http://127.0.0.1/callback", true),
            ("http://127.0.0.1:54321/callback", true),
            ("http://[::1]:8/callback", true),
            ("http://localhost:3001/signin-callback", true),
            ("https://app.example/callback", true),
            ("https://app.example:444/callback", false),
            ("http://127.0.0.1:54321/callback/", false),
            ("http://127.0.0.1:54321/callback?a=b", false),
            ("http://127.0.0.1:54321/x/../callback", false),
            ("http://127.1:54321/callback", false),
            ("http://someone@127.0.0.1:1/callback", false),
            ("https://127.0.0.1:54321/callback", false),
            ("http://localhost:1/callback", false),
            ("http://localhost.evil.example/signin-callback", false),
            ("", false),
        ] {
            assert_eq!(known.may_return_to(uri), good, "{uri}");
        }
    }
}
