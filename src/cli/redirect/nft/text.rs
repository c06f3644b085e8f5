//! A chain as the script that `nft` reads.

use std::fmt;

use ipnet::IpNet;

use super::{Chain, Line, Match, TABLE, Then};

/// Deleting what does not exist would fail.
pub(super) fn cleared() -> String {
    format!("add table inet {TABLE}\ndelete table inet {TABLE}\n")
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hook = self.hook;
        let (name, kind, priority) = (hook.name(), hook.kind(), hook.priority());
        writeln!(f, "table inet {TABLE} {{\n\tchain {name} {{")?;
        let place = format!("type {kind} hook {name} priority {priority}; policy accept;");
        writeln!(f, "\t\t{place}")?;
        for line in &self.lines {
            writeln!(f, "\t\t{line}")?;
        }
        f.write_str("\t}\n}\n")
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in &self.matches {
            write!(f, "{one} ")?;
        }
        write!(f, "{}", self.then)
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("oifname \"lo\""),
            Self::User(uid) => write!(f, "meta skuid {uid}"),
            Self::Local => f.write_str("fib daddr type local"),
            Self::Ipv6 => f.write_str("meta nfproto ipv6"),
            Self::To(network @ IpNet::V4(_)) => write!(f, "ip daddr {network}"),
            Self::To(network @ IpNet::V6(_)) => write!(f, "ip6 daddr {network}"),
            Self::Port(port) => write!(f, "tcp dport {port}"),
        }
    }
}

impl fmt::Display for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Return => f.write_str("return"),
            Self::Redirect(to) => write!(f, "redirect to :{to}"),
            Self::Tproxy(to, mark) => write!(f, "tproxy to :{to} meta mark set {mark} accept"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::rules::{
            Backend, Ipv6, Rules, Traffic, Way,
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
		meta skuid 1337 return
		tcp dport 80 redirect to :15001
		tcp dport 443 redirect to :15001
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
        let lines = Chain::of(&rules).lines;
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "oifname \"lo\" return",
                "meta nfproto ipv6 return",
                "ip daddr 10.0.0.0/8 return",
                "ip daddr 192.0.2.1/32 return",
                "meta skuid 1000 tcp dport 80 redirect to :15001",
                "meta skuid 1000 tcp dport 443 redirect to :15001",
                "meta skuid 1001 tcp dport 80 redirect to :15001",
                "meta skuid 1001 tcp dport 443 redirect to :15001",
            ]
        );
    }

    #[test]
    fn connections_that_pass_through() {
        let of = |way| {
            let rules = Rules {
                except: vec!["fd00::/8".parse().unwrap()],
                ports: [443].into(),
                ..rules(Traffic::Passing(way))
            };
            Chain::of(&rules).to_string()
        };
        let nat = of(Way::Nat);
        let expected = "\
	chain prerouting {
		type nat hook prerouting priority -120; policy accept;
		fib daddr type local return
		ip6 daddr fd00::/8 return
		tcp dport 443 redirect to :15001
	}
";
        assert!(nat.contains(expected), "{nat}");
        let tproxy = of(Way::Tproxy);
        let expected = "\
	chain prerouting {
		type filter hook prerouting priority -150; policy accept;
		fib daddr type local return
		ip6 daddr fd00::/8 return
		tcp dport 443 tproxy to :15001 meta mark set 15001 accept
	}
";
        assert!(tproxy.contains(expected), "{tproxy}");
    }
}
