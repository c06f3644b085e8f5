//! Upstreams over TLS: who they are is checked, always.

use serde_json::json;

use crate::support::{
    certificates::Authority,
    idp, origin,
    origin::{Connection, Origin},
    proxy::{self, Builder},
};

fn hello(mut connection: Connection) {
    while connection.request().is_some() {
        connection.send(origin::ok("hello"));
    }
}

/// `https://NAME`, at the origin's address.
fn named(origin: &Origin, name: &str, ca: &str) -> Builder {
    let port = origin.address.port();
    proxy::to_url(&format!("https://{name}:{port}")).route(
        "upstream.tls",
        json!({"extra_ca": ca, "addresses": [origin.address.to_string()]}),
    )
}

#[test]
fn an_upstream_is_believed_when_an_authority_that_we_trust_vouches_for_its_name() {
    let authority = Authority::new();
    let server = authority.issue("api.example");
    let origin = origin::serving_tls(server.server(&["http/1.1"]), hello);
    let idp = idp::issuing();
    let proxy = named(&origin, "api.example", &authority.file())
        .injecting(&idp)
        .start();
    proxy.get("/").is_the_upstreams(200);
    let port = origin.address.port();
    assert_eq!(
        origin.request().field("host"),
        Some(format!("api.example:{port}").as_str())
    );
    assert_eq!(
        origin.request().field("authorization"),
        Some("Bearer token-1")
    );
}

#[test]
fn no_token_goes_to_an_upstream_that_cannot_show_who_it_is() {
    let authority = Authority::new();
    let origin = origin::serving_tls(authority.issue("other.example").server(&[]), hello);
    let idp = idp::issuing();
    // another name
    let proxy = named(&origin, "api.example", &authority.file())
        .injecting(&idp)
        .start();
    proxy.get("/").is_refused(502, "UpstreamTls");
    // another authority
    let stranger = Authority::new();
    let proxy = named(&origin, "other.example", &stranger.file())
        .injecting(&idp)
        .start();
    proxy.get("/").is_refused(502, "UpstreamTls");
    assert!(origin.requests().is_empty());
}
