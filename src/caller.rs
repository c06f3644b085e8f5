//! Who sent a request, and how we know.

use std::{fmt, net::IpAddr, sync::Arc};

/// The sender of a request, as far as the route's `admit` rules established it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Nobody was asked: the route is open on a listener that only this machine reaches.
    Local,
    /// Known by the address it came from, by a configured network.
    Network(IpAddr),
    /// Known by a shared key; the name the configuration gives that key.
    Key(Arc<str>),
    /// Not known: it showed no token where a token is welcome but not asked for.
    Stranger,
    /// Known by an access token of its own.
    Bearer(Arc<Holder>),
    /// Known by a TLS client certificate; its subject or a subject alternative name.
    Certificate(Arc<str>),
    /// Known by the user id of the process on the other end of a Unix socket.
    Uid(u32),
    /// A person who is signed in with a browser.
    Person(Arc<Holder>),
    /// Known by the name and password that it showed the forward proxy.
    ProxyUser(Arc<str>),
}

/// Who a listener let in, before any route was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    pub caller: Caller,
    pub vouched: Vouched,
}

/// Whether the listener knows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vouched {
    /// By a rule, or because only this machine reaches the listener: good for routes that are for
    /// this machine.
    Yes,
    /// Anyone may come in.
    No,
}

/// To whom an access token was issued, as its claims say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder {
    pub subject: Option<Box<str>>,
    pub client: Option<Box<str>>,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Stranger => f.write_str("stranger"),
            Self::Network(address) => write!(f, "net:{address}"),
            Self::Key(name) => write!(f, "key:{name}"),
            Self::Bearer(holder) => {
                let client = holder.client.as_deref().unwrap_or("-");
                let subject = holder.subject.as_deref().unwrap_or("-");
                write!(f, "bearer:{client}/{subject}")
            }
            Self::Person(holder) => {
                let subject = holder.subject.as_deref().unwrap_or("-");
                write!(f, "person:{subject}")
            }
            Self::Certificate(name) => write!(f, "cert:{name}"),
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::ProxyUser(name) => write!(f, "user:{name}"),
        }
    }
}
