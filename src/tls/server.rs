//! TLS towards callers: what we show them, and which certificates of theirs we ask for.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{
        WebPkiSupportedAlgorithms, aws_lc_rs::Ticketer, verify_tls12_signature,
        verify_tls13_signature,
    },
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{TlsError, certificates, identity, provider};
use crate::config::{ClientCertificates, OwnCertificate};

/// Reads the files and builds a configuration that offers HTTP/2 and HTTP/1.1.
///
/// # Errors
/// When a file cannot be read, or when the key is not the certificate's.
pub fn server_config(tls: &OwnCertificate) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?;
    let builder = match verifier(&tls.clients)? {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let (chain, key) = identity(&tls.identity)?;
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|source| TlsError::Identity {
            path: tls.identity.certificate.clone(),
            source,
        })?;
    // sessions are kept by the callers, however many there are (RFC 8446 section 2.2), and end with
    // this configuration: one whose certificate or authority went must not go on
    config.ticketer = Ticketer::new().map_err(TlsError::Tickets)?;
    config.alpn_protocols = protocols();
    Ok(Arc::new(config))
}

/// What we speak to callers (RFC 7301). The last is a mistake for `http/1.1` of the package
/// `https-proxy-agent`, by which agents of all years reach a proxy with TLS: it offers nothing else,
/// and would have to be refused.
pub(super) fn protocols() -> Vec<Vec<u8>> {
    let names = [&b"h2"[..], b"http/1.1", b"http 1.1"];
    names.map(<[u8]>::to_vec).to_vec()
}

/// The names in a certificate that a handshake has checked: DNS, URI and email alternative names,
/// then the subject's common names. Empty when it cannot be parsed.
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative
        .iter()
        .flat_map(|names| &names.value.general_names);
    let mut all: Vec<String> = alternative
        .filter_map(|name| match name {
            GeneralName::DNSName(text) | GeneralName::URI(text) | GeneralName::RFC822Name(text) => {
                Some((*text).to_owned())
            }
            _ => None,
        })
        .collect();
    let common = certificate.subject().iter_common_name();
    all.extend(common.filter_map(|name| Some(name.as_str().ok()?.to_owned())));
    all
}

fn verifier(clients: &ClientCertificates) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let (ca, optional) = match clients {
        ClientCertificates::None => return Ok(None),
        ClientCertificates::Optional { ca } => (ca, true),
        ClientCertificates::Required { ca } => (ca, false),
        ClientCertificates::Any => {
            let algorithms = provider().signature_verification_algorithms;
            return Ok(Some(Arc::new(Any(algorithms))));
        }
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots
            .add(certificate)
            .map_err(|source| TlsError::Authority {
                path: ca.clone(),
                source,
            })?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = if optional {
        builder.allow_unauthenticated()
    } else {
        builder
    };
    builder
        .build()
        .map(Some)
        .map_err(|source| TlsError::ClientAuthority {
            path: ca.clone(),
            source,
        })
}

/// SHA-256 of a certificate (RFC 8705 section 3.1).
pub fn thumbprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let mut thumbprint = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    thumbprint.copy_from_slice(digest.as_ref());
    thumbprint
}

/// Takes any certificate whose key the caller proves to have, and none as well. What the
/// certificate says is nobody's word.
#[derive(Debug)]
struct Any(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for Any {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
