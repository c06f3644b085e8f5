//! Callers whose tokens say nothing to us: their provider is asked (RFC 7662).

use std::{fmt::Write as _, thread};

use itwin_auth_proxy::clock::Clock;
use serde_json::{Value, json};

use crate::support::{
    authority::{self, Authority},
    client::Client,
    http2,
    issuer::{self, Pair},
    origin::{self, Origin},
    program,
    proxy::{self, Proxy},
    wait::{Gate, until},
};

fn guarding(origin: &Origin, authority: &Authority) -> proxy::Builder {
    guarding_with(origin, authority, &json!({}))
}

/// With other settings of `introspection` as well.
fn guarding_with(origin: &Origin, authority: &Authority, changes: &Value) -> proxy::Builder {
    let rule = json!({"provider": "idp", "audiences": ["api"], "scopes": ["itwin-platform"]});
    let mut introspection = json!({"client_id": "api", "client_secret": "canary-secret"});
    for (name, value) in changes.as_object().unwrap() {
        introspection[name] = value.clone();
    }
    let provider = json!({"issuer": authority.url(), "introspection": introspection});
    proxy::to(origin)
        .with("admin.bind", "127.0.0.1:0")
        .with("providers.idp", provider)
        .route("admit", json!([{"bearer": rule}]))
}

fn with_token(token: &str) -> String {
    proxy::with_fields("GET", "/", &format!("Authorization: Bearer {token}\r\n"))
}

fn waiting(proxy: &Proxy) -> u64 {
    let report = proxy.admin("/status").json();
    let waiting = report.pointer("/keys/0/introspection/waiting");
    waiting.and_then(Value::as_u64).unwrap()
}

#[test]
fn an_opaque_token_passes_when_its_provider_says_so_and_is_asked_about_once() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    authority.says_of("opaque-1", &json!({}));
    let proxy = guarding(&origin, &authority).start();
    for _ in 0..20 {
        proxy.send(with_token("opaque-1")).is_the_upstreams(200);
    }
    assert_eq!(authority.questions().len(), 1);
    let request = origin.requests().pop().unwrap();
    assert_eq!(request.field("authorization"), Some("Bearer opaque-1"));
}

#[test]
fn what_the_provider_says_is_held_against_the_routes_rules() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    let proxy = guarding(&origin, &authority).start();
    let now = issuer::now();
    let cases = [
        ("array-scope", json!({"scope": ["itwin-platform"]}), 200, ""),
        ("array-aud", json!({"aud": ["x", "api"]}), 200, ""),
        ("without-exp", json!({"exp": null}), 200, ""),
        ("without-iss", json!({"iss": null}), 200, ""),
        ("bearer", json!({"token_type": "Bearer"}), 200, ""),
        ("inactive", json!({"active": false}), 401, "TokenInvalid"),
        ("expired", json!({"exp": now - 61}), 401, "TokenExpired"),
        ("early", json!({"nbf": now + 120}), 401, "TokenInvalid"),
        ("for-another", json!({"aud": "other"}), 401, "TokenInvalid"),
        ("for-nobody", json!({"aud": null}), 401, "TokenInvalid"),
        (
            "from-another",
            json!({"iss": "https://evil.example"}),
            401,
            "TokenInvalid",
        ),
        ("scope", json!({"scope": "email"}), 403, "InsufficientScope"),
        (
            "text-exp",
            json!({"exp": "9999999999"}),
            401,
            "TokenInvalid",
        ),
        (
            "refresh",
            json!({"token_use": "refresh_token"}),
            401,
            "TokenInvalid",
        ),
        (
            "refresh-type",
            json!({"token_type": "refresh_token"}),
            401,
            "TokenInvalid",
        ),
        (
            "text-active",
            json!({"active": "true"}),
            503,
            "IntrospectionUnavailable",
        ),
    ];
    for (token, said, status, code) in cases {
        authority.says_of(token, &said);
        let answer = proxy.send(with_token(token));
        if status == 200 {
            answer.is_the_upstreams(200);
        } else {
            answer.is_refused(status, code);
        }
    }
}

#[test]
fn an_answer_is_believed_until_its_bound_and_no_longer_than_the_token_lives() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    let clock = Clock::for_tests(issuer::wall());
    let proxy = guarding(&origin, &authority).start_by(clock.clone());
    authority.says_of("long", &json!({}));
    authority.says_of("short", &json!({"exp": issuer::now() + 30}));
    for token in ["long", "short"] {
        proxy.send(with_token(token)).is_the_upstreams(200);
        authority.says_of(token, &json!({"active": false}));
    }
    clock.jump(20_000);
    for token in ["long", "short"] {
        proxy.send(with_token(token)).is_the_upstreams(200);
    }
    clock.jump(15_000);
    proxy.send(with_token("long")).is_the_upstreams(200);
    proxy
        .send(with_token("short"))
        .is_refused(401, "TokenInvalid");
    clock.jump(30_000);
    proxy
        .send(with_token("long"))
        .is_refused(401, "TokenInvalid");
    assert_eq!(authority.questions().len(), 4);
}

#[test]
fn that_a_token_is_bad_is_remembered_for_ten_seconds() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    let clock = Clock::for_tests(issuer::wall());
    let proxy = guarding(&origin, &authority).start_by(clock.clone());
    for _ in 0..10 {
        proxy
            .send(with_token("new"))
            .is_refused(401, "TokenInvalid");
    }
    assert_eq!(authority.questions().len(), 1);
    authority.says_of("new", &json!({}));
    clock.jump(11_000);
    proxy.send(with_token("new")).is_the_upstreams(200);
    assert_eq!(authority.questions().len(), 2);
}

#[test]
fn nothing_is_remembered_where_that_is_asked_for() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    let proxy = guarding_with(&origin, &authority, &json!({"cache": "0s"})).start();
    authority.says_of("opaque", &json!({"exp": null}));
    for _ in 0..3 {
        proxy.send(with_token("opaque")).is_the_upstreams(200);
        proxy
            .send(with_token("bad"))
            .is_refused(401, "TokenInvalid");
    }
    assert_eq!(authority.questions().len(), 6);
}

#[test]
fn a_hundred_callers_with_one_token_cause_one_question() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    let gate = Gate::default();
    authority.says_of("opaque", &json!({}));
    authority.waits_for(&gate);
    let proxy = guarding(&origin, &authority).start();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..100)
            .map(|_| scope.spawn(|| proxy.send(with_token("opaque"))))
            .collect();
        until("all wait", || waiting(&proxy) == 100);
        gate.open();
        for caller in callers {
            caller.join().unwrap().is_the_upstreams(200);
        }
    });
    assert_eq!(authority.questions().len(), 1);
    assert_eq!(waiting(&proxy), 0);
}

#[test]
fn a_flood_of_tokens_is_passed_on_in_turns_and_costs_no_other_caller_its_answer() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    let gate = Gate::default();
    authority.says_of("good", &json!({}));
    authority.waits_for(&gate);
    let proxy = guarding(&origin, &authority).start();
    thread::scope(|scope| {
        let flood: Vec<_> = (0..150)
            .map(|n| {
                scope.spawn({
                    let proxy = &proxy;
                    move || proxy.send(with_token(&format!("bad-{n}")))
                })
            })
            .collect();
        until("the flood waits", || waiting(&proxy) == 150);
        let good = scope.spawn(|| proxy.send(with_token("good")));
        until("all wait", || waiting(&proxy) == 151);
        until("a share is asked about", || {
            authority.questions().len() == 64
        });
        gate.open();
        good.join().unwrap().is_the_upstreams(200);
        for caller in flood {
            caller.join().unwrap().is_refused(401, "TokenInvalid");
        }
    });
    assert_eq!(authority.questions().len(), 151);
}

#[test]
fn a_caller_that_goes_away_cancels_nothing() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    let gate = Gate::default();
    authority.says_of("opaque", &json!({}));
    authority.waits_for(&gate);
    let proxy = guarding(&origin, &authority).start();
    let mut caller = proxy.connect();
    caller.send(with_token("opaque"));
    until("the question is asked", || authority.questions().len() == 1);
    drop(caller);
    until("the caller is gone", || waiting(&proxy) == 0);
    gate.open();
    proxy.send(with_token("opaque")).is_the_upstreams(200);
    assert_eq!(authority.questions().len(), 1);
}

#[test]
fn an_endpoint_that_fails_is_no_callers_fault_and_is_left_alone_for_a_while() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    let clock = Clock::for_tests(issuer::wall());
    let proxy = guarding(&origin, &authority).start_by(clock.clone());
    authority.says_of("known", &json!({}));
    authority.says_of("other", &json!({}));
    proxy.send(with_token("known")).is_the_upstreams(200);
    authority.fails(&origin::answer("503 Service Unavailable", "", ""));
    for _ in 0..10 {
        let answer = proxy.send(with_token("other"));
        answer.is_refused(503, "IntrospectionUnavailable");
        assert!(answer.field("retry-after").is_some());
        assert_eq!(answer.field("www-authenticate"), None);
        assert!(answer.text().contains("provider idp"), "{}", answer.text());
        // what is known still serves
        proxy.send(with_token("known")).is_the_upstreams(200);
    }
    assert_eq!(authority.questions().len(), 2);
    authority.recovers();
    clock.jump(3_000);
    proxy.send(with_token("other")).is_the_upstreams(200);
}

#[test]
fn one_odd_token_does_not_shut_others_out() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    let proxy = guarding(&origin, &authority).start();
    authority.says("odd", "not JSON");
    authority.says_of("good", &json!({}));
    for _ in 0..5 {
        proxy
            .send(with_token("odd"))
            .is_refused(503, "IntrospectionUnavailable");
    }
    proxy.send(with_token("good")).is_the_upstreams(200);
    assert_eq!(
        authority.questions().len(),
        2,
        "nor is it asked about again"
    );
    // nor do many
    for n in 0..10 {
        let odd = format!("odd-{n}");
        authority.says(&odd, "not JSON");
        let refused = proxy.send(with_token(&odd));
        refused.is_refused(503, "IntrospectionUnavailable");
    }
    authority.says_of("new", &json!({}));
    proxy.send(with_token("new")).is_the_upstreams(200);
}

#[test]
fn a_refused_introspection_client_is_told_to_the_operator_and_is_no_callers_fault() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    authority.secret_is("another");
    authority.says_of("good", &json!({}));
    let proxy = guarding(&origin, &authority).start();
    let answer = proxy.send(with_token("good"));
    answer.is_refused(503, "IntrospectionUnavailable");
    assert!(!answer.text().contains("canary"));
    let counted =
        "itwin_auth_proxy_introspections_total{provider=\"idp\",result=\"unauthorized\"} 1";
    let metrics = proxy.admin("/metrics");
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[test]
fn the_secret_before_is_tried_during_a_rotation() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    let both = json!({"client_secret": "new", "client_secret_previous": "canary-secret"});
    let proxy = guarding_with(&origin, &authority, &both).start();
    for token in ["a", "b"] {
        authority.says_of(token, &json!({}));
        proxy.send(with_token(token)).is_the_upstreams(200);
    }
    assert_eq!(
        authority.questions().len(),
        3,
        "the good one goes first then"
    );
}

#[test]
fn two_providers_never_share_what_one_of_them_said() {
    let origin = origin::answering([origin::ok("hello")]);
    let (a, b) = (authority::knowing(), authority::knowing());
    a.says_of("opaque", &json!({}));
    let provider = |one: &Authority| {
        let introspection = json!({"client_id": "api", "client_secret": "canary-secret"});
        json!({"issuer": one.url(), "introspection": introspection})
    };
    let route = |name: &str, path: &str| {
        let rule = json!({"provider": name, "audiences": "api"});
        json!({"name": name, "path": path, "upstream": origin.url(), "admit": {"bearer": rule}})
    };
    let proxy = proxy::to(&origin)
        .with("providers.a", provider(&a))
        .with("providers.b", provider(&b))
        .with("routes", json!([route("a", "/a"), route("b", "/b")]))
        .start();
    let ask = |path: &str| {
        let fields = "Authorization: Bearer opaque\r\n";
        proxy.send(proxy::with_fields("GET", path, fields))
    };
    for _ in 0..3 {
        ask("/a").is_the_upstreams(200);
        ask("/b").is_refused(401, "TokenInvalid");
    }
    assert_eq!((a.questions().len(), b.questions().len()), (1, 1));
}

#[test]
fn a_token_is_shown_to_the_next_provider_only_when_the_one_before_does_not_know_it() {
    let origin = origin::answering([origin::ok("hello")]);
    let (a, b) = (authority::knowing(), authority::knowing());
    a.says_of("of-a", &json!({}));
    b.says_of("of-b", &json!({}));
    let provider = |one: &Authority| {
        let introspection = json!({"client_id": "api", "client_secret": "canary-secret"});
        json!({"issuer": one.url(), "introspection": introspection})
    };
    let rule = |name: &str| json!({"bearer": {"provider": name, "audiences": "api"}});
    let proxy = proxy::to(&origin)
        .with("providers.a", provider(&a))
        .with("providers.b", provider(&b))
        .route("admit", json!([rule("a"), rule("b")]))
        .start();
    proxy.send(with_token("of-a")).is_the_upstreams(200);
    assert_eq!(b.questions().len(), 0);
    proxy.send(with_token("of-b")).is_the_upstreams(200);
    assert_eq!((a.questions().len(), b.questions().len()), (2, 1));
    a.fails("");
    // whether it is a's cannot be said
    proxy
        .send(with_token("of-nobody"))
        .is_refused(503, "IntrospectionUnavailable");
}

#[test]
fn a_jwt_is_checked_by_its_signature_unless_all_tokens_are_asked_about() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    let key = Pair::new("k");
    let jwt = key.token(&json!({"iss": authority.url(), "aud": "api", "exp": issuer::now() + 60}));
    let foreign = key.token(&json!({"iss": "https://another.example", "exp": 1}));
    authority.says_of(&jwt, &json!({}));
    authority.says_of(&foreign, &json!({"iss": null}));
    let proxy = guarding(&origin, &authority).start();
    proxy
        .send(with_token(&jwt))
        .is_refused(503, "KeysUnavailable");
    assert!(authority.questions().is_empty());
    let all = json!({"tokens": "all"});
    let proxy = guarding_with(&origin, &authority, &all).start();
    proxy.send(with_token(&jwt)).is_the_upstreams(200);
    proxy
        .send(with_token(&foreign))
        .is_refused(401, "TokenInvalid");
    assert_eq!(
        authority.questions().len(),
        1,
        "another issuer's token is none of its business"
    );
}

#[test]
fn what_can_be_no_token_is_not_asked_about() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    let proxy = guarding(&origin, &authority).start();
    for token in ["a b", "\"a\"", "a,b", "=", "a=b"] {
        proxy
            .send(with_token(token))
            .is_refused(401, "TokenInvalid");
    }
    assert!(authority.questions().is_empty());
}

#[test]
fn the_api_proves_who_it_is_in_the_way_that_is_configured() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    let post = json!({"client_auth": "client_secret_post"});
    let proxy = guarding_with(&origin, &authority, &post).start();
    proxy
        .send(with_token("opaque"))
        .is_refused(503, "IntrospectionUnavailable");
    let question = authority.questions().pop().unwrap();
    assert_eq!(question.field("authorization"), None);
    assert_eq!(
        question.text(),
        "token=opaque&token_type_hint=access_token&client_id=api&client_secret=canary-secret"
    );
}

#[test]
fn a_request_that_was_held_goes_on_as_it_came() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    for token in ["one", "two"] {
        authority.says_of(token, &json!({}));
    }
    let proxy = guarding(&origin, &authority).start();
    let body = "a body ".repeat(20_000);
    let length = body.len();
    let fields = format!("Authorization: Bearer one\r\nContent-Length: {length}\r\n");
    let request = format!("{}{body}", proxy::with_fields("POST", "/x?y=1", &fields));
    proxy.send(request).is_the_upstreams(200);
    let seen = origin.requests().pop().unwrap();
    assert_eq!(seen.request(), "POST /x?y=1");
    assert_eq!(seen.text(), body);

    let mut over_http2 = http2::get("http://proxy.localhost/z");
    let bearer = "Bearer two".parse().unwrap();
    over_http2.headers_mut().insert("authorization", bearer);
    assert_eq!(proxy.connect_http2().send(over_http2).status, 200);
    let subject = origin.requests().pop().unwrap();
    assert_eq!(subject.field("x-itwin-subject"), Some("ann"));
}

#[test]
fn a_gateway_that_asks_about_an_opaque_token_is_told_the_same() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    authority.says_of("good", &json!({}));
    let decides = json!([{"bind": "127.0.0.1:0", "mode": "decide", "gateway": "nginx"}]);
    let proxy = guarding(&origin, &authority)
        .with("listeners", decides)
        .start();
    let ask = |token: &str| {
        proxy.send(format!(
            "GET /auth HTTP/1.1\r\nHost: proxy.internal\r\nX-Original-Method: GET\r\n\
             X-Original-Proto: https\r\nX-Original-Host: api.example\r\nX-Original-URI: /\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        ))
    };
    assert_eq!(ask("good").status(), 200);
    ask("bad").is_refused(401, "TokenInvalid");
    authority.fails("");
    ask("other").is_refused(503, "IntrospectionUnavailable");
    assert!(origin.requests().is_empty());
}

#[test]
fn neither_token_nor_secret_is_in_a_log_an_answer_or_a_page_whatever_the_provider_says() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    authority.says_of("canary-good", &json!({}));
    let rule = json!({"provider": "idp", "audiences": ["api"]});
    let introspection = json!({"client_id": "api", "client_secret": "canary-secret"});
    let program = program::run(&json!({
        "providers": {"idp": {"issuer": authority.url(), "introspection": introspection}},
        "listeners": [{"bind": "127.0.0.1:0"}],
        "routes": [{"upstream": origin.url(), "admit": {"bearer": rule}}],
        "log": {"level": "trace,hyper=trace,hyper_util=trace,tokio=trace", "format": "json"},
        "limits": {"drain_delay": "0s"},
        "admin": {"bind": "127.0.0.1:0"},
        "workers": proxy::workers(),
    }));
    let address = program.address("listening");
    let mut answers = String::new();
    let mut call = |address, path: &str, token: &str| {
        let fields = format!("Connection: close\r\nAuthorization: Bearer {token}\r\n");
        let request = proxy::with_fields("GET", path, &fields);
        let bytes = Client::connect(address).send(request).until_closed();
        writeln!(answers, "{}", String::from_utf8_lossy(&bytes)).unwrap();
    };
    call(address, "/", "canary-good");
    call(address, "/", "canary-bad");
    for (number, status) in ["400 Bad Request", "500 Oops", "401 Unauthorized"]
        .iter()
        .enumerate()
    {
        let token = format!("canary-{number}");
        let quoting = json!({"error": token, "error_description": "canary-secret"});
        let json = "Content-Type: application/json\r\n";
        authority.fails(&origin::answer(status, json, &quoting.to_string()));
        call(address, "/", &token);
    }
    for page in ["/status", "/metrics", "/ready"] {
        call(program.address("admin listening"), page, "none");
    }
    let (_, log) = program.end();
    assert!(
        log.contains("does not say whether a token is good"),
        "{log}"
    );
    for line in log.lines().chain(answers.lines()) {
        assert!(!line.contains("canary"), "{line}");
    }
    assert!(answers.contains("hello") && answers.contains("IntrospectionUnavailable"));
}
