//! The way to a server, step by step, without a request: its addresses, a connection, and what it
//! shows in the handshake. For whoever must find out at which of them it ends.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::Uri;
use rustls_pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{ClientError, Target, dialled};
use crate::{
    config::ClientTls,
    net::{dial, names::Names},
    tls::witness::{Refused, Shown, Witness},
};

/// How far it went.
#[derive(Debug, Default)]
pub struct Way {
    /// Empty where they are not known.
    pub addresses: Vec<SocketAddr>,
    /// The address that answered.
    pub connected: Option<SocketAddr>,
    /// What the server showed, its own certificate first; empty without TLS.
    pub chain: Vec<Shown>,
    /// What both sides agreed on.
    pub tls: Option<&'static str>,
    /// Where it ended.
    pub ended: Option<Ended>,
}

/// Why it went no further.
#[derive(Debug)]
pub struct Ended {
    pub error: ClientError,
    /// Where it was for the server's certificate.
    pub refused: Option<Refused>,
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Self {
        let refused = match &error {
            ClientError::Tls { source, .. } => Refused::of(source),
            _ => None,
        };
        Self { error, refused }
    }
}

/// Goes as far as it leads; `limit` bounds names, TCP and TLS together.
pub async fn reach(uri: &Uri, tls: &ClientTls, alpn: &[&[u8]], limit: Duration) -> Way {
    let mut way = Way::default();
    let target = match Target::of(uri) {
        Ok(target) => target,
        Err(error) => {
            way.ended = Some(error.into());
            return way;
        }
    };
    let gone = timeout(limit, go(&target, tls, alpn, &mut way)).await;
    way.ended = match gone {
        Ok(gone) => gone.err().map(Ended::from),
        Err(_) => Some(Ended::from(ClientError::ConnectTimeout {
            host: target.host,
            after: limit,
        })),
    };
    way
}

async fn go(
    target: &Target,
    tls: &ClientTls,
    alpn: &[&[u8]],
    way: &mut Way,
) -> Result<(), ClientError> {
    let host = || target.host.clone();
    let names = Names::new(&tls.addresses, &tls.name_servers);
    let dns = |source| ClientError::Dns {
        host: host(),
        source,
    };
    let found = names.addresses(&target.host, target.port).await;
    way.addresses = found.map_err(dns)?;
    if way.addresses.is_empty() {
        return Err(dns(io::ErrorKind::NotFound.into()));
    }
    let tcp = dial::tcp(&target.host, target.port, &names)
        .await
        .map_err(|error| dialled(error, &target.host))?;
    way.connected = tcp.peer_addr().ok();
    if !target.https {
        return Ok(());
    }
    let (config, witness) = Witness::of(tls, alpn).map_err(ClientError::Settings)?;
    let failed = |source| ClientError::Tls {
        host: host(),
        source,
    };
    let name = tls.server_name.as_ref().unwrap_or(&target.host);
    let name = ServerName::try_from(name.clone()).map_err(|e| failed(io::Error::other(e)))?;
    let shaken = TlsConnector::from(Arc::clone(&config))
        .connect(name, tcp)
        .await;
    way.chain = witness.chain();
    let stream = shaken.map_err(failed)?;
    way.tls = Some(match stream.get_ref().1.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS 1.3",
    });
    Ok(())
}
