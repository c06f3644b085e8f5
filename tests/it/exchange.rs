//! The caller's token, exchanged for another that goes on in its place (RFC 8693).

use std::{collections::HashMap, thread};

use itwin_auth_proxy::clock::Clock;
use serde_json::json;

use crate::support::{
    idp::{self, Idp},
    issuer::{self, Issuer, Pair},
    message::Message,
    origin::{self, Origin},
    proxy,
    wait::{Gate, until},
};

fn exchanging(origin: &Origin, issuer: &Issuer, idp: &Idp) -> proxy::Builder {
    let endpoint = format!("{}/token", idp.url());
    let credential = json!({
        "provider": "exchange",
        "grant": "token_exchange",
        "client_id": "proxy",
        "client_secret": "secret",
        "client_auth": "client_secret_post",
        "scopes": "imodels:read",
        "parameters": {"resource": "https://api.example/"},
    });
    proxy::to(origin)
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .with(
            "providers.exchange",
            json!({"issuer": idp.url(), "token_endpoint": endpoint}),
        )
        .with("credentials.exchange", credential)
        .route(
            "admit",
            json!([{"bearer": {"provider": "idp", "audiences": "api"}}]),
        )
        .route("identity", json!({"token": {"exchange": "exchange"}}))
}

fn with_token(token: &str) -> String {
    proxy::with_fields("GET", "/", &format!("Authorization: Bearer {token}\r\n"))
}

fn form(request: &Message) -> HashMap<String, String> {
    let pairs = url::form_urlencoded::parse(&request.body);
    pairs.into_owned().collect()
}

#[test]
fn a_service_gets_the_exchanged_token_and_never_the_callers() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let (issuer, idp) = (issuer::serving(&[&key]), idp::issuing());
    let proxy = exchanging(&origin, &issuer, &idp).start();
    let [ann, bob] = ["ann", "bob"].map(|sub| key.token(&issuer.claims(&json!({"sub": sub}))));
    for (token, expected) in [(&ann, 1), (&ann, 1), (&bob, 2), (&ann, 1), (&bob, 2)] {
        proxy.send(with_token(token)).is_the_upstreams(200);
        let request = origin.requests().pop().unwrap();
        let bearer = format!("Bearer token-{expected}");
        assert_eq!(request.field("authorization"), Some(bearer.as_str()));
    }
    let body = "x".repeat(100_000);
    let fields = format!(
        "Authorization: Bearer {ann}\r\nContent-Length: {}\r\n",
        body.len()
    );
    let request = format!("{}{body}", proxy::with_fields("PUT", "/", &fields));
    proxy.send(request).is_the_upstreams(200);
    assert_eq!(origin.requests().pop().unwrap().text(), body);
    assert_eq!(idp.requests().len(), 2);
    let asked = form(&idp.requests()[0].message);
    let access_token = "urn:ietf:params:oauth:token-type:access_token";
    for (name, value) in [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", ann.as_str()),
        ("subject_token_type", access_token),
        ("requested_token_type", access_token),
        ("scope", "imodels:read"),
        ("resource", "https://api.example/"),
        ("client_id", "proxy"),
        ("client_secret", "secret"),
    ] {
        assert_eq!(asked[name], value, "{name}");
    }
}

#[test]
fn fifty_callers_with_one_token_cause_one_exchange() {
    let (origin, key, gate) = (
        origin::answering([origin::ok("hello")]),
        Pair::new("k"),
        Gate::default(),
    );
    let (issuer, idp) = (issuer::serving(&[&key]), idp::behind(&gate));
    let proxy = exchanging(&origin, &issuer, &idp).start();
    let token = key.token(&issuer.claims(&json!({})));
    thread::scope(|scope| {
        let callers: Vec<_> = (0..50)
            .map(|_| scope.spawn(|| proxy.send(with_token(&token))))
            .collect();
        until("all are there", || proxy.open() == 50);
        idp.wait_for(1);
        gate.open();
        for caller in callers {
            caller.join().unwrap().is_the_upstreams(200);
        }
    });
    assert_eq!(idp.requests().len(), 1);
}

#[test]
fn an_exchanged_token_is_used_no_longer_than_it_or_the_callers_lives() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let clock = Clock::for_tests(issuer::wall());
    let issuer = issuer::serving(&[&key]);
    let idp = idp::answering(|number, _| {
        origin::json(&format!(
            r#"{{"access_token":"token-{number}","token_type":"Bearer","expires_in":100}}"#
        ))
    });
    let proxy = exchanging(&origin, &issuer, &idp).start_by(clock.clone());
    let token = key.token(&issuer.claims(&json!({"exp": issuer::now() + 150})));
    for (jump, exchanges) in [(0, 1), (60, 1), (40, 2), (45, 2), (10, 3)] {
        clock.jump(jump * 1000);
        proxy.send(with_token(&token)).is_the_upstreams(200);
        assert_eq!(idp.requests().len(), exchanges, "after {jump} s more");
    }
    // the last one within the allowance for clocks that differ
    clock.jump(60_000);
    proxy
        .send(with_token(&token))
        .is_refused(401, "TokenExpired");
}

#[test]
fn a_token_that_is_not_exchanged_does_not_go_on_and_is_not_asked_about_at_once_again() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let clock = Clock::for_tests(issuer::wall());
    let issuer = issuer::serving(&[&key]);
    let idp = idp::answering(|number, request| {
        let json = "Content-Type: application/json\r\n";
        let quoted = form(request)["subject_token"].clone();
        let body = json!({"error": "invalid_grant", "error_description": quoted});
        match number {
            1 => origin::answer("400 Bad Request", json, &body.to_string()),
            _ => idp::token(number),
        }
    });
    let proxy = exchanging(&origin, &issuer, &idp).start_by(clock.clone());
    let token = key.token(&issuer.claims(&json!({})));
    for _ in 0..5 {
        let answer = proxy.send(with_token(&token));
        answer.is_refused(503, "TokenUnavailable");
        assert!(answer.field("retry-after").is_some());
        assert!(!answer.text().contains(&token));
    }
    assert_eq!(idp.requests().len(), 1);
    assert!(origin.requests().is_empty());
    clock.jump(3_000);
    proxy.send(with_token(&token)).is_the_upstreams(200);
    proxy.get("/").is_refused(401, "TokenMissing");
}
