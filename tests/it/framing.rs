//! Where messages begin and end: nobody smuggles a second one through.

use crate::support::{idp, origin, proxy};

/// What a caller would like the upstream to see as a request of its own.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: proxy.localhost\r\n\r\n";

/// Sends bytes that end with a smuggled request, and looks at what arrives.
fn nothing_is_smuggled_in(requests: &[(&str, String)]) {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let proxy = proxy::to(&origin).injecting(&idp).start();
    for (name, request) in requests {
        let before = origin.requests().len();
        let mut client = proxy.connect();
        let sent = client.send(request).finish().until_closed();
        let answers = String::from_utf8(sent).unwrap();
        let refused = answers.starts_with("HTTP/1.1 4") || answers.starts_with("HTTP/1.0 4");
        assert!(refused, "{name}: {answers}");
        for arrived in &origin.requests()[before..] {
            assert!(
                !arrived.head.contains("smuggled"),
                "{name}: {}",
                arrived.head
            );
            let framings =
                arrived.all("content-length").len() + arrived.all("transfer-encoding").len();
            assert!(framings <= 1, "{name}: {}", arrived.head);
        }
        assert!(!answers.contains("hello"), "{name}: {answers}");
    }
    // and the pool's connections were not poisoned
    proxy.get("/").is_the_upstreams(200);
    // a request that was broken off may be seen after it
    let arrived = origin.requests();
    assert!(arrived.iter().any(|one| one.request() == "GET /"));
}

fn post(fields: &str, rest: &str) -> String {
    format!("POST /first HTTP/1.1\r\nHost: proxy.localhost\r\n{fields}\r\n{rest}{SMUGGLED}")
}

#[test]
fn doubtful_lengths_are_refused() {
    nothing_is_smuggled_in(&[
        (
            "different lengths",
            post("Content-Length: 5\r\nContent-Length: 0\r\n", ""),
        ),
        ("a list of lengths", post("Content-Length: 5, 0\r\n", "")),
        ("a signed length", post("Content-Length: +5\r\n", "12345")),
        ("a negative length", post("Content-Length: -1\r\n", "")),
        (
            "a hexadecimal length",
            post("Content-Length: 0x5\r\n", "12345"),
        ),
        ("an empty length", post("Content-Length:\r\n", "")),
        (
            "a length past all bounds",
            post("Content-Length: 99999999999999999999999\r\n", ""),
        ),
    ]);
}

#[test]
fn doubtful_transfer_codings_are_refused() {
    nothing_is_smuggled_in(&[
        (
            "an unknown coding",
            post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ),
        (
            "chunked, but not last",
            post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ),
        (
            "a quoted coding",
            post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
        ),
        ("no coding", post("Transfer-Encoding:\r\n", "0\r\n\r\n")),
        (
            "HTTP/1.0 with chunks",
            post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n")
                .replace("/first HTTP/1.1", "/first HTTP/1.0"),
        ),
    ]);
}

#[test]
fn doubtful_chunks_are_refused() {
    let chunked = |rest: &str| post("Transfer-Encoding: chunked\r\n", rest);
    nothing_is_smuggled_in(&[
        ("a size that is none", chunked("g\r\n")),
        ("a signed size", chunked("+1\r\na\r\n0\r\n\r\n")),
        ("a size with 0x", chunked("0x1\r\na\r\n0\r\n\r\n")),
        (
            "a size past all bounds",
            chunked("fffffffffffffffff\r\na\r\n0\r\n\r\n"),
        ),
        ("more data than the size", chunked("1\r\nabc\r\n0\r\n\r\n")),
        ("no line end behind the data", chunked("1\r\na0\r\n\r\n")),
        (
            "a bare line feed behind the size",
            chunked("1\na\r\n0\r\n\r\n"),
        ),
        ("an empty size", chunked("\r\n\r\n")),
    ]);
}

#[test]
fn doubtful_header_lines_are_refused() {
    nothing_is_smuggled_in(&[
        (
            "a folded line",
            post("X-A: b\r\n Content-Length: 5\r\n", ""),
        ),
        ("a folded first line", post(" X-A: b\r\n", "")),
        (
            "a space before the colon",
            post("Content-Length : 5\r\n", "12345"),
        ),
        ("a space in a name", post("Content Length: 5\r\n", "12345")),
        ("a zero byte", post("X-A: b\0c\r\n", "")),
        (
            "a bare carriage return",
            post("X-A: b\rContent-Length: 5\r\n", "12345"),
        ),
        ("a line without a colon", post("nonsense\r\n", "")),
        ("an empty name", post(": x\r\n", "")),
        (
            "an unknown version",
            post("", "").replace(
                "HTTP/1.1\r\nHost: proxy.localhost\r\n\r\nGET",
                "HTTP/1.2\r\nHost: proxy.localhost\r\n\r\nGET",
            ),
        ),
        (
            "two spaces in the request line",
            post("", "").replace("POST /first", "POST  /first"),
        ),
    ]);
}

#[test]
fn a_length_beside_chunks_never_goes_out_with_them() {
    for fields in [
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let origin = origin::answering([origin::ok("hello")]);
        let proxy = proxy::to(&origin).start();
        let mut client = proxy.connect();
        client.send(post(fields, "3\r\nabc\r\n0\r\n\r\n")).finish();
        let answers = String::from_utf8(client.until_closed()).unwrap();
        // either refused, or read by its chunks and the connection closed behind it (RFC 9112 section 6.3)
        for arrived in origin.requests() {
            assert_eq!(arrived.body, b"abc");
            let framings =
                arrived.all("content-length").len() + arrived.all("transfer-encoding").len();
            assert_eq!(framings, 1, "{}", arrived.head);
        }
        assert!(
            !origin
                .requests()
                .iter()
                .any(|r| r.head.contains("smuggled")),
            "{answers}"
        );
    }
}

#[test]
fn the_same_length_twice_is_the_same_length_or_refused() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).start();
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc";
    let answer = proxy.send(request);
    if answer.status() == 200 {
        assert_eq!(origin.request().all("content-length"), ["3"]);
        assert_eq!(origin.request().body, b"abc");
    } else {
        assert_eq!(answer.status(), 400);
        assert!(origin.requests().is_empty());
    }
}

#[test]
fn chunk_extensions_and_trailers_do_not_confuse() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).start();
    let body = "3;a=b;c=\"d\"\r\nabc\r\n0;x\r\nX-Trailer: y\r\n\r\n";
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    proxy.send(request).is_the_upstreams(200);
    assert_eq!(origin.request().body, b"abc");
    assert!(origin.request().all("x-trailer").is_empty());
}

#[test]
fn what_follows_an_upgrade_request_is_not_passed_before_the_upstream_agreed() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).start();
    let request = format!(
        "GET /first HTTP/1.1\r\nHost: proxy.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n{}",
        SMUGGLED.replace("Host", "Authorization: Bearer own\r\nHost")
    );
    let mut client = proxy.connect();
    client.send(request);
    client.answer().is_the_upstreams(200);
    // it is an ordinary second request, or was never read
    drop(client);
    for arrived in origin.requests() {
        assert!(arrived.request() == "GET /first" || arrived.all("host").len() == 1);
        assert_eq!(arrived.connection, 0);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = origin::answering([origin::ok("one"), origin::ok("two"), origin::ok("three")]);
    let proxy = proxy::to(&origin).start();
    let mut client = proxy.connect();
    let all = proxy::with_body("POST", "/1", "a") + &proxy::get("/2") + &proxy::get("/3");
    client.send(all);
    for body in ["one", "two", "three"] {
        assert_eq!(client.answer().text(), body);
    }
    let paths: Vec<_> = origin
        .requests()
        .iter()
        .map(|r| r.request().to_owned())
        .collect();
    assert_eq!(paths, ["POST /1", "GET /2", "GET /3"]);
}

#[test]
fn an_answer_that_ends_early_ends_early_for_the_caller() {
    for (name, bytes) in [
        (
            "short of its length",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nabc",
        ),
        (
            "without its last chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n",
        ),
        (
            "with a broken chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\nzz\r\n",
        ),
    ] {
        let bytes = bytes.replace("Connection: close", "connection: close");
        let origin = origin::answering([bytes]);
        let proxy = proxy::to(&origin).start();
        let answer = proxy.get("/");
        assert_eq!(answer.status(), 200);
        assert!(answer.cut, "{name}: {answer:?}");
    }
}

#[test]
fn an_answer_that_makes_no_sense_is_a_502() {
    for bytes in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 5\r\nconnection: close\r\n\r\nabc",
        "HTTP/1.1 2000 OK\r\nconnection: close\r\n\r\n",
        "nonsense, connection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Header: x\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: \0\r\nconnection: close\r\n\r\n",
    ] {
        let origin = origin::answering([bytes]);
        let proxy = proxy::to(&origin).start();
        proxy.get("/").is_refused(502, "UpstreamBroken");
    }
}

#[test]
fn what_an_upstream_sends_behind_its_answer_is_nobodys_answer() {
    let double = origin::ok("first") + &origin::ok("poison");
    let origin = origin::answering([double, origin::ok("second")]);
    let proxy = proxy::to(&origin).start();
    assert_eq!(proxy.get("/").text(), "first");
    assert_eq!(proxy.get("/").text(), "second");
}

#[test]
fn a_length_beside_chunks_in_an_answer_never_reaches_the_caller_with_them() {
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let origin = origin::answering([both]);
    let proxy = proxy::to(&origin).start();
    let answer = proxy.get("/");
    if answer.status() == 200 {
        assert_eq!(answer.text(), "abc");
        let framings = answer.all("content-length").len() + answer.all("transfer-encoding").len();
        assert_eq!(framings, 1, "{}", answer.head);
    } else {
        answer.is_refused(502, "UpstreamBroken");
    }
}

#[test]
fn codings_beneath_chunked_are_refused_and_not_lost() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).start();
    for coding in ["gzip, chunked", "chunked, chunked"] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: proxy.localhost\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"
        );
        let answer = proxy.send(request);
        assert_eq!(answer.status(), 400, "{coding}");
    }
    assert!(origin.requests().is_empty());
}
