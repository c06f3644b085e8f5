//! People who sign in, as a browser and a client see it.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::form_urlencoded;

use super::*;

const CALLBACK: &str = "http://127.0.0.1:54321/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const SCOPES: &str = "openid+profile+email+offline_access+itwin-platform";

/// Follows forms and keeps cookies; one of its own per test.
struct Visitor<'a> {
    sandbox: &'a Sandbox,
    cookies: BTreeMap<String, String>,
}

impl<'a> Visitor<'a> {
    fn new(sandbox: &'a Sandbox) -> Self {
        Self {
            sandbox,
            cookies: BTreeMap::new(),
        }
    }

    async fn send(&mut self, method: &str, target: &str, form: &str) -> Got {
        let url = if target.starts_with('/') {
            format!("{}{target}", self.sandbox.issuer())
        } else {
            target.to_owned()
        };
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        let cookies = cookies.join("; ");
        let got = send(method, &url, &[FORM, ("cookie", &cookies)], form).await;
        let got = got.unwrap();
        for set in got.headers.get_all(header::SET_COOKIE) {
            let set = set.to_str().unwrap();
            assert!(set.contains("HttpOnly"), "{set}");
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        got
    }

    async fn get(&mut self, target: &str) -> Got {
        self.send("GET", target, "").await
    }

    /// An authorization request of the client for desks, and `more`.
    async fn authorize(&mut self, more: &str) -> Got {
        let query = format!(
            "/connect/authorize?client_id=native-sandbox&response_type=code&redirect_uri={}\
             &scope={SCOPES}&state=s-1&nonce=n-1&code_challenge={CHALLENGE}&code_challenge_method=S256{more}",
            encoded(CALLBACK)
        );
        self.get(&query).await
    }

    /// Answers the page `on`: the step of its first form that ends so.
    async fn answer(&mut self, on: &Got, step: &str, form: &str) -> Got {
        let html = on.text();
        let action = html
            .split("action=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
            .find(|action| action.ends_with(step))
            .unwrap_or_else(|| panic!("no {step} in {html}"));
        self.send("POST", action, form).await
    }

    async fn signs_in(&mut self, on: &Got, who: &str) -> Got {
        let form = format!("login={who}%40sandbox.example&password=sandbox-password");
        self.answer(on, "/login", &form).await
    }

    /// Signs in as Ada, allows, and returns the code.
    async fn code(&mut self) -> String {
        let page = self.authorize("").await;
        let page = self.signs_in(&page, "ada").await;
        let back = self.answer(&page, "/consent", "decision=allow").await;
        back.back()["code"].clone()
    }
}

impl Got {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// What the client gets in the query or the fragment.
    fn back(&self) -> BTreeMap<String, String> {
        assert_eq!(self.status, 303, "{}", self.text());
        let to = self.headers[header::LOCATION].to_str().unwrap();
        let (uri, parameters) = to.split_once(['?', '#']).unwrap();
        assert_eq!(uri, CALLBACK);
        form_urlencoded::parse(parameters.as_bytes())
            .into_owned()
            .collect()
    }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn redeem(code: &str) -> String {
    format!(
        "grant_type=authorization_code&client_id=native-sandbox&code={code}&redirect_uri={}&code_verifier={VERIFIER}",
        encoded(CALLBACK)
    )
}

fn claims(jwt: &str) -> Value {
    let payload = URL_SAFE_NO_PAD
        .decode(jwt.split('.').nth(1).unwrap())
        .unwrap();
    serde_json::from_slice(&payload).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {value}"))
}

#[tokio::test]
async fn a_person_signs_in_allows_and_the_client_learns_who_it_is() {
    let sandbox = sandbox(|_| ()).await;
    let mut ada = Visitor::new(&sandbox);
    let page = ada.authorize("").await;
    assert!(page.text().contains("<h1>Sign in</h1>"));
    let wrong = ada
        .answer(
            &page,
            "/login",
            "login=ada%40sandbox.example&password=guess",
        )
        .await;
    assert!(wrong.text().contains("role=\"alert\""));
    let consent = ada.signs_in(&wrong, "ada").await;
    assert!(consent.text().contains("Example desktop application"));
    let back = ada
        .answer(&consent, "/consent", "decision=allow")
        .await
        .back();
    assert_eq!(
        (back["state"].as_str(), back["iss"].as_str()),
        ("s-1", sandbox.issuer())
    );

    let given = token(&sandbox, &redeem(&back["code"])).await.json();
    let id_token = claims(text(&given, "id_token"));
    let access_token = text(&given, "access_token");
    let hash = digest(&SHA256, access_token.as_bytes());
    let expected = json!({"iss": sandbox.issuer(), "aud": "native-sandbox", "azp": "native-sandbox",
        "nonce": "n-1", "at_hash": URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]),
        "name": "Ada Byron", "email": "ada@sandbox.example", "preferred_username": "ada@sandbox.example"});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&id_token[name], value, "{name}");
    }
    assert!(id_token["auth_time"].is_number() && id_token["sid"].is_string());
    assert_eq!(claims(access_token)["sub"], id_token["sub"]);
    let bearer = format!("Bearer {access_token}");
    let url = format!("{}/connect/userinfo", sandbox.issuer());
    let said = send("GET", &url, &[("authorization", &bearer)], "").await;
    let said = said.unwrap().json();
    assert_eq!(
        (&said["sub"], text(&said, "name")),
        (&id_token["sub"], "Ada Byron")
    );

    // the second time nothing is asked
    let again = ada.authorize("&prompt=none").await.back();
    assert_ne!(again["code"], back["code"]);
    let counts = sandbox.counts();
    assert_eq!(
        (
            counts.authorization_requests,
            counts.sign_ins,
            counts.code_exchanges
        ),
        (2, 1, 1)
    );
}

#[tokio::test]
async fn a_person_may_say_no() {
    let sandbox = sandbox(|_| ()).await;
    let mut emil = Visitor::new(&sandbox);
    let page = emil.authorize("").await;
    let back = emil.answer(&page, "/cancel", "").await.back();
    assert_eq!(
        (back["error"].as_str(), back["state"].as_str()),
        ("access_denied", "s-1")
    );
    let page = emil.authorize("").await;
    let consent = emil.signs_in(&page, "emil").await;
    let back = emil
        .answer(&consent, "/consent", "decision=deny")
        .await
        .back();
    assert_eq!(back["error"], "access_denied");
    assert_eq!(sandbox.counts().authorization_errors["access_denied"], 2);
}

#[tokio::test]
async fn who_is_signed_in_is_asked_only_what_has_to_be_asked() {
    let sandbox = sandbox(|_| ()).await;
    let mut visitor = Visitor::new(&sandbox);
    let back = visitor.authorize("&prompt=none").await.back();
    assert_eq!(back["error"], "login_required");
    let page = visitor.authorize("&login_hint=ada%40sandbox.example").await;
    assert!(page.text().contains("value=\"ada@sandbox.example\""));
    let consent = visitor.signs_in(&page, "ada").await;
    let back = visitor.authorize("&prompt=none").await.back();
    assert_eq!(back["error"], "consent_required");
    visitor
        .answer(&consent, "/consent", "decision=allow")
        .await
        .back();
    for (more, asked) in [
        ("", ""),
        ("&prompt=login", "<h1>Sign in</h1>"),
        ("&prompt=select_account", "<h1>Choose an account</h1>"),
        ("&prompt=consent", "<h1>Is this all right?</h1>"),
        (
            "&login_hint=emil%40sandbox.example",
            "<h1>Choose an account</h1>",
        ),
        ("&login_hint=ada%40sandbox.example", ""),
        ("&max_age=100", ""),
    ] {
        let got = visitor.authorize(more).await;
        assert!(got.text().contains(asked), "{more}: {}", got.text());
        assert_eq!(got.status == 303, asked.is_empty(), "{more}");
    }
    let back = visitor
        .authorize("&prompt=none&login_hint=emil%40sandbox.example")
        .await
        .back();
    assert_eq!(back["error"], "interaction_required");
    // another account beside the first, and back to that
    let page = visitor.authorize("&prompt=select_account").await;
    let page = visitor.answer(&page, "/select", "login=").await;
    let page = visitor.signs_in(&page, "emil").await;
    let code = visitor.answer(&page, "/consent", "decision=allow").await;
    let given = token(&sandbox, &redeem(&code.back()["code"])).await.json();
    assert_eq!(claims(text(&given, "id_token"))["name"], "Emil Mörsch");
    let page = visitor.authorize("&prompt=select_account").await;
    let back = visitor
        .answer(&page, "/select", "login=ada%40sandbox.example")
        .await;
    let given = token(&sandbox, &redeem(&back.back()["code"])).await.json();
    assert_eq!(claims(text(&given, "id_token"))["name"], "Ada Byron");
}

#[tokio::test]
async fn a_sign_in_that_is_too_old_is_repeated() {
    let clock = Clock::for_tests(std::time::Duration::from_secs(1_000_000));
    let sandbox = sandbox(|config| config.clock = clock.clone()).await;
    let mut ada = Visitor::new(&sandbox);
    ada.code().await;
    clock.jump(101_000);
    assert_eq!(ada.authorize("&max_age=101").await.status, 303);
    let page = ada.authorize("&max_age=100").await;
    let back = ada.signs_in(&page, "ada").await.back();
    let given = token(&sandbox, &redeem(&back["code"])).await.json();
    let id_token = claims(text(&given, "id_token"));
    assert_eq!(id_token["auth_time"], 1_000_101);
    let back = ada.authorize("&max_age=0&prompt=none").await;
    assert_eq!(back.status, 303);
    clock.jump(1000);
    let back = ada.authorize("&max_age=0&prompt=none").await.back();
    assert_eq!(back["error"], "login_required");
}

#[tokio::test]
async fn a_code_is_good_once_for_its_client_its_address_and_its_verifier() {
    let clock = Clock::for_tests(std::time::Duration::from_secs(1_000_000));
    let sandbox = sandbox(|config| config.clock = clock.clone()).await;
    let mut ada = Visitor::new(&sandbox);
    let code = ada.code().await;
    let good = redeem(&code);
    for (form, error) in [
        (good.replace(&code, "guess"), "invalid_grant"),
        (
            good.replace("=native-sandbox", "=spa-sandbox"),
            "invalid_grant",
        ),
        (good.replace("=native-sandbox", "=nobody"), "invalid_client"),
        (good.replace(&code, ""), "invalid_request"),
    ] {
        assert_eq!(token(&sandbox, &form).await.json()["error"], error);
    }
    let given = token(&sandbox, &good).await.json();
    let refresh = format!(
        "grant_type=refresh_token&client_id=native-sandbox&refresh_token={}",
        text(&given, "refresh_token")
    );
    let narrowed = token(&sandbox, &format!("{refresh}&scope=itwin-platform")).await;
    let narrowed = narrowed.json();
    assert_eq!(narrowed["scope"], "itwin-platform");
    assert!(narrowed["id_token"].is_null());
    let bearer = format!("Bearer {}", text(&narrowed, "access_token"));
    let url = format!("{}/imodels?iTwinId={}", sandbox.hub(), sandbox.itwin_id());
    let ask = async || {
        let got = send("GET", &url, &[("authorization", &bearer)], "").await;
        got.unwrap().status
    };
    assert_eq!(ask().await, 200);
    // a second use takes all of it back
    assert_eq!(
        token(&sandbox, &good).await.json()["error"],
        "invalid_grant"
    );
    assert_eq!(ask().await, 401);
    let next = refresh.replace(
        text(&given, "refresh_token"),
        text(&narrowed, "refresh_token"),
    );
    assert_eq!(
        token(&sandbox, &next).await.json()["error"],
        "invalid_grant"
    );
    assert_eq!(sandbox.counts().code_reuses, 1);

    for (from, to) in [
        ("54321%2F", "54322%2F"),
        ("dBjf", "dBjg"),
        ("&code_verifier=", "&x="),
    ] {
        let back = ada.authorize("").await.back();
        let form = redeem(&back["code"]).replace(from, to);
        assert_eq!(
            token(&sandbox, &form).await.json()["error"],
            "invalid_grant"
        );
    }
    let back = ada.authorize("").await.back();
    clock.jump(60_000);
    let late = token(&sandbox, &redeem(&back["code"])).await;
    assert_eq!(late.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn a_client_of_former_days_gets_tokens_by_a_form() {
    let sandbox = sandbox(|_| ()).await;
    let mut ada = Visitor::new(&sandbox);
    let query = format!(
        "/connect/authorize?client_id=legacy-sandbox&response_type=id_token+token&response_mode=form_post\
         &redirect_uri={}&scope=openid+itwin-platform&state=%3C%22&nonce=n",
        encoded("http://localhost:3000/signin-callback")
    );
    let page = ada.get(&query).await;
    let form = ada.signs_in(&page, "ada").await;
    let html = form.text();
    assert!(
        html.contains("<form method=\"post\" action=\"http://localhost:3000/signin-callback\">")
    );
    assert!(
        html.contains("name=\"state\" value=\"&#60;&#34;\""),
        "{html}"
    );
    let value = |name: &str| {
        let (_, rest) = html
            .split_once(&format!("name=\"{name}\" value=\""))
            .unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let hash = digest(&SHA256, value("access_token").as_bytes());
    let id_token = claims(&value("id_token"));
    assert_eq!(
        id_token["at_hash"],
        URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])
    );
    assert_eq!(value("expires_in"), "3600");
    let policy = form.headers[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap();
    assert!(
        policy.contains("script-src 'sha256-") && !policy.contains("unsafe"),
        "{policy}"
    );
}

#[tokio::test]
async fn a_request_can_be_pushed_and_is_used_once_by_its_client() {
    let sandbox = sandbox(|_| ()).await;
    let mut ada = Visitor::new(&sandbox);
    ada.code().await;
    let url = format!("{}/connect/par", sandbox.issuer());
    let form = format!(
        "client_id=native-sandbox&response_type=code&redirect_uri={}&scope={SCOPES}&code_challenge={CHALLENGE}&code_challenge_method=S256",
        encoded(CALLBACK)
    );
    let push = async |form: &str| send("POST", &url, &[FORM], form).await.unwrap();
    let pushed = push(&form).await;
    assert_eq!(pushed.status, 201);
    let handle = encoded(text(&pushed.json(), "request_uri"));
    let used = format!("/connect/authorize?client_id=native-sandbox&request_uri={handle}");
    assert!(ada.get(&used).await.back().contains_key("code"));
    assert_eq!(ada.get(&used).await.status, 400);
    let handle = encoded(text(&push(&form).await.json(), "request_uri"));
    let foreign = format!("/connect/authorize?client_id=spa-sandbox&request_uri={handle}");
    assert_eq!(ada.get(&foreign).await.status, 400);
    let bad = push(&form.replace("54321%2Fcallback", "54321%2Felse")).await;
    assert_eq!(
        (bad.status, text(&bad.json(), "error")),
        (400, "invalid_request")
    );
    assert_eq!(sandbox.counts().pushed_requests, 3);
}

#[tokio::test]
async fn a_device_waits_for_a_person_elsewhere() {
    let clock = Clock::for_tests(std::time::Duration::from_secs(1_000_000));
    let sandbox = sandbox(|config| config.clock = clock.clone()).await;
    let url = format!("{}/connect/deviceauthorization", sandbox.issuer());
    let begin = async || {
        let form = "client_id=native-sandbox&scope=openid+offline_access+itwin-platform";
        send("POST", &url, &[FORM], form).await.unwrap().json()
    };
    let poll = async |device: &Value| {
        clock.jump(1_000);
        let form = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&client_id=native-sandbox&device_code={}",
            text(device, "device_code")
        );
        token(&sandbox, &form).await.json()
    };
    let device = begin().await;
    assert_eq!(poll(&device).await["error"], "authorization_pending");
    clock.jump(-900);
    assert_eq!(poll(&device).await["error"], "slow_down");
    clock.jump(5_000);
    let mut ada = Visitor::new(&sandbox);
    let page = ada.get(text(&device, "verification_uri_complete")).await;
    assert!(page.text().contains(text(&device, "user_code")));
    let wrong = ada.answer(&page, "/device", "user_code=BBBB-BBBB").await;
    assert!(wrong.text().contains("role=\"alert\""));
    let code = text(&device, "user_code").to_lowercase().replace('-', "+");
    let page = ada
        .answer(&page, "/device", &format!("user_code={code}"))
        .await;
    let page = ada.signs_in(&page, "ada").await;
    let done = ada.answer(&page, "/consent", "decision=allow").await;
    assert!(done.text().contains("The device is connected"));
    let given = poll(&device).await;
    assert_eq!(
        text(&given, "scope"),
        "openid offline_access itwin-platform"
    );
    assert!(given["refresh_token"].is_string() && given["id_token"].is_string());
    clock.jump(6_000);
    assert_eq!(poll(&device).await["error"], "invalid_grant");

    let device = begin().await;
    let form = format!("user_code={}", text(&device, "user_code"));
    let page = ada.get("/device").await;
    let page = ada.answer(&page, "/device", &form).await;
    let no = ada.answer(&page, "/consent", "decision=deny").await;
    assert!(no.text().contains("Nothing was connected"));
    assert_eq!(poll(&device).await["error"], "access_denied");
    let device = begin().await;
    clock.jump(600_000);
    assert_eq!(poll(&device).await["error"], "expired_token");
}

#[tokio::test]
async fn a_client_revokes_what_is_its_own() {
    let sandbox = sandbox(|_| ()).await;
    let mut ada = Visitor::new(&sandbox);
    let code = ada.code().await;
    let given = token(&sandbox, &redeem(&code)).await.json();
    let url = format!("{}/connect/revocation", sandbox.issuer());
    let revoke = async |client: &str, token: &str| {
        let form = format!("client_id={client}&token={token}");
        send("POST", &url, &[FORM], &form).await.unwrap().status
    };
    let refresh = text(&given, "refresh_token");
    assert_eq!(revoke("spa-sandbox", refresh).await, 200);
    assert_eq!(sandbox.counts().refresh_tokens_revoked, 0);
    assert_eq!(revoke("native-sandbox", refresh).await, 200);
    assert_eq!(sandbox.counts().refresh_tokens_revoked, 1);
    let form = format!("grant_type=refresh_token&client_id=native-sandbox&refresh_token={refresh}");
    assert_eq!(
        token(&sandbox, &form).await.json()["error"],
        "invalid_grant"
    );
    let bearer = format!("Bearer {}", text(&given, "access_token"));
    let url = format!("{}/connect/userinfo", sandbox.issuer());
    let got = send("GET", &url, &[("authorization", &bearer)], "").await;
    assert_eq!(got.unwrap().status, 401);
}

#[tokio::test]
async fn who_signs_out_is_asked_unless_the_client_shows_whom_it_means() {
    let sandbox = sandbox(|_| ()).await;
    let mut ada = Visitor::new(&sandbox);
    let code = ada.code().await;
    let given = token(&sandbox, &redeem(&code)).await.json();
    let page = ada.get("/connect/endsession").await;
    assert!(page.text().contains("<h1>Sign out?</h1>"));
    let forged = ada.send("POST", "/connect/endsession", "sure=yes").await;
    assert!(forged.text().contains("<h1>Sign out?</h1>"));
    assert_eq!(sandbox.counts().logouts, 0);
    let out = |uri: &str| {
        format!(
            "/connect/endsession?id_token_hint={}&state=a%26b&post_logout_redirect_uri={}",
            text(&given, "id_token"),
            encoded(uri)
        )
    };
    let got = ada.get(&out("http://127.0.0.1:5000/")).await;
    assert_eq!(
        (got.status, got.headers[header::LOCATION].to_str().unwrap()),
        (303, "http://127.0.0.1:5000/?state=a%26b")
    );
    let back = ada.authorize("&prompt=none").await.back();
    assert_eq!(back["error"], "login_required");
    ada.code_again().await;
    let got = ada.get(&out("https://evil.example/")).await;
    assert_eq!(got.status, 200);
    assert!(got.text().contains("not registered") && !got.text().contains("evil"));
    ada.code_again().await;
    let page = ada.get("/connect/endsession").await;
    let sure = page.text().split("name=\"sure\" value=\"").nth(1).unwrap();
    let sure = format!("sure={}", sure.split('"').next().unwrap());
    let got = ada.answer(&page, "/connect/endsession", &sure).await;
    assert!(got.text().contains("You are signed out"));
    assert_eq!(sandbox.counts().logouts, 3);
}

impl Visitor<'_> {
    async fn code_again(&mut self) {
        let page = self.authorize("").await;
        self.signs_in(&page, "ada").await.back();
    }
}

#[tokio::test]
async fn clients_are_told_of_the_end_by_a_logout_token_and_by_a_frame() {
    let (heard, mut told) = tokio::sync::mpsc::unbounded_channel();
    let client = Arc::new(Origin::bind(([127, 0, 0, 1], 0).into()).unwrap());
    let stop = Shutdown::new();
    client.serve(&stop, move |request: Request<Bytes>| {
        let _ = heard.send(request.into_body());
        async { Ok(answer::empty(StatusCode::OK)) }
    });
    let sandbox = sandbox(|config| {
        for known in &mut config.clients {
            known.registration.backchannel_logout_uri = Some(format!("{}/bye", client.url()));
            known.registration.frontchannel_logout_uri = Some("http://a.example/bye?x".into());
        }
    })
    .await;
    let mut ada = Visitor::new(&sandbox);
    let code = ada.code().await;
    let given = token(&sandbox, &redeem(&code)).await.json();
    let id_token = claims(text(&given, "id_token"));
    let out = format!(
        "/connect/endsession?id_token_hint={}",
        text(&given, "id_token")
    );
    let page = ada.get(&out).await;
    let sid = text(&id_token, "sid");
    let frame = format!("iss={}&#38;sid={sid}", encoded(sandbox.issuer()));
    assert!(page.text().contains(&frame), "{}", page.text());
    let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str();
    assert!(policy.unwrap().contains("frame-src http://a.example"));
    let body = told.recv().await.unwrap();
    let token = std::str::from_utf8(&body)
        .unwrap()
        .strip_prefix("logout_token=");
    let token = claims(token.unwrap());
    assert_eq!(
        (&token["sid"], &token["sub"]),
        (&id_token["sid"], &id_token["sub"])
    );
    assert_eq!(
        (text(&token, "aud"), &token["nonce"]),
        ("native-sandbox", &Value::Null)
    );

    ada.code_again().await;
    assert_eq!(sandbox.end_sessions("ada@sandbox.example").await, 1);
    assert!(told.recv().await.is_some());
    assert_eq!(sandbox.counts().logout_tokens_taken, 2);
    let back = ada.authorize("&prompt=none").await.back();
    assert_eq!(back["error"], "login_required");
    stop.advance(Stage::Hard);
}

#[tokio::test]
async fn nothing_is_sent_to_an_address_that_is_not_the_clients() {
    let sandbox = sandbox(|_| ()).await;
    let mut visitor = Visitor::new(&sandbox);
    for query in [
        "client_id=native-sandbox&response_type=code&redirect_uri=https://evil.example/callback",
        "client_id=%3Cscript%3E&response_type=code&redirect_uri=http://127.0.0.1/callback",
        "client_id=native-sandbox&client_id=native-sandbox&redirect_uri=http://127.0.0.1/callback",
        "",
    ] {
        let got = visitor.get(&format!("/connect/authorize?{query}")).await;
        assert_eq!(got.status, 400, "{query}");
        assert!(!got.headers.contains_key(header::LOCATION));
        assert!(!got.text().contains("<script"), "{}", got.text());
    }
}
