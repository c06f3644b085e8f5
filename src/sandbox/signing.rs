//! The keys with which the mock provider signs, and the tokens made with them.
//!
//! Tokens look like those of Bentley IMS (no `typ` in the header; no `iat` and no `jti`; `scope`
//! and `aud` as arrays; `nbf` five minutes before the issue), like IdentityServer's (`at+jwt`, `iat`,
//! `jti`) or say nothing, as its reference tokens. `sid`, or `jti`, is unique in every token, so
//! that two of the same second differ.

use std::collections::HashMap;

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RsaKeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
    jwk::Jwk,
};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::idp::random_text;
use crate::clock::Moment;

/// What tokens are signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// As Bentley IMS does. A 2,048-bit key is made at the start, which takes a moment.
    Rs256,
    /// Ready at once.
    Es256,
}

/// What tokens look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenShape {
    /// A JWT of Bentley IMS.
    Ims,
    /// A JWT of IdentityServer.
    IdentityServer,
    /// A reference, which says nothing (IdentityServer).
    Opaque,
}

/// A key that could not be made or used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SigningError {
    #[error("a signing key cannot be generated")]
    Generate,
    #[error("the signing key is not usable")]
    Use(#[from] jsonwebtoken::errors::Error),
}

/// Who signs, and with what.
#[derive(Debug)]
pub(super) enum Forgery {
    /// We, with our key.
    Genuine,
    /// Somebody else, who says that it is our key.
    ForeignKey,
    /// Somebody who knows the client's secret.
    Hs256(String),
    /// Nobody.
    None,
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it is not a token that this provider signed")]
    NotOurs,
    #[error("it is not valid yet")]
    TooEarly,
    #[error("it has expired")]
    Expired,
}

/// The claims of an access token, in the order in which IMS writes them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) scope: Vec<String>,
    pub(super) client_id: String,
    pub(super) aud: Vec<String>,
    pub(super) sub: String,
    pub(super) iss: String,
    /// What makes it one of its kind; IdentityServer calls it `jti`.
    #[serde(alias = "jti")]
    pub(super) sid: String,
    pub(super) nbf: u64,
    pub(super) exp: u64,
    /// For users: their name.
    #[serde(flatten)]
    pub(super) others: Map<String, Value>,
}

/// The provider's keys: the newest signs, the one before it still verifies.
#[derive(Debug)]
pub(super) struct Signer {
    algorithm: SigningAlgorithm,
    shape: TokenShape,
    keys: RwLock<Vec<Key>>,
    /// What opaque tokens stand for.
    references: Mutex<HashMap<String, Claims>>,
}

#[derive(Clone)]
struct Key {
    id: String,
    algorithm: Algorithm,
    private: EncodingKey,
    public: DecodingKey,
    jwk: Value,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.id)
    }
}

/// Kept in the key set: the one in use and the one it replaced.
const KEYS: usize = 2;

impl Signer {
    pub(super) fn new(
        algorithm: SigningAlgorithm,
        shape: TokenShape,
    ) -> Result<Self, SigningError> {
        let first = Key::generate(algorithm, 1)?;
        Ok(Self {
            algorithm,
            shape,
            references: Mutex::default(),
            keys: RwLock::new(vec![first]),
        })
    }

    /// Signs with a new key from now on.
    pub(super) fn rotate(&self) -> Result<(), SigningError> {
        let number = self.newest().number() + 1;
        let key = Key::generate(self.algorithm, number)?;
        let mut keys = self.keys.write();
        keys.insert(0, key);
        keys.truncate(KEYS);
        Ok(())
    }

    /// A token with these claims, issued at `now`.
    pub(super) fn sign(&self, claims: &Claims, now: Moment) -> Result<String, SigningError> {
        let key = self.newest();
        let mut header = Header::new(key.algorithm);
        header.kid = Some(key.id);
        match self.shape {
            TokenShape::Ims => {
                header.typ = None;
                header.extras.insert("pi.atm", "a8me");
                Ok(encode(&header, claims, &key.private)?)
            }
            TokenShape::IdentityServer => {
                header.typ = Some("at+jwt".into());
                let iat = now.unix_seconds();
                let mut payload = json!({
                    "nbf": iat,
                    "exp": claims.exp,
                    "iss": claims.iss,
                    "aud": claims.aud,
                    "client_id": claims.client_id,
                    "sub": claims.sub,
                    "jti": claims.sid,
                    "iat": iat,
                    "scope": claims.scope,
                });
                if let Some(act) = claims.others.get("act") {
                    payload["act"] = act.clone();
                }
                Ok(encode(&header, &payload, &key.private)?)
            }
            TokenShape::Opaque => {
                let mut references = self.references.lock();
                references.retain(|_, known| now.unix_seconds() < known.exp);
                let token = [random_text(), random_text()].concat().to_uppercase();
                references.insert(token.clone(), claims.clone());
                Ok(token)
            }
        }
    }

    /// A JWT of this `typ` with these claims, genuine or not.
    pub(super) fn sign_as(
        &self,
        typ: &str,
        claims: &Value,
        forgery: Forgery,
    ) -> Result<String, SigningError> {
        let key = self.newest();
        let mut header = Header::new(key.algorithm);
        header.kid = Some(key.id);
        header.typ = Some(typ.to_owned());
        let private = match forgery {
            Forgery::Genuine => key.private,
            Forgery::ForeignKey => Key::generate(self.algorithm, 0)?.private,
            Forgery::Hs256(secret) => {
                header.alg = Algorithm::HS256;
                header.kid = None;
                EncodingKey::from_secret(secret.as_bytes())
            }
            Forgery::None => {
                let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
                let header = part(&json!({"alg": "none", "typ": typ}));
                return Ok(format!("{header}.{}.", part(claims)));
            }
        };
        Ok(encode(&header, claims, &private)?)
    }

    /// The claims of a token of ours that is valid at `now`.
    pub(super) fn verify(&self, token: &str, now: Moment) -> Result<Claims, Refused> {
        let reference = self.references.lock().get(token).cloned();
        let claims = match reference {
            Some(claims) => claims,
            None => self.read::<Claims>(token)?,
        };
        match now.unix_seconds() {
            now if now < claims.nbf => Err(Refused::TooEarly),
            now if now >= claims.exp => Err(Refused::Expired),
            _ => Ok(claims),
        }
    }

    /// The claims of anything that we signed, whenever that was.
    pub(super) fn read<C: DeserializeOwned + Clone>(&self, token: &str) -> Result<C, Refused> {
        let header = decode_header(token).map_err(|_| Refused::NotOurs)?;
        let key = header
            .kid
            .and_then(|id| self.keys.read().iter().find(|key| key.id == id).cloned())
            .ok_or(Refused::NotOurs)?;
        let mut rules = Validation::new(key.algorithm);
        // times are compared with the sandbox's clock
        rules.validate_exp = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        let token = decode::<C>(token, &key.public, &rules);
        Ok(token.map_err(|_| Refused::NotOurs)?.claims)
    }

    /// The JWK set (RFC 7517 section 5).
    pub(super) fn jwks(&self) -> Value {
        let keys: Vec<Value> = self.keys.read().iter().map(|key| key.jwk.clone()).collect();
        json!({"keys": keys})
    }

    /// The `alg` of the tokens.
    pub(super) fn algorithm_name(&self) -> &'static str {
        match self.algorithm {
            SigningAlgorithm::Rs256 => "RS256",
            SigningAlgorithm::Es256 => "ES256",
        }
    }

    fn newest(&self) -> Key {
        self.keys.read()[0].clone()
    }
}

impl Key {
    fn generate(algorithm: SigningAlgorithm, number: u32) -> Result<Self, SigningError> {
        let (algorithm, private) = match algorithm {
            SigningAlgorithm::Rs256 => (Algorithm::RS256, rsa()?),
            SigningAlgorithm::Es256 => {
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    &SystemRandom::new(),
                )
                .map_err(|_| SigningError::Generate)?;
                (Algorithm::ES256, EncodingKey::from_ec_der(pkcs8.as_ref()))
            }
        };
        let id = format!("Sandbox_{number}");
        let mut jwk = Jwk::from_encoding_key(&private, algorithm)?;
        jwk.common.key_id = Some(id.clone());
        jwk.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
        Ok(Self {
            id,
            algorithm,
            public: DecodingKey::from_jwk(&jwk)?,
            jwk: serde_json::to_value(&jwk).map_err(|_| SigningError::Generate)?,
            private,
        })
    }

    fn number(&self) -> u32 {
        let number = self.id.rsplit('_').next();
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

fn rsa() -> Result<EncodingKey, SigningError> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| SigningError::Generate)?;
    let pkcs8 = pair.as_der().map_err(|_| SigningError::Generate)?;
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(pkcs8.as_ref())
    );
    Ok(EncodingKey::from_rsa_pem(pem.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    fn claims(now: u64) -> Claims {
        Claims {
            scope: vec!["itwin-platform".into()],
            client_id: "c".into(),
            aud: vec!["a".into()],
            sub: "s".into(),
            iss: "i".into(),
            sid: "1".into(),
            nbf: now - 300,
            exp: now + 10,
            others: Map::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_of_the_key_before_the_last_rotation_are_still_good() {
        let clock = Clock::for_tests(Duration::from_secs(1_000_000));
        for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::Rs256] {
            let signer = Signer::new(algorithm, TokenShape::Ims).unwrap();
            let token = signer.sign(&claims(1_000_000), clock.now()).unwrap();
            assert_eq!(signer.verify(&token, clock.now()), Ok(claims(1_000_000)));
            signer.rotate().unwrap();
            assert!(signer.verify(&token, clock.now()).is_ok());
            assert_ne!(
                signer.jwks()["keys"][0]["kid"],
                signer.jwks()["keys"][1]["kid"]
            );
            signer.rotate().unwrap();
            assert_eq!(signer.verify(&token, clock.now()), Err(Refused::NotOurs));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_ends_on_the_second() {
        let clock = Clock::for_tests(Duration::from_secs(1_000_000));
        let signer = Signer::new(SigningAlgorithm::Es256, TokenShape::Ims).unwrap();
        let token = signer.sign(&claims(1_000_000), clock.now()).unwrap();
        clock.jump(9_999);
        assert!(signer.verify(&token, clock.now()).is_ok());
        clock.jump(1);
        assert_eq!(signer.verify(&token, clock.now()), Err(Refused::Expired));
        clock.jump(-400_000);
        assert_eq!(signer.verify(&token, clock.now()), Err(Refused::TooEarly));
    }

    #[test]
    fn a_token_has_the_shape_that_bentley_ims_gives_it() {
        let clock = Clock::for_tests(Duration::from_secs(1_000_000));
        let signer = Signer::new(SigningAlgorithm::Es256, TokenShape::Ims).unwrap();
        let token = signer.sign(&claims(1_000_000), clock.now()).unwrap();
        let part = |n: usize| -> Value {
            let text = token.split('.').nth(n).unwrap();
            let text = base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(text)
                .unwrap();
            serde_json::from_slice(&text).unwrap()
        };
        assert_eq!(
            part(0),
            json!({"alg": "ES256", "kid": "Sandbox_1", "pi.atm": "a8me"})
        );
        let payload = part(1);
        assert!(payload["scope"].is_array() && payload["aud"].is_array());
        assert!(payload.get("iat").is_none() && payload.get("jti").is_none());
    }
}
