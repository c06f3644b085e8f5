//! What becomes of a caller's `Authorization`.

use crate::support::{idp, origin, proxy, proxy::with_fields};

const TOKEN: &str = "Bearer token-1";

#[test]
fn a_call_that_carries_no_real_token_arrives_with_ours() {
    for carried in [
        "",
        "Authorization:\r\n",
        "Authorization: \t \r\n",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \r\n",
        "authorization: bearer\r\n",
        "Authorization: Bearer dummy\r\n",
        "AUTHORIZATION: BEARER dummy\r\n",
        "Authorization: dummy\r\n",
        "Authorization: Bearer undefined\r\n",
    ] {
        let origin = origin::answering([origin::ok("hello")]);
        let idp = idp::issuing();
        let proxy = proxy::to(&origin)
            .injecting(&idp)
            .route("inject.presented_bearer", "refuse")
            .start();
        let answer = proxy.send(with_fields("GET", "/imodels?iTwinId=1", carried));
        answer.is_the_upstreams(200);
        assert_eq!(answer.text(), "hello");
        let request = origin.request();
        assert_eq!(request.request(), "GET /imodels?iTwinId=1");
        assert_eq!(request.all("authorization"), [TOKEN], "{carried:?}");
    }
}

#[test]
fn a_token_of_the_callers_own_is_treated_as_the_route_says() {
    let bearer = "Authorization: Bearer eyJ.own\r\n";
    let foreign = [
        "Authorization: Basic dTpw\r\n",
        "Authorization: SharedAccessSignature sr=x&sig=y\r\n",
        "Authorization: X509 abc\r\n",
    ];
    let mut table = vec![
        (bearer, None, Ok(TOKEN)),
        (bearer, Some(("presented_bearer", "replace")), Ok(TOKEN)),
        (
            bearer,
            Some(("presented_bearer", "keep")),
            Ok("Bearer eyJ.own"),
        ),
        (
            bearer,
            Some(("presented_bearer", "refuse")),
            Err("AuthorizationRefused"),
        ),
        (bearer, Some(("presented_other", "refuse")), Ok(TOKEN)),
    ];
    for carried in foreign {
        let own = carried.trim_start_matches("Authorization: ").trim();
        table.push((carried, None, Ok(own)));
        table.push((carried, Some(("presented_other", "keep")), Ok(own)));
        table.push((carried, Some(("presented_other", "replace")), Ok(TOKEN)));
        table.push((
            carried,
            Some(("presented_other", "refuse")),
            Err("AuthorizationRefused"),
        ));
    }
    for (carried, rule, expected) in table {
        let origin = origin::answering([origin::ok("hello")]);
        let idp = idp::issuing();
        let mut builder = proxy::to(&origin).injecting(&idp);
        if let Some((key, value)) = rule {
            builder = builder.route(&format!("inject.{key}"), value);
        }
        let answer = builder.start().send(with_fields("GET", "/", carried));
        match expected {
            Ok(value) => {
                answer.is_the_upstreams(200);
                assert_eq!(origin.request().all("authorization"), [value], "{rule:?}");
            }
            Err(code) => {
                answer.is_refused(400, code);
                assert!(origin.requests().is_empty());
            }
        }
    }
}

#[test]
fn two_authorizations_are_refused_whatever_they_are() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let proxy = proxy::to(&origin).injecting(&idp).start();
    for carried in [
        "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
        "Authorization: Bearer dummy\r\nX: y\r\nauthorization: Basic dTpw\r\n",
        "Authorization:\r\nAuthorization:\r\n",
    ] {
        let answer = proxy.send(with_fields("GET", "/", carried));
        answer.is_refused(400, "SeveralAuthorizations");
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_connection_field_cannot_take_our_token_away() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let proxy = proxy::to(&origin).injecting(&idp).start();
    for carried in [
        "Connection: authorization\r\n",
        "Connection: close, Authorization\r\n",
        "Connection: keep-alive\r\nConnection: x-a, AUTHORIZATION\r\nX-A: b\r\n",
        "Connection: authorization\r\nAuthorization: Bearer own\r\n",
    ] {
        proxy
            .send(with_fields("GET", "/", carried))
            .is_the_upstreams(200);
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.all("authorization"), [TOKEN], "{carried:?}");
        assert!(request.all("x-a").is_empty());
    }
}

#[test]
fn a_route_that_injects_nothing_leaves_authorization_alone() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin).start();
    for carried in ["Bearer eyJ.own", "Basic dTpw", "Bearer", "dummy"] {
        let request = with_fields("GET", "/", &format!("Authorization: {carried}\r\n"));
        proxy.send(request).is_the_upstreams(200);
        assert_eq!(
            origin.requests().pop().unwrap().all("authorization"),
            [carried]
        );
    }
    proxy.get("/").is_the_upstreams(200);
    assert!(
        origin
            .requests()
            .pop()
            .unwrap()
            .all("authorization")
            .is_empty()
    );
}

#[test]
fn methods_that_would_show_the_token_are_not_served() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let proxy = proxy::to(&origin).injecting(&idp).start();
    for method in ["TRACE", "TRACK", "trace"] {
        let answer = proxy.send(with_fields(method, "/", ""));
        answer.is_refused(405, "MethodRefused");
        assert!(answer.field("allow").is_some());
    }
    let answer =
        proxy.send("CONNECT api.bentley.com:443 HTTP/1.1\r\nHost: api.bentley.com:443\r\n\r\n");
    answer.is_refused(405, "MethodRefused");
    assert!(origin.requests().is_empty());
}

#[test]
fn a_key_that_callers_show_us_is_checked_and_goes_no_further() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let rule = serde_json::json!([{"key": {"secret": "0123456789abcdef"}}]);
    let proxy = proxy::to(&origin)
        .injecting(&idp)
        .route("admit", rule)
        .start();
    for wrong in [
        "",
        "X-Api-Key: 0123456789abcdeX\r\n",
        "X-Api-Key:\r\n",
        "X_Api_Key: 0123456789abcdef\r\n",
    ] {
        let answer = proxy.send(with_fields("GET", "/", wrong));
        answer.is_refused(401, "Unauthorized");
        assert!(answer.field("www-authenticate").is_some());
    }
    assert!(origin.requests().is_empty());
    let fields = "X-Api-Key: 0123456789abcdef\r\nX_Api.Key: 0123456789abcdef\r\n";
    proxy
        .send(with_fields("GET", "/", fields))
        .is_the_upstreams(200);
    let request = origin.request();
    assert!(
        !request.head.contains("0123456789abcdef"),
        "{}",
        request.head
    );
    assert_eq!(request.all("authorization"), [TOKEN]);
}
