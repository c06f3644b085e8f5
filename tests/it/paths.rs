//! Paths: what was matched is what is sent, byte for byte.

use crate::support::{idp, origin, proxy};

#[test]
fn path_and_query_arrive_byte_for_byte() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).start();
    for target in [
        "/",
        "/?",
        "/imodels?$top=2&$skip=0&name=a+b%20c",
        "/imodels/%7Bid%7D",
        "/a//b",
        "/a/%2F/b",
        "/a/../b",
        "/a;v=1/b",
        "/%E4%BD%A0?x=/../?y&z=%zz",
        "/imodels?next=https://api.bentley.com/a",
        "/a?b?c",
        "/*",
        "/a|b",
        "/a'b\"c",
    ] {
        proxy.get(target).is_the_upstreams(200);
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.request(), format!("GET {target}"));
    }
}

#[test]
fn a_path_that_servers_read_differently_is_refused_where_a_route_depends_on_it() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let proxy = proxy::to(&origin)
        .injecting(&idp)
        .route("path", "/imodels/**")
        .start();
    for path in [
        "/imodels/../admin",
        "/imodels/..%2fadmin",
        "/imodels/%2e%2e/admin",
        "/imodels/.%2E/admin",
        "/imodels/./x",
        "/imodels%2fx",
        "/imodels/x\\..\\..\\admin",
        "/imodels/%5c..%5cadmin",
        "/imodels/..;/admin",
        "/imodels;x=y/z",
        "/imodels/%252e%252e/admin",
        "/imodels/%00",
        "/imodels/%ff",
    ] {
        proxy.get(path).is_refused(400, "AmbiguousPath");
    }
    for path in [
        "/admin",
        "/imodelsx",
        "/",
        "/IMODELS",
        "/x?/imodels",
        "/x?path=/imodels/y",
    ] {
        proxy.get(path).is_refused(404, "RouteNotFound");
    }
    assert!(origin.requests().is_empty());
    for path in [
        "/imodels",
        "/imodels/",
        "/imodels/a/b?c=../d;e",
        "/%69models/x",
        "/imodels//x",
        "/imodels/a%20b",
    ] {
        proxy.get(path).is_the_upstreams(200);
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.request(), format!("GET {path}"));
    }
}

#[test]
fn a_raw_fragment_is_no_part_of_what_is_matched_or_sent() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).route("path", "/imodels/**").start();
    proxy.get("/#/imodels/x").is_refused(404, "RouteNotFound");
    assert!(origin.requests().is_empty());
    for target in ["/imodels/x?y#/../admin", "/imodels/x?y#z?"] {
        let answer = proxy.get(target);
        if answer.status() == 200 {
            assert_eq!(
                origin.requests().pop().unwrap().request(),
                "GET /imodels/x?y"
            );
        } else {
            answer.is_refused(400, "AmbiguousPath");
        }
    }
}

#[test]
fn the_first_route_that_matches_is_taken() {
    let (first, second) = (
        origin::answering([origin::ok("first")]),
        origin::answering([origin::ok("second")]),
    );
    let routes = serde_json::json!([
        {"path": "/imodels/**", "methods": ["GET"], "upstream": {"url": first.url()}},
        {"hosts": ["*.localhost"], "path": "/imodels/*/changesets", "upstream": {"url": second.url()}},
    ]);
    let proxy = proxy::to(&first).with("routes", routes).start();
    assert_eq!(proxy.get("/imodels/1").text(), "first");
    let post = |path: &str| proxy.send(proxy::with_body("POST", path, "{}"));
    assert_eq!(post("/imodels/1/changesets").text(), "second");
    post("/imodels/1").is_refused(404, "RouteNotFound");
    let other_host =
        "POST /imodels/1/changesets HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    proxy.send(other_host).is_refused(404, "RouteNotFound");
}
