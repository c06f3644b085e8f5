//! Upstreams that answer before they have the whole request.

use std::{io::Write, sync::mpsc, thread};

use crate::support::{
    client::Client,
    origin,
    proxy::{self, get},
    wait::Gate,
};

/// A body whose end looks like a request.
const BODY: &str =
    "the beginning, GET /smuggled HTTP/1.1\r\nhost: 127.0.0.1\r\nx-from: the body\r\n\r\n";

#[test]
fn the_rest_of_a_body_is_never_taken_for_a_request() {
    let (bodies, body) = mpsc::channel();
    let origin = origin::serving(move |mut connection| {
        while let Some(request) = connection.head() {
            if request.request() == "GET /clock" {
                connection.until_closed();
                return;
            }
            connection.send(origin::answer("404 Not Found", "", "no"));
            // the test may be over
            let _ = bodies.send(connection.body(&request));
        }
    });
    let proxy = proxy::to(&origin)
        .route("timeouts.response", "2500ms")
        .start();
    let (begin, rest) = BODY.split_at(15);
    let mut client = proxy.connect();
    let head = proxy::with_fields(
        "POST",
        "/first",
        &format!("content-length: {}\r\n", BODY.len()),
    );
    client.send([head.as_bytes(), begin.as_bytes()].concat());
    assert_eq!(client.answer().status(), 404);
    // long enough for a quiet connection to be parked: a request that takes its time says when
    proxy.get("/clock").is_refused(504, "UpstreamTimeout");
    client.send(rest);
    client.send(get("/second"));
    assert_eq!(client.answer().status(), 404);
    let mut asked: Vec<String> = origin
        .requests()
        .iter()
        .map(|request| request.request().to_owned())
        .collect();
    asked.sort();
    assert_eq!(asked, ["GET /clock", "GET /second", "POST /first"]);
    let bodies = [body.recv().unwrap(), body.recv().unwrap()];
    assert!(bodies.contains(&BODY.into()), "{bodies:?}");
}

#[test]
fn an_upstream_that_takes_nothing_of_a_body_is_a_504() {
    let gate = Gate::default();
    let closed = gate.clone();
    let origin = origin::serving(move |mut connection| {
        connection.head();
        // reads no more
        closed.pass();
    });
    let proxy = proxy::to(&origin).route("timeouts.idle", "300ms").start();
    let (mut client, mut sender) = Client::connect_for_two(proxy.address);
    let length = 60 << 20;
    let head = proxy::with_fields("POST", "/", &format!("content-length: {length}\r\n"));
    // all of it is there before the head goes: a body that does not come is another error
    let mut request = head.into_bytes();
    request.resize(request.len() + length, b'x');
    // ends when the proxy closes
    let sending = thread::spawn(move || drop(sender.write_all(&request)));
    client.answer().is_refused(504, "UpstreamTimeout");
    drop(client);
    drop(proxy);
    sending.join().unwrap();
    gate.open();
}
