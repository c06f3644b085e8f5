use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::json;

use super::*;
use crate::admin::findings::findings;

const NOW: &str = "2026-11-22T20:00:00Z";

fn now() -> SystemTime {
    humantime::parse_rfc3339(NOW).unwrap()
}

fn at(ago: u64) -> String {
    humantime::format_rfc3339_seconds(now() - Duration::from_secs(ago)).to_string()
}

/// The page, and the policy under which it is shown.
fn shown(mut status: Value) -> (String, String) {
    status["findings"] = findings(&status, now()).into_iter().collect();
    let answer = Page::new().show(&status, now()).unwrap();
    let policy = answer.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    let body = futures_util::FutureExt::now_or_never(answer.into_body().collect());
    let body = body.unwrap().unwrap().to_bytes();
    (String::from_utf8(body.to_vec()).unwrap(), policy)
}

/// All that any part may say.
fn full() -> Value {
    json!({
        "version": "1.2.3", "started": at(7200), "uptime_seconds": 7200, "ready": true, "waiting_for": [],
        "configuration": {
            "generation": 3, "applied": at(1800), "sources": ["/etc/proxy.yaml"],
            "last_reload": { "at": at(30), "cause": "file", "result": "refused", "difference": [],
                "problems": [{ "path": "routes[0].upstream", "origin": "proxy.yaml:12", "message": "no such scheme", "hint": "http or https" }] },
        },
        "tokens": [{
            "credential": "agent", "provider": "https://ims.example.com", "grant": "client_credentials",
            "scopes": ["itwin-platform"], "zone": "ageing", "issued": at(2700), "renews": at(300),
            "expires": "2026-11-22T20:15:00Z", "life_seconds": 3600, "remaining_seconds": 900, "last_resort_seconds": 120,
            "failures_since_success": 2, "next_attempt_in_seconds": 20,
            "last_failure": { "at": at(10), "class": "timeout", "message": "the provider ims.example.com did not answer in time" },
            "secret": "previous", "secret_changed": at(100), "fetching": false,
        }],
        "providers": [{
            "name": "ims", "issuer": "https://ims.example.com", "clock_offset_seconds": 125.0,
            "keys": [{ "kid": "k1", "alg": "RS256", "since": at(4000), "last_verified": at(30) }, { "kid": "k2", "alg": "ES256", "since": at(4000) }], "keys_fetched": at(60), "keys_changed": at(400),
        }],
        "listeners": [{ "address": "127.0.0.1:8080", "mode": "decide", "gateway": "nginx", "tls": "own certificate", "connections": 2, "requests": 60 }],
        "routes": [{ "name": "imodels", "matches": "/imodels/**", "admit": "local", "inject": "agent",
            "upstream": "https://api.example.com", "requests": 60, "rate": 1.0, "errors": 3, "p50_ms": 12.3, "p99_ms": 2300.0 }],
        "refusals": { "recent": [{ "at": at(5), "code": "UpstreamTimeout", "status": 504, "route": "imodels",
            "caller": "127.0.0.1", "reason": "The upstream did not answer in time.", "request_id": "abc" }] },
        "log": { "level": "info", "format": "json", "dropped": 4, "recent": [
            { "at": at(1), "level": "WARN", "target": "tokens", "message": "a token could not be had", "class": "timeout" }] },
        "sessions": [{ "session": "web", "provider": "https://ims.example.com", "people": 2, "provider_known": true, "last_error": null }],
    })
}

#[test]
fn an_audit_stream_that_is_not_written_is_told_with_what_mends_it() {
    for (state, title) in [
        ("failing", "The audit stream cannot be written"),
        ("blocked", "The audit stream hangs"),
        ("dead", "The audit stream has ended"),
    ] {
        let status = json!({ "audit": { "state": state, "waiting": 12, "lost": 3 } });
        let found = findings(&status, now());
        let [only] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((only.kind, &*only.title), ("audit_failing", title));
        assert!(
            only.says.contains("wait: 12") && only.says.contains("room: 3"),
            "{only:?}"
        );
    }
    let fine = json!({ "audit": { "state": "writing", "waiting": 0, "lost": 0 } });
    assert_eq!(findings(&fine, now()), []);
}

#[test]
fn everything_that_is_reported_is_shown() {
    let page = shown(full()).0.replace("&#x2f;", "/");
    for text in [
        "<h1>Calls of “imodels” get no answer from api.example.com</h1>",
        "up 2 h",
        "configuration 3",
        "good for <strong>15 min</strong> of 1 h",
        "did not answer in time (2 times)",
        "Tried again in 20 s",
        "works with its previous secret",
        "2 min 5 s behind",
        "<code>k1</code> RS256, for 1 h 6 min, last token 30 s ago",
        "<code>k2</code> ES256, for 1 h 6 min, no token yet",
        "127.0.0.1:8080",
        ">decide (nginx)<",
        ">own certificate<",
        "/imodels/**",
        "2.3 s",
        "504 UpstreamTimeout",
        "<code>routes[0].upstream</code>: no such scheme",
        "http or https",
        "a token could not be had",
        "2 signed in",
        "4 lines of the log were dropped",
    ] {
        assert!(page.contains(text), "{text} is missing in\n{page}");
    }
}

#[test]
fn what_is_not_reported_leaves_no_hole() {
    let full = full();
    for key in full.as_object().unwrap().keys() {
        let mut without = full.clone();
        without.as_object_mut().unwrap().remove(key);
        shown(without);
        for empty in [json!(null), json!([]), json!({})] {
            let mut other = full.clone();
            other[key] = empty;
            shown(other);
        }
    }
    let (page, _) = shown(json!({ "version": "1", "uptime_seconds": 1, "ready": true }));
    assert!(page.contains("<h1>All is well</h1>"));
    assert!(!page.contains("<h2"), "{page}");
}

#[test]
fn what_others_wrote_is_text() {
    let mut status = full();
    let evil = "</script><script>alert(1)</script>\u{202e}\u{1b}[31m";
    let with = |value: &mut Value| *value = evil.into();
    with(&mut status["tokens"][0]["last_failure"]["message"]);
    with(&mut status["refusals"]["recent"][0]["reason"]);
    with(&mut status["log"]["recent"][0]["message"]);
    with(&mut status["routes"][0]["name"]);
    with(&mut status["configuration"]["last_reload"]["problems"][0]["message"]);
    let (page, _) = shown(status);
    assert_eq!(page.matches("<script>").count(), 1);
    assert!(!page.contains(['\u{202e}', '\u{1b}']));
}

#[test]
fn the_policy_names_the_style_and_the_script_of_the_page() {
    let (page, policy) = shown(full());
    for (open, close, name) in [
        ("<style>", "</style>", "style-src"),
        ("<script>", "</script>", "script-src"),
    ] {
        let (_, rest) = page.split_once(open).unwrap();
        let (text, _) = rest.split_once(close).unwrap();
        assert!(
            policy.contains(&format!("{name} {};", hash(text))),
            "{policy}"
        );
    }
    assert!(!policy.contains("unsafe") && !page.contains("style=") && !page.contains(" onclick"));
}

#[test]
fn browsers_are_given_the_page_and_programs_the_list() {
    for (accept, expected) in [
        (Some("text/html,application/xhtml+xml,*/*;q=0.8"), true),
        (Some("application/json, TEXT/HTML;q=0.5"), true),
        (Some("*/*"), false),
        (Some("text/htmlx"), false),
        (None, false),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
        }
        assert_eq!(wanted(&headers), expected, "{accept:?}");
    }
}
