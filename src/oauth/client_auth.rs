//! How a client proves at the token endpoint who it is.
//!
//! RFC 6749 section 2.3.1 (secrets), RFC 7523 section 2.2 (assertions). A certificate (RFC 8705)
//! is shown by the connection and needs nothing here but the `client_id`.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{AlgorithmFamily, EncodingKey, Header};
use serde::Serialize;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::{clock::Moment, config::SigningKey, secret::Secret};

/// The proof that goes with one request.
#[derive(Debug, Clone)]
pub enum Proof {
    /// `client_id` only: a public client, or one whose certificate speaks for it.
    None,
    /// `client_secret_basic`.
    Basic(Secret),
    /// `client_secret_post`.
    Post(Secret),
    /// A JWT, `private_key_jwt` or made by somebody else.
    Assertion(Secret),
}

impl Proof {
    /// Writes it into a request's form, or answers the value of `Authorization`.
    pub(super) fn write(
        &self,
        client_id: &str,
        form: &mut form_urlencoded::Serializer<'_, String>,
    ) -> Option<String> {
        match self {
            Self::Basic(secret) => {
                // RFC 6749 section 2.3.1
                let encoded = |text: &str| -> String {
                    form_urlencoded::byte_serialize(text.as_bytes()).collect()
                };
                let pair = format!("{}:{}", encoded(client_id), encoded(secret.expose()));
                let pair = Zeroizing::new(pair);
                return Some(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
            }
            Self::Post(secret) => {
                form.append_pair("client_id", client_id);
                form.append_pair("client_secret", secret.expose());
            }
            Self::Assertion(jwt) => {
                form.append_pair("client_id", client_id);
                form.append_pair("client_assertion_type", JWT_BEARER);
                form.append_pair("client_assertion", jwt.expose());
            }
            Self::None => {
                form.append_pair("client_id", client_id);
            }
        }
        None
    }
}

/// RFC 7523 section 2.2.
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Long enough for clocks that differ, short enough to be worth nothing to who finds it.
const ASSERTION_LIFE: Duration = Duration::from_secs(120);

/// A key that cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum AssertionError {
    #[error("the private key is not a PEM key for {algorithm:?}")]
    Key {
        algorithm: jsonwebtoken::Algorithm,
        source: jsonwebtoken::errors::Error,
    },
    #[error("{algorithm:?} does not prove possession of a private key")]
    Symmetric { algorithm: jsonwebtoken::Algorithm },
    #[error("the assertion cannot be signed with {algorithm:?}")]
    Sign {
        algorithm: jsonwebtoken::Algorithm,
        source: jsonwebtoken::errors::Error,
    },
}

/// RFC 7523 section 3.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
}

/// Signs an assertion for one request. `jti` must never be used again.
///
/// # Errors
/// When `pem` holds no key for the algorithm.
pub fn sign(
    key: &SigningKey,
    pem: &Secret,
    client_id: &str,
    audience: &str,
    jti: &str,
    now: Moment,
) -> Result<Proof, AssertionError> {
    let algorithm = key.algorithm;
    let pem = pem.expose().as_bytes();
    let signer = match algorithm.family() {
        AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => EncodingKey::from_ec_pem(pem),
        AlgorithmFamily::Ed => EncodingKey::from_ed_pem(pem),
        AlgorithmFamily::Hmac => return Err(AssertionError::Symmetric { algorithm }),
    };
    let signer = signer.map_err(|source| AssertionError::Key { algorithm, source })?;
    let mut header = Header::new(algorithm);
    header.kid.clone_from(&key.key_id);
    let iat = now.unix_seconds();
    let claims = Claims {
        iss: client_id,
        sub: client_id,
        aud: audience,
        jti,
        iat,
        nbf: iat,
        exp: iat + ASSERTION_LIFE.as_secs(),
    };
    let jwt = jsonwebtoken::encode(&header, &claims, &signer)
        .map_err(|source| AssertionError::Sign { algorithm, source })?;
    Ok(Proof::Assertion(Secret::new(jwt)))
}
