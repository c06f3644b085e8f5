//! Finding the addresses of a host: by the system, or by name servers of one's own.
//!
//! Where the system's resolver leads back to us (`hostAliases`, `/etc/hosts`), the real upstream is
//! found by asking configured servers instead. Those answers are cached for as long as they say.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hickory_resolver::{
    Resolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use tokio::{net::lookup_host, sync::OnceCell};

use super::{destination::Destinations, ours::Ours};

/// How an upstream's addresses are found. Belongs to one thread: a resolver's tasks do.
#[derive(Debug)]
pub struct Names {
    source: Source,
    /// `None`: wherever the configuration says.
    within: Option<Arc<Destinations>>,
    /// What is none of the host's addresses, whoever says so.
    ours: Arc<Ours>,
}

#[derive(Debug)]
enum Source {
    Pinned(Vec<SocketAddr>),
    System,
    Servers {
        servers: Vec<SocketAddr>,
        resolver: OnceCell<Box<Resolver<TokioRuntimeProvider>>>,
    },
}

impl Names {
    /// `pinned` addresses beat `servers`; with neither the system is asked.
    pub fn new(pinned: &[SocketAddr], servers: &[SocketAddr]) -> Self {
        let source = match (pinned, servers) {
            ([], []) => Source::System,
            ([], servers) => Source::Servers {
                servers: servers.to_vec(),
                resolver: OnceCell::new(),
            },
            (pinned, _) => Source::Pinned(pinned.to_vec()),
        };
        Self {
            source,
            within: None,
            ours: Arc::default(),
        }
    }

    /// The same, but never at an address that we accept at.
    #[must_use]
    pub fn but_not(mut self, ours: Arc<Ours>) -> Self {
        self.ours = ours;
        self
    }

    pub(super) fn ours(&self) -> &Ours {
        &self.ours
    }

    /// Of hosts that callers chose: only these addresses are used.
    #[must_use]
    pub fn within(self, destinations: Arc<Destinations>) -> Self {
        Self {
            within: Some(destinations),
            ..self
        }
    }

    /// What the host's addresses must lie in, if anything.
    pub(super) fn destinations(&self) -> Option<&Destinations> {
        self.within.as_deref()
    }

    /// The host's addresses with `port`, which pinned ones bring themselves. May be none.
    ///
    /// # Errors
    /// When no server answers, or the name does not exist.
    pub async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match &self.source {
            Source::Pinned(addresses) => Ok(addresses.clone()),
            Source::System => Ok(lookup_host((host, port)).await?.collect()),
            Source::Servers { servers, resolver } => {
                if let Ok(address) = host.parse::<IpAddr>() {
                    return Ok(vec![SocketAddr::new(address, port)]);
                }
                let make = || async { make(servers).map(Box::new) };
                let resolver = resolver.get_or_try_init(make).await?;
                // a final dot: the name as it is, without search domains
                let name = format!("{}.", host.trim_end_matches('.'));
                let found = resolver.lookup_ip(name).await.map_err(io::Error::other)?;
                Ok(found.iter().map(|ip| SocketAddr::new(ip, port)).collect())
            }
        }
    }
}

fn make(servers: &[SocketAddr]) -> io::Result<Resolver<TokioRuntimeProvider>> {
    let mut config = ResolverConfig::default();
    for server in servers {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
            .into_iter()
            .map(|mut connection| {
                connection.port = server.port();
                connection
            });
        config.add_name_server(NameServerConfig::new(
            server.ip(),
            true,
            connections.collect(),
        ));
    }
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    // the hosts file is what is to be got around
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    builder.build().map_err(io::Error::other)
}
