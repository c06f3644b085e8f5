//! Connections to hosts of others that are opened here.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::json;

use crate::support::{
    certificates::Authority,
    client::Client,
    http2, idp,
    origin::{self, Origin},
    proxy::{self, Builder, Proxy},
    wait, wire,
};

/// A forward listener that opens connections to `api.test`, which a route names, and to
/// `other.test`, which none does.
fn opening(origin: &Origin, idp: &idp::Idp, authority: &Authority) -> Builder {
    let interception = json!({
        "certificate": authority.file(),
        "key": authority.key_file(),
        "hosts": ["api.test", "other.test"],
    });
    proxy::to(origin)
        .injecting(idp)
        .route("hosts", "api.test")
        .with("interception", interception)
        .with(
            "listeners",
            json!([{"bind": "127.0.0.1:0", "mode": "forward"}]),
        )
}

/// A connection that the proxy has agreed to take to `authority`.
fn connected(proxy: &Proxy, authority: &str) -> TcpStream {
    let mut stream = wire::tcp(proxy.address);
    write!(
        stream,
        "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    stream
}

fn opened(
    proxy: &Proxy,
    name: &'static str,
    config: Arc<ClientConfig>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let stream = connected(proxy, &format!("{name}:443"));
    wire::tls_on(stream, name, config).unwrap()
}

#[test]
fn an_opened_connection_is_served_by_the_hosts_route() {
    let origin = origin::answering([origin::ok("hello")]);
    let (idp, authority) = (idp::issuing(), Authority::new());
    let proxy = opening(&origin, &idp, &authority)
        .with("admin.bind", "127.0.0.1:0")
        .start();
    for protocols in [&["http/1.1"][..], &[]] {
        let tls = opened(&proxy, "api.test", authority.client(None, protocols));
        let mut client = Client::over(tls);
        // several requests of one connection
        for _ in 0..3 {
            client.send("GET /imodels?$top=1 HTTP/1.1\r\nHost: api.test\r\n\r\n");
            client.answer().is_the_upstreams(200);
        }
        client.send("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n");
        client.answer().is_refused(421, "Misdirected");
    }
    let metrics = proxy.admin("/metrics").text().to_owned();
    for counted in [
        "cache_requests_total{cache=\"certificates\",result=\"hit\"} 1",
        "cache_requests_total{cache=\"certificates\",result=\"miss\"} 1",
        "cache_entries{cache=\"certificates\"} 1",
    ] {
        assert!(metrics.contains(counted), "{counted} in\n{metrics}");
    }
    let requests = origin.requests();
    assert_eq!(requests.len(), 6);
    for request in requests {
        assert_eq!(request.start_line(), "GET /imodels?$top=1 HTTP/1.1");
        assert!(
            request
                .field("authorization")
                .unwrap()
                .starts_with("Bearer ")
        );
    }
}

#[test]
fn an_opened_connection_speaks_http2() {
    let origin = origin::answering([origin::ok("hello")]);
    let (idp, authority) = (idp::issuing(), Authority::new());
    let proxy = opening(&origin, &idp, &authority).start();
    let stream = connected(&proxy, "api.test:443");
    let config = authority.client(None, &["h2", "http/1.1"]);
    let client = http2::Client::over_tls(stream, "api.test", config);
    let asked = ["/imodels", "/itwins"].map(|path| http2::get(&format!("https://api.test{path}")));
    for answer in client.send_all(asked) {
        assert_eq!(answer.status, 200);
    }
    let elsewhere = client.send(http2::get("https://other.test/"));
    assert_eq!(elsewhere.status, 421);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_host_without_a_route_is_told_so_inside_the_connection() {
    let origin = origin::answering([origin::ok("hello")]);
    let (idp, authority) = (idp::issuing(), Authority::new());
    let proxy = opening(&origin, &idp, &authority).start();
    let tls = opened(&proxy, "other.test", authority.client(None, &["http/1.1"]));
    let mut client = Client::over(tls);
    client.send("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n");
    client.answer().is_refused(404, "RouteNotFound");
    assert!(origin.requests().is_empty());
}

#[test]
fn links_in_an_opened_connection_stay_as_they_are() {
    let origin = origin::serving(|mut connection| {
        while let Some(request) = connection.request() {
            let host = request.field("host").unwrap().to_owned();
            let body = format!("{{\"_links\":{{\"next\":{{\"href\":\"http://{host}/2\"}}}}}}");
            connection.send(origin::json(&body));
        }
    });
    let (idp, authority) = (idp::issuing(), Authority::new());
    let proxy = opening(&origin, &idp, &authority).start();
    let tls = opened(&proxy, "api.test", authority.client(None, &["http/1.1"]));
    let mut client = Client::over(tls);
    client.send("GET /1 HTTP/1.1\r\nHost: api.test\r\n\r\n");
    let next = client.answer().json()["_links"]["next"]["href"].clone();
    assert_eq!(next, "https://api.test/2");
}

#[test]
fn a_caller_that_does_not_trust_the_authority_sends_nothing() {
    let origin = origin::answering([origin::ok("hello")]);
    let (idp, authority, another) = (idp::issuing(), Authority::new(), Authority::new());
    let proxy = opening(&origin, &idp, &authority).start();
    let stream = connected(&proxy, "api.test:443");
    wire::tls_on(stream, "api.test", another.client(None, &[])).unwrap_err();
    assert!(origin.requests().is_empty());
    // the proxy serves on
    let tls = opened(&proxy, "api.test", authority.client(None, &[]));
    let mut client = Client::over(tls);
    client.send("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n");
    client.answer().is_the_upstreams(200);
}

#[test]
fn the_name_that_a_caller_indicates_does_not_choose_the_host() {
    let origin = origin::answering([origin::ok("hello")]);
    let (idp, authority) = (idp::issuing(), Authority::new());
    let proxy = opening(&origin, &idp, &authority).start();
    // agreed on other.test, indicated api.test: the certificate is other.test's
    let stream = connected(&proxy, "other.test:443");
    let refused = wire::tls_on(stream, "api.test", authority.client(None, &[])).unwrap_err();
    assert!(
        refused.to_string().contains("not valid for name"),
        "{refused}"
    );
    assert!(origin.requests().is_empty());
}

#[test]
fn a_caller_that_never_says_hello_is_given_up() {
    let origin = origin::answering([origin::ok("hello")]);
    let (idp, authority) = (idp::issuing(), Authority::new());
    let proxy = opening(&origin, &idp, &authority)
        .with("limits.header_timeout", "100ms")
        .start();
    for beginning in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"] {
        let mut stream = connected(&proxy, "api.test:443");
        stream.write_all(beginning).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
    }
    wait::until("all are gone", || proxy.open() == 0);
    // what is no TLS at all is told so at once
    let mut stream = connected(&proxy, "api.test:443");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
        .unwrap();
    let mut alert = Vec::new();
    stream.read_to_end(&mut alert).unwrap();
    assert_eq!(alert.first(), Some(&0x15), "{alert:?}");
}

#[test]
fn two_hundred_opened_connections_at_once_are_each_served() {
    let origin = origin::answering([origin::ok("hello")]);
    let (idp, authority) = (idp::issuing(), Authority::new());
    let proxy = opening(&origin, &idp, &authority).start();
    let config = authority.client(None, &["http/1.1"]);
    let mut clients: Vec<Client> = (0..200)
        .map(|_| Client::over(opened(&proxy, "api.test", Arc::clone(&config))))
        .collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n");
    }
    for client in &mut clients {
        client.answer().is_the_upstreams(200);
    }
    drop(clients);
    wait::until("all are gone", || proxy.open() == 0);
}

#[test]
fn a_name_that_no_certificate_can_have_is_refused_at_once() {
    let origin = origin::answering([origin::ok("hello")]);
    let (idp, authority) = (idp::issuing(), Authority::new());
    let interception = json!({
        "certificate": authority.file(),
        "key": authority.key_file(),
        "hosts": ["*.test"],
    });
    let builder = opening(&origin, &idp, &authority).with("interception", interception);
    let proxy = builder.start();
    let long = format!("{}.test", "a".repeat(64));
    for name in ["-x.test", "*.test", "x..test", "x-.test", &long] {
        let asked = format!("CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n");
        proxy.send(&asked).is_refused(400, "ConnectTarget");
    }
    for name in ["x.test", "x_y.test", "xn--bcher-kva.test", &long[1..]] {
        connected(&proxy, &format!("{name}:443"));
    }
}

#[test]
fn at_a_port_that_the_listener_does_not_have_nothing_is_opened() {
    let origin = origin::answering([origin::ok("hello")]);
    let (idp, authority) = (idp::issuing(), Authority::new());
    let proxy = opening(&origin, &idp, &authority).start();
    let asked = "CONNECT api.test:8443 HTTP/1.1\r\nHost: api.test:8443\r\n\r\n";
    let refused = proxy.send(asked);
    refused.is_refused(403, "PortNotAllowed");
}
