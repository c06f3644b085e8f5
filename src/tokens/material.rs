//! The secrets that one fetch needs, read when it starts: files may have been rotated since.

use std::{fs, path::Path};

use aws_lc_rs::digest::{Context, SHA256};

use super::source::Fingerprint;
use crate::{
    config::{Assertion, ClientAuth, Credential, Grant, SecretSource, secret::SecretError},
    oauth::{ClientError, ClientMaterial, HttpClient},
    secret::Secret,
};

/// Everything secret that goes into one fetch.
pub(super) struct Material {
    pub(super) auth: ClientMaterial,
    pub(super) password: Option<Secret>,
    pub(super) http: HttpClient,
}

/// A secret, or a file for the connection, that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum MaterialError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Http(#[from] ClientError),
}

impl Material {
    /// Reads it all. Blocking.
    pub(super) fn read(credential: &Credential) -> Result<Self, MaterialError> {
        let provider = &credential.provider;
        let auth = ClientMaterial::read(&credential.auth)?;
        let tls = ClientMaterial::tls(&credential.auth, &provider.tls);
        let password = match &credential.grant {
            Grant::Password { password, .. } => Some(password.read()?),
            Grant::ClientCredentials | Grant::RefreshToken { .. } | Grant::TokenExchange { .. } => {
                None
            }
        };
        let timeouts = provider.timeouts;
        Ok(Self {
            auth,
            password,
            http: HttpClient::new(&tls, timeouts.connect, timeouts.total)?,
        })
    }
}

/// A digest of all secret files' content. Blocking.
pub(super) fn fingerprint(credential: &Credential) -> Fingerprint {
    let mut digest = Context::new(&SHA256);
    let mut add = |content: Result<&[u8], ()>| {
        let content = content.unwrap_or(b"unreadable");
        digest.update(&(content.len() as u64).to_be_bytes());
        digest.update(content);
    };
    let mut source = |source: &SecretSource| match source.read() {
        Ok(secret) => add(Ok(&secret.fingerprint())),
        Err(_) => add(Err(())),
    };
    match &credential.grant {
        Grant::ClientCredentials | Grant::TokenExchange { .. } => {}
        Grant::Password { password, .. } => source(password),
        Grant::RefreshToken { file } => source(&SecretSource::File(file.clone())),
    }
    match &credential.auth {
        ClientAuth::None => {}
        ClientAuth::Basic(pair) | ClientAuth::Post(pair) => {
            source(&pair.current);
            if let Some(previous) = &pair.previous {
                source(previous);
            }
        }
        ClientAuth::Assertion(Assertion::Signed(key)) => source(&key.key),
        ClientAuth::Assertion(Assertion::File(path)) => source(&SecretSource::File(path.clone())),
        ClientAuth::MutualTls(identity) => {
            for path in [&identity.certificate, &identity.key] {
                add_file(path, &mut add);
            }
        }
    }
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(digest.finish().as_ref());
    fingerprint
}

fn add_file(path: &Path, add: &mut impl FnMut(Result<&[u8], ()>)) {
    match fs::read(path) {
        Ok(content) => add(Ok(&content)),
        Err(_) => add(Err(())),
    }
}
