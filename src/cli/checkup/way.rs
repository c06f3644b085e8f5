//! The way to a server: its name, a connection, its certificate.

use std::time::Duration;

use http::Uri;

use super::Finding;
use crate::{
    clock::Clock,
    config::ClientTls,
    http::client::{
        ClientError,
        reach::{Ended, Way, reach},
    },
    tls::witness::{Refused, Shown},
};

/// Where it leads.
pub(super) struct To<'a> {
    /// As it is called: `provider bentley`.
    pub(super) whom: String,
    pub(super) uri: Uri,
    pub(super) tls: &'a ClientTls,
    pub(super) alpn: &'a [&'a [u8]],
    pub(super) limit: Duration,
}

/// What is known of it, and whether there is any use in asking further.
pub(super) async fn go(to: &To<'_>, clock: &Clock) -> (Vec<Finding>, Further) {
    let way = reach(&to.uri, to.tls, to.alpn, to.limit).await;
    let now = clock.now().wall;
    let host = to.uri.host().unwrap_or_default();
    let mut found = Vec::new();
    if way.ended.as_ref().is_some_and(Ended::is_unknown_name) {
        let seen = reason(&way);
        let remedy = if to.tls.name_servers.is_empty() {
            "see whether this machine resolves names (getent hosts NAME), or name servers of its \
             own in tls.name_servers"
        } else {
            "see whether the servers of tls.name_servers answer and know the name"
        };
        let what = format!("DNS of {} ({host})", to.whom);
        found.push(Finding::failure("dns", &what, seen, remedy));
        return (found, Further::No);
    }
    if is_name(host) {
        let what = format!("DNS of {} ({host})", to.whom);
        found.push(Finding::ok("dns", &what, addresses(&way, to.tls)));
    }
    if way.connected.is_none() {
        let what = format!("connection to {}", to.whom);
        let remedy = "see whether the server runs, and whether a firewall or a proxy of your \
                      network stands between; this program obeys no proxy variable";
        found.push(Finding::failure("connect", &what, reason(&way), remedy));
        return (found, Further::No);
    }
    if to.uri.scheme_str() == Some("https") {
        let what = format!("TLS of {} ({host})", to.whom);
        let finding = match &way.ended {
            Some(ended) => refused(&what, ended, &way, now),
            None => certificate(&what, &way, now),
        };
        found.push(finding);
    }
    let further = match way.ended {
        None => Further::Yes,
        Some(_) => Further::No,
    };
    (found, further)
}

/// Whether the server can be asked anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Further {
    Yes,
    No,
}

impl Ended {
    fn is_unknown_name(&self) -> bool {
        matches!(self.error, ClientError::Dns { .. })
    }
}

fn reason(way: &Way) -> String {
    let error = way.ended.as_ref().map(|ended| &ended.error);
    error.map_or_else(String::new, |error| crate::cli::output::chain(error))
}

fn is_name(host: &str) -> bool {
    host.trim_matches(['[', ']'])
        .parse::<std::net::IpAddr>()
        .is_err()
}

fn addresses(way: &Way, tls: &ClientTls) -> String {
    let mut all: Vec<String> = way.addresses.iter().map(|it| it.ip().to_string()).collect();
    all.dedup();
    let more = all.len().saturating_sub(SHOWN);
    all.truncate(SHOWN);
    let mut text = all.join(", ");
    if more > 0 {
        text = format!("{text} and {more} more");
    }
    if !tls.addresses.is_empty() {
        text.push_str(" (tls.addresses)");
    } else if !tls.name_servers.is_empty() {
        text.push_str(" (tls.name_servers)");
    }
    text
}

fn certificate(what: &str, way: &Way, now: Duration) -> Finding {
    let version = way.tls.unwrap_or("TLS");
    let Some(own) = way.chain.first() else {
        return Finding::ok("tls", what, version);
    };
    // the chain is as good as what ends first
    let ends = way.chain.iter().map(|one| one.until).min();
    let left = days(ends.unwrap_or(own.until).saturating_sub(now));
    let seen = format!("{version}; {}; {left} days left", described(own));
    if left < SOON {
        let remedy = "whoever runs that server must renew its certificate";
        return Finding::warning("tls", what, seen, remedy);
    }
    Finding::ok("tls", what, seen)
}

fn refused(what: &str, ended: &Ended, way: &Way, now: Duration) -> Finding {
    let mut seen = crate::cli::output::chain(&ended.error);
    if let Some(own) = way.chain.first() {
        seen.push_str("; it showed a certificate ");
        seen.push_str(&described(own));
        if own.until < now {
            let ago = days(now.saturating_sub(own.until));
            seen = format!("{seen}, which ended {ago} days ago");
        }
    }
    let remedy = match ended.refused {
        Some(Refused::Stranger) => {
            "if that authority is your organisation's (a proxy that opens TLS, a private CA), name \
             its PEM file in tls.extra_ca; otherwise somebody else answers there"
        }
        Some(Refused::Name) => {
            "see whether the address is right; tls.server_name asks for another name"
        }
        Some(Refused::Time) => {
            "see whether the clock of this machine is right; else that server's certificate must be \
             renewed"
        }
        Some(Refused::Other) => "whoever runs that server must mend its certificate",
        None if matches!(ended.error, ClientError::Settings(_)) => {
            "mend the named file of `tls` in the configuration"
        }
        None => {
            "see whether TLS is spoken at that port, whether it asks for a client certificate \
             (tls.certificate), and what stands between"
        }
    };
    Finding::failure("tls", what, seen, remedy)
}

fn described(own: &Shown) -> String {
    let mut names = own.names.clone();
    names.dedup();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let mut text = format!("for {}", names.join(", "));
    if more > 0 {
        text = format!("{text} and {more} more");
    }
    format!("{text}, by {}", own.issuer)
}

pub(super) fn days(time: Duration) -> u64 {
    time.as_secs() / (24 * 3600)
}

/// Names or addresses that are listed.
const SHOWN: usize = 4;

/// Days that a certificate should have left: those of Let's Encrypt are renewed with thirty.
pub(super) const SOON: u64 = 14;
