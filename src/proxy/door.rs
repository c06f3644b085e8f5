//! Who may go through a listener to hosts that are not ours, and to which.
//!
//! Routes decide about requests; this decides about all else that a forward or transparent listener
//! is asked for, and whether a caller may ask at all. What lies behind a host's name is checked
//! when it is connected to ([`Destinations`]).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::HeaderMap;
use tokio::sync::Semaphore;

use super::{
    admit::{Key, Rule},
    failure::Unpassed,
    pac,
};
use crate::{
    caller::{Caller, Guest, Vouched},
    config::{Admit, Config, Listener, Passage},
    net::{Conn, Peer, Reach, destination::Destinations, names::Names},
    verify::KeyService,
};

/// Names of callers' hosts that are looked up at once, over all threads.
const LOOKUPS: usize = 32;

/// A listener's passage, prepared.
#[derive(Debug)]
pub struct Door {
    admits: Admits,
    listener: Arc<Listener>,
    destinations: Arc<Destinations>,
    name_servers: Vec<SocketAddr>,
    lookups: Arc<Semaphore>,
    pub(super) pac: pac::File,
}

#[derive(Debug)]
enum Admits {
    Local,
    Anyone,
    Rules(Vec<Rule>),
}

impl Door {
    /// Of a listener that has one.
    pub(super) fn new(
        listener: &Arc<Listener>,
        config: &Config,
        keys: &KeyService,
    ) -> Option<Self> {
        let passage = listener.passage.as_ref()?;
        let admits = match &passage.admit {
            Admit::Local => Admits::Local,
            Admit::Anyone => Admits::Anyone,
            Admit::Rules(rules) => {
                let rules = rules.iter().filter_map(|rule| Rule::new(rule, keys));
                Admits::Rules(rules.collect())
            }
        };
        let destinations = Destinations::public_and(passage.networks.clone());
        Some(Self {
            admits,
            listener: Arc::clone(listener),
            destinations: Arc::new(destinations),
            name_servers: passage.name_servers.clone(),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            pac: pac::File::new(passage, &config.routes),
        })
    }

    fn passage(&self) -> Option<&Passage> {
        self.listener.passage.as_ref()
    }

    /// As whom the caller may come in.
    ///
    /// # Errors
    /// When it may not.
    pub fn admit(&self, headers: &HeaderMap, conn: &Conn) -> Result<Guest, Unpassed> {
        let here = conn.local == Reach::ThisMachine;
        let caller = match (&self.admits, conn.peer) {
            (Admits::Rules(rules), _) => rules.iter().find_map(|rule| rule.admits(headers, conn)),
            (Admits::Local | Admits::Anyone, _) if here => Some(Caller::Local),
            (Admits::Anyone, Peer::Tcp(peer)) => {
                return Ok(Guest {
                    caller: Caller::Network(peer.ip().to_canonical()),
                    vouched: Vouched::No,
                });
            }
            (Admits::Local | Admits::Anyone, _) => None,
        };
        let known = |caller| Guest {
            caller,
            vouched: Vouched::Yes,
        };
        caller.map(known).ok_or_else(|| {
            if self.keys().next().is_some() {
                Unpassed::Unauthenticated
            } else {
                Unpassed::NotAdmitted
            }
        })
    }

    /// Whether a host that no route names is reached.
    ///
    /// # Errors
    /// When it is not.
    pub fn passes(&self, host: &str, port: u16) -> Result<(), Unpassed> {
        self.passes_host(host)?;
        if !self.looks_into(port) {
            return Err(Unpassed::Port(port));
        }
        Ok(())
    }

    /// Whether a host that no route names is reached, where no port makes a difference.
    ///
    /// # Errors
    /// When it is not.
    pub fn passes_host(&self, host: &str) -> Result<(), Unpassed> {
        if self.passage().is_some_and(|passage| passage.names(host)) {
            Ok(())
        } else {
            Err(Unpassed::Host(host.to_owned()))
        }
    }

    /// Whether a connection of others is passed on to this address.
    pub fn passes_on(&self, address: IpAddr) -> bool {
        self.destinations.passes_on(address)
    }

    /// How the addresses of hosts are found that callers chose.
    pub(super) fn names(&self) -> Names {
        let (destinations, lookups) = (Arc::clone(&self.destinations), Arc::clone(&self.lookups));
        Names::new(&[], &self.name_servers).within(destinations, lookups)
    }

    /// Whether what goes to this port is looked into.
    pub fn looks_into(&self, port: u16) -> bool {
        self.passage()
            .is_some_and(|passage| passage.ports.contains(&port))
    }

    /// Passwords whose files are read again now and then.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        let rules = match &self.admits {
            Admits::Rules(rules) => rules.as_slice(),
            Admits::Local | Admits::Anyone => &[],
        };
        rules.iter().filter_map(Rule::key)
    }
}
