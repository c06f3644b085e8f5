//! Header fields on their way through.

use crate::support::{idp, origin, proxy, proxy::with_fields};

#[test]
fn fields_that_mean_nothing_to_us_pass_in_order_and_unchanged() {
    let origin = origin::answering([origin::answer(
        "200 OK",
        "X-Result: 1\r\nSet-Cookie: a=b\r\nx-result:  2, \"3\" \r\nSet-Cookie: c=d\r\n",
        "hello",
    )]);
    let proxy = proxy::to(&origin).start();
    let fields = "X-Odd: a,b ; c=\"d\"\r\nPrefer: return=minimal\r\nx-odd:   spaced   \r\nX-Correlation-Id: 7\r\nCookie: a=b; c=d\r\nIf-Match: \"tag\"\r\n";
    let answer = proxy.send(with_fields("GET", "/", fields));
    let request = origin.request();
    assert_eq!(request.all("x-odd"), ["a,b ; c=\"d\"", "spaced"]);
    assert_eq!(request.field("prefer"), Some("return=minimal"));
    assert_eq!(request.field("x-correlation-id"), Some("7"));
    assert_eq!(request.field("cookie"), Some("a=b; c=d"));
    assert_eq!(request.field("if-match"), Some("\"tag\""));
    assert_eq!(answer.all("x-result"), ["1", "2, \"3\""]);
    assert_eq!(answer.all("set-cookie"), ["a=b", "c=d"]);
}

#[test]
fn the_upstream_is_told_its_own_name_unless_the_route_says_otherwise() {
    let origin = origin::answering([origin::ok("hello")]);
    proxy::to(&origin).start().get("/");
    assert_eq!(
        origin.request().field("host"),
        Some(origin.address.to_string().as_str())
    );
    let origin = origin::answering([origin::ok("hello")]);
    proxy::to(&origin)
        .route("upstream.preserve_host", true)
        .start()
        .get("/");
    assert_eq!(origin.request().field("host"), Some("proxy.localhost"));
}

#[test]
fn nothing_is_added_but_host_and_token() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    proxy::to(&origin).injecting(&idp).start().get("/");
    assert_eq!(origin.request().names(), ["authorization", "host"]);
}

#[test]
fn what_concerns_one_connection_only_stays_there() {
    let origin = origin::answering([origin::answer(
        "200 OK",
        "Connection: x-hop, keep-alive\r\nConnection: X-Hop-Too\r\nX-Hop: a\r\nX-Hop-Too: b\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-End: c\r\n",
        "hello",
    )]);
    let idp = idp::issuing();
    let proxy = proxy::to(&origin).injecting(&idp).start();
    let fields = "Connection: x-one, Keep-Alive\r\nX-One: a\r\nconnection:X-Two\r\nX-Two: b\r\nX-End: c\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic dTpw\r\nTE: gzip\r\n";
    let answer = proxy.send(with_fields("GET", "/", fields));
    assert_eq!(origin.request().names(), ["authorization", "host", "x-end"]);
    for gone in [
        "x-hop",
        "x-hop-too",
        "keep-alive",
        "proxy-authenticate",
        "upgrade",
    ] {
        assert!(answer.all(gone).is_empty(), "{}", answer.head);
    }
    assert_eq!(answer.field("x-end"), Some("c"));
}

#[test]
fn a_connection_field_cannot_take_away_what_frames_or_addresses_a_request() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).start();
    let request = "POST / HTTP/1.1\r\nHost: proxy.localhost\r\nConnection: content-length, host, transfer-encoding\r\nContent-Length: 5\r\n\r\n12345";
    proxy.send(request).is_the_upstreams(200);
    let request = origin.request();
    assert_eq!(request.body, b"12345");
    assert_eq!(request.all("host").len(), 1);
}

#[test]
fn who_the_caller_is_cannot_be_made_up_in_any_spelling() {
    let made_up = [
        "X-Forwarded-For",
        "x_forwarded_for",
        "X.Forwarded.For",
        "X-Forwarded_Host",
        "X_FORWARDED_PROTO",
        "x-forwarded-port",
        "X-Real-IP",
        "x_real_ip",
        "Forwarded",
        "X-Forwarded-Prefix",
        "X_Forwarded.Server",
    ];
    for told in [false, true] {
        let origin = origin::answering([origin::ok("hello")]);
        let idp = idp::issuing();
        let mut builder = proxy::to(&origin).injecting(&idp);
        if told {
            builder = builder.route("upstream.forwarded", told);
        }
        let fields = made_up.join(": made-up\r\n") + ": made-up\r\n";
        builder
            .start()
            .send(with_fields("GET", "/", &fields))
            .is_the_upstreams(200);
        let request = origin.request();
        assert!(!request.head.contains("made-up"), "{}", request.head);
        if told {
            assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
            assert_eq!(request.field("x-forwarded-proto"), Some("http"));
            assert_eq!(request.field("x-forwarded-host"), Some("proxy.localhost"));
            assert_eq!(
                request.field("forwarded"),
                Some("for=127.0.0.1;proto=http;host=\"proxy.localhost\"")
            );
        } else {
            assert_eq!(request.names(), ["authorization", "host"]);
        }
    }
}

#[test]
fn a_trusted_proxy_in_front_is_believed() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin)
        .route("upstream.forwarded", true)
        .with("trusted_proxies", "127.0.0.0/8")
        .start();
    let fields = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: itwin.example\r\nx_forwarded_for: made-up\r\n";
    proxy
        .send(with_fields("GET", "/", fields))
        .is_the_upstreams(200);
    let request = origin.request();
    assert_eq!(
        request.field("x-forwarded-for"),
        Some("203.0.113.7, 127.0.0.1")
    );
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    assert_eq!(request.field("x-forwarded-host"), Some("itwin.example"));
    assert!(!request.head.contains("made-up"));
}
