//! What it costs to check a caller's token: at first sight, and again.
//!
//! `cargo bench --bench jwt`

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use divan::{Bencher, black_box};
use itwin_auth_proxy::{
    clock::{Clock, Moment},
    config::{
        Algorithm, ClientTls, Endpoints, Provider, ProviderKeys, ProviderTimeouts, TokenRules,
    },
    metrics::CacheMetrics,
    verify::{Issuer, KeySet, Proofs, Verifier},
};
use jsonwebtoken::{EncodingKey, Header, jwk::Jwk};
use serde_json::json;

fn main() {
    divan::main();
}

/// A token of about 1 KB, as a user of Bentley IMS has one.
struct Case {
    issuer: Issuer,
    rules: TokenRules,
    token: String,
    now: Moment,
}

static RS256: LazyLock<Case> = LazyLock::new(|| {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs8 = STANDARD.encode(pair.as_der().unwrap().as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{pkcs8}\n-----END PRIVATE KEY-----\n");
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
    Case::new(&key, jsonwebtoken::Algorithm::RS256)
});

static ES256: LazyLock<Case> = LazyLock::new(|| {
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let key = EncodingKey::from_ec_der(pair.as_ref());
    Case::new(&key, jsonwebtoken::Algorithm::ES256)
});

impl Case {
    fn new(key: &EncodingKey, algorithm: jsonwebtoken::Algorithm) -> Self {
        let mut jwk = Jwk::from_encoding_key(key, algorithm).unwrap();
        jwk.common.key_id = Some("BentleyIMS_2025".into());
        let keys = json!({"keys": [jwk]}).to_string();
        let issuer = Issuer::new(
            1,
            &Provider {
                name: "bentley".into(),
                issuer: "https://ims.bentley.com".parse().unwrap(),
                endpoints: Endpoints::Discover { also: Vec::new() },
                tls: ClientTls::default(),
                timeouts: ProviderTimeouts {
                    connect: Duration::from_secs(5),
                    total: Duration::from_secs(15),
                },
                keys: ProviderKeys::default(),
                introspection: None,
            },
        );
        issuer.replace(KeySet::read(keys.as_bytes(), &Algorithm::ALL).unwrap().0);
        let now = Clock::system().now();
        let claims = json!({
            "scope": ["itwin-platform", "openid", "email", "profile", "organization"],
            "client_id": "webapp-abcdefghijklmnopqrstuvwxy",
            "aud": [
                "https://ims.bentley.com/as/token.oauth2",
                "https://imsoidc.bentley.com/as/token.oauth2",
                "https://imsoidc.bentley.com/resources",
                "bentley-api-management"
            ],
            "sub": "8a3b6b3e-0000-4000-8000-000000000001",
            "role": ["BENTLEY_EMPLOYEE"],
            "org": "fab97774-0000-4000-8000-000000000000",
            "subject": "8a3b6b3e-0000-4000-8000-000000000001",
            "iss": "https://ims.bentley.com",
            "preferred_username": "ann@example.com",
            "sid": "abcdefghijklmnopqrstuvwx",
            "nbf": now.unix_seconds() - 600,
            "auth_time": now.unix_seconds() - 300,
            "exp": now.unix_seconds() + 36_000,
        });
        let mut header = Header::new(algorithm);
        header.typ = None;
        header.kid = Some("BentleyIMS_2025".into());
        Self {
            issuer,
            rules: TokenRules {
                audiences: ["bentley-api-management".to_owned()].into(),
                scopes: ["itwin-platform".to_owned()].into(),
                ..TokenRules::default()
            },
            token: jsonwebtoken::encode(&header, &claims, key).unwrap(),
            now,
        }
    }

    fn check(&self, verifier: &Verifier) {
        let token = black_box(&self.token);
        let seen = verifier.verify(&self.issuer, token, self.now).unwrap();
        seen.claims.check(&self.rules, self.now).unwrap();
    }

    fn cold(&self, bencher: Bencher<'_, '_>) {
        bencher
            .with_inputs(verifier)
            .bench_refs(|verifier| self.check(verifier));
    }
}

fn verifier() -> Verifier {
    let proofs = Proofs::new(&[7; 32], Duration::from_secs(120), Clock::system().now());
    Verifier::new(&[7; 32], Arc::new(proofs), CacheMetrics::default()).unwrap()
}

#[divan::bench]
fn first_sight_rs256(bencher: Bencher<'_, '_>) {
    RS256.cold(bencher);
}

#[divan::bench]
fn first_sight_es256(bencher: Bencher<'_, '_>) {
    ES256.cold(bencher);
}

#[divan::bench]
fn repeated(bencher: Bencher<'_, '_>) {
    let verifier = verifier();
    RS256.check(&verifier);
    bencher.bench_local(|| RS256.check(&verifier));
}
