//! What is too much, and what a caller is told about it.

use std::thread;

use crate::support::{
    client::Answer,
    idp, origin, proxy,
    proxy::with_fields,
    wait::{Gate, Watched},
};

#[test]
fn headers_past_the_limit_are_a_431() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin)
        .with("limits.header_size", "8KiB")
        .with("limits.header_count", 20)
        .start();
    let large = format!("X-Large: {}\r\n", "x".repeat(9000));
    proxy
        .send(with_fields("GET", "/", &large))
        .is_refused(431, "HeaderTooLarge");
    proxy
        .get(&format!("/{}", "x".repeat(9000)))
        .is_refused(431, "HeaderTooLarge");
    proxy
        .send(with_fields("GET", "/", &"X-Many: x\r\n".repeat(25)))
        .is_refused(431, "HeaderTooLarge");
    assert!(origin.requests().is_empty());
    let fits = format!("X-Large: {}\r\n", "x".repeat(7000));
    proxy
        .send(with_fields("GET", "/", &fits))
        .is_the_upstreams(200);
    proxy
        .send(with_fields("GET", "/", &"X-Many: x\r\n".repeat(18)))
        .is_the_upstreams(200);
}

#[test]
fn a_header_without_end_costs_no_more_than_a_connection() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin)
        .with("limits.header_size", "8KiB")
        .start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    for _ in 0..100 {
        client.send(format!("X: {}\r\n", "x".repeat(1000)));
    }
    let answer = String::from_utf8(client.until_closed()).unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    assert!(origin.requests().is_empty());
}

#[test]
fn a_body_past_the_limit_is_a_413() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    for injects in [false, true] {
        let mut builder = proxy::to(&origin).with("limits.body_size", "1KiB");
        if injects {
            builder = builder.injecting(&idp);
        }
        let proxy = builder.start();
        let exact = proxy::with_body("POST", "/", &"x".repeat(1024));
        proxy.send(exact).is_the_upstreams(200);
        let known = proxy.send(proxy::with_body("POST", "/", &"x".repeat(1025)));
        known.is_refused(413, "BodyTooLarge");
        let before = origin.requests().len();
        let chunk = format!("201\r\n{}\r\n", "x".repeat(0x201));
        let chunked = with_fields("POST", "/", "Transfer-Encoding: chunked\r\n")
            + &chunk
            + &chunk
            + "0\r\n\r\n";
        proxy.send(chunked).is_refused(413, "BodyTooLarge");
        for arrived in &origin.requests()[before..] {
            assert!(arrived.cut, "{arrived:?}");
        }
    }
}

#[test]
fn requests_past_the_limit_are_told_to_come_again() {
    let gate = Gate::default();
    let idp = idp::behind(&gate);
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin)
        .injecting(&idp)
        .with("limits.requests", 2)
        .start();
    let refused = Watched::<Vec<Answer>>::default();
    let served: usize = thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let answer = proxy.get("/");
                    let served = usize::from(answer.status() == 200);
                    if served == 0 {
                        refused.update(|all| all.push(answer));
                    }
                    served
                })
            })
            .collect();
        refused.wait("six refusals", |all| (all.len() == 6).then_some(()));
        gate.open();
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .sum()
    });
    assert_eq!(served, 2);
    for answer in refused.read(Vec::clone) {
        answer.is_refused(503, "Overloaded");
        assert_eq!(answer.field("retry-after"), Some("1"));
    }
    proxy.get("/").is_the_upstreams(200);
}

#[test]
fn connections_past_the_limit_wait_for_their_turn() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).with("limits.connections", 1).start();
    let mut first = proxy.connect();
    first.send(proxy::get("/")).answer().is_the_upstreams(200);
    let mut second = proxy.connect();
    second.send(proxy::get("/second"));
    first
        .send(proxy::get("/first"))
        .answer()
        .is_the_upstreams(200);
    assert!(
        !origin
            .requests()
            .iter()
            .any(|r| r.request() == "GET /second")
    );
    drop(first);
    second.answer().is_the_upstreams(200);
}

#[test]
fn a_limit_of_one_connection_serves_one_after_the_other_on_every_listener() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin)
        .with("limits.connections", 1)
        .with("workers", 2)
        .start();
    for _ in 0..8 {
        let mut client = proxy.connect();
        let request = "GET / HTTP/1.1\r\nHost: proxy.localhost\r\nConnection: close\r\n\r\n";
        let answer = client.send(request).until_closed();
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
}
