//! Traces as callers, upstreams and a collector see them.

use serde_json::json;

use crate::support::{
    idp,
    origin::{self, Origin},
    proxy::{self, Builder},
};

const TRACE: &str = "12345678901234567890123456789012";
const PARENT: &str = "1234567890123456";

fn traced(origin: &Origin, collector: &Origin) -> Builder {
    proxy::to(origin).with("telemetry", json!({"otlp": collector.url()}))
}

/// A collector that takes everything.
fn collector() -> Origin {
    origin::serving(|mut connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    })
}

/// `traceparent` in its parts.
fn parts(traceparent: &str) -> [&str; 4] {
    let parts: Vec<_> = traceparent.split('-').collect();
    parts.try_into().unwrap()
}

#[test]
fn a_callers_trace_goes_on_with_a_parent_of_ours_for_each_sending() {
    let (origin, collector) = (origin::answering([origin::ok("hello")]), collector());
    let proxy = traced(&origin, &collector).start();
    let fields = format!(
        "traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: foo=1 , bar=2\r\ntracestate: baz=3\r\n"
    );
    for _ in 0..2 {
        proxy
            .send(proxy::with_fields("GET", "/x", &fields))
            .is_the_upstreams(200);
    }
    let requests = origin.wait_for(2);
    let mut parents = Vec::new();
    for request in &requests {
        let [version, trace, parent, flags] = parts(request.field("traceparent").unwrap());
        assert_eq!((version, trace, flags), ("00", TRACE, "01"));
        assert_eq!(request.all("tracestate"), ["foo=1 , bar=2", "baz=3"]);
        parents.push(parent.to_owned());
    }
    assert!(!parents.contains(&PARENT.to_owned()));
    assert_ne!(parents[0], parents[1]);
}

#[test]
fn what_is_malformed_begins_another_trace_and_goes_no_further() {
    let (origin, collector) = (origin::answering([origin::ok("hello")]), collector());
    let proxy = traced(&origin, &collector).start();
    let good = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n");
    let cases = [
        ("tracestate: foo=1\r\n".to_owned(), false),
        (
            format!("traceparent: 00-{TRACE}-{PARENT}-01.\r\ntracestate: foo=1\r\n"),
            false,
        ),
        (format!("{good}{good}tracestate: foo=1\r\n"), false),
        (format!("{good}tracestate: FOO=1\r\n"), true),
        (format!("{good}Connection: traceparent\r\n"), true),
    ];
    for (n, (fields, continued)) in cases.iter().enumerate() {
        proxy
            .send(proxy::with_fields("GET", "/x", fields))
            .is_the_upstreams(200);
        let request = &origin.wait_for(n + 1)[n];
        let [_, trace, ..] = parts(request.field("traceparent").unwrap());
        assert_eq!(trace == TRACE, *continued, "{fields}");
        assert_eq!(request.all("traceparent").len(), 1, "{fields}");
        assert!(request.all("tracestate").is_empty(), "{fields}");
    }
}

#[test]
fn without_a_collector_what_callers_say_of_their_trace_is_theirs_to_the_byte() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).start();
    let fields = "traceparent: 00-nonsense\r\ntracestate: FOO=1\r\n";
    proxy
        .send(proxy::with_fields("GET", "/x", fields))
        .is_the_upstreams(200);
    proxy.get("/x").is_the_upstreams(200);
    let requests = origin.wait_for(2);
    assert_eq!(requests[0].all("traceparent"), ["00-nonsense"]);
    assert_eq!(requests[0].all("tracestate"), ["FOO=1"]);
    assert!(requests[1].all("traceparent").is_empty());
}

#[test]
fn a_collector_that_is_busy_is_asked_again_and_gets_what_ends_with_the_program() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let collector = origin::answering([
        "HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ]);
    let proxy = traced(&origin, &collector)
        .injecting(&idp)
        .with(
            "telemetry.otlp",
            json!({"endpoint": collector.url(), "headers": {"x-key": "the collector's key"}}),
        )
        .start();
    proxy
        .get("/secret/path?sig=the-signature")
        .is_the_upstreams(200);
    let requests = collector.wait_for(2);
    assert_eq!(requests[0].start_line(), "POST /v1/traces HTTP/1.1");
    assert_eq!(
        requests[0].field("content-type"),
        Some("application/x-protobuf")
    );
    assert_eq!(requests[0].field("x-key"), Some("the collector's key"));
    assert_eq!(requests[0].body, requests[1].body);

    let before = collector.requests().len();
    proxy.get("/last").is_the_upstreams(200);
    drop(proxy);
    let all = collector.requests();
    assert!(
        all.len() > before,
        "the end of the program sends what is left"
    );
    let sent: Vec<u8> = all
        .iter()
        .flat_map(|request| request.body.clone())
        .collect();
    let sent = String::from_utf8_lossy(&sent);
    for expected in [
        "token fetch",
        "token wait",
        "admit",
        "GET",
        "/secret/path",
        "/last",
    ] {
        assert!(sent.contains(expected), "{expected}");
    }
    assert!(!sent.contains("the-signature"), "no value of a query");
    assert!(!sent.contains("token-1"), "no token");
}
