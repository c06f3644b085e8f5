//! Gateways that ask whether a request may pass.

use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Client},
    issuer::{self, Issuer, Pair},
    origin,
    proxy::{self, Proxy},
};

/// Only a listener for decisions, and two routes without an upstream.
fn deciding(gateway: &str, issuer: &Issuer) -> Proxy {
    let origin = origin::answering([origin::ok("never asked")]);
    let bearer = json!([{"bearer": {"audiences": ["api"], "scopes": ["write"]}}]);
    proxy::to(&origin)
        .with("listeners", json!([{"bind": "127.0.0.1:0", "mode": "decide", "gateway": gateway}]))
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .with(
            "routes",
            json!([
                {"name": "open", "path": "/public/**", "admit": "anyone"},
                {"name": "api", "methods": "GET, PUT", "hosts": "api.example", "path": "/imodels/**", "admit": bearer},
            ]),
        )
        .start()
}

fn ask(proxy: &Proxy, fields: &str) -> Answer {
    proxy.send(format!(
        "GET /auth HTTP/1.1\r\nHost: proxy.internal\r\n{fields}\r\n"
    ))
}

fn nginx(method: &str, path: &str, more: &str) -> String {
    format!(
        "X-Original-Method: {method}\r\nX-Original-Proto: https\r\nX-Original-Host: api.example\r\n\
         X-Original-URI: {path}\r\n{more}"
    )
}

fn token(key: &Pair, issuer: &Issuer, changes: &Value) -> String {
    let token = key.token(&issuer.claims(changes));
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn a_gateway_is_told_yes_or_what_the_caller_lacks() {
    let key = Pair::new("k");
    let issuer = issuer::serving(&[&key]);
    let proxy = deciding("nginx", &issuer);
    let good = token(&key, &issuer, &json!({"scope": "write"}));
    let yes = ask(&proxy, &nginx("PUT", "/imodels/1?x=%2F", &good));
    assert_eq!(yes.status(), 200, "{}", yes.head);
    assert_eq!(yes.text(), "");
    assert_eq!(yes.field("cache-control"), Some("no-store"));
    assert_eq!(ask(&proxy, &nginx("GET", "/public/x", "")).status(), 200);

    let refused = ask(&proxy, &nginx("GET", "/imodels", ""));
    refused.is_refused(401, "TokenMissing");
    assert!(
        refused
            .field("www-authenticate")
            .unwrap()
            .starts_with("Bearer ")
    );
    let poor = token(&key, &issuer, &json!({"scope": "read"}));
    let refused = ask(&proxy, &nginx("GET", "/imodels", &poor));
    refused.is_refused(403, "InsufficientScope");
    let late = token(&key, &issuer, &json!({"exp": 1}));
    ask(&proxy, &nginx("GET", "/imodels", &late)).is_refused(401, "TokenExpired");
    // nginx knows 401 and 403, and would answer 500 for anything else
    ask(&proxy, &nginx("DELETE", "/imodels", &good)).is_refused(403, "RouteNotFound");
    ask(&proxy, &nginx("GET", "/imodels?access_token=x", "")).is_refused(403, "TokenInQuery");
    ask(&proxy, &nginx("GET", "/imodels/%2e%2e/x", &good)).is_refused(403, "AmbiguousPath");
    ask(&proxy, &nginx("TRACE", "/imodels", &good)).is_refused(403, "MethodRefused");
}

#[test]
fn a_question_that_describes_no_request_is_the_gateways_fault() {
    let key = Pair::new("k");
    let issuer = issuer::serving(&[&key]);
    let proxy = deciding("nginx", &issuer);
    let refused = ask(&proxy, "X-Original-Method: GET\r\n");
    refused.is_refused(500, "Undescribed");
    assert!(
        refused.text().contains("x-original-proto is missing"),
        "{}",
        refused.text()
    );
    // what a caller may have sent through a gateway of another kind
    let forged = "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /public/x\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: api.example\r\n";
    ask(&proxy, forged).is_refused(500, "Undescribed");
    ask(&proxy, &nginx("GET", "/imodels", forged)).is_refused(401, "TokenMissing");
    let twice = nginx("GET", "/imodels", "X-Original-URI: /public/x\r\n");
    ask(&proxy, &twice).is_refused(500, "Undescribed");
}

#[test]
fn the_gateways_own_address_admits_nobody() {
    let key = Pair::new("k");
    let issuer = issuer::serving(&[&key]);
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin)
        .with(
            "listeners",
            json!([
                {"bind": "127.0.0.1:0", "mode": "decide", "gateway": "nginx"},
                {"bind": "127.0.0.1:0"},
            ]),
        )
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .route(
            "admit",
            json!([{"networks": "0.0.0.0/0, ::/0"}, {"bearer": {"audiences": ["api"]}}]),
        )
        .start();
    ask(&proxy, &nginx("GET", "/", "")).is_refused(401, "TokenMissing");
    let good = token(&key, &issuer, &json!({}));
    assert_eq!(ask(&proxy, &nginx("GET", "/", &good)).status(), 200);
    assert!(origin.requests().is_empty());
    let direct = proxy.listener(1).parse().unwrap();
    let request = proxy::get("/");
    Client::connect(direct)
        .send(request)
        .answer()
        .is_the_upstreams(200);
}

#[test]
fn other_gateways_ask_in_their_own_way() {
    let key = Pair::new("k");
    let issuer = issuer::serving(&[&key]);
    let good = token(&key, &issuer, &json!({"scope": "write"}));

    let proxy = deciding("traefik", &issuer);
    let about = |uri: &str| {
        format!(
            "X-Forwarded-Method: PUT\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: api.example\r\n\
             X-Forwarded-Uri: {uri}\r\nX-Forwarded-For: 10.0.0.1\r\n{good}"
        )
    };
    assert_eq!(ask(&proxy, &about("/imodels/1")).status(), 200);
    ask(&proxy, &about("/other")).is_refused(404, "RouteNotFound");

    let proxy = deciding("ingress_nginx", &issuer);
    let about = |url: &str| format!("X-Original-Method: GET\r\nX-Original-URL: {url}\r\n{good}");
    assert_eq!(
        ask(&proxy, &about("https://api.example/imodels/1")).status(),
        200
    );
    ask(&proxy, &about("https://other.example/imodels/1")).is_refused(403, "RouteNotFound");
    ask(&proxy, &about("/imodels/1")).is_refused(500, "Undescribed");

    let proxy = deciding("envoy", &issuer);
    let itself = |path: &str| {
        proxy
            .send(format!(
                "GET {path} HTTP/1.1\r\nHost: api.example\r\n{good}\r\n"
            ))
            .status()
    };
    assert_eq!(itself("/imodels/1"), 200);
    assert_eq!(itself("/other"), 404);
}

#[test]
fn nothing_passes_that_the_gateway_would_send_on_as_ours() {
    let key = Pair::new("k");
    let issuer = issuer::serving(&[&key]);
    let proxy = deciding("traefik", &issuer);
    let good = token(&key, &issuer, &json!({"scope": "write", "sub": "ann"}));
    let about = |more: &str| {
        format!(
            "X-Forwarded-Method: PUT\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: api.example\r\n\
             X-Forwarded-Uri: /imodels/1\r\n{good}{more}"
        )
    };
    for field in [
        "X_Itwin_Subject",
        "x-itwin_subject",
        "X.Itwin.Caller",
        "x_itwin-email",
    ] {
        let refused = ask(&proxy, &about(&format!("{field}: root\r\n")));
        refused.is_refused(400, "AmbiguousField");
        let told = field.to_ascii_lowercase();
        assert!(refused.text().contains(&told), "{}", refused.text());
    }
    // by its exact name the gateway replaces it with what we say
    let yes = ask(&proxy, &about("X-Itwin-Subject: root\r\n"));
    assert_eq!(yes.status(), 200, "{}", yes.head);
    assert_eq!(yes.field("x-itwin-subject"), Some("ann"));
    assert_eq!(yes.field("x-itwin-email"), Some(""));
}

#[test]
fn a_token_that_nobody_checked_does_not_pass_by_another_rule() {
    let key = Pair::new("k");
    let issuer = issuer::serving(&[&key]);
    let origin = origin::answering([origin::ok("never asked")]);
    let rules = json!([
        {"key": {"header": "x-api-key", "secret": "a key that nobody guesses"}},
        {"bearer": {"audiences": ["api"]}},
    ]);
    let proxy = proxy::to(&origin)
        .with(
            "listeners",
            json!([{"bind": "127.0.0.1:0", "mode": "decide", "gateway": "nginx"}]),
        )
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .with("routes", json!([{"admit": rules}]))
        .start();
    let keyed = "X-Api-Key: a key that nobody guesses\r\n";
    assert_eq!(ask(&proxy, &nginx("GET", "/", keyed)).status(), 200);
    let forged = nginx(
        "GET",
        "/",
        &format!("{keyed}Authorization: Bearer forged\r\n"),
    );
    ask(&proxy, &forged).is_refused(403, "TokenNotChecked");
    let basic = nginx("GET", "/", &format!("{keyed}Authorization: Basic eDp5\r\n"));
    assert_eq!(ask(&proxy, &basic).status(), 200);
}
