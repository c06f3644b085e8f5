//! A server's certificate of our own making, of an authority that is made for it alone.
//!
//! The authority's key is gone when the certificate is signed: it is in no file, no object and no
//! memory, so that nobody can sign another with it. Whoever trusts the authority trusts this one
//! certificate, for these names.

use std::{sync::Arc, time::Duration};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::{
    RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    TlsError,
    authority::{Authority, instant, serial},
    mint::BACKDATED,
    provider,
    server::protocols,
};
use crate::{clock::Moment, secret::Secret};

/// A certificate, its key, and the authority to trust; all PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    pub certificate: String,
    pub key: Secret,
    pub authority: String,
}

impl Issued {
    /// Makes one for `hosts`, good for `lifetime` from `now` on.
    ///
    /// # Errors
    /// When a host is no DNS name, or the end is beyond what a certificate can say.
    pub fn new(hosts: &[String], now: Moment, lifetime: Duration) -> Result<Self, TlsError> {
        let authority = Authority::new(hosts, now, lifetime)?;
        let made = TlsError::NewAuthority;
        let signer = KeyPair::from_pem(authority.key.expose()).map_err(made)?;
        let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signer).map_err(made)?;
        let mut params = CertificateParams::default();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, "itwin-auth-proxy");
        params.distinguished_name = subject;
        for host in hosts {
            let name = host.clone().try_into().map_err(made)?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.serial_number = Some(serial()?);
        params.not_before = instant(now.wall.saturating_sub(BACKDATED))?;
        params.not_after = instant(now.wall.saturating_add(lifetime))?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(made)?;
        let leaf = params.signed_by(&key, &issuer).map_err(made)?;
        Ok(Self {
            certificate: leaf.pem(),
            key: Secret::new(key.serialize_pem()),
            authority: authority.certificate,
        })
    }

    /// What it is served with; `None`: certificate and key cannot be used, or not together.
    pub fn server_config(&self) -> Option<Arc<ServerConfig>> {
        let chain = chain(&self.certificate);
        let key = PrivateKeyDer::from_pem_slice(self.key.expose().as_bytes()).ok()?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .ok()?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .ok()?;
        config.alpn_protocols = protocols();
        Some(Arc::new(config))
    }

    /// Whether who trusts `authorities` (PEM) accepts it `now` as that of each of these names.
    pub fn is_accepted(&self, hosts: &[String], authorities: &[String], now: Moment) -> bool {
        let chain = chain(&self.certificate);
        let Some((leaf, others)) = chain.split_first() else {
            return false;
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().flat_map(|text| self::chain(text)));
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let Ok(verifier) = verifier.build() else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(now.wall);
        hosts.iter().all(|host| {
            let name = ServerName::try_from(host.as_str());
            name.is_ok_and(|name| {
                verifier
                    .verify_server_cert(leaf, others, &name, &[], now)
                    .is_ok()
            })
        })
    }
}

/// When a certificate ends, since 1970: the first of a PEM text.
pub fn end(certificate: &str) -> Option<Duration> {
    let chain = chain(certificate);
    let (_, parsed) = X509Certificate::from_der(chain.first()?).ok()?;
    let end = parsed.validity().not_after.timestamp();
    u64::try_from(end).ok().map(Duration::from_secs)
}

fn chain(certificates: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(certificates.as_bytes())
        .filter_map(Result::ok)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn it_serves_its_names_until_its_end() {
        let now = Clock::system().now();
        let hosts = ["injector.itwin.svc".to_owned(), "injector.itwin".to_owned()];
        let issued = Issued::new(&hosts, now, Duration::from_secs(3600)).unwrap();
        assert!(issued.server_config().is_some());
        let authorities = [issued.authority.clone()];
        assert!(issued.is_accepted(&hosts, &authorities, now));
        let other = ["other.itwin.svc".to_owned()];
        assert!(!issued.is_accepted(&other, &authorities, now), "names");
        assert!(!issued.is_accepted(&hosts, &[], now), "nobody is trusted");
        for seconds in [-7200, 7200] {
            let clock = Clock::for_tests(now.wall);
            clock.jump(seconds * 1000);
            let then = clock.now();
            assert!(!issued.is_accepted(&hosts, &authorities, then), "{seconds}");
        }
        assert_eq!(
            end(&issued.certificate).unwrap().as_secs(),
            now.wall.as_secs() + 3600
        );
        let other = Issued::new(&hosts, now, Duration::from_secs(3600)).unwrap();
        assert!(
            !issued.is_accepted(&hosts, std::slice::from_ref(&other.authority), now),
            "of another authority"
        );
        let mixed = Issued {
            key: other.key,
            ..issued
        };
        assert!(
            mixed.server_config().is_none(),
            "a key of another certificate"
        );
    }
}
