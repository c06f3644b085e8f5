//! Providers that fail, or mean harm, while callers with good tokens are to be served.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use itwin_auth_proxy::clock::Clock;
use serde_json::{Value, json};

use crate::support::{
    issuer::{self, Down, Issuer, Pair, Says},
    origin::{self, Origin},
    proxy::{self, Proxy},
};

/// Callers ask a provider for newer keys this often at most.
const ASK_AGAIN_MS: i64 = 10_000;

fn guarding(origin: &Origin, issuers: &[(&str, &Issuer)]) -> proxy::Builder {
    let rule = |(name, _): &(&str, _)| json!({"bearer": {"provider": name, "audiences": ["api"]}});
    let rules: Vec<Value> = issuers.iter().map(rule).collect();
    let proxy = proxy::to(origin).route("admit", rules);
    issuers.iter().fold(proxy, |proxy, (name, issuer)| {
        let provider = json!({"issuer": issuer.url(), "connect_timeout": "1s", "timeout": "1s", "max_stale": "1h"});
        proxy.with(&format!("providers.{name}"), provider)
    })
}

fn with_token(token: &str) -> String {
    proxy::with_fields("GET", "/", &format!("Authorization: Bearer {token}\r\n"))
}

/// A token of the issuer that was never seen before, by this key.
fn token(issuer: &Issuer, key: &Pair, number: usize) -> String {
    let subject = format!("caller {number}");
    let exp = issuer::now() + 30 * 24 * 3600;
    key.token(&issuer.claims(&json!({"sub": subject, "exp": exp})))
}

/// By a key that nobody has.
fn strange(issuer: &Issuer, number: usize) -> String {
    token(issuer, &Pair::new(&format!("strange {number}")), number)
}

/// What must not be taken for a key set that replaces a good one.
fn misleading(elsewhere: &Origin, good: &Pair) -> Vec<(&'static str, Says)> {
    let said =
        |status, fields: &str, body: &str| Says::Answer(origin::answer(status, fields, body));
    let json_field = "content-type: application/json\r\n";
    let deep = format!(
        "{{\"keys\":{}{}}}",
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    // nobody asked for it, and nobody inflates it: no bomb goes off
    let gzip = "\x1f\u{8b}\x08\0\0\0\0\0\0\u{3}\u{3}\0\0\0\0\0\0\0\0\0";
    let location = format!("location: {}/keys\r\n", elsewhere.url());
    vec![
        ("no set", Says::json(&json!({"issuer": "me"}))),
        (
            "keys that are no list",
            Says::json(&json!({"keys": {"k": good.jwk}})),
        ),
        ("null", Says::json(&Value::Null)),
        ("an empty body", said("200 OK", json_field, "")),
        (
            "a page",
            said(
                "200 OK",
                "content-type: text/html\r\n",
                "<html>Log in</html>",
            ),
        ),
        ("an error", said("500 Internal Server Error", "", "oops")),
        (
            "not found",
            said("404 Not Found", json_field, "{\"keys\":[]}"),
        ),
        (
            "too many requests",
            said("429 Too Many Requests", "retry-after: 1\r\n", ""),
        ),
        (
            "no content",
            Says::Answer("HTTP/1.1 204 No Content\r\n\r\n".into()),
        ),
        ("a redirect", said("302 Found", &location, "")),
        (
            "a permanent redirect",
            said("308 Permanent Redirect", &location, ""),
        ),
        ("deep JSON", said("200 OK", json_field, &deep)),
        (
            "half of it",
            said("200 OK", json_field, "{\"keys\":[{\"kty\":\"EC\","),
        ),
        (
            "compressed, unasked",
            said(
                "200 OK",
                &format!("{json_field}content-encoding: gzip\r\n"),
                gzip,
            ),
        ),
        (
            "cut off",
            Says::Answer(
                "HTTP/1.1 200 OK\r\ncontent-length: 99\r\nconnection: close\r\n\r\n{\"keys\":"
                    .into(),
            ),
        ),
        (
            "no HTTP",
            Says::Answer("SSH-2.0-OpenSSH_9.6\r\n\r\n".into()),
        ),
        (
            "a length of exabytes",
            Says::Endless(
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", u64::MAX),
                " ",
            ),
        ),
        (
            "without an end",
            Says::Endless(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".into(),
                "10\r\n                \r\n",
            ),
        ),
        (
            "a header without an end",
            Says::Endless(
                "HTTP/1.1 200 OK\r\n".into(),
                "x: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
            ),
        ),
        (
            "100 Continue without an end",
            Says::Endless(String::new(), "HTTP/1.1 100 Continue\r\n\r\n"),
        ),
        ("no answer", Says::Nothing),
    ]
}

/// Sets without a key that can be used.
fn of_no_use(good: &Pair) -> Vec<(&'static str, Says)> {
    let of = |keys: Value| Says::json(&json!({"keys": keys}));
    let rsa = |n: &[u8], e: &[u8]| {
        let [n, e] = [n, e].map(|value| URL_SAFE_NO_PAD.encode(value));
        of(json!([{"kty": "RSA", "kid": "k", "n": n, "e": e}]))
    };
    let mut public = good.jwk.clone();
    public["d"] = json!("AAAA");
    let mut encrypts = good.jwk.clone();
    encrypts["use"] = json!("enc");
    vec![
        ("an empty set", of(json!([]))),
        ("a modulus of 16,384 bits", rsa(&[0xff; 2048], &[1, 0, 1])),
        ("a modulus of 1,024 bits", rsa(&[0xff; 128], &[1, 0, 1])),
        ("an exponent of 2,048 bits", rsa(&[0xff; 256], &[0xff; 256])),
        ("an exponent of 1", rsa(&[0xff; 256], &[1])),
        (
            "a secret",
            of(json!([{"kty": "oct", "kid": "k", "k": "AAAA"}])),
        ),
        ("a private key", of(json!([public]))),
        ("a key for encryption", of(json!([encrypts]))),
    ]
}

#[test]
fn no_answer_of_a_provider_takes_its_good_keys_away() {
    let origin = origin::answering([origin::ok("hello")]);
    let (key, new) = (Pair::new("k"), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let clock = Clock::for_tests(issuer::wall());
    let proxy = guarding(&origin, &[("idp", &issuer)]).start_by(clock.clone());
    proxy
        .send(with_token(&token(&issuer, &key, 0)))
        .is_the_upstreams(200);
    let elsewhere = origin::answering([origin::ok("{}")]);
    let all = misleading(&elsewhere, &key)
        .into_iter()
        .chain(of_no_use(&key));
    for (number, (what, says)) in (1..).zip(all) {
        let fetches = issuer.fetches();
        issuer.says(says);
        clock.jump(ASK_AGAIN_MS + 1000);
        let answer = proxy.send(with_token(&strange(&issuer, number)));
        answer.is_refused(401, "TokenInvalid");
        assert!(issuer.fetches() > fetches, "{what}: was not asked for");
        let good = proxy.send(with_token(&token(&issuer, &key, number)));
        assert_eq!(good.status(), 200, "{what}: {}", good.text());
    }
    assert!(elsewhere.requests().is_empty(), "no redirect is followed");
    // among 999 others that are of no use, the good one is found, and the same id with another key
    let bad = json!({"kty": "oct", "k": "AAAA"});
    let keys: Vec<&Value> = std::iter::repeat_n(&bad, 999).chain([&new.jwk]).collect();
    issuer.says(Says::json(&json!({"keys": keys})));
    clock.jump(ASK_AGAIN_MS + 1000);
    proxy
        .send(with_token(&token(&issuer, &new, 1)))
        .is_the_upstreams(200);
    let old = proxy.send(with_token(&token(&issuer, &key, 0)));
    old.is_refused(401, "TokenInvalid");
}

#[test]
fn keys_are_looked_for_only_where_the_provider_itself_says() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let evil = issuer::serving(&[&key]);
    let meta = |text: &str| text.replace("EVIL", &evil.url());
    let refused = [
        r#"{"issuer":"EVIL","jwks_uri":"EVIL/keys"}"#,
        r#"{"issuer":"SELF/x","jwks_uri":"EVIL/keys"}"#,
        r#"{"issuer":"SELF.evil.example","jwks_uri":"EVIL/keys"}"#,
        r#"{"jwks_uri":"EVIL/keys"}"#,
        r#"{"issuer":null,"jwks_uri":"EVIL/keys"}"#,
        r#"{"issuer":["SELF"],"jwks_uri":"EVIL/keys"}"#,
        r#"{"issuer":"EVIL","issuer":"SELF","jwks_uri":"EVIL/keys"}"#,
        r#"{"issuer":"SELF"}"#,
        r#"{"issuer":"SELF","jwks_uri":7}"#,
        r#"{"issuer":"SELF","jwks_uri":"/keys"}"#,
        r#"{"issuer":"SELF","jwks_uri":"http://keys.example/keys"}"#,
        r#"{"issuer":"SELF","jwks_uri":"file:///etc/hostname"}"#,
        r#"{"issuer":"SELF","jwks_uri":"http://a:b@127.0.0.1:1/keys"}"#,
        r#"{"issuer":"SELF","jwks_uri":"data:application/json,{}"}"#,
        r#"[{"issuer":"SELF","jwks_uri":"EVIL/keys"}]"#,
        "<html>",
    ];
    let good = r#"{"issuer":"SELF","jwks_uri":"SELF/keys"}"#;
    let cases = refused.map(|text| (text, 503));
    for (text, status) in cases.into_iter().chain([(good, 200)]) {
        let (text, keys) = (meta(text), Says::set(&[&key]));
        let provider = origin::serving(move |mut connection| {
            while let Some(request) = connection.request() {
                let host = request.field("host").unwrap_or_default().to_owned();
                let metadata = text.replace("SELF", &format!("http://{host}"));
                connection.send(match (request.request(), &keys) {
                    ("GET /keys", Says::Answer(keys)) => keys.clone(),
                    _ => origin::json(&metadata),
                });
            }
        });
        let rule = json!([{"bearer": {"provider": "idp", "audiences": ["api"]}}]);
        let proxy = proxy::to(&origin)
            .with("providers.idp", json!({"issuer": provider.url()}))
            .route("admit", rule)
            .start();
        let claims = evil.claims(&json!({"iss": provider.url()}));
        let answer = proxy.send(with_token(&key.token(&claims)));
        assert_eq!(
            answer.status(),
            status,
            "{}: {}",
            asked_of(&provider),
            answer.text()
        );
    }
    assert_eq!(evil.fetches(), 0);
    assert_eq!(origin.requests().len(), 1);
}

/// What was asked of a provider, for a message.
fn asked_of(provider: &Origin) -> String {
    let requests = provider.requests();
    let lines: Vec<&str> = requests.iter().map(|request| request.request()).collect();
    lines.join(", ")
}

#[test]
fn while_a_provider_does_not_answer_nobody_waits_whose_key_is_known() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let clock = Clock::for_tests(issuer::wall());
    let proxy = guarding(&origin, &[("idp", &issuer)])
        .with("providers.idp.timeout", "10s")
        .start_by(clock.clone());
    proxy
        .send(with_token(&token(&issuer, &key, 0)))
        .is_the_upstreams(200);
    issuer.says(Says::Nothing);
    clock.jump(ASK_AGAIN_MS + 1000);
    let mut waiting = proxy.connect();
    waiting.send(with_token(&strange(&issuer, 0)));
    issuer.wait_for_fetches(2);
    for number in 1..20 {
        let good = proxy.send(with_token(&token(&issuer, &key, number)));
        good.is_the_upstreams(200);
    }
    assert_eq!(
        issuer.given_up(),
        0,
        "they were served while it was waited for"
    );
}

#[test]
fn one_issuers_trouble_is_not_anothers() {
    let (origin, key, lost) = (
        origin::answering([origin::ok("hello")]),
        Pair::new("k"),
        Pair::new("k"),
    );
    let (healthy, troubled) = (issuer::serving(&[&key]), issuer::serving(&[&lost]));
    troubled.says(Says::Nothing);
    let proxy = guarding(&origin, &[("troubled", &troubled), ("healthy", &healthy)])
        .with("providers.troubled.timeout", "10s")
        .start();
    let mut waiting = proxy.connect();
    waiting.send(with_token(&token(&troubled, &lost, 0)));
    troubled.wait_for_fetches(1);
    for number in 0..20 {
        let good = proxy.send(with_token(&token(&healthy, &key, number)));
        good.is_the_upstreams(200);
        // nor does its token become good by the other's key
        let forged = proxy.send(with_token(&token(&healthy, &lost, number)));
        forged.is_refused(401, "TokenInvalid");
    }
    assert_eq!(troubled.given_up(), 0);
}

#[test]
fn ten_thousand_strange_keys_cost_one_fetch_in_ten_seconds_and_nobody_else_anything() {
    const BATCHES: usize = 100;
    const STEP_MS: i64 = 1000;
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let clock = Clock::for_tests(issuer::wall());
    let proxy = guarding(&origin, &[("idp", &issuer)]).start_by(clock.clone());
    proxy
        .send(with_token(&token(&issuer, &key, 0)))
        .is_the_upstreams(200);
    let claims = issuer.claims(&json!({}));
    let mut attacker = proxy.connect();
    for batch in 0..BATCHES {
        let requests: String = (0..100)
            .map(|number| {
                let header = json!({"alg": "ES256", "kid": format!("{batch}.{number}")});
                let unsigned = issuer::unsigned(&header, &claims);
                with_token(&format!("{unsigned}.{}", "A".repeat(86)))
            })
            .collect();
        attacker.send(requests);
        let good = proxy.send(with_token(&token(&issuer, &key, batch)));
        good.is_the_upstreams(200);
        for _ in 0..100 {
            attacker.answer().is_refused(401, "TokenInvalid");
        }
        clock.jump(STEP_MS);
    }
    let passed = STEP_MS * i64::try_from(BATCHES).unwrap();
    let most = 2 + usize::try_from(passed / ASK_AGAIN_MS).unwrap();
    let fetches = issuer.fetches();
    assert!((5..=most).contains(&fetches), "{fetches} of {most}");
}

#[test]
fn keys_that_are_too_old_are_believed_no_longer_and_come_back() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let clock = Clock::for_tests(issuer::wall());
    let proxy = guarding(&origin, &[("idp", &issuer)]).start_by(clock.clone());
    let good = token(&issuer, &key, 0);
    proxy.send(with_token(&good)).is_the_upstreams(200);
    issuer.is_down(Down::Yes);
    clock.jump(3000 * 1000);
    asked_for(&proxy, &issuer, &clock, 401);
    proxy.send(with_token(&good)).is_the_upstreams(200);
    clock.jump(700 * 1000);
    // it was verified before, which is forgotten with the key
    asked_for(&proxy, &issuer, &clock, 503);
    proxy
        .send(with_token(&good))
        .is_refused(503, "KeysUnavailable");
    issuer.is_down(Down::No);
    let mut answers = (0..20).map(|_| {
        clock.jump(ASK_AGAIN_MS + 1000);
        proxy.send(with_token(&good)).status()
    });
    assert!(answers.any(|status| status == 200));
}

/// Has the keys asked for by strange tokens until those are answered so.
fn asked_for(proxy: &Proxy, issuer: &Issuer, clock: &Clock, status: u16) {
    let mut answers = (0..20).map(|number| {
        clock.jump(ASK_AGAIN_MS + 1000);
        proxy.send(with_token(&strange(issuer, number))).status()
    });
    assert!(answers.any(|answer| answer == status), "never {status}");
}
