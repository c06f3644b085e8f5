//! TLS towards providers and upstreams.
//!
//! Certificates are always checked, against the system's authorities and the configured extra
//! ones; there is no switch that turns this off.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};

use super::{TlsError, certificates, identity, provider};
use crate::config::ClientTls;

/// A configuration for connections that offer `alpn`, in order of preference.
///
/// # Errors
/// When an authority or our own certificate cannot be read or used, or when neither the system nor
/// the configuration has an authority.
pub fn client_config(tls: &ClientTls, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .with_root_certificates(roots(tls)?);
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let (chain, key) = identity(files)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|source| TlsError::Identity {
                    path: files.certificate.clone(),
                    source,
                })?
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

fn roots(tls: &ClientTls) -> Result<RootCertStore, TlsError> {
    let mut roots = match system_roots() {
        Ok(roots) => roots.clone(),
        // a container without the system's authorities may bring its own
        Err(_) if !tls.extra_ca.is_empty() => RootCertStore::empty(),
        Err(reason) => return Err(TlsError::NoRoots(reason.clone())),
    };
    for path in &tls.extra_ca {
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|source| TlsError::Authority {
                    path: path.clone(),
                    source,
                })?;
        }
    }
    Ok(roots)
}

/// The system's authorities, read once: parsing them costs more than a start may take.
fn system_roots() -> &'static Result<RootCertStore, String> {
    static ROOTS: OnceLock<Result<RootCertStore, String>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added > 0 {
            return Ok(roots);
        }
        let why = found.errors.first().map_or_else(
            || "none found; set SSL_CERT_FILE or `tls.extra_ca`".to_owned(),
            ToString::to_string,
        );
        Err(why)
    })
}
