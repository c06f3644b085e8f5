//! `itwin-auth-proxy redirect`: the kernel's rules for transparent listeners.
//!
//! They hold in the network namespace that the command runs in: the host's, a container's, a
//! pod's.

mod iptables;
mod netlink;
mod nft;
mod routes;
mod rules;
mod step;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use clap::{ArgGroup, Args};
use ipnet::IpNet;

use self::{
    rules::{Backend, Ipv6, Rules, Traffic, Way},
    step::{Removed, Step, StepError},
};
use super::{Exit, complain, output, say};

/// Redirect connections of software that knows of no proxy to a transparent listener (Linux).
///
/// Rules are made where this command runs: on a host, or inside of a container's or pod's network.
/// Applying them again replaces them at once, removing them leaves nothing.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
#[command(
    group = ArgGroup::new("what").args(["print", "apply", "remove"]).required(true).multiple(true),
    after_help = "\
Examples:
  itwin-auth-proxy redirect --print --uid 65532
  itwin-auth-proxy redirect --apply --uid itwin
  itwin-auth-proxy redirect --apply --only agent
  itwin-auth-proxy redirect --remove"
)]
pub(super) struct Arguments {
    /// Print the commands as a shell script; with --remove, those that remove.
    #[arg(long)]
    print: bool,
    /// Make the rules.
    #[arg(long, conflicts_with = "remove")]
    apply: bool,
    /// Remove them.
    #[arg(long)]
    remove: bool,
    /// What writes the rules: this program, as nft would, unless one of iptables' is named. Without
    /// it, --remove removes what any of them wrote.
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// The user that the proxy runs as, whose connections are not redirected: number or name.
    #[arg(long, value_name = "USER", value_delimiter = ',')]
    uid: Vec<String>,
    /// Redirect the connections of these users alone.
    #[arg(
        long,
        value_name = "USER",
        value_delimiter = ',',
        conflicts_with = "uid"
    )]
    only: Vec<String>,
    /// Redirect connections that pass through here, of containers or other machines, instead of
    /// those that are made here.
    #[arg(long, conflicts_with_all = ["uid", "only"])]
    inbound: bool,
    /// How the kernel hands connections over; tproxy is for --inbound.
    #[arg(long, value_enum, default_value_t = Way::Nat)]
    mode: Way,
    /// The port of the listener.
    #[arg(long, value_name = "PORT", default_value_t = 15001, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The ports of the destinations, with commas between them.
    #[arg(long, value_name = "PORTS", value_delimiter = ',', default_values_t = [80, 443], value_parser = destination_port)]
    ports: Vec<u16>,
    /// Destinations that are left alone.
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    except: Vec<IpNet>,
    /// Redirect connections over IPv6 too; this is the default.
    #[arg(long, overrides_with = "no_ipv6")]
    ipv6: bool,
    /// Leave connections over IPv6 alone.
    #[arg(long, overrides_with = "ipv6")]
    no_ipv6: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let steps = match arguments.backend {
        Some(backend) if arguments.remove => rules::remove(backend),
        None if arguments.remove => return remove_all(arguments),
        backend => arguments.rules()?.apply(backend.unwrap_or(Backend::Nft)),
    };
    if arguments.print {
        for step in &steps {
            say(step.to_string());
        }
        return Ok(Exit::Ok);
    }
    match steps.iter().try_for_each(Step::run) {
        Ok(()) => {
            if !arguments.remove {
                say(format!(
                    "connections now go to port {}; itwin-auth-proxy redirect --remove undoes it",
                    arguments.port
                ));
            }
            Ok(Exit::Ok)
        }
        Err(error) => Err(refused(&error, arguments)),
    }
}

fn destination_port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| "ports from 1 to 65535 are allowed, with commas between them".to_owned())
}

fn remove_all(arguments: &Arguments) -> Result<Exit, Exit> {
    let removals = rules::removals();
    if arguments.print {
        let removals = removals.iter().map(ToString::to_string);
        let steps = rules::unrouted();
        let lines = removals.chain(steps.iter().map(ToString::to_string));
        lines.for_each(say);
        return Ok(Exit::Ok);
    }
    let (mut missing, mut unknown, mut nothing) = (None, BTreeMap::new(), Vec::new());
    let mut removed = BTreeSet::new();
    for removal in &removals {
        let program = removal.program();
        match removal.run().map_err(|error| refused(&error, arguments))? {
            Removed::Rules => {
                removed.insert(program);
            }
            Removed::Nothing => nothing.push(program),
            Removed::Missing(error) => missing = missing.or(Some(error)),
            Removed::Unknown(error) => {
                unknown.entry(program).or_insert(error);
            }
        }
    }
    if removed.is_empty() && nothing.is_empty() {
        let error = unknown.into_values().next_back().or(missing);
        return error.map_or(Ok(Exit::Ok), |error| Err(refused(&error, arguments)));
    }
    for error in unknown.values() {
        let why = output::chain(error);
        complain(format!("warning: there may be further rules: {why}"));
    }
    for step in rules::unrouted() {
        step.run().map_err(|error| refused(&error, arguments))?;
    }
    for program in &removed {
        say(format!("removed what {program} wrote"));
    }
    if removed.is_empty() {
        say("there was nothing to remove");
    }
    Ok(Exit::Ok)
}

/// What is known of rules in the network that this process is in.
#[derive(Debug)]
pub(super) enum InPlace {
    /// As they were written by this.
    By(String),
    None,
    /// Why it cannot be seen.
    Unknown(String),
}

/// Looks for what any program has applied, and changes nothing.
pub(super) fn in_place() -> InPlace {
    let mut unknown = None;
    for removal in rules::removals() {
        match removal.look() {
            Removed::Rules => return InPlace::By(removal.program().to_owned()),
            Removed::Unknown(error) => unknown = unknown.or(Some(output::chain(&error))),
            Removed::Nothing | Removed::Missing(_) => {}
        }
    }
    unknown.map_or(InPlace::None, InPlace::Unknown)
}

impl Arguments {
    fn rules(&self) -> Result<Rules, Exit> {
        Ok(Rules {
            traffic: self.traffic()?,
            ipv6: if self.no_ipv6 {
                Ipv6::LeftAlone
            } else {
                Ipv6::Redirected
            },
            to: self.port,
            ports: self.ports.iter().copied().collect(),
            except: self.except.iter().map(IpNet::trunc).collect(),
        })
    }

    fn traffic(&self) -> Result<Traffic, Exit> {
        match (self.inbound, self.mode) {
            (true, way) => return Ok(Traffic::Passing(way)),
            (false, Way::Nat) => {}
            (false, Way::Tproxy) => {
                complain("error: TPROXY takes only connections that pass through: add --inbound");
                return Err(Exit::Usage);
            }
        }
        if !self.only.is_empty() {
            return Ok(Traffic::Only(users(&self.only)?));
        }
        if self.uid.is_empty() {
            complain(
                "error: the proxy's own connections must not come back to it\n\
                 hint: say which user it runs as with --uid, or whose connections are redirected with --only",
            );
            return Err(Exit::Usage);
        }
        let uids = users(&self.uid)?;
        if uids.contains(&0) {
            complain("warning: nothing is redirected of what runs as root");
        }
        Ok(Traffic::AllBut(uids))
    }
}

/// Numbers of users, or names of those that this system knows.
fn users(written: &[String]) -> Result<BTreeSet<u32>, Exit> {
    let of = |user: &String| {
        let found = user.parse().ok().or_else(|| by_name(user));
        found.ok_or_else(|| {
            complain(format!(
                "error: there is no user {user} in /etc/passwd\nhint: give the user's number"
            ));
            Exit::Usage
        })
    };
    written.iter().map(of).collect()
}

fn by_name(name: &str) -> Option<u32> {
    let known = fs::read_to_string("/etc/passwd").ok()?;
    in_passwd(&known, name)
}

fn in_passwd(known: &str, name: &str) -> Option<u32> {
    let mut lines = known.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        (fields.next()? == name).then_some(())?;
        fields.nth(1)?.parse().ok()
    })
}

fn refused(error: &StepError, arguments: &Arguments) -> Exit {
    complain(format!("error: {}", output::chain(error)));
    match error {
        StepError::Missing { .. } => {
            complain(
                "hint: install iptables, or use --backend nft, which takes no program; --print shows \
                 what to run elsewhere",
            );
            Exit::Unavailable
        }
        StepError::NotPermitted { .. } | StepError::Forbidden { .. } => {
            complain(
                "hint: it takes CAP_NET_ADMIN in this network namespace: be root, or give the container\n      \
                 that capability (cap_add: [NET_ADMIN])",
            );
            Exit::NotPermitted
        }
        _ if !arguments.no_ipv6 && of_ipv6(error) => {
            complain("hint: where there is no IPv6, say --no-ipv6");
            Exit::Software
        }
        _ if error.is_unsupported() => {
            complain(
                "hint: nf_tables with address translation for both families came with Linux 5.2, and is \
                 a choice of\n      whoever builds the kernel; where there is no such thing, \
                 --backend iptables may work",
            );
            Exit::Unavailable
        }
        StepError::Failed { said, .. } if said.contains("unable to initialize table") => {
            complain(
                "hint: iptables-legacy takes CAP_NET_RAW beside CAP_NET_ADMIN, or use --backend nft",
            );
            Exit::Software
        }
        StepError::Failed { .. }
        | StepError::Run { .. }
        | StepError::Unsupported { .. }
        | StepError::Refused(_) => Exit::Software,
    }
}

fn of_ipv6(error: &StepError) -> bool {
    let said = error.to_string();
    said.starts_with("ip6tables") || said.contains("the IPv6 r")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_name() {
        let known =
            "root:x:0:0:root:/root:/bin/bash\nbroken\nitwin:x:65532:65532::/:/sbin/nologin\n";
        assert_eq!(in_passwd(known, "itwin"), Some(65532));
        assert_eq!(in_passwd(known, "root"), Some(0));
        assert_eq!(in_passwd(known, "broken"), None);
        assert_eq!(in_passwd(known, "it"), None);
    }
}
