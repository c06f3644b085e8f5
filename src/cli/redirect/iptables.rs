//! The rules for iptables and ip6tables: a chain of our own in each, which is replaced as a whole,
//! and one jump to it.

use std::fmt::Write;

use super::{
    rules::{Backend, FAMILIES, Family, MARK, Rules, Traffic, Way, list},
    step::{Command, Removal, Step},
};

const CHAIN: &str = "ITWIN_AUTH_PROXY";

/// Ports that one `multiport` takes.
const PORTS: usize = 15;

/// Where the jump is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    table: &'static str,
    hook: &'static str,
}

const OWN: Place = Place {
    table: "nat",
    hook: "OUTPUT",
};
const TRANSLATED: Place = Place {
    table: "nat",
    hook: "PREROUTING",
};
const INTERCEPTED: Place = Place {
    table: "mangle",
    hook: "PREROUTING",
};
const TABLES: [&str; 2] = ["nat", "mangle"];
const PLACES: [Place; 3] = [OWN, TRANSLATED, INTERCEPTED];

impl Place {
    fn of(traffic: &Traffic) -> Self {
        match traffic {
            Traffic::AllBut(_) | Traffic::Only(_) => OWN,
            Traffic::Passing(Way::Nat) => TRANSLATED,
            Traffic::Passing(Way::Tproxy) => INTERCEPTED,
        }
    }

    fn jump(self, program: &str, how: &str, position: &str) -> Command {
        let Self { table, hook } = self;
        let words = format!("-w -t {table} {how} {hook}{position} -p tcp -j {CHAIN}");
        Command::new(program, &words)
    }

    fn without_jump(self, program: &str) -> Step {
        let found = self.jump(program, "-C", "");
        Step::When(found, vec![self.jump(program, "-D", "")])
    }
}

pub(super) fn apply(rules: &Rules, backend: Backend) -> Vec<Step> {
    let of = |family: &Family| {
        let program = family.program(backend);
        if rules.families().contains(family) {
            applied(rules, *family, &program)
        } else {
            removed(&program)
        }
    };
    FAMILIES.iter().flat_map(of).collect()
}

pub(super) fn remove(backend: Backend) -> Vec<Step> {
    let of = |family: &Family| removed(&family.program(backend));
    FAMILIES.iter().flat_map(of).collect()
}

/// Of each table that there are rules of ours in.
pub(super) fn removals(backend: Backend) -> Vec<Removal> {
    let of = |family: &Family| {
        let program = family.program(backend);
        TABLES.map(|table| Removal {
            found: chain_of(&program, table, "-S"),
            steps: removed(&program),
        })
    };
    FAMILIES.iter().flat_map(of).collect()
}

fn applied(rules: &Rules, family: Family, program: &str) -> Vec<Step> {
    let place = Place::of(&rules.traffic);
    let mut text = format!("*{}\n:{CHAIN} - [0:0]\n", place.table);
    for rule in chain(rules, family) {
        let _ = writeln!(text, "-A {CHAIN} {rule}");
    }
    text += "COMMIT\n";
    let restore = Command::new(&format!("{program}-restore"), "-w --noflush");
    // what was applied for other traffic
    let others = PLACES.iter().filter(|other| **other != place);
    let mut steps: Vec<Step> = others.map(|other| other.without_jump(program)).collect();
    steps.push(Step::Run(restore.reading(text)));
    let jump = place.jump(program, "-I", " 1");
    steps.push(Step::Unless(place.jump(program, "-C", ""), jump));
    steps
}

fn removed(program: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = PLACES
        .iter()
        .map(|place| place.without_jump(program))
        .collect();
    for table in TABLES {
        let chain = |how| chain_of(program, table, how);
        steps.push(Step::When(chain("-S"), vec![chain("-F"), chain("-X")]));
    }
    steps
}

fn chain_of(program: &str, table: &str, how: &str) -> Command {
    Command::new(program, &format!("-w -t {table} {how} {CHAIN}"))
}

fn chain(rules: &Rules, family: Family) -> Vec<String> {
    let owner = |uid: &u32| format!("-m owner --uid-owner {uid}");
    let mut chain = match &rules.traffic {
        Traffic::AllBut(uids) => {
            let users = uids.iter().map(|uid| format!("{} -j RETURN", owner(uid)));
            ["-o lo -j RETURN".to_owned()]
                .into_iter()
                .chain(users)
                .collect()
        }
        Traffic::Only(_) => vec!["-o lo -j RETURN".to_owned()],
        Traffic::Passing(_) => vec!["-m addrtype --dst-type LOCAL -j RETURN".to_owned()],
    };
    let except = rules.except(family).into_iter();
    chain.extend(except.map(|network| format!("-d {network} -j RETURN")));
    let to = rules.to;
    let target = match rules.traffic {
        Traffic::Passing(Way::Tproxy) => format!("TPROXY --on-port {to} --tproxy-mark {MARK}"),
        _ => format!("REDIRECT --to-ports {to}"),
    };
    let of: Vec<String> = match &rules.traffic {
        Traffic::Only(uids) => uids.iter().map(|uid| owner(uid) + " ").collect(),
        Traffic::AllBut(_) | Traffic::Passing(_) => vec![String::new()],
    };
    let ports: Vec<u16> = rules.ports.iter().copied().collect();
    for ports in ports.chunks(PORTS) {
        let ports = list(ports, ",");
        let redirect = |of| format!("{of}-p tcp -m multiport --dports {ports} -j {target}");
        chain.extend(of.iter().map(redirect));
    }
    chain
}

impl Family {
    fn program(self, backend: Backend) -> String {
        let name = match self {
            Self::V4 => "iptables",
            Self::V6 => "ip6tables",
        };
        match backend {
            Backend::Nft | Backend::Iptables => name.into(),
            Backend::IptablesNft => format!("{name}-nft"),
            Backend::IptablesLegacy => format!("{name}-legacy"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::rules::{
            Ipv6,
            tests::{rules, script},
        },
        *,
    };

    #[test]
    fn all_connections_but_the_proxys_own() {
        let rules = rules(Traffic::AllBut([1337].into()));
        let v4 = "\
if iptables -w -t nat -C PREROUTING -p tcp -j ITWIN_AUTH_PROXY >/dev/null 2>&1; then
  iptables -w -t nat -D PREROUTING -p tcp -j ITWIN_AUTH_PROXY
fi
if iptables -w -t mangle -C PREROUTING -p tcp -j ITWIN_AUTH_PROXY >/dev/null 2>&1; then
  iptables -w -t mangle -D PREROUTING -p tcp -j ITWIN_AUTH_PROXY
fi
iptables-restore -w --noflush <<'END'
*nat
:ITWIN_AUTH_PROXY - [0:0]
-A ITWIN_AUTH_PROXY -o lo -j RETURN
-A ITWIN_AUTH_PROXY -m owner --uid-owner 1337 -j RETURN
-A ITWIN_AUTH_PROXY -p tcp -m multiport --dports 80,443 -j REDIRECT --to-ports 15001
COMMIT
END
iptables -w -t nat -C OUTPUT -p tcp -j ITWIN_AUTH_PROXY 2>/dev/null || iptables -w -t nat -I OUTPUT 1 -p tcp -j ITWIN_AUTH_PROXY
";
        let both = v4.to_owned() + &v4.replace("iptables", "ip6tables");
        assert_eq!(script(&rules.apply(Backend::Iptables)), both);
        let legacy = script(&rules.apply(Backend::IptablesLegacy));
        assert!(legacy.contains("\niptables-legacy-restore -w --noflush <<"));
        assert!(legacy.contains("|| ip6tables-legacy -w -t nat -I OUTPUT 1"));
        let only_v4 = Rules {
            ipv6: Ipv6::LeftAlone,
            ..rules
        };
        let text = script(&only_v4.apply(Backend::Iptables));
        assert_eq!(text, v4.to_owned() + &script(&removed("ip6tables")));
    }

    #[test]
    fn what_was_applied_is_removed_from_each_place() {
        let text = script(&remove(Backend::IptablesNft));
        for expected in [
            "if iptables-nft -w -t nat -C OUTPUT -p tcp -j ITWIN_AUTH_PROXY >/dev/null 2>&1; then\n  \
             iptables-nft -w -t nat -D OUTPUT -p tcp -j ITWIN_AUTH_PROXY\nfi\n",
            "if ip6tables-nft -w -t mangle -S ITWIN_AUTH_PROXY >/dev/null 2>&1; then\n  \
             ip6tables-nft -w -t mangle -F ITWIN_AUTH_PROXY\n  \
             ip6tables-nft -w -t mangle -X ITWIN_AUTH_PROXY\nfi\n",
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn some_users_connections_to_most_places_and_many_ports() {
        let rules = Rules {
            ports: (1..=16).collect(),
            except: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            ..rules(Traffic::Only([1000, 1001].into()))
        };
        assert_eq!(
            chain(&rules, Family::V6),
            [
                "-o lo -j RETURN",
                "-d fd00::/8 -j RETURN",
                "-m owner --uid-owner 1000 -p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15 -j REDIRECT --to-ports 15001",
                "-m owner --uid-owner 1001 -p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15 -j REDIRECT --to-ports 15001",
                "-m owner --uid-owner 1000 -p tcp -m multiport --dports 16 -j REDIRECT --to-ports 15001",
                "-m owner --uid-owner 1001 -p tcp -m multiport --dports 16 -j REDIRECT --to-ports 15001",
            ]
        );
    }

    #[test]
    fn connections_that_pass_through() {
        let last = |way| chain(&rules(Traffic::Passing(way)), Family::V4);
        assert_eq!(
            last(Way::Nat),
            [
                "-m addrtype --dst-type LOCAL -j RETURN",
                "-p tcp -m multiport --dports 80,443 -j REDIRECT --to-ports 15001",
            ]
        );
        assert_eq!(
            last(Way::Tproxy)[1],
            "-p tcp -m multiport --dports 80,443 -j TPROXY --on-port 15001 --tproxy-mark 15001"
        );
    }
}
