//! Certificates made while somebody waits: for each host of the interception, by its authority.
//!
//! A leaf is for exactly one host, short-lived, and never outlives the authority. All leaves of a
//! process have one key, which is made at the start and never leaves memory: a key for each would
//! protect nothing, because whoever could read one could read the authority's, and would cost
//! memory for every host. Leaves are kept, at most [`KEPT`] of them, and a new one is made before
//! one ends. It makes none for a host that the configuration does not open.

use std::{fmt, sync::Arc, time::Duration};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{Ticketer, sign::any_ecdsa_type},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::{CertifiedKey, SigningKey},
};
use rustls_pki_types::{CertificateDer, DnsName, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    TlsError,
    authority::{instant, serial},
    identity, provider,
};
use crate::{
    clock::{Clock, Deadline, Moment},
    config::Interception,
};

/// Hosts whose leaf is kept. Wildcards let callers name any number; what is asked for often stays.
const KEPT: u64 = 1024;

/// A caller's clock may be behind ours by as much.
pub(super) const BACKDATED: Duration = Duration::from_secs(5 * 60);

/// `ub-common-name` of RFC 5280 appendix A.1: a longer name stands in the alternative names only.
const LONGEST_COMMON_NAME: usize = 64;

/// Makes certificates and keeps them. Cheap to clone; clones share.
#[derive(Clone)]
pub struct Mint(Arc<Inner>);

struct Inner {
    interception: Interception,
    issuer: Issuer<'static, KeyPair>,
    /// What follows a leaf: the authority, and what signed that.
    chain: Vec<CertificateDer<'static>>,
    /// When the authority ends, since 1970.
    end: Duration,
    /// The key of all leaves.
    key: KeyPair,
    signer: Arc<dyn SigningKey>,
    /// Everything but the certificate.
    template: ServerConfig,
    kept: moka::sync::Cache<Box<str>, Minted>,
    clock: Clock,
}

#[derive(Clone)]
struct Minted {
    leaf: Arc<CertifiedKey>,
    config: Arc<ServerConfig>,
    /// From then on a new one is made.
    renewed: Deadline,
}

impl Mint {
    /// Reads the authority, makes the key of the leaves, and proves with one leaf that it works.
    ///
    /// # Errors
    /// When a file cannot be read, or when the authority cannot sign.
    pub fn load(interception: &Interception, clock: Clock) -> Result<Self, TlsError> {
        let path = &interception.authority.certificate;
        let (chain, key) = identity(&interception.authority)?;
        let unusable = |source| TlsError::Signing {
            path: path.clone(),
            source,
        };
        let own = chain
            .first()
            .ok_or_else(|| TlsError::NoCertificate { path: path.clone() })?;
        let issuer = KeyPair::try_from(&key)
            .and_then(|key| Issuer::from_ca_cert_der(own, key))
            .map_err(unusable)?;
        let (_, parsed) = X509Certificate::from_der(own)
            .map_err(|_| unusable(rcgen::Error::CouldNotParseCertificate))?;
        let end = parsed.validity().not_after.timestamp();
        let end = Duration::from_secs(u64::try_from(end).unwrap_or(0));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(unusable)?;
        let pkcs8 = PrivatePkcs8KeyDer::from(key.serialized_der());
        let signer =
            any_ecdsa_type(&pkcs8.clone_key().into()).map_err(|source| TlsError::Identity {
                path: path.clone(),
                source,
            })?;
        let mint = Self(Arc::new(Inner {
            interception: interception.clone(),
            issuer,
            end,
            key,
            signer,
            template: template()?,
            kept: moka::sync::Cache::builder().max_capacity(KEPT).build(),
            clock,
            chain: chain.clone(),
        }));
        mint.0.prove(&parsed)?;
        Ok(mint)
    }

    /// Whether connections to `host` (lower case, without port) are opened.
    pub fn opens(&self, host: &str) -> bool {
        self.0.interception.opens(host)
    }

    /// What a connection to `host` is answered with: its certificate, whatever name the caller
    /// indicates.
    ///
    /// # Errors
    /// When `host` is not opened, or when the authority has ended.
    pub fn server_config(&self, host: &str) -> Result<Arc<ServerConfig>, TlsError> {
        self.0.get(host).map(|minted| minted.config)
    }

    /// Answers each connection with the certificate for the name that the caller indicates (RFC
    /// 6066 section 3). The handshake fails without one, and with one that is not opened.
    pub fn by_name(&self) -> Arc<ServerConfig> {
        let mut config = self.0.template.clone();
        config.cert_resolver = Arc::new(ByName(self.clone()));
        Arc::new(config)
    }
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mint")
            .field("interception", &self.0.interception)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Two who ask for a new host at once may both make a leaf: that costs less than waiting.
    fn get(&self, host: &str) -> Result<Minted, TlsError> {
        let now = self.clock.now();
        if let Some(minted) = self.kept.get(host)
            && !minted.renewed.passed(now)
        {
            return Ok(minted);
        }
        if !self.interception.opens(host) {
            return Err(TlsError::NotOpened {
                host: host.to_owned(),
            });
        }
        let minted = self.mint(host, now)?;
        self.kept.insert(host.into(), minted.clone());
        Ok(minted)
    }

    fn mint(&self, host: &str, now: Moment) -> Result<Minted, TlsError> {
        let until = self
            .end
            .min(now.wall.saturating_add(self.interception.leaf_lifetime));
        let lifetime = until.saturating_sub(now.wall);
        if lifetime.is_zero() {
            let path = self.interception.authority.certificate.clone();
            return Err(TlsError::AuthorityEnded { path });
        }
        let leaf = self.leaf(host, now.wall.saturating_sub(BACKDATED), until)?;
        let chain = std::iter::once(leaf)
            .chain(self.chain.iter().cloned())
            .collect();
        let leaf = Arc::new(CertifiedKey::new(chain, Arc::clone(&self.signer)));
        let mut config = self.template.clone();
        config.cert_resolver = Arc::new(Always(Arc::clone(&leaf)));
        Ok(Minted {
            leaf,
            config: Arc::new(config),
            renewed: now.plus(lifetime * 2 / 3),
        })
    }

    fn leaf(
        &self,
        host: &str,
        from: Duration,
        until: Duration,
    ) -> Result<CertificateDer<'static>, TlsError> {
        let failed = |source| TlsError::Leaf {
            host: host.to_owned(),
            source,
        };
        let mut params = CertificateParams::default();
        let name = DnsName::try_from(host).map_err(|_| TlsError::NoName {
            host: host.to_owned(),
        })?;
        let name = name.as_ref().to_owned();
        let mut subject = DistinguishedName::new();
        if name.len() <= LONGEST_COMMON_NAME {
            subject.push(DnType::CommonName, name.clone());
        }
        params.distinguished_name = subject;
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().map_err(failed)?)];
        params.serial_number = Some(serial()?);
        params.not_before = instant(from)?;
        params.not_after = instant(until)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&self.key, &self.issuer).map_err(failed)?;
        Ok(leaf.into())
    }

    /// Names of authorities that rcgen cannot repeat to the byte would make leaves that nobody can
    /// trace to them (RFC 5280 section 7.1).
    fn prove(&self, authority: &X509Certificate<'_>) -> Result<(), TlsError> {
        let leaf = self.leaf("proof.invalid", Duration::ZERO, self.end)?;
        let same = X509Certificate::from_der(&leaf)
            .is_ok_and(|(_, leaf)| leaf.issuer().as_raw() == authority.subject().as_raw());
        if same {
            return Ok(());
        }
        Err(TlsError::AuthorityName {
            path: self.interception.authority.certificate.clone(),
        })
    }
}

/// What all leaves are served with. A ticket names its host, and is good for no other.
fn template() -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Nobody));
    config.ticketer = Ticketer::new().map_err(TlsError::Tickets)?;
    // sessions are kept by the callers
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct ByName(Mint);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = hello.server_name()?.to_ascii_lowercase();
        match self.0.0.get(&host) {
            Ok(minted) => Some(minted.leaf),
            Err(error) => {
                tracing::debug!(
                    host,
                    error = &error as &dyn std::error::Error,
                    "no certificate for this name"
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
