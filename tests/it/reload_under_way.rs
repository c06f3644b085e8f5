//! What is under way while another configuration takes the place of the one that runs.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::support::{
    certificates::Authority,
    client::Client,
    http2, idp,
    origin::{self, Origin},
    proxy::{self, Proxy, get, with_fields},
    wait::{self, Gate},
    wire,
};

const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Answers with this text when the gate is open; a WebSocket sends back what comes, to its end.
fn gated(gate: &Gate, text: &'static str) -> Origin {
    let gate = gate.clone();
    origin::serving(move |mut connection| {
        while let Some(request) = connection.head() {
            if request.field("upgrade").is_some() {
                connection.send(SWITCHED);
                loop {
                    let some = connection.exactly(4);
                    if some == b"end." {
                        return connection.close();
                    }
                    connection.send(some);
                }
            }
            if request.request() == "GET /long" {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst");
                gate.pass();
                connection.send("later");
                continue;
            }
            connection.body(&request);
            gate.pass();
            connection.send(origin::ok(text));
        }
    })
}

fn applied(proxy: &Proxy, change: impl FnOnce(&mut Value)) {
    let said = proxy.reload(change);
    assert_eq!(
        said.as_ref().map(|said| &said["result"]).ok(),
        Some(&json!("applied")),
        "{said:?}"
    );
}

fn to_other(other: &Origin) -> impl Fn(&mut Value) {
    let url = other.url();
    move |config| config["routes"][0]["upstream"]["url"] = url.clone().into()
}

#[test]
fn streams_of_http2_are_answered_over_a_reload_and_their_connection_goes_on() {
    let gate = Gate::default();
    let (one, other) = (
        gated(&gate, "one"),
        origin::answering([origin::ok("other")]),
    );
    let proxy = proxy::to(&one).start();
    let client = proxy.connect_http2();
    let streams = (0..20).map(|n| http2::get(&format!("http://proxy.localhost/{n}")));
    thread::scope(|scope| {
        let answers = scope.spawn(|| client.send_all(streams));
        one.wait_for(20);
        applied(&proxy, to_other(&other));
        let next = client.send(http2::get("http://proxy.localhost/next"));
        assert_eq!(next.bytes(), "other");
        gate.open();
        for answer in answers.join().unwrap() {
            assert_eq!(answer.status, 200);
            assert_eq!(answer.bytes(), "one");
        }
    });
    let next = client.send(http2::get("http://proxy.localhost/next"));
    assert_eq!(next.bytes(), "other");
    assert_eq!(proxy.open(), 1, "it is the same connection");
}

#[test]
fn a_web_socket_a_tunnel_and_slow_bodies_outlive_a_reload() {
    let gate = Gate::default();
    let (one, other) = (
        gated(&gate, "one"),
        origin::answering([origin::ok("other")]),
    );
    let far = origin::serving(|mut connection| {
        loop {
            let some = connection.exactly(4);
            if some == b"end." {
                return connection.close();
            }
            connection.send(some);
        }
    });
    let listeners = json!([
        {"bind": "127.0.0.1:0"},
        {"bind": "127.0.0.1:0", "mode": "forward", "hosts": ["127.0.0.1"],
            "ports": [far.address.port()], "networks": ["127.0.0.0/8"]},
    ]);
    let proxy = proxy::to(&one).with("listeners", listeners).start();
    let mut socket = proxy.connect();
    socket.send(with_fields("GET", "/socket", HANDSHAKE));
    assert_eq!(socket.head().status(), 101);
    let mut tunnel = Client::connect(proxy.listener(1).parse().unwrap());
    tunnel.send(format!(
        "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n",
        far.address
    ));
    assert_eq!(tunnel.head().status(), 200);
    let mut up = proxy.connect();
    up.send(with_fields("POST", "/up", "Content-Length: 10\r\n"))
        .send("first");
    let mut down = proxy.connect();
    down.send(get("/long"));
    assert_eq!(down.head().status(), 200);
    assert_eq!(down.exactly(5), b"first");
    one.wait_for(3);
    for round in 0..3 {
        applied(&proxy, |config| {
            config["routes"][0]["timeouts"] = json!({"response": format!("{}s", 10 + round)});
            to_other(&other)(config);
            // connections are served by other limits then: all but what is no message ends soon
            config["limits"] =
                json!({"idle_timeout": format!("{}s", 60 + round), "drain_timeout": "1ms"});
        });
        for opened in [&mut socket, &mut tunnel] {
            assert_eq!(opened.send("ping").exactly(4), b"ping", "after {round}");
        }
    }
    gate.open();
    let answer = up.send("later").answer();
    assert_eq!(answer.text(), "one");
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(
        one.requests()
            .iter()
            .filter(|r| r.request() == "POST /up")
            .count(),
        1
    );
    assert_eq!(down.exactly(5), b"later");
    for opened in [&mut socket, &mut tunnel] {
        assert!(opened.send("end.").until_closed().is_empty());
    }
}

#[test]
fn a_web_socket_ends_with_its_listener_though_limits_have_changed_since() {
    let gate = Gate::default();
    let one = gated(&gate, "one");
    let two = json!([{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0"}]);
    let proxy = proxy::to(&one).with("listeners", two).start();
    let mut socket = Client::connect(proxy.listener(1).parse().unwrap());
    socket.send(with_fields("GET", "/socket", HANDSHAKE));
    assert_eq!(socket.head().status(), 101);
    let limits = json!({"drain_timeout": "1ms"});
    applied(&proxy, |config| config["limits"] = limits.clone());
    assert_eq!(socket.send("ping").exactly(4), b"ping");
    applied(&proxy, |config| {
        config["limits"] = limits.clone();
        config["listeners"].as_array_mut().unwrap().pop();
    });
    assert!(socket.until_closed().is_empty());
}

/// Reads frames (RFC 9113 section 4.1) until there is a GOAWAY.
fn until_goaway(stream: &mut TcpStream) {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).unwrap();
        if head[3] == 7 {
            return;
        }
    }
}

#[test]
fn a_listener_that_goes_finishes_what_is_under_way_and_says_that_it_is_the_last() {
    let gate = Gate::default();
    let one = gated(&gate, "one");
    let two = json!([{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0"}]);
    let proxy = proxy::to(&one).with("listeners", two).start();
    let goes = proxy.listener(1).parse().unwrap();
    let (mut stays, mut last, mut idle) = (
        proxy.connect(),
        Client::connect(goes),
        Client::connect(goes),
    );
    let multiplexed = http2::Client::connect(goes);
    let mut silent = wire::tcp(goes);
    // an empty SETTINGS
    silent
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    stays.send(get("/stays"));
    last.send(get("/last"));
    thread::scope(|scope| {
        let streams = (0..5).map(|n| http2::get(&format!("http://proxy.localhost/{n}")));
        let answers = scope.spawn(|| multiplexed.send_all(streams));
        one.wait_for(7);
        applied(&proxy, |config| {
            config["listeners"].as_array_mut().unwrap().pop();
        });
        assert!(idle.until_closed().is_empty());
        until_goaway(&mut silent);
        gate.open();
        let answer = last.answer();
        answer.is_the_upstreams(200);
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(last.until_closed().is_empty());
        for answer in answers.join().unwrap() {
            assert_eq!(answer.status, 200);
            assert_eq!(answer.headers.get("connection"), None, "GOAWAY says it");
        }
    });
    wait::until("it is closed", || multiplexed.is_closed());
    let answer = stays.answer();
    answer.is_the_upstreams(200);
    assert_eq!(answer.field("connection"), None, "its listener stays");
    stays.send(get("/stays")).answer().is_the_upstreams(200);
}

/// True when this goes, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks again and again until `over`, each connection to its last answer.
fn never_pausing(
    over: &AtomicBool,
    asked: &AtomicUsize,
    connect: impl Fn() -> Client,
    request: &str,
) {
    let mut kept = connect();
    while !over.load(Ordering::Relaxed) {
        let answer = kept.send(request).answer();
        answer.is_the_upstreams(200);
        if answer.field("connection").is_some() {
            kept = connect();
        }
        asked.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_hundred_reloads_cost_nobody_a_request() {
    let origins = [
        origin::answering([origin::ok("a")]),
        origin::answering([origin::ok("b")]),
    ];
    let proxy = proxy::to(&origins[0]).start();
    let (asked, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| never_pausing(&over, &asked, || proxy.connect(), &get("/")));
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                proxy.get("/").is_the_upstreams(200);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            let client = proxy.connect_http2();
            while !over.load(Ordering::Relaxed) {
                let two = [
                    http2::get("http://proxy.localhost/a"),
                    http2::get("http://proxy.localhost/b"),
                ];
                assert!(
                    client
                        .send_all(two)
                        .iter()
                        .all(|answer| answer.status == 200)
                );
                asked.fetch_add(2, Ordering::Relaxed);
            }
        });
        let _over = Over(&over);
        for round in 0..100 {
            applied(&proxy, to_other(&origins[(round + 1) % 2]));
            let before = asked.load(Ordering::Relaxed);
            wait::until("they ask", || asked.load(Ordering::Relaxed) > before + 4);
        }
    });
    assert_eq!(proxy.get("/").text(), "a");
}

#[test]
fn callers_of_a_forward_proxy_lose_nothing_while_its_limits_change() {
    let origin = origin::answering([origin::ok("hello")]);
    let forward = json!([{"bind": "127.0.0.1:0", "mode": "forward", "hosts": ["127.0.0.1"],
        "ports": [origin.address.port()], "networks": ["127.0.0.0/8"]}]);
    let proxy = proxy::to(&origin)
        .route("hosts", "api.test")
        .with("listeners", forward)
        .start();
    let (asked, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let passed = format!("GET {}/passed HTTP/1.1\r\nHost: x\r\n\r\n", origin.url());
    let routed = "GET http://api.test/routed HTTP/1.1\r\nHost: x\r\n\r\n";
    thread::scope(|scope| {
        for request in [&passed, routed, &passed, routed] {
            let (asked, over, proxy) = (&asked, &over, &proxy);
            scope.spawn(move || never_pausing(over, asked, || proxy.connect(), request));
        }
        let _over = Over(&over);
        for round in 0..20 {
            applied(&proxy, |config| {
                config["limits"] = json!({"idle_timeout": format!("{}s", 60 + round)});
            });
            let before = asked.load(Ordering::Relaxed);
            wait::until("they ask", || asked.load(Ordering::Relaxed) > before + 20);
        }
    });
}

#[test]
fn a_request_that_waits_for_a_token_has_it_though_route_and_credential_go() {
    let gate = Gate::default();
    let (one, other) = (
        origin::answering([origin::ok("one")]),
        origin::answering([origin::ok("other")]),
    );
    let idp = idp::behind(&gate);
    let proxy = proxy::to(&one)
        .injecting(&idp)
        .with("limits.drain_timeout", "1s")
        .start();
    let mut waits = proxy.connect();
    waits.send(get("/"));
    idp.wait_for(1);
    applied(&proxy, |config| {
        to_other(&other)(config);
        config["routes"][0]
            .as_object_mut()
            .unwrap()
            .remove("inject");
        config["credentials"] = json!({});
    });
    assert_eq!(proxy.get("/").text(), "other");
    gate.open();
    let answer = waits.answer();
    answer.is_the_upstreams(200);
    assert_eq!(answer.text(), "one");
    assert_eq!(one.request().field("authorization"), Some("Bearer token-1"));
    assert_eq!(other.request().field("authorization"), None);
}

#[test]
fn a_secret_that_is_replaced_while_the_old_one_is_being_refused_costs_no_call() {
    let gate = Gate::default();
    let refusing = gate.clone();
    let idp = idp::answering(move |number, request| {
        // `service:new`, in Basic
        if request.field("authorization") == Some("Basic c2VydmljZTpuZXc=") {
            return idp::token(number);
        }
        refusing.pass();
        let why = r#"{"error":"invalid_client"}"#;
        origin::answer(
            "401 Unauthorized",
            "content-type: application/json\r\n",
            why,
        )
    });
    let origin = origin::answering([origin::ok("hello")]);
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    secret.write_all(b"old").unwrap();
    let credential = json!({"provider": "test", "client_id": "service", "scopes": ["itwin-platform"],
        "client_secret_file": secret.path()});
    let proxy = proxy::to(&origin)
        .injecting(&idp)
        .with("credentials.agent", credential)
        .start();
    let mut waits = proxy.connect();
    waits.send(get("/"));
    idp.wait_for(1);
    let next = secret.path().with_extension("next");
    fs::write(&next, "new").unwrap();
    fs::rename(&next, secret.path()).unwrap();
    gate.open();
    waits.answer().is_the_upstreams(200);
    assert_eq!(idp.requests().len(), 2);
}

#[test]
fn what_is_under_way_at_a_listener_that_changes_is_answered_as_it_was_asked() {
    let gate = Gate::default();
    let one = gated(&gate, "one");
    let authority = Authority::new();
    let issued = authority.issue("localhost");
    let proxy = proxy::to(&one)
        .with(
            "listeners",
            json!([{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0"}]),
        )
        .start();
    let [to_tls, to_forward] = [0, 1].map(|n| proxy.listener(n).parse().unwrap());
    let mut under_way = [to_tls, to_forward].map(Client::connect);
    let mut socket = Client::connect(to_tls);
    socket.send(with_fields("GET", "/socket", HANDSHAKE));
    assert_eq!(socket.head().status(), 101);
    for client in &mut under_way {
        client.send(get("/"));
    }
    one.wait_for(3);
    applied(&proxy, |config| {
        config["limits"] = json!({"drain_timeout": "1ms"});
        config["listeners"][0]["tls"] =
            json!({"certificate": issued.certificate, "key": issued.key});
        config["listeners"][1]["mode"] = "forward".into();
    });
    assert!(
        socket.until_closed().is_empty(),
        "nobody may come in like this any more"
    );
    gate.open();
    for client in &mut under_way {
        let answer = client.answer();
        answer.is_the_upstreams(200);
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(client.until_closed().is_empty());
    }
    wait::until("TLS is spoken", || {
        wire::tls(to_tls, authority.client(None, &["http/1.1"])).is_ok()
    });
    let tls = wire::tls(to_tls, authority.client(None, &["http/1.1"])).unwrap();
    Client::over(tls)
        .send(get("/"))
        .answer()
        .is_the_upstreams(200);
    wait::until("calls name their hosts", || {
        let absolute = format!("GET {}/ HTTP/1.1\r\nHost: x\r\n\r\n", one.url());
        Client::connect(to_forward).send(absolute).answer().status() == 200
    });
}
