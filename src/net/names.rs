//! Finding the addresses of a host: by the system, or by name servers of one's own.
//!
//! Where the system's resolver leads back to us (`hostAliases`, `/etc/hosts`), the real upstream is
//! found by asking configured servers instead. Those answers are cached for as long as they say.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use hickory_resolver::{
    Resolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use tokio::{
    net::lookup_host,
    sync::{OnceCell, Semaphore},
};

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
    /// The system, but not for many at once.
    Sparing(Arc<Semaphore>),
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

    /// Of hosts that callers chose: only these addresses are used, and only as many names are
    /// looked up at once as `lookups` allow. The system's resolver blocks a thread for each, and
    /// others need those threads, too.
    #[must_use]
    pub fn within(mut self, destinations: Arc<Destinations>, lookups: Arc<Semaphore>) -> Self {
        if matches!(self.source, Source::System) {
            self.source = Source::Sparing(lookups);
        }
        self.within = Some(destinations);
        self
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
            Source::Sparing(lookups) => {
                if let Ok(address) = host.parse::<IpAddr>() {
                    return Ok(vec![SocketAddr::new(address, port)]);
                }
                let permit = Arc::clone(lookups).acquire_owned().await;
                let permit = permit.map_err(io::Error::other)?;
                let host = host.to_owned();
                // who gave up waiting leaves the thread to its question, and the permit with it
                let found = tokio::task::spawn_blocking(move || {
                    let found = (host.as_str(), port).to_socket_addrs();
                    drop(permit);
                    Ok(found?.collect())
                });
                found.await.map_err(io::Error::other)?
            }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn callers_names_wait_for_each_other_and_addresses_for_none() {
        let lookups = Arc::new(Semaphore::new(0));
        let names = Names::new(&[], &[]).within(Arc::default(), Arc::clone(&lookups));
        let address = names.addresses("192.0.2.1", 80).await.unwrap();
        assert_eq!(address, ["192.0.2.1:80".parse().unwrap()]);
        let asked = timeout(Duration::from_secs(60), names.addresses("localhost", 80));
        asked.await.unwrap_err();
        lookups.add_permits(1);
        for _ in 0..2 {
            let found = names.addresses("localhost", 80).await.unwrap();
            assert!(found.iter().all(|one| one.ip().is_loopback()), "{found:?}");
        }
    }
}
