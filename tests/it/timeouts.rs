//! Nothing hangs past its deadline, and each deadline says which it was.

use std::{io::Read, net::TcpListener};

use crate::support::{idp, origin, proxy, proxy::with_fields, wait::Gate};

#[test]
fn an_upstream_that_cannot_be_reached_is_a_502_that_says_why() {
    let proxy = proxy::to_url(&format!("http://{}", origin::nobody())).start();
    proxy.get("/").is_refused(502, "UpstreamUnreachable");
    let proxy = proxy::to_url("http://nobody.invalid").start();
    proxy.get("/").is_refused(502, "UpstreamDns");
}

#[test]
fn an_upstream_that_speaks_no_tls_is_a_502_that_says_so() {
    let origin = origin::serving(|mut connection| {
        connection.send("HTTP/1.1 400 Bad Request\r\n\r\n");
        connection.until_closed();
    });
    let proxy = proxy::to_url(&origin.url().replace("http:", "https:")).start();
    proxy.get("/").is_refused(502, "UpstreamTls");
}

#[test]
fn an_upstream_that_does_not_speak_is_a_504_when_connecting_takes_too_long() {
    // accepts, and never says a word of TLS
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let proxy = proxy::to_url(&url)
        .route("upstream.connect_timeout", "200ms")
        .start();
    proxy.get("/").is_refused(504, "UpstreamConnectTimeout");
    drop(listener);
}

#[test]
fn an_upstream_that_does_not_answer_is_a_504() {
    let origin = origin::serving(|mut connection| {
        connection.request();
        connection.until_closed();
    });
    let proxy = proxy::to(&origin)
        .route("timeouts.response", "200ms")
        .start();
    proxy.get("/").is_refused(504, "UpstreamTimeout");
    proxy
        .send(proxy::with_body("POST", "/", "body"))
        .is_refused(504, "UpstreamTimeout");
    assert_eq!(origin.requests().len(), 2, "neither was sent twice");
}

#[test]
fn a_request_that_takes_too_long_in_all_is_a_504_or_is_cut() {
    // the token takes too long
    let origin = origin::answering([origin::ok("hello")]);
    let gate = Gate::default();
    let idp = idp::behind(&gate);
    let proxy = proxy::to(&origin)
        .injecting(&idp)
        .route("timeouts.total", "200ms")
        .start();
    proxy.get("/").is_refused(504, "RequestTimeout");
    gate.open();
    // the answer's header came in time, and then a byte now and then
    let origin = origin::serving(|mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while connection.sends("x") {}
    });
    let proxy = proxy::to(&origin).route("timeouts.total", "200ms").start();
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 200);
    assert!(answer.cut);
}

#[test]
fn an_upstream_that_hangs_up_is_a_502() {
    let origin = origin::serving(|mut connection| {
        connection.request();
        connection.close();
    });
    let proxy = proxy::to(&origin).start();
    proxy.get("/").is_refused(502, "UpstreamBroken");
    assert_eq!(
        origin.requests().len(),
        1,
        "a fresh connection is no reason to try again"
    );
}

#[test]
fn a_caller_that_stops_sending_its_body_is_told_408() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    for injects in [false, true] {
        let mut builder = proxy::to(&origin).route("timeouts.idle", "200ms");
        if injects {
            builder = builder.injecting(&idp);
        }
        let proxy = builder.start();
        let mut client = proxy.connect();
        client.send(with_fields("POST", "/", "Content-Length: 10\r\n") + "123");
        client.answer().is_refused(408, "BodyTimeout");
        assert!(client.until_closed().is_empty());
    }
}

#[test]
fn a_caller_that_goes_away_within_its_body_takes_the_upstream_request_with_it() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).start();
    let mut client = proxy.connect();
    client.send(with_fields("POST", "/", "Content-Length: 10\r\n") + "123");
    drop(client);
    let arrived = origin.wait_for(1).remove(0);
    assert!(arrived.cut);
}

#[test]
fn an_answer_that_stands_still_is_cut() {
    let origin = origin::serving(|mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123");
        connection.until_closed();
    });
    let proxy = proxy::to(&origin).route("timeouts.idle", "200ms").start();
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 200);
    assert!(answer.cut);
    assert_eq!(answer.body, b"123");
}

#[test]
fn a_header_that_never_ends_does_not_keep_its_connection() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin)
        .with("limits.header_timeout", "200ms")
        .start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let answer = String::from_utf8(client.until_closed()).unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
        "{answer}"
    );
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin)
        .with("limits.idle_timeout", "200ms")
        .start();
    let mut client = proxy.connect();
    client.send(proxy::get("/")).answer().is_the_upstreams(200);
    assert!(client.until_closed().is_empty());
}

#[test]
fn an_idle_upstream_connection_is_not_used_past_its_time() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin)
        .route("upstream.idle_connections", 0)
        .start();
    proxy.get("/").is_the_upstreams(200);
    proxy.get("/").is_the_upstreams(200);
    let connections: Vec<_> = origin.requests().iter().map(|r| r.connection).collect();
    assert_eq!(connections, [0, 1]);
}

#[test]
fn without_a_token_a_call_is_told_when_to_come_again() {
    let origin = origin::answering([origin::ok("hello")]);
    for (name, answer) in [
        ("a fault", origin::answer("500 Oops", "", "oops")),
        ("nothing", origin::answer("200 OK", "", "")),
        (
            "a page",
            origin::answer("200 OK", "content-type: text/html\r\n", "<html>"),
        ),
        (
            "a refusal",
            origin::answer(
                "400 Bad Request",
                "content-type: application/json\r\n",
                r#"{"error":"invalid_client"}"#,
            ),
        ),
        (
            "too much",
            origin::answer("200 OK", "", &"x".repeat(1 << 20)),
        ),
    ] {
        let idp = idp::answering(move |_, _| answer.clone());
        let proxy = proxy::to(&origin)
            .injecting(&idp)
            .route("inject.wait", "300ms")
            .start();
        let refused = proxy.get("/");
        refused.is_refused(503, "TokenUnavailable");
        let seconds: u64 = refused.field("retry-after").expect(name).parse().unwrap();
        assert!((1..=3600).contains(&seconds), "{name}: {seconds}");
        assert!(!refused.text().contains("a secret of the service"));
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_provider_that_hangs_delays_a_call_no_longer_than_the_route_says() {
    let origin = origin::answering([origin::ok("hello")]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let idp = idp::issuing();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let proxy = proxy::to(&origin)
        .injecting(&idp)
        .with("providers.test.token_endpoint", format!("{url}/token"))
        .route("inject.wait", "300ms")
        .start();
    proxy.get("/").is_refused(503, "TokenUnavailable");
    let (mut connection, _) = listener.accept().unwrap();
    let mut first = [0; 4];
    connection.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"POST");
}

#[test]
fn a_caller_that_stops_reading_does_not_keep_its_upstream() {
    let (ended, end) = std::sync::mpsc::channel();
    let origin = origin::serving(move |mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n");
        while connection.sends([b'x'; 16 * 1024]) {}
        ended.send(()).unwrap();
    });
    let proxy = proxy::to(&origin)
        .with("limits.idle_timeout", "200ms")
        .start();
    let mut client = proxy.connect();
    client.send(proxy::get("/"));
    assert_eq!(client.head().status(), 200);
    end.recv_timeout(std::time::Duration::from_secs(20))
        .expect("the upstream's connection ends");
}
