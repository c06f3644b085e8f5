//! How a host is reached by callers that name it on the network: what a forward listener makes of
//! them, and a connection that is redirected or resolved here.

use std::net::IpAddr;

use http::Uri;

use super::Verdict;
use crate::config::{Config, Listener, Mode, Route, ServerTls};

/// For each listener whose callers name hosts of others, what becomes of a connection to that of
/// `url`; nothing where the URL names none. Served where some listener lets it pass.
pub(super) fn to(config: &Config, url: &Uri) -> (Vec<(&'static str, String)>, Verdict) {
    let Some(host) = url.host().map(str::to_ascii_lowercase) else {
        return (Vec::new(), Verdict::Refused);
    };
    if is_here(&host) {
        return (Vec::new(), Verdict::Refused);
    }
    let usual = if url.scheme_str() == Some("http") {
        80
    } else {
        443
    };
    let port = url.port_u16().unwrap_or(usual);
    let mut verdict = Verdict::Refused;
    let mut lines = Vec::new();
    for listener in &config.listeners {
        let Some((text, one)) = through(config, listener, &host, port) else {
            continue;
        };
        if one == Verdict::Served {
            verdict = one;
        }
        lines.push(("by way of", format!("{}: {text}", listener.bind)));
    }
    (lines, verdict)
}

/// Whether nothing but those listeners takes such a URL: what it names is neither us nor what the
/// route is for.
pub(super) fn are_the_only_ones(config: &Config, url: &Uri, route: &Route) -> bool {
    let Some(host) = url.host().map(str::to_ascii_lowercase) else {
        return false;
    };
    let mut listeners = config.listeners.iter();
    let named = listeners.any(|one| one.mode.names_others());
    let mut others = config.listeners.iter().filter(|one| one.passage.is_none());
    let for_us = others.any(|one| !one.bind.is_local() || one.tls == Some(ServerTls::Minted));
    let own = route.upstream.as_ref().map(|to| to.origin.host.as_str());
    let meant = !route.matches.hosts.is_empty() || own == Some(&*host);
    named && !for_us && !meant && !is_here(&host)
}

/// Whether callers of every listener name us, and not the hosts of others, and wait for an answer of the
/// service's.
pub(super) fn all_are_asked_as_the_service(config: &Config) -> bool {
    let mut listeners = config.listeners.iter();
    listeners.all(|one| {
        one.passage.is_none() && !one.mode.decides() && one.tls != Some(ServerTls::Minted)
    })
}

/// Why no route takes it, where no listener passes it on either.
pub(super) fn without_a_route(verdict: Verdict) -> Option<(&'static str, String)> {
    let reason = "a route without hosts is for its upstream's own host where callers name hosts of others (HostNotAllowed)";
    (verdict == Verdict::Refused).then(|| ("refused", reason.to_owned()))
}

fn is_here(host: &str) -> bool {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn through(
    config: &Config,
    listener: &Listener,
    host: &str,
    port: u16,
) -> Option<(String, Verdict)> {
    let passage = listener.passage.as_ref()?;
    let way = match listener.mode {
        Mode::Forward => "CONNECT is",
        _ => "a redirected connection is",
    };
    let opened = config.interception.as_ref();
    let opened = opened.is_some_and(|interception| interception.opens(host));
    let seen = passage.ports.contains(&port);
    Some(if opened && seen {
        let text = format!("{way} opened, and what it carries goes by the routes");
        (text, Verdict::Served)
    } else if passage.names(host) && (seen || listener.mode != Mode::Forward) {
        let text = format!("{way} passed on untouched, without a token");
        (text, Verdict::Served)
    } else if passage.names(host) {
        let text = format!(
            "{way} refused: port {port} is not among the listener's ports (PortNotAllowed)"
        );
        (text, Verdict::Refused)
    } else {
        let text = format!(
            "{way} refused: neither interception.hosts nor the listener's hosts name {host} (HostNotAllowed)"
        );
        (text, Verdict::Refused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Sources};

    #[test]
    fn each_listener_says_what_it_makes_of_a_host() {
        let text = "
            credentials: {agent: {client_id: a, client_secret: b}}
            routes: [{inject: agent}]
            listeners:
              - bind: 127.0.0.1:8080
              - {bind: '127.0.0.1:3128', mode: forward, hosts: '*.blob.core.windows.net'}
              - {bind: '127.0.0.1:15001', mode: transparent}";
        let config = config::load(Sources::yaml(text)).unwrap().config;
        for (url, forward, verdict) in [
            (
                "https://api.bentley.com/x",
                "refused: neither",
                Verdict::Served,
            ),
            (
                "https://a.blob.core.windows.net/x",
                "untouched",
                Verdict::Served,
            ),
            (
                "https://a.blob.core.windows.net:8443/x",
                "port 8443",
                Verdict::Served,
            ),
        ] {
            let (lines, found) = to(&config, &url.parse().unwrap());
            assert_eq!(lines.len(), 2, "{lines:?}");
            assert!(lines[0].1.contains(forward), "{lines:?}");
            assert!(lines[1].1.contains("passed on untouched"), "{lines:?}");
            assert_eq!(found, verdict);
        }
        for ours in ["/imodels", "http://127.0.0.1:8080/imodels"] {
            assert!(to(&config, &ours.parse().unwrap()).0.is_empty());
        }
        for (url, meant) in [
            ("https://api.bentley.com/x", true),
            ("http://127.0.0.1:8080/x", true),
            ("/x", true),
            ("https://example.com/x", false),
        ] {
            let only = are_the_only_ones(&config, &url.parse().unwrap(), &config.routes[0]);
            assert_eq!(only, !meant, "{url}");
        }
    }
}
