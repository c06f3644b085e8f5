//! `itwin-auth-proxy probe`: for containers whose image has no other program to ask with.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{Request, StatusCode};

use super::{Configuration, Exit, block_on, complain, output};
use crate::{
    config::{self, ClientTls},
    http::client::HttpClient,
};

/// Ask the running proxy's admin listener whether it is ready; exit code 0 if so, 1 if not.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    /// What to ask for.
    #[arg(value_enum, default_value_t = What::Ready)]
    what: What,
    /// The admin listener's address [default: as configured].
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Seconds to wait for the answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// It can serve calls.
    Ready,
    /// It works at all.
    Live,
    /// It has started.
    Startup,
}

impl What {
    fn path(self) -> &'static str {
        match self {
            Self::Ready => "/ready",
            Self::Live => "/live",
            Self::Startup => "/startup",
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let admin = match arguments.admin {
        Some(admin) => admin,
        None => match config::load(arguments.configuration.sources()) {
            Ok(loaded) => loaded.config.admin.ok_or_else(|| {
                complain("error: the admin listener is switched off");
                Exit::Config
            })?,
            // the proxy itself tells what is wrong; a probe is asked every few seconds
            Err(problems) => {
                complain(format!(
                    "error: the configuration has {} problems",
                    problems.errors()
                ));
                return Err(Exit::Config);
            }
        },
    };
    let asked = reachable(admin);
    match block_on(ask(
        asked,
        arguments.what,
        Duration::from_secs(arguments.timeout),
    ))? {
        Ok((StatusCode::OK, _)) => Ok(Exit::Ok),
        Ok((status, text)) => {
            complain(format!("{status} {}", text.trim_end()));
            Ok(Exit::No)
        }
        Err(reason) => {
            complain(format!("error: {asked} cannot be asked: {reason}"));
            Ok(Exit::No)
        }
    }
}

async fn ask(
    admin: SocketAddr,
    what: What,
    limit: Duration,
) -> Result<(StatusCode, String), String> {
    let client =
        HttpClient::new(&ClientTls::default(), limit, limit).map_err(|e| output::chain(&e))?;
    let request = Request::get(format!("http://{admin}{}", what.path()))
        .body(Bytes::new())
        .map_err(|e| e.to_string())?;
    let answer = client.send(request).await.map_err(|e| output::chain(&e))?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    Ok((answer.status(), text))
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
