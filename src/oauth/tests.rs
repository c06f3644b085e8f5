//! Exchanges of a sign-in with a provider that listens on loopback: what it is sent, and what
//! becomes of its answer.

use std::{collections::BTreeMap, time::Duration};

use rand::{SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use url::Url;

use super::{
    authorization::{AuthorizationRequest, Pkce, ResponseType, unguessable},
    end_session::EndSession,
    grant::{
        authorization_code::{self, Code},
        device_code::{self, DeviceAuthorization, Progress},
    },
    revoke::{RevocationRequest, TokenKind, revoke},
    *,
};
use crate::{
    clock::{Clock, Moment},
    config::{ClientTls, ScopeSet},
    secret::Secret,
};

/// Answers one request, and says what it was.
struct Once {
    url: Url,
    listener: TcpListener,
}

impl Once {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/e", listener.local_addr().unwrap());
        Self {
            url: url.parse().unwrap(),
            listener,
        }
    }

    /// Status and body; the request's form comes back.
    async fn answers(self, status: &str, body: &str) -> String {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let mut request = Vec::new();
        let form = loop {
            stream.read_buf(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request);
            let Some((head, form)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let head = head.to_ascii_lowercase();
            let length = head.split_once("content-length: ").map_or("0", |(_, l)| l);
            let length = length.lines().next().unwrap();
            if form.len() == length.parse::<usize>().unwrap() {
                break form.to_owned();
            }
        };
        let location = "location: http://127.0.0.1:1/elsewhere";
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{location}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        form
    }
}

fn http() -> HttpClient {
    let limit = Duration::from_secs(20);
    HttpClient::new(&ClientTls::default(), limit, limit).unwrap()
}

fn now() -> Moment {
    Clock::for_tests(Duration::from_secs(1_700_000_000)).now()
}

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

fn pkce() -> Pkce {
    Pkce::of(Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"))
}

/// What is done with the parts of an authorization request.
fn asking<T>(
    extra: &[(&str, &str)],
    implicit: bool,
    act: impl FnOnce(&AuthorizationRequest<'_>) -> T,
) -> T {
    let extra: Vec<_> = extra
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let pkce = pkce();
    act(&AuthorizationRequest {
        client_id: "webapp 1",
        redirect_uri: &url("https://app.example/.itwin-auth/callback"),
        scopes: &ScopeSet::new(["openid", "itwin-platform"]),
        response: if implicit {
            ResponseType::Tokens
        } else {
            ResponseType::Code(&pkce)
        },
        state: "s",
        nonce: "n",
        extra: &extra,
    })
}

#[test]
fn the_challenge_is_that_of_the_specification() {
    // RFC 7636 appendix B
    assert_eq!(
        pkce().challenge,
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    );
}

#[test]
fn verifiers_and_states_are_long_enough_and_never_the_same() {
    let mut rng = StdRng::seed_from_u64(1);
    let (one, other) = (Pkce::new(&mut rng), Pkce::new(&mut rng));
    assert_eq!(one.verifier.expose().len(), 43);
    assert!(!one.verifier.is(&other.verifier));
    let (state, nonce) = (unguessable(&mut rng), unguessable(&mut rng));
    assert!(state.len() == 32 && state != nonce);
}

#[test]
fn a_request_is_a_url_that_keeps_the_endpoints_query() {
    let endpoint = url("https://ims.example/authorize?tenant=a%26b");
    let sent = asking(&[("prompt", "select_account")], false, |r| r.url(&endpoint));
    assert_eq!(
        sent.as_str(),
        "https://ims.example/authorize?tenant=a%26b&client_id=webapp+1\
         &redirect_uri=https%3A%2F%2Fapp.example%2F.itwin-auth%2Fcallback&response_type=code\
         &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256\
         &scope=itwin-platform+openid&state=s&nonce=n&prompt=select_account"
    );
    let implicit = asking(&[], true, |r| r.url(&endpoint));
    let implicit = implicit.query().unwrap();
    assert!(implicit.contains("response_type=id_token+token&response_mode=form_post"));
    assert!(!implicit.contains("code_challenge"));
}

#[test]
fn further_parameters_are_sent_once_and_replace_nothing() {
    let extra = [
        ("prompt", "login"),
        ("login_hint", "ann@example.com"),
        ("prompt", "none"),
        ("acr_values", ""),
        ("state", "theirs"),
        ("redirect_uri", "https://evil.example/"),
        ("code_challenge_method", "plain"),
        ("response_mode", "fragment"),
        ("request_uri", "https://evil.example/"),
    ];
    let sent = asking(&extra, false, |r| r.url(&url("https://ims.example/a")));
    let pairs: Vec<_> = sent.query_pairs().into_owned().collect();
    let names: std::collections::BTreeSet<_> = pairs.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), pairs.len(), "{pairs:?}");
    let query = sent.query().unwrap();
    assert!(query.ends_with("&state=s&nonce=n&login_hint=ann%40example.com&prompt=none"));
    assert!(!query.contains("evil") && !query.contains("plain"));
}

#[tokio::test]
async fn a_pushed_request_leaves_the_browser_with_a_number() {
    let once = Once::new().await;
    let endpoint = once.url.clone();
    let body = r#"{"request_uri":"urn:ietf:params:oauth:request_uri:6esc&x","expires_in":60}"#;
    let request = asking(&[], false, |request| {
        let (endpoint, request) = (endpoint.clone(), *request);
        // all that is borrowed lives here
        let message = request.url(&endpoint);
        message.query().unwrap().to_owned()
    });
    let (pkce, scopes) = (pkce(), ScopeSet::new(["openid", "itwin-platform"]));
    let redirect = url("https://app.example/.itwin-auth/callback");
    let asked = AuthorizationRequest {
        client_id: "webapp 1",
        redirect_uri: &redirect,
        scopes: &scopes,
        response: ResponseType::Code(&pkce),
        state: "s",
        nonce: "n",
        extra: &[],
    };
    let (proof, http) = (Proof::Post(Secret::new("canary")), http());
    let pushed = asked.push(&endpoint, &proof, &http, now());
    let (form, pushed) = tokio::join!(once.answers("201 Created", body), pushed);
    let pushed = pushed.unwrap();
    assert_eq!(pushed.life, Some(Duration::from_secs(60)));
    assert_eq!(
        pushed
            .url(&url("https://ims.example/a?t=1"), "webapp 1")
            .as_str(),
        "https://ims.example/a?t=1&client_id=webapp+1\
         &request_uri=urn%3Aietf%3Aparams%3Aoauth%3Arequest_uri%3A6esc%26x"
    );
    let without_client = request.split_once('&').unwrap().1;
    assert_eq!(
        form,
        format!("{without_client}&client_id=webapp+1&client_secret=canary")
    );
}

#[tokio::test]
async fn a_request_that_is_not_taken_is_not_sent_on() {
    for (status, body, named) in [
        (
            "400 Bad Request",
            r#"{"error":"invalid_request"}"#,
            "invalid_request",
        ),
        ("200 OK", r#"{"error":"invalid_client"}"#, "invalid_client"),
        ("302 Found", "", "302"),
        ("201 Created", "{}", "request_uri"),
        ("201 Created", r#"{"request_uri":""}"#, "request_uri"),
        ("201 Created", r#"{"request_uri":["urn:x"]}"#, "request_uri"),
        ("201 Created", "<html>", "JSON"),
    ] {
        let once = Once::new().await;
        let endpoint = once.url.clone();
        let (pkce, scopes) = (pkce(), ScopeSet::default());
        let asked = AuthorizationRequest {
            client_id: "c",
            redirect_uri: &endpoint,
            scopes: &scopes,
            response: ResponseType::Code(&pkce),
            state: "s",
            nonce: "n",
            extra: &[],
        };
        let http = http();
        let pushed = asked.push(&endpoint, &Proof::None, &http, now());
        let (_, pushed) = tokio::join!(once.answers(status, body), pushed);
        let error = pushed.unwrap_err().to_string();
        assert!(error.contains(named), "{status} {body}: {error}");
    }
}

fn token_request<'a>(
    endpoint: &'a Url,
    scopes: &'a ScopeSet,
    extra: &'a BTreeMap<String, String>,
) -> TokenRequest<'a> {
    TokenRequest {
        endpoint,
        client_id: "native-1",
        proof: &Proof::None,
        scopes,
        extra,
    }
}

async fn redeem(status: &str, body: &str) -> (String, Result<Issued, ExchangeError>) {
    let once = Once::new().await;
    let (endpoint, scopes, extra) = (once.url.clone(), ScopeSet::new(["a"]), BTreeMap::new());
    let request = token_request(&endpoint, &scopes, &extra);
    let code = Code {
        code: &Secret::new("SplxlOBe+ZQQ"),
        verifier: &pkce().verifier,
        redirect_uri: &url("http://127.0.0.1:3000/signin-callback"),
    };
    let http = http();
    let exchange = authorization_code::exchange(&request, &code, &http, now());
    tokio::join!(once.answers(status, body), exchange)
}

#[tokio::test]
async fn a_code_is_redeemed_with_the_verifier_of_its_request() {
    let body = r#"{"access_token":"ey.a","token_type":"Bearer","expires_in":3600,
        "refresh_token":"r","id_token":"ey.i","scope":"openid a"}"#;
    let (form, issued) = redeem("200 OK", body).await;
    let mut sent: Vec<&str> = form.split('&').collect();
    sent.sort_unstable();
    assert_eq!(
        sent,
        [
            "client_id=native-1",
            "code=SplxlOBe%2BZQQ",
            "code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            "grant_type=authorization_code",
            "redirect_uri=http%3A%2F%2F127.0.0.1%3A3000%2Fsignin-callback",
        ]
    );
    let issued = issued.unwrap();
    assert_eq!(issued.header, "Bearer ey.a");
    assert!(issued.refresh.unwrap().matches(b"r") && issued.id_token.unwrap().matches(b"ey.i"));
}

#[tokio::test]
async fn a_token_endpoint_that_answers_a_code_with_anything_else_gives_nothing() {
    for (status, body, named) in [
        (
            "400 Bad Request",
            r#"{"error":"invalid_grant"}"#,
            "invalid_grant",
        ),
        ("302 Found", "", "302"),
        ("307 Temporary Redirect", "", "307"),
        ("200 OK", "<html>", "JSON"),
        ("200 OK", r#"{"id_token":"ey.i"}"#, "no access token"),
    ] {
        let (_, issued) = redeem(status, body).await;
        let error = issued.unwrap_err().to_string();
        assert!(error.contains(named), "{status} {body}: {error}");
    }
    let quoted = r#"{"error":"invalid_grant","error_description":"SplxlOBe+ZQQ and dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"}"#;
    let error = redeem("400 Bad Request", quoted).await.1.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(
        !shown.contains("Splx") && !shown.contains("dBjf"),
        "{shown}"
    );
}

#[tokio::test]
async fn an_odd_id_token_costs_no_other_grant_its_token() {
    for odd in ["null", "5", "{}", "\"\""] {
        let body = format!(r#"{{"access_token":"ey.a","id_token":{odd}}}"#);
        let issued = redeem("200 OK", &body).await.1.unwrap();
        assert!(issued.id_token.is_none(), "{odd}");
    }
}

async fn begin(body: &str) -> (String, Result<DeviceAuthorization, ExchangeError>) {
    let once = Once::new().await;
    let endpoint = once.url.clone();
    let (scopes, extra) = (ScopeSet::new(["openid", "a"]), BTreeMap::new());
    let request = token_request(&endpoint, &scopes, &extra);
    let http = http();
    let begun = device_code::start(&request, &http, now());
    tokio::join!(once.answers("200 OK", body), begun)
}

#[tokio::test]
async fn a_device_is_told_what_to_show() {
    let (form, begun) = begin(
        r#"{"device_code":"d","user_code":"WDJB-MJHT","verification_uri":"https://ims.example/device",
            "verification_uri_complete":"https://ims.example/device?user_code=WDJB-MJHT",
            "expires_in":1800,"interval":7}"#,
    )
    .await;
    assert_eq!(form, "scope=a+openid&client_id=native-1");
    let begun = begun.unwrap();
    assert_eq!(begun.user_code, "WDJB-MJHT");
    assert_eq!(begun.life, Duration::from_secs(1800));
    assert_eq!(begun.interval, Duration::from_secs(7));
    let complete = begun.verification_uri_complete.unwrap();
    assert_eq!(complete.query(), Some("user_code=WDJB-MJHT"));
    assert!(begun.device_code.matches(b"d"));
}

#[tokio::test]
async fn a_device_shows_nothing_that_a_terminal_would_obey_or_a_person_should_not_follow() {
    let (_, begun) = begin(
        r#"{"device_code":"d","user_code":"A\u001b[2J","verification_url":"http://localhost:1/",
            "verification_uri_complete":"http://evil.example/","interval":0,"expires_in":"9999999"}"#,
    )
    .await;
    let begun = begun.unwrap();
    assert_eq!(begun.user_code, "A?[2J");
    assert_eq!(begun.verification_uri_complete, None);
    assert_eq!(begun.interval, Duration::from_secs(5));
    assert_eq!(begun.life, Duration::from_secs(3600));
    let at =
        |uri: &str| format!(r#"{{"device_code":"d","user_code":"u","verification_uri":"{uri}"}}"#);
    for (body, named) in [
        (at("http://ims.example/"), "where to sign in"),
        (at("file:///etc/passwd"), "where to sign in"),
        (at("https://ims.example@evil.example/"), "where to sign in"),
        (r#"{"user_code":"u"}"#.to_owned(), "device code"),
        (
            r#"{"device_code":"d","user_code":""}"#.to_owned(),
            "user code",
        ),
        (
            r#"{"error":"unauthorized_client"}"#.to_owned(),
            "unauthorized_client",
        ),
    ] {
        let error = begin(&body).await.1.unwrap_err().to_string();
        assert!(error.contains(named), "{body}: {error}");
    }
}

#[tokio::test]
async fn each_question_about_a_device_has_one_outcome() {
    let error = |error: &str| format!(r#"{{"error":"{error}"}}"#);
    let token = r#"{"access_token":"ey.a","expires_in":60}"#.to_owned();
    for (status, body, expected) in [
        ("200 OK", token, "Done"),
        ("400 Bad Request", error("authorization_pending"), "Pending"),
        ("400 Bad Request", error("slow_down"), "SlowDown"),
        ("400 Bad Request", error("access_denied"), "Denied"),
        ("403 Forbidden", error("access_denied"), "Denied"),
        ("400 Bad Request", error("expired_token"), "Expired"),
        ("400 Bad Request", error("invalid_grant"), "invalid_grant"),
        ("503 Service Unavailable", error("slow_down"), "503"),
        ("302 Found", String::new(), "302"),
    ] {
        let once = Once::new().await;
        let (endpoint, scopes, extra) = (once.url.clone(), ScopeSet::new(["a"]), BTreeMap::new());
        let request = token_request(&endpoint, &scopes, &extra);
        let (device, http) = (Secret::new("d-1"), http());
        let asked = device_code::poll(&request, &device, &http, now());
        let (form, outcome) = tokio::join!(once.answers(status, &body), asked);
        assert_eq!(
            form,
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code\
             &device_code=d-1&client_id=native-1"
        );
        let said = match outcome {
            Ok(Progress::Done(issued)) => {
                assert_eq!(issued.header, "Bearer ey.a");
                "Done".to_owned()
            }
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(expected), "{status} {body}: {said}");
    }
}

#[tokio::test]
async fn a_token_is_revoked_when_the_provider_says_so_by_its_status() {
    for (status, body, expected) in [
        ("200 OK", "", "Ok"),
        ("200 OK", "<html>", "Ok"),
        ("204 No Content", "", "Ok"),
        (
            "400 Bad Request",
            r#"{"error":"unsupported_token_type"}"#,
            "unsupported_token_type",
        ),
        (
            "401 Unauthorized",
            r#"{"error":"invalid_client"}"#,
            "invalid_client",
        ),
        ("302 Found", "", "302"),
        ("503 Service Unavailable", "", "503"),
    ] {
        let once = Once::new().await;
        let endpoint = once.url.clone();
        let request = RevocationRequest {
            endpoint: &endpoint,
            client_id: "c",
            proof: &Proof::Post(Secret::new("canary")),
            token: &Secret::new("r+1"),
            kind: TokenKind::Refresh,
        };
        let http = http();
        let (form, outcome) =
            tokio::join!(once.answers(status, body), revoke(&http, &request, now()));
        assert_eq!(
            form,
            "token=r%2B1&token_type_hint=refresh_token&client_id=c&client_secret=canary"
        );
        let said = match outcome {
            Ok(()) => "Ok".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(expected), "{status} {body}: {said}");
    }
}

#[test]
fn signing_out_tells_the_provider_who_and_where_to_go_then() {
    let hint = Secret::new("ey.i+d");
    let end = EndSession {
        client_id: "webapp 1",
        id_token: Some(&hint),
        return_to: &url("https://app.example/.itwin-auth/signed-out"),
        state: Some("s"),
    };
    let endpoint = url("https://ims.example/endsession?a=b");
    assert_eq!(
        end.url(&endpoint).as_str(),
        "https://ims.example/endsession?a=b&id_token_hint=ey.i%2Bd&client_id=webapp+1\
         &post_logout_redirect_uri=https%3A%2F%2Fapp.example%2F.itwin-auth%2Fsigned-out&state=s"
    );
    let long = Secret::new("x".repeat(9000));
    let end = EndSession {
        id_token: Some(&long),
        state: None,
        ..end
    };
    let sent = end.url(&endpoint);
    assert!(!sent.as_str().contains("id_token_hint") && !sent.as_str().contains("state="));
}
