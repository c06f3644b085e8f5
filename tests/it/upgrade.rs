//! `Upgrade`: websocket, and only that.

use crate::support::{idp, origin, proxy, proxy::with_fields};

const HANDSHAKE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[test]
fn a_web_socket_opens_with_our_token_and_passes_bytes_both_ways() {
    let origin = origin::serving(|mut connection| {
        connection.request();
        connection.send(SWITCHED.to_owned() + "first");
        let asked = connection.exactly(4);
        connection.send([&b"echo "[..], &asked].concat());
        connection.close();
    });
    let idp = idp::issuing();
    let proxy = proxy::to(&origin).injecting(&idp).start();
    let mut client = proxy.connect();
    client.send(with_fields("GET", "/socket", HANDSHAKE));
    let answer = client.head();
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.field("upgrade"), Some("websocket"));
    assert_eq!(
        answer.field("connection").map(str::to_lowercase).as_deref(),
        Some("upgrade")
    );
    assert_eq!(
        answer.field("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(client.exactly(5), b"first");
    client.send("ping");
    assert_eq!(client.until_closed(), b"echo ping");
    let request = origin.request();
    assert_eq!(request.field("upgrade"), Some("websocket"));
    assert_eq!(
        request
            .field("connection")
            .map(str::to_lowercase)
            .as_deref(),
        Some("upgrade")
    );
    assert_eq!(
        request.field("sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
    assert_eq!(request.field("authorization"), Some("Bearer token-1"));
}

#[test]
fn a_caller_that_ends_its_web_socket_ends_the_upstreams() {
    let origin = origin::serving(|mut connection| {
        connection.request();
        connection.send(SWITCHED);
        let all = connection.until_closed();
        assert_eq!(all, b"bye");
        connection.send("late");
    });
    let proxy = proxy::to(&origin).start();
    let mut client = proxy.connect();
    client.send(with_fields("GET", "/socket", HANDSHAKE));
    assert_eq!(client.head().status(), 101);
    client.send("bye").finish();
    assert_eq!(client.until_closed(), b"late");
}

#[test]
fn an_upstream_may_decline_a_web_socket() {
    let origin = origin::answering([origin::answer("403 Forbidden", "", "no")]);
    let proxy = proxy::to(&origin).start();
    let mut client = proxy.connect();
    let answer = client
        .send(with_fields("GET", "/socket", HANDSHAKE))
        .answer();
    answer.is_the_upstreams(403);
    client.send(proxy::get("/")).answer().is_the_upstreams(403);
}

#[test]
fn no_other_protocol_is_switched_to() {
    for (method, fields) in [
        (
            "GET",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        ),
        ("GET", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"),
        (
            "GET",
            "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
        ),
        ("GET", "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n"),
        ("GET", "Upgrade: websocket\r\n"),
        ("POST", HANDSHAKE),
    ] {
        let origin = origin::answering([origin::ok("hello")]);
        let proxy = proxy::to(&origin).start();
        let answer = proxy.send(with_fields(method, "/", fields));
        answer.is_the_upstreams(200);
        let request = origin.request();
        for gone in ["upgrade", "http2-settings", "connection"] {
            assert!(request.all(gone).is_empty(), "{fields}: {}", request.head);
        }
    }
}

#[test]
fn an_upstream_that_switches_unasked_is_a_502() {
    let origin = origin::answering([SWITCHED.to_owned() + "GET"]);
    let proxy = proxy::to(&origin).start();
    for fields in ["", "Connection: Upgrade\r\nUpgrade: h2c\r\n"] {
        let answer = proxy.send(with_fields("GET", "/", fields));
        assert_eq!(answer.status(), 502, "{}", answer.head);
        assert_eq!(answer.field("content-type"), Some("application/json"));
    }
}
