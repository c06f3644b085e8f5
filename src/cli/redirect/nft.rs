//! The rules for nftables: one table, replaced as a whole in one transaction.

use std::fmt::Write;

use super::{
    rules::{Family, Ipv6, MARK, Rules, Traffic, Way, list},
    step::{Command, Removal, Step},
};

const TABLE: &str = "itwin_auth_proxy";

pub(super) fn apply(rules: &Rules) -> Vec<Step> {
    let mut text = cleared();
    let (hook, kind) = match rules.traffic {
        // before what containers' networks translate: the destination is still the caller's
        Traffic::AllBut(_) | Traffic::Only(_) => ("output", "nat hook output priority -120"),
        Traffic::Passing(Way::Nat) => ("prerouting", "nat hook prerouting priority -120"),
        Traffic::Passing(Way::Tproxy) => ("prerouting", "filter hook prerouting priority -150"),
    };
    let _ = writeln!(text, "table inet {TABLE} {{\n\tchain {hook} {{");
    let _ = writeln!(text, "\t\ttype {kind}; policy accept;");
    for line in lines(rules) {
        let _ = writeln!(text, "\t\t{line}");
    }
    text += "\t}\n}\n";
    vec![transaction(text)]
}

pub(super) fn remove() -> Vec<Step> {
    vec![transaction(cleared())]
}

pub(super) fn removal() -> Removal {
    Removal {
        found: Command::new("nft", &format!("list table inet {TABLE}")),
        steps: remove(),
    }
}

/// Deleting what does not exist would fail.
fn cleared() -> String {
    format!("add table inet {TABLE}\ndelete table inet {TABLE}\n")
}

fn transaction(text: String) -> Step {
    Step::Run(Command::new("nft", "-f -").reading(text))
}

fn lines(rules: &Rules) -> Vec<String> {
    let mut lines = match &rules.traffic {
        Traffic::AllBut(uids) => vec![
            "oifname \"lo\" return".to_owned(),
            format!("meta skuid {{ {} }} return", list(uids, ", ")),
        ],
        Traffic::Only(uids) => vec![
            "oifname \"lo\" return".to_owned(),
            format!("meta skuid != {{ {} }} return", list(uids, ", ")),
        ],
        Traffic::Passing(_) => vec!["fib daddr type local return".to_owned()],
    };
    if rules.ipv6 == Ipv6::LeftAlone {
        lines.push("meta nfproto ipv6 return".into());
    }
    for family in rules.families() {
        let name = match family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        };
        let except = list(rules.except(*family), ", ");
        if !except.is_empty() {
            lines.push(format!("{name} daddr {{ {except} }} return"));
        }
    }
    let (ports, to) = (list(&rules.ports, ", "), rules.to);
    let target = match rules.traffic {
        Traffic::Passing(Way::Tproxy) => format!("tproxy to :{to} meta mark set {MARK} accept"),
        _ => format!("redirect to :{to}"),
    };
    lines.push(format!("tcp dport {{ {ports} }} {target}"));
    lines
}

#[cfg(test)]
mod tests {
    use super::{
        super::rules::{
            Backend,
            tests::{rules, script},
        },
        *,
    };

    #[test]
    fn all_connections_but_the_proxys_own() {
        let text = script(&rules(Traffic::AllBut([1337].into())).apply(Backend::Nft));
        assert_eq!(
            text,
            "\
nft -f - <<'END'
add table inet itwin_auth_proxy
delete table inet itwin_auth_proxy
table inet itwin_auth_proxy {
	chain output {
		type nat hook output priority -120; policy accept;
		oifname \"lo\" return
		meta skuid { 1337 } return
		tcp dport { 80, 443 } redirect to :15001
	}
}
END
"
        );
    }

    #[test]
    fn some_users_connections_to_most_places() {
        let rules = Rules {
            ipv6: Ipv6::LeftAlone,
            except: vec![
                "10.0.0.0/8".parse().unwrap(),
                "fd00::/8".parse().unwrap(),
                "192.0.2.1/32".parse().unwrap(),
            ],
            ..rules(Traffic::Only([1000, 1001].into()))
        };
        assert_eq!(
            lines(&rules),
            [
                "oifname \"lo\" return",
                "meta skuid != { 1000, 1001 } return",
                "meta nfproto ipv6 return",
                "ip daddr { 10.0.0.0/8, 192.0.2.1/32 } return",
                "tcp dport { 80, 443 } redirect to :15001",
            ]
        );
    }

    #[test]
    fn connections_that_pass_through() {
        let of = |way| {
            let rules = Rules {
                except: vec!["fd00::/8".parse().unwrap()],
                ..rules(Traffic::Passing(way))
            };
            script(&apply(&rules))
        };
        let nat = of(Way::Nat);
        let expected = "\
	chain prerouting {
		type nat hook prerouting priority -120; policy accept;
		fib daddr type local return
		ip6 daddr { fd00::/8 } return
		tcp dport { 80, 443 } redirect to :15001
	}
";
        assert!(nat.contains(expected), "{nat}");
        let tproxy = of(Way::Tproxy);
        let expected = "\
	chain prerouting {
		type filter hook prerouting priority -150; policy accept;
		fib daddr type local return
		ip6 daddr { fd00::/8 } return
		tcp dport { 80, 443 } tproxy to :15001 meta mark set 15001 accept
	}
";
        assert!(tproxy.contains(expected), "{tproxy}");
    }
}
