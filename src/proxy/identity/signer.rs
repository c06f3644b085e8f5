//! The keys that identity JWTs are signed with, and their public halves.
//!
//! Of several files the first signs and all are published. Files are read again now and then, so
//! that a key can be replaced without a restart; one that cannot be read leaves what was known.
//! Without a file, a key is made at the start that nobody else has.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};

use crate::{config::Signing, health::Document};

/// Says that it is no access token (RFC 8725 section 3.11); `config::NEVER_ACCESS` has it, too.
const TYPE: &str = "itwin-identity+jwt";

/// See the module. Threads share one.
#[derive(Debug)]
pub struct Signer {
    files: Vec<PathBuf>,
    current: ArcSwap<Keys>,
}

/// What holds at one time.
pub(super) struct Keys {
    pair: EcdsaKeyPair,
    /// A JWT's header, encoded, with its dot.
    header: String,
    key_set: Bytes,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

/// A key that cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    #[error("the file {0} holds no private key in PEM")]
    Unreadable(PathBuf, #[source] rustls_pki_types::pem::Error),
    #[error("the key in {0} is no ECDSA key of the curve P-256")]
    OtherKind(PathBuf),
    #[error("no key can be made")]
    NotMade,
}

impl Signer {
    /// # Errors
    /// When a file holds no key that can sign.
    pub fn new(config: &Signing) -> Result<Self, SignerError> {
        let keys = if config.key_files.is_empty() {
            tracing::warn!(
                "identity JWTs are signed with a key made now: other replicas and later starts have others"
            );
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
            Keys::of(vec![pair.map_err(|_| SignerError::NotMade)?])
        } else {
            read(&config.key_files)
        }?;
        Ok(Self {
            files: config.key_files.clone(),
            current: ArcSwap::from_pointee(keys),
        })
    }

    /// Reads the files again.
    pub fn refresh(&self) {
        if self.files.is_empty() {
            return;
        }
        match read(&self.files) {
            Ok(keys) if keys.key_set == self.current.load().key_set => {}
            Ok(keys) => {
                self.current.store(Arc::new(keys));
                tracing::info!("identity JWTs are signed with other keys");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "keys for identity JWTs not read again");
            }
        }
    }

    pub(super) fn keys(&self) -> Arc<Keys> {
        self.current.load_full()
    }

    /// Whether these are still the keys.
    pub(super) fn has(&self, keys: &Arc<Keys>) -> bool {
        Arc::ptr_eq(&self.current.load(), keys)
    }
}

impl Document for Signer {
    fn path(&self) -> &'static str {
        "/jwks.json"
    }

    fn text(&self) -> Option<Bytes> {
        Some(self.current.load().key_set.clone())
    }
}

impl Keys {
    /// The first signs.
    fn of(mut pairs: Vec<EcdsaKeyPair>) -> Result<Self, SignerError> {
        let mut all: Vec<Value> = Vec::new();
        for jwk in pairs.iter().map(jwk) {
            if !all.contains(&jwk) {
                all.push(jwk);
            }
        }
        let Some(first) = all.first() else {
            return Err(SignerError::NotMade);
        };
        let header = json!({"alg": "ES256", "typ": TYPE, "kid": first["kid"]});
        Ok(Self {
            header: URL_SAFE_NO_PAD.encode(header.to_string()) + ".",
            key_set: json!({ "keys": all }).to_string().into(),
            pair: pairs.swap_remove(0),
        })
    }

    /// A JWT (RFC 7515 section 7.1) with these claims.
    pub(super) fn sign(&self, claims: &Value) -> Option<String> {
        let mut jwt = self.header.clone();
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut jwt);
        let signature = self.pair.sign(&SystemRandom::new(), jwt.as_bytes()).ok()?;
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
        Some(jwt)
    }
}

fn read(files: &[PathBuf]) -> Result<Keys, SignerError> {
    let pairs = files.iter().map(|file| {
        let key = PrivateKeyDer::from_pem_file(file)
            .map_err(|source| SignerError::Unreadable(file.clone(), source))?;
        EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_der())
            .map_err(|_| SignerError::OtherKind(file.clone()))
    });
    Keys::of(pairs.collect::<Result<_, _>>()?)
}

/// RFC 7518 section 6.2.1, named by its thumbprint (RFC 7638).
fn jwk(pair: &EcdsaKeyPair) -> Value {
    // 4, x, y (SEC 1 section 2.3.3)
    let point = pair.public_key().as_ref();
    let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let id = URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()));
    json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": id, "use": "sig", "alg": "ES256"})
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn pem() -> String {
        rcgen::KeyPair::generate().unwrap().serialize_pem()
    }

    #[test]
    fn a_replaced_file_is_read_again_and_a_broken_one_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key.pem");
        fs::write(&file, pem()).unwrap();
        let config = Signing {
            key_files: vec![file.clone()],
            path: None,
        };
        let signer = Signer::new(&config).unwrap();
        let (first, keys) = (signer.text(), signer.keys());
        signer.refresh();
        assert!(
            signer.has(&keys),
            "nothing is signed again for the same key"
        );
        fs::write(&file, "no key").unwrap();
        signer.refresh();
        assert_eq!(signer.text(), first);
        fs::write(&file, pem()).unwrap();
        signer.refresh();
        assert_ne!(signer.text(), first);
        assert!(!signer.has(&keys));
    }

    #[test]
    fn a_key_is_named_by_its_thumbprint_and_published_without_its_secret() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let jwk = jwk(&pair);
        let read: jsonwebtoken::jwk::Jwk = serde_json::from_value(jwk.clone()).unwrap();
        let thumbprint = read.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256);
        assert_eq!(jwk["kid"], thumbprint.unwrap());
        let members: Vec<&String> = jwk.as_object().unwrap().keys().collect();
        assert_eq!(members, ["kty", "crv", "x", "y", "kid", "use", "alg"]);
    }
}
