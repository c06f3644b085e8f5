//! The rules for `nf_tables`: one table, replaced as a whole in one transaction.
//!
//! A chain is made once and told twice: as the script that `nft` reads (`text`), which is what is
//! shown, and as what the kernel is sent (`wire`), so that no program is needed. The kernel lists
//! the same for both. There are no sets in it: a line for each port, user and network is as good
//! for what is looked at once per connection, and has no order or overlap to get wrong.

mod expression;
mod text;
mod wire;

use ipnet::IpNet;

use super::{
    rules::{Ipv6, MARK, Rules, Traffic, Way},
    step::{Command, Removal, Step},
};

const TABLE: &str = "itwin_auth_proxy";

/// The one chain of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chain {
    hook: Hook,
    lines: Vec<Line>,
}

/// Where connections come by. Before what containers' networks translate: the destination is still
/// the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    Output,
    Translated,
    Intercepted,
}

/// What is done with a connection that all of it is true of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    matches: Vec<Match>,
    then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    /// Stays within this machine.
    Loopback,
    /// Made by this user.
    User(u32),
    /// To an address of this machine.
    Local,
    Ipv6,
    /// To an address in this network.
    To(IpNet),
    /// To this port, over TCP.
    Port(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Left alone.
    Return,
    Redirect(u16),
    /// To this port, with the packet mark.
    Tproxy(u16, u32),
}

pub(super) fn apply(rules: &Rules) -> Step {
    let chain = Chain::of(rules);
    let script = text::cleared() + &chain.to_string();
    Step::Run(
        Command::new("nft", "-f -")
            .reading(script)
            .asking(wire::replace(&chain)),
    )
}

pub(super) fn remove() -> Step {
    let command = Command::new("nft", "-f -").reading(text::cleared());
    Step::Run(command.asking(wire::clear()))
}

pub(super) fn removal() -> Removal {
    let list = Command::new("nft", &format!("list table inet {TABLE}"));
    Removal {
        found: list.asking(wire::look()),
        steps: vec![remove()],
    }
}

impl Chain {
    fn of(rules: &Rules) -> Self {
        let hook = match rules.traffic {
            Traffic::AllBut(_) | Traffic::Only(_) => Hook::Output,
            Traffic::Passing(Way::Nat) => Hook::Translated,
            Traffic::Passing(Way::Tproxy) => Hook::Intercepted,
        };
        let mut lines = vec![Line::leaving(match hook {
            Hook::Output => Match::Loopback,
            Hook::Translated | Hook::Intercepted => Match::Local,
        })];
        if let Traffic::AllBut(uids) = &rules.traffic {
            lines.extend(uids.iter().map(|uid| Line::leaving(Match::User(*uid))));
        }
        if rules.ipv6 == Ipv6::LeftAlone {
            lines.push(Line::leaving(Match::Ipv6));
        }
        for family in rules.families() {
            let except = rules.except(*family).into_iter();
            lines.extend(except.map(|network| Line::leaving(Match::To(network))));
        }
        let then = match hook {
            Hook::Output | Hook::Translated => Then::Redirect(rules.to),
            Hook::Intercepted => Then::Tproxy(rules.to, MARK),
        };
        let of: Vec<Vec<Match>> = match &rules.traffic {
            Traffic::Only(uids) => uids.iter().map(|uid| vec![Match::User(*uid)]).collect(),
            Traffic::AllBut(_) | Traffic::Passing(_) => vec![Vec::new()],
        };
        for of in &of {
            let line = |port: &u16| Line {
                matches: [&of[..], &[Match::Port(*port)]].concat(),
                then,
            };
            lines.extend(rules.ports.iter().map(line));
        }
        Self { hook, lines }
    }
}

impl Line {
    fn leaving(what: Match) -> Self {
        Self {
            matches: vec![what],
            then: Then::Return,
        }
    }
}

impl Hook {
    fn name(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Translated | Self::Intercepted => "prerouting",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Output | Self::Translated => "nat",
            Self::Intercepted => "filter",
        }
    }

    fn priority(self) -> i32 {
        match self {
            Self::Output | Self::Translated => -120,
            Self::Intercepted => -150,
        }
    }
}
