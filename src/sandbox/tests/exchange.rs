//! Tokens exchanged for others (RFC 8693).

use super::*;

const TYPE: &str = "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token";
const GRANT: &str = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange";

#[tokio::test]
async fn a_token_is_exchanged_for_one_that_says_for_whom_who_asks_and_where_it_is_good() {
    let sandbox = sandbox(|config| config.shape = TokenShape::Ims).await;
    let own = client_credentials(&sandbox);
    let exchange = own.replace("client_credentials", GRANT);
    let shown = token(&sandbox, &own).await.json();
    let shown = shown["access_token"].as_str().unwrap();
    let good = format!("{exchange}&subject_token={shown}&subject_token_type={TYPE}");
    let got = token(
        &sandbox,
        &format!("{good}&resource=https%3A%2F%2Fbehind.example%2F"),
    )
    .await;
    assert_eq!(got.status, 200);
    let answer = got.json();
    assert_eq!(
        answer["issued_token_type"],
        "urn:ietf:params:oauth:token-type:access_token"
    );
    let claims = |token: &str| -> Value {
        let payload = token.split('.').nth(1).unwrap();
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        serde_json::from_slice(&engine.decode(payload).unwrap()).unwrap()
    };
    let (before, after) = (
        claims(shown),
        claims(answer["access_token"].as_str().unwrap()),
    );
    assert_eq!(after["sub"], before["sub"]);
    assert_eq!(after["scope"], before["scope"]);
    assert_eq!(after["aud"], json!(["https://behind.example/"]));
    assert_eq!(after["act"]["client_id"], sandbox.client_id());

    for (form, error) in [
        (good.replace(shown, "nonsense"), "invalid_request"),
        (good.replace(TYPE, "x"), "invalid_request"),
        (exchange.clone(), "invalid_request"),
        (format!("{good}&actor_token={shown}"), "invalid_request"),
        (format!("{good}&requested_token_type=x"), "invalid_request"),
        (format!("{good}&scope=imodels%3Amodify"), "invalid_scope"),
        (format!("{good}&resource=behind"), "invalid_target"),
    ] {
        let got = token(&sandbox, &form).await;
        assert_eq!(
            (got.status, &got.json()["error"]),
            (400, &json!(error)),
            "{form}"
        );
    }
}
