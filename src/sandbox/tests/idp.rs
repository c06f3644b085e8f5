//! The authorization server, as a client sees it.

use super::*;

#[tokio::test]
async fn the_discovery_document_has_what_clients_insist_on() {
    let sandbox = sandbox(|_| ()).await;
    let url = format!("{}/.well-known/openid-configuration", sandbox.issuer());
    let document = send("GET", &url, &[], "").await.unwrap().json();
    assert_eq!(document["issuer"], sandbox.issuer());
    for key in [
        "authorization_endpoint",
        "jwks_uri",
        "response_types_supported",
        "subject_types_supported",
        "id_token_signing_alg_values_supported",
    ] {
        assert!(!document[key].is_null(), "{key}");
    }
    let keys = send("GET", document["jwks_uri"].as_str().unwrap(), &[], "").await;
    assert_eq!(keys.unwrap().json()["keys"][0]["use"], "sig");
    let other = format!(
        "{}/.well-known/oauth-authorization-server",
        sandbox.issuer()
    );
    assert_eq!(send("GET", &other, &[], "").await.unwrap().status, 404);
    assert_eq!(sandbox.counts().discovery_requests, 1);
}

#[tokio::test]
async fn a_secret_comes_in_the_body_or_form_encoded_in_the_header() {
    let sandbox = sandbox(|config| {
        config.clients = vec![Client::with_secret("my client", "s3 cret+/:é")];
    })
    .await;
    let url = format!("{}/connect/token", sandbox.issuer());
    for (user, status) in [
        ("my+client:s3+cret%2B%2F%3A%C3%A9", 200),
        ("my%20client:s3%20cret%2B/%3A%c3%a9", 200),
        ("my client:s3 cret+/:é", 400),
        ("my+client:wrong", 400),
    ] {
        let basic = format!("Basic {}", STANDARD.encode(user));
        let headers = [FORM, ("authorization", basic.as_str())];
        let got = send("POST", &url, &headers, "grant_type=client_credentials").await;
        assert_eq!(got.unwrap().status, status, "{user}");
    }
    let body =
        "grant_type=client_credentials&client_id=my+client&client_secret=s3+cret%2B%2F:%C3%A9";
    assert_eq!(token(&sandbox, body).await.status, 200);
    let methods: Vec<_> = sandbox
        .token_requests()
        .iter()
        .map(|request| (request.client_auth, request.result.clone()))
        .collect();
    assert_eq!(methods[0], ("client_secret_basic", "ok".to_owned()));
    assert_eq!(methods[4], ("client_secret_post", "ok".to_owned()));
}

#[tokio::test]
async fn every_error_of_the_token_endpoint_is_status_400() {
    let sandbox = sandbox(|_| ()).await;
    let good = client_credentials(&sandbox);
    for (form, error) in [
        (
            "grant_type=client_credentials&client_id=service-sandbox&client_secret=no",
            "invalid_client",
        ),
        (
            "grant_type=client_credentials&client_id=nobody&client_secret=no",
            "invalid_client",
        ),
        (
            "grant_type=client_credentials&client_id=service-sandbox",
            "invalid_client",
        ),
        (
            &good.replace("client_credentials", "magic"),
            "unsupported_grant_type",
        ),
        (&format!("{good}&scope=openid"), "invalid_scope"),
        (&format!("{good}&scope=offline_access+a"), "invalid_scope"),
        (&format!("{good}&grant_type=password"), "invalid_request"),
        (
            &good.replace("client_credentials", "password"),
            "invalid_request",
        ),
        (
            &format!(
                "{}&username=a&password=b",
                good.replace("client_credentials", "password")
            ),
            "invalid_grant",
        ),
        (
            &format!(
                "{}&refresh_token=a",
                good.replace("client_credentials", "refresh_token")
            ),
            "invalid_grant",
        ),
    ] {
        let got = token(&sandbox, form).await;
        assert_eq!(
            (got.status, &got.json()["error"]),
            (400, &json!(error)),
            "{form}"
        );
        assert_eq!(got.headers[header::CACHE_CONTROL], "no-store");
    }
    let url = format!("{}/connect/token", sandbox.issuer());
    let got = send("POST", &url, &[("content-type", "application/json")], &good)
        .await
        .unwrap();
    assert_eq!(got.json()["error"], "invalid_request");
    assert_eq!(sandbox.counts().tokens_issued, 0);
}

#[tokio::test]
async fn a_refresh_token_is_good_for_one_use() {
    let sandbox = sandbox(|_| ()).await;
    let id = format!(
        "client_id={}&client_secret={}",
        sandbox.client_id(),
        sandbox.client_secret()
    );
    let (user, password) = sandbox.user().unwrap();
    let form = format!(
        "grant_type=password&{id}&username={user}&password={password}&scope=itwin-platform+offline_access"
    );
    let first = token(&sandbox, &form).await.json();
    let refresh = |handle: &Value| {
        format!(
            "grant_type=refresh_token&{id}&refresh_token={}",
            handle.as_str().unwrap()
        )
    };
    let second = token(&sandbox, &refresh(&first["refresh_token"]))
        .await
        .json();
    assert_ne!(first["access_token"], second["access_token"]);
    assert_ne!(first["refresh_token"], second["refresh_token"]);

    let again = token(&sandbox, &refresh(&first["refresh_token"])).await;
    assert_eq!(
        (again.status, &again.json()["error"]),
        (400, &json!("invalid_grant"))
    );
    assert_eq!(sandbox.counts().refresh_reuses, 1);

    let narrowed = format!("{}&scope=itwin-platform", refresh(&second["refresh_token"]));
    let third = token(&sandbox, &narrowed).await.json();
    assert_eq!(third["scope"], "itwin-platform");
    assert!(
        third["refresh_token"].is_string(),
        "narrowing does not end the session"
    );
    let wider = format!("{}&scope=everything", refresh(&third["refresh_token"]));
    assert_eq!(
        token(&sandbox, &wider).await.json()["error"],
        "invalid_scope"
    );
    let given = json!(sandbox.refresh_token());
    assert_eq!(token(&sandbox, &refresh(&given)).await.status, 200);
}

#[tokio::test]
async fn a_client_assertion_is_checked_and_good_once() {
    let pkcs8 =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let der = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(
        pair.public_key(),
    );
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(der.unwrap().as_ref())
    );
    let sandbox = sandbox(|config| {
        let mut signed = Client::with_secret("signed", "-");
        signed.assertion = AssertionTrust::Key {
            algorithm: Algorithm::ES256,
            pem,
        };
        let mut pod = Client::with_secret("pod", "-");
        pod.assertion = AssertionTrust::Structure;
        config.clients = vec![signed, pod];
    })
    .await;
    let now = Clock::system().now().unix_seconds();
    let key = EncodingKey::from_ec_der(pkcs8.as_ref());
    let claims = json!({"iss": "signed", "sub": "signed", "aud": sandbox.issuer(), "jti": "1", "exp": now + 60});
    let changed = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims["jti"] = format!("{name}{value}").into();
        claims[name] = value;
        claims
    };
    let ask = async |client: &str, claims: &Value| {
        let jwt = encode(&Header::new(Algorithm::ES256), claims, &key).unwrap();
        let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        let form = format!(
            "grant_type=client_credentials&client_id={client}&client_assertion_type={kind}&client_assertion={jwt}"
        );
        token(&sandbox, &form).await.status
    };
    assert_eq!(ask("signed", &claims).await, 200);
    assert_eq!(ask("signed", &claims).await, 400, "shown twice");
    assert_eq!(
        ask("signed", &changed("aud", "https://other.example".into())).await,
        400
    );
    assert_eq!(ask("signed", &changed("exp", (now - 1).into())).await, 400);
    assert_eq!(ask("signed", &changed("sub", "pod".into())).await, 400);
    let pod = changed("sub", "system:serviceaccount:default:agent".into());
    assert_eq!(ask("pod", &pod).await, 200);
    assert_eq!(
        ask("pod", &pod).await,
        200,
        "a projected token is shown again and again"
    );
}

async fn introspect(sandbox: &Sandbox, basic: &str, form: &str) -> Got {
    let url = format!("{}/connect/introspect", sandbox.issuer());
    let basic = format!("Basic {}", STANDARD.encode(basic));
    let headers = [FORM, ("authorization", basic.as_str())];
    send("POST", &url, &headers, form).await.unwrap()
}

#[tokio::test]
async fn an_opaque_token_is_asked_about_by_the_api_that_it_is_for() {
    let sandbox = sandbox(|config| {
        config.shape = TokenShape::Opaque;
        let mut other = Client::with_secret("other", "secret");
        other.scopes = vec!["other".into()];
        config.apis.push(other);
    })
    .await;
    let issued = token(&sandbox, &client_credentials(&sandbox)).await.json();
    let token = issued["access_token"].as_str().unwrap();
    assert!(token.len() == 64 && token.bytes().all(|b| b.is_ascii_hexdigit()));
    let form = format!("token={token}&token_type_hint=access_token");
    let (id, secret) = sandbox.api().unwrap();
    let api = format!("{id}:{secret}");
    let said = introspect(&sandbox, &api, &form).await.json();
    assert_eq!(said["active"], true);
    assert_eq!(said["scope"], "itwin-platform");
    assert_eq!(said["iss"], sandbox.issuer());
    // the hub takes it, too
    let url = format!("{}/imodels?iTwinId={}", sandbox.hub(), sandbox.itwin_id());
    let bearer = format!("Bearer {token}");
    let got = send("GET", &url, &[("authorization", &bearer)], "").await;
    assert_eq!(got.unwrap().status, 200);

    let inactive = json!({"active": false});
    assert_eq!(introspect(&sandbox, &api, "token=x").await.json(), inactive);
    let foreign = introspect(&sandbox, "other:secret", &form).await;
    assert_eq!(foreign.json(), inactive, "it has none of that API's scopes");
    for bad in ["imodels-api:wrong", "service-sandbox:sandbox-secret"] {
        let got = introspect(&sandbox, bad, &form).await;
        assert_eq!((got.status, got.body.len()), (401, 0), "{bad}");
    }
    sandbox.faults().revoke_tokens();
    assert_eq!(introspect(&sandbox, &api, &form).await.json(), inactive);
    assert_eq!(sandbox.counts().introspection_requests, 6);
}

#[tokio::test]
async fn a_token_may_have_the_shape_that_identity_server_gives_it() {
    let sandbox = sandbox(|config| config.shape = TokenShape::IdentityServer).await;
    let issued = token(&sandbox, &client_credentials(&sandbox)).await.json();
    let token = issued["access_token"].as_str().unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    let payload = token.split('.').nth(1).unwrap();
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let payload: Value = serde_json::from_slice(&engine.decode(payload).unwrap()).unwrap();
    assert!(payload["scope"].is_array() && payload["jti"].is_string());
    assert_eq!(payload["nbf"], payload["iat"]);
    let url = format!("{}/imodels?iTwinId={}", sandbox.hub(), sandbox.itwin_id());
    let bearer = format!("Bearer {token}");
    let got = send("GET", &url, &[("authorization", &bearer)], "").await;
    assert_eq!(got.unwrap().status, 200);
}
