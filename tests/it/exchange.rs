//! The caller's token, exchanged for another that goes on in its place (RFC 8693, RFC 7523).

use std::{collections::HashMap, thread};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use itwin_auth_proxy::clock::Clock;
use serde_json::{Value, json};

use crate::{
    bound::Holder,
    support::{
        idp::{self, Idp},
        issuer::{self, Issuer, Pair},
        message::Message,
        origin::{self, Origin},
        people::{self, Browser},
        proxy,
        wait::{Gate, until},
    },
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
        .with("admin.bind", "127.0.0.1:0")
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
    let metrics = proxy.admin("/metrics").text().to_owned();
    for counted in [
        "cache_requests_total{cache=\"exchanged_tokens\",result=\"hit\"} 4",
        "cache_requests_total{cache=\"exchanged_tokens\",result=\"miss\"} 2",
        "cache_entries{cache=\"exchanged_tokens\"} 2",
        "provider_exchanges_total{provider=\"exchange\",result=\"2xx\"} 2",
    ] {
        assert!(metrics.contains(counted), "{counted} in\n{metrics}");
    }
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

/// What a provider says that it does not like about a request.
fn refusal(status: &str, error: &str, description: &str) -> String {
    let body = json!({"error": error, "error_description": description});
    let json = "Content-Type: application/json\r\n";
    origin::answer(status, json, &body.to_string())
}

#[test]
fn a_token_that_the_provider_refuses_does_not_go_on_and_is_not_asked_about_at_once_again() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let clock = Clock::for_tests(issuer::wall());
    let issuer = issuer::serving(&[&key]);
    let codes = [
        "invalid_grant",
        "invalid_request",
        "invalid_target",
        "invalid_scope",
        "invalid_token",
        "access_denied",
    ];
    let idp = idp::answering(move |number, request| {
        let quoted = form(request)["subject_token"].clone();
        match codes.get(number - 1) {
            Some(code) => refusal("400 Bad Request", code, &quoted),
            None => idp::token(number),
        }
    });
    let proxy = exchanging(&origin, &issuer, &idp).start_by(clock.clone());
    let tokens = codes.map(|sub| key.token(&issuer.claims(&json!({"sub": sub}))));
    for (token, code) in tokens.iter().zip(codes) {
        for _ in 0..5 {
            let answer = proxy.send(with_token(token));
            answer.is_refused(403, "TokenNotExchanged");
            assert_eq!(answer.field("retry-after"), None, "{code}");
            assert!(answer.text().contains(&format!("answered {code}\"")));
            assert!(!answer.text().contains(token.as_str()));
        }
    }
    assert_eq!(idp.requests().len(), codes.len());
    assert!(origin.requests().is_empty());
    let metrics = proxy.admin("/metrics");
    let counted = "token_fetches_total{credential=\"exchange\",result=\"subject_refused\"} 6";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
    clock.jump(11_000);
    proxy.send(with_token(&tokens[0])).is_the_upstreams(200);
    proxy.get("/").is_refused(401, "TokenMissing");
}

#[test]
fn a_provider_that_gives_no_answer_is_left_alone_by_all_callers_while_known_tokens_serve() {
    for (status, error) in [
        ("401 Unauthorized", "invalid_client"),
        ("400 Bad Request", "unsupported_grant_type"),
        ("503 Service Unavailable", "temporarily_unavailable"),
    ] {
        let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
        let clock = Clock::for_tests(issuer::wall());
        let issuer = issuer::serving(&[&key]);
        let idp = idp::answering(move |number, _| match number {
            2 => refusal(status, error, "canary"),
            _ => idp::token(number),
        });
        let proxy = exchanging(&origin, &issuer, &idp).start_by(clock.clone());
        let token = |sub: u32| key.token(&issuer.claims(&json!({"sub": sub.to_string()})));
        let known = token(0);
        proxy.send(with_token(&known)).is_the_upstreams(200);
        for number in 1..=10 {
            let answer = proxy.send(with_token(&token(number)));
            answer.is_refused(503, "TokenUnavailable");
            assert!(answer.field("retry-after").is_some());
            assert!(!answer.text().contains("canary"));
        }
        proxy.send(with_token(&known)).is_the_upstreams(200);
        assert_eq!(idp.requests().len(), 2, "{error}");
        let page = proxy.admin("/status");
        assert!(!page.text().contains("canary") && !page.text().contains("token-1"));
        let report = page.json()["exchanges"][0].clone();
        assert_eq!(report["credential"], "exchange");
        assert_eq!(report["under_way"], 0);
        assert!(report["last_answer_seconds_ago"].is_u64(), "{report}");
        assert_eq!(report["last_error"], report["paused"]);
        assert!(report["paused"].is_string(), "{report}");

        clock.jump(2_000);
        for number in 1..=2 {
            proxy.send(with_token(&token(number))).is_the_upstreams(200);
        }
        let report = proxy.admin("/status").json()["exchanges"][0].clone();
        assert_eq!(report["paused"], json!(null));
        assert_eq!(report["last_error"], json!(null));
    }
}

/// A service that takes no `token-N` before this one.
fn taking(first: usize) -> Origin {
    origin::serving(move |mut connection| {
        while let Some(request) = connection.request() {
            let token = request.field("authorization").unwrap_or_default();
            let number = token.strip_prefix("Bearer token-").unwrap();
            connection.send(if number.parse::<usize>().unwrap() >= first {
                origin::ok("hello")
            } else {
                origin::answer("401 Unauthorized", "", "no")
            });
        }
    })
}

#[test]
fn a_token_that_the_service_rejects_is_exchanged_once_more_and_the_request_sent_again() {
    let (origin, key, idp) = (taking(2), Pair::new("k"), idp::issuing());
    let issuer = issuer::serving(&[&key]);
    let proxy = exchanging(&origin, &issuer, &idp).start();
    let token = key.token(&issuer.claims(&json!({})));
    let body = "x".repeat(30_000);
    let fields = format!(
        "Authorization: Bearer {token}\r\nContent-Length: {}\r\n",
        body.len()
    );
    let put = format!("{}{body}", proxy::with_fields("PUT", "/", &fields));
    proxy.send(put).is_the_upstreams(200);
    let [first, second] = origin.requests().try_into().unwrap();
    assert_eq!(first.field("authorization"), Some("Bearer token-1"));
    assert_eq!(second.field("authorization"), Some("Bearer token-2"));
    assert_eq!([first.text(), second.text()], [&body, &body]);
    proxy.send(with_token(&token)).is_the_upstreams(200);
    assert_eq!(idp.requests().len(), 2);
}

#[test]
fn fifty_callers_whose_token_is_rejected_together_cause_one_more_exchange() {
    let (origin, key, idp) = (taking(2), Pair::new("k"), idp::issuing());
    let issuer = issuer::serving(&[&key]);
    let proxy = exchanging(&origin, &issuer, &idp).start();
    let token = key.token(&issuer.claims(&json!({})));
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                proxy.send(with_token(&token)).is_the_upstreams(200);
            });
        }
    });
    assert_eq!(idp.requests().len(), 2);
}

#[test]
fn a_service_that_rejects_every_token_is_believed_after_the_second() {
    let (origin, key, idp) = (taking(99), Pair::new("k"), idp::issuing());
    let issuer = issuer::serving(&[&key]);
    let proxy = exchanging(&origin, &issuer, &idp).start();
    let token = key.token(&issuer.claims(&json!({})));
    for sent in [2, 3, 4] {
        let answer = proxy.send(with_token(&token));
        assert_eq!((answer.status(), answer.text()), (401, "no"));
        assert_eq!(origin.requests().len(), sent);
        assert_eq!(idp.requests().len(), 2);
    }
}

#[test]
fn a_rejection_is_passed_on_where_the_body_is_gone_or_no_other_token_is_to_be_had() {
    let (origin, key) = (taking(5), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let idp = idp::answering(|number, _| match number {
        2 => refusal("503 Service Unavailable", "temporarily_unavailable", ""),
        // the same again, which would not help
        3 => idp::token(1),
        _ => idp::token(number),
    });
    let clock = Clock::for_tests(issuer::wall());
    let small = json!({"memory": "1KiB", "total": "1KiB"});
    let proxy = exchanging(&origin, &issuer, &idp)
        .route("replay", small)
        .start_by(clock.clone());
    let token = key.token(&issuer.claims(&json!({})));
    let told = |request: &str, why: &str| {
        let answer = proxy.send(request);
        assert_eq!((answer.status(), answer.text()), (401, "no"));
        let said = answer.field("proxy-status").unwrap_or_default();
        assert!(said.contains(why), "{said}");
    };
    told(&with_token(&token), "could not be replaced");
    told(&with_token(&token), "could not be replaced");
    assert_eq!(idp.requests().len(), 2);
    clock.jump(2_000);
    told(&with_token(&token), "the same token");

    let other = key.token(&issuer.claims(&json!({"sub": "other"})));
    let fields = format!("Authorization: Bearer {other}\r\nContent-Length: 5000\r\n");
    let put = proxy::with_fields("PUT", "/", &fields) + &"x".repeat(5000);
    told(&put, "too large to be sent again");
    proxy.send(with_token(&other)).is_the_upstreams(200);
    assert_eq!(idp.requests().len(), 5);
}

#[test]
fn the_callers_proof_stays_here_when_another_token_goes_on() {
    let (origin, key, idp) = (taking(2), Pair::new("k"), idp::issuing());
    let issuer = issuer::serving(&[&key]);
    let proxy = exchanging(&origin, &issuer, &idp).start();
    let holder = Holder::new(&issuer, &key);
    let proof = holder.proof(&json!({}));
    proxy.send(holder.request(&proof)).is_the_upstreams(200);
    // nobody looks at this one: the token is bound to nothing
    let free = key.token(&issuer.claims(&json!({"sub": "free"})));
    let fields = format!("Authorization: Bearer {free}\r\nDPOP: {proof}\r\ndpop: x\r\n");
    proxy
        .send(proxy::with_fields("GET", "/", &fields))
        .is_the_upstreams(200);
    assert_eq!(origin.requests().len(), 3);
    for request in origin.requests() {
        let head = request.head.to_ascii_lowercase();
        assert!(!head.contains("dpop"), "{head}");
        for secret in [&holder.token, &proof, &free] {
            assert!(!request.head.contains(secret.as_str()), "{head}");
        }
    }
}

/// Routes that inject tokens for the callers, each with scopes of its own.
fn on_behalf(origin: &Origin, issuer: &Issuer, idp: &Idp, credential: &Value) -> proxy::Builder {
    let endpoint = format!("{}/token", idp.url());
    let own = json!({
        "provider": "exchange",
        "client_id": "proxy",
        "client_secret": "secret",
        "client_auth": "client_secret_post",
        "scopes": "unused",
    });
    let mut behalf = own.as_object().unwrap().clone();
    behalf.extend(credential.as_object().unwrap().clone());
    let route = |scopes: &str| {
        json!({
            "path": format!("/{scopes}/**"),
            "upstream": origin.url(),
            "admit": [{"bearer": {"provider": "idp", "audiences": "api"}}],
            "inject": {"credential": "behalf", "on_behalf_of": "caller", "scopes": scopes},
        })
    };
    proxy::to(origin)
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .with(
            "providers.exchange",
            json!({"issuer": idp.url(), "token_endpoint": endpoint}),
        )
        .with("credentials.behalf", Value::Object(behalf))
        .with("routes", json!([route("one"), route("two")]))
}

fn at(path: &str, token: &str) -> String {
    proxy::with_fields("GET", path, &format!("Authorization: Bearer {token}\r\n"))
}

#[test]
fn a_route_injects_a_token_of_its_scopes_in_the_name_of_each_caller() {
    let exchange = json!({"grant": "token_exchange"});
    let assertion = json!({"grant": "jwt_bearer"});
    for (credential, grant, shown) in [
        (
            exchange,
            "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token",
        ),
        (
            assertion,
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion",
        ),
    ] {
        let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
        let (issuer, idp) = (issuer::serving(&[&key]), idp::issuing());
        let proxy = on_behalf(&origin, &issuer, &idp, &credential).start();
        let [ann, bob] = ["ann", "bob"].map(|sub| key.token(&issuer.claims(&json!({"sub": sub}))));
        for (path, token, expected) in [
            ("/one/", &ann, 1),
            ("/two/", &ann, 2),
            ("/one/", &bob, 3),
            ("/two/", &ann, 2),
            ("/one/", &ann, 1),
        ] {
            proxy.send(at(path, token)).is_the_upstreams(200);
            let request = origin.requests().pop().unwrap();
            let bearer = format!("Bearer token-{expected}");
            assert_eq!(request.field("authorization"), Some(bearer.as_str()));
            assert_eq!(
                request.field("x-itwin-caller"),
                None,
                "as with other tokens of ours"
            );
        }
        let asked: Vec<_> = idp
            .requests()
            .iter()
            .map(|one| form(&one.message))
            .collect();
        assert_eq!(asked.len(), 3);
        for (asked, scope, token) in [
            (&asked[0], "one", &ann),
            (&asked[1], "two", &ann),
            (&asked[2], "one", &bob),
        ] {
            assert_eq!((&*asked["grant_type"], &asked[shown]), (grant, token));
            assert_eq!((&*asked["scope"], &*asked["client_id"]), (scope, "proxy"));
        }

        proxy
            .send(proxy::get("/one/"))
            .is_refused(401, "TokenMissing");
        assert_eq!(idp.requests().len(), 3);
    }
}

#[test]
fn an_assertion_that_the_provider_refuses_is_the_callers_and_an_outage_is_not() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    for (answer, status, code) in [
        (
            refusal("400 Bad Request", "invalid_grant", "no"),
            403,
            "TokenNotExchanged",
        ),
        (
            refusal("503 Service Unavailable", "busy", "no"),
            503,
            "TokenUnavailable",
        ),
    ] {
        let idp = idp::answering(move |_, _| answer.clone());
        let credential = json!({"grant": "jwt_bearer"});
        let proxy = on_behalf(&origin, &issuer, &idp, &credential).start();
        let token = key.token(&issuer.claims(&json!({})));
        proxy.send(at("/one/", &token)).is_refused(status, code);
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_token_for_a_caller_that_the_service_rejects_is_replaced_once() {
    let (origin, key, idp) = (taking(2), Pair::new("k"), idp::issuing());
    let issuer = issuer::serving(&[&key]);
    let credential = json!({"grant": "jwt_bearer"});
    let proxy = on_behalf(&origin, &issuer, &idp, &credential).start();
    let token = key.token(&issuer.claims(&json!({})));
    for _ in 0..3 {
        proxy.send(at("/one/", &token)).is_the_upstreams(200);
    }
    assert_eq!((origin.requests().len(), idp.requests().len()), (4, 2));
}

#[test]
fn a_session_acts_for_the_person_who_signed_in() {
    let clock = Clock::for_tests(Clock::system().now().wall);
    let (provider, origin) = (
        people::provider(&clock),
        origin::answering([origin::ok("hello")]),
    );
    let behalf = json!({
        "provider": "idp",
        "grant": "token_exchange",
        "client_id": "service-sandbox",
        "client_secret": "sandbox-secret",
        "scopes": "itwin-platform",
        "parameters": {"resource": "https://behind.example.com/"},
    });
    let inject = json!({"credential": "behalf", "on_behalf_of": "caller"});
    let proxy = provider
        .in_front_of(&origin)
        .with("credentials.behalf", behalf)
        .route("inject", inject)
        .start_by(clock.clone());
    let [mut ada, mut emil] = [Browser::of(&proxy), Browser::of(&proxy)];
    ada.sign_in("/").is_the_upstreams(200);
    provider.faults().visitor("emil@sandbox.example");
    emil.sign_in("/").is_the_upstreams(200);
    ada.fetch("/").is_the_upstreams(200);
    let exchanges = || provider.counts().token_requests_by_client["service-sandbox"];
    assert_eq!(exchanges(), 2, "once for each person");

    let seen: Vec<Value> = origin.requests().iter().map(claims).collect();
    assert_eq!(seen[0], seen[2]);
    assert_ne!(seen[0]["sub"], seen[1]["sub"]);
    for claims in &seen {
        assert!(claims["aud"].to_string().contains("behind.example.com"));
        assert_eq!(claims["act"]["client_id"], "service-sandbox");
    }

    // the person's token is renewed, and exchanged anew
    clock.jump(3601 * 1000);
    ada.fetch("/").is_the_upstreams(200);
    assert_eq!((exchanges(), provider.counts().refreshes), (3, 1));

    // who is not signed in has nothing to exchange
    let answer = Browser::of(&proxy).fetch("/");
    answer.is_refused(401, "SignInRequired");
    assert_eq!((exchanges(), origin.requests().len()), (3, 4));
}

/// What the token says that the service was sent.
fn claims(request: &origin::Request) -> Value {
    let token = request.field("authorization").unwrap_or_default();
    let payload = token.split('.').nth(1).unwrap_or_default();
    let decoded = URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&decoded).unwrap()
}
