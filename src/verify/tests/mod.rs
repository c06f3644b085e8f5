//! Tokens and key sets made with another implementation of JOSE (`jsonwebtoken`).

mod accepted;
mod followed;
mod forged;
mod id_tokens;
mod key_sets;
mod proofs;
mod properties;
mod remembered;
mod rules;
mod vectors;

use std::{sync::LazyLock, time::Duration};

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair as _, RsaKeyPair,
    },
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{EncodingKey, jwk::Jwk};
use serde_json::{Value, json};

use super::*;
use crate::{
    clock::Clock,
    config::{
        Algorithm, ClientTls, Endpoints, Provider, ProviderKeys, ProviderTimeouts, TokenRules,
    },
    metrics::CacheMetrics,
};

/// When tests begin.
const NOW: u64 = 1_700_000_000;

/// A key pair of an issuer.
struct Pair {
    private: EncodingKey,
    jwk: Value,
    algorithm: jsonwebtoken::Algorithm,
}

impl Pair {
    fn new(private: EncodingKey, algorithm: jsonwebtoken::Algorithm, id: &str) -> Self {
        let mut jwk = Jwk::from_encoding_key(&private, algorithm).unwrap();
        jwk.common.key_id = Some(id.into());
        let jwk = serde_json::to_value(&jwk).unwrap();
        Self {
            private,
            jwk,
            algorithm,
        }
    }

    fn rsa(size: KeySize, algorithm: jsonwebtoken::Algorithm, id: &str) -> Self {
        let pair = RsaKeyPair::generate(size).unwrap();
        let pkcs8 = pair.as_der().unwrap();
        let pem = STANDARD.encode(pkcs8.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
        let private = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        Self::new(private, algorithm, id)
    }

    fn ec(id: &str) -> Self {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let private = EncodingKey::from_ec_der(pair.unwrap().as_ref());
        Self::new(private, jsonwebtoken::Algorithm::ES256, id)
    }

    fn p384(id: &str) -> Self {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random);
        let private = EncodingKey::from_ec_der(pair.unwrap().as_ref());
        Self::new(private, jsonwebtoken::Algorithm::ES384, id)
    }

    fn edwards(id: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let x = encode(pair.public_key());
        Self {
            private: EncodingKey::from_ed_der(pkcs8.as_ref()),
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "use": "sig", "x": x}),
            algorithm: jsonwebtoken::Algorithm::EdDSA,
        }
    }

    fn id(&self) -> &str {
        self.jwk["kid"].as_str().unwrap()
    }

    /// The header of an IMS token.
    fn header(&self) -> Value {
        json!({"alg": format!("{:?}", self.algorithm), "kid": self.id(), "pi.atm": "a8me"})
    }

    /// A token with these texts as header and payload, signed.
    fn sign_texts(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature =
            jsonwebtoken::crypto::sign(signed.as_bytes(), &self.private, self.algorithm);
        format!("{signed}.{}", signature.unwrap())
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_texts(&header.to_string(), &claims.to_string())
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }
}

/// Made once: an RSA key takes a moment.
static RSA: LazyLock<Pair> = LazyLock::new(|| {
    Pair::rsa(
        KeySize::Rsa2048,
        jsonwebtoken::Algorithm::RS256,
        "BentleyIMS_2025",
    )
});
static EC: LazyLock<Pair> = LazyLock::new(|| Pair::ec("ec"));

fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// The payload of a token of Bentley IMS: no `iat`, no `jti`, lists, `nbf` before the sign-in.
fn ims() -> Value {
    json!({
        "scope": ["itwin-platform", "email"],
        "client_id": "webapp-1",
        "aud": [
            "https://ims.bentley.com/as/token.oauth2",
            "https://imsoidc.bentley.com/resources",
            "bentley-api-management"
        ],
        "sub": "8a3b6b3e-0000-4000-8000-000000000001",
        "role": "BENTLEY_EMPLOYEE",
        "org": "fab97774-0000-4000-8000-000000000000",
        "amr": ["pwd", "mfa"],
        "iss": "https://ims.bentley.com",
        "entitlement": ["SELECT_2006"],
        "preferred_username": "ann@example.com",
        "sid": "s",
        "nbf": NOW - 600,
        "auth_time": NOW - 300,
        "exp": NOW + 3600,
    })
}

/// The claims of [`ims`] with some replaced; `null` takes one away.
fn ims_with(changes: &Value) -> Value {
    let mut claims = ims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn provider() -> Provider {
    Provider {
        name: "bentley".into(),
        issuer: "https://ims.bentley.com".parse().unwrap(),
        endpoints: Endpoints::Discover {
            also: vec!["https://imsoidc.bentley.com".parse().unwrap()],
        },
        tls: ClientTls::default(),
        timeouts: ProviderTimeouts {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(15),
        },
        keys: ProviderKeys::default(),
        introspection: None,
    }
}

fn set(pairs: &[&Pair]) -> KeySet {
    let keys: Vec<&Value> = pairs.iter().map(|pair| &pair.jwk).collect();
    read(&json!({"keys": keys})).unwrap().0
}

fn read(document: &Value) -> Result<(KeySet, Vec<Unusable>), KeySetError> {
    KeySet::read(document.to_string().as_bytes(), &Algorithm::ALL)
}

fn issuer(pairs: &[&Pair]) -> Issuer {
    let issuer = Issuer::new(1, &provider());
    issuer.replace(set(pairs));
    issuer
}

fn rules() -> TokenRules {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    TokenRules {
        audiences: words(&["bentley-api-management"]),
        scopes: words(&["itwin-platform"]),
        ..TokenRules::default()
    }
}

fn clock() -> Clock {
    Clock::for_tests(Duration::from_secs(NOW))
}

fn verifier() -> Verifier {
    let proofs = Proofs::new(&[7; 32], Duration::from_secs(120), clock().now());
    Verifier::new(&[7; 32], Arc::new(proofs), CacheMetrics::default()).unwrap()
}

/// Verified and asked for the rules of a route.
fn admit(issuer: &Issuer, rules: &TokenRules, token: &str) -> Result<Claims, Refusal> {
    let now = clock().now();
    let verified = verifier().verify(issuer, token, now)?;
    verified.claims.check(rules, now)?;
    Ok(verified.claims.clone())
}
