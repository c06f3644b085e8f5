//! The authority of an interception: a new one, and what one that is there can do.
//!
//! A new one may sign for the named hosts and what is below them, for servers only, and no other
//! authority (name constraints, extended key usage and path length: RFC 5280 sections 4.2.1.10,
//! 4.2.1.12, 4.2.1.9), so that whoever trusts it trusts it for no more.

use std::{path::Path, time::Duration};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints,
    PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use time::OffsetDateTime;
use x509_parser::{
    extensions::GeneralName,
    prelude::{ASN1Time, FromDer, X509Certificate},
};

use super::{TlsError, certificates, mint::BACKDATED, server::thumbprint};
use crate::{clock::Moment, secret::Secret};

/// A certificate that signs others, and its key.
pub struct Authority {
    /// PEM.
    pub certificate: String,
    /// PEM, PKCS #8.
    pub key: Secret,
}

impl Authority {
    /// Makes one for `hosts` (lower case; `*.example.com` for all names below one) that is good
    /// for `lifetime` from `now` on.
    ///
    /// # Errors
    /// When a host is no DNS name, or the end is beyond what a certificate can say.
    pub fn new(hosts: &[String], now: Moment, lifetime: Duration) -> Result<Self, TlsError> {
        let serial = serial()?;
        let number = serial.to_bytes();
        let mark = number
            .iter()
            .take(4)
            .fold(0_u32, |mark, byte| mark << 8 | u32::from(*byte));
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, "itwin-auth-proxy");
        // no two have one name: stores tell authorities apart by it
        subject.push(DnType::CommonName, format!("itwin-auth-proxy {mark:08x}"));
        let mut params = CertificateParams::default();
        params.distinguished_name = subject;
        params.serial_number = Some(serial);
        params.not_before = instant(now.wall.saturating_sub(BACKDATED))?;
        params.not_after = instant(now.wall.saturating_add(lifetime))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: permitted(hosts)?,
            // addresses are names of another kind, which permitted DNS names do not restrict
            excluded_subtrees: vec![
                GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
                GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
            ],
        });
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(TlsError::NewAuthority)?;
        let certificate = params.self_signed(&key).map_err(TlsError::NewAuthority)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: Secret::new(key.serialize_pem()),
        })
    }
}

fn permitted(hosts: &[String]) -> Result<Vec<GeneralSubtree>, TlsError> {
    let mut names: Vec<&str> = hosts
        .iter()
        .map(|host| host.trim_start_matches("*."))
        .collect();
    names.sort_unstable();
    names.dedup();
    let subtree = |name: &str| {
        rustls_pki_types::DnsName::try_from(name).map_err(|_| TlsError::NoName {
            host: name.to_owned(),
        })?;
        Ok(GeneralSubtree::DnsName(name.to_owned()))
    };
    names.into_iter().map(subtree).collect()
}

/// Positive, 127 bits of it random (RFC 5280 section 4.1.2.2).
pub(super) fn serial() -> Result<SerialNumber, TlsError> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| TlsError::Random)?;
    bytes[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&bytes))
}

/// A point in time as certificates have it.
pub(super) fn instant(since_1970: Duration) -> Result<OffsetDateTime, TlsError> {
    let seconds = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| TlsError::NoSuchTime)
}

/// A certificate and all authorities of the system, for software that takes one file in place of the
/// system's. PEM.
pub fn bundle(certificate: &str) -> String {
    let mut bundle = certificate.to_owned();
    for der in rustls_native_certs::load_native_certs().certs {
        bundle.push_str(&pem(&der));
    }
    bundle
}

/// What a certificate says of itself, for people.
pub struct Described {
    pub subject: String,
    pub common_name: String,
    pub pem: String,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// Since 1970.
    pub from: Duration,
    pub until: Duration,
    /// Whether it may sign others.
    pub signs: bool,
    /// Whether what it signs is good for servers only.
    pub servers_only: bool,
    pub names: Names,
}

/// What an authority may sign for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    All,
    /// These, and what is below them.
    Below(Vec<String>),
}

impl Described {
    /// The first certificate of a PEM file.
    ///
    /// # Errors
    /// When there is none, or when it cannot be read.
    pub fn read(path: &Path) -> Result<Self, TlsError> {
        let chain = certificates(path)?;
        let nothing = || TlsError::NoCertificate { path: path.into() };
        let der = chain.first().ok_or_else(nothing)?;
        let (_, parsed) = X509Certificate::from_der(der).map_err(|_| nothing())?;
        let since_1970 =
            |at: ASN1Time| Duration::from_secs(u64::try_from(at.timestamp()).unwrap_or(0));
        let usage = parsed.key_usage().ok().flatten();
        let purposes = parsed.extended_key_usage().ok().flatten();
        let common_name = parsed.subject().iter_common_name().next();
        let common_name = common_name
            .and_then(|name| name.as_str().ok())
            .unwrap_or_default();
        Ok(Self {
            subject: parsed.subject().to_string(),
            common_name: common_name.to_owned(),
            pem: pem(der),
            fingerprint: thumbprint(der),
            from: since_1970(parsed.validity().not_before),
            until: since_1970(parsed.validity().not_after),
            signs: parsed.is_ca() && usage.is_none_or(|usage| usage.value.key_cert_sign()),
            servers_only: purposes.is_some_and(|purposes| {
                let it = purposes.value;
                it.server_auth
                    && !(it.any || it.client_auth || it.code_signing || it.email_protection)
            }),
            names: names(&parsed),
        })
    }
}

fn names(certificate: &X509Certificate<'_>) -> Names {
    let constraints = certificate.name_constraints().ok().flatten();
    let permitted = constraints.and_then(|it| it.value.permitted_subtrees.as_ref());
    let names: Vec<String> = permitted
        .into_iter()
        .flatten()
        .filter_map(|subtree| match subtree.base {
            GeneralName::DNSName(name) => Some(name.to_owned()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        Names::All
    } else {
        Names::Below(names)
    }
}

/// RFC 7468: 64 characters a line.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        out.extend(line.iter().map(|byte| char::from(*byte)));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}
