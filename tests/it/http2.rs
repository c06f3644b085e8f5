//! HTTP/2 on both sides, with prior knowledge.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::support::{
    http2::{self, Reply, get},
    idp, origin, proxy,
    proxy::with_fields,
};

#[test]
fn a_call_over_http2_arrives_over_http1_with_our_token() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let proxy = proxy::to(&origin).injecting(&idp).start();
    let request = Request::post("http://proxy.localhost/imodels?a=b%20c")
        .header("cookie", "a=b")
        .header("cookie", "c=d")
        .header("x-odd", "1")
        .body(Full::new(Bytes::from_static(b"{}")))
        .unwrap();
    let answer = proxy.connect_http2().send(request);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.bytes(), "hello");
    let request = origin.request();
    assert_eq!(request.start_line(), "POST /imodels?a=b%20c HTTP/1.1");
    assert_eq!(request.field("cookie"), Some("a=b; c=d"));
    assert_eq!(request.field("authorization"), Some("Bearer token-1"));
    assert_eq!(
        request.field("host"),
        Some(origin.address.to_string().as_str())
    );
    assert_eq!(request.body, b"{}");
}

#[test]
fn authority_and_host_must_agree() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).route("hosts", "proxy.localhost").start();
    let client = proxy.connect_http2();
    let asking = |authority: &str, host: Option<&str>| {
        let mut request = get(&format!("http://{authority}/"));
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        client.send(request).status
    };
    assert_eq!(asking("proxy.localhost", None), 200);
    assert_eq!(asking("PROXY.localhost", Some("proxy.localhost")), 200);
    assert_eq!(asking("proxy.localhost", Some("other.test")), 400);
    assert_eq!(asking("other.test", Some("proxy.localhost")), 400);
    assert_eq!(asking("other.test", None), 404);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_refusal_over_http2_is_the_same_json() {
    let proxy = proxy::to_url(&format!("http://{}", origin::nobody())).start();
    let answer = proxy.connect_http2().send(get("http://proxy.localhost/"));
    assert_eq!(answer.status, 502);
    assert!(answer.headers.contains_key("proxy-status"));
    let body: serde_json::Value = serde_json::from_slice(&answer.bytes()).unwrap();
    assert_eq!(body["error"]["code"], "UpstreamUnreachable");
}

#[test]
fn an_upstream_that_speaks_http2_gets_authority_token_and_no_fields_of_http1() {
    let origin = http2::answering([http2::ok("hello")]);
    let idp = idp::issuing();
    let proxy = proxy::to_url(&origin.url())
        .injecting(&idp)
        .route("upstream.protocol", "http2")
        .start();
    let fields = "Connection: keep-alive, x-hop\r\nX-Hop: a\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\nX-End: b\r\n";
    let request = with_fields("POST", "/a?b", fields) + "3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n";
    let answer = proxy.send(request);
    answer.is_the_upstreams(200);
    assert_eq!(answer.text(), "hello");
    let arrived = origin.requests().remove(0);
    let url = url::Url::parse(&origin.url()).unwrap();
    let authority = arrived.head.uri.authority().unwrap();
    assert_eq!(authority.port_u16(), url.port());
    assert_eq!(arrived.head.uri.path_and_query().unwrap(), "/a?b");
    assert_eq!(arrived.head.headers["authorization"], "Bearer token-1");
    assert_eq!(arrived.head.headers["x-end"], "b");
    for gone in [
        "connection",
        "x-hop",
        "keep-alive",
        "transfer-encoding",
        "upgrade",
    ] {
        assert!(!arrived.head.headers.contains_key(gone), "{gone}");
    }
    assert_eq!(arrived.body, "abc");
    assert_eq!(arrived.trailers.unwrap()["x-sum"], "6");
}

#[test]
fn a_grpc_call_keeps_its_trailers_and_te() {
    let reply = Reply {
        status: 200,
        fields: vec![("content-type", "application/grpc")],
        body: "\0\0\0\0\u{2}hi",
        trailers: vec![("grpc-status", "0"), ("grpc-message", "fine")],
    };
    let origin = http2::answering([reply]);
    let idp = idp::issuing();
    let proxy = proxy::to_url(&origin.url())
        .injecting(&idp)
        .route("upstream.protocol", "http2")
        .start();
    let request = Request::post("http://proxy.localhost/pkg.Service/Method")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(Full::new(Bytes::from_static(b"\0\0\0\0\x01x")))
        .unwrap();
    let answer = proxy.connect_http2().send(request);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(answer.trailers().unwrap()["grpc-message"], "fine");
    assert_eq!(answer.bytes(), "\0\0\0\0\u{2}hi");
    let arrived = origin.requests().remove(0);
    assert_eq!(arrived.head.headers["te"], "trailers");
    assert_eq!(arrived.body, &b"\0\0\0\0\x01x"[..]);
}

#[test]
fn a_refused_token_is_replaced_over_http2_too() {
    let refused = Reply {
        status: 401,
        ..Reply::default()
    };
    let origin = http2::answering([refused, http2::ok("hello")]);
    let idp = idp::issuing();
    let proxy = proxy::to_url(&origin.url())
        .injecting(&idp)
        .route("upstream.protocol", "http2")
        .start();
    let request = Request::post("http://proxy.localhost/")
        .body(Full::new(Bytes::from_static(b"body")))
        .unwrap();
    let answer = proxy.connect_http2().send(request);
    assert_eq!(answer.status, 200);
    let arrived = origin.requests();
    let tokens: Vec<_> = arrived
        .iter()
        .map(|a| a.head.headers["authorization"].clone())
        .collect();
    assert_eq!(tokens, ["Bearer token-1", "Bearer token-2"]);
    assert!(arrived.iter().all(|a| a.body == "body"));
}

#[test]
fn an_upstream_without_http2_where_the_route_asks_for_it_is_a_502() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin)
        .route("upstream.protocol", "http2")
        .start();
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 502, "{}", answer.head);
    assert!(answer.field("proxy-status").is_some());
}

#[test]
fn many_calls_at_once_share_a_connection() {
    let origin = http2::answering([http2::ok("hello")]);
    let idp = idp::issuing();
    let proxy = proxy::to_url(&origin.url())
        .injecting(&idp)
        .route("upstream.protocol", "http2")
        .start();
    let client = proxy.connect_http2();
    let answers = client.send_all((0..200).map(|n| get(&format!("http://proxy.localhost/{n}"))));
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(origin.requests().len(), 200);
    assert_eq!(idp.requests().len(), 1);
}
