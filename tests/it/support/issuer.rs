//! A provider that signs tokens: its metadata, its keys, which a test may change, and tokens made
//! with another implementation of JOSE.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, jwk::Jwk};
use serde_json::{Value, json};

use super::origin::{self, Origin};

/// A running provider.
#[derive(Debug)]
pub(crate) struct Issuer {
    origin: Origin,
    keys: Arc<Mutex<Says>>,
    down: Arc<AtomicBool>,
    given_up: Arc<AtomicUsize>,
}

/// What a provider answers when it is asked for its keys.
#[derive(Debug, Clone)]
pub(crate) enum Says {
    /// These bytes.
    Answer(String),
    /// This, and then that again and again.
    Endless(String, &'static str),
    Nothing,
}

/// A key pair of a provider, or of somebody else.
pub(crate) struct Pair {
    private: EncodingKey,
    pub(crate) jwk: Value,
}

impl Pair {
    pub(crate) fn new(id: &str) -> Self {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let private = EncodingKey::from_ec_der(pair.unwrap().as_ref());
        let mut jwk = Jwk::from_encoding_key(&private, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(id.into());
        let jwk = serde_json::to_value(&jwk).unwrap();
        Self { private, jwk }
    }

    /// A token with this payload, and this header beside `kid`.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let mut head = header.clone();
        head["kid"] = self.jwk["kid"].clone();
        let signed = unsigned(&head, claims);
        let signature =
            jsonwebtoken::crypto::sign(signed.as_bytes(), &self.private, Algorithm::ES256);
        format!("{signed}.{}", signature.unwrap())
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&json!({"alg": "ES256"}), claims)
    }
}

/// Header and payload, without a signature.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// Serves these keys.
pub(crate) fn serving(pairs: &[&Pair]) -> Issuer {
    let keys = Arc::new(Mutex::new(Says::set(pairs)));
    let (down, given_up): (Arc<AtomicBool>, Arc<AtomicUsize>) = Default::default();
    let (served, off, left) = (keys.clone(), down.clone(), given_up.clone());
    let origin = origin::serving(move |mut connection| {
        while let Some(request) = connection.request() {
            if off.load(Ordering::SeqCst) {
                return;
            }
            let host = request.field("host").unwrap_or_default().to_owned();
            let metadata = json!({
                "issuer": format!("http://{host}"),
                "token_endpoint": format!("http://{host}/token"),
                "jwks_uri": format!("http://{host}/keys"),
            });
            connection.send(match request.request() {
                "GET /keys" => {
                    let says = served.lock().unwrap().clone();
                    match says {
                        Says::Answer(answer) => answer,
                        Says::Endless(first, again) => {
                            connection.send(first);
                            while connection.sends(again) {}
                            left.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                        Says::Nothing => {
                            connection.until_closed();
                            left.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                    }
                }
                "GET /.well-known/openid-configuration" => origin::json(&metadata.to_string()),
                _ => origin::answer("404 Not Found", "", ""),
            });
        }
    });
    Issuer {
        origin,
        keys,
        down,
        given_up,
    }
}

impl Says {
    pub(crate) fn set(pairs: &[&Pair]) -> Self {
        let keys: Vec<&Value> = pairs.iter().map(|pair| &pair.jwk).collect();
        Self::json(&json!({"keys": keys}))
    }

    pub(crate) fn json(document: &Value) -> Self {
        Self::Answer(origin::json(&document.to_string()))
    }
}

impl Issuer {
    pub(crate) fn url(&self) -> String {
        self.origin.url()
    }

    pub(crate) fn rotate_to(&self, pairs: &[&Pair]) {
        self.says(Says::set(pairs));
    }

    /// The answer to the next who asks for the keys.
    pub(crate) fn says(&self, says: Says) {
        *self.keys.lock().unwrap() = says;
    }

    /// Waits until the keys were asked for so often.
    pub(crate) fn wait_for_fetches(&self, count: usize) {
        for requests in 1.. {
            self.origin.wait_for(requests);
            if self.fetches() >= count {
                return;
            }
        }
    }

    /// How many who asked for the keys have gone without a whole answer.
    pub(crate) fn given_up(&self) -> usize {
        self.given_up.load(Ordering::SeqCst)
    }

    /// Every connection is closed without an answer from now on, or no longer.
    pub(crate) fn is_down(&self, down: Down) {
        self.down.store(down == Down::Yes, Ordering::SeqCst);
    }

    /// How often the keys were fetched.
    pub(crate) fn fetches(&self) -> usize {
        let requests = self.origin.requests();
        let keys = requests.iter().filter(|r| r.request() == "GET /keys");
        keys.count()
    }

    /// Claims of a good token of this issuer, changed; `null` takes one away.
    pub(crate) fn claims(&self, changes: &Value) -> Value {
        let now = now();
        let mut claims = json!({
            "iss": self.url(),
            "sub": "ann",
            "client_id": "webapp-1",
            "aud": ["api", "other"],
            "scope": ["itwin-platform", "email"],
            "nbf": now - 300,
            "exp": now + 3600,
        });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    }
}

/// Whether a provider answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Down {
    Yes,
    No,
}

#[expect(
    clippy::disallowed_methods,
    reason = "tokens are of now, as the proxy's clock is"
)]
pub(crate) fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

pub(crate) fn now() -> u64 {
    wall().as_secs()
}
