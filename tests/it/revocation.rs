//! Tokens that are good no longer, though nothing in them says so.

use std::fs;

use itwin_auth_proxy::clock::Clock;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    client::Answer,
    issuer::{self, Issuer, Pair},
    origin::{self, Origin},
    proxy::{self, Builder, Proxy},
    wait,
};

fn guarding(origin: &Origin, issuer: &Issuer) -> Builder {
    proxy::to(origin)
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .route("admit", json!([{"bearer": {"audiences": ["api"]}}]))
}

fn call(proxy: &Proxy, token: &str) -> Answer {
    let field = format!("Authorization: Bearer {token}\r\n");
    proxy.send(proxy::with_fields("GET", "/", &field))
}

fn is_revoked(answer: &Answer) {
    answer.is_refused(401, "TokenInvalid");
    let challenge = answer.field("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    assert!(
        challenge.contains("The access token was revoked."),
        "{challenge}"
    );
}

#[test]
fn a_list_in_a_file_is_followed() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("revoked.txt");
    fs::write(&file, "").unwrap();
    let proxy = guarding(&origin, &issuer)
        .with("revocation.file", file.to_str().unwrap())
        .start();
    let token = |changes: Value| key.token(&issuer.claims(&changes));
    let bad = token(json!({"jti": "t-1"}));
    let good = token(json!({"jti": "t-2"}));
    call(&proxy, &bad).is_the_upstreams(200);

    fs::write(&file, "jit t-2\njti t-1 # stolen\n").unwrap();
    wait::until("the list is read", || call(&proxy, &bad).status() == 401);
    is_revoked(&call(&proxy, &bad));
    // a line that means nothing costs the others nothing
    call(&proxy, &good).is_the_upstreams(200);

    // a file that is gone leaves what was known
    fs::remove_file(&file).unwrap();
    is_revoked(&call(&proxy, &bad));
    fs::write(&file, "jti t-2\n").unwrap();
    wait::until("the list is read", || call(&proxy, &good).status() == 401);
    call(&proxy, &bad).is_the_upstreams(200);
}

#[test]
fn a_user_who_signs_in_anew_is_let_in_again() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("revoked.txt");
    let now = issuer::now();
    let (url, other) = (issuer.url(), "https://other.example");
    let lines = [
        format!("sub ann before={now} issuer={url}"),
        format!("sub bob issuer={other}"),
        format!("sid s-1 until={}", now - 1),
        "sid s-2".to_owned(),
    ];
    fs::write(&file, lines.join("\n")).unwrap();
    let proxy = guarding(&origin, &issuer)
        .with("revocation.file", file.to_str().unwrap())
        .start();
    let call = |changes: Value| call(&proxy, &key.token(&issuer.claims(&changes)));
    wait::until("the list is read", || {
        call(json!({"sid": "s-2"})).status() == 401
    });
    is_revoked(&call(json!({"iat": now - 1})));
    // renewed, but of the same sign-in
    is_revoked(&call(json!({"iat": now, "auth_time": now - 1})));
    // it does not say how old it is
    is_revoked(&call(json!({})));
    call(json!({"iat": now})).is_the_upstreams(200);
    call(json!({"iat": now, "auth_time": now})).is_the_upstreams(200);
    call(json!({"sub": "bob"})).is_the_upstreams(200);
    call(json!({"sub": "cat", "sid": "s-1"})).is_the_upstreams(200);
}

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn logout(issuer: &Issuer, changes: &Value) -> Value {
    let now = issuer::now();
    let id: [u8; 8] = rand::random();
    let mut claims = json!({
        "iss": issuer.url(), "aud": "webapp-1", "iat": now, "exp": now + 120,
        "jti": format!("{id:?}"), "sid": "s-1", "sub": "ann", "events": {EVENT: {}},
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

const LOGOUT: &str = "/.itwin-auth/backchannel-logout";

fn post(proxy: &Proxy, body: &str) -> Answer {
    let length = body.len();
    let fields =
        format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n");
    proxy.send(proxy::with_fields("POST", LOGOUT, &fields) + body)
}

fn taking_logouts(origin: &Origin, issuer: &Issuer) -> Builder {
    guarding(origin, issuer).with(
        "revocation.backchannel_logout",
        json!({"clients": ["webapp-1"], "provider": "idp"}),
    )
}

#[test]
fn a_provider_ends_a_session_on_every_thread() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = taking_logouts(&origin, &issuer).with("workers", 3).start();
    let token = |sid: &str| key.token(&issuer.claims(&json!({"sid": sid})));
    let (ended, other) = (token("s-1"), token("s-2"));
    // remembered as good by every thread
    for _ in 0..12 {
        call(&proxy, &ended).is_the_upstreams(200);
    }
    let header = json!({"alg": "ES256", "typ": "logout+jwt"});
    let form = format!(
        "logout_token={}",
        key.sign(&header, &logout(&issuer, &json!({})))
    );
    let answer = post(&proxy, &form);
    assert_eq!((answer.status(), answer.text()), (200, ""));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    for _ in 0..12 {
        is_revoked(&call(&proxy, &ended));
        call(&proxy, &other).is_the_upstreams(200);
    }
    assert_eq!(post(&proxy, &form).status(), 400, "it comes again");
}

#[test]
fn a_provider_ends_what_a_user_has_until_now() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let clock = Clock::for_tests(issuer::wall());
    let proxy = taking_logouts(&origin, &issuer).start_by(clock.clone());
    let now = issuer::now();
    let token = |changes: Value| key.token(&issuer.claims(&changes));
    let claims = logout(&issuer, &json!({"sid": null}));
    let form = format!("a=b&logout_token={}", key.token(&claims));
    assert_eq!(post(&proxy, &form).status(), 200);
    is_revoked(&call(&proxy, &token(json!({"iat": now - 10}))));
    is_revoked(&call(&proxy, &token(json!({}))));
    call(&proxy, &token(json!({"iat": now + 2}))).is_the_upstreams(200);
    call(&proxy, &token(json!({"sub": "bob"}))).is_the_upstreams(200);
}

#[test]
fn what_is_no_good_logout_token_ends_nothing() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = taking_logouts(&origin, &issuer).start();
    let session = key.token(&issuer.claims(&json!({"sid": "s-1"})));
    let header = json!({"alg": "ES256", "typ": "logout+jwt"});
    let now = issuer::now();
    let mut bodies: Vec<String> = [
        json!({"iss": "https://other.example"}),
        json!({"aud": "another"}),
        json!({"aud": null}),
        json!({"events": null}),
        json!({"events": {"http://schemas.openid.net/event/other": {}}}),
        json!({"events": {EVENT: true}}),
        json!({"events": EVENT}),
        json!({"nonce": "n"}),
        json!({"sid": null, "sub": null}),
        json!({"sid": 1}),
        json!({"sid": "s".repeat(513)}),
        json!({"iat": null}),
        json!({"iat": now - 700, "exp": null}),
        json!({"iat": now + 70}),
        json!({"exp": now - 61}),
        json!({"jti": null}),
    ]
    .iter()
    .map(|changes| key.sign(&header, &logout(&issuer, changes)))
    .collect();
    let good = logout(&issuer, &json!({}));
    bodies.push(Pair::new("k").sign(&header, &good));
    bodies.push(Pair::new("other").sign(&header, &good));
    bodies.push(key.sign(&json!({"alg": "ES256", "typ": "at+jwt"}), &good));
    bodies.push(key.sign(&json!({"alg": "ES256", "crit": ["exp"]}), &good));
    bodies.push(issuer::unsigned(&json!({"alg": "none"}), &good) + ".");
    bodies.push("x".into());
    bodies.push(session.clone());
    let mut forms: Vec<String> = bodies
        .iter()
        .map(|token| format!("logout_token={token}"))
        .collect();
    let good = key.sign(&header, &good);
    forms.push(format!("logout_token={good}&logout_token={good}"));
    forms.push(format!("token={good}"));
    forms.push("logout_token=".to_owned() + &"x".repeat(40_000));
    for form in forms {
        let answer = post(&proxy, &form);
        assert_eq!(answer.status(), 400, "{form}");
        assert_eq!(answer.json()["error"], "invalid_request");
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
    let plain = proxy::with_body("POST", LOGOUT, &format!("logout_token={good}"));
    assert_eq!(proxy.send(plain).status(), 400, "no form");
    assert_eq!(proxy.get(LOGOUT).status(), 405);
    call(&proxy, &session).is_the_upstreams(200);
    // none of that used it up
    let form = format!("logout_token={good}");
    assert_eq!(post(&proxy, &form).status(), 200);
    is_revoked(&call(&proxy, &session));
}

#[test]
fn a_logout_token_may_be_the_first_that_new_keys_signed() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let clock = Clock::for_tests(issuer::wall());
    let proxy = taking_logouts(&origin, &issuer).start_by(clock.clone());
    let session = key.token(&issuer.claims(&json!({"sid": "s-1"})));
    call(&proxy, &session).is_the_upstreams(200);
    let next = Pair::new("next");
    issuer.rotate_to(&[&key, &next]);
    clock.jump(11_000);
    let form = format!("logout_token={}", next.token(&logout(&issuer, &json!({}))));
    assert_eq!(post(&proxy, &form).status(), 200);
    is_revoked(&call(&proxy, &session));
}

#[test]
fn a_logout_reaches_the_tokens_of_the_providers_other_name() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let also = "https://also.example";
    let proxy = taking_logouts(&origin, &issuer)
        .with("providers.idp.also", json!([also]))
        .start();
    let token = |iss: &str| key.token(&issuer.claims(&json!({"sid": "s-1", "iss": iss})));
    let (one, other) = (token(&issuer.url()), token(also));
    call(&proxy, &one).is_the_upstreams(200);
    call(&proxy, &other).is_the_upstreams(200);
    let form = format!("logout_token={}", key.token(&logout(&issuer, &json!({}))));
    assert_eq!(post(&proxy, &form).status(), 200);
    is_revoked(&call(&proxy, &one));
    is_revoked(&call(&proxy, &other));
}

const KEY: &str = "a key for operators";

/// Two threads at least; the admin listener is on, without a key.
fn administered(origin: &Origin, issuer: &Issuer) -> Builder {
    guarding(origin, issuer).with("admin", json!({"bind": "127.0.0.1:0"}))
}

fn with_key(origin: &Origin, issuer: &Issuer) -> Builder {
    administered(origin, issuer).with("admin.key", KEY)
}

fn request(method: &str, path: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    let fields = format!("{fields}Content-Length: {length}\r\n");
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n{body}")
}

const AS_JSON: &str = "Content-Type: application/json\r\n";

fn change(proxy: &Proxy, method: &str, body: &Value) -> Answer {
    let fields = format!("Authorization: Bearer {KEY}\r\n{AS_JSON}");
    proxy.ask_admin(request(method, "/revocations", &fields, &body.to_string()))
}

fn list(proxy: &Proxy) -> Value {
    let fields = format!("Authorization: Bearer {KEY}\r\n");
    let answer = proxy.ask_admin(request("GET", "/revocations", &fields, ""));
    assert_eq!(answer.status(), 200);
    answer.json()
}

#[test]
fn an_operator_revokes_tokens_on_every_thread_and_takes_it_back() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = with_key(&origin, &issuer).with("workers", 4).start();
    let token = |changes: Value| key.token(&issuer.claims(&changes));
    let (bad, other) = (token(json!({"jti": "t-1"})), token(json!({"jti": "t-2"})));
    let session = token(json!({"sid": "s-1"}));
    for _ in 0..12 {
        call(&proxy, &bad).is_the_upstreams(200);
    }
    let order = json!([{"jti": "t-1"}, {"sid": "s-1", "issuer": issuer.url(), "until": "2999-01-01T00:00:00Z"}]);
    for _ in 0..2 {
        let answer = change(&proxy, "POST", &order);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let expected = json!({"revoked": 2, "entries_in_all": 2, "survives_restart": false});
        assert_eq!(answer.json(), expected);
    }
    for _ in 0..12 {
        is_revoked(&call(&proxy, &bad));
        is_revoked(&call(&proxy, &session));
        call(&proxy, &other).is_the_upstreams(200);
    }
    let metrics = proxy.admin("/metrics");
    let counted = "itwin_auth_proxy_revoked_tokens_refused_total 24\n";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
    let entries = json!([{"jti": "t-1"}, {"sid": "s-1", "issuer": issuer.url(), "until": "2999-01-01T00:00:00Z"}]);
    assert_eq!(list(&proxy)["entries"], entries);
    let taken_back = |body: Value| change(&proxy, "DELETE", &body).json()["taken_back"].clone();
    assert_eq!(
        taken_back(json!({"sid": "s-1", "issuer": "https://x.example"})),
        0
    );
    assert_eq!(taken_back(json!({"jti": "t-1"})), 1);
    assert_eq!(taken_back(json!({"jti": "t-1"})), 0);
    for _ in 0..12 {
        call(&proxy, &bad).is_the_upstreams(200);
        is_revoked(&call(&proxy, &session));
    }
    assert_eq!(taken_back(json!([{"sid": "s-1"}])), 1);
    call(&proxy, &session).is_the_upstreams(200);
    assert_eq!(list(&proxy)["entries_in_all"], 0);
}

#[test]
fn a_user_is_locked_out_until_signing_in_anew() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = with_key(&origin, &issuer).start();
    let now = issuer::now();
    let order = json!({"sub": "ann", "before": now});
    assert_eq!(change(&proxy, "POST", &order).status(), 200);
    let call = |changes: Value| call(&proxy, &key.token(&issuer.claims(&changes)));
    is_revoked(&call(json!({"iat": now - 1})));
    call(json!({"iat": now})).is_the_upstreams(200);
}

#[test]
fn a_later_word_takes_nothing_away_from_an_earlier() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let clock = Clock::for_tests(issuer::wall());
    let proxy = with_key(&origin, &issuer).start_by(clock.clone());
    let session = key.token(&issuer.claims(&json!({"sid": "s-1", "exp": issuer::now() + 7200})));
    let long = json!({"sid": "s-1"});
    let short = json!({"sid": "s-1", "until": issuer::now() + 60});
    assert_eq!(change(&proxy, "POST", &long).status(), 200);
    assert_eq!(change(&proxy, "POST", &short).json()["entries_in_all"], 1);
    clock.jump(120_000);
    is_revoked(&call(&proxy, &session));
}

#[test]
fn nobody_changes_the_list_without_the_key() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let none = administered(&origin, &issuer).start();
    let with = with_key(&origin, &issuer).start();
    let order = r#"{"sub": "ann"}"#;
    let ask = |proxy: &Proxy, method: &str, fields: &str| {
        proxy.ask_admin(request(method, "/revocations", fields, order))
    };
    let right = format!("Authorization: Bearer {KEY}\r\n");
    let answer = ask(&none, "POST", &format!("{right}{AS_JSON}"));
    assert_eq!(answer.status(), 404);
    assert!(
        answer.text().contains("admin.key_file"),
        "{}",
        answer.text()
    );

    for fields in [
        String::new(),
        "Authorization: Bearer \r\n".to_owned(),
        format!("Authorization: Bearer {KEY}x\r\n"),
        format!("Authorization: Bearer {}\r\n", &KEY[1..]),
        format!("Authorization: Basic {KEY}\r\n"),
        format!("{right}{right}"),
        format!("X-Authorization: Bearer {KEY}\r\n"),
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = ask(&with, method, &format!("{fields}{AS_JSON}"));
            assert_eq!(answer.status(), 401, "{method} {fields}");
            assert_eq!(answer.json()["error"]["code"], "Unauthorized");
            let challenge = answer.field("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
        }
    }
    for (method, fields, status) in [
        ("POST", format!("{right}{AS_JSON}Origin: null\r\n"), 403),
        ("POST", format!("{right}Content-Type: text/plain\r\n"), 415),
        ("POST", right.clone(), 415),
        ("PUT", format!("{right}{AS_JSON}"), 405),
    ] {
        assert_eq!(ask(&with, method, &fields).status(), status, "{fields}");
    }
    let text = request("POST", "/revocations", &format!("{right}{AS_JSON}"), order);
    let foreign = text.replace("Host: localhost", "Host: evil.example");
    assert_eq!(with.ask_admin(foreign).status(), 421);
    assert_eq!(list(&with)["entries_in_all"], 0);
    call(&with, &key.token(&issuer.claims(&json!({})))).is_the_upstreams(200);
}

#[test]
fn an_order_that_is_wrong_somewhere_is_not_done_at_all() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = with_key(&origin, &issuer).start();
    let order = json!([{"sub": "ann"}, {"jit": "a"}, {"sid": 1}]);
    let answer = change(&proxy, "POST", &order);
    assert_eq!(answer.status(), 400);
    let answer = answer.json();
    assert_eq!(answer["error"]["code"], "InvalidRequest");
    let details = answer["error"]["details"].to_string();
    assert!(details.contains("[1].jit: it is none of jti"), "{details}");
    assert!(details.contains("[2].sid: it is not text"), "{details}");
    let large = json!([{"sub": "x".repeat(70_000)}]);
    assert_eq!(change(&proxy, "POST", &large).status(), 413);
    call(&proxy, &key.token(&issuer.claims(&json!({})))).is_the_upstreams(200);
}

#[test]
fn what_was_revoked_survives_a_restart() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let directory = TempDir::new().unwrap();
    let store = directory.path().join("store");
    let start = |secret: &str| {
        taking_logouts(&origin, &issuer)
            .with("admin", json!({"bind": "127.0.0.1:0", "key": KEY}))
            .with("token_store", json!({"path": store, "key": secret}))
            .start()
    };
    let ann = key.token(&issuer.claims(&json!({})));
    let bob = key.token(&issuer.claims(&json!({"sub": "bob", "sid": "s-1"})));
    let cat = key.token(&issuer.claims(&json!({"sub": "cat"})));
    let proxy = start("a key for the store of tokens");
    let form = format!("logout_token={}", key.token(&logout(&issuer, &json!({}))));
    assert_eq!(post(&proxy, &form).status(), 200);
    let answer = change(&proxy, "POST", &json!([{"sub": "ann"}, {"sub": "cat"}]));
    assert_eq!(answer.json()["survives_restart"], true);
    let answer = change(&proxy, "DELETE", &json!({"sub": "cat"}));
    assert_eq!(answer.json()["survives_restart"], true);
    drop(proxy);
    let file = fs::read(directory.path().join("store.revoked")).unwrap();
    assert!(!file.windows(5).any(|five| five == b"\"ann\""));

    let proxy = start("a key for the store of tokens");
    is_revoked(&call(&proxy, &ann));
    is_revoked(&call(&proxy, &bob));
    call(&proxy, &cat).is_the_upstreams(200);
    drop(proxy);
    // who can write the file, but does not know the key, revokes nothing and takes nothing back
    let proxy = start("another key for the store");
    call(&proxy, &ann).is_the_upstreams(200);
}
