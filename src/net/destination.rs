//! Where a proxy goes for its callers: not to what only the proxy's own machine or network reaches.
//!
//! A caller that may name any host could otherwise make us ask a cloud's metadata service, the
//! admin listener or a neighbour. Addresses are checked after the name was resolved, each that is
//! about to be connected to, so that a name whose answer changes in between gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Addresses that may be connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destinations {
    /// Although they are not public.
    networks: Vec<IpNet>,
}

impl Destinations {
    /// Public addresses, and those of `networks`.
    pub fn public_and(networks: Vec<IpNet>) -> Self {
        Self { networks }
    }

    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.names(address)
    }

    /// Whether a network that was written has it.
    pub fn names(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|known| known.contains(&address))
    }

    /// Whether a connection that others were making to it is passed on: not where the same address
    /// means another machine for us than for them.
    pub fn passes_on(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        !is_of_the_link(address) || self.names(address)
    }
}

/// Loopback and link-local addresses, multicast, and where clouds tell a machine its secrets.
fn is_of_the_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_loopback()
                || address.is_link_local()
                || address.octets()[0] == 0
                || address.octets()[0] >= 224
                || METADATA_V4.contains(&address)
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unicast_link_local()
                || address.is_multicast()
                || address == METADATA_V6
        }
    }
}

/// Of Azure, Alibaba and Oracle; all others have link-local ones.
const METADATA_V4: [Ipv4Addr; 3] = [
    AZURE_HOST,
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// Of Amazon.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Whether anybody on the internet could reach it: none of the special-purpose registries' (RFC
/// 6890), no multicast.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// The platform's own service on every machine of Azure, at an address that looks public.
const AZURE_HOST: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        || a >= 224
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        || address == AZURE_HOST;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, third, middle @ .., last, end] = address.segments();
    let embedded = |high: u16, low: u16| {
        let [one, two] = high.to_be_bytes();
        let [three, four] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(one, two, three, four))
    };
    match (first, second) {
        // NAT64 (RFC 6052): the address behind it decides
        (0x64, 0xff9b) => third == 0 && middle == [0; 3] && embedded(last, end),
        // 6to4 (RFC 3056)
        (0x2002, _) => embedded(second, third),
        // protocol assignments, Teredo among them; documentation
        (0x2001, 0..=0x1ff | 0xdb8) | (0x3fff, 0..=0xfff) => false,
        _ => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_we_can_reach_is_not_reached_for_others() {
        let inside = Destinations::public_and(vec!["10.1.0.0/16".parse().unwrap()]);
        for (address, expected) in [
            ("52.239.1.1", true),
            ("8.8.8.8", true),
            ("2603:1030::1", true),
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("::ffff:52.239.1.1", true),
            ("64:ff9b::808:808", true),
            ("0.0.0.0", false),
            ("10.2.0.1", false),
            ("100.100.100.200", false),
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("168.63.129.16", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.0.0.192", false),
            ("192.168.1.1", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::127.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b:1::a00:1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
            ("2002:808:808::", true),
            ("3fff:1::1", false),
            ("fc00::1", false),
            ("fd00:ec2::254", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            let parsed: IpAddr = address.parse().unwrap();
            assert_eq!(inside.permits(parsed), expected, "{address}");
        }
    }
}
