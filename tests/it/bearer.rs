//! Callers that show an access token of their own, in front of a service that must only see good
//! ones.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use itwin_auth_proxy::clock::Clock;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use crate::support::{
    idp,
    issuer::{self, Down, Issuer, Pair},
    origin::{self, Origin},
    proxy, wait,
};

fn guarding(origin: &Origin, issuer: &Issuer) -> proxy::Builder {
    let rule = json!({"provider": "idp", "audiences": ["api"], "scopes": ["itwin-platform"]});
    proxy::to(origin)
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .route("admit", json!([{"bearer": rule}]))
}

fn with_token(token: &str) -> String {
    proxy::with_fields("GET", "/", &format!("Authorization: Bearer {token}\r\n"))
}

#[test]
fn a_good_token_passes_and_goes_on() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = guarding(&origin, &issuer).start();
    let token = key.token(&issuer.claims(&json!({})));
    for _ in 0..3 {
        proxy.send(with_token(&token)).is_the_upstreams(200);
    }
    let bearer = format!("Bearer {token}");
    for request in origin.requests() {
        assert_eq!(request.field("authorization"), Some(bearer.as_str()));
    }
    assert_eq!(issuer.fetches(), 1);
    let lower = proxy::with_fields("GET", "/", &format!("authorization: bearer {token}\r\n"));
    proxy.send(lower).is_the_upstreams(200);
}

#[test]
fn a_token_that_is_not_good_is_refused_with_the_reason() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = guarding(&origin, &issuer).start();
    let signed = |changes: Value| key.token(&issuer.claims(&changes));
    let good = issuer.claims(&json!({}));
    let public = URL_SAFE_NO_PAD.decode(key.jwk["x"].as_str().unwrap());
    let hmac = issuer::unsigned(&json!({"alg": "HS256", "kid": "k"}), &good);
    let hmac = {
        let key = EncodingKey::from_secret(&public.unwrap());
        let algorithm = jsonwebtoken::Algorithm::HS256;
        let signature = jsonwebtoken::crypto::sign(hmac.as_bytes(), &key, algorithm).unwrap();
        format!("{hmac}.{signature}")
    };
    let none = issuer::unsigned(&json!({"alg": "none", "kid": "k"}), &good);
    let cases = [
        (
            signed(json!({"exp": issuer::now() - 61})),
            "TokenExpired",
            "The access token expired.",
        ),
        (
            signed(json!({"exp": null})),
            "TokenInvalid",
            "The access token is not valid.",
        ),
        (
            signed(json!({"exp": "9999999999"})),
            "TokenInvalid",
            "The access token is not valid.",
        ),
        (
            signed(json!({"aud": "other"})),
            "TokenInvalid",
            "The access token is for another audience.",
        ),
        (
            signed(json!({"iss": "https://evil.example"})),
            "TokenInvalid",
            "The access token is from another issuer.",
        ),
        (
            signed(json!({"nbf": issuer::now() + 120})),
            "TokenInvalid",
            "The access token is not valid yet: a clock may be wrong.",
        ),
        (
            Pair::new("k").token(&good),
            "TokenInvalid",
            "The access token is not valid.",
        ),
        (
            Pair::new("other").token(&good),
            "TokenInvalid",
            "The access token is not valid.",
        ),
        (
            key.sign(&json!({"alg": "ES256", "typ": "logout+jwt"}), &good),
            "TokenInvalid",
            "The token is no access token.",
        ),
        (
            key.sign(&json!({"alg": "ES256", "crit": ["exp"]}), &good),
            "TokenInvalid",
            "The access token is not valid.",
        ),
        (
            format!("{none}."),
            "TokenInvalid",
            "The access token is not valid.",
        ),
        (
            format!("{none}.AAAA"),
            "TokenInvalid",
            "The access token is not valid.",
        ),
        (hmac, "TokenInvalid", "The access token is not valid."),
        (
            "opaque".into(),
            "TokenInvalid",
            "The access token is no signed JWT.",
        ),
    ];
    for (token, code, description) in cases {
        let answer = proxy.send(with_token(&token));
        answer.is_refused(401, code);
        let challenge = format!(
            "Bearer realm=\"itwin-auth-proxy\", error=\"invalid_token\", error_description=\"{description}\""
        );
        assert_eq!(answer.field("www-authenticate"), Some(challenge.as_str()));
        assert!(!answer.head.contains(&token) && !answer.text().contains(&token));
    }
    assert!(origin.requests().is_empty());
    assert!(
        issuer.fetches() < 3,
        "no caller makes us ask the provider often"
    );
}

#[test]
fn a_missing_scope_is_named() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = guarding(&origin, &issuer).start();
    let token = key.token(&issuer.claims(&json!({"scope": "email"})));
    let answer = proxy.send(with_token(&token));
    answer.is_refused(403, "InsufficientScope");
    let challenge = answer.field("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"insufficient_scope\""));
    assert!(challenge.ends_with("scope=\"itwin-platform\""));
}

#[test]
fn each_way_to_show_no_token_has_an_answer_of_its_own() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = guarding(&origin, &issuer).start();
    let token = key.token(&issuer.claims(&json!({})));
    let asked = Some("Bearer realm=\"itwin-auth-proxy\"");
    for (fields, code) in [
        ("", "TokenMissing"),
        ("Authorization:\r\n", "TokenMissing"),
        ("Authorization: Bearer\r\n", "TokenMissing"),
        ("Authorization: Basic YTpi\r\n", "TokenSchemeUnknown"),
    ] {
        let answer = proxy.send(proxy::with_fields("GET", "/", fields));
        answer.is_refused(401, code);
        assert_eq!(answer.field("www-authenticate"), asked, "{fields}");
    }
    let answer = proxy.get(&format!("/?a=b&access_token={token}"));
    answer.is_refused(400, "TokenInQuery");
    let challenge = answer.field("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_request\""));
    let twice = format!("Authorization: Bearer {token}\r\n").repeat(2);
    let answer = proxy.send(proxy::with_fields("GET", "/", &twice));
    answer.is_refused(400, "SeveralAuthorizations");
    assert!(origin.requests().is_empty());
}

#[test]
fn a_good_token_in_an_odd_field_passes_only_as_what_reaches_the_service() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = guarding(&origin, &issuer).start();
    let token = key.token(&issuer.claims(&json!({})));
    let evil = Pair::new("k").token(&issuer.claims(&json!({"sub": "root"})));
    let refused = [
        format!("Bearer {token}, Bearer {evil}"),
        format!("Bearer {evil}, Bearer {token}"),
        format!("Bearer {token} {evil}"),
        format!("Bearer {token};{evil}"),
        format!("Bearer {token}, realm=\"a\""),
        format!("Bearer \"{token}\""),
        format!("Bearer token={token}"),
        format!("Bearer: {token}"),
        format!("Bearer\t{token}"),
        format!("Bearer \t{token}"),
        format!("Bearer{token}"),
        format!("Bearer%20{token}"),
        format!("Bearer Bearer {token}"),
        format!("Basic {token}"),
        format!("{token} Bearer"),
        format!("Bearer {token}\u{e9}"),
        format!("\u{a0}Bearer {token}"),
        format!("Bearer \u{a0}{token}"),
        format!("Bearer {token}\u{85}"),
        token.clone(),
    ];
    for field in refused {
        let answer = proxy.send(proxy::with_fields(
            "GET",
            "/",
            &format!("Authorization: {field}\r\n"),
        ));
        assert!(
            matches!(answer.status(), 400 | 401),
            "{field:?}: {}",
            answer.head
        );
    }
    assert!(origin.requests().is_empty());
    // the same token for who reads it after us
    for field in [
        format!("Bearer {token}"),
        format!("bEARER   {token}"),
        format!("\t Bearer {token} \t"),
    ] {
        let fields = format!("Authorization: {field}\r\n");
        let answer = proxy.send(proxy::with_fields("GET", "/", &fields));
        answer.is_the_upstreams(200);
        let passed = origin.requests();
        let passed = passed.last().unwrap().field("authorization").unwrap();
        assert_eq!(passed.split_whitespace().nth(1), Some(token.as_str()));
    }
}

#[test]
fn rotated_keys_are_found_and_old_ones_forgotten() {
    let (origin, old, new) = (
        origin::answering([origin::ok("hello")]),
        Pair::new("2024"),
        Pair::new("2025"),
    );
    let issuer = issuer::serving(&[&old]);
    let clock = Clock::for_tests(issuer::wall());
    let proxy = guarding(&origin, &issuer).start_by(clock.clone());
    let [was, is] = [&old, &new].map(|key| key.token(&issuer.claims(&json!({}))));
    proxy.send(with_token(&was)).is_the_upstreams(200);
    issuer.rotate_to(&[&new]);
    proxy.send(with_token(&is)).is_refused(401, "TokenInvalid");
    assert_eq!(issuer.fetches(), 1, "asked just now");
    clock.jump(11_000);
    proxy.send(with_token(&is)).is_the_upstreams(200);
    assert_eq!(issuer.fetches(), 2);
    proxy.send(with_token(&was)).is_refused(401, "TokenInvalid");
}

#[test]
fn the_last_good_keys_serve_while_the_provider_is_down() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    issuer.is_down(Down::Yes);
    let clock = Clock::for_tests(issuer::wall());
    let proxy = guarding(&origin, &issuer).start_by(clock.clone());
    let token = |sub: &str| key.token(&issuer.claims(&json!({"sub": sub})));
    let answer = proxy.send(with_token(&token("a")));
    answer.is_refused(503, "KeysUnavailable");
    assert!(answer.field("retry-after").is_some());
    issuer.is_down(Down::No);
    // a fetch that had begun before may still fail
    let mut answers = (0..20).map(|_| {
        clock.jump(11_000);
        proxy.send(with_token(&token("a")))
    });
    let good = answers.find(|answer| answer.status() != 503);
    good.unwrap().is_the_upstreams(200);
    issuer.is_down(Down::Yes);
    clock.jump(11_000);
    let strange = Pair::new("other").token(&issuer.claims(&json!({})));
    proxy
        .send(with_token(&strange))
        .is_refused(401, "TokenInvalid");
    for sub in ["a", "b"] {
        proxy.send(with_token(&token(sub))).is_the_upstreams(200);
    }
}

#[test]
fn ours_takes_the_place_of_a_callers_token_once_that_was_checked() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let (issuer, idp) = (issuer::serving(&[&key]), idp::issuing());
    let proxy = guarding(&origin, &issuer).injecting(&idp).start();
    let token = key.token(&issuer.claims(&json!({})));
    proxy.send(with_token(&token)).is_the_upstreams(200);
    let requests = origin.requests();
    assert_eq!(requests[0].field("authorization"), Some("Bearer token-1"));
    proxy.get("/").is_refused(401, "TokenMissing");
    proxy
        .send(with_token("dummy"))
        .is_refused(401, "TokenInvalid");
}

#[test]
fn a_token_is_one_way_in_among_others() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let rules = json!([
        {"key": {"secret": "0123456789abcdef"}},
        {"bearer": {"provider": "idp", "audiences": "api"}},
    ]);
    let proxy = guarding(&origin, &issuer).route("admit", rules).start();
    let keyed = proxy::with_fields("GET", "/", "X-Api-Key: 0123456789abcdef\r\n");
    proxy.send(keyed).is_the_upstreams(200);
    let token = key.token(&issuer.claims(&json!({"scope": null})));
    proxy.send(with_token(&token)).is_the_upstreams(200);
    proxy.get("/").is_refused(401, "TokenMissing");
}

/// A route with `changes` to the rule, in front of `origin`.
fn ruled(origin: &Origin, issuer: &Issuer, changes: &Value) -> proxy::Builder {
    let mut rule = json!({"provider": "idp", "audiences": ["api"]});
    rule.as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    proxy::to(origin)
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .route("admit", json!([{"bearer": rule}]))
}

#[test]
fn strangers_pass_where_a_token_is_optional_but_a_bad_token_does_not() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = ruled(&origin, &issuer, &json!({"optional": true})).start();
    proxy.get("/").is_the_upstreams(200);
    let empty = proxy::with_fields("GET", "/", "Authorization:\r\n");
    proxy.send(empty).is_the_upstreams(200);
    let token = key.token(&issuer.claims(&json!({})));
    proxy.send(with_token(&token)).is_the_upstreams(200);
    let late = key.token(&issuer.claims(&json!({"exp": 1})));
    proxy
        .send(with_token(&late))
        .is_refused(401, "TokenExpired");
    proxy.send(with_token("x")).is_refused(401, "TokenInvalid");
    let basic = proxy::with_fields("GET", "/", "Authorization: Basic YTpi\r\n");
    proxy.send(basic).is_refused(401, "TokenSchemeUnknown");
    let query = proxy.send(proxy::get("/?access_token=x"));
    query.is_refused(400, "TokenInQuery");
}

#[test]
fn a_preflight_passes_where_the_route_lets_it() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let preflight = || {
        let fields = "Origin: https://app.test\r\nAccess-Control-Request-Method: PUT\r\n";
        proxy::with_fields("OPTIONS", "/", fields)
    };
    let refuses = ruled(&origin, &issuer, &json!({})).start();
    refuses.send(preflight()).is_refused(401, "TokenMissing");
    let passes = ruled(&origin, &issuer, &json!({"preflight": "pass"})).start();
    passes.send(preflight()).is_the_upstreams(200);
    let other = proxy::with_fields("OPTIONS", "/", "Origin: https://app.test\r\n");
    passes.send(other).is_refused(401, "TokenMissing");
    let fields = "Origin: https://app.test\r\nAccess-Control-Request-Method: PUT\r\n";
    let get = proxy::with_fields("GET", "/", fields);
    passes.send(get).is_refused(401, "TokenMissing");
}

#[test]
fn each_refusal_says_what_would_help() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let challenge = |rule: &Value, claims: Value, status: u16, code: &str| {
        let proxy = ruled(&origin, &issuer, rule)
            .route("resource", json!("https://api.example/imodels"))
            .start();
        let answer = proxy.send(with_token(&key.token(&issuer.claims(&claims))));
        answer.is_refused(status, code);
        answer
            .field("www-authenticate")
            .unwrap_or_default()
            .to_owned()
    };
    let metadata =
        "resource_metadata=\"https://api.example/.well-known/oauth-protected-resource/imodels\"";
    let scopes = json!({"scopes": ["a", "b"], "any_scopes": ["c"]});
    let found = challenge(&scopes, json!({"scope": "a b"}), 403, "InsufficientScope");
    assert!(found.contains("error=\"insufficient_scope\""), "{found}");
    assert!(found.contains("scope=\"a b c\""), "{found}");
    assert!(found.ends_with(metadata), "{found}");
    let mut itwin = scopes;
    itwin["insufficient_scope"] = json!(401);
    challenge(&itwin, json!({"scope": ["a"]}), 401, "InsufficientScope");
    let fresh = json!({"max_age": "5m"});
    let found = challenge(&fresh, json!({"auth_time": 1}), 401, "SignInTooOld");
    assert!(
        found.contains("error=\"insufficient_user_authentication\""),
        "{found}"
    );
    assert!(found.contains("max_age=\"300\""), "{found}");
    let org = json!({"claims": {"org": "ours"}});
    let found = challenge(&org, json!({"org": "theirs"}), 403, "CallerNotAdmitted");
    assert_eq!(found, "", "no better token of this holder would help");
    let client = json!({"clients": ["ours"]});
    challenge(&client, json!({}), 403, "CallerNotAdmitted");
}

#[test]
fn a_route_takes_tokens_of_several_providers_each_by_its_own_rules() {
    let (origin, one, two) = (
        origin::answering([origin::ok("hello")]),
        Pair::new("k"),
        Pair::new("k"),
    );
    let (first, second) = (issuer::serving(&[&one]), issuer::serving(&[&two]));
    let rule =
        |provider, audience| json!({"bearer": {"provider": provider, "audiences": [audience]}});
    let proxy = proxy::to(&origin)
        .with("providers.first", json!({"issuer": first.url()}))
        .with("providers.second", json!({"issuer": second.url()}))
        .route(
            "admit",
            json!([rule("first", "api"), rule("second", "other")]),
        )
        .start();
    let of_first = first.claims(&json!({}));
    let of_second = second.claims(&json!({"aud": "other"}));
    proxy
        .send(with_token(&one.token(&of_first)))
        .is_the_upstreams(200);
    proxy
        .send(with_token(&two.token(&of_second)))
        .is_the_upstreams(200);
    // the same key id, the other's key
    proxy
        .send(with_token(&one.token(&of_second)))
        .is_refused(401, "TokenInvalid");
    proxy
        .send(with_token(&two.token(&of_first)))
        .is_refused(401, "TokenInvalid");
    let crossed = second.claims(&json!({"aud": "api"}));
    proxy
        .send(with_token(&two.token(&crossed)))
        .is_refused(401, "TokenInvalid");
}

#[test]
fn a_restart_while_the_provider_is_down_still_serves_its_tokens() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let start = |secret: &str| {
        let store = json!({"path": path("store"), "key": secret});
        guarding(&origin, &issuer)
            .with("token_store", store)
            .start()
    };
    let token = with_token(&key.token(&issuer.claims(&json!({}))));
    let proxy = start("a key for the store of tokens");
    proxy.send(&token).is_the_upstreams(200);
    wait::until("the keys are written", || path("store.keys").exists());
    drop(proxy);
    issuer.is_down(Down::Yes);
    let proxy = start("a key for the store of tokens");
    proxy.send(&token).is_the_upstreams(200);
    drop(proxy);
    // who can write the file, but does not know the key, adds no key of its own
    let proxy = start("another key for the store");
    proxy.send(&token).is_refused(503, "KeysUnavailable");
}

#[test]
fn a_method_that_a_service_may_take_for_another_takes_that_ones_route() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let route = |methods: Value, scopes: Value| {
        let mut route = json!({
            "path": "/x/**",
            "admit": [{"bearer": {"audiences": ["api"]}}],
            "upstream": origin.url(),
        });
        if !methods.is_null() {
            route["methods"] = methods;
            route["admit"][0]["bearer"]["scopes"] = scopes;
        }
        route
    };
    let proxy = proxy::to(&origin)
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .with(
            "routes",
            json!([
                route(json!(["DELETE", "GET"]), json!(["strict"])),
                route(Value::Null, Value::Null),
            ]),
        )
        .start();
    let token = key.token(&issuer.claims(&json!({"scope": "loose"})));
    let field = format!("Authorization: Bearer {token}\r\n");
    let ask = |method: &str| proxy.send(proxy::with_fields(method, "/x/1", &field));
    ask("POST").is_the_upstreams(200);
    for method in ["DELETE", "delete", "Delete", "get"] {
        ask(method).is_refused(403, "InsufficientScope");
    }
    // HEAD is a GET without its body
    let mut client = proxy.connect();
    client.send(proxy::with_fields("HEAD", "/x/1", &field));
    assert_eq!(client.head().status(), 403);
}

#[test]
fn a_request_has_one_token_and_not_in_its_query() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = ruled(&origin, &issuer, &json!({"optional": true})).start();
    let token = key.token(&issuer.claims(&json!({})));
    let field = format!("Authorization: Bearer {token}\r\n");
    for query in [
        "access_token=x",
        "a=1&access_token=x",
        "a=1;access_token=x",
        "access%5Ftoken=x",
        "%61ccess_token",
        "ACCESS_TOKEN=x",
        "access.token=x",
        "+access_token=x",
        "%20access_token[]=x",
        "access_token%5b0%5d=x",
    ] {
        let path = format!("/?{query}");
        let beside = proxy.send(proxy::with_fields("GET", &path, &field));
        beside.is_refused(400, "TokenInQuery");
        proxy.get(&path).is_refused(400, "TokenInQuery");
    }
    let other = proxy::with_fields("GET", "/?my_access_token=x&access_tokens", &field);
    proxy.send(other).is_the_upstreams(200);
    // also where something else admits the caller: the service would take it for checked
    let keyed = proxy::to(&origin)
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .route(
            "admit",
            json!([
                {"key": {"secret": "a key that nobody guesses"}},
                {"bearer": {"audiences": ["api"]}},
            ]),
        )
        .start();
    let field = "X-Api-Key: a key that nobody guesses\r\n";
    let ask = |path| keyed.send(proxy::with_fields("GET", path, field));
    ask("/").is_the_upstreams(200);
    ask("/?access_token=x").is_refused(400, "TokenInQuery");
}

#[test]
fn a_preflight_carries_nothing() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = ruled(&origin, &issuer, &json!({"preflight": "pass"})).start();
    let with = |more: &str| {
        let fields =
            format!("Origin: https://app.test\r\nAccess-Control-Request-Method: PUT\r\n{more}");
        proxy::with_fields("OPTIONS", "/", &fields)
    };
    proxy
        .send(with("Content-Length: 0\r\n"))
        .is_the_upstreams(200);
    let length = with("Content-Length: 1\r\n") + "x";
    proxy.send(length).is_refused(401, "TokenMissing");
    let chunked = with("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n";
    proxy.send(chunked).is_refused(401, "TokenMissing");
}

#[test]
fn keys_and_what_was_verified_stay_when_another_part_of_the_configuration_changes() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = guarding(&origin, &issuer).start();
    let token = key.token(&issuer.claims(&json!({})));
    proxy.send(with_token(&token)).is_the_upstreams(200);
    let said = proxy.reload(|config| {
        let rule = json!({"provider": "idp", "audiences": ["api"], "scopes": ["another"]});
        config["routes"][0]["admit"] = json!([{"bearer": rule}]);
    });
    assert_eq!(said.unwrap()["result"], "applied");
    // what was verified is remembered, what was allowed is not
    proxy
        .send(with_token(&token))
        .is_refused(403, "InsufficientScope");
    proxy.reload(|_| {}).unwrap();
    proxy.send(with_token(&token)).is_the_upstreams(200);
    assert_eq!(issuer.fetches(), 1);
}

#[test]
fn a_provider_that_takes_the_place_of_another_is_the_only_one_believed() {
    let origin = origin::answering([origin::ok("hello")]);
    let (old, new) = (Pair::new("k"), Pair::new("k"));
    let (before, after) = (issuer::serving(&[&old]), issuer::serving(&[&new]));
    let proxy = guarding(&origin, &before).start();
    let token = old.token(&before.claims(&json!({})));
    proxy.send(with_token(&token)).is_the_upstreams(200);
    let said = proxy.reload(|config| {
        config["providers"]["idp"] = json!({"issuer": after.url()});
    });
    assert_eq!(said.unwrap()["result"], "applied");
    let theirs = new.token(&after.claims(&json!({})));
    proxy.send(with_token(&theirs)).is_the_upstreams(200);
    proxy
        .send(with_token(&token))
        .is_refused(401, "TokenInvalid");
}
