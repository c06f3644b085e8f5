//! The secrets that one fetch needs, read when it starts: files may have been rotated since.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};

use super::{kept::KeptError, rotation, source::Fingerprint};
use crate::{
    config::{
        Assertion, ClientAuth, Credential, Grant, JwtSource, Provider, SamlSource, SecretSource,
        Sts, secret::SecretError,
    },
    metrics::Exchanges,
    oauth::{ClientError, ClientMaterial, HttpClient, SamlAssertion, SamlError},
    secret::Secret,
};

/// Everything secret that goes into one fetch.
pub(super) struct Material {
    pub(super) auth: ClientMaterial,
    pub(super) grant: Presented,
    pub(super) http: HttpClient,
}

/// What the grant presents that is read here.
pub(super) enum Presented {
    Nothing,
    Password(Secret),
    /// The password, and what the STS is reached with.
    SignIn {
        password: Secret,
        http: HttpClient,
    },
    Jwt(Secret),
    Saml(SamlAssertion),
}

/// A secret, or a file for the connection, that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum MaterialError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Http(#[from] ClientError),
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error("{} cannot be used as an assertion", .path.display())]
    Saml { path: PathBuf, source: SamlError },
}

impl Material {
    /// Reads it all. Blocking.
    pub(super) fn read(
        credential: &Credential,
        exchanges: &Exchanges,
        with_sts: &Exchanges,
    ) -> Result<Self, MaterialError> {
        let provider = &credential.provider;
        let auth = ClientMaterial::read(&credential.auth)?;
        let tls = ClientMaterial::tls(&credential.auth, &provider.tls);
        let timeouts = provider.timeouts;
        Ok(Self {
            auth,
            grant: Presented::read(credential, with_sts)?,
            http: HttpClient::new(&tls, timeouts.connect, timeouts.total)?
                .counted(exchanges.clone()),
        })
    }
}

impl Presented {
    fn read(credential: &Credential, with_sts: &Exchanges) -> Result<Self, MaterialError> {
        let file = |path: &Path| SecretSource::File(path.into()).read();
        Ok(match &credential.grant {
            Grant::Password { password, .. } => Self::Password(password.read()?),
            Grant::SamlBearer { assertion, .. } => match assertion {
                SamlSource::Sts(sts) => Self::SignIn {
                    password: sts.password.read()?,
                    http: to_sts(&credential.provider, sts)?.counted(with_sts.clone()),
                },
                SamlSource::File(path) => {
                    let assertion = SamlAssertion::from_file(&file(path)?);
                    let path = path.clone();
                    Self::Saml(assertion.map_err(|source| MaterialError::Saml { path, source })?)
                }
            },
            Grant::JwtBearer {
                assertion: JwtSource::File(path),
            } => Self::Jwt(file(path)?),
            Grant::JwtBearer {
                assertion: JwtSource::Credential(_) | JwtSource::Caller,
            }
            | Grant::ClientCredentials
            | Grant::RefreshToken { .. }
            | Grant::TokenExchange { .. }
            | Grant::AuthorizationCode { .. } => Self::Nothing,
        })
    }
}

/// The STS is trusted as the provider is. It does not see the client's certificate, and another
/// host has addresses and a name of its own.
fn to_sts(provider: &Provider, sts: &Sts) -> Result<HttpClient, ClientError> {
    let mut tls = provider.tls.clone();
    if sts.url.host_str() != provider.issuer.host_str() {
        tls.addresses.clear();
        tls.server_name = None;
    }
    let timeouts = provider.timeouts;
    HttpClient::new(&tls, timeouts.connect, timeouts.total)
}

/// A digest of all secret files' content. Blocking.
pub(super) fn fingerprint(credential: &Credential) -> Fingerprint {
    let mut digest = Context::new(&SHA256);
    if let Some(other) = credential.grant.shows() {
        digest.update(&fingerprint(other));
    }
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
        Grant::ClientCredentials
        | Grant::TokenExchange { .. }
        | Grant::AuthorizationCode { .. }
        | Grant::JwtBearer {
            assertion: JwtSource::Credential(_) | JwtSource::Caller,
        } => {}
        Grant::Password { password, .. } => source(password),
        // of a sign-in, the record: it changes with the token, and asks no keyring
        Grant::RefreshToken { .. } => {
            let watched = rotation::watched(credential);
            source(&SecretSource::File(watched.unwrap_or_default()));
        }
        Grant::SamlBearer {
            assertion: SamlSource::File(file),
            ..
        }
        | Grant::JwtBearer {
            assertion: JwtSource::File(file),
        } => source(&SecretSource::File(file.clone())),
        Grant::SamlBearer {
            assertion: SamlSource::Sts(sts),
            ..
        } => source(&sts.password),
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
