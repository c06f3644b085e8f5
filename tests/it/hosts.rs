//! Who is asked: the target's absolute form, `Host` and `:authority`.

use crate::support::{origin, proxy};

#[test]
fn a_request_names_exactly_one_host() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).start();
    for (request, code) in [
        ("GET / HTTP/1.1\r\n\r\n", "HostMissing"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "HostMissing"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "HostMissing",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
            "HostMissing",
        ),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "HostMissing"),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "HostMissing"),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "HostMissing"),
        ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", "HostMismatch"),
        (
            "GET http://a:80/ HTTP/1.1\r\nHost: a:81\r\n\r\n",
            "HostMismatch",
        ),
    ] {
        proxy.send(request).is_refused(400, code);
    }
    let answer = proxy.send("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.status(), 400);
    assert!(origin.requests().is_empty());
}

#[test]
fn the_absolute_form_is_understood_and_not_passed_on() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).route("hosts", "itwin.test").start();
    for request in [
        "GET http://itwin.test/a?b HTTP/1.1\r\nHost: itwin.test\r\n\r\n",
        "GET http://ITWIN.test:8080/a?b HTTP/1.1\r\nHost: itwin.TEST:8080\r\n\r\n",
        "GET /a?b HTTP/1.1\r\nHost: itwin.test.\r\n\r\n",
    ] {
        proxy.send(request).is_the_upstreams(200);
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.request(), "GET /a?b");
        assert_eq!(
            request.field("host"),
            Some(origin.address.to_string().as_str())
        );
    }
    proxy.get("/").is_refused(404, "RouteNotFound");
}
