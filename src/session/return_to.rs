//! Where a person goes after signing in or out: a path of our own origin, and nothing else.
//!
//! Anybody can write an address into a link to the sign-in. It is read as browsers read it (WHATWG
//! URL), must stay on our origin, and only its path, query and fragment are kept: there is no host in
//! what goes into `Location`. Never back into the session's own endpoints, which would go round in
//! circles.

use percent_encoding::percent_decode_str;
use url::{Position, Url};

use crate::config::Session;

/// Before and after a browser's normalization.
const LONGEST: usize = 2_048;

/// A path, with query and fragment, of our own origin; ASCII, as a header field takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// The address, unless it leads elsewhere or to the session's own endpoints.
    pub fn parse(text: &str, session: &Session) -> Option<Self> {
        // browsers drop tabs and line ends, trim the rest, and read `\` as `/`: nobody needs them
        let odd = |c: char| c.is_control() || c == '\\';
        if text.len() > LONGEST
            || text.contains(odd)
            || text.trim() != text
            || text.starts_with("//")
        {
            return None;
        }
        let url = if text.starts_with('/') {
            session.public.join(text).ok()?
        } else {
            // relative ones depend on where they are read; an absolute one may name our origin
            Url::parse(text).ok()?
        };
        let ours = url.origin() == session.public.origin()
            && url.username().is_empty()
            && url.password().is_none();
        let path = decoded(url.path())?;
        if !ours || !is_local(url.path()) || !is_local(&path) || is_own(&path, session) {
            return None;
        }
        let kept = &url[Position::BeforePath..];
        (kept.len() <= LONGEST).then(|| Self(kept.to_owned()))
    }

    /// Where everybody may go.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// One of our own endpoints, for what is ours alone.
    pub fn ours(path: &str) -> Self {
        Self(path.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As a server or a second proxy may read it that decodes before it compares.
fn decoded(path: &str) -> Option<String> {
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    let odd = |c: char| c.is_control() || c == '\\';
    (!decoded.contains(odd)).then(|| decoded.into_owned())
}

/// `//host` is another host, and `/.//host` becomes that.
fn is_local(path: &str) -> bool {
    path.starts_with('/') && !path.starts_with("//")
}

/// Whether it is one of the session's endpoints, by any spelling.
fn is_own(path: &str, session: &Session) -> bool {
    let below = |path: &str| {
        let rest = path.get(..session.prefix.len());
        let begins = rest.is_some_and(|rest| rest.eq_ignore_ascii_case(&session.prefix));
        begins && path[session.prefix.len()..].starts_with(['/', ';'].as_slice())
            || path.eq_ignore_ascii_case(&session.prefix)
            || path.eq_ignore_ascii_case(&session.callback)
    };
    // a server may take several slashes, and dots behind encoded ones, for less
    let mut plain = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(plain.pop()),
            segment => plain.push(segment),
        }
    }
    below(path) || below(&format!("/{}", plain.join("/")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{Sources, load};

    fn session() -> Arc<Session> {
        let yaml = "\
credentials:
  web:
    grant: authorization_code
    client_id: webapp-x
    client_secret: s
    scopes: [openid]
sessions:
  web:
    credential: web
    public_url: https://app.example.com
    callback_path: /signin-callback
    key: 0123456789abcdef0123456789abcdef
listeners: [{ bind: '127.0.0.1:0' }]
routes:
  - { admit: { session: web }, inject: web, upstream: 'https://api.example.com' }
";
        let loaded = load(Sources::yaml(yaml)).unwrap_or_else(|problems| panic!("{problems}"));
        loaded.config.sessions["web"].clone()
    }

    #[test]
    fn an_address_of_ours_is_kept_as_a_browser_reads_it() {
        let session = session();
        for (given, expected) in [
            ("/", "/"),
            ("/app", "/app"),
            (
                "/app/?a=b&c=//evil.example#/deep/link",
                "/app/?a=b&c=//evil.example#/deep/link",
            ),
            ("/a/../b/./c", "/b/c"),
            ("/a//b", "/a//b"),
            ("/?next=https://evil.example", "/?next=https://evil.example"),
            ("/ümlaut?q=ä b", "/%C3%BCmlaut?q=%C3%A4%20b"),
            ("/a%20b", "/a%20b"),
            ("/@evil.example", "/@evil.example"),
            ("/:443", "/:443"),
            ("/.itwin-authority", "/.itwin-authority"),
            ("/signin-callback-2", "/signin-callback-2"),
            ("/.com", "/.com"),
            ("/https://evil.example", "/https://evil.example"),
            ("https://app.example.com", "/"),
            ("https://app.example.com/x?y#z", "/x?y#z"),
            ("https://APP.example.com:443/x", "/x"),
        ] {
            let kept = ReturnTo::parse(given, &session);
            assert_eq!(
                kept.as_ref().map(ReturnTo::as_str),
                Some(expected),
                "{given}"
            );
        }
    }

    /// From the advisories and test suites of oauth2-proxy (CVE-2020-4037, -5233, -11053, -21291),
    /// `mod_auth_openidc` (CVE-2021-39191, -2022-23527), Wonderwall, caddy-security and others.
    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn no_known_trick_leads_elsewhere() {
        let session = session();
        for trick in [
            "",
            "evil.example",
            "app",
            "./app",
            "../app",
            "?a=b",
            "#a",
            "//",
            "//evil.example",
            "///evil.example",
            "////evil.example",
            "//evil.example/%2f..",
            "//evil.example/..;/css",
            "//app.example.com@evil.example",
            "//app.example.com",
            "/\\evil.example",
            "/\\/evil.example",
            "\\/evil.example",
            "\\\\evil.example",
            "\\/\\/evil.example",
            "/app\\..\\evil",
            "/\t/evil.example",
            "\t//evil.example",
            "/\n/evil.example",
            "/\r\n/evil.example",
            "\r\n//evil.example",
            "/app\r\nSet-Cookie: a=b",
            "/app\0",
            "\0//evil.example",
            "\u{1}//evil.example",
            "/\u{1f}/evil.example",
            "/\u{7f}/evil.example",
            "/\u{85}/evil.example",
            " //evil.example",
            " /app",
            "/app ",
            "\u{a0}/app",
            "\u{3000}//evil.example",
            "\u{feff}//evil.example",
            "/%09/evil.example",
            "/%09//evil.example",
            "/%0a/evil.example",
            "/%0d%0a/evil.example",
            "/%00/evil.example",
            "/%2f/evil.example",
            "/%2Fevil.example",
            "/%2f%2fevil.example",
            "/%5cevil.example",
            "/%5C%5Cevil.example",
            "/app/%5c..%5cevil",
            "/.//evil.example",
            "/./\\evil.example",
            "/..//evil.example",
            "/app/..//evil.example",
            "/%2e//evil.example",
            "/%2e%2e//evil.example",
            "/.%2e//evil.example",
            "/a/b/../..//evil.example",
            "/%ff",
            "http:evil.example",
            "https:evil.example",
            "https:/evil.example",
            "https:///evil.example",
            "https:\\\\evil.example",
            "https://evil.example",
            "HTTPS://evil.example",
            "http://app.example.com/",
            "https://app.example.com:8443/",
            "https://app.example.com.evil.example/",
            "https://app.example.com@evil.example/",
            "https://evil.example@app.example.com/",
            "https://a:b@app.example.com/",
            "https://:b@app.example.com/",
            "https://app.example.com%2eevil.example/",
            "https://app.example.com%00.evil.example/",
            "https://app.example.com\\@evil.example/",
            "https://app.example.com#@evil.example@evil.example:x//",
            "https://app.example.com//evil.example",
            "https://app.example.com/.//evil.example",
            "https://evil\u{3002}example",
            "https://\u{ff45}vil.example",
            "https://app.example.com\u{2024}evil.example/",
            "https://[::1]/",
            "https://2130706433/",
            "javascript:alert(1)",
            "JavaScript://app.example.com/%0aalert(1)",
            "java\nscript:alert(1)",
            "data:text/html,<script>alert(1)</script>",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:https://app.example.com/x",
            "filesystem:https://app.example.com/x",
            "view-source:https://app.example.com/",
            "about:blank",
            "mailto:a@b",
            "ftp://app.example.com/",
            "ws://app.example.com/",
            "wss://app.example.com/",
            "app.example.com/",
            "app.example.com:443",
            "@evil.example",
            ":80",
            ";//evil.example",
            "\u{2215}\u{2215}evil.example",
            // round in circles
            "/.itwin-auth",
            "/.itwin-auth/",
            "/.itwin-auth/login",
            "/.itwin-auth/login?return_to=/.itwin-auth/login",
            "/.itwin-auth/logout",
            "/.ITWIN-auth/logout",
            "/%2eitwin-auth/logout",
            "/.itwin%2dauth/log%6fut",
            "/.itwin-auth%2flogout",
            "/x/../.itwin-auth/logout",
            "/x/%2e%2e/.itwin-auth/logout",
            "/x/..%2f.itwin-auth/logout",
            "/.itwin-auth;x/logout",
            "/signin-callback",
            "/signin-callback?code=x&state=y",
            "/signin%2dcallback",
            "/SignIn-Callback",
            "https://app.example.com/.itwin-auth/logout",
        ] {
            let kept = ReturnTo::parse(trick, &session);
            // the one that is harmless: everything behind `#` stays with the browser
            if trick.starts_with("https://app.example.com#") {
                assert!(kept.unwrap().as_str().starts_with("/#"));
                continue;
            }
            assert_eq!(kept, None, "{trick:?}");
        }
    }

    #[test]
    fn an_address_is_as_long_as_a_cookie_can_carry() {
        let session = session();
        let path = |length| format!("/{}", "a".repeat(length));
        assert!(ReturnTo::parse(&path(LONGEST - 1), &session).is_some());
        assert_eq!(ReturnTo::parse(&path(LONGEST), &session), None);
        // shorter as it was written
        let wide = format!("/{}", "ü".repeat(LONGEST / 3));
        assert_eq!(ReturnTo::parse(&wide, &session), None);
    }

    proptest! {
        #[test]
        fn whatever_is_kept_stays_on_our_origin(
            text in "(/|\\\\|\\.|%2f|%5c|%09|%2e|\t|\n| |:|@|#|\\?|;|evil\\.example|https?|app\\.example\\.com|\\.itwin-auth|\\PC){0,12}"
        ) {
            let session = session_once();
            for text in [text.clone(), format!("/{text}"), format!("https://app.example.com{text}")] {
                let Some(kept) = ReturnTo::parse(&text, session) else { continue };
                let kept = kept.as_str();
                prop_assert!(kept.is_ascii() && kept.starts_with('/'), "{}", kept);
                prop_assert!(!kept.starts_with("//") && !kept.contains('\\'), "{}", kept);
                let url = session.public.join(kept).unwrap();
                prop_assert_eq!(url.origin(), session.public.origin());
                let again = ReturnTo::parse(kept, session);
                prop_assert_eq!(again.as_ref().map(ReturnTo::as_str), Some(kept));
            }
        }
    }

    fn session_once() -> &'static Session {
        static SESSION: std::sync::LazyLock<Arc<Session>> = std::sync::LazyLock::new(session);
        &SESSION
    }
}
