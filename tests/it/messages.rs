//! Messages of all kinds: HEAD, ranges, interim answers, trailers, large and small.

use std::{io::Write, thread};

use crate::support::{
    client::Client,
    idp, origin, proxy,
    proxy::{with_body, with_fields},
};

#[test]
fn an_answer_without_a_body_has_none() {
    let answers = [
        origin::answer("204 No Content", "", "").replace("content-length: 0\r\n", ""),
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n".to_owned(),
        origin::answer("201 Created", "Location: /imodels/1\r\n", ""),
    ];
    let origin = origin::answering(answers);
    let proxy = proxy::to(&origin).start();
    let mut client = proxy.connect();
    for (status, length) in [(204, None), (304, None), (201, Some("0"))] {
        let answer = client.send(proxy::get("/")).head();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.field("content-length"), length, "{}", answer.head);
        assert!(answer.all("transfer-encoding").is_empty());
    }
}

#[test]
fn a_head_answer_tells_the_length_of_what_it_does_not_send() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1234\r\nContent-Encoding: gzip\r\n\r\n";
    let origin = origin::answering([head.to_owned(), origin::ok("next")]);
    let idp = idp::issuing();
    let proxy = proxy::to(&origin).injecting(&idp).start();
    let mut client = proxy.connect();
    let answer = client.send(with_fields("HEAD", "/", "")).head();
    assert_eq!(answer.field("content-length"), Some("1234"));
    assert_eq!(answer.field("content-encoding"), Some("gzip"));
    assert_eq!(client.send(proxy::get("/")).answer().text(), "next");
    assert_eq!(origin.requests()[0].request(), "HEAD /");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_range_is_asked_for_and_answered_as_it_is() {
    let json = r#"{"_links":{"a":{"href":"UPSTREAM/x"}}}"#;
    let fields = "content-type: application/json\r\ncontent-range: bytes 0-36/100\r\n";
    let origin = origin::answering([origin::answer("206 Partial Content", fields, json)]);
    let proxy = proxy::to(&origin).start();
    let answer = proxy.send(with_fields(
        "GET",
        "/",
        "Range: bytes=0-36\r\nIf-Range: \"a\"\r\n",
    ));
    answer.is_the_upstreams(206);
    assert_eq!(answer.text(), json);
    assert_eq!(answer.field("content-range"), Some("bytes 0-36/100"));
    assert_eq!(origin.request().field("range"), Some("bytes=0-36"));
    assert_eq!(origin.request().field("if-range"), Some("\"a\""));
}

#[test]
fn a_caller_that_waits_for_100_gets_it_when_the_upstream_gives_it() {
    let origin = origin::serving(|mut connection| {
        while let Some(request) = connection.head() {
            assert_eq!(request.field("expect"), Some("100-continue"));
            connection.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = connection.body(&request);
            connection.send(origin::ok(&format!("{} bytes", body.len())));
        }
    });
    let idp = idp::issuing();
    let proxy = proxy::to(&origin).injecting(&idp).start();
    let mut client = proxy.connect();
    client.send(with_fields(
        "POST",
        "/",
        "Content-Length: 5\r\nExpect: 100-continue\r\n",
    ));
    assert_eq!(client.head().status(), 100);
    client.send("12345");
    assert_eq!(client.answer().text(), "5 bytes");
}

#[test]
fn a_caller_that_waits_for_100_is_spared_the_body_when_the_upstream_refuses() {
    let origin = origin::serving(|mut connection| {
        connection.head();
        connection.send(origin::answer(
            "403 Forbidden",
            "connection: close\r\n",
            "no",
        ));
        assert!(
            connection.until_closed().is_empty(),
            "the body was sent all the same"
        );
    });
    let proxy = proxy::to(&origin).start();
    let mut client = proxy.connect();
    client.send(with_fields(
        "POST",
        "/",
        "Content-Length: 5\r\nExpect: 100-continue\r\n",
    ));
    let answer = client.answer();
    answer.is_the_upstreams(403);
    assert_eq!(answer.text(), "no");
}

#[test]
fn interim_answers_are_not_mistaken_for_the_answer() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let origin = origin::answering([hints.to_owned() + &origin::ok("hello")]);
    let proxy = proxy::to(&origin).start();
    let mut client = proxy.connect();
    client.send(proxy::get("/"));
    let mut answer = client.head();
    while answer.status() < 200 {
        answer = client.head();
    }
    assert_eq!(answer.status(), 200);
    assert_eq!(client.exactly(5), b"hello");
}

#[test]
fn trailers_pass_both_ways() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n";
    let origin = origin::answering([chunked]);
    let idp = idp::issuing();
    let proxy = proxy::to(&origin).injecting(&idp).start();
    let fields =
        "TE: trailers\r\nConnection: te\r\nTransfer-Encoding: chunked\r\nTrailer: X-In\r\n";
    let answer = proxy.send(with_fields("POST", "/", fields) + "2\r\nde\r\n0\r\nX-In: 7\r\n\r\n");
    assert_eq!(answer.text(), "abc");
    assert_eq!(answer.trailers.to_lowercase(), "x-sum: 6\r\n");
    let request = origin.request();
    assert_eq!(request.body, b"de");
    assert_eq!(request.field("te"), Some("trailers"));
    assert_eq!(request.trailers.to_lowercase(), "x-in: 7\r\n");
}

#[test]
fn a_caller_of_old_is_served_until_the_connection_ends() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
    let origin = origin::answering([chunked]);
    let proxy = proxy::to(&origin).start();
    let mut client = proxy.connect();
    let answer = client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").answer();
    assert!(
        answer.all("transfer-encoding").is_empty(),
        "{}",
        answer.head
    );
    assert_eq!(answer.text(), "abcdef");
    assert_eq!(origin.request().start_line(), "GET / HTTP/1.1");
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole() {
    let origin = origin::answering(["HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello"]);
    let proxy = proxy::to(&origin).start();
    let mut client = proxy.connect();
    assert_eq!(client.send(proxy::get("/")).answer().text(), "hello");
    assert_eq!(client.send(proxy::get("/")).answer().text(), "hello");
}

#[test]
fn one_connection_of_the_caller_needs_one_to_the_upstream() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let proxy = proxy::to(&origin).injecting(&idp).start();
    let mut client = proxy.connect();
    for _ in 0..20 {
        client
            .send(with_body("POST", "/", "x"))
            .answer()
            .is_the_upstreams(200);
    }
    assert_eq!(origin.connections(), 1);
    assert_eq!(idp.requests().len(), 1);
}

#[test]
fn bodies_of_many_megabytes_pass_both_ways_at_once() {
    const SIZE: usize = 24 << 20;
    let pattern = |n: usize| u8::try_from(n * 7 % 251).unwrap();
    // echoes while it reads
    let origin = origin::serving(move |mut connection| {
        connection.head();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        for _ in 0..SIZE / 65536 {
            let piece = connection.exactly(65536);
            connection.send(piece);
        }
    });
    let idp = idp::issuing();
    let proxy = proxy::to(&origin).injecting(&idp).start();
    let (mut client, mut sender) = Client::connect_for_two(proxy.address);
    let data: Vec<u8> = (0..SIZE).map(pattern).collect();
    let sent = data.clone();
    let writer = thread::spawn(move || {
        let head = with_fields("PUT", "/", &format!("Content-Length: {SIZE}\r\n"));
        sender.write_all(head.as_bytes()).unwrap();
        sender.write_all(&sent).unwrap();
    });
    let answer = client.answer();
    writer.join().unwrap();
    assert!(answer.body == data, "the bytes that came back are others");
}
