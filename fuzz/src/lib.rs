//! What the fuzz targets do with the octets that they are given. Each ends in an assertion that an
//! attacker would like to break, by another JSON parser than the program's where that says anything.
//!
//! `tests/fuzz_targets.rs` runs the same functions over the corpus with every test run.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Waker},
    time::Duration,
};

use aws_lc_rs::{
    digest::{SHA256, SHA512, digest},
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use itwin_auth_proxy::{
    clock::{Clock, Moment},
    config::{Admit, AdmitRule, Algorithm, Flow, NonceUse, ProofRules, Sources, TokenRules},
    metrics::CacheMetrics,
    net::peek::{First, LONGEST, Reader, Reading, ServerName, read as first_of},
    oauth::authorization::{Answer, read_response},
    verify::{
        AtHash, Expected, ExpectedIdToken, Issuer, Jws, KeySet, Proofs, Requested, Revoked,
        SentNonce, Thumbprint, Verdict, Verifier, examine, read_answer,
    },
};
use rustls::server::Acceptor;
use serde_json::{Value, json};

mod people;

pub use people::{codec, cookie, return_to};

/// When all targets happen.
const NOW: u64 = 1_700_000_000;
const ISSUER: &str = "https://ids.example";
const AUDIENCE: &str = "api";
const SCOPE: &str = "itwin-platform";
const SKEW: f64 = 60.0;

static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key"));
static CLOCK: LazyLock<Clock> = LazyLock::new(|| Clock::for_tests(Duration::from_secs(NOW)));

struct Route {
    issuer: Issuer,
    rules: TokenRules,
}

/// A route as an operator would write it, whose provider has the key.
static ROUTE: LazyLock<Route> = LazyLock::new(|| {
    let bearer = json!({"provider": "ids", "audiences": [AUDIENCE], "scopes": [SCOPE]});
    let config = json!({
        "providers": {"ids": {"issuer": ISSUER}},
        "listeners": [{"bind": "127.0.0.1:0"}],
        "routes": [{"upstream": "http://127.0.0.1:1", "admit": [{"bearer": bearer}]}],
    });
    let loaded = itwin_auth_proxy::config::load(Sources::yaml(&config.to_string()));
    let config = loaded
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config;
    let Admit::Rules(rules) = &config.routes[0].admit else {
        panic!("no rules")
    };
    let AdmitRule::Bearer { provider, rules } = &rules[0] else {
        panic!("no bearer rule")
    };
    let issuer = Issuer::new(1, provider);
    issuer.replace(
        KeySet::read(key_set().as_bytes(), &Algorithm::ALL)
            .expect("a set")
            .0,
    );
    Route {
        issuer,
        rules: (**rules).clone(),
    }
});

fn jwk() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": encode(KEY.public_key())})
}

fn key_set() -> String {
    let mut jwk = jwk();
    jwk["kid"] = json!("k");
    json!({"keys": [jwk]}).to_string()
}

fn encode(octets: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

/// A JWS of these octets by the key.
fn signed(header: &[u8], payload: &[u8]) -> String {
    let start = format!("{}.{}", encode(header), encode(payload));
    let signature = KEY.sign(start.as_bytes());
    format!("{start}.{}", encode(signature))
}

fn now() -> Moment {
    let mut now = CLOCK.now();
    now.wall = Duration::from_secs(NOW);
    now
}

fn verifier() -> Verifier {
    let proofs = Proofs::new(&[7; 32], Duration::from_secs(400), now());
    Verifier::new(&[7; 32], Arc::new(proofs), CacheMetrics::default()).expect("a key")
}

/// The token that the corpus begins with; nobody can make another.
static GOOD: LazyLock<String> = LazyLock::new(|| {
    signed(
        br#"{"alg":"EdDSA","kid":"k"}"#,
        claims_of(ISSUER).as_bytes(),
    )
});

fn claims_of(issuer: &str) -> String {
    format!(
        r#"{{"iss":"{issuer}","aud":["{AUDIENCE}"],"scope":["{SCOPE}"],"sub":"ann","exp":{}}}"#,
        NOW + 3600
    )
}

/// A whole token, as a caller shows it: none but the one that was signed is verified.
pub fn token(data: &[u8]) {
    let Ok(token) = std::str::from_utf8(data) else {
        return;
    };
    // the corpus has a place for the good one, so that its parts can be mixed with others
    let token = token.replace("GOOD", &GOOD);
    let verifier = verifier();
    let first = verifier.verify(&ROUTE.issuer, &token, now());
    assert_eq!(first.is_ok(), token == *GOOD, "{token}");
    // the second time from memory
    let again = verifier.verify(&ROUTE.issuer, &token, now());
    assert_eq!(first.is_ok(), again.is_ok(), "{token}");
}

/// A header that the issuer signed: what is read of it is what another parser reads.
pub fn header(data: &[u8]) {
    let token = signed(data, claims_of(ISSUER).as_bytes());
    let parsed = Jws::parse(&token).is_ok();
    let Ok(verified) = verifier().verify(&ROUTE.issuer, &token, now()) else {
        return;
    };
    assert!(parsed);
    let header: Value = serde_json::from_slice(data).expect("JSON");
    assert!(matches!(header["alg"].as_str(), Some("EdDSA" | "Ed25519")));
    assert!(header.get("kid").is_none_or(|id| id == "k"));
    assert!(header.get("crit").is_none() && header.get("b64").is_none());
    if verified.claims.check(&ROUTE.rules, now()).is_ok() {
        let typ = header
            .get("typ")
            .map(|typ| typ.as_str().expect("text").to_ascii_lowercase());
        assert!(matches!(
            typ.as_deref(),
            None | Some("jwt" | "at+jwt" | "application/jwt" | "application/at+jwt")
        ));
    }
}

/// Claims that the issuer signed: what a route takes of them another parser would take too, and what
/// a person is told of a token is what a request gets.
pub fn claims(data: &[u8]) {
    let token = signed(br#"{"alg":"EdDSA","kid":"k"}"#, data);
    let verified = verifier().verify(&ROUTE.issuer, &token, now());
    let passes = verified.as_ref().is_ok_and(|verified| {
        let checked = verified.claims.check(&ROUTE.rules, now());
        // no proof would do for some
        checked.is_ok() && verified.claims.asks_for(&ROUTE.rules).is_ok()
    });
    assert_eq!(passes, is_found_good(&token));
    let Ok(verified) = verified else {
        return;
    };
    let claims: Value = serde_json::from_slice(data).expect("JSON");
    assert_eq!(
        claims["iss"].as_str().map(|iss| iss.trim_end_matches('/')),
        Some(ISSUER)
    );
    if verified.claims.check(&ROUTE.rules, now()).is_err() {
        return;
    }
    assert!(claims.get("exp").is_some());
    taken(&claims);
}

fn is_found_good(token: &str) -> bool {
    let (revoked, now) = (Revoked::default(), now());
    let examined = pin!(examine(&ROUTE.issuer, &ROUTE.rules, &revoked, token, now));
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(findings) = examined.poll(&mut context) else {
        panic!("nobody is asked")
    };
    let mut verdicts = findings.iter().map(|finding| &finding.verdict);
    verdicts.all(|verdict| !matches!(verdict, Verdict::Bad(_)))
}

/// A provider's answer to the question about a token (RFC 7662): the token is good only where it is
/// said to be, and passes only where another parser would let it.
pub fn introspection(data: &[u8]) {
    let cache = Duration::from_secs(60);
    let Ok(Ok(verified)) = read_answer(data, &ROUTE.issuer, now(), cache) else {
        return;
    };
    let claims: Value = serde_json::from_slice(data).expect("JSON");
    assert_eq!(claims["active"], true);
    let from = claims.get("iss").map(|iss| iss.as_str().expect("text"));
    assert!(from.is_none_or(|iss| iss.trim_end_matches('/') == ISSUER));
    if verified.claims.check(&ROUTE.rules, now()).is_ok() {
        taken(&claims);
    }
}

/// What a route took, looked at through another parser.
fn taken(claims: &Value) {
    let texts = |claim: &str| -> Vec<String> {
        match &claims[claim] {
            Value::String(text) => vec![text.clone()],
            Value::Array(all) => all
                .iter()
                .map(|one| one.as_str().expect("text").into())
                .collect(),
            Value::Null if claims.get(claim).is_none() => Vec::new(),
            other => panic!("{claim} is {other}"),
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let now = NOW as f64;
    if let Some(expires) = claims.get("exp") {
        assert!(expires.as_f64().expect("a number") > now - SKEW);
    }
    for claim in ["nbf", "iat"] {
        if let Some(date) = claims.get(claim) {
            assert!(date.as_f64().expect("a number") <= now + SKEW + 1.0);
        }
    }
    assert!(texts("aud").contains(&AUDIENCE.to_owned()));
    let scope = if claims.get("scope").is_some() {
        "scope"
    } else {
        "scp"
    };
    let words = texts(scope);
    assert!(
        words
            .iter()
            .flat_map(|text| text.split(' '))
            .any(|word| word == SCOPE)
    );
    for claim in ["sub", "client_id"] {
        assert!(claims.get(claim).is_none_or(Value::is_string));
    }
    assert!(claims.get("events").is_none());
}

/// Claims of an ID token that the provider signed: who is taken to have signed in is who another parser
/// finds there, for our client and this sign-in.
pub fn id_token(data: &[u8]) {
    let token = signed(br#"{"alg":"EdDSA","kid":"k"}"#, data);
    let sent = HeaderValue::from_static("Bearer token");
    let expected = ExpectedIdToken {
        client_id: AUDIENCE,
        nonce: SentNonce::Was("n"),
        access_token: AtHash::Required(&sent),
        max_age: Some(Duration::from_secs(600)),
    };
    let asked = pin!(ROUTE.issuer.id_token(&token, &expected, &CLOCK));
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(outcome) = asked.poll(&mut context) else {
        panic!("the key is known")
    };
    let Ok(person) = outcome else {
        return;
    };
    let claims: Value = serde_json::from_slice(data).expect("JSON");
    let from = claims["iss"].as_str().expect("text");
    assert_eq!(from.trim_end_matches('/'), ISSUER);
    assert_eq!(claims["sub"].as_str(), Some(&*person.subject));
    assert!(!person.subject.is_empty() && person.subject.len() <= 255);
    assert_eq!(claims["nonce"], "n");
    let hash = digest(&SHA512, b"token");
    assert_eq!(claims["at_hash"], json!(encode(&hash.as_ref()[..32])));
    let only = claims["aud"] == AUDIENCE
        || claims["aud"]
            .as_array()
            .is_some_and(|all| !all.is_empty() && all.iter().all(|one| one == AUDIENCE));
    assert!(only || claims["azp"] == AUDIENCE);
    assert!(claims.get("azp").is_none_or(|party| party == AUDIENCE));
    assert!(claims.get("events").is_none());
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let now = NOW as f64;
    let seconds = |claim: &str| claims[claim].as_f64().expect("a number");
    assert!(seconds("exp") > now - SKEW && seconds("auth_time") > now - 600.0 - SKEW);
    // the clock goes on meanwhile
    assert!(seconds("iat") < now + 2.0 * SKEW);
    let shown = person.name.iter().chain(&person.email);
    assert!(
        shown
            .clone()
            .all(|text| !text.is_empty() && !text.contains(char::is_control))
    );
}

/// What a browser brings back from a sign-in: taken only where it says one thing, by another reader of
/// forms.
pub fn response(data: &[u8]) {
    let pairs: Vec<(String, String)> = data
        .split(|octet| *octet == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let end = pair.iter().position(|octet| *octet == b'=');
            let (name, value) = pair.split_at(end.unwrap_or(pair.len()));
            (
                unescaped(name),
                unescaped(value.get(1..).unwrap_or_default()),
            )
        })
        .collect();
    let value = |name: &str| -> &str {
        let mut all = pairs.iter().filter(|(known, _)| known == name);
        let value = all.next().map(|(_, value)| &**value);
        assert!(all.next().is_none(), "{name} twice");
        value.unwrap_or_default()
    };
    for flow in [Flow::Code, Flow::Implicit] {
        let Ok(response) = read_response(data, flow, now()) else {
            continue;
        };
        assert_eq!(response.state, value("state"));
        assert!(!response.state.is_empty());
        assert_eq!(response.issuer.as_deref().unwrap_or_default(), value("iss"));
        match response.answer {
            Answer::Code(code) => {
                assert!(matches!(flow, Flow::Code) && code.matches(value("code").as_bytes()));
                assert_eq!(
                    [value("error"), value("access_token"), value("id_token")],
                    [""; 3]
                );
            }
            Answer::Tokens(tokens) => {
                assert!(matches!(flow, Flow::Implicit));
                let header = format!("Bearer {}", value("access_token"));
                assert_eq!(tokens.header.as_bytes(), header.as_bytes());
                assert!(
                    tokens
                        .id_token
                        .is_some_and(|id| id.matches(value("id_token").as_bytes()))
                );
                assert_eq!([value("error"), value("code")], [""; 2]);
            }
            Answer::Refused(refused) => {
                assert!(!value("error").is_empty());
                assert_eq!(
                    [value("code"), value("access_token"), value("id_token")],
                    [""; 3]
                );
                let shown = refused.error + &refused.description.unwrap_or_default();
                assert!(shown.len() < 500 && !shown.contains(['<', '>', '"', '\'', '&']));
                assert!(shown.bytes().all(|octet| matches!(octet, b' '..=b'~')));
            }
        }
    }
}

fn unescaped(text: &[u8]) -> String {
    let mut octets = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digit = |n: usize| text.get(at + n).and_then(|d| char::from(*d).to_digit(16));
        let (octet, length) = match (text[at], digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => (u8::try_from(high * 16 + low).expect("an octet"), 3),
            (b'+', ..) => (b' ', 1),
            (octet, ..) => (octet, 1),
        };
        octets.push(octet);
        at += length;
    }
    String::from_utf8_lossy(&octets).into_owned()
}

/// A provider's answer to the question for its keys.
pub fn jwks(data: &[u8]) {
    let Ok((keys, unusable)) = KeySet::read(data, &Algorithm::ALL) else {
        return;
    };
    let count = keys.ids().count();
    assert!((1..=64).contains(&count) && unusable.len() <= 64);
    let (again, _) = KeySet::read(data, &Algorithm::ALL).expect("as before");
    assert!(keys.same(&again));
    // whatever the keys are, none but ours signed this
    let token = Jws::parse(&GOOD).expect("a token");
    if keys.verify(&token).is_ok() {
        let x = encode(KEY.public_key());
        assert!(String::from_utf8_lossy(data).contains(&x[..8]) || data.contains(&b'\\'));
    }
}

/// A proof of possession (RFC 9449): header and claims, a line each, signed by the caller's key.
pub fn proof(data: &[u8]) {
    let mut lines = data.splitn(2, |octet| *octet == b'\n');
    let (header, claims) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    // the corpus need not know the key
    let known = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        text.replace("\"JWK\"", &jwk().to_string())
            .replace("ATH", &encode(digest(&SHA256, b"token")))
    };
    let (header, claims) = (known(header), known(claims));
    let proof = signed(header.as_bytes(), claims.as_bytes());
    let thumbprint = json!({"crv": "Ed25519", "kty": "OKP", "x": encode(KEY.public_key())});
    let key = encode(digest(&SHA256, thumbprint.to_string().as_bytes()));
    let key = Thumbprint::parse(&key).expect("a thumbprint");
    let rules = ProofRules {
        algorithms: Algorithm::ALL.to_vec(),
        nonce: NonceUse::Optional,
        max_age: Duration::from_secs(300),
        ..ProofRules::default()
    };
    let expected = Expected {
        asked: Requested {
            method: "GET",
            scheme: "https",
            authority: "api.example",
            path: "/imodels/1",
        },
        token: "token",
        key: &key,
        rules: &rules,
        skew: Duration::from_secs(60),
    };
    let proofs = Proofs::new(&[7; 32], Duration::from_secs(400), now());
    // as it is written, signed by nobody
    assert!(proofs.check(data, &expected, now()).is_err());
    if proofs.check(proof.as_bytes(), &expected, now()).is_err() {
        return;
    }
    assert!(
        proofs.check(proof.as_bytes(), &expected, now()).is_err(),
        "taken twice"
    );
    let header: Value = serde_json::from_str(&header).expect("JSON");
    let claims: Value = serde_json::from_str(&claims).expect("JSON");
    let typ = header["typ"].as_str().expect("text").to_ascii_lowercase();
    assert!(matches!(&*typ, "dpop+jwt" | "application/dpop+jwt"));
    assert_eq!(claims["htm"], "GET");
    assert_eq!(claims["ath"], json!(encode(digest(&SHA256, b"token"))));
    let at = claims["htu"].as_str().expect("text").to_ascii_lowercase();
    assert!(at.starts_with("https://api.example"));
    let issued = claims["iat"].as_f64().expect("a number");
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let age = NOW as f64 - issued;
    assert!((-61.0..=361.0).contains(&age), "{age}");
    assert!(claims["jti"].is_string());
}

/// What a connection begins with: however it is split it is read alike, and a name is the one that
/// the TLS library reads, which answers afterwards.
pub fn peek(data: &[u8]) {
    let mut reader = Reader::default();
    let read = |all| match reader.read(all) {
        Reading::Known(first) => Some(first),
        Reading::Wants(more) => {
            assert!(more > all.len() && more <= LONGEST);
            None
        }
    };
    let by_bytes = (0..=data.len()).map(|end| &data[..end]).find_map(read);
    let at_once = match first_of(data) {
        Reading::Known(first) => Some(first),
        Reading::Wants(_) => None,
    };
    assert_eq!(by_bytes, at_once);
    let mut acceptor = Acceptor::default();
    let mut left = data;
    while !left.is_empty() {
        if acceptor.read_tls(&mut left).is_err() {
            return;
        }
    }
    let Ok(Some(accepted)) = acceptor.accept() else {
        return;
    };
    let hello = accepted.client_hello();
    let by_library = hello.server_name().map(|name| name.trim_end_matches('.'));
    let ours = match at_once {
        Some(First::Tls(ServerName::Named(name))) => Some(name),
        _ => None,
    };
    assert_eq!(ours.as_deref(), by_library, "{}", data.escape_ascii());
}
