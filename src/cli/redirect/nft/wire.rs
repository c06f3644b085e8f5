//! A chain as what the kernel is sent (`linux/netfilter/nf_tables.h`).

use super::{Chain, Hook, Line, TABLE, expression};
use crate::cli::redirect::netlink::{Attributes, Flags, Message, Protocol, Request};

/// `NFPROTO_INET`: both families.
const INET: u8 = 1;

// of `NFNL_SUBSYS_NFTABLES`
const NEWTABLE: u16 = 0xa00;
const GETTABLE: u16 = 0xa01;
const DELTABLE: u16 = 0xa02;
const NEWCHAIN: u16 = 0xa03;
const NEWRULE: u16 = 0xa06;

const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;

const PRE_ROUTING: u32 = 0;
const LOCAL_OUT: u32 = 3;
const ACCEPT: u32 = 1;

/// Succeeds where the table is.
pub(super) fn look() -> Request {
    Request {
        protocol: Protocol::TablesRead,
        messages: vec![table(GETTABLE, Flags::None)],
    }
}

pub(super) fn clear() -> Request {
    Request {
        protocol: Protocol::Tables,
        // deleting what does not exist would fail
        messages: vec![table(NEWTABLE, Flags::Create), table(DELTABLE, Flags::None)],
    }
}

pub(super) fn replace(chain: &Chain) -> Request {
    let mut request = clear();
    let messages = &mut request.messages;
    messages.push(table(NEWTABLE, Flags::Create));
    messages.push(base(chain.hook));
    messages.extend(chain.lines.iter().map(|line| rule(chain.hook, line)));
    request
}

fn table(kind: u16, flags: Flags) -> Message {
    let name = Attributes::default().text(TABLE_NAME, TABLE);
    message(format!("the table inet {TABLE}"), kind, flags, &name)
}

fn base(hook: Hook) -> Message {
    let number = match hook {
        Hook::Output => LOCAL_OUT,
        Hook::Translated | Hook::Intercepted => PRE_ROUTING,
    };
    let place = Attributes::default()
        .number(HOOK_NUMBER, number)
        .number(HOOK_PRIORITY, hook.priority().cast_unsigned());
    let chain = Attributes::default()
        .text(CHAIN_TABLE, TABLE)
        .text(CHAIN_NAME, hook.name())
        .nested(CHAIN_HOOK, &place)
        .number(CHAIN_POLICY, ACCEPT)
        .text(CHAIN_TYPE, hook.kind());
    let about = format!("a chain of type {} at {}", hook.kind(), hook.name());
    message(about, NEWCHAIN, Flags::Create, &chain)
}

fn rule(hook: Hook, line: &Line) -> Message {
    let rule = Attributes::default()
        .text(RULE_TABLE, TABLE)
        .text(RULE_CHAIN, hook.name())
        .nested(RULE_EXPRESSIONS, &expression::all(line));
    message(format!("`{line}`"), NEWRULE, Flags::Append, &rule)
}

fn message(about: String, kind: u16, flags: Flags, attributes: &Attributes) -> Message {
    Message::new(about, kind, flags, &[INET, 0, 0, 0], attributes)
}
