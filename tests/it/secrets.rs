//! Secrets stay inside: planted ones must not show up in logs, answers or pages, at any log level,
//! whatever fails.

use std::fmt::Write as _;

use http::Request;
use http_body_util::Full;
use serde_json::json;

use crate::support::{
    client::Client,
    http2,
    idp::{self, Idp},
    origin::{self, Origin},
    program,
    proxy::{self, with_body, with_fields},
};

/// Every one of them would be a find.
const PLANTED: [&str; 7] = [
    "canary-client-secret",
    "canary-api-key-of-callers",
    "canary-token",
    "canary-own-token",
    "canary-query-value",
    "canary-body",
    "canary-cookie",
];

/// What the provider says of an error: for the log, not for callers.
const PROVIDERS_WORDS: &str = "canary-provider-words";

/// Answers as the path says.
fn moody() -> Origin {
    origin::serving(|mut connection| {
        while let Some(request) = connection.request() {
            let path = request
                .request()
                .split(['/', '?'])
                .nth(1)
                .unwrap_or_default()
                .to_owned();
            match path.as_str() {
                "refuses" => connection.send(origin::answer("401 Unauthorized", "", "no")),
                "login" => connection.send(origin::answer(
                    "200 OK",
                    "Content-Type: text/html\r\n",
                    "<p>sign in</p>",
                )),
                "nonsense" => connection.send("canary-token nonsense\r\n\r\n"),
                "hangup" => return,
                _ => connection.send(origin::ok("hello")),
            }
        }
    })
}

fn provider(idp: &Idp) -> serde_json::Value {
    json!({"issuer": idp.url(), "token_endpoint": format!("{}/token", idp.url())})
}

fn credential(provider: &str) -> serde_json::Value {
    json!({"provider": provider, "client_id": "service", "client_secret": "canary-client-secret"})
}

#[test]
fn no_log_answer_or_page_shows_a_secret_whatever_fails() {
    let origin = moody();
    let idp = idp::answering(|number, _| {
        origin::json(&format!(
            r#"{{"access_token":"canary-token-{number}","token_type":"Bearer","expires_in":3600}}"#
        ))
    });
    let unwilling = idp::answering(|number, _| {
        let (status, error) = match number % 3 {
            0 => ("500 Oops", "canary-provider-words"),
            1 => ("400 Bad Request", "invalid_client"),
            _ => ("200 OK", "canary-token"),
        };
        let words = "canary-provider-words canary-client-secret";
        let body = format!(r#"{{"error":"{error}","error_description":"{words}"}}"#);
        origin::answer(status, "content-type: application/json\r\n", &body)
    });
    let upstream = json!({"url": origin.url()});
    let inject = json!({"credential": "agent", "wait": "300ms"});
    let refused = json!({"credential": "agent", "presented_bearer": "refuse"});
    let without = json!({"credential": "beggar", "wait": "300ms"});
    let key = json!([{"key": {"secret": "canary-api-key-of-callers"}}]);
    let nobody = json!({"url": format!("http://{}", origin::nobody())});
    let program = program::run(&json!({
        "providers": {"willing": provider(&idp), "unwilling": provider(&unwilling)},
        "credentials": {"agent": credential("willing"), "beggar": credential("unwilling")},
        "listeners": [{"bind": "127.0.0.1:0"}],
        "routes": [
            {"path": "/key", "upstream": upstream, "inject": inject, "admit": key},
            {"path": "/refused", "upstream": upstream, "inject": refused},
            {"path": "/without", "upstream": upstream, "inject": without},
            {"path": "/nobody", "upstream": nobody, "inject": inject},
            {"path": "/none/**", "upstream": upstream, "methods": ["GET"]},
            {"path": "/**", "upstream": upstream, "inject": inject},
        ],
        "limits": {"body_size": "1KiB", "drain_delay": "0s"},
        "log": {"level": "trace,hyper=trace,hyper_util=trace,h2=trace,rustls=trace,tokio=trace", "format": "json"},
        "admin": {"bind": "127.0.0.1:0"},
        "workers": proxy::workers(),
    }));
    let address = program.address("listening");
    let mut answers = String::new();
    let mut call = |request: String| {
        let last = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        let bytes = Client::connect(address).send(last).until_closed();
        answers += &String::from_utf8_lossy(&bytes);
        answers += "\n";
    };
    let own = "Authorization: Bearer canary-own-token\r\nCookie: session=canary-cookie\r\n";
    for path in [
        "fine", "refuses", "login", "nonsense", "hangup", "key", "refused", "nobody", "without",
        "none/x", "a%2fb", "x/../y",
    ] {
        let target = format!("/{path}?sig=canary-query-value");
        call(with_fields("GET", &target, own));
        call(with_body("POST", &target, "canary-body"));
    }
    call(with_fields(
        "GET",
        "/key",
        "X-Api-Key: canary-api-key-of-callers\r\n",
    ));
    call(with_fields(
        "GET",
        "/key",
        "X-Api-Key: canary-api-key-of-callersX\r\n",
    ));
    call(with_fields("GET", "/", &format!("{own}{own}")));
    call(with_fields(
        "POST",
        "/?canary-query-value",
        "Content-Length: 100000\r\n",
    ));
    call("GET /?canary-query-value HTTP/1.1\r\nHost: a\r\ncanary-cookie\r\n\r\n".into());
    let over_http2 = Request::get("http://proxy.localhost/fine?sig=canary-query-value")
        .header("cookie", "session=canary-cookie")
        .header("authorization", "Bearer canary-own-token")
        .body(Full::default())
        .unwrap();
    let answer = http2::Client::connect(address).send(over_http2);
    writeln!(answers, "{:?}", answer.headers).unwrap();
    // of what callers were told; who may look at the log reads them there
    let told = answers.clone();
    let admin = program.address("admin listening");
    for page in ["/status", "/metrics", "/ready", "/live", "/startup", "/"] {
        let answer = Client::connect(admin)
            .send(with_fields("GET", page, "Connection: close\r\n"))
            .until_closed();
        answers += &String::from_utf8_lossy(&answer);
    }
    let (_, log) = program.end();
    assert!(
        log.contains("trace") && log.lines().count() > 30,
        "too little was logged:\n{log}"
    );
    for secret in PLANTED {
        for line in log.lines().chain(answers.lines()) {
            assert!(!line.contains(secret), "{secret} in: {line}");
        }
    }
    assert!(!told.contains(PROVIDERS_WORDS), "{told}");
    for seen in [
        "hello",
        "UpstreamLoginPage",
        "UpstreamBroken",
        "TokenUnavailable",
        "AuthorizationRefused",
        "BodyTooLarge",
    ] {
        assert!(answers.contains(seen), "{seen} was not tried: {answers}");
    }
}
