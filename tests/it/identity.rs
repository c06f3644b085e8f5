//! What a service learns of the caller: from us, and from nobody else.

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use itwin_auth_proxy::clock::Clock;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::support::{
    client::Answer,
    http2, idp,
    issuer::{self, Issuer, Pair},
    origin::{self, Origin},
    proxy::{self, Proxy},
};

/// What is told where nothing is said about it.
const USUAL: [&str; 6] = [
    "x-itwin-caller",
    "x-itwin-subject",
    "x-itwin-client-id",
    "x-itwin-issuer",
    "x-itwin-scopes",
    "x-itwin-email",
];

/// Who wants to be somebody else, in every spelling that some server takes for ours.
const FORGED: [&str; 12] = [
    "X-Itwin-Subject",
    "x-itwin-subject",
    "X-ITWIN-SUBJECT",
    "X_Itwin_Subject",
    "X-Itwin_Subject",
    "X.Itwin.Subject",
    "x_itwin-caller",
    "X-Itwin-Email",
    "X-Itwin-Client_Id",
    "X~Itwin|Scopes",
    "X-Itwin-Issuer",
    "X_Org",
];

fn guarding(origin: &Origin, issuer: &Issuer) -> proxy::Builder {
    proxy::to(origin)
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .route("admit", json!([{"bearer": rule(&json!({}))}]))
}

fn rule(besides: &Value) -> Value {
    let mut rule = json!({"provider": "idp", "audiences": ["api"]});
    for (name, value) in besides.as_object().unwrap() {
        rule[name] = value.clone();
    }
    rule
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn forgeries() -> String {
    let line = |name: &&str| format!("{name}: forged\r\n");
    FORGED.iter().map(line).collect()
}

/// As the reference tells services to read a value.
fn read(value: &str) -> Value {
    if let Some(encoded) = value.strip_prefix("UTF-8''") {
        let text = percent_decode_str(encoded).decode_utf8().unwrap();
        return text.into_owned().into();
    }
    if value.starts_with(['[', '{']) {
        return serde_json::from_str(value).unwrap();
    }
    value.into()
}

#[test]
fn a_service_learns_who_calls_without_reading_a_token() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = guarding(&origin, &issuer).start();
    let claims = issuer.claims(&json!({"email": "ann@example.com", "org": "unasked"}));
    let token = key.token(&claims);
    for _ in 0..3 {
        let request = proxy::with_fields("GET", "/", &bearer(&token));
        proxy.send(request).is_the_upstreams(200);
    }
    let url = issuer.url();
    for request in origin.requests() {
        let told = USUAL.map(|name| request.all(name));
        let expected = [
            ["bearer"],
            ["ann"],
            ["webapp-1"],
            [url.as_str()],
            ["itwin-platform email"],
            ["ann@example.com"],
        ];
        assert_eq!(told.concat(), expected.concat());
        assert_eq!(
            request.field("authorization"),
            Some(&*format!("Bearer {token}"))
        );
    }
}

#[test]
fn nobody_else_says_who_calls_in_any_spelling_on_any_route() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let guarded = json!({
        "path": "/api/**",
        "upstream": origin.url(),
        "admit": [{"bearer": rule(&json!({}))}],
        "identity": {"headers": {"claims": {"org": "X-Org"}}},
    });
    let open = json!({"path": "/open/**", "upstream": origin.url()});
    let proxy = guarding(&origin, &issuer)
        .with("routes", json!([guarded, open]))
        .start();
    let token = key.token(&issuer.claims(&json!({"sub": null, "scope": null})));
    let forged = forgeries() + "Connection: x-itwin-subject, x-itwin-caller\r\n";
    let request = |path, fields: &str| proxy::with_fields("GET", path, &(forged.clone() + fields));
    proxy.send(request("/open/x", "")).is_the_upstreams(200);
    proxy
        .send(request("/open/x", &bearer(&token)))
        .is_the_upstreams(200);
    proxy
        .send(request("/api/x", &bearer(&token)))
        .is_the_upstreams(200);
    let known = key.token(&issuer.claims(&json!({})));
    proxy
        .send(request("/api/x", &bearer(&known)))
        .is_the_upstreams(200);
    let [open, with_token, nobody, ann] = &origin.requests()[..] else {
        unreachable!()
    };
    for request in [open, with_token] {
        let names = request.names();
        assert!(
            !names.iter().any(|name| name.contains("itwin")),
            "{names:?}"
        );
    }
    for request in [open, with_token, nobody, ann] {
        assert!(!request.text().contains("forged"), "{}", request.text());
    }
    assert_eq!(nobody.all("x-itwin-caller"), ["bearer"]);
    assert!(nobody.field("x-itwin-subject").is_none());
    assert_eq!(ann.all("x-itwin-subject"), ["ann"]);
    assert_eq!(ann.all("x-itwin-caller"), ["bearer"]);
}

#[test]
fn nor_over_http2() {
    let (origin, key) = (http2::answering([http2::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = proxy::to_url(&origin.url())
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .route(
            "admit",
            json!([{"bearer": rule(&json!({"optional": true}))}]),
        )
        .route("upstream.protocol", "http2")
        .start();
    let token = key.token(&issuer.claims(&json!({})));
    let client = proxy.connect_http2();
    for token in [Some(&token), None] {
        let mut request = Request::get("http://proxy.localhost/x");
        for name in FORGED {
            request = request.header(name, "forged");
        }
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = client.send(request.body(Full::default()).unwrap());
        assert_eq!(answer.status, 200);
    }
    let [known, stranger] = &origin.requests()[..] else {
        unreachable!()
    };
    assert_eq!(known.head.headers["x-itwin-subject"], "ann");
    assert_eq!(known.head.headers["x-itwin-caller"], "bearer");
    assert_eq!(stranger.head.headers["x-itwin-caller"], "stranger");
    assert!(!stranger.head.headers.contains_key("x-itwin-subject"));
    for arrived in [known, stranger] {
        let fields = format!("{:?}", arrived.head.headers);
        let forged = fields.matches("forged").count();
        assert_eq!(forged, 1, "X_Org is nobody's here: {fields}");
    }
}

#[test]
fn nor_after_the_body() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = guarding(&origin, &issuer).start();
    let token = key.token(&issuer.claims(&json!({"sub": null})));
    let announced = FORGED.join(", ");
    let announced = format!("Trailer: {announced}, Authorization, X-Sum\r\n");
    let fields = "TE: trailers\r\nConnection: te\r\nTransfer-Encoding: chunked\r\n";
    let fields = bearer(&token) + fields + &announced;
    let trailers = forgeries() + "Authorization: forged\r\nX-Sum: 5\r\n";
    let request =
        proxy::with_fields("POST", "/", &fields) + "2\r\nde\r\n0\r\n" + &trailers + "\r\n";
    proxy.send(request).is_the_upstreams(200);
    let request = origin.request();
    let trailers = request.trailers.to_lowercase();
    let mut left: Vec<&str> = trailers.lines().collect();
    left.sort_unstable();
    assert_eq!(
        left,
        ["x-sum: 5", "x_org: forged"],
        "x_org is nobody's here"
    );
    assert!(request.field("x-itwin-subject").is_none());
}

#[test]
fn strangers_and_callers_known_otherwise_are_said_to_be_that() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let secret = "0123456789abcdef";
    let shared = json!({"key": {"name": "robot", "secret": secret}});
    let optional = json!({"bearer": rule(&json!({"optional": true}))});
    let proxy = guarding(&origin, &issuer)
        .route("admit", json!([shared, optional]))
        .start();
    let forged = forgeries();
    let unchecked = bearer("unchecked");
    let with_key = format!("X-Api-Key: {secret}\r\n");
    let cases = [
        (String::new(), "stranger", None),
        (with_key.clone(), "key:robot", None),
        (with_key.clone() + &unchecked, "key:robot", None),
        (
            with_key + "Authorization: Basic eDp5\r\n",
            "key:robot",
            Some("Basic eDp5"),
        ),
    ];
    for (fields, caller, authorization) in cases {
        let request = proxy::with_fields("GET", "/", &(forged.clone() + &fields));
        proxy.send(request).is_the_upstreams(200);
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.all("x-itwin-caller"), [caller]);
        assert_eq!(request.field("authorization"), authorization, "{fields}");
        let told = USUAL.iter().filter(|name| !request.all(name).is_empty());
        assert_eq!(told.count(), 1, "{}", request.text());
        assert!(!request.head.contains(secret));
    }
    let by_network = guarding(&origin, &issuer)
        .route("admit", json!([{"networks": ["127.0.0.0/8"]}]))
        .route("identity", json!({}))
        .start();
    by_network.get("/").is_the_upstreams(200);
    let request = origin.requests().pop().unwrap();
    assert_eq!(request.field("x-itwin-caller"), Some("net:127.0.0.1"));
}

#[test]
fn whatever_a_claim_holds_is_one_valid_field_that_reads_back() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let claims = json!({"claims": {"it": "X-It", "a.b": "X-Within"}});
    let proxy = guarding(&origin, &issuer)
        .route("identity", json!({"headers": claims}))
        .start();
    let table = [
        (json!("100 %, plain"), Some("100 %, plain")),
        (
            json!("a\r\nX-Itwin-Subject: root"),
            Some("UTF-8''a%0D%0AX-Itwin-Subject%3A%20root"),
        ),
        (json!("a\0b"), Some("UTF-8''a%00b")),
        (
            json!("Ren\u{e9} \u{1f600}"),
            Some("UTF-8''Ren%C3%A9%20%F0%9F%98%80"),
        ),
        (json!("[\"Admin\"]"), Some("UTF-8''%5B%22Admin%22%5D")),
        (json!("UTF-8''x"), Some("UTF-8''UTF-8%27%27x")),
        (json!(""), Some("")),
        (
            json!(["Admin", "a,b", "\u{e9}\r\n"]),
            Some(r#"["Admin","a,b","\u00e9\r\n"]"#),
        ),
        (json!({"a": [1, null]}), Some(r#"{"a":[1,null]}"#)),
        (json!(7), Some("7")),
        (json!(true), Some("true")),
        (Value::Null, None),
        (json!("x".repeat(4097)), None),
        (json!(vec!["x".repeat(100); 41]), None),
    ];
    for (said, sent) in table {
        let mut claims =
            issuer.claims(&json!({"a": {"b": "within"}, "sub": said.as_str().unwrap_or("ann")}));
        claims["it"] = said.clone();
        let request = proxy::with_fields("GET", "/", &bearer(&key.token(&claims)));
        proxy.send(request).is_the_upstreams(200);
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.field("x-it"), sent, "{said}");
        if let (Some(sent), Value::String(_) | Value::Array(_) | Value::Object(_)) = (sent, &said) {
            assert_eq!(read(sent), said);
        }
        if said.is_string() {
            assert_eq!(request.field("x-itwin-subject"), sent, "{said}");
        }
        assert_eq!(request.field("x-within"), Some("within"));
    }
}

#[test]
fn what_does_not_fit_with_the_rest_is_left_out_whole() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let claims = json!({"claims": {"a": "X-A", "b": "X-B", "c": "X-C"}});
    let proxy = guarding(&origin, &issuer)
        .route("identity", json!({"headers": claims}))
        .start();
    let long = "x".repeat(4090);
    let claims = issuer.claims(&json!({"a": long, "b": long, "c": "short"}));
    proxy
        .send(proxy::with_fields("GET", "/", &bearer(&key.token(&claims))))
        .is_the_upstreams(200);
    let request = origin.request();
    assert_eq!(request.field("x-a").map(str::len), Some(4090));
    assert_eq!(request.field("x-b"), None);
    assert_eq!(request.field("x-c"), Some("short"));
}

#[test]
fn an_address_that_nobody_proved_is_not_the_callers() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = guarding(&origin, &issuer).start();
    let proved = [json!(true), Value::Null, json!(false), json!("False")];
    let told = proved.map(|proved| {
        let claims = issuer.claims(&json!({"email": "boss@example.com", "email_verified": proved}));
        proxy
            .send(proxy::with_fields("GET", "/", &bearer(&key.token(&claims))))
            .is_the_upstreams(200);
        origin
            .requests()
            .pop()
            .unwrap()
            .field("x-itwin-email")
            .is_some()
    });
    assert_eq!(told, [true, true, false, false]);
}

#[test]
fn names_are_the_operators_and_a_token_may_end_here() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let headers =
        json!({"subject": "Remote-User", "caller": "off", "email": "off", "scopes": "off"});
    let proxy = guarding(&origin, &issuer)
        .route("identity", json!({"headers": headers, "token": "remove"}))
        .start();
    let token = key.token(&issuer.claims(&json!({"email": "ann@example.com"})));
    let fields = bearer(&token) + "remote_user: root\r\nX-Itwin-Email: forged\r\n";
    proxy
        .send(proxy::with_fields("GET", "/", &fields))
        .is_the_upstreams(200);
    let request = origin.request();
    assert_eq!(request.field("remote-user"), Some("ann"));
    assert_eq!(
        request.names(),
        ["host", "remote-user", "x-itwin-client-id", "x-itwin-issuer"]
    );
    let silent = guarding(&origin, &issuer)
        .route("identity", json!({"headers": false}))
        .start();
    silent
        .send(proxy::with_fields("GET", "/", &fields))
        .is_the_upstreams(200);
    let request = origin.requests().pop().unwrap();
    assert_eq!(request.names(), ["authorization", "host", "remote_user"]);
}

#[test]
fn gateways_are_told_the_same_and_what_is_unknown_is_empty() {
    let key = Pair::new("k");
    let issuer = issuer::serving(&[&key]);
    let proxy = proxy::to_url("http://127.0.0.1:9")
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .with("listeners.0.mode", "decide")
        .with("listeners.0.gateway", "envoy")
        .route(
            "admit",
            json!([{"bearer": rule(&json!({"optional": true}))}]),
        )
        .start();
    let token = key.token(&issuer.claims(&json!({"scope": null})));
    let ask = |fields: &str| proxy.send(proxy::with_fields("GET", "/", fields));
    let forged = USUAL.map(|name| format!("{name}: forged\r\n")).concat();
    let known = ask(&format!("{forged}{}", bearer(&token)));
    let stranger = ask(&forged);
    // those that are only like them, no gateway would replace
    ask(&forgeries()).is_refused(400, "AmbiguousField");
    let url = issuer.url();
    let told = |answer: &Answer| USUAL.map(|name| answer.field(name).map(str::to_owned));
    let expected = ["bearer", "ann", "webapp-1", url.as_str(), "", ""];
    assert_eq!(told(&known), expected.map(|value| Some(value.to_owned())));
    let expected = ["stranger", "", "", "", "", ""];
    assert_eq!(
        told(&stranger),
        expected.map(|value| Some(value.to_owned()))
    );
}

/// A proxy that also sends JWTs of its own, whose keys it serves.
fn signing(origin: &Origin, issuer: &Issuer, jwt: &Value) -> proxy::Builder {
    guarding(origin, issuer)
        .route("identity", json!({"jwt": jwt}))
        .with("signing", json!({"path": "/.itwin-auth/jwks.json"}))
        .with("admin.bind", "127.0.0.1:0")
        // each thread signs for itself
        .with("workers", 1)
}

/// The JWT of the last request that the service got.
fn sent(origin: &Origin) -> String {
    let request = origin.requests().pop().unwrap();
    request.field("x-itwin-identity").unwrap().to_owned()
}

fn published(proxy: &Proxy) -> JwkSet {
    let answer = proxy.get("/.itwin-auth/jwks.json");
    assert_eq!(answer.status(), 200);
    serde_json::from_str(answer.text()).unwrap()
}

/// What another implementation reads in it, with the keys that are published.
fn verified(proxy: &Proxy, jwt: &str, audience: &str) -> Value {
    let head = jsonwebtoken::decode_header(jwt).unwrap();
    assert_eq!(head.typ.as_deref(), Some("itwin-identity+jwt"));
    let keys = published(proxy);
    let key = keys.find(&head.kid.unwrap()).unwrap();
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_audience(&[audience]);
    rules.set_issuer(&["itwin-auth-proxy"]);
    rules.validate_exp = false;
    let key = DecodingKey::from_jwk(key).unwrap();
    jsonwebtoken::decode::<Value>(jwt, &key, &rules)
        .unwrap()
        .claims
}

#[test]
fn a_jwt_of_ours_says_the_same_and_is_signed_once() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let clock = Clock::for_tests(Duration::from_secs(issuer::now()));
    let proxy =
        signing(&origin, &issuer, &json!({"claims": "email org a.b"})).start_by(clock.clone());
    let claims =
        json!({"email": "ann@example.com", "org": ["x"], "a": {"b": 7}, "more": "unasked"});
    let token = key.token(&issuer.claims(&claims));
    let ask = || {
        let fields = forgeries() + "X_Itwin-Identity: forged\r\n" + &bearer(&token);
        proxy
            .send(proxy::with_fields("GET", "/", &fields))
            .is_the_upstreams(200);
        sent(&origin)
    };
    let first = ask();
    let told = verified(&proxy, &first, &origin.url());
    let begun = told["iat"].as_u64().unwrap();
    let expected = json!({
        "iss": "itwin-auth-proxy",
        "aud": origin.url(),
        "sub": "ann",
        "subject_issuer": issuer.url(),
        "client_id": "webapp-1",
        "scope": "itwin-platform email",
        "iat": begun,
        "exp": begun + 60,
        "email": "ann@example.com",
        "org": ["x"],
        "a.b": 7,
    });
    assert_eq!(told, expected);
    assert_eq!(
        ask(),
        first,
        "a signature of this kind is never the same twice"
    );
    clock.jump(29_000);
    assert_eq!(ask(), first);
    clock.jump(2_000);
    let second = ask();
    assert_ne!(second, first);
    let again = verified(&proxy, &second, &origin.url());
    assert!(again["exp"].as_u64().unwrap() >= begun + 90);
    let metrics = proxy.admin("/metrics").text().to_owned();
    for counted in [
        "cache_requests_total{cache=\"told_callers\",result=\"hit\"} 2",
        "cache_requests_total{cache=\"told_callers\",result=\"miss\"} 2",
        "cache_entries{cache=\"told_callers\"} 1",
    ] {
        assert!(metrics.contains(counted), "{counted} in\n{metrics}");
    }
    assert_eq!(ask(), second);
}

#[test]
fn a_jwt_of_ours_never_outlives_the_token() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = signing(
        &origin,
        &issuer,
        &json!({"lifetime": "1h", "audience": "us"}),
    )
    .start();
    for left in [1800, 5, -30] {
        let end = issuer::now().checked_add_signed(left).unwrap();
        let token = key.token(&issuer.claims(&json!({"exp": end})));
        for _ in 0..2 {
            proxy
                .send(proxy::with_fields("GET", "/", &bearer(&token)))
                .is_the_upstreams(200);
        }
        let told = verified(&proxy, &sent(&origin), "us");
        assert_eq!(told["exp"], end);
        let requests = origin.requests();
        let [.., one, two] = &requests[..] else {
            unreachable!()
        };
        assert_eq!(one.field("x-itwin-identity"), two.field("x-itwin-identity"));
    }
}

#[test]
fn strangers_get_no_jwt_and_ours_opens_nothing() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = signing(
        &origin,
        &issuer,
        &json!({"audience": "api", "issuer": issuer.url()}),
    )
    .route(
        "admit",
        json!([{"bearer": rule(&json!({"optional": true}))}]),
    )
    .start();
    let forged = proxy::with_fields("GET", "/", "X-Itwin-Identity: forged\r\n");
    proxy.send(forged).is_the_upstreams(200);
    assert!(origin.request().field("x-itwin-identity").is_none());
    let token = key.token(&issuer.claims(&json!({})));
    proxy
        .send(proxy::with_fields("GET", "/", &bearer(&token)))
        .is_the_upstreams(200);
    let refused = proxy.send(proxy::with_fields("GET", "/", &bearer(&sent(&origin))));
    refused.is_refused(401, "TokenInvalid");
}

#[test]
fn the_first_key_signs_and_all_are_published() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let pair = rcgen::KeyPair::generate().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, pair.serialize_pem()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let files = [file("new.pem"), file("old.pem")];
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let start = |files: &[String]| {
        signing(&origin, &issuer, &json!({}))
            .with("signing.key_files", json!(files))
            .start()
    };
    let token = key.token(&issuer.claims(&json!({})));
    let kid = |proxy: &Proxy| {
        proxy
            .send(proxy::with_fields("GET", "/", &bearer(&token)))
            .is_the_upstreams(200);
        let jwt = sent(&origin);
        verified(proxy, &jwt, &origin.url());
        jsonwebtoken::decode_header(&jwt).unwrap().kid.unwrap()
    };
    let both = start(&files);
    let alone = start(&files[1..]);
    assert_eq!(published(&both).keys.len(), 2);
    let admin = both.admin("/jwks.json");
    assert_eq!(
        admin.text().trim(),
        both.get("/.itwin-auth/jwks.json").text()
    );
    assert_ne!(kid(&both), kid(&alone));
    assert!(published(&both).find(&kid(&alone)).is_some());
    assert_eq!(kid(&both), kid(&start(&files)), "the same after a restart");
    let answer =
        both.send("POST /.itwin-auth/jwks.json HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(answer.status(), 405);
    let text = both.get("/.itwin-auth/jwks.json");
    assert!(!text.text().contains("\"d\""), "{}", text.text());
}

#[test]
fn an_upstream_that_is_told_nothing_is_told_nothing_by_callers_either() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let idp = idp::issuing();
    let proxy = guarding(&origin, &issuer).injecting(&idp).start();
    let token = key.token(&issuer.claims(&json!({})));
    let fields = format!("{}{}", forgeries(), bearer(&token));
    proxy
        .send(proxy::with_fields("GET", "/", &fields))
        .is_the_upstreams(200);
    let request = origin.requests().pop().unwrap();
    assert!(
        !request.names().iter().any(|name| name.contains("itwin")),
        "{:?}",
        request.names()
    );
}
