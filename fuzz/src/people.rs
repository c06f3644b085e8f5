//! What browsers and links say to a session.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, header::COOKIE};
use itwin_auth_proxy::{
    config::{self, Sources},
    secret::Secret,
    session::{
        codec::{Form, Reader},
        cookie::{Cookies, Name, PREFIX, Ring, Shown, strip_ours},
        return_to::ReturnTo,
    },
};
use serde_json::json;

use super::NOW;

static COOKIES: LazyLock<Cookies> = LazyLock::new(|| {
    let ring = Ring::new("web", &Secret::new("the key"), Some(&Secret::new("old")));
    Cookies::new(Name::sole(), ring.expect("keys"))
});

static SESSION: LazyLock<Arc<config::Session>> = LazyLock::new(|| {
    let config = json!({
        "credentials": {"web": {
            "grant": "authorization_code", "client_id": "webapp-x", "client_secret": "s", "scopes": ["openid"],
        }},
        "sessions": {"web": {
            "credential": "web", "public_url": "https://app.example.com",
            "key": "0123456789abcdef0123456789abcdef",
        }},
        "listeners": [{"bind": "127.0.0.1:0"}],
        "routes": [{"admit": {"session": "web"}, "inject": "web", "upstream": "https://api.example.com"}],
    });
    let loaded = config::load(Sources::yaml(&config.to_string()));
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    loaded.config.sessions["web"].clone()
});

/// A `Cookie` line: nobody has a session or a sign-in who was given none, and nothing of ours goes
/// upstream.
pub fn cookie(data: &[u8]) {
    let Ok(line) = HeaderValue::from_bytes(data) else {
        return;
    };
    let mut headers = HeaderMap::from_iter([(COOKIE, line)]);
    let shown = COOKIES.shown(&headers, NOW, Duration::from_secs(3_600));
    assert!(!matches!(shown, Shown::Opened(_)));
    let _ = COOKIES.held(&headers);
    let state = String::from_utf8_lossy(data);
    let state = state.rsplit("tx-").next().unwrap_or_default();
    assert!(COOKIES.transaction(&headers, state, NOW).is_err());
    strip_ours(&mut headers);
    let lines = headers.get_all(COOKIE).into_iter();
    for cookie in lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')) {
        assert!(!cookie.trim_ascii().starts_with(PREFIX.as_bytes()));
    }
}

/// An address to return to stays on our origin, and says the same when it is read again.
pub fn return_to(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Some(kept) = ReturnTo::parse(text, &SESSION) else {
        return;
    };
    let kept = kept.as_str();
    assert!(kept.is_ascii() && kept.starts_with('/') && !kept.starts_with("//"));
    assert!(!kept.contains('\\') && HeaderValue::from_str(kept).is_ok());
    let again = ReturnTo::parse(kept, &SESSION);
    assert_eq!(again.as_ref().map(ReturnTo::as_str), Some(kept));
}

/// What a cookie carries, read in an order that the octets choose.
pub fn codec(data: &[u8]) {
    let Some((order, content)) = data.split_at_checked(4) else {
        return;
    };
    let Ok(mut reader) = Reader::new(
        content,
        Form {
            kind: 1,
            version: 1,
        },
    ) else {
        return;
    };
    for step in order {
        let read = match step % 7 {
            0 => reader.number().map(drop),
            1 => reader
                .bytes()
                .map(|bytes| assert!(bytes.len() < content.len())),
            2 => reader
                .text()
                .map(|text| assert!(text.len() < content.len())),
            3 => reader.secret().map(drop),
            4 => reader.maybe(Reader::number).map(drop),
            5 => reader.array::<16>().map(drop),
            _ => reader
                .list(Reader::secret)
                .map(|list| assert!(list.len() < content.len())),
        };
        if read.is_err() {
            return;
        }
    }
    let _ = reader.finish();
}
