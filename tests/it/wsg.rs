//! iModelHub as agents of iModel.js 1.x and 2.x call it: paths, schemes, redirects and errors.

use serde_json::Value;

use crate::support::{
    idp, origin,
    proxy::{self, with_body, with_fields},
};

const CONTEXT: &str = "/sv1.1/Repositories/Context--5c9f1a2e-0000-4000-8000-0123456789ab";
const IMODEL: &str = "/imodelhub/sv1.1/Repositories/iModel--5c9f1a2e-0000-4000-8000-0123456789ab";

fn to_sign_in(idp: &idp::Idp) -> String {
    origin::answer(
        "302 Found",
        &format!(
            "Location: {}/connect/authorize?a=b\r\nContent-Type: text/html\r\n",
            idp.url()
        ),
        "<h2>Object moved to <a href=\"https://ims.bentley.com/\">here</a></h2>",
    )
}

#[test]
fn paths_and_queries_of_repositories_arrive_byte_for_byte() {
    let (origin, idp) = (origin::answering([origin::ok("{}")]), idp::issuing());
    let proxy = proxy::to(&origin).injecting(&idp).start();
    for (method, target) in [
        (
            "GET",
            format!(
                "{CONTEXT}/ContextScope/iModel/?$filter=Name+eq+'A%20b/c'&$top=2&$select=*,X-forward-Y.*"
            ),
        ),
        (
            "GET",
            format!("{CONTEXT}/ContextScope/iModel/?%24filter=Name%20eq%20'%C3%A4'"),
        ),
        ("DELETE", format!("{CONTEXT}/ContextScope/iModel/1")),
        (
            "GET",
            format!("{IMODEL}/iModelScope/ChangeSet/?$orderby=Index+desc"),
        ),
        ("GET", format!("{IMODEL}/iModelScope/Lock/$query")),
    ] {
        let fields = "authorization: bearer old\r\nX-Correlation-Id: 7\r\nskiptoken: a+/=\r\n";
        proxy
            .send(with_fields(method, &target, fields))
            .is_the_upstreams(200);
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.request(), format!("{method} {target}"));
        assert_eq!(request.field("authorization"), Some("Bearer token-1"));
        assert_eq!(request.field("skiptoken"), Some("a+/="));
    }
    let query = "$filter=Id+in+['a--b','c']&$top=5";
    proxy
        .send(with_body(
            "POST",
            &format!("{IMODEL}/iModelScope/Lock/$query"),
            query,
        ))
        .is_the_upstreams(200);
    assert_eq!(origin.requests().pop().unwrap().text(), query);
}

#[test]
fn schemes_that_are_not_ours_to_replace_go_through() {
    let (origin, idp) = (origin::answering([origin::ok("{}")]), idp::issuing());
    let injecting = proxy::to(&origin).injecting(&idp).start();
    let passing = proxy::to(&origin).start();
    for scheme in [
        "SharedAccessSignature sr=https%3A%2F%2Fx.servicebus.windows.net&sig=a%2Bb%3D&se=1&skn=k",
        "SAML PHNhbWw6QXNzZXJ0aW9uPg==",
        "Token PHNhbWw6QXNzZXJ0aW9uPg==",
        "X509 access_token=TUlJRg==",
    ] {
        let request = with_fields("GET", "/a", &format!("authorization: {scheme}\r\n"));
        for proxy in [&injecting, &passing] {
            proxy.send(request.clone()).is_the_upstreams(200);
            let arrived = origin.requests().pop().unwrap();
            assert_eq!(arrived.field("authorization"), Some(scheme));
        }
    }
}

#[test]
fn a_repository_that_asks_for_a_sign_in_gets_another_token() {
    let idp = idp::issuing();
    let origin = origin::answering([to_sign_in(&idp), origin::ok("{}")]);
    let proxy = proxy::to(&origin).injecting(&idp).start();
    let target = format!("{CONTEXT}/ContextScope/iModel/");
    proxy
        .send(with_body("POST", &target, "{\"instance\":1}"))
        .is_the_upstreams(200);
    let sent: Vec<_> = origin
        .requests()
        .iter()
        .map(|request| {
            let token = request.field("authorization").unwrap().to_owned();
            (token, request.text().to_owned())
        })
        .collect();
    let body = || "{\"instance\":1}".to_owned();
    assert_eq!(
        sent,
        [
            ("Bearer token-1".to_owned(), body()),
            ("Bearer token-2".to_owned(), body())
        ]
    );
}

#[test]
fn a_repository_that_goes_on_asking_is_passed_on_and_costs_one_token() {
    let idp = idp::issuing();
    let origin = origin::answering([to_sign_in(&idp)]);
    let proxy = proxy::to(&origin).injecting(&idp).start();
    for _ in 0..3 {
        let answer = proxy.get(&format!("{CONTEXT}/ContextScope/iModel/"));
        assert_eq!(answer.status(), 302);
        // where these clients look for the sign-in
        assert!(
            answer.text().contains("ims.bentley.com"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(idp.requests().len(), 2);
    // what is no repository is as before
    proxy.get("/imodels").is_refused(502, "UpstreamLoginPage");
    assert_eq!(idp.requests().len(), 2);
}

#[test]
fn our_own_errors_have_the_shape_that_old_clients_read_too() {
    let idp = idp::answering(|_, _| origin::answer("503 No", "", ""));
    let origin = origin::answering([origin::ok("{}")]);
    let proxy = proxy::to(&origin).injecting(&idp).start();
    let answer = proxy.get(&format!("{CONTEXT}/ContextScope/iModel/"));
    answer.is_refused(503, "TokenUnavailable");
    let body: Value = serde_json::from_str(answer.text()).unwrap();
    assert_eq!(body["errorId"], "TokenUnavailable");
    assert_eq!(body["errorMessage"], body["error"]["message"]);
    let description = body["errorDescription"].as_str().unwrap();
    assert!(description.contains("answered 503"), "{description}");
}
