//! Asking a running proxy through its admin listener: what `probe`, `wait`, `drain` and `quit` share.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode, header};

use super::{Configuration, Exit, complain, output};
use crate::{
    config::{self, ClientTls, SecretSource},
    http::client::HttpClient,
};

/// Which proxy.
#[derive(Debug, Args)]
pub(super) struct Whom {
    #[command(flatten)]
    configuration: Configuration,
    /// The admin listener's address [default: as configured].
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

/// A proxy that can be asked.
pub(super) struct Asked {
    pub(super) address: SocketAddr,
    key: Option<SecretSource>,
}

impl Whom {
    pub(super) fn find(&self) -> Result<Asked, Exit> {
        if let Some(address) = self.admin {
            let address = reachable(address);
            return Ok(Asked { address, key: None });
        }
        match config::load(self.configuration.sources()) {
            Ok(loaded) => {
                let Some(address) = loaded.config.admin else {
                    complain("error: the admin listener is switched off");
                    return Err(Exit::Config);
                };
                Ok(Asked {
                    address: reachable(address),
                    key: loaded.config.admin_key,
                })
            }
            // the proxy itself tells what is wrong; a probe is asked every few seconds
            Err(problems) => {
                complain(format!(
                    "error: the configuration has {} problems; itwin-auth-proxy check shows them",
                    problems.errors()
                ));
                Err(Exit::Config)
            }
        }
    }
}

impl Asked {
    /// Sends a request without a body; the answer's status and text.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        limit: Duration,
    ) -> Result<(StatusCode, String), String> {
        let client =
            HttpClient::new(&ClientTls::default(), limit, limit).map_err(|e| output::chain(&e))?;
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("http://{}{path}", self.address));
        if let (Some(key), Method::POST) = (&self.key, method) {
            let key = key.read().map_err(|error| error.to_string())?;
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.expose()));
        }
        let request = request.body(Bytes::new()).map_err(|e| e.to_string())?;
        let answer = client.send(request).await.map_err(|e| output::chain(&e))?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        Ok((answer.status(), text))
    }
}

/// An address that can be connected to: listening on all addresses includes loopback.
fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, admin.port())
}
