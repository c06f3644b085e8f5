//! Which connections the kernel is to turn to the proxy, and the commands that tell it so.
//!
//! Pure: what is printed is what is run. All of it is in a table, or chains, of our own: applying
//! replaces, removing leaves nothing, and rules of others are not touched.

use std::{collections::BTreeSet, fmt::Display};

use clap::ValueEnum;
use ipnet::IpNet;

use super::{
    iptables, nft, routes,
    step::{Removal, Step},
};

/// The packet mark, and the routing table, that bring TPROXY's packets to a socket here.
pub(super) const MARK: u32 = 15001;

/// What is redirected, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) traffic: Traffic,
    pub(super) ipv6: Ipv6,
    /// The listener's port.
    pub(super) to: u16,
    /// Ports of the destinations.
    pub(super) ports: BTreeSet<u16>,
    /// Destinations that are left alone.
    pub(super) except: Vec<IpNet>,
}

/// Whose connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Traffic {
    /// Of every process here but those of these users.
    AllBut(BTreeSet<u32>),
    /// Of these users' processes here.
    Only(BTreeSet<u32>),
    /// Of others, that pass through here.
    Passing(Way),
}

/// How the kernel hands them over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    /// Address translation (`REDIRECT`).
    Nat,
    /// TPROXY; the listener is configured with `redirected_by: tproxy`.
    Tproxy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ipv6 {
    Redirected,
    LeftAlone,
}

/// What writes the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Backend {
    /// This program itself, as nft would.
    Nft,
    /// As the system's alternatives say.
    Iptables,
    IptablesNft,
    IptablesLegacy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

pub(super) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Rules {
    /// What makes it so, and is none the worse for being done twice.
    pub(super) fn apply(&self, backend: Backend) -> Vec<Step> {
        let mut steps = match backend {
            Backend::Nft => vec![nft::apply(self)],
            _ => iptables::apply(self, backend),
        };
        if self.traffic == Traffic::Passing(Way::Tproxy) {
            steps.extend(
                self.families()
                    .iter()
                    .flat_map(|family| routes::make(*family)),
            );
        }
        steps
    }

    pub(super) fn families(&self) -> &'static [Family] {
        match self.ipv6 {
            Ipv6::Redirected => &FAMILIES,
            Ipv6::LeftAlone => &FAMILIES[..1],
        }
    }

    /// Destinations of a family that are left alone.
    pub(super) fn except(&self, family: Family) -> Vec<IpNet> {
        let all = self.except.iter().copied();
        all.filter(|network| family == Family::of(network))
            .collect()
    }
}

/// What takes back all that could have been applied. It is no failure that nothing was.
pub(super) fn remove(backend: Backend) -> Vec<Step> {
    let mut steps = match backend {
        Backend::Nft => vec![nft::remove()],
        _ => iptables::remove(backend),
    };
    steps.extend(unrouted());
    steps
}

/// What takes back what any program has applied.
pub(super) fn removals() -> Vec<Removal> {
    let iptables = [
        Backend::IptablesNft,
        Backend::IptablesLegacy,
        // where neither has a name of its own
        Backend::Iptables,
    ];
    let mut removals = vec![nft::removal()];
    removals.extend(iptables.into_iter().flat_map(iptables::removals));
    removals
}

/// What takes back TPROXY's routes.
pub(super) fn unrouted() -> Vec<Step> {
    let families = FAMILIES.iter();
    families
        .flat_map(|family| routes::unmake(*family))
        .collect()
}

impl Family {
    fn of(network: &IpNet) -> Self {
        match network {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }
}

pub(super) fn list<T: Display>(items: impl IntoIterator<Item = T>, between: &str) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(between)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli::redirect) fn rules(traffic: Traffic) -> Rules {
        Rules {
            traffic,
            ipv6: Ipv6::Redirected,
            to: 15001,
            ports: [80, 443].into(),
            except: Vec::new(),
        }
    }

    /// The text of a script, which is what a person sees.
    pub(in crate::cli::redirect) fn script(steps: &[Step]) -> String {
        list(steps, "\n") + "\n"
    }
}
