//! Listeners other than plain TCP: TLS, certificates of callers, Unix sockets.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::json;

use crate::support::{
    certificates::{Authority, Issued},
    client::Client,
    idp, origin,
    origin::Origin,
    proxy::{self, Builder, get},
    wire,
};

fn behind_tls(origin: &Origin, server: &Issued, more: &serde_json::Value) -> Builder {
    let mut tls = json!({"certificate": server.certificate, "key": server.key});
    for (key, value) in more.as_object().unwrap() {
        tls[key] = value.clone();
    }
    proxy::to(origin).with("listeners", json!([{"bind": "127.0.0.1:0", "tls": tls}]))
}

#[test]
fn a_caller_speaks_tls_and_links_lead_back_over_it() {
    let (origin, authority) = (
        origin::serving(|mut connection| {
            while let Some(request) = connection.request() {
                let us = request.field("host").unwrap();
                let fields = format!("Location: http://{us}/imodels/1\r\n");
                connection.send(origin::answer("201 Created", &fields, ""));
            }
        }),
        Authority::new(),
    );
    let proxy = behind_tls(&origin, &authority.issue("localhost"), &json!({})).start();
    let tls = wire::tls(proxy.address, authority.client(None, &["http/1.1"])).unwrap();
    let answer = Client::over(tls).send(get("/")).answer();
    answer.is_the_upstreams(201);
    assert_eq!(
        answer.field("location"),
        Some("https://proxy.localhost/imodels/1")
    );
}

#[test]
fn alpn_settles_the_protocol() {
    use crate::support::wire::Wire;
    let (origin, authority) = (origin::answering([origin::ok("hello")]), Authority::new());
    let proxy = behind_tls(&origin, &authority.issue("localhost"), &json!({})).start();
    for (offered, settled) in [
        (vec!["h2", "http/1.1"], Some("h2")),
        (vec!["http/1.1"], Some("http/1.1")),
        (vec![], None),
    ] {
        let tls = wire::tls(proxy.address, authority.client(None, &offered)).unwrap();
        assert_eq!(tls.protocol().as_deref(), settled);
    }
}

#[test]
fn a_certificate_admits_a_caller_by_its_name() {
    let (origin, authority, idp) = (
        origin::answering([origin::ok("hello")]),
        Authority::new(),
        idp::issuing(),
    );
    let client_ca = json!({"client_ca": authority.file(), "client_certificates": "optional"});
    let rules = json!([{"certificate": {"names": ["agent.example"]}}]);
    let proxy = behind_tls(&origin, &authority.issue("localhost"), &client_ca)
        .injecting(&idp)
        .route("admit", rules)
        .start();
    let call = |shows: Option<&Issued>| {
        let tls = wire::tls(proxy.address, authority.client(shows, &[])).unwrap();
        Client::over(tls).send(get("/")).answer()
    };
    call(None).is_refused(403, "NotAdmitted");
    call(Some(&authority.issue("other.example"))).is_refused(403, "NotAdmitted");
    call(Some(&authority.issue("agent.example"))).is_the_upstreams(200);
}

#[test]
fn a_caller_without_the_certificate_that_is_required_gets_no_connection() {
    let (origin, authority) = (origin::answering([origin::ok("hello")]), Authority::new());
    let client_ca = json!({"client_ca": authority.file()});
    let proxy = behind_tls(&origin, &authority.issue("localhost"), &client_ca).start();
    let stranger = Authority::new().issue("agent.example");
    for shows in [None, Some(&stranger)] {
        // in TLS 1.3 the client is done before the server has looked
        if let Ok(tls) = wire::tls(proxy.address, authority.client(shows, &[])) {
            assert!(Client::over(tls).send(get("/")).until_closed().is_empty());
        }
    }
    assert!(origin.requests().is_empty());
    let known = authority.issue("agent.example");
    let tls = wire::tls(proxy.address, authority.client(Some(&known), &[])).unwrap();
    Client::over(tls)
        .send(get("/"))
        .answer()
        .is_the_upstreams(200);
}

#[test]
fn a_caller_that_speaks_no_tls_is_not_served() {
    let (origin, authority) = (origin::answering([origin::ok("hello")]), Authority::new());
    let proxy = behind_tls(&origin, &authority.issue("localhost"), &json!({})).start();
    let answer = proxy.connect().send(get("/")).until_closed();
    assert!(!answer.starts_with(b"HTTP/1.1 2"));
    assert!(origin.requests().is_empty());
}

#[test]
fn a_unix_socket_has_the_mode_that_was_asked_for_and_admits_by_user() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let own = fs::metadata(directory.path()).unwrap();
    let own = std::os::unix::fs::MetadataExt::uid(&own);
    for (uid, admitted) in [(own, true), (own + 1, false)] {
        let (origin, idp) = (origin::answering([origin::ok("hello")]), idp::issuing());
        let bind = format!("unix:{}", path.display());
        let _proxy = proxy::to(&origin)
            .injecting(&idp)
            .with("listeners", json!([{"bind": bind, "socket_mode": "0660"}]))
            .route("admit", json!([{"uids": [uid]}]))
            .start();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let answer = Client::over(wire::unix(&path)).send(get("/")).answer();
        if admitted {
            answer.is_the_upstreams(200);
            assert_eq!(
                origin.request().field("authorization"),
                Some("Bearer token-1")
            );
        } else {
            answer.is_refused(403, "NotAdmitted");
        }
    }
}
