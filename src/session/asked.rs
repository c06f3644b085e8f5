//! What a browser asks, and whether a page of another site made it ask.
//!
//! By Fetch Metadata (`Sec-Fetch-*`, which no page can set); without it, by `Accept`, as browsers
//! before it and other programs have it. Whether a request that changes something was made by a page
//! of ours: by `Sec-Fetch-Site`, else by `Origin`, both compared exactly. Header fields that come
//! twice are believed in nothing.

use http::{
    HeaderMap, HeaderName, Method,
    header::{ACCEPT, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, SEC_WEBSOCKET_KEY, UPGRADE},
};
use url::Url;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
const PURPOSE: HeaderName = HeaderName::from_static("purpose");
const REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A page for the tab: it may be sent elsewhere to sign in.
    Navigation(Effect),
    /// A page inside a page, where no provider lets people sign in.
    Frame,
    /// `fetch` or `XMLHttpRequest`: the answer goes to a program.
    Script,
    WebSocket,
    /// May another origin's page ask (Fetch, section 4.8)? Never has credentials, so it is never
    /// challenged.
    Preflight,
    /// Images, styles, what is fetched in advance, programs that are no browsers.
    Other,
}

/// Whether the method of a navigation is safe (RFC 9110 section 9.2.1): another one cannot be
/// repeated after a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Safe,
    Unsafe,
}

/// What is asked with this method and these header fields, as they came.
pub fn asked(method: &Method, headers: &HeaderMap) -> Asked {
    if method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    {
        return Asked::Preflight;
    }
    let mode = single(headers, &SEC_FETCH_MODE);
    if is_web_socket(headers) || mode == Said::Once("websocket") {
        return Asked::WebSocket;
    }
    let effect = if method.is_safe() {
        Effect::Safe
    } else {
        Effect::Unsafe
    };
    // what a browser fetches before anybody asked for it is not worth a sign-in
    if in_advance(headers) {
        return Asked::Other;
    }
    match (mode, single(headers, &SEC_FETCH_DEST)) {
        (Said::Never, Said::Never) => without_metadata(effect, headers),
        (Said::Once("navigate"), Said::Once("document") | Said::Never)
        | (Said::Never, Said::Once("document")) => Asked::Navigation(effect),
        (Said::Once("navigate" | "nested-navigate"), _)
        | (_, Said::Once("iframe" | "frame" | "fencedframe" | "embed" | "object")) => Asked::Frame,
        (Said::Once(_), Said::Once("empty") | Said::Never) => Asked::Script,
        _ => Asked::Other,
    }
}

fn without_metadata(effect: Effect, headers: &HeaderMap) -> Asked {
    if headers.contains_key(REQUESTED_WITH) {
        return Asked::Script;
    }
    let mut lines = headers.get_all(ACCEPT).iter();
    // browsers name it for pages and nothing else; `*/*` is everybody's
    let pages = lines.any(|line| {
        let ranges = line.as_bytes().split(|byte| *byte == b',');
        let mut types = ranges.filter_map(|range| range.split(|byte| *byte == b';').next());
        types.any(|name| {
            let name = name.trim_ascii();
            name.eq_ignore_ascii_case(b"text/html")
                || name.eq_ignore_ascii_case(b"application/xhtml+xml")
        })
    });
    if pages {
        Asked::Navigation(effect)
    } else {
        Asked::Other
    }
}

fn is_web_socket(headers: &HeaderMap) -> bool {
    let mut upgrades = headers.get_all(UPGRADE).iter();
    headers.contains_key(SEC_WEBSOCKET_KEY)
        || upgrades.any(|line| {
            let mut protocols = line.as_bytes().split(|byte| *byte == b',');
            protocols.any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket"))
        })
}

fn in_advance(headers: &HeaderMap) -> bool {
    [SEC_PURPOSE, PURPOSE].iter().any(|name| {
        let mut lines = headers.get_all(name).iter();
        lines.any(|line| line.as_bytes().starts_with(b"prefetch"))
    })
}

/// The origins whose pages may use a session: that of its public address, and others by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    own: String,
    others: Vec<String>,
}

/// Whether a request may do what it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// A page that is none of ours made the browser ask, with the person's cookies.
    CrossSite,
}

/// Whose a request's `Origin` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'h> {
    /// Nobody's: the field is not there.
    Unsaid,
    Own,
    /// One of the others, and its text.
    Listed(&'h str),
    /// Anybody else's, `null`, or more than one.
    Foreign,
}

impl Origins {
    /// `others` are written as browsers write them.
    pub fn new(own: &Url, others: &[String]) -> Self {
        Self {
            own: own.origin().ascii_serialization(),
            others: others.to_vec(),
        }
    }

    /// Whether nobody else's pages may ask.
    pub fn are_only_own(&self) -> bool {
        self.others.is_empty()
    }

    /// As browsers write it in `Origin`.
    pub fn own(&self) -> &str {
        &self.own
    }

    pub fn whose<'h>(&self, headers: &'h HeaderMap) -> Whose<'h> {
        match single(headers, &ORIGIN) {
            Said::Never => Whose::Unsaid,
            Said::Once(origin) if origin == self.own => Whose::Own,
            Said::Once(origin) if self.others.iter().any(|other| other == origin) => {
                Whose::Listed(origin)
            }
            Said::Once(_) | Said::Unclear => Whose::Foreign,
        }
    }

    /// Whether this request was made by a page of ours, or by none, where that matters: it is a
    /// WebSocket, or its method is not safe. A page that reads the answer to a safe one is refused by
    /// the browser itself (`cors.rs`).
    pub fn verdict(&self, method: &Method, asked: Asked, headers: &HeaderMap) -> Verdict {
        let site = single(headers, &SEC_FETCH_SITE);
        let whose = self.whose(headers);
        if asked == Asked::WebSocket {
            // browsers always send `Origin` here (RFC 6455 section 10.2), and no rule of theirs
            // keeps a page from reading what comes
            return match (whose, site) {
                (Whose::Own | Whose::Listed(_), _)
                | (Whose::Unsaid, Said::Never | Said::Once("same-origin" | "none")) => {
                    Verdict::Allowed
                }
                (Whose::Unsaid | Whose::Foreign, _) => Verdict::CrossSite,
            };
        }
        if method.is_safe() {
            return Verdict::Allowed;
        }
        // what a page of ours says whose `Referrer-Policy` is `no-referrer`
        let hidden = || single(headers, &ORIGIN) == Said::Once("null");
        let vouched = match (whose, site) {
            // A browser that does not know `Sec-Fetch-Site` sends `Origin` with every unsafe request
            // of another site's page (Fetch, section 3.2). Without either, it is a program, or an old
            // browser's page of the same origin.
            (Whose::Listed(_), _)
            | (Whose::Own | Whose::Unsaid, Said::Never | Said::Once("same-origin" | "none")) => {
                true
            }
            (Whose::Foreign, Said::Once("same-origin" | "none")) => hidden(),
            (Whose::Own | Whose::Unsaid | Whose::Foreign, _) => false,
        };
        if vouched {
            Verdict::Allowed
        } else {
            Verdict::CrossSite
        }
    }
}

/// What a header field says that must not come twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said<'h> {
    Never,
    Once(&'h str),
    /// Several times, or not in ASCII.
    Unclear,
}

fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Said<'h> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Said::Never,
        (Some(line), None) => line.to_str().map_or(Said::Unclear, Said::Once),
        (Some(_), Some(_)) => Said::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

    type Row<'a> = (&'a str, &'a [(&'static str, &'a str)], Asked);

    #[test]
    fn what_is_asked() {
        use Asked::{Frame, Navigation, Other, Preflight, Script, WebSocket};
        use Effect::{Safe, Unsafe};
        let mode = |mode| ("sec-fetch-mode", mode);
        let dest = |dest| ("sec-fetch-dest", dest);
        let accept = |accept| ("accept", accept);
        let table: &[Row<'_>] = &[
            // a browser
            (
                "GET",
                &[mode("navigate"), dest("document")],
                Navigation(Safe),
            ),
            (
                "HEAD",
                &[mode("navigate"), dest("document")],
                Navigation(Safe),
            ),
            (
                "POST",
                &[mode("navigate"), dest("document")],
                Navigation(Unsafe),
            ),
            (
                "GET",
                &[mode("navigate"), dest("document"), accept("*/*")],
                Navigation(Safe),
            ),
            (
                "GET",
                &[mode("navigate"), dest("iframe"), accept(HTML)],
                Frame,
            ),
            ("GET", &[mode("navigate"), dest("frame")], Frame),
            ("GET", &[mode("navigate"), dest("embed")], Frame),
            ("GET", &[mode("navigate"), dest("object")], Frame),
            ("GET", &[mode("navigate"), dest("fencedframe")], Frame),
            ("POST", &[mode("navigate"), dest("iframe")], Frame),
            ("GET", &[mode("nested-navigate")], Frame),
            ("GET", &[mode("navigate")], Navigation(Safe)),
            ("GET", &[dest("document")], Navigation(Safe)),
            ("GET", &[mode("cors"), dest("empty")], Script),
            ("GET", &[mode("cors"), dest("empty"), accept(HTML)], Script),
            ("POST", &[mode("same-origin"), dest("empty")], Script),
            ("GET", &[mode("no-cors"), dest("empty")], Script),
            ("GET", &[mode("no-cors"), dest("image")], Other),
            ("GET", &[mode("no-cors"), dest("script")], Other),
            ("GET", &[mode("cors"), dest("font")], Other),
            ("GET", &[mode("no-cors"), dest("embed")], Frame),
            // fetched in advance
            (
                "GET",
                &[
                    mode("navigate"),
                    dest("document"),
                    ("sec-purpose", "prefetch"),
                ],
                Other,
            ),
            (
                "GET",
                &[mode("navigate"), ("sec-purpose", "prefetch;prerender")],
                Other,
            ),
            ("GET", &[accept(HTML), ("purpose", "prefetch")], Other),
            // fields that come twice are believed in nothing
            (
                "GET",
                &[
                    mode("navigate"),
                    mode("navigate"),
                    dest("document"),
                    accept(HTML),
                ],
                Other,
            ),
            (
                "GET",
                &[mode("navigate, navigate"), dest("document")],
                Other,
            ),
            (
                "GET",
                &[mode("navigate"), dest("document"), dest("document")],
                Frame,
            ),
            // before Fetch Metadata
            ("GET", &[accept(HTML)], Navigation(Safe)),
            ("POST", &[accept(HTML)], Navigation(Unsafe)),
            ("GET", &[accept("Text/HTML ;q=0.5")], Navigation(Safe)),
            (
                "GET",
                &[accept("a/b"), accept("text/html")],
                Navigation(Safe),
            ),
            (
                "GET",
                &[accept(HTML), ("x-requested-with", "XMLHttpRequest")],
                Script,
            ),
            ("GET", &[accept("*/*")], Other),
            ("GET", &[accept("application/json")], Other),
            ("GET", &[accept("text/htmlx, text/*")], Other),
            ("GET", &[], Other),
            // WebSockets
            ("GET", &[("upgrade", "websocket")], WebSocket),
            ("GET", &[("upgrade", "h2c, WebSocket")], WebSocket),
            (
                "GET",
                &[("sec-websocket-key", "x"), accept(HTML)],
                WebSocket,
            ),
            ("GET", &[mode("websocket"), dest("websocket")], WebSocket),
            ("CONNECT", &[mode("websocket")], WebSocket),
            ("GET", &[("upgrade", "h2c")], Other),
            // preflights
            (
                "OPTIONS",
                &[
                    ("origin", "https://a.example"),
                    ("access-control-request-method", "PUT"),
                    mode("cors"),
                ],
                Preflight,
            ),
            ("OPTIONS", &[("origin", "https://a.example")], Other),
            (
                "OPTIONS",
                &[("access-control-request-method", "PUT")],
                Other,
            ),
            (
                "POST",
                &[
                    ("origin", "https://a.example"),
                    ("access-control-request-method", "PUT"),
                ],
                Other,
            ),
        ];
        for (method, fields, expected) in table {
            let method = method.parse().unwrap();
            let found = asked(&method, &headers(fields));
            assert_eq!(found, *expected, "{method} {fields:?}");
        }
    }

    fn origins() -> Origins {
        let others = ["https://spa.example.com", "http://localhost:3000"];
        let own = "https://app.example.com/".parse().unwrap();
        Origins::new(&own, &others.map(str::to_owned))
    }

    #[test]
    fn who_may_change_something() {
        use Verdict::{Allowed, CrossSite};
        const OWN: &str = "https://app.example.com";
        let never = "";
        for (site, origin, expected) in [
            // a browser with Fetch Metadata
            ("same-origin", OWN, Allowed),
            ("same-origin", never, Allowed),
            ("same-origin", "null", Allowed),
            ("none", never, Allowed),
            ("none", "null", Allowed),
            ("same-origin", "https://evil.example", CrossSite),
            ("same-site", "https://other.example.com", CrossSite),
            ("same-site", "https://spa.example.com", Allowed),
            ("same-site", never, CrossSite),
            ("cross-site", "https://evil.example", CrossSite),
            ("cross-site", "http://localhost:3000", Allowed),
            ("cross-site", never, CrossSite),
            ("cross-site", "null", CrossSite),
            // came back through another site
            ("cross-site", OWN, CrossSite),
            ("same-origin, cross-site", never, CrossSite),
            ("new-word", OWN, CrossSite),
            // one without
            (never, OWN, Allowed),
            (never, "https://spa.example.com", Allowed),
            (never, "http://localhost:3000", Allowed),
            (never, never, Allowed),
            (never, "null", CrossSite),
            (never, "https://evil.example", CrossSite),
            (never, "http://app.example.com", CrossSite),
            (never, "https://app.example.com:8443", CrossSite),
            (never, "https://app.example.com.evil.example", CrossSite),
            (never, "https://app.example.com/", CrossSite),
            (never, "https://APP.example.com", CrossSite),
            (
                never,
                "https://app.example.com, https://evil.example",
                CrossSite,
            ),
            (never, "http://localhost:3001", CrossSite),
        ] {
            let fields = [("sec-fetch-site", site), ("origin", origin)];
            let fields: Vec<_> = fields.into_iter().filter(|(_, it)| *it != never).collect();
            let headers = headers(&fields);
            let verdict = |method| origins().verdict(&method, Asked::Script, &headers);
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
                assert_eq!(verdict(method), expected, "{fields:?}");
            }
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                assert_eq!(verdict(method), Allowed, "{fields:?}");
            }
        }
        let twice = headers(&[("origin", OWN), ("origin", OWN)]);
        let verdict = origins().verdict(&Method::POST, Asked::Script, &twice);
        assert_eq!(verdict, CrossSite);
    }

    #[test]
    fn who_may_open_a_web_socket() {
        use Verdict::{Allowed, CrossSite};
        for (fields, expected) in [
            (&[("origin", "https://app.example.com")] as &[_], Allowed),
            (&[("origin", "http://localhost:3000")], Allowed),
            (
                &[
                    ("origin", "https://spa.example.com"),
                    ("sec-fetch-site", "same-site"),
                ],
                Allowed,
            ),
            (&[("origin", "https://evil.example")], CrossSite),
            (
                &[
                    ("origin", "https://evil.example"),
                    ("sec-fetch-site", "same-origin"),
                ],
                CrossSite,
            ),
            (&[("origin", "null")], CrossSite),
            (
                &[("origin", "https://app.example.com"), ("origin", "null")],
                CrossSite,
            ),
            (&[("sec-fetch-site", "cross-site")], CrossSite),
            (&[("sec-fetch-site", "same-site")], CrossSite),
            (&[("sec-fetch-site", "same-origin")], Allowed),
            // no browser: a program that has the cookie
            (&[], Allowed),
        ] {
            let headers = headers(fields);
            let verdict = origins().verdict(&Method::GET, Asked::WebSocket, &headers);
            assert_eq!(verdict, expected, "{fields:?}");
        }
    }
}
