//! Certificates made while somebody waits: for each host of the interception, by its authority.
//!
//! A leaf is for exactly one host, short-lived, and never outlives the authority. All leaves of a
//! process have one key, which is made at the start and never leaves memory: a key for each would
//! protect nothing, because whoever could read one could read the authority's, and would cost
//! memory for every host. Leaves are kept, at most [`KEPT`] of them, and a new one is made before
//! one ends. It makes none for a host that the configuration does not open.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use moka::notification::RemovalCause;
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
    identity, provider, server,
};
use crate::{
    clock::{Clock, Deadline, Moment},
    config::{Identity, Interception},
    metrics::SharedCache,
    rotation::{Content, EVERY, Look, content},
};

/// Hosts whose leaf is kept. Wildcards let callers name any number; what is asked for often stays.
const KEPT: u64 = 1024;

/// A caller's clock may be behind ours by as much.
pub(super) const BACKDATED: Duration = Duration::from_secs(5 * 60);

/// `ub-common-name` of RFC 5280 appendix A.1: a longer name stands in the alternative names only.
const LONGEST_COMMON_NAME: usize = 64;

/// Makes certificates and keeps them. Cheap to clone; clones share.
#[derive(Clone)]
pub struct Mint(Arc<Shared>);

struct Shared {
    interception: Interception,
    press: ArcSwap<Press>,
    clock: Clock,
    counts: SharedCache,
}

/// One authority, and what was made by it.
struct Press {
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
}

#[derive(Clone)]
struct Minted {
    config: Arc<ServerConfig>,
    /// When the leaf begins to hold, since 1970.
    from: Duration,
    /// From then on a new one is made.
    renewed: Deadline,
}

impl Minted {
    /// A clock that was ahead, and was put right, leaves leaves that do not hold yet.
    fn serves(&self, now: Moment) -> bool {
        self.from <= now.wall && !self.renewed.passed(now)
    }
}

/// Reads the authority, and returns the task that keeps to it: when the files change, what is made
/// from then on is made by what they hold then.
///
/// # Errors
/// As [`Mint::load`].
pub fn follow(
    interception: &Interception,
    clock: Clock,
    counts: &SharedCache,
) -> Result<(Mint, impl Future<Output = ()> + Send + 'static), TlsError> {
    let mut look = Look::new(held(&interception.authority));
    let mint = Mint::counting(interception, clock, counts.clone())?;
    counts.held_by(&mint.0, |shared| {
        let press = shared.press.load();
        press.kept.run_pending_tasks();
        press.kept.entry_count()
    });
    let followed = mint.clone();
    let task = async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let Shared {
                interception,
                counts,
                ..
            } = &*followed.0;
            // whoever follows all files of the configuration tells what comes of it
            let _ = look.at(held(&interception.authority), || {
                let press = Press::load(interception, counts)?;
                followed.0.press.store(Arc::new(press));
                Ok::<_, TlsError>(())
            });
        }
    };
    Ok((mint, task))
}

fn held(authority: &Identity) -> Content {
    content([&*authority.certificate, &*authority.key])
}

impl Mint {
    /// Reads the authority, makes the key of the leaves, and proves with one leaf that it works.
    ///
    /// # Errors
    /// When a file cannot be read, or when the authority cannot sign.
    pub fn load(interception: &Interception, clock: Clock) -> Result<Self, TlsError> {
        Self::counting(interception, clock, SharedCache::default())
    }

    fn counting(
        interception: &Interception,
        clock: Clock,
        counts: SharedCache,
    ) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(Shared {
            interception: interception.clone(),
            press: ArcSwap::from_pointee(Press::load(interception, &counts)?),
            clock,
            counts,
        })))
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
        self.get(host).map(|minted| minted.config)
    }

    /// Two who ask for a new host at once may both make a leaf: that costs less than waiting.
    fn get(&self, host: &str) -> Result<Minted, TlsError> {
        let Shared {
            interception,
            press,
            clock,
            counts,
        } = &*self.0;
        let (press, now) = (press.load(), clock.now());
        let kept = press.kept.get(host).filter(|minted| minted.serves(now));
        counts.looked(&kept);
        if let Some(minted) = kept {
            return Ok(minted);
        }
        if !interception.opens(host) {
            let host = host.to_owned();
            return Err(TlsError::NotOpened { host });
        }
        let minted = press.mint(host, interception, now)?;
        press.kept.insert(host.into(), minted.clone());
        Ok(minted)
    }
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mint")
            .field("interception", &self.0.interception)
            .finish_non_exhaustive()
    }
}

impl Press {
    fn load(interception: &Interception, counts: &SharedCache) -> Result<Self, TlsError> {
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
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(unusable)?;
        let pkcs8 = PrivatePkcs8KeyDer::from(key.serialized_der());
        let signer =
            any_ecdsa_type(&pkcs8.clone_key().into()).map_err(|source| TlsError::Identity {
                path: path.clone(),
                source,
            })?;
        let evicted = counts.clone();
        let press = Self {
            issuer,
            end: Duration::from_secs(u64::try_from(end).unwrap_or(0)),
            key,
            signer,
            template: template()?,
            kept: moka::sync::Cache::builder()
                .max_capacity(KEPT)
                .eviction_listener(move |_, _, cause| {
                    if cause == RemovalCause::Size {
                        evicted.evicted();
                    }
                })
                .build(),
            chain: chain.clone(),
        };
        press.prove(path, &parsed)?;
        Ok(press)
    }

    fn mint(
        &self,
        host: &str,
        interception: &Interception,
        now: Moment,
    ) -> Result<Minted, TlsError> {
        let until = self
            .end
            .min(now.wall.saturating_add(interception.leaf_lifetime));
        let lifetime = until.saturating_sub(now.wall);
        if lifetime.is_zero() {
            let path = interception.authority.certificate.clone();
            return Err(TlsError::AuthorityEnded { path });
        }
        let from = now.wall.saturating_sub(BACKDATED);
        let leaf = self.leaf(host, from, until)?;
        let chain = std::iter::once(leaf)
            .chain(self.chain.iter().cloned())
            .collect();
        let leaf = Arc::new(CertifiedKey::new(chain, Arc::clone(&self.signer)));
        let mut config = self.template.clone();
        config.cert_resolver = Arc::new(Always(leaf));
        Ok(Minted {
            config: Arc::new(config),
            from,
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
    fn prove(&self, path: &Path, authority: &X509Certificate<'_>) -> Result<(), TlsError> {
        let leaf = self.leaf("proof.invalid", Duration::ZERO, self.end)?;
        let same = X509Certificate::from_der(&leaf)
            .is_ok_and(|(_, leaf)| leaf.issuer().as_raw() == authority.subject().as_raw());
        if same {
            return Ok(());
        }
        Err(TlsError::AuthorityName { path: path.into() })
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
    config.alpn_protocols = server::protocols();
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

#[cfg(test)]
mod tests;
