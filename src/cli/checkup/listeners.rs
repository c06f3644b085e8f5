//! Listeners: who can reach them, and what they could do there; and variables of this environment
//! that would lead callers past them.

use std::os::unix::fs::MetadataExt;

use super::Finding;
use crate::config::{Admit, AdmitRule, Bind, Config, Listener, source::ProxyVariables};

/// Each listener, then the admin listener.
pub(in crate::cli) fn findings(config: &Config) -> Vec<Finding> {
    let mut all: Vec<Finding> = config
        .listeners
        .iter()
        .map(|listener| exposure(config, listener))
        .collect();
    if let Some(admin) = config.admin {
        let what = format!("admin listener {admin}");
        all.push(if admin.ip().is_loopback() {
            Finding::ok("listeners", &what, "for this machine only")
        } else {
            let seen = "others can read its status and metrics, and the configuration's names";
            let remedy = "bind it to 127.0.0.1, or let only the probes and Prometheus reach it (a \
                          NetworkPolicy, a firewall)";
            Finding::warning("listeners", &what, seen, remedy)
        });
    }
    all
}

fn exposure(config: &Config, listener: &Listener) -> Finding {
    let what = format!("listener {}", listener.bind);
    let tls = listener.tls.is_some();
    match &listener.bind {
        Bind::Unix { path, mode } => {
            let mode = std::fs::metadata(path).map_or(*mode, |found| found.mode() & 0o777);
            if mode & 0o002 == 0 {
                return Finding::ok("listeners", &what, format!("a socket of mode {mode:04o}"));
            }
            let local = config
                .routes
                .iter()
                .any(|route| route.inject.is_some() && matches!(route.admit, Admit::Local));
            let seen =
                format!("a socket of mode {mode:04o}: every user of this machine can use it");
            if local {
                let remedy =
                    "set socket_mode: 0660 and the group of those who may, or admit: {uids: […]}";
                Finding::warning("listeners", &what, seen, remedy)
            } else {
                Finding::ok("listeners", &what, seen)
            }
        }
        Bind::Tcp(address) if address.ip().is_loopback() => {
            Finding::ok("listeners", &what, "for this machine only")
        }
        Bind::Tcp(_) if !tls && sends_secrets(config, listener) => {
            let seen = "others can reach it, and callers send keys, passwords or tokens to it in \
                        clear";
            let remedy =
                "give it tls: {certificate, key}, or let something with TLS stand in front";
            Finding::warning("listeners", &what, seen, remedy)
        }
        Bind::Tcp(_) => {
            let anyone = config
                .routes
                .iter()
                .any(|route| route.inject.is_some() && matches!(route.admit, Admit::Anyone));
            if anyone {
                let seen =
                    "whoever reaches it acts with the credential of a route that admits anyone";
                let remedy = "let the route admit only those who may: networks, keys, bearer tokens, \
                              certificates";
                return Finding::warning("listeners", &what, seen, remedy);
            }
            let how = if tls { "by TLS" } else { "without TLS" };
            Finding::ok("listeners", &what, format!("others can reach it, {how}"))
        }
    }
}

/// Whether callers prove there who they are by something that could be read on the way.
fn sends_secrets(config: &Config, listener: &Listener) -> bool {
    let routes = config.routes.iter().map(|route| &route.admit);
    let passage = listener.passage.iter().map(|passage| &passage.admit);
    routes.chain(passage).any(|admit| match admit {
        Admit::Rules(rules) => rules.iter().any(|rule| {
            matches!(
                rule,
                AdmitRule::Key(_)
                    | AdmitRule::Bearer { .. }
                    | AdmitRule::Session(_)
                    | AdmitRule::ProxyUser(_)
            )
        }),
        Admit::Local | Admit::Anyone => false,
    })
}

/// What programs that are started from here would do with requests to this machine.
pub(in crate::cli) fn environment(variables: &ProxyVariables) -> Vec<Finding> {
    let what = "proxy variables of this environment";
    let mut all = Vec::new();
    let hijacked = variables.hijack_loopback();
    all.push(if !hijacked.is_empty() {
        let seen = format!(
            "{} would have software send its requests to 127.0.0.1 to that proxy, tokens and all",
            hijacked.join(", ")
        );
        let remedy = "export NO_PROXY=127.0.0.1,localhost,::1 no_proxy=127.0.0.1,localhost,::1 where \
                      the software runs";
        Finding::warning("environment", what, seen, remedy)
    } else if variables.any() {
        Finding::ok("environment", what, "they leave this machine's own addresses alone")
    } else {
        Finding::ok("environment", what, "none")
    });
    if variables.unverified_tls {
        let seen =
            "NODE_TLS_REJECT_UNAUTHORIZED=0: Node programs started from here trust everybody";
        let remedy = "unset NODE_TLS_REJECT_UNAUTHORIZED; NODE_EXTRA_CA_CERTS adds an authority";
        let what = "TLS variables of this environment";
        all.push(Finding::warning("environment", what, seen, remedy));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::checkup::Verdict,
        config::{self, Sources},
    };

    #[test]
    fn a_listener_says_who_can_reach_it_and_what_for() {
        let key = "admit: {key: {name: k, header: x-key, secret: abcdefghijklmnop}}";
        for (listener, route, verdict, part) in [
            ("127.0.0.1:1", "", Verdict::Ok, "for this machine only"),
            ("0.0.0.0:1", key, Verdict::Warning, "in clear"),
            (
                "0.0.0.0:1",
                "admit: anyone",
                Verdict::Warning,
                "admits anyone",
            ),
            (
                "0.0.0.0:1",
                "admit: {networks: ['10.0.0.0/8']}",
                Verdict::Ok,
                "without TLS",
            ),
        ] {
            let text = format!(
                "
credentials: {{agent: {{client_id: x, client_secret: s}}}}
listeners: ['{listener}']
routes: [{{inject: agent, upstream: 'https://api.bentley.com', {route}}}]
"
            );
            let config = match config::load(Sources::yaml(&text)) {
                Ok(loaded) => loaded.config,
                Err(problems) => panic!("{}", problems.render(config::Rendering::Plain)),
            };
            let found = findings(&config).remove(0);
            assert_eq!(found.verdict, verdict, "{listener} {route}: {}", found.seen);
            assert!(found.seen.contains(part), "{}", found.seen);
        }
    }

    #[test]
    fn proxy_variables_that_catch_loopback_are_named() {
        for (variables, hijacking) in [
            (&[][..], &[][..]),
            (&[("HTTP_PROXY", "http://p:1")], &["HTTP_PROXY"]),
            (
                &[
                    ("http_proxy", "http://p:1"),
                    ("no_proxy", "localhost,127.0.0.1"),
                ],
                &[],
            ),
            (&[("http_proxy", "http://p:1"), ("NO_PROXY", "*")], &[]),
            (
                &[("ALL_PROXY", "http://p:1"), ("NO_PROXY", "example.com")],
                &["ALL_PROXY"],
            ),
            (&[("HTTPS_PROXY", "http://p:1")], &["HTTPS_PROXY"]),
            (
                &[
                    ("HTTP_PROXY", "http://p:1"),
                    ("NO_PROXY", "127.0.0.0/8 , localhost"),
                ],
                &[],
            ),
            (&[("HTTP_PROXY", "http://127.0.0.1:3128")], &["HTTP_PROXY"]),
            (&[("HTTP_PROXY", "")], &[]),
        ] {
            let found = ProxyVariables::told(|name| {
                let found = variables.iter().find(|(its, _)| *its == name);
                found.map(|(_, value)| (*value).to_owned())
            });
            assert_eq!(found.hijack_loopback(), hijacking, "{variables:?}");
        }
    }
}
