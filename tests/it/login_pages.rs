//! A login page is no answer of an API.

use crate::support::{idp, origin, proxy, proxy::with_fields};

const PAGE: &str = "<!doctype html><title>Sign in</title>";

fn page() -> String {
    origin::answer("200 OK", "Content-Type: text/html; charset=utf-8\r\n", PAGE)
}

#[test]
fn a_login_page_or_a_redirect_to_one_is_a_502_that_says_so() {
    let idp = idp::issuing();
    let redirect = format!("Location: {}/connect/authorize?client_id=x\r\n", idp.url());
    for answer in [
        page(),
        origin::answer("302 Found", &redirect, ""),
        origin::answer("307 Temporary Redirect", &redirect, ""),
    ] {
        let origin = origin::answering([answer]);
        let proxy = proxy::to(&origin).injecting(&idp).start();
        let refused = proxy.send(with_fields("GET", "/", "Accept: application/json\r\n"));
        refused.is_refused(502, "UpstreamLoginPage");
        assert!(!refused.text().contains("doctype"));
    }
}

#[test]
fn what_is_no_login_page_passes() {
    let idp = idp::issuing();
    for (fields, answer) in [
        ("Accept: text/html, */*\r\n", page()),
        (
            "",
            origin::answer("404 Not Found", "Content-Type: text/html\r\n", PAGE),
        ),
        (
            "",
            origin::answer(
                "302 Found",
                "Location: https://x.blob.core.windows.net/a?sig=b\r\n",
                "",
            ),
        ),
        (
            "",
            origin::answer("302 Found", "Location: /elsewhere\r\n", ""),
        ),
        (
            "",
            origin::answer("201 Created", &format!("Location: {}/x\r\n", idp.url()), ""),
        ),
    ] {
        let origin = origin::answering([answer.clone()]);
        let proxy = proxy::to(&origin).injecting(&idp).start();
        let passed = proxy.send(with_fields("GET", "/", fields));
        passed.is_the_upstreams(answer[9..12].parse().unwrap());
    }
    let origin = origin::answering([page()]);
    let proxy = proxy::to(&origin).start();
    proxy.get("/").is_the_upstreams(200);
    let proxy = proxy::to(&origin)
        .injecting(&idp)
        .route("refuse_login_pages", false)
        .start();
    proxy.get("/").is_the_upstreams(200);
}
