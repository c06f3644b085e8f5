//! HTTP/2 frames that no honest client sends: what they carry must not become another request, or
//! another field, of HTTP/1.1.

use std::io::{Read, Write};

use crate::support::{origin, proxy, wire};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, stream]);
    frame.extend(payload);
    frame
}

/// Fields as HPACK literals that are never indexed (RFC 7541 section 6.2.3).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0x10);
        for text in [name, value] {
            assert!(text.len() < 127);
            out.push(u8::try_from(text.len()).unwrap());
            out.extend(text.as_bytes());
        }
    }
    out
}

/// What became of stream 1.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Reset,
    Answered { ok: bool },
}

fn outcome(address: std::net::SocketAddr, request: &[(&str, &str)], body: Option<&str>) -> Outcome {
    let mut stream = wire::tcp(address);
    let flags = if body.is_some() {
        END_HEADERS
    } else {
        END_HEADERS | END_STREAM
    };
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, flags, 1, &fields(request)));
    if let Some(body) = body {
        bytes.extend(frame(DATA, END_STREAM, 1, body.as_bytes()));
    }
    stream.write_all(&bytes).unwrap();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return Outcome::Reset;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).unwrap();
        match head[3] {
            RST_STREAM | GOAWAY => return Outcome::Reset,
            // an indexed `:status 200` is the first byte
            HEADERS => {
                return Outcome::Answered {
                    ok: payload[0] == 0x88,
                };
            }
            _ => {}
        }
    }
}

const POST: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/first"),
    (":authority", "proxy.localhost"),
];

#[test]
fn an_honest_request_passes() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).start();
    let request = [&POST[..], &[("content-length", "4"), ("x-a", "b")]].concat();
    assert_eq!(
        outcome(proxy.address, &request, Some("body")),
        Outcome::Answered { ok: true }
    );
    assert_eq!(origin.request().body, b"body");
    assert_eq!(origin.request().field("x-a"), Some("b"));
}

#[test]
fn fields_that_http2_does_not_have_are_refused() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).start();
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("X-Upper", "a"),
        ("x a", "b"),
        ("x:a", "b"),
        ("x-a", "b\r\nx-c: d"),
        ("x-a", "b\nx-c: d"),
        ("x-a", "b\0"),
        ("x-a\r\nx-c", "d"),
        ("", "a"),
        (":path", "/second"),
        (":unknown", "x"),
    ] {
        let request = [&POST[..], &[(name, value)]].concat();
        let outcome = outcome(proxy.address, &request, Some("body"));
        assert_ne!(
            outcome,
            Outcome::Answered { ok: true },
            "{name:?}: {value:?}"
        );
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_body_that_is_longer_or_shorter_than_its_length_does_not_pass() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).start();
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for (length, body) in [("0", smuggled), ("3", "body"), ("9", "body")] {
        let request = [&POST[..], &[("content-length", length)]].concat();
        let outcome = outcome(proxy.address, &request, Some(body));
        assert_ne!(outcome, Outcome::Answered { ok: true }, "{length}");
    }
    for arrived in origin.requests() {
        assert_eq!(arrived.request(), "POST /first");
        assert!(arrived.cut || arrived.body.len() <= 4, "{arrived:?}");
    }
    // connections to the upstream were not poisoned
    proxy.get("/next").is_the_upstreams(200);
    assert_eq!(origin.requests().pop().unwrap().request(), "GET /next");
}

#[test]
fn pseudo_fields_cannot_bring_a_second_line() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).start();
    for (name, value) in [
        (":path", "/ HTTP/1.1\r\nhost: a\r\n\r\nGET /smuggled"),
        (":path", "/a b"),
        (":path", ""),
        (":path", "smuggled"),
        (":method", "GET / HTTP/1.1\r\nx: y\r\n\r\nGET"),
        (":method", ""),
        (":authority", "a\r\nx: y"),
        (":authority", "user@proxy.localhost"),
        (":scheme", "http://a/?"),
    ] {
        let mut request = POST;
        for field in &mut request {
            if field.0 == name {
                field.1 = value;
            }
        }
        let outcome = outcome(proxy.address, &request, None);
        assert_ne!(outcome, Outcome::Answered { ok: true }, "{name}: {value:?}");
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
}
