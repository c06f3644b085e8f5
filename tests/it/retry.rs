//! A reused connection that turns out to be dead.

use crate::support::{
    client::Client,
    origin::{self, Origin},
    proxy,
    proxy::{Proxy, get, with_body, with_fields},
    wait::Gate,
};

/// Answers once on the first connection and then does what `then` says; later connections are good.
fn dying(then: fn(origin::Connection)) -> Origin {
    origin::serving(move |mut connection| {
        connection.request();
        connection.send(origin::ok("first"));
        if connection.number == 0 {
            then(connection);
            return;
        }
        while connection.request().is_some() {
            connection.send(origin::ok("again"));
        }
    })
}

/// A proxy, and a caller on whose thread a connection to the origin is idle.
fn warmed(origin: &Origin) -> (Proxy, Client) {
    let proxy = proxy::to(origin).start();
    let mut client = proxy.connect();
    assert_eq!(client.send(get("/warm")).answer().text(), "first");
    (proxy, client)
}

#[test]
fn a_connection_closed_while_idle_costs_no_call() {
    let closed = Gate::default();
    let shut = closed.clone();
    let origin = origin::serving(move |mut connection| {
        connection.request();
        connection.send(origin::ok("first"));
        if connection.number == 0 {
            connection.close();
            shut.open();
        } else {
            connection.request();
        }
    });
    let (_proxy, mut client) = warmed(&origin);
    closed.pass();
    let request = with_body("POST", "/create", "body");
    assert_eq!(client.send(request).answer().text(), "first");
    let created: Vec<_> = origin
        .requests()
        .into_iter()
        .filter(|r| r.request() == "POST /create")
        .collect();
    assert_eq!(created.len(), 1);
    assert_eq!(created[0].body, b"body");
}

#[test]
fn a_get_that_dies_on_a_reused_connection_is_sent_once_more() {
    for method in ["GET", "PUT", "DELETE", "HEAD"] {
        let origin = dying(|mut connection| {
            connection.head();
            connection.close();
        });
        let (_proxy, mut client) = warmed(&origin);
        let answer = client.send(with_fields(method, "/x", "")).head();
        assert_eq!(answer.status(), 200, "{method} {}", answer.head);
        let sent = origin
            .requests()
            .iter()
            .filter(|r| r.request() == format!("{method} /x"))
            .count();
        assert_eq!(sent, 2);
    }
}

#[test]
fn a_post_that_the_upstream_may_have_read_is_never_sent_again() {
    for method in ["POST", "PATCH"] {
        for body in ["", "body"] {
            let origin = dying(|mut connection| {
                connection.request();
                connection.close();
            });
            let (_proxy, mut client) = warmed(&origin);
            client
                .send(with_body(method, "/x", body))
                .answer()
                .is_refused(502, "UpstreamBroken");
            let sent = origin
                .requests()
                .iter()
                .filter(|r| r.request() == format!("{method} /x"))
                .count();
            assert_eq!(sent, 1, "{method} {body:?}");
        }
    }
}

#[test]
fn a_call_that_dies_twice_is_a_502() {
    let origin = origin::serving(|mut connection| {
        let first = connection.request();
        if first.is_some_and(|first| first.request() == "GET /warm") {
            connection.send(origin::ok("first"));
            connection.request();
        }
        connection.close();
    });
    let (_proxy, mut client) = warmed(&origin);
    client
        .send(get("/x"))
        .answer()
        .is_refused(502, "UpstreamBroken");
    let sent = origin
        .requests()
        .iter()
        .filter(|r| r.request() == "GET /x")
        .count();
    assert_eq!(sent, 2);
}

#[test]
fn an_answer_that_has_begun_is_never_begun_again() {
    let origin = dying(|mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        connection.close();
    });
    let (_proxy, mut client) = warmed(&origin);
    let answer = client.send(get("/x")).answer();
    assert!(answer.cut);
    assert_eq!(answer.body, b"abc");
    assert_eq!(origin.requests().len(), 2);
}
