//! A token for the asking, and the URL discovery service, as scripts and old agents see them.

use serde_json::json;

use crate::support::{
    idp::{self, Idp},
    origin::{self, Origin},
    proxy::{self, Builder},
    wait::Gate,
};

const HEADER: &str = "X-Itwin-Token-Request: 1\r\n";

fn world(origin: &Origin, idp: &Idp) -> Builder {
    proxy::to(origin)
        .injecting(idp)
        .with("token_requests", json!({}))
        .with("admin", json!({"bind": "127.0.0.1:0"}))
}

#[test]
fn a_script_asks_for_a_token_and_gets_the_one_that_is_there() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), idp::issuing());
    let proxy = world(&origin, &idp).start();
    for query in ["", "?credential=agent", "?scope=itwin-platform", "?scope="] {
        let answer = proxy.send(proxy::with_fields("GET", &format!("/token{query}"), HEADER));
        assert_eq!(answer.status(), 200, "{query} {}", answer.head);
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        let names = answer.names();
        let cors = |name: &String| name.starts_with("access-control");
        assert!(!names.iter().any(cors), "{names:?}");
        let body = answer.json();
        assert_eq!(body["access_token"], "token-1");
        assert_eq!(body["token_type"], "Bearer");
        assert_eq!(body["scope"], "itwin-platform");
        assert!(body["expires_in"].as_u64().unwrap() > 3500);
    }
    // the route's callers have the same
    proxy.get("/x").is_the_upstreams(200);
    assert_eq!(idp.requests().len(), 1);
    let counted = "itwin_auth_proxy_tokens_handed_out_total{credential=\"agent\"} 4";
    let metrics = proxy.admin("/metrics");
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[test]
fn it_is_not_for_pages_nor_for_who_does_not_know_the_header() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), idp::issuing());
    let proxy = world(&origin, &idp).start();
    let asked = |method: &str, query: &str, fields: &str| {
        proxy.send(proxy::with_fields(
            method,
            &format!("/token{query}"),
            fields,
        ))
    };
    let code = |answer: &crate::support::client::Answer| answer.json()["error"]["code"].clone();
    for (method, query, fields, status, expected) in [
        ("GET", "", "", 403, "HeaderRequired"),
        ("POST", "", HEADER, 405, "MethodRefused"),
        ("OPTIONS", "", HEADER, 405, "MethodRefused"),
        ("GET", "?credential=other", HEADER, 404, "CredentialUnknown"),
        ("GET", "?scope=more", HEADER, 400, "ScopeUnknown"),
        ("GET", "?scope=a&scope=b", HEADER, 400, "ParameterTwice"),
        ("GET", "?scopes=a", HEADER, 400, "ParameterUnknown"),
    ] {
        let answer = asked(method, query, fields);
        assert_eq!(
            (answer.status(), code(&answer)),
            (status, json!(expected)),
            "{query}"
        );
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
    let mut head = proxy.connect();
    head.send(proxy::with_fields("HEAD", "/token", HEADER));
    assert_eq!(head.head().status(), 405);
    for page in [
        "Origin: https://evil.test\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
    ] {
        asked("GET", "", &format!("{HEADER}{page}")).is_refused(403, "NotAdmitted");
    }
    let rebound = format!("GET /token HTTP/1.1\r\nHost: evil.test\r\n{HEADER}\r\n");
    proxy.send(rebound).is_refused(403, "NotAdmitted");
    assert!(origin.requests().is_empty());
}

#[test]
fn its_errors_are_explained_where_all_others_are() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), idp::issuing());
    let proxy = world(&origin, &idp)
        .with("errors", json!({"help": "https://help.test/errors"}))
        .start();
    let answer = proxy.send(proxy::with_fields("GET", "/token", ""));
    let details = answer.json()["error"]["details"].clone();
    let help = json!({"code": "Help", "message": "https://help.test/errors#headerrequired"});
    assert!(details.as_array().unwrap().contains(&help), "{details}");
}

#[test]
fn who_is_refused_for_the_name_that_it_uses_reads_where_to_write_it() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), idp::issuing());
    let networks = json!([{"networks": ["127.0.0.0/8"]}]);
    let asked = |more: serde_json::Value, host: &str| {
        let mut requests = json!({"admit": networks});
        let keys = requests.as_object_mut().unwrap();
        keys.extend(more.as_object().unwrap().clone());
        let proxy = world(&origin, &idp)
            .with("token_requests", requests)
            .start();
        proxy.send(format!(
            "GET /token HTTP/1.1\r\nHost: {host}:9612\r\nOrigin: http://{host}:9612\r\n{HEADER}\r\n"
        ))
    };
    let refused = asked(json!({}), "evil.test");
    refused.is_refused(403, "NotAdmitted");
    assert!(refused.text().contains("`hosts`"), "{}", refused.text());
    assert_eq!(asked(json!({}), "127.0.0.1").status(), 200);
    assert_eq!(
        asked(json!({"hosts": ["corp.test"]}), "corp.test").status(),
        200
    );
}

#[test]
fn while_there_is_no_token_it_says_when_to_come_back() {
    let idp = idp::answering(|_, _| origin::answer("500 Oops", "", ""));
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = world(&origin, &idp).start();
    let answer = proxy.send(proxy::with_fields("GET", "/token", HEADER));
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.json()["error"]["code"], "TokenUnavailable");
    let after: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=120).contains(&after), "{after}");
}

#[test]
fn it_is_off_unless_it_is_written() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), idp::issuing());
    let proxy = proxy::to(&origin).injecting(&idp).start();
    for path in [
        "/token",
        "/authority/connect/token",
        "/WebService/GetUrl/?url=IMSOpenID",
    ] {
        let answer = proxy.send(proxy::with_fields("GET", path, HEADER));
        answer.is_the_upstreams(200);
    }
}

#[test]
fn many_sets_of_scopes_do_not_become_many_tokens() {
    let gate = Gate::default();
    gate.open();
    let idp = idp::behind(&gate);
    let origin = origin::answering([origin::ok("hello")]);
    let scopes: Vec<String> = (0..8).map(|n| format!("s{n}")).collect();
    let proxy = world(&origin, &idp)
        .with("credentials.agent.scopes", json!(scopes))
        .start();
    for set in 1..256_u32 {
        let chosen = (0..8).filter(|n| set & (1 << n) != 0);
        let chosen: Vec<String> = chosen.map(|n| format!("s{n}")).collect();
        let path = format!("/token?scope={}", chosen.join("+"));
        let answer = proxy.send(proxy::with_fields("GET", &path, HEADER));
        assert_eq!(answer.status(), 200, "{path}");
        let granted = answer.json()["scope"].as_str().unwrap().to_owned();
        for scope in chosen {
            assert!(granted.split(' ').any(|one| one == scope), "{granted}");
        }
    }
    let fetched = idp.requests().len();
    assert!((2..=17).contains(&fetched), "{fetched}");
}

#[test]
fn an_old_agent_finds_its_services_at_the_address_that_it_used() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), idp::issuing());
    let urls = json!({
        "Mobile.ImsStsAuth": "https://sts.example/",
        "RealityDataServices": {"regions": {"102": "https://qa.example/rd"}},
    });
    let proxy = world(&origin, &idp)
        .with("authorities", json!([{}]))
        .with("url_discovery", json!({"urls": urls}))
        .start();
    let url = |path: &str| {
        let request = format!("GET /WebService{path} HTTP/1.1\r\nHost: localhost:7\r\n\r\n");
        let answer = proxy.send(request);
        (answer.status() == 200).then(|| answer.json()["result"]["url"].clone())
    };
    let here = |path: &str| Some(json!(format!("http://localhost:7{path}")));
    assert_eq!(url("/GetUrl/?url=IMSOpenID&region=0"), here("/authority"));
    assert_eq!(url("/GetUrl?url=imsopenid"), here("/authority"));
    assert_eq!(
        url("//getUrl/?region=103&url=iModelHubApi"),
        here("/imodelhub")
    );
    let sts = Some(json!("https://sts.example/"));
    assert_eq!(url("/GetUrl/?url=Mobile.ImsStsAuth&region=102"), sts);
    let qa = Some(json!("https://qa.example/rd"));
    assert_eq!(url("/GetUrl/?url=RealityDataServices&region=102"), qa);
    for unknown in [
        "/GetUrl/?url=RealityDataServices&region=0",
        "/GetUrl/?url=Forms.WSGService",
        "/GetUrl/?url=iModelHubApi&region=x",
    ] {
        let answer = proxy.get(&format!("/WebService{unknown}"));
        assert_eq!(answer.status(), 404, "{unknown}");
        assert_eq!(answer.json()["error"]["code"], "UrlKeyUnknown");
    }
    let none = proxy.get("/WebService/GetUrl/");
    assert_eq!(
        (none.status(), none.json()["error"]["code"].clone()),
        (400, json!("UrlKeyMissing"))
    );
    let post = proxy.send(proxy::with_fields("POST", "/WebService/GetUrl/", ""));
    assert_eq!(post.status(), 405);
    assert!(origin.requests().is_empty());
}
