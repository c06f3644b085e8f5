//! The authorization server that the proxy stands in for, as software that fetches its own tokens
//! sees it.

use std::thread;

use serde_json::{Value, json};

use crate::support::{
    idp::{self, Idp},
    message::Message,
    origin::{self, Origin},
    proxy::{self, Builder, Proxy},
    wait::{self, Gate},
};

const METADATA: &str = "/authority/.well-known/openid-configuration";
const CREDENTIALS: &str = "grant_type=client_credentials";

/// What a provider answers; its token endpoint numbers tokens by the requests there.
fn says(request: &Message, tokens: &str) -> String {
    let host = request.field("host").unwrap();
    let at = |path: &str| format!("http://{host}{path}");
    match request.request() {
        "GET /.well-known/openid-configuration" => origin::json(
            &json!({
                "issuer": at(""),
                "authorization_endpoint": at("/as/authorize"),
                "token_endpoint": at("/as/token"),
                "introspection_endpoint": at("/as/introspect"),
                "jwks_uri": at("/as/keys"),
                "userinfo_endpoint": at("/as/userinfo"),
                "grant_types_supported": ["authorization_code"],
                "scopes_supported": ["a", "b"],
            })
            .to_string(),
        ),
        "GET /as/keys" => origin::json(r#"{"keys":[{"kid":"one"}]}"#),
        "POST /as/introspect" => origin::json(r#"{"active":true}"#),
        line if line.starts_with("POST /as/token") => match request.text() {
            body if body.starts_with(CREDENTIALS) => tokens.to_owned(),
            _ => origin::answer(
                "400 Bad Request",
                "content-type: application/json\r\nX-Said-By: provider\r\n",
                r#"{"error":"invalid_grant"}"#,
            ),
        },
        other => panic!("the provider is asked for {other}"),
    }
}

fn provider() -> Idp {
    idp::answering(|_, request| says(request, &idp::token(1)))
}

fn token_requests(idp: &Idp) -> usize {
    let all = idp.requests();
    let tokens = all.iter().filter(|one| one.request().contains("/as/token"));
    tokens.count()
}

fn world(origin: &Origin, issuer: &str) -> Builder {
    let credential = json!({
        "provider": "test",
        "client_id": "service",
        "client_secret": "a secret of the service",
        "scopes": ["a", "b"],
    });
    proxy::to(origin)
        .with("providers.test", json!({"issuer": issuer}))
        .with("credentials.agent", credential)
        .with("authorities", json!([{"credential": "agent"}]))
}

fn ask(proxy: &Proxy, fields: &str, form: &str) -> crate::support::client::Answer {
    proxy.send(token_request("127.0.0.1", fields, form))
}

fn token_request(host: &str, fields: &str, form: &str) -> String {
    format!(
        "POST /authority/connect/token HTTP/1.1\r\nHost: {host}\r\n{fields}\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    )
}

#[test]
fn its_metadata_are_the_providers_with_what_we_serve_pointing_here() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), provider());
    let proxy = world(&origin, &idp.url()).start();
    let document = |host: &str, fields: &str| {
        let answer = proxy.send(format!(
            "GET {METADATA} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"
        ));
        assert_eq!(answer.status(), 200, "{}", answer.head);
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        answer.json()
    };
    let here = |path: &str| json!(format!("http://LocalHost:81/authority{path}"));
    let found = document("LocalHost:81", "X-Forwarded-Host: evil.test\r\n");
    assert_eq!(found["token_endpoint"], here("/connect/token"));
    assert_eq!(found["introspection_endpoint"], here("/connect/introspect"));
    let keys = here("/.well-known/openid-configuration/jwks");
    assert_eq!(found["jwks_uri"], keys);
    // what we do not serve is the provider's, its name too
    assert_eq!(found["issuer"], idp.url());
    let at = |path: &str| json!(format!("{}{path}", idp.url()));
    assert_eq!(found["authorization_endpoint"], at("/as/authorize"));
    assert_eq!(found["userinfo_endpoint"], at("/as/userinfo"));
    assert_eq!(found["response_types_supported"], json!(["code"]));
    assert_eq!(found["scopes_supported"], json!(["a", "b"]));
    let grants = json!(["authorization_code", "client_credentials"]);
    assert_eq!(found["grant_types_supported"], grants);
    assert_eq!(document("127.0.0.1:8080", "")["issuer"], idp.url());
    let mut client = proxy.connect();
    let head = client.send(proxy::with_fields("HEAD", METADATA, "")).head();
    assert_eq!(head.status(), 200);
    assert!(origin.requests().is_empty());
}

#[test]
fn a_proxy_in_front_that_is_trusted_says_where_the_caller_is() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), provider());
    let proxy = world(&origin, &idp.url())
        .with("trusted_proxies", json!(["127.0.0.1/32"]))
        .with("authorities", json!([{"issuer": "here"}]))
        .start();
    let fields = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: tokens.example\r\n";
    let found = proxy.send(proxy::with_fields("GET", METADATA, fields));
    let found = found.json();
    let here = "https://tokens.example/authority";
    assert_eq!(found["token_endpoint"], format!("{here}/connect/token"));
    assert_eq!(found["issuer"], here);
}

#[test]
fn its_metadata_are_complete_while_the_provider_is_down_from_the_start() {
    let origin = origin::answering([origin::ok("hello")]);
    let issuer = format!("http://{}", origin::nobody());
    let proxy = world(&origin, &issuer).start();
    let answer = proxy.get(METADATA);
    let found = answer.json();
    let here = |path: &str| json!(format!("http://proxy.localhost/authority{path}"));
    for (member, value) in [
        ("issuer", json!(issuer)),
        (
            "authorization_endpoint",
            json!(format!("{issuer}/connect/authorize")),
        ),
        ("token_endpoint", here("/connect/token")),
        ("introspection_endpoint", here("/connect/introspect")),
        ("jwks_uri", here("/.well-known/openid-configuration/jwks")),
        ("response_types_supported", json!(["code"])),
        ("subject_types_supported", json!(["public"])),
        ("id_token_signing_alg_values_supported", json!(["RS256"])),
    ] {
        assert_eq!(found[member], value, "{member}");
    }
    let refused = ask(&proxy, "", CREDENTIALS);
    assert_eq!(refused.status(), 503, "{}", refused.head);
    assert_eq!(refused.json()["error"], "temporarily_unavailable");
    assert!(refused.field("retry-after").is_some());
    let keys = proxy.get("/authority/.well-known/openid-configuration/jwks");
    assert_eq!(keys.status(), 503);
    let passed = ask(&proxy, "", "grant_type=refresh_token&refresh_token=x");
    assert_eq!(passed.status(), 503);
}

#[test]
fn clients_that_look_for_other_metadata_first_find_none() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), provider());
    let proxy = world(&origin, &idp.url()).start();
    for path in [
        "/.well-known/oauth-authorization-server/authority",
        "/authority/.well-known/oauth-authorization-server",
    ] {
        let answer = proxy.get(path);
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(answer.json()["error"]["code"], "NotHere");
    }
    assert!(origin.requests().is_empty());
    // what lies beside it is a route's
    let beside = proxy.get("/.well-known/oauth-authorization-server");
    beside.is_the_upstreams(200);
}

#[test]
fn a_thousand_callers_with_any_secret_cost_one_fetch() {
    let gate = Gate::default();
    let idp = {
        let gate = gate.clone();
        idp::answering(move |_, request| {
            if request.request() == "POST /as/token" {
                gate.pass();
            }
            says(request, &idp::token(1))
        })
    };
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = world(&origin, &idp.url()).start();
    let fields = |n: usize| match n % 3 {
        0 => "",
        1 => "Authorization: Basic ZHVtbXk6ZHVtbXk=\r\n",
        _ => "Authorization: Basic not base64\r\n",
    };
    let form = |n: usize| match n % 2 {
        0 => CREDENTIALS.to_owned(),
        _ => format!("{CREDENTIALS}&client_id=x&client_secret=y&scope=b+a"),
    };
    let mut clients: Vec<_> = (0..1000)
        .map(|n| {
            let mut client = proxy.connect();
            client.send(token_request("127.0.0.1", fields(n), &form(n)));
            client
        })
        .collect();
    gate.open();
    for client in &mut clients {
        let answer = client.answer();
        assert_eq!(answer.status(), 200, "{}", answer.head);
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        let body = answer.json();
        assert_eq!(body["access_token"], "token-1");
        assert_eq!(body["token_type"], "Bearer");
        assert_eq!(body["scope"], "a b");
        let left = body["expires_in"].as_u64().unwrap();
        assert!((3500..=3600).contains(&left), "{left}");
    }
    assert_eq!(token_requests(&idp), 1);
    let sent = idp.requests();
    let sent = sent.iter().find(|one| one.request() == "POST /as/token");
    let sent = sent.unwrap();
    assert!(!sent.text().contains("client_secret=y"));
}

#[test]
fn fewer_scopes_have_a_token_of_their_own_and_strange_ones_the_credentials() {
    let idp = idp::answering(|_, request| {
        let scope = request.text().rsplit_once("scope=").map_or("", |(_, s)| s);
        let body = json!({"access_token": format!("for-{scope}"), "token_type": "Bearer", "expires_in": 3600});
        says(request, &origin::json(&body.to_string()))
    });
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = world(&origin, &idp.url()).start();
    let asked = |scope: &str| {
        let body = ask(&proxy, "", &format!("{CREDENTIALS}&scope={scope}")).json();
        (body["access_token"].clone(), body["scope"].clone())
    };
    assert_eq!(asked("a"), (json!("for-a"), json!("a")));
    assert_eq!(asked("a"), (json!("for-a"), json!("a")));
    assert_eq!(asked("b a"), (json!("for-a+b"), json!("a b")));
    // RFC 6749 section 3.3: others are granted, and named
    assert_eq!(asked("a c"), (json!("for-a+b"), json!("a b")));
    assert_eq!(asked(""), (json!("for-a+b"), json!("a b")));
    assert_eq!(token_requests(&idp), 2);
}

#[test]
fn scopes_that_the_provider_does_not_grant_alone_cost_nobody_a_token() {
    let idp = idp::answering(|_, request| {
        let answer = if request.text().ends_with("scope=a") {
            let body = r#"{"error":"invalid_scope"}"#;
            origin::answer(
                "400 Bad Request",
                "content-type: application/json\r\n",
                body,
            )
        } else {
            idp::token(1)
        };
        says(request, &answer)
    });
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = world(&origin, &idp.url()).start();
    let body = ask(&proxy, "", &format!("{CREDENTIALS}&scope=a")).json();
    assert_eq!(
        (&body["access_token"], &body["scope"]),
        (&json!("token-1"), &json!("a b"))
    );
}

#[test]
fn other_grants_go_to_the_provider_as_they_are() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), provider());
    let proxy = world(&origin, &idp.url())
        .with("admin.bind", "127.0.0.1:0")
        .start();
    proxy.get(METADATA);
    let form = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Asaml-token&assertion=QUJD%3d&scope=x";
    let fields = "Authorization: Basic Y2FsbGVyOmhpcyBvd24=\r\nX-Correlation-Id: 7\r\n\
                  X-Forwarded-For: 9.9.9.9\r\nConnection: x-hop\r\nX-Hop: 1\r\n";
    let answer = ask(&proxy, fields, form);
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.field("x-said-by"), Some("provider"));
    assert_eq!(answer.json()["error"], "invalid_grant");
    let sent = idp.requests();
    let sent = sent
        .iter()
        .find(|one| one.request() == "POST /as/token" && one.text() == form);
    let sent = sent.expect("the form, byte for byte");
    assert_eq!(
        sent.field("authorization"),
        Some("Basic Y2FsbGVyOmhpcyBvd24=")
    );
    assert_eq!(sent.field("x-correlation-id"), Some("7"));
    for gone in ["x-forwarded-for", "x-hop"] {
        assert_eq!(sent.field(gone), None, "{gone}");
    }
    assert_eq!(sent.field("host"), idp.url().strip_prefix("http://"));

    let introspect = proxy.send(format!(
        "POST /authority/connect/introspect HTTP/1.1\r\nHost: 127.0.0.1\r\n{}",
        "Content-Length: 7\r\n\r\ntoken=x"
    ));
    assert_eq!(introspect.json(), json!({"active": true}));
    let keys = proxy.get("/authority/.well-known/openid-configuration/jwks");
    assert_eq!(keys.json()["keys"][0]["kid"], "one");
    let metrics = proxy.admin("/metrics").text().to_owned();
    for counted in [
        "cache_entries{cache=\"authority_documents\"} 2",
        "provider_exchanges_total{provider=\"test\",result=\"400\"} 1",
    ] {
        assert!(metrics.contains(counted), "{counted} in\n{metrics}");
    }
}

#[test]
fn a_request_that_is_none_is_told_why_as_oauth_has_it() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), provider());
    let proxy = world(&origin, &idp.url()).start();
    for (form, why) in [
        ("", "grant_type is missing"),
        ("grant_type=", "grant_type is missing"),
        (
            "grant_type=client_credentials&grant_type=client_credentials",
            "a parameter is there more than once",
        ),
    ] {
        let answer = ask(&proxy, "", form);
        assert_eq!(answer.status(), 400, "{form}");
        let expected = json!({"error": "invalid_request", "error_description": why});
        assert_eq!(answer.json(), expected);
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
    let path = "/authority/connect/token";
    let json = proxy.send(proxy::with_body("POST", path, "{}"));
    assert_eq!(json.status(), 400);
    for method in ["GET", "HEAD", "PUT"] {
        let mut client = proxy.connect();
        client.send(proxy::with_fields(method, path, ""));
        let answer = client.head();
        assert_eq!(
            (answer.status(), answer.field("allow")),
            (405, Some("POST")),
            "{method}"
        );
    }
    for method in ["POST", "DELETE"] {
        let answer = proxy.send(proxy::with_fields(method, METADATA, ""));
        assert_eq!(answer.status(), 405, "{method}");
    }
    let large = "x".repeat(300 << 10);
    let answer = ask(
        &proxy,
        "",
        &format!("grant_type=refresh_token&refresh_token={large}"),
    );
    assert_eq!(answer.status(), 400);
    // that of the start, which may not have come yet
    assert!(token_requests(&idp) <= 1, "nobody's form is passed on");
}

#[test]
fn many_callers_at_once_with_large_forms_are_told_to_come_back() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), provider());
    let proxy = world(&origin, &idp.url()).start();
    let form = format!(
        "grant_type=refresh_token&refresh_token={}",
        "x".repeat(250 << 10)
    );
    let request = token_request("127.0.0.1", "", &form);
    // all but the end of each
    let unfinished = &request[..request.len() - 1];
    let mut held = Vec::new();
    let refused = loop {
        assert!(held.len() < 200, "there is no bound");
        let mut client = proxy.connect();
        client.send(unfinished);
        let small = ask(&proxy, "", CREDENTIALS);
        held.push(client);
        if small.status() != 200 {
            break small;
        }
    };
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.json()["error"], "temporarily_unavailable");
    assert_eq!(refused.field("retry-after"), Some("1"));
    drop(held);
    wait::until("room again", || {
        ask(&proxy, "", CREDENTIALS).status() == 200
    });
}

#[test]
fn a_form_whose_length_is_too_large_is_not_waited_for() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), provider());
    let proxy = world(&origin, &idp.url()).start();
    let mut client = proxy.connect();
    client.send(
        "POST /authority/connect/token HTTP/1.1\r\nHost: 127.0.0.1\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 300000\r\n\r\n",
    );
    let answer = client.head();
    assert_eq!(answer.status(), 400);
}

#[test]
fn pages_of_other_sites_get_what_is_public_and_no_token() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), provider());
    let proxy = world(&origin, &idp.url()).start();
    let page = "Origin: https://app.example\r\nSec-Fetch-Site: cross-site\r\n";
    let metadata = proxy.send(proxy::with_fields("GET", METADATA, page));
    assert_eq!(metadata.status(), 200);
    assert_eq!(metadata.field("access-control-allow-origin"), Some("*"));
    let refused = ask(&proxy, page, CREDENTIALS);
    assert_eq!(refused.status(), 403, "{}", refused.head);
    assert_eq!(refused.json()["error"], "unauthorized_client");
    let own = ask(&proxy, page, "grant_type=authorization_code&code=x");
    assert_eq!(own.json()["error"], "invalid_grant");
    // whose name was pointed here
    let rebound = proxy.send(token_request("evil.test", "", CREDENTIALS));
    rebound.is_refused(403, "NotAdmitted");
}

#[test]
fn it_is_for_whom_admit_says() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), provider());
    let rule = json!([{"key": {"secret": "0123456789abcdef", "header": "X-Proxy-Key"}}]);
    let authority = json!([{"credential": "agent", "admit": rule}]);
    let proxy = world(&origin, &idp.url())
        .with("authorities", authority)
        .start();
    proxy.get(METADATA).is_refused(401, "Unauthorized");
    ask(&proxy, "", CREDENTIALS).is_refused(401, "Unauthorized");
    let key = "X-Proxy-Key: 0123456789abcdef\r\n";
    assert_eq!(
        ask(&proxy, key, CREDENTIALS).json()["access_token"],
        "token-1"
    );
    ask(&proxy, key, "grant_type=refresh_token");
    let seen = idp.requests();
    assert!(seen.iter().all(|one| one.field("x-proxy-key").is_none()));
}

#[test]
fn a_path_has_one_meaning_in_all_its_spellings() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), provider());
    let authority = json!([{"credential": "agent", "path": "/authority/"}]);
    let proxy = world(&origin, &idp.url())
        .with("authorities", authority)
        .start();
    for path in [
        "/authority//.well-known/openid-configuration",
        "//authority/.well-known/openid-configuration",
        "/%61uthority/.well-known/openid-configuration?x=1",
    ] {
        let found = proxy.get(path);
        assert_eq!(found.status(), 200, "{path}");
        assert!(found.json()["token_endpoint"].is_string(), "{path}");
    }
    assert!(origin.requests().is_empty());
    for path in [
        "/authority/connect/token/",
        "/authority%2fconnect/token",
        "/Authority/connect/token",
    ] {
        proxy.get(path).is_the_upstreams(200);
    }
}

#[test]
fn short_lived_tokens_are_handed_out_fresh_and_not_fetched_without_end() {
    let short = r#"{"access_token":"short","token_type":"Bearer","expires_in":300}"#;
    let idp = idp::answering(move |_, request| says(request, &origin::json(short)));
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = world(&origin, &idp.url()).start();
    for _ in 0..20 {
        let body = ask(&proxy, "", CREDENTIALS).json();
        let left = body["expires_in"].as_u64().unwrap();
        assert!((150..=300).contains(&left), "{left}");
    }
    assert_eq!(token_requests(&idp), 1);
}

#[test]
fn at_the_providers_own_host_it_answers_at_the_providers_own_paths() {
    let (origin, idp) = (origin::answering([origin::ok("the rest")]), provider());
    let authority = json!([{"credential": "agent", "path": "/", "hosts": ["127.0.0.1"]}]);
    let proxy = world(&origin, &idp.url())
        .with("authorities", authority)
        .start();
    // once the metadata are known
    let found: Value = proxy
        .send("GET /.well-known/openid-configuration HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
        .json();
    assert_eq!(found["token_endpoint"], "http://127.0.0.1:1/as/token");
    assert_eq!(found["jwks_uri"], "http://127.0.0.1:1/as/keys");
    let request = token_request("127.0.0.1:1", "", CREDENTIALS);
    let request = request.replace("/authority/connect/token", "/as/token");
    assert_eq!(proxy.send(request).json()["access_token"], "token-1");
    // at any other host, and beside it, requests are a route's
    for request in [
        "GET /.well-known/openid-configuration HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /as/authorize HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
    ] {
        proxy.send(request).is_the_upstreams(200);
    }
}

#[test]
fn a_provider_whose_name_leads_back_here_is_no_endless_loop() {
    let origin = origin::answering([origin::ok("hello")]);
    let placeholder = origin::nobody();
    let authority = json!([{"credential": "agent", "path": "/"}]);
    let proxy = world(&origin, &format!("http://{placeholder}"))
        .with("authorities", authority)
        .with("listeners", json!([{"bind": placeholder.to_string()}]))
        .start();
    let request = token_request("127.0.0.1", "", "grant_type=refresh_token");
    let request = request.replace("/authority/connect/token", "/connect/token");
    let answer = proxy.send(request);
    assert_eq!(answer.status(), 508, "{}", answer.head);
}

#[test]
fn threads_share_one_token() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), provider());
    let proxy = world(&origin, &idp.url()).with("workers", 4).start();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let answer = ask(&proxy, "", CREDENTIALS);
                assert_eq!(answer.json()["access_token"], "token-1");
            });
        }
    });
    assert_eq!(token_requests(&idp), 1);
}
