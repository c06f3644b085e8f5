//! Agents that sign in as a service user, with name and password, at the authority that we stand in
//! for.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use url::form_urlencoded;

use crate::support::{
    client::Answer,
    idp::{self, Idp},
    origin::{self, Origin},
    proxy::{self, Proxy},
};

const SIGN_IN: &str = "/authority/rest/ActiveSTSService/json/IssueEx";
const DELEGATION: &str = "/authority/rest/DelegationSTSService/json/IssueEx";
const TOKEN: &str = "/authority/connect/token";

fn world(origin: &Origin, idp: &Idp, service_users: &str) -> Proxy {
    let credential = json!({
        "provider": "test",
        "client_id": "service",
        "client_secret": "a secret of the service",
        "scopes": ["a"],
    });
    let provider =
        json!({"issuer": idp.url(), "token_endpoint": format!("{}/as/token", idp.url())});
    proxy::to(origin)
        .with("providers.test", provider)
        .with("credentials.agent", credential)
        .with(
            "authorities",
            json!([{"credential": "agent", "service_users": service_users}]),
        )
        .start()
}

fn post(proxy: &Proxy, path: &str, fields: &str, body: &str) -> Answer {
    proxy.send(format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn shows(proxy: &Proxy, fields: &str, assertion: &str) -> Answer {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:saml-token")
        .append_pair("scope", "imodelhub")
        .append_pair("assertion", assertion);
    let fields = format!("{fields}Content-Type: application/x-www-form-urlencoded\r\n");
    post(proxy, TOKEN, &fields, &form.finish())
}

/// Signs in, delegates, and answers the assertion as a client shows it.
fn signed_in(proxy: &Proxy) -> String {
    let basic = STANDARD.encode("user@example.com:not the password");
    let fields = format!("Authorization: Basic {basic}\r\nContent-Type: application/json\r\n");
    let asked = json!({"AppliesTo": "x", "DeviceId": "backend", "AppId": "y", "Lifetime": 10080});
    let answer = post(proxy, SIGN_IN, &fields, &asked.to_string());
    assert_eq!(answer.status(), 200, "{}", answer.head);
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let first = answer.json()["RequestedSecurityToken"].clone();
    let asked = json!({"ActAs": first, "AppliesTo": "x", "Lifetime": 60});
    let fields = "authorization: X509 access_token=Ym04\r\n";
    let second = post(proxy, DELEGATION, fields, &asked.to_string()).json();
    STANDARD.encode(second["RequestedSecurityToken"].as_str().unwrap())
}

#[test]
fn a_service_user_gets_the_credentials_token_whatever_its_password_is() {
    let (origin, idp) = (
        origin::answering([origin::ok("hello")]),
        idp::answering(|_, _| idp::token(1)),
    );
    let proxy = world(&origin, &idp, "replace");
    let assertion = signed_in(&proxy);
    for _ in 0..3 {
        let answer = shows(&proxy, "Authorization: Basic YTpi\r\n", &assertion).json();
        assert_eq!(answer["access_token"], "token-1");
        assert_eq!(answer["scope"], "a");
    }
    let asked = idp.requests();
    let asked = asked.iter().filter(|one| one.request().starts_with("POST"));
    assert_eq!(asked.count(), 1);
    assert_eq!(proxy.get(SIGN_IN).status(), 405);
}

#[test]
fn an_assertion_of_somebody_else_goes_to_the_provider() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::answering(|_, request| match request.text() {
        body if body.contains("saml-token") => {
            origin::answer("400 Bad", "", r#"{"error":"invalid_grant"}"#)
        }
        _ => idp::token(1),
    });
    let proxy = world(&origin, &idp, "replace");
    let real = STANDARD.encode("<saml:Assertion AssertionID=\"_1\"/>");
    let answer = shows(&proxy, "", &real);
    assert_eq!(answer.json()["error"], "invalid_grant");

    // unless it is wanted, nothing is stood in for, and ours is as good as any
    let ours = signed_in(&proxy);
    let passing = world(&origin, &idp, "pass");
    assert_eq!(shows(&passing, "", &ours).json()["error"], "invalid_grant");
    let before = origin.requests().len();
    post(&passing, SIGN_IN, "", "{}");
    assert_eq!(origin.requests().len(), before + 1, "it is no path of ours");
}

#[test]
fn a_page_of_another_site_gets_no_token_for_it() {
    let (origin, idp) = (
        origin::answering([origin::ok("hello")]),
        idp::answering(|_, _| idp::token(1)),
    );
    let proxy = world(&origin, &idp, "replace");
    let assertion = signed_in(&proxy);
    let page = "Origin: https://app.example\r\nSec-Fetch-Site: cross-site\r\n";
    let refused = shows(&proxy, page, &assertion);
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.json()["error"], "unauthorized_client");
}
