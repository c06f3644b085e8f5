//! What a client proves itself with, read when it is needed: files may have been rotated since.
//!
//! Of two secrets the current one comes first; the previous one is for a provider that does not
//! know the current one yet, or does not know it any more.

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use url::Url;

use super::client_auth::{self, AssertionError, Proof};
use crate::{
    clock::Moment,
    config::{Assertion, ClientAuth, ClientTls, SecretPair, SecretSource, secret::SecretError},
    secret::Secret,
};

/// Which of two secrets the provider accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretInUse {
    Current,
    Previous,
}

/// How a client authenticates, with what.
#[derive(Debug, Clone)]
pub struct ClientMaterial {
    auth: ClientAuth,
    secrets: Secrets,
}

#[derive(Debug, Clone)]
enum Secrets {
    /// Nothing secret, or nothing but the connection's certificate.
    None,
    /// In the order in which they are tried.
    Pair(Vec<(SecretInUse, Secret)>),
    /// A private key, or a whole assertion.
    One(Secret),
}

/// A client that cannot prove itself.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error(transparent)]
    Assertion(#[from] AssertionError),
    #[error("the system has no randomness")]
    Randomness,
}

impl ClientMaterial {
    /// Blocking.
    ///
    /// # Errors
    /// When a secret cannot be read.
    pub fn read(auth: &ClientAuth) -> Result<Self, SecretError> {
        let secrets = match auth {
            ClientAuth::None | ClientAuth::MutualTls(_) => Secrets::None,
            ClientAuth::Basic(pair) | ClientAuth::Post(pair) => Secrets::Pair(read_pair(pair)?),
            ClientAuth::Assertion(Assertion::Signed(key)) => Secrets::One(key.key.read()?),
            ClientAuth::Assertion(Assertion::File(path)) => {
                Secrets::One(SecretSource::File(path.clone()).read()?)
            }
        };
        let auth = auth.clone();
        Ok(Self { auth, secrets })
    }

    /// `tls` with the client's certificate, where that is how it proves itself.
    pub fn tls(auth: &ClientAuth, tls: &ClientTls) -> ClientTls {
        let mut tls = tls.clone();
        if let ClientAuth::MutualTls(identity) = auth {
            tls.identity = Some(identity.clone());
        }
        tls
    }

    /// The proofs to try at `endpoint`, in order; each is for one request.
    ///
    /// # Errors
    /// When there is a key that cannot sign.
    pub fn proofs(
        &self,
        client_id: &str,
        endpoint: &Url,
        now: Moment,
    ) -> Result<Vec<(SecretInUse, Proof)>, ProofError> {
        let one = |proof| vec![(SecretInUse::Current, proof)];
        Ok(match (&self.secrets, &self.auth) {
            (Secrets::Pair(all), auth) => {
                let proof = match auth {
                    ClientAuth::Post(_) => Proof::Post,
                    _ => Proof::Basic,
                };
                let each = all.iter();
                each.map(|(which, secret)| (*which, proof(secret.clone())))
                    .collect()
            }
            (Secrets::One(pem), ClientAuth::Assertion(Assertion::Signed(key))) => {
                let audience = key.audience.as_deref().unwrap_or(endpoint.as_str());
                let jti = fresh_id()?;
                one(client_auth::sign(key, pem, client_id, audience, &jti, now)?)
            }
            (Secrets::One(jwt), _) => one(Proof::Assertion(jwt.clone())),
            (Secrets::None, _) => one(Proof::None),
        })
    }
}

/// One that cannot be read does not matter while the other can: a rotation may be under way.
fn read_pair(pair: &SecretPair) -> Result<Vec<(SecretInUse, Secret)>, SecretError> {
    let current = pair.current.read().map(|s| (SecretInUse::Current, s));
    let previous = pair.previous.as_ref().and_then(|source| source.read().ok());
    let previous = previous.map(|s| (SecretInUse::Previous, s));
    match (current, previous) {
        (Err(error), None) => Err(error),
        (current, previous) => Ok(current.into_iter().chain(previous).collect()),
    }
}

/// 128 random bits.
fn fresh_id() -> Result<String, ProofError> {
    let mut id = [0_u8; 16];
    rand::fill(&mut id).map_err(|_| ProofError::Randomness)?;
    Ok(URL_SAFE_NO_PAD.encode(id))
}
