//! What the browser shows at the end: small pages without a script, in the colours of the system,
//! that load nothing and send nothing.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto 0;padding:0 1.2rem;\
color:#1b1f24;background:#fff}h1{font-size:1.5rem}\
@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#16181c}}";

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    status: StatusCode,
    title: String,
    text: String,
}

impl Page {
    fn new(status: StatusCode, title: &str, text: &str) -> Self {
        Self {
            status,
            title: title.into(),
            text: text.into(),
        }
    }

    /// The sign-in is done.
    pub(super) fn done() -> Self {
        let text = "You can close this page and go back to the terminal.";
        Self::new(StatusCode::OK, "You are signed in", text)
    }

    /// It is not; the terminal says why.
    pub(super) fn failed(why: &str) -> Self {
        let text = format!("{why}. The terminal says more; you can close this page.");
        Self::new(StatusCode::BAD_REQUEST, "You are not signed in", &text)
    }

    pub(super) fn elsewhere() -> Self {
        let text = "A sign-in is waiting at another address: go on in the page of the sign-in, or start again \
                    with itwin-auth-proxy login.";
        Self::new(StatusCode::NOT_FOUND, "Nothing is here", text)
    }

    pub(super) fn method() -> Self {
        let text = "The sign-in must come back as a link, not as a form. Its registration may be for another kind of \
                    application.";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "This is not how a sign-in ends",
            text,
        )
    }

    pub(super) fn foreign() -> Self {
        let text = "This page is not of the sign-in that the terminal is waiting for. Open the address that the terminal \
                    shows, or start again with itwin-auth-proxy login.";
        Self::new(StatusCode::BAD_REQUEST, "This is another sign-in", text)
    }

    pub(super) fn twice() -> Self {
        let text = "This sign-in has come back already. The terminal says how it ended; you can close this page.";
        Self::new(StatusCode::CONFLICT, "Once is enough", text)
    }

    pub(super) fn late() -> Self {
        let text = "The terminal is not waiting any more. Start again with itwin-auth-proxy login.";
        Self::new(StatusCode::GONE, "This sign-in is over", text)
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn into_response(self) -> Response<Bytes> {
        let (title, text) = (escaped(&self.title), escaped(&self.text));
        let html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n<main>\n<h1>{title}</h1>\n<p>{text}</p>\n</main>\n</html>\n"
        );
        let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let mut response = Response::new(Bytes::from(html));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            fields.insert(name, HeaderValue::from_static(value));
        }
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            fields.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            fields.insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        response
    }
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_is_text_on_it() {
        let page = Page::failed("<script>alert('x')</script>&\"").into_response();
        let html = std::str::from_utf8(page.body()).unwrap();
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"));
        assert!(html.contains("lang=\"en\""));
    }

    #[test]
    fn it_loads_nothing_but_its_own_style() {
        let page = Page::done().into_response();
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        assert_eq!(page.headers()[header::CACHE_CONTROL], "no-store");
    }
}
