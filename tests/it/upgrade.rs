//! `Upgrade`: websocket, and only that.

use serde_json::json;

use crate::support::{
    certificates::Authority,
    client::Client,
    idp, origin,
    origin::Connection,
    proxy,
    proxy::with_fields,
    wait::{self, Gate},
    wire,
};

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

/// Many times what a buffer or a pipe of ours holds.
const MUCH: usize = 4_000_001;

fn much() -> Vec<u8> {
    (0..=250).cycle().take(MUCH).collect()
}

/// Switches, greets in the same breath, and sends back what comes.
fn mirror(mut connection: Connection) {
    connection.request();
    connection.send(SWITCHED.to_owned() + "greeting");
    let all = connection.exactly(MUCH);
    connection.send(&all);
    assert!(connection.until_closed().is_empty());
}

#[test]
fn much_passes_unchanged_whatever_the_two_connections_are() {
    let (plain, authority) = (origin::serving(mirror), Authority::new());
    let server = authority.issue("localhost");
    let encrypted = origin::serving_tls(server.server(&["http/1.1"]), mirror);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let listeners = json!([
        {"bind": "127.0.0.1:0"},
        {"bind": "127.0.0.1:0", "tls": {"certificate": server.certificate, "key": server.key}},
        {"bind": format!("unix:{}", path.display())},
    ]);
    let port = encrypted.address.port();
    let to_tls = proxy::to_url(&format!("https://localhost:{port}")).route(
        "upstream.tls",
        json!({"extra_ca": authority.file(), "addresses": [encrypted.address.to_string()]}),
    );
    for builder in [proxy::to(&plain), to_tls] {
        let proxy = builder.with("listeners", listeners.clone()).start();
        let by_tls = proxy.listener(1).parse().unwrap();
        let client = authority.client(None, &["http/1.1"]);
        for mut client in [
            proxy.connect(),
            Client::over(wire::tls(by_tls, client).unwrap()),
            Client::over(wire::unix(&path)),
        ] {
            let much = much();
            let (early, late) = much.split_at(5);
            // a caller may not wait for the 101
            client.send([with_fields("GET", "/", HANDSHAKE).as_bytes(), early].concat());
            assert_eq!(client.head().status(), 101);
            assert_eq!(client.exactly(8), b"greeting");
            client.send(late);
            assert!(client.exactly(MUCH) == much);
        }
    }
}

#[test]
fn a_web_socket_counts_as_a_connection_until_it_ends() {
    let origin = origin::serving(|mut connection| {
        while let Some(request) = connection.request() {
            if request.request() == "GET /socket" {
                connection.send(SWITCHED);
                connection.until_closed();
                return;
            }
            connection.send(origin::ok("hello"));
        }
    });
    let proxy = proxy::to(&origin).with("limits.connections", 1).start();
    let mut client = proxy.connect();
    client.send(with_fields("GET", "/socket", HANDSHAKE));
    assert_eq!(client.head().status(), 101);
    let mut second = proxy.connect();
    second.send(proxy::get("/"));
    wait::until("one connection is counted", || proxy.open() == 1);
    assert_eq!(origin.requests().len(), 1);
    drop(client);
    second.answer().is_the_upstreams(200);
    drop(second);
    wait::until("none is counted", || proxy.open() == 0);
}

#[test]
fn the_end_of_the_proxy_cuts_web_sockets_on_both_sides() {
    let cut = Gate::default();
    let seen = cut.clone();
    let origin = origin::serving(move |mut connection| {
        connection.request();
        connection.send(SWITCHED);
        connection.until_closed();
        seen.open();
    });
    let proxy = proxy::to(&origin).start();
    let mut client = proxy.connect();
    client.send(with_fields("GET", "/socket", HANDSHAKE));
    assert_eq!(client.head().status(), 101);
    drop(proxy);
    assert!(client.until_closed().is_empty());
    cut.pass();
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

#[test]
fn a_web_socket_does_not_outlast_its_listener() {
    let origin = origin::serving(|mut connection| {
        connection.request();
        connection.send(SWITCHED);
        connection.until_closed();
    });
    let two = json!([{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0"}]);
    let proxy = proxy::to(&origin)
        .with("listeners", two)
        .with("limits.drain_timeout", "100ms")
        .start();
    let open = |number: usize| {
        let mut client = Client::connect(proxy.listener(number).parse().unwrap());
        client.send(with_fields("GET", "/socket", HANDSHAKE));
        assert_eq!(client.head().status(), 101);
        client
    };
    let (_stays, mut goes) = (open(0), open(1));
    let said = proxy.reload(|config| {
        config["listeners"].as_array_mut().unwrap().pop();
    });
    assert_eq!(said.unwrap()["result"], "applied");
    assert!(goes.until_closed().is_empty());
    wait::until("one is left", || proxy.open() == 1);
}
