//! Tokens, as those who call see them.

use std::{thread, time::Duration};

use itwin_auth_proxy::clock::Clock;

use crate::support::{
    idp, origin, proxy,
    proxy::get,
    wait::{self, Gate},
};

#[test]
fn a_thousand_first_calls_at_once_cost_one_token() {
    let gate = Gate::default();
    let (origin, idp) = (origin::answering([origin::ok("hello")]), idp::behind(&gate));
    let proxy = proxy::to(&origin).injecting(&idp).start();
    let mut clients: Vec<_> = (0..1000).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send(get("/"));
    }
    idp.wait_for(1);
    gate.open();
    for client in &mut clients {
        client.answer().is_the_upstreams(200);
    }
    assert_eq!(idp.requests().len(), 1);
    assert_eq!(origin.requests().len(), 1000);
}

#[test]
fn a_caller_that_goes_away_does_not_take_the_token_with_it() {
    let gate = Gate::default();
    let (origin, idp) = (origin::answering([origin::ok("hello")]), idp::behind(&gate));
    let proxy = proxy::to(&origin).injecting(&idp).start();
    let mut impatient = proxy.connect();
    impatient.send(get("/"));
    idp.wait_for(1);
    drop(impatient);
    gate.open();
    proxy.get("/").is_the_upstreams(200);
    assert_eq!(idp.requests().len(), 1);
}

#[test]
fn a_token_request_says_who_asks_for_what() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), idp::issuing());
    let proxy = proxy::to(&origin).injecting(&idp).start();
    proxy.get("/").is_the_upstreams(200);
    let request = idp.requests().remove(0);
    assert_eq!(request.request(), "POST /token");
    assert_eq!(
        request.field("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    // RFC 6749 section 2.3.1: both form-encoded, then Basic
    assert_eq!(
        request.field("authorization"),
        Some("Basic c2VydmljZTphK3NlY3JldCtvZit0aGUrc2VydmljZQ==")
    );
    let mut form: Vec<_> = request.text().split('&').collect();
    form.sort_unstable();
    assert_eq!(
        form,
        ["grant_type=client_credentials", "scope=itwin-platform"]
    );
}

#[test]
fn calls_go_on_while_the_provider_is_down_and_a_token_lives() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let proxy = proxy::to(&origin).injecting(&idp).start();
    proxy.get("/").is_the_upstreams(200);
    drop(idp);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                for _ in 0..50 {
                    client.send(get("/")).answer().is_the_upstreams(200);
                }
            });
        }
    });
    assert!(
        origin
            .requests()
            .iter()
            .all(|r| r.field("authorization") == Some("Bearer token-1"))
    );
}

#[test]
fn a_proxy_whose_tokens_have_expired_stays_ready_and_says_so() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let clock = Clock::for_tests(Duration::from_secs(1_800_000_000));
    let proxy = proxy::to(&origin)
        .injecting(&idp)
        .with("admin.bind", "127.0.0.1:0")
        .start_by(clock.clone());
    proxy.get("/").is_the_upstreams(200);
    drop(idp);
    clock.jump(2 * 3600 * 1000);
    proxy.get("/").is_refused(503, "TokenUnavailable");
    wait::until("it is known", || {
        let status = proxy.admin("/status").json();
        matches!(
            status["tokens"][0]["zone"].as_str(),
            Some("expired" | "none")
        )
    });
    let ready = proxy.admin("/ready");
    assert_eq!(ready.status(), 200, "{}", ready.text());
}
