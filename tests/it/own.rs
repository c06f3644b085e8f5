//! Endpoints that the proxy answers itself on the listeners of callers.

use serde_json::json;

use crate::support::{
    issuer::{self, Issuer, Pair},
    origin::{self, Origin},
    proxy,
};

const DOCUMENT: &str = "/.well-known/oauth-protected-resource/imodels";

fn guarding(origin: &Origin, issuer: &Issuer) -> proxy::Builder {
    let rule = json!({"provider": "idp", "audiences": ["api"], "scopes": ["b", "a"], "any_scopes": "c", "dpop": {"algorithms": ["PS256", "ES256"]}});
    proxy::to(origin)
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .route("admit", json!([{"bearer": rule}]))
        .route("resource", json!("https://api.example/imodels"))
}

#[test]
fn a_client_without_a_token_finds_out_where_to_get_one() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = guarding(&origin, &issuer).start();
    let refused = proxy.get("/imodels");
    refused.is_refused(401, "TokenMissing");
    let challenges = refused.fields().into_iter();
    let challenges = challenges.filter(|(name, _)| name.eq_ignore_ascii_case("www-authenticate"));
    let told = format!("resource_metadata=\"https://api.example{DOCUMENT}\"");
    let schemes: Vec<&str> = challenges
        .inspect(|(_, challenge)| assert!(challenge.contains(&told), "{challenge}"))
        .filter_map(|(_, challenge)| challenge.split(' ').next())
        .collect();
    assert_eq!(schemes, ["Bearer", "DPoP"]);

    let document = proxy.get(DOCUMENT);
    assert_eq!(document.status(), 200, "{}", document.head);
    assert_eq!(document.field("content-type"), Some("application/json"));
    assert_eq!(document.field("access-control-allow-origin"), Some("*"));
    assert_eq!(
        document.json(),
        json!({
            "resource": "https://api.example/imodels",
            "authorization_servers": [issuer.url()],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["a", "b", "c"],
            "dpop_signing_alg_values_supported": ["ES256", "PS256"],
        })
    );
    assert!(origin.requests().is_empty());
    // anything beside it is a route's
    let beside = proxy.get("/.well-known/oauth-protected-resource");
    beside.is_refused(401, "TokenMissing");
}

#[test]
fn other_methods_are_told_which_are_known_and_leave_no_body_behind() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let proxy = guarding(&origin, &issuer).start();
    let mut client = proxy.connect();
    let body = "GET /smuggled HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    let head = proxy::with_fields(
        "POST",
        DOCUMENT,
        &format!("content-length: {}\r\n", body.len()),
    );
    client.send(head);
    let answer = client.answer();
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.field("allow"), Some("GET, HEAD"));
    assert_eq!(answer.json()["error"]["code"], "MethodRefused");
    client.send(body);
    // what is left of the connection carries no second answer
    let rest = String::from_utf8_lossy(&client.until_closed()).into_owned();
    assert_eq!(rest, "");
    assert!(origin.requests().is_empty());
}

#[test]
fn of_several_hosts_each_has_its_own_document() {
    let (origin, key) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&key]);
    let route = |name: &str| {
        json!({
            "name": name,
            "hosts": [name],
            "resource": format!("https://{name}/"),
            "admit": [{"bearer": {"audiences": ["api"]}}],
            "upstream": origin.url(),
        })
    };
    let proxy = proxy::to(&origin)
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .with("routes", json!([route("a.example"), route("b.example")]))
        .start();
    let ask = |host: &str| {
        let path = "/.well-known/oauth-protected-resource";
        proxy.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    };
    assert_eq!(ask("a.example").json()["resource"], "https://a.example");
    assert_eq!(ask("B.example:80").json()["resource"], "https://b.example");
    ask("c.example").is_refused(404, "RouteNotFound");
}
