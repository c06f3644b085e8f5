//! What brings TPROXY's packets, which are marked, to a socket here, whatever their address: a rule
//! and a route in a table of their own.

use super::{
    netlink::{Attributes, Flags, Message, Protocol, Request},
    rules::{Family, MARK},
    step::{Command, Step},
};

// `linux/rtnetlink.h`
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const NEWRULE: u16 = 32;
const DELRULE: u16 = 33;
const RTA_OIF: u16 = 4;
const RTA_TABLE: u16 = 15;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
/// `FR_ACT_TO_TBL`
const TO_TABLE: u8 = 1;
/// `RTPROT_BOOT`: what no routing daemon made.
const BOOT: u8 = 3;
const HOST: u8 = 254;
const UNIVERSE: u8 = 0;
/// `RTN_LOCAL`
const LOCAL: u8 = 2;
/// The loopback interface, in every namespace.
const LOOPBACK: u32 = 1;

pub(super) fn make(family: Family) -> [Step; 3] {
    let words = format!(
        "{} route replace local default dev lo table {MARK}",
        ip(family)
    );
    let route = Command::new("ip", &words).asking(route(family, NEWROUTE, Flags::Replace));
    // adding it twice would leave one behind
    [
        Step::Try(rule(family, "del")),
        Step::Run(rule(family, "add")),
        Step::Run(route),
    ]
}

pub(super) fn unmake(family: Family) -> [Step; 2] {
    let words = format!("{} route flush table {MARK}", ip(family));
    let route = Command::new("ip", &words).asking(route(family, DELROUTE, Flags::None));
    [Step::Try(rule(family, "del")), Step::Try(route)]
}

fn rule(family: Family, what: &str) -> Command {
    let words = format!("{} rule {what} fwmark {MARK} lookup {MARK}", ip(family));
    let (kind, flags, action) = match what {
        "add" => (NEWRULE, Flags::CreateNew, TO_TABLE),
        _ => (DELRULE, Flags::None, 0),
    };
    let fixed = [number(family), 0, 0, 0, 0, 0, 0, action, 0, 0, 0, 0];
    let attributes = Attributes::default()
        .native(FRA_FWMARK, MARK)
        .native(FRA_TABLE, MARK);
    let about = format!("the {} rule for packets with the mark {MARK}", name(family));
    let message = Message::new(about, kind, flags, &fixed, &attributes);
    Command::new("ip", &words).asking(only(message))
}

fn route(family: Family, kind: u16, flags: Flags) -> Request {
    let scope = match family {
        Family::V4 => HOST,
        Family::V6 => UNIVERSE,
    };
    let fixed = [number(family), 0, 0, 0, 0, BOOT, scope, LOCAL, 0, 0, 0, 0];
    let attributes = Attributes::default()
        .native(RTA_TABLE, MARK)
        .native(RTA_OIF, LOOPBACK);
    let about = format!("the {} route to this machine in table {MARK}", name(family));
    only(Message::new(about, kind, flags, &fixed, &attributes))
}

fn only(message: Message) -> Request {
    Request {
        protocol: Protocol::Routes,
        messages: vec![message],
    }
}

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// `AF_INET`, `AF_INET6`
fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::{
        Backend, Rules, Traffic, Way, remove,
        tests::{rules, script},
    };

    #[test]
    fn tproxy_needs_a_route_to_this_machine() {
        let rules: Rules = rules(Traffic::Passing(Way::Tproxy));
        assert_eq!(
            script(&rules.apply(Backend::Nft)[1..]),
            "\
ip -4 rule del fwmark 15001 lookup 15001 2>/dev/null || true
ip -4 rule add fwmark 15001 lookup 15001
ip -4 route replace local default dev lo table 15001
ip -6 rule del fwmark 15001 lookup 15001 2>/dev/null || true
ip -6 rule add fwmark 15001 lookup 15001
ip -6 route replace local default dev lo table 15001
"
        );
        assert_eq!(
            script(&remove(Backend::Nft)[1..]),
            "\
ip -4 rule del fwmark 15001 lookup 15001 2>/dev/null || true
ip -4 route flush table 15001 2>/dev/null || true
ip -6 rule del fwmark 15001 lookup 15001 2>/dev/null || true
ip -6 route flush table 15001 2>/dev/null || true
"
        );
    }
}
