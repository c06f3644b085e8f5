//! TLS towards providers and upstreams.
//!
//! Certificates are always checked, against the system's authorities and the configured extra
//! ones; there is no switch that turns this off.
//!
//! What was made of some files is kept until they hold something else that can be used: a bundle that
//! is half-written costs no connection. Everybody who names the same files shares it, because what
//! they hold is the same for all.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::SystemTime,
};

use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};

use super::{TlsError, certificates, identity, provider};
use crate::{
    config::{ClientTls, Identity, source},
    rotation::{Content, content},
};

/// A configuration for connections that offer `alpn`, in order of preference. Reads files; where they
/// cannot be used and could be before, it is that of before.
///
/// # Errors
/// When an authority or our own certificate cannot be read or used, or when neither the system nor
/// the configuration has an authority, and never could be.
pub fn client_config(tls: &ClientTls, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    static MADE: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);
    let made = Made {
        extra_ca: tls.extra_ca.clone(),
        identity: tls.identity.clone(),
        alpn: alpn.iter().map(|name| name.to_vec()).collect(),
    };
    let now = held(tls);
    let known = MADE.lock().get(&made).cloned();
    if let Some((then, config)) = &known
        && *then == now
    {
        return Ok(Arc::clone(config));
    }
    match (make(tls, alpn), known) {
        (Ok(config), _) => {
            let mut all = MADE.lock();
            if all.len() >= MOST {
                all.clear();
            }
            all.insert(made, (now, Arc::clone(&config)));
            Ok(config)
        }
        (Err(_), Some((_, before))) => Ok(before),
        (Err(error), None) => Err(error),
    }
}

/// With what the files held when it was made.
type Kept = HashMap<Made, (Content, Arc<ClientConfig>)>;

/// What a configuration is made of.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Made {
    extra_ca: Vec<PathBuf>,
    identity: Option<Identity>,
    alpn: Vec<Vec<u8>>,
}

/// Sets of files of which something is kept: a configuration has a few.
const MOST: usize = 256;

/// What all files hold that decide whom we trust and who we are, the system's authorities included.
pub fn held(tls: &ClientTls) -> Content {
    let own = tls.identity.iter();
    let own = own.flat_map(|identity| [&identity.certificate, &identity.key]);
    let named = tls.extra_ca.iter().chain(own).map(PathBuf::as_path);
    let mut held = content(named);
    let system = system_roots().0;
    let digits = held.iter_mut().zip(system.to_be_bytes());
    digits.for_each(|(digit, other)| *digit ^= other);
    held
}

/// Makes one of what the files hold now.
///
/// # Errors
/// As [`client_config`], whatever there was before.
pub fn make(tls: &ClientTls, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
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

pub(super) fn roots(tls: &ClientTls) -> Result<RootCertStore, TlsError> {
    let mut roots = match &*system_roots().1 {
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

/// The system's authorities and which of its bundles that is. Read again only when a file of theirs is
/// another: parsing them costs more than a start may take.
fn system_roots() -> (u64, Arc<Result<RootCertStore, String>>) {
    static ROOTS: Mutex<Option<System>> = Mutex::new(None);
    let stamp = stamp();
    let mut roots = ROOTS.lock();
    let number = match &*roots {
        Some(known) if known.stamp == stamp => return (known.number, Arc::clone(&known.roots)),
        Some(known) => known.number + 1,
        None => 0,
    };
    let read = load_system_roots();
    let read = match (&*roots, read) {
        // a bundle that is being written
        (Some(known), Err(_)) if known.roots.is_ok() => Arc::clone(&known.roots),
        (_, read) => Arc::new(read),
    };
    *roots = Some(System {
        stamp,
        number,
        roots: Arc::clone(&read),
    });
    (number, read)
}

struct System {
    stamp: Vec<Option<(SystemTime, u64)>>,
    /// How often they were read again.
    number: u64,
    roots: Arc<Result<RootCertStore, String>>,
}

/// Which files the system's authorities are in, when each was written, and how large it is.
fn stamp() -> Vec<Option<(SystemTime, u64)>> {
    let named = source::authorities();
    let usual = USUAL.map(PathBuf::from);
    let files = if named.is_empty() {
        usual.to_vec()
    } else {
        named
    };
    let of = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(|path| of(path)).collect()
}

/// Where most systems have them: Debian, Red Hat, Alpine and macOS.
const USUAL: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
];

fn load_system_roots() -> Result<RootCertStore, String> {
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
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_can_be_used_is_taken_over_and_what_cannot_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let tls = ClientTls {
            extra_ca: vec![path.clone()],
            ..ClientTls::default()
        };
        let config = || client_config(&tls, &[b"http/1.1"]);
        assert!(config().is_err(), "there is no file yet");
        let ca = || {
            let made = rcgen::generate_simple_self_signed(["ca.test".to_owned()]).unwrap();
            made.cert.pem()
        };
        fs::write(&path, ca()).unwrap();
        let first = config().unwrap();
        assert!(Arc::ptr_eq(&first, &config().unwrap()), "it is kept");
        for bad in ["", "-----BEGIN CERTIFICATE-----\nMII"] {
            fs::write(&path, bad).unwrap();
            assert!(Arc::ptr_eq(&first, &config().unwrap()), "{bad:?}");
            assert!(make(&tls, &[b"http/1.1"]).is_err(), "and told");
        }
        fs::remove_file(&path).unwrap();
        assert!(Arc::ptr_eq(&first, &config().unwrap()));
        fs::write(&path, ca()).unwrap();
        assert!(!Arc::ptr_eq(&first, &config().unwrap()));
    }
}
