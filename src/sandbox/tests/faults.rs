//! What goes wrong when the sandbox is told so.

use super::*;

#[tokio::test]
async fn the_sandbox_is_told_over_http_to_fail_and_to_recover() {
    let sandbox = sandbox(|_| ()).await;
    let tell = async |order: Value| {
        let url = format!("{}/__faults", sandbox.hub());
        send("POST", &url, &[], &order.to_string())
            .await
            .unwrap()
            .status
    };
    let form = client_credentials(&sandbox);
    assert_eq!(tell(json!({"idp_door": "refuse"})).await, 204);
    let url = format!("{}/connect/token", sandbox.issuer());
    let refused = send("POST", &url, &[FORM], &form).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let order = json!({"clear": true, "idp": {"kind": "status", "status": 503, "retry_after": 9, "times": {"next": 1}}});
    assert_eq!(tell(order).await, 204);
    let got = token(&sandbox, &form).await;
    assert_eq!(
        (got.status, &got.headers[header::RETRY_AFTER]),
        (503, &header::HeaderValue::from(9))
    );
    assert_eq!(token(&sandbox, &form).await.status, 200);
    assert_eq!(
        tell(json!({"client_secrets": ["new"], "token_lifetime_seconds": 5})).await,
        204
    );
    assert_eq!(
        token(&sandbox, &form).await.json()["error"],
        "invalid_client"
    );
    let got = token(&sandbox, &form.replace("sandbox-secret", "new")).await;
    assert_eq!(got.json()["expires_in"], 5);
    assert_eq!(tell(json!({"hub": {"kind": "on_fire"}})).await, 400);
    let url = format!("{}/__counts", sandbox.issuer());
    let counts = send("GET", &url, &[], "").await.unwrap().json();
    assert_eq!(counts["tokens_issued"], 2);
}

#[tokio::test]
async fn faults_of_both_servers_look_as_they_should() {
    let sandbox = sandbox(|_| ()).await;
    let form = client_credentials(&sandbox);
    let bearer = bearer(&sandbox).await;
    let idp = |fault| {
        sandbox
            .faults()
            .idp(IdpEndpoint::Token, fault, Times::Next(1));
    };
    idp(IdpFault::EmptyBody);
    assert_eq!(
        (
            token(&sandbox, &form).await.status,
            token(&sandbox, &form).await.status
        ),
        (200, 200)
    );
    idp(IdpFault::NoExpiresIn);
    assert!(
        token(&sandbox, &form)
            .await
            .json()
            .get("expires_in")
            .is_none()
    );
    idp(IdpFault::ZeroExpiresIn);
    assert_eq!(token(&sandbox, &form).await.json()["expires_in"], 0);
    idp(IdpFault::HugeBody);
    assert_eq!(token(&sandbox, &form).await.body.len(), 64 << 20);

    let ask = async |fault| {
        sandbox.faults().hub(fault, Times::Next(1));
        let url = format!("{}/itwins", sandbox.hub());
        send("GET", &url, &[("authorization", &bearer)], "").await
    };
    assert_eq!(ask(HubFault::Forbidden).await.unwrap().status, 403);
    let got = ask(HubFault::RateLimited { retry_after: 7 }).await.unwrap();
    assert_eq!(
        (got.status, &got.headers[header::RETRY_AFTER]),
        (429, &header::HeaderValue::from(7))
    );
    let got = ask(HubFault::UnknownClient).await.unwrap();
    assert_eq!(got.json()["error"]["details"][0]["code"], "UnknownClient");
    let got = ask(HubFault::LoginPage).await.unwrap();
    assert_eq!((got.status, &got.body[..9]), (200, &b"<!DOCTYPE"[..]));
    let got = ask(HubFault::LoginRedirect).await.unwrap();
    assert!(
        got.headers[header::LOCATION]
            .to_str()
            .unwrap()
            .starts_with(sandbox.issuer())
    );
    assert!(ask(HubFault::ResetMidBody).await.is_err());
    assert!(ask(HubFault::Reset).await.is_err());
    assert_eq!(
        ask(HubFault::Slow { milliseconds: 1 })
            .await
            .unwrap()
            .status,
        200
    );
}
