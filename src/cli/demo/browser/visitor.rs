//! A browser for the demonstration that ends by itself: it keeps cookies, follows redirects, says
//! of its requests what browsers say of theirs, and has no screen.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{
    Request,
    header::{ACCEPT, COOKIE, LOCATION, SET_COOKIE},
};
use url::Url;

use super::super::agent::{Agent, Call};

/// A sign-in takes four or five.
const REDIRECTS_MAX: usize = 12;
/// How every JSON Web Token begins.
const TOKEN: &str = "eyJ";

#[derive(Debug)]
pub(super) struct Visitor {
    agent: Agent,
    /// By host, as browsers have them: ports do not count.
    cookies: BTreeMap<String, BTreeMap<String, String>>,
    /// Answers in which something looked like a token.
    tokens: u32,
}

/// Where a navigation ended.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) call: Call,
    pub(super) url: Url,
    /// Addresses that sent it on, in order.
    pub(super) redirects: Vec<Url>,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    /// A page; the address bar shows it.
    Navigation,
    /// A script.
    Fetch,
}

impl Visitor {
    pub(super) fn new(agent: Agent) -> Self {
        Self {
            agent,
            cookies: BTreeMap::new(),
            tokens: 0,
        }
    }

    /// How many answers held something that looked like a token.
    pub(super) fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Opens a page, by a link of one of the same origin.
    pub(super) async fn open(&mut self, mut url: Url) -> Opened {
        let mut redirects = Vec::new();
        loop {
            let call = self.request(&url, For::Navigation).await;
            let next = call
                .header(LOCATION.as_str())
                .and_then(|location| url.join(location).ok())
                .filter(|_| (300..400).contains(&call.status));
            match next {
                Some(next) if redirects.len() < REDIRECTS_MAX => {
                    redirects.push(std::mem::replace(&mut url, next));
                }
                _ => {
                    return Opened {
                        call,
                        url,
                        redirects,
                    };
                }
            }
        }
    }

    /// Asks as a page's script does.
    pub(super) async fn fetch(&mut self, url: &Url) -> Call {
        self.request(url, For::Fetch).await
    }

    async fn request(&mut self, url: &Url, purpose: For) -> Call {
        let (mode, dest, accept) = match purpose {
            For::Navigation => ("navigate", "document", "text/html"),
            For::Fetch => ("cors", "empty", "*/*"),
        };
        let host = url.host_str().unwrap_or_default().to_owned();
        let jar = self.cookies.entry(host).or_default();
        let cookies: Vec<String> = jar
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut request = Request::get(url.as_str())
            .header("sec-fetch-mode", mode)
            .header("sec-fetch-dest", dest)
            .header("sec-fetch-site", "same-origin")
            .header(ACCEPT, accept);
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies.join("; "));
        }
        let call = self.agent.send(request.body(Bytes::new())).await;
        for line in call.headers.get_all(SET_COOKIE) {
            keep(jar, line.to_str().unwrap_or_default());
        }
        let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(TOKEN);
        let in_headers = call.headers.values().any(|value| holds(value.as_bytes()));
        self.tokens += u32::from(in_headers || holds(&call.body));
        call
    }
}

/// Takes a `Set-Cookie` to heart.
fn keep(jar: &mut BTreeMap<String, String>, line: &str) {
    let mut parts = line.split(';').map(str::trim);
    let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
        return;
    };
    if parts.any(|part| part.eq_ignore_ascii_case("max-age=0")) {
        jar.remove(name);
    } else {
        jar.insert(name.to_owned(), value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_kept_replaced_and_removed() {
        let mut jar = BTreeMap::new();
        for (line, expected) in [
            ("a=1; Path=/; HttpOnly", Some("1")),
            ("a=2=; Max-Age=10", Some("2=")),
            ("nothing", Some("2=")),
            ("a=; Path=/; Max-Age=0", None),
        ] {
            keep(&mut jar, line);
            assert_eq!(jar.get("a").map(String::as_str), expected, "{line}");
        }
    }
}
