//! What the tests speak with: a recording origin, a provider with a script, a raw client, and the
//! proxy between them. Everything blocks on the test's own thread, with deadlines instead of sleeps.

pub(crate) mod authority;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod dns;
pub(crate) mod http2;
pub(crate) mod idp;
pub(crate) mod issuer;
pub(crate) mod message;
pub(crate) mod origin;
pub(crate) mod people;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod wait;
pub(crate) mod wire;

use std::time::Duration;

/// Nothing in a test takes so long, unless it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
