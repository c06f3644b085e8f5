//! What a line is for the kernel: small steps that load, compare and decide, with one register.

use ipnet::IpNet;

use super::{Line, Match, Then};
use crate::cli::redirect::netlink::Attributes;

const ELEMENT: u16 = 1;
const NAME: u16 = 1;
const DATA: u16 = 2;

/// `NFT_REG_1`, of 16 bytes.
const REGISTER: u32 = 1;
/// `NFT_REG_VERDICT`
const VERDICT: u32 = 0;

// `enum nft_meta_keys`
const MARK: u32 = 3;
const OIFNAME: u32 = 7;
const SKUID: u32 = 10;
const NFPROTO: u32 = 15;
const L4PROTO: u32 = 16;

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const TCP: u8 = 6;
/// `RTN_LOCAL`
const LOCAL: u32 = 2;

/// Where bytes of a packet are counted from.
#[derive(Debug, Clone, Copy)]
enum Header {
    Network = 1,
    Transport = 2,
}

pub(super) fn all(line: &Line) -> Attributes {
    let matches = line.matches.iter().flat_map(|one| one.expressions());
    let all = matches.chain(line.then.expressions());
    all.fold(Attributes::default(), |all, one| all.nested(ELEMENT, &one))
}

impl Match {
    fn expressions(self) -> Vec<Attributes> {
        match self {
            Self::Loopback => {
                let mut name = [0; 16];
                name[..2].copy_from_slice(b"lo");
                vec![meta(OIFNAME), equal(&name)]
            }
            Self::User(uid) => vec![meta(SKUID), equal(&uid.to_ne_bytes())],
            Self::Local => vec![destination_type(), equal(&LOCAL.to_ne_bytes())],
            Self::Ipv6 => vec![meta(NFPROTO), equal(&[NFPROTO_IPV6])],
            Self::To(IpNet::V4(network)) => {
                let (address, mask) = (network.network().octets(), network.netmask().octets());
                within(NFPROTO_IPV4, 16, &address, &mask)
            }
            Self::To(IpNet::V6(network)) => {
                let (address, mask) = (network.network().octets(), network.netmask().octets());
                within(NFPROTO_IPV6, 24, &address, &mask)
            }
            Self::Port(port) => vec![
                meta(L4PROTO),
                equal(&[TCP]),
                payload(Header::Transport, 2, 2),
                equal(&port.to_be_bytes()),
            ],
        }
    }
}

impl Then {
    fn expressions(self) -> Vec<Attributes> {
        match self {
            // `NFT_RETURN`
            Self::Return => vec![verdict(-5)],
            Self::Redirect(to) => vec![immediate(&to.to_be_bytes()), redirect()],
            Self::Tproxy(to, mark) => vec![
                immediate(&to.to_be_bytes()),
                tproxy(),
                immediate(&mark.to_ne_bytes()),
                set(MARK),
                // `NF_ACCEPT`
                verdict(1),
            ],
        }
    }
}

/// Whether the address that is `at` in the network header is one of those.
fn within(family: u8, at: u32, address: &[u8], mask: &[u8]) -> Vec<Attributes> {
    let address_there = payload(Header::Network, at, length(address));
    let mut all = vec![meta(NFPROTO), equal(&[family]), address_there];
    if mask.iter().any(|byte| *byte != 0xff) {
        all.push(masked(mask));
    }
    all.push(equal(address));
    all
}

fn expression(name: &str, data: &Attributes) -> Attributes {
    Attributes::default().text(NAME, name).nested(DATA, data)
}

fn meta(key: u32) -> Attributes {
    let data = Attributes::default().number(1, REGISTER).number(2, key);
    expression("meta", &data)
}

fn set(key: u32) -> Attributes {
    let data = Attributes::default().number(2, key).number(3, REGISTER);
    expression("meta", &data)
}

fn payload(header: Header, at: u32, length: u32) -> Attributes {
    let data = Attributes::default()
        .number(1, REGISTER)
        .number(2, header as u32)
        .number(3, at)
        .number(4, length);
    expression("payload", &data)
}

fn masked(mask: &[u8]) -> Attributes {
    let data = Attributes::default()
        .number(1, REGISTER)
        .number(2, REGISTER)
        .number(3, length(mask))
        .nested(4, &value(mask))
        .nested(5, &value(&vec![0; mask.len()]));
    expression("bitwise", &data)
}

fn equal(to: &[u8]) -> Attributes {
    // 0: `NFT_CMP_EQ`
    let data = Attributes::default()
        .number(1, REGISTER)
        .number(2, 0)
        .nested(3, &value(to));
    expression("cmp", &data)
}

fn destination_type() -> Attributes {
    // 3: `NFT_FIB_RESULT_ADDRTYPE`, 2: `NFTA_FIB_F_DADDR`
    let data = Attributes::default()
        .number(1, REGISTER)
        .number(2, 3)
        .number(3, 2);
    expression("fib", &data)
}

fn immediate(bytes: &[u8]) -> Attributes {
    let data = Attributes::default()
        .number(1, REGISTER)
        .nested(2, &value(bytes));
    expression("immediate", &data)
}

fn verdict(code: i32) -> Attributes {
    let code = Attributes::default().number(1, code.cast_unsigned());
    let data = Attributes::default()
        .number(1, VERDICT)
        .nested(2, &Attributes::default().nested(2, &code));
    expression("immediate", &data)
}

fn redirect() -> Attributes {
    // 2: `NF_NAT_RANGE_PROTO_SPECIFIED`
    let data = Attributes::default().number(1, REGISTER).number(3, 2);
    expression("redir", &data)
}

fn tproxy() -> Attributes {
    // 0: `NFPROTO_UNSPEC`, of whatever family the packet is
    let data = Attributes::default().number(1, 0).number(3, REGISTER);
    expression("tproxy", &data)
}

fn value(bytes: &[u8]) -> Attributes {
    Attributes::default().bytes(1, bytes)
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
