//! Certificates and TLS configurations, for both sides.
//!
//! It takes streams and files, never sockets. One crypto provider (aws-lc-rs) serves everything;
//! TLS 1.2 and 1.3 only, as rustls has no other.

pub mod authority;
pub mod client;
pub mod issued;
pub mod mint;
pub mod reload;
pub mod server;
pub mod witness;

use std::{path::Path, path::PathBuf, sync::Arc};

use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::config::Identity;

/// A certificate, key or authority that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}")]
    Pem {
        path: PathBuf,
        source: rustls_pki_types::pem::Error,
    },
    #[error("{path} holds no certificate in PEM form")]
    NoCertificate { path: PathBuf },
    #[error("no authority of the system could be loaded: {0}")]
    NoRoots(String),
    #[error("{path} is not an authority that can be used")]
    Authority {
        path: PathBuf,
        source: rustls::Error,
    },
    #[error("the certificate {path} does not fit its key or cannot be used")]
    Identity {
        path: PathBuf,
        source: rustls::Error,
    },
    #[error("client certificates cannot be checked against {path}")]
    ClientAuthority {
        path: PathBuf,
        source: rustls::server::VerifierBuilderError,
    },
    #[error("no key for session tickets could be made")]
    Tickets(#[source] rustls::Error),
    #[error("the authority {path} cannot sign")]
    Signing { path: PathBuf, source: rcgen::Error },
    #[error(
        "the name of the authority {path} cannot be repeated exactly; an authority of `ca init` has a plain one"
    )]
    AuthorityName { path: PathBuf },
    #[error("the authority {path} has ended")]
    AuthorityEnded { path: PathBuf },
    #[error("{host} is not among the hosts whose connections are opened")]
    NotOpened { host: String },
    #[error("{host} is no name that a certificate can have")]
    NoName { host: String },
    #[error("no certificate for {host} could be made")]
    Leaf { host: String, source: rcgen::Error },
    #[error("no authority could be made")]
    NewAuthority(#[source] rcgen::Error),
    #[error("a certificate cannot say this time")]
    NoSuchTime,
    #[error("there is no randomness")]
    Random,
    #[error("no TLS version and cipher suite is left")]
    Versions(#[source] rustls::Error),
}

/// The one crypto provider.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// All certificates of a PEM file, in its order.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem {
        path: path.into(),
        source,
    };
    let all = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    if all.is_empty() {
        return Err(TlsError::NoCertificate { path: path.into() });
    }
    Ok(all)
}

/// Whether a certificate can be used with its key.
///
/// # Errors
/// When it cannot, or one of the files cannot be read.
pub fn fits(files: &Identity) -> Result<(), TlsError> {
    let (chain, key) = identity(files)?;
    let fitting = rustls::sign::CertifiedKey::from_der(chain, key, &provider());
    fitting.map(drop).map_err(|source| TlsError::Identity {
        path: files.certificate.clone(),
        source,
    })
}

/// Chain and key of an identity.
fn identity(
    files: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::Pem {
        path: files.key.clone(),
        source,
    })?;
    Ok((chain, key))
}
