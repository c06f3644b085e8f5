//! A local route is for programs on this machine, not for the web pages that its browser shows.

use crate::support::{idp, origin, proxy};

#[test]
fn a_web_page_cannot_use_the_callers_browser_to_reach_a_local_route() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let proxy = proxy::to(&origin).injecting(&idp).start();
    for (host, fields) in [
        // a name of the attacker's that leads to 127.0.0.1
        ("evil.example", ""),
        ("evil.example:8080", ""),
        ("127.0.0.1.evil.example", ""),
        ("localhost.evil.example", ""),
        ("localhost", "Origin: https://evil.example\r\n"),
        ("localhost", "Origin: null\r\n"),
        ("localhost", "Sec-Fetch-Site: cross-site\r\n"),
    ] {
        let answer = proxy.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
        answer.is_refused(403, "NotAdmitted");
    }
    assert!(origin.requests().is_empty());
    for host in [
        "localhost",
        "127.0.0.1:8080",
        "[::1]:8080",
        "LOCALHOST:1",
        "proxy.localhost",
    ] {
        proxy
            .send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .is_the_upstreams(200);
    }
}

#[test]
fn a_web_page_cannot_use_a_route_that_admits_the_network_of_its_browser() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let rule = serde_json::json!([{"networks": ["127.0.0.0/8"]}]);
    let proxy = proxy::to(&origin)
        .injecting(&idp)
        .route("admit", rule)
        .start();
    proxy.get("/").is_the_upstreams(200);
    for (host, fields) in [
        ("evil.example", ""),
        ("localhost", "Origin: https://evil.example\r\n"),
        ("localhost", "Sec-Fetch-Site: cross-site\r\n"),
    ] {
        let answer = proxy.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
        answer.is_refused(403, "NotAdmitted");
    }
}

#[test]
fn a_health_checkers_user_agent_opens_no_door() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let rule = serde_json::json!([{"key": {"secret": "0123456789abcdef"}}]);
    let proxy = proxy::to(&origin)
        .injecting(&idp)
        .route("admit", rule)
        .start();
    for path in ["/", "/healthz", "/ready", "/live", "/ping"] {
        let request = proxy::with_fields("GET", path, "User-Agent: kube-probe/1.31\r\n");
        proxy.send(request).is_refused(401, "Unauthorized");
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_network_that_is_not_named_is_not_admitted() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let admitting = |networks: &str| {
        let rule = serde_json::json!([{"networks": [networks]}]);
        proxy::to(&origin)
            .injecting(&idp)
            .route("admit", rule)
            .start()
    };
    admitting("10.0.0.0/8")
        .get("/")
        .is_refused(403, "NotAdmitted");
    assert!(origin.requests().is_empty());
    admitting("127.0.0.0/8").get("/").is_the_upstreams(200);
}
