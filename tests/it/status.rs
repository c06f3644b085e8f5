//! What `/status` says of keys, listeners and services, for those who look.

use std::time::{Duration, UNIX_EPOCH};

use itwin_auth_proxy::clock::Clock;
use serde_json::{Value, json};

use crate::support::{
    idp,
    issuer::{self, Pair},
    origin,
    proxy::{self, Proxy},
    wait::until,
};

const HOUR: u64 = 3600;
const HOUR_MS: i64 = 3_600_000;

fn status(proxy: &Proxy) -> Value {
    proxy.admin("/status").json()
}

fn with_token(token: &str) -> String {
    proxy::with_fields("GET", "/", &format!("Authorization: Bearer {token}\r\n"))
}

#[test]
fn each_key_says_since_when_it_is_known_and_when_it_was_last_of_use() {
    let (origin, old, new) = (
        origin::answering([origin::ok("hello")]),
        Pair::new("old"),
        Pair::new("new"),
    );
    let issuer = issuer::serving(&[&old]);
    let clock = Clock::for_tests(Duration::from_secs(issuer::now()));
    let proxy = proxy::to(&origin)
        .with("admin.bind", "127.0.0.1:0")
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .route(
            "admit",
            json!([{"bearer": {"provider": "idp", "audiences": "api"}}]),
        )
        .start_by(clock.clone());
    let keys = || status(&proxy)["keys"][0]["keys"].clone();
    until("the keys are there", || keys()[0].is_object());
    let ago = |at: &Value| {
        let at = humantime::parse_rfc3339(at.as_str().unwrap()).unwrap();
        let at = at.duration_since(UNIX_EPOCH).unwrap();
        clock.now().wall.saturating_sub(at).as_secs()
    };
    let key = keys()[0].clone();
    assert_eq!((&key["kid"], &key["alg"]), (&json!("old"), &json!("ES256")));
    assert!(ago(&key["since"]) < HOUR, "{key}");
    assert_eq!(key["last_verified"], json!(null));

    clock.jump(HOUR_MS);
    let token = old.token(&issuer.claims(&json!({"exp": issuer::now() + 9 * HOUR})));
    proxy.send(with_token(&token)).is_the_upstreams(200);
    let key = keys()[0].clone();
    assert!(ago(&key["since"]) >= HOUR, "{key}");
    assert!(ago(&key["last_verified"]) < HOUR, "{key}");
    // from memory as well
    clock.jump(HOUR_MS);
    proxy.send(with_token(&token)).is_the_upstreams(200);
    assert!(ago(&keys()[0]["last_verified"]) < HOUR);
    clock.jump(HOUR_MS);
    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", "A".repeat(86));
    proxy
        .send(with_token(&forged))
        .is_refused(401, "TokenInvalid");
    assert!(ago(&keys()[0]["last_verified"]) >= HOUR);

    clock.jump(HOUR_MS);
    issuer.rotate_to(&[&old, &new]);
    let token = new.token(&issuer.claims(&json!({"exp": issuer::now() + 9 * HOUR})));
    proxy.send(with_token(&token)).is_the_upstreams(200);
    let keys = keys();
    assert!(ago(&keys[0]["since"]) >= 4 * HOUR, "{keys}");
    assert!(ago(&keys[0]["last_verified"]) >= HOUR, "{keys}");
    assert!(ago(&keys[1]["since"]) < HOUR, "{keys}");
    assert!(ago(&keys[1]["last_verified"]) < HOUR, "{keys}");
}

#[test]
fn each_listener_says_where_it_is_and_how_it_serves() {
    let origin = origin::answering([origin::ok("hello")]);
    let authority = crate::support::certificates::Authority::new();
    let own = authority.issue("localhost");
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("a").display());
    let proxy = proxy::to(&origin)
        .with("admin.bind", "127.0.0.1:0")
        .with(
            "interception",
            json!({"certificate": authority.file(), "key": authority.key_file(), "hosts": ["api.test"]}),
        )
        .with(
            "listeners",
            json!([
                {"bind": "127.0.0.1:0", "tls": {"certificate": own.certificate, "key": own.key}},
                {"bind": "127.0.0.1:0", "mode": "forward"},
                {"bind": "127.0.0.1:0", "mode": "decide", "gateway": "nginx"},
                {"bind": "127.0.0.1:0", "mode": "transparent"},
                {"bind": socket},
            ]),
        )
        .start();
    let listeners = status(&proxy)["listeners"].clone();
    let expected = [
        ("reverse", Value::Null, "own certificate"),
        ("forward", Value::Null, "none"),
        ("decide", json!("nginx"), "none"),
        ("transparent", Value::Null, "none"),
        ("reverse", Value::Null, "none"),
        ("opened connections", Value::Null, "made for each host"),
    ];
    for (number, (mode, gateway, tls)) in expected.into_iter().enumerate() {
        let one = &listeners[number];
        assert_eq!(one["mode"], mode, "{listeners}");
        assert_eq!(one["gateway"], gateway, "{listeners}");
        assert_eq!(one["tls"], tls, "{listeners}");
        assert_eq!(one["requests"], 0, "{listeners}");
        let address = match number {
            5 => "interception",
            number => proxy.listener(number),
        };
        assert_eq!(one["address"], address, "{listeners}");
    }
    assert_eq!(listeners[4]["address"], socket);
    assert_eq!(listeners.as_array().unwrap().len(), 6, "{listeners}");
}

#[test]
fn a_service_that_refuses_our_token_again_and_again_is_a_finding_with_a_remedy() {
    let refusing = origin::answer("403 Forbidden", "", "no member");
    let (origin, idp) = (origin::answering([refusing]), idp::issuing());
    let proxy = proxy::to(&origin)
        .injecting(&idp)
        .with("admin.bind", "127.0.0.1:0")
        .start();
    let found = || {
        let findings = status(&proxy)["findings"].clone();
        let all = findings.as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["kind"] == "token_refused")
    };
    for _ in 0..4 {
        proxy.get("/").is_the_upstreams(403);
    }
    assert_eq!(found(), None, "a few say nothing");
    for _ in 0..4 {
        proxy.get("/").is_the_upstreams(403);
    }
    until("it is found", || found().is_some());
    let finding = found().unwrap();
    let title = finding["title"].as_str().unwrap();
    let host = origin.url().replace("http://", "");
    assert!(title.starts_with(&format!("{host} answers 403")), "{title}");
    let text = proxy.admin("/metrics").text().to_owned();
    let counted = "itwin_auth_proxy_refused_tokens_total{route=\"route-1\",status=\"403\"} 8\n";
    assert!(text.contains(counted), "{text}");
}
