//! What a server shows in a handshake, kept whether it is trusted or not: who has to mend a refused
//! certificate must see it.
//!
//! It only looks on. The decision is rustls' own, made as without it: there is no way to trust by
//! this what would not be trusted otherwise.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{TlsError, client, provider, server};
use crate::config::ClientTls;

/// What the last handshake showed.
#[derive(Debug, Clone, Default)]
pub struct Witness(Arc<Mutex<Vec<CertificateDer<'static>>>>);

impl Witness {
    /// A configuration as [`client::make`] makes it, whose handshakes are looked at.
    ///
    /// # Errors
    /// As there.
    pub fn of(tls: &ClientTls, alpn: &[&[u8]]) -> Result<(Arc<ClientConfig>, Self), TlsError> {
        let seen = Self::default();
        let config = client::make(tls, alpn)?;
        let mut config = ClientConfig::clone(&config);
        let roots = Arc::new(client::roots(tls)?);
        let judge = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| TlsError::NoRoots(error.to_string()))?;
        let verifier = Arc::new(Beside {
            judge,
            seen: seen.clone(),
        });
        config.dangerous().set_certificate_verifier(verifier);
        Ok((Arc::new(config), seen))
    }

    /// The server's own first, then what it showed with it.
    pub fn chain(&self) -> Vec<Shown> {
        let seen = self.0.lock();
        seen.iter().filter_map(Shown::of).collect()
    }
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub subject: String,
    pub issuer: String,
    /// Alternative names, and common names.
    pub names: Vec<String>,
    /// Since 1970.
    pub from: Duration,
    pub until: Duration,
}

impl Shown {
    /// `None`: it cannot be read.
    pub fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        let since_1970 = |at: i64| Duration::from_secs(u64::try_from(at).unwrap_or(0));
        Some(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names: server::names(der),
            from: since_1970(validity.not_before.timestamp()),
            until: since_1970(validity.not_after.timestamp()),
        })
    }

    /// All of a PEM file, in its order.
    ///
    /// # Errors
    /// When there is none, or one cannot be read.
    pub fn read(path: &std::path::Path) -> Result<Vec<Self>, TlsError> {
        let all = super::certificates(path)?;
        Ok(all.iter().filter_map(Self::of).collect())
    }
}

#[derive(Debug)]
struct Beside {
    judge: Arc<WebPkiServerVerifier>,
    seen: Witness,
}

impl ServerCertVerifier for Beside {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = [end_entity].into_iter().chain(intermediates);
        *self.seen.0.lock() = shown.map(|one| one.clone().into_owned()).collect();
        self.judge
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

/// Why a server's certificate was refused, as far as it makes a difference to who has to mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// By whom it is signed is not known here.
    Stranger,
    /// It is for another name.
    Name,
    /// It has ended, or does not hold yet.
    Time,
    Other,
}

impl Refused {
    /// What the error of a handshake says of the server's certificate, if anything.
    pub fn of(error: &std::io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        let rustls::Error::InvalidCertificate(why) = error else {
            return None;
        };
        Some(match why {
            CertificateError::UnknownIssuer => Self::Stranger,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::Name
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Time,
            _ => Self::Other,
        })
    }
}
