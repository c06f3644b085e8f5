//! Against a provider on loopback that says exactly what it is told to say.

use std::{collections::VecDeque, fs};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use url::Url;

use super::*;
use crate::{
    config::{Assertion, SigningKey},
    tokens::rotation::{Place, Rotations},
};

/// One request as it arrived.
#[derive(Debug, Clone)]
struct Seen {
    /// Method and target.
    line: String,
    authorization: Option<String>,
    form: BTreeMap<String, String>,
}

/// A provider with a list of answers; the last one is repeated.
struct Idp {
    issuer: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    metadata: Arc<Mutex<(u16, String)>>,
    stop: Shutdown,
}

impl Drop for Idp {
    fn drop(&mut self) {
        self.stop.advance(crate::shutdown::Stage::Hard);
    }
}

impl Idp {
    async fn new<const N: usize>(answers: [(u16, &str); N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let document = json!({
            "issuer": base,
            "token_endpoint": format!("{base}/connect/token"),
        });
        let idp = Self {
            issuer: base.parse().unwrap(),
            seen: Arc::default(),
            answers: Arc::new(Mutex::new(
                answers
                    .iter()
                    .map(|(status, body)| (*status, (*body).to_owned()))
                    .collect(),
            )),
            metadata: Arc::new(Mutex::new((200, document.to_string()))),
            stop: Shutdown::new(),
        };
        let (seen, answers, metadata) =
            (idp.seen.clone(), idp.answers.clone(), idp.metadata.clone());
        idp.stop.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let Some(request) = read(&mut stream).await else {
                    continue;
                };
                let (status, body) = if request.line.starts_with("GET") {
                    metadata.lock().clone()
                } else {
                    let mut answers = answers.lock();
                    let next = answers.pop_front().unwrap();
                    if answers.is_empty() {
                        answers.push_back(next.clone());
                    }
                    next
                };
                seen.lock().push(request);
                let (extra, body) = body.split_once("\n\n").unwrap_or(("x: y", &body));
                let answer = format!(
                    "HTTP/1.1 {status} X\r\n{extra}\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        idp
    }

    /// The token requests that arrived.
    fn posts(&self) -> Vec<Seen> {
        let seen = self.seen.lock();
        seen.iter()
            .filter(|s| s.line.starts_with("POST"))
            .cloned()
            .collect()
    }

    fn credential(&self) -> Credential {
        let mut credential = credential();
        let mut provider = (*credential.provider).clone();
        provider.issuer = self.issuer.clone();
        credential.provider = Arc::new(provider);
        credential
    }

    async fn fetch(&self, credential: &Credential) -> Result<Granted, Failure> {
        self.fetch_with(&providers(), credential).await
    }

    async fn fetch_with(
        &self,
        providers: &Providers,
        credential: &Credential,
    ) -> Result<Granted, Failure> {
        let scopes = credential.scopes.clone();
        providers
            .fetch(Arc::new(credential.clone()), scopes, Shown::Nothing)
            .await
    }
}

fn providers() -> Providers {
    Providers::new(Clock::system(), Arc::default(), Shutdown::new())
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = field(head, "content-length").map_or(0, |l| l.parse().unwrap());
            break (head.to_owned(), length);
        }
    };
    while bytes.len() < head.len() + 4 + length {
        stream.read_buf(&mut bytes).await.ok()?;
    }
    let body = &bytes[head.len() + 4..];
    Some(Seen {
        line: head
            .lines()
            .next()?
            .trim_end_matches(" HTTP/1.1")
            .to_owned(),
        authorization: field(&head, "authorization"),
        form: url::form_urlencoded::parse(body).into_owned().collect(),
    })
}

fn field(head: &str, name: &str) -> Option<String> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}

const TOKEN: &str = r#"{"access_token":"abc.def","expires_in":3600,"token_type":"Bearer"}"#;

fn file(directory: &tempfile::TempDir, name: &str, content: &str) -> std::path::PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

#[tokio::test]
async fn a_client_gets_a_token_by_discovery_and_its_secret() {
    let idp = Idp::new([(200, TOKEN)]).await;
    let mut credential = idp.credential();
    credential.scopes = ScopeSet::new(["b", "a"]);
    credential
        .extra
        .insert("resource".into(), "https://api.example/".into());
    let granted = idp.fetch(&credential).await.unwrap();
    assert_eq!(granted.header, "Bearer abc.def");
    assert!(granted.header.is_sensitive());
    assert_eq!(granted.life, HOUR);
    let seen = idp.seen.lock().clone();
    assert_eq!(seen[0].line, "GET /.well-known/openid-configuration");
    assert_eq!(seen[1].line, "POST /connect/token");
    let form: Vec<(&str, &str)> = seen[1].form.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(
        form,
        [
            ("grant_type", "client_credentials"),
            ("resource", "https://api.example/"),
            ("scope", "a b"),
        ]
    );
}

#[tokio::test]
async fn basic_credentials_are_form_encoded_first() {
    use base64::prelude::*;
    for (secret, encoded) in [
        ("a b", "a+b"),
        ("a+b/c=", "a%2Bb%2Fc%3D"),
        ("a:b%c", "a%3Ab%25c"),
        ("pässword", "p%C3%A4ssword"),
    ] {
        let idp = Idp::new([(200, TOKEN)]).await;
        let mut credential = idp.credential();
        credential.client_id = "client:1".into();
        credential.auth = ClientAuth::Basic(SecretPair {
            current: value(secret),
            previous: None,
        });
        idp.fetch(&credential).await.unwrap();
        let sent = idp.posts()[0].authorization.clone().unwrap();
        let sent = BASE64_STANDARD
            .decode(sent.strip_prefix("Basic ").unwrap())
            .unwrap();
        assert_eq!(
            String::from_utf8(sent).unwrap(),
            format!("client%3A1:{encoded}")
        );
    }
}

#[tokio::test]
async fn a_secret_in_the_body_and_a_public_client() {
    let idp = Idp::new([(200, TOKEN)]).await;
    let mut credential = idp.credential();
    credential.auth = ClientAuth::Post(SecretPair {
        current: value("a b&c"),
        previous: None,
    });
    idp.fetch(&credential).await.unwrap();
    credential.auth = ClientAuth::None;
    idp.fetch(&credential).await.unwrap();
    let posts = idp.posts();
    assert_eq!(posts[0].form["client_secret"], "a b&c");
    assert_eq!(posts[1].form["client_id"], "service-1");
    assert!(!posts[1].form.contains_key("client_secret"));
    assert!(posts.iter().all(|post| post.authorization.is_none()));
}

#[tokio::test]
async fn private_key_jwt_is_signed_fresh_for_every_request() {
    let pair = rcgen::KeyPair::generate().unwrap(); // P-256
    let directory = tempfile::tempdir().unwrap();
    let idp = Idp::new([(200, TOKEN)]).await;
    let mut credential = idp.credential();
    credential.auth = ClientAuth::Assertion(Assertion::Signed(SigningKey {
        key: SecretSource::File(file(&directory, "key.pem", &pair.serialize_pem())),
        algorithm: Algorithm::ES256,
        key_id: Some("key-1".into()),
        audience: None,
    }));
    idp.fetch(&credential).await.unwrap();
    idp.fetch(&credential).await.unwrap();
    let key = DecodingKey::from_ec_der(pair.public_key_raw());
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[format!("{}connect/token", idp.issuer)]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let mut ids = Vec::new();
    for post in idp.posts() {
        assert_eq!(
            post.form["client_assertion_type"],
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
        let jwt = &post.form["client_assertion"];
        let claims: Value = jsonwebtoken::decode(jwt, &key, &validation).unwrap().claims;
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&json!("service-1"), &json!("service-1"))
        );
        let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        assert!((60..=300).contains(&life));
        ids.push(claims["jti"].as_str().unwrap().to_owned());
        assert_eq!(
            jsonwebtoken::decode_header(jwt).unwrap().kid.as_deref(),
            Some("key-1")
        );
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn rsa_keys_sign_too_and_a_key_of_another_kind_is_named() {
    let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, "key.pem", &pair.serialize_pem());
    let idp = Idp::new([(200, TOKEN)]).await;
    let mut credential = idp.credential();
    let mut with = |algorithm| {
        credential.auth = ClientAuth::Assertion(Assertion::Signed(SigningKey {
            key: SecretSource::File(path.clone()),
            algorithm,
            key_id: None,
            audience: Some("https://ims.example".into()),
        }));
        credential.clone()
    };
    for algorithm in [Algorithm::RS256, Algorithm::PS256] {
        idp.fetch(&with(algorithm)).await.unwrap();
    }
    let failure = idp.fetch(&with(Algorithm::ES256)).await.unwrap_err();
    assert_eq!(failure.class, Class::Fatal);
    assert!(
        failure
            .detail
            .starts_with("the private key is not a PEM key for ES256")
    );
}

#[tokio::test]
async fn an_assertion_file_is_read_for_every_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, "sa-token", "one.two.three\n");
    let idp = Idp::new([(200, TOKEN)]).await;
    let mut credential = idp.credential();
    credential.auth = ClientAuth::Assertion(Assertion::File(path.clone()));
    idp.fetch(&credential).await.unwrap();
    fs::write(&path, "four.five.six").unwrap();
    idp.fetch(&credential).await.unwrap();
    let sent: Vec<String> = idp
        .posts()
        .iter()
        .map(|post| post.form["client_assertion"].clone())
        .collect();
    assert_eq!(sent, ["one.two.three", "four.five.six"]);
}

#[tokio::test]
async fn during_a_rotation_the_old_secret_is_tried_once_after_the_new() {
    let refused = (400, r#"{"error":"invalid_client"}"#);
    let idp = Idp::new([refused, (200, TOKEN), refused]).await;
    let mut credential = idp.credential();
    credential.auth = ClientAuth::Post(SecretPair {
        current: value("new"),
        previous: Some(value("old")),
    });
    let granted = idp.fetch(&credential).await.unwrap();
    assert_eq!(granted.secret, SecretInUse::Previous);
    let failure = idp.fetch(&credential).await.unwrap_err();
    assert_eq!(failure.class, Class::Fatal);
    let sent: Vec<String> = idp
        .posts()
        .iter()
        .map(|post| post.form["client_secret"].clone())
        .collect();
    assert_eq!(sent, ["new", "old", "new", "old"]);
}

#[tokio::test]
async fn the_password_grant_sends_user_and_password() {
    let idp = Idp::new([(200, TOKEN)]).await;
    let mut credential = idp.credential();
    credential.grant = Grant::Password {
        username: "ann@example".into(),
        password: value("pass word"),
    };
    idp.fetch(&credential).await.unwrap();
    let form = &idp.posts()[0].form;
    assert_eq!(form["grant_type"], "password");
    assert_eq!(
        (&*form["username"], &*form["password"]),
        ("ann@example", "pass word")
    );
}

mod refreshing {
    use super::*;

    const ROTATED: &str = r#"{"access_token":"abc","expires_in":60,"refresh_token":"second"}"#;

    fn person(idp: &Idp, path: &Path) -> Credential {
        let mut credential = idp.credential();
        credential.grant = Grant::RefreshToken {
            from: RefreshSource::File(path.into()),
        };
        credential
    }

    #[tokio::test]
    async fn a_rotated_token_is_written_back_and_one_that_is_not_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory, "refresh", "first\n");
        let idp = Idp::new([(200, ROTATED), (200, TOKEN)]).await;
        let person = person(&idp, &path);
        idp.fetch(&person).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        idp.fetch(&person).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        let posts = idp.posts();
        assert_eq!(posts[0].form["grant_type"], "refresh_token");
        assert_eq!(posts[0].form["refresh_token"], "first");
        assert_eq!(posts[1].form["refresh_token"], "second");
    }

    #[tokio::test]
    async fn a_file_that_somebody_else_changed_meanwhile_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory, "refresh", "first");
        let rotations = Rotations::default();
        let sent = rotations.read(Place::File(path.clone())).unwrap();
        fs::write(&path, "theirs").unwrap();
        rotations.save(&sent, &Secret::new("second"));
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        assert_eq!(
            rotations
                .read(Place::File(path.clone()))
                .unwrap()
                .token
                .expose(),
            "theirs"
        );
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_written_is_kept_and_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory, "refresh", "first");
        let rotations = Rotations::default();
        let sent = rotations.read(Place::File(path.clone())).unwrap();
        // a directory in its place cannot be replaced by a file, also not by root
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        rotations.save(&sent, &Secret::new("second"));
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "first").unwrap();
        let next = rotations.read(Place::File(path.clone())).unwrap();
        assert_eq!(next.token.expose(), "second");
        rotations.save_again(&next);
        assert_eq!(fs::read(&path).unwrap(), b"second");
    }

    #[tokio::test]
    async fn a_used_up_token_ends_the_grant_unless_the_file_holds_another_now() {
        let refused = (400, r#"{"error":"invalid_grant"}"#);
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory, "refresh", "first");
        let idp = Idp::new([refused]).await;
        let failure = idp.fetch(&person(&idp, &path)).await.unwrap_err();
        assert_eq!(
            (failure.class, failure.label),
            (Class::Ended, "invalid_grant")
        );
        let before = failure.fingerprint.unwrap();
        fs::write(&path, "second").unwrap();
        let now = providers().fingerprint(Arc::new(person(&idp, &path))).await;
        assert_ne!(now, before, "the change is noticed");
    }
}

#[tokio::test]
async fn failures_are_told_apart_by_their_error_and_not_by_their_status() {
    use Class::{Fatal, InvalidGrant, Transient};
    let error = |error: &str| format!(r#"{{"error":"{error}","error_description":"x"}}"#);
    let table = [
        (400, error("invalid_client"), Fatal, "invalid_client"),
        (401, error("invalid_client"), Fatal, "invalid_client"),
        (200, error("invalid_client"), Fatal, "invalid_client"),
        (
            400,
            error("unauthorized_client"),
            Fatal,
            "unauthorized_client",
        ),
        (400, error("invalid_scope"), Fatal, "invalid_scope"),
        (
            400,
            error("unsupported_grant_type"),
            Fatal,
            "unsupported_grant_type",
        ),
        (400, error("invalid_grant"), InvalidGrant, "invalid_grant"),
        (400, error("invalid_request"), Transient, "transient"),
        (400, error("made_up"), Transient, "transient"),
        (503, error("invalid_client"), Transient, "503"),
        (429, error("slow_down"), Transient, "429"),
        (500, "<html>oops</html>".into(), Transient, "500"),
        (403, "<html>no</html>".into(), Transient, "403"),
        (302, "location: /login\n\n".into(), Transient, "3xx"),
        (200, String::new(), Transient, "parse"),
        (200, "<html>login</html>".into(), Transient, "parse"),
        (200, "[]".into(), Transient, "parse"),
        (200, "{}".into(), Transient, "parse"),
        (200, r#"{"access_token":5}"#.into(), Transient, "parse"),
        (200, r#"{"access_token":""}"#.into(), Transient, "parse"),
        (200, r#"{"access_token":"a b"}"#.into(), Transient, "parse"),
        (
            200,
            r#"{"access_token":"a\r\nx: y"}"#.into(),
            Transient,
            "parse",
        ),
        (
            200,
            r#"{"access_token":"a","token_type":"mac"}"#.into(),
            Transient,
            "parse",
        ),
        (
            200,
            format!("{{\"x\":\"{}\"}}", "y".repeat(600_000)),
            Transient,
            "parse",
        ),
    ];
    for (status, body, class, label) in table {
        let idp = Idp::new([(status, &*body)]).await;
        let failure = idp.fetch(&idp.credential()).await.unwrap_err();
        let shown = &body[..body.len().min(80)];
        assert_eq!(
            (failure.class, failure.label),
            (class, label),
            "{status} {shown}"
        );
        assert!(failure.reason.contains("127.0.0.1"), "{}", failure.reason);
        assert_eq!(
            idp.posts().len(),
            1,
            "one request, no redirect followed: {shown}"
        );
    }
}

#[tokio::test]
async fn what_the_provider_writes_is_cleaned_and_shows_no_secret() {
    let idp = Idp::new([(
        400,
        r#"{"error":"invalid_client","error_description":"bad secret s3cret\u001b[31m\r\nfake line"}"#,
    )])
    .await;
    let failure = idp.fetch(&idp.credential()).await.unwrap_err();
    assert_eq!(
        failure.detail,
        "127.0.0.1 answered invalid_client: bad secret (secret)?[31m??fake line"
    );
    assert_eq!(
        &*failure.reason,
        "the provider 127.0.0.1 answered invalid_client"
    );
}

#[tokio::test]
async fn retry_after_is_read_as_seconds_and_as_a_date() {
    for (field, least, most) in [
        ("retry-after: 120", 120, 120),
        (
            "date: Tue, 14 Nov 2023 22:13:20 GMT\r\nretry-after: Tue, 14 Nov 2023 22:14:20 GMT",
            60,
            60,
        ),
        ("retry-after: Tue, 14 Nov 2023 22:14:20 GMT", 0, 0),
        ("retry-after: 99999999999999", 3600, 3600),
    ] {
        let idp = Idp::new([(503, &*format!("{field}\n\nbusy"))]).await;
        let failure = idp.fetch(&idp.credential()).await.unwrap_err();
        let wait = failure.retry_after.unwrap().as_secs();
        assert!((least..=most).contains(&wait), "{field}: {wait}");
    }
    let idp = Idp::new([(503, "retry-after: soon\n\nbusy")]).await;
    let failure = idp.fetch(&idp.credential()).await.unwrap_err();
    assert_eq!(failure.retry_after, None);
}

/// A JWT that ends `seconds` after the date that [`with_date`] tells.
fn jwt(seconds: i64) -> String {
    use base64::prelude::*;
    let claims = json!({ "exp": 1_700_000_000 + seconds });
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{}",
        part("{}"),
        part(&claims.to_string()),
        part("signature")
    )
}

fn with_date(body: &str) -> String {
    format!("date: Tue, 14 Nov 2023 22:13:20 GMT\n\n{body}")
}

#[tokio::test]
async fn how_long_a_token_lives() {
    let table = [
        (
            r#"{"access_token":"a","expires_in":3600}"#.to_owned(),
            Some(3600),
        ),
        (
            r#"{"access_token":"a","expires_in":"3600"}"#.into(),
            Some(3600),
        ),
        (
            r#"{"access_token":"a","expires_in":3599.5}"#.into(),
            Some(3599),
        ),
        (r#"{"access_token":"a"}"#.into(), Some(300)),
        (
            r#"{"access_token":"a","expires_in":null}"#.into(),
            Some(300),
        ),
        (r#"{"access_token":"a","expires_in":0}"#.into(), Some(300)),
        (r#"{"access_token":"a","expires_in":-1}"#.into(), Some(300)),
        (
            r#"{"access_token":"a","expires_in":"soon"}"#.into(),
            Some(300),
        ),
        (
            r#"{"access_token":"a","expires_in":1e300}"#.into(),
            Some(604_800),
        ),
        (
            r#"{"access_token":"a","expires_in":9999999999}"#.into(),
            Some(604_800),
        ),
        (format!(r#"{{"access_token":"{}"}}"#, jwt(1800)), Some(1800)),
        (
            format!(r#"{{"access_token":"{}","expires_in":0}}"#, jwt(1800)),
            Some(1800),
        ),
        // a cached token, nearly spent
        (
            format!(r#"{{"access_token":"{}","expires_in":3600}}"#, jwt(60)),
            Some(60),
        ),
        (
            format!(r#"{{"access_token":"{}","expires_in":3600}}"#, jwt(7200)),
            Some(3600),
        ),
        (
            format!(r#"{{"access_token":"{}","expires_in":3600}}"#, jwt(-5)),
            None,
        ),
        (format!(r#"{{"access_token":"{}"}}"#, jwt(-5)), None),
    ];
    for (body, life) in table {
        let idp = Idp::new([(200, &*with_date(&body))]).await;
        let result = idp.fetch(&idp.credential()).await;
        match life {
            Some(life) => assert_eq!(result.unwrap().life.as_secs(), life, "{body}"),
            None => assert_eq!(result.unwrap_err().label, "parse", "{body}"),
        }
    }
}

#[tokio::test]
async fn scopes_that_were_not_granted_are_noticed() {
    for (scope, missing) in [
        (r#""itwin-platform""#, ""),
        (r#"["itwin-platform","more"]"#, ""),
        (r#""openid""#, "itwin-platform"),
        ("null", ""),
    ] {
        let body = format!(r#"{{"access_token":"a","scope":{scope}}}"#);
        let idp = Idp::new([(200, &*body)]).await;
        let granted = idp.fetch(&idp.credential()).await.unwrap();
        assert_eq!(granted.missing.to_string(), missing, "{scope}");
    }
}

#[tokio::test]
async fn metadata_of_a_foreign_issuer_is_not_believed() {
    let idp = Idp::new([(200, TOKEN)]).await;
    let endpoint = format!("{}connect/token", idp.issuer);
    for (issuer, believed) in [
        (idp.issuer.as_str(), true),
        ("https://ims.example", true), // in `also`
        ("https://ims.example/tenant", false),
        ("https://evil.example", false),
        ("", false),
    ] {
        let document = json!({ "issuer": issuer, "token_endpoint": endpoint });
        *idp.metadata.lock() = (200, document.to_string());
        let mut credential = idp.credential();
        let mut provider = (*credential.provider).clone();
        provider.endpoints = Endpoints::Discover {
            also: vec!["https://ims.example".parse().unwrap()],
        };
        credential.provider = Arc::new(provider);
        let result = idp.fetch(&credential).await;
        assert_eq!(result.is_ok(), believed, "{issuer}");
        if let Err(failure) = result {
            assert!(
                failure.reason.contains("is for another issuer"),
                "{}",
                failure.reason
            );
        }
    }
    assert_eq!(idp.posts().len(), 2, "the secret went nowhere else");
}

#[tokio::test]
async fn a_token_endpoint_in_the_clear_gets_no_secret() {
    let idp = Idp::new([(200, TOKEN)]).await;
    for endpoint in [
        json!("http://ims.example/token"),
        json!("ftp://127.0.0.1/token"),
        json!("http://user:pass@127.0.0.1/token"),
        json!("/token"),
        json!(null),
    ] {
        let document = json!({ "issuer": idp.issuer, "token_endpoint": endpoint });
        *idp.metadata.lock() = (200, document.to_string());
        let failure = idp.fetch(&idp.credential()).await.unwrap_err();
        assert_eq!(
            (failure.class, failure.label),
            (Class::Transient, "discovery"),
            "{endpoint}"
        );
    }
    assert!(idp.posts().is_empty());
}

#[tokio::test]
async fn rfc_8414_is_asked_where_openid_connect_is_not_there() {
    let idp = Idp::new([(200, TOKEN)]).await;
    *idp.metadata.lock() = (404, "nothing here".into());
    let mut credential = idp.credential();
    let mut provider = (*credential.provider).clone();
    provider.issuer = idp.issuer.join("tenant/one").unwrap();
    credential.provider = Arc::new(provider);
    let failure = idp.fetch(&credential).await.unwrap_err();
    assert_eq!(
        &*failure.reason,
        "127.0.0.1 answered 404 Not Found when asked for its metadata"
    );
    let lines: Vec<String> = idp
        .seen
        .lock()
        .iter()
        .map(|seen| seen.line.clone())
        .collect();
    assert_eq!(
        lines,
        [
            "GET /tenant/one/.well-known/openid-configuration",
            "GET /.well-known/oauth-authorization-server/tenant/one",
        ]
    );
}

#[tokio::test]
async fn metadata_is_fetched_once_and_again_when_the_endpoint_has_moved() {
    let idp = Idp::new([(200, TOKEN), (404, "moved"), (200, TOKEN)]).await;
    let providers = providers();
    let credential = idp.credential();
    idp.fetch_with(&providers, &credential).await.unwrap();
    idp.fetch_with(&providers, &credential).await.unwrap_err();
    let moved = json!({
        "issuer": idp.issuer,
        "token_endpoint": format!("{}v2/token", idp.issuer),
    });
    *idp.metadata.lock() = (200, moved.to_string());
    idp.fetch_with(&providers, &credential).await.unwrap();
    let lines: Vec<String> = idp
        .seen
        .lock()
        .iter()
        .map(|seen| seen.line.clone())
        .collect();
    assert_eq!(
        lines,
        [
            "GET /.well-known/openid-configuration",
            "POST /connect/token",
            "POST /connect/token",
            "GET /.well-known/openid-configuration",
            "POST /v2/token",
        ]
    );
}

#[tokio::test]
async fn metadata_is_looked_at_once_an_hour_behind_the_calls() {
    let idp = Idp::new([(200, TOKEN)]).await;
    let clock = Clock::for_tests(Duration::from_secs(1_700_000_000));
    let stop = Shutdown::new();
    let providers = Providers::new(clock.clone(), Arc::default(), stop.clone());
    let credential = idp.credential();
    let lookups = || {
        idp.seen
            .lock()
            .iter()
            .filter(|s| s.line.starts_with("GET"))
            .count()
    };
    for (jump, expected) in [(0, 1), (3_500_000, 1), (200_000, 2), (0, 2), (3_600_000, 3)] {
        clock.jump(jump);
        idp.fetch_with(&providers, &credential).await.unwrap();
        stop.finished().await; // what runs behind has ended
        assert_eq!(lookups(), expected, "{jump}");
        // also when it is bad: the last good one stays, and it is not asked again for an hour
        *idp.metadata.lock() = (500, "oops".into());
    }
    assert_eq!(idp.posts().len(), 5);
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_the_token_endpoint() {
    use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["ims.example".into()]).unwrap();
    let certificate = file(&directory, "client.pem", &made.cert.pem());
    let key = file(&directory, "client.key", &made.signing_key.serialize_pem());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.unwrap())
        .with_single_cert(
            vec![made.cert.der().clone()],
            rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Shutdown::new();
    stop.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut seen = vec![0; 4096];
                let count = stream.read(&mut seen).await.unwrap();
                let body = String::from_utf8_lossy(&seen[..count]).into_owned();
                assert!(body.contains("client_id=service-1"), "{body}");
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{TOKEN}",
                    TOKEN.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    let mut credential = credential();
    let mut provider = (*credential.provider).clone();
    provider.endpoints = Endpoints::Given {
        token: "https://ims.example/token".parse().unwrap(),
    };
    provider.tls.addresses = vec![address];
    provider.tls.extra_ca = vec![certificate.clone()];
    credential.provider = Arc::new(provider);
    credential.auth = ClientAuth::None;
    let fetch = |credential: &Credential| {
        providers().fetch(
            Arc::new(credential.clone()),
            ScopeSet::default(),
            Shown::Nothing,
        )
    };
    let failure = fetch(&credential).await.unwrap_err();
    assert_eq!(failure.class, Class::Transient, "no certificate, no answer");
    credential.auth = ClientAuth::MutualTls(crate::config::Identity { certificate, key });
    fetch(&credential).await.unwrap();
    stop.advance(crate::shutdown::Stage::Hard);
}

#[tokio::test]
async fn the_last_good_metadata_stays_when_the_next_is_bad() {
    let idp = Idp::new([(200, TOKEN), (404, "moved"), (200, TOKEN)]).await;
    let providers = providers();
    let credential = idp.credential();
    idp.fetch_with(&providers, &credential).await.unwrap();
    idp.fetch_with(&providers, &credential).await.unwrap_err();
    *idp.metadata.lock() = (500, "oops".into());
    idp.fetch_with(&providers, &credential).await.unwrap();
}

#[tokio::test]
async fn a_given_endpoint_needs_no_metadata() {
    let idp = Idp::new([(200, TOKEN)]).await;
    let mut credential = idp.credential();
    let mut provider = (*credential.provider).clone();
    provider.endpoints = Endpoints::Given {
        token: idp.issuer.join("as/token.oauth2").unwrap(),
    };
    credential.provider = Arc::new(provider);
    idp.fetch(&credential).await.unwrap();
    assert_eq!(idp.seen.lock()[0].line, "POST /as/token.oauth2");
}

#[tokio::test]
async fn a_missing_secret_file_is_a_failure_that_a_later_attempt_may_overcome() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let idp = Idp::new([(200, TOKEN)]).await;
    let mut credential = idp.credential();
    credential.auth = ClientAuth::Basic(SecretPair {
        current: SecretSource::File(path.clone()),
        previous: None,
    });
    let failure = idp.fetch(&credential).await.unwrap_err();
    assert_eq!((failure.class, failure.label), (Class::Transient, "secret"));
    assert!(
        !failure.reason.contains("secret/"),
        "no path for callers: {}",
        failure.reason
    );
    fs::write(&path, "s3cret\n").unwrap();
    idp.fetch(&credential).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_accepts_and_says_nothing_is_left_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let mut credential = credential();
    let mut provider = (*credential.provider).clone();
    provider.issuer = issuer.parse().unwrap();
    provider.timeouts.total = Duration::from_millis(50);
    credential.provider = Arc::new(provider);
    let scopes = ScopeSet::default();
    let failure = providers()
        .fetch(Arc::new(credential), scopes, Shown::Nothing)
        .await
        .unwrap_err();
    assert_eq!((failure.class, failure.label), (Class::Slow, "timeout"));
}
