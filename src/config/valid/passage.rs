//! What a listener lets through to hosts that are not ours.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    super::{
        Admit, AdmitRule, Bind, Mode, Passage, ProxyUser, RedirectedBy,
        path::Path,
        problem::shown,
        raw::{self, ProxyUser as Written, RedirectedBy as Way},
    },
    Check,
    files::Forms,
    provider::Providers,
};

const DEFAULT_PAC: &str = "/proxy.pac";

const DEFAULT_PORTS: [u16; 2] = [80, 443];

/// Any host.
const ANY: &str = "*";

impl Check<'_> {
    /// `None`: the listener's mode has no use for one, or there is something wrong with it.
    pub(super) fn passage(
        &mut self,
        path: &Path,
        raw: &raw::Listener,
        mode: Mode,
        bind: Option<&Bind>,
        providers: &Providers,
    ) -> Option<Passage> {
        self.belongs_to(path, raw, mode);
        if !mode.names_others() {
            return None;
        }
        let at = path.key("admit");
        let admit = self.admit(&at, raw.admit.as_ref(), Admit::Local, providers);
        if let Some(admit) = &admit {
            self.judges_connections(&at, admit, mode);
            if matches!(admit, Admit::Local) && bind.is_some_and(|bind| !bind.is_local()) {
                self.missing(
                    &at,
                    "admits nobody: others than this machine can reach the listener, and nothing says who may use it",
                    "say who may: admit: {networks: [10.0.0.0/8]}, or bind 127.0.0.1",
                );
            }
        }
        let hosts = match &raw.hosts {
            None if mode == Mode::Forward => Some(Vec::new()),
            None => Some(vec![ANY.to_owned()]),
            Some(words) => self.passed_hosts(&path.key("hosts"), words),
        };
        let ports: BTreeSet<u16> = match &raw.ports {
            None => DEFAULT_PORTS.into(),
            Some(ports) => ports.iter().copied().collect(),
        };
        if ports.is_empty() || ports.contains(&0) {
            self.missing(&path.key("ports"), "names no port", "such as [80, 443]");
        }
        let open =
            matches!(admit, Some(Admit::Anyone)) && bind.is_some_and(|bind| !bind.is_local());
        if open && mode == Mode::Forward {
            self.warn(
                &at,
                "anyone who reaches the listener can go through it to its hosts",
                "name networks, or ask for a user and a password: admit: {proxy_user: {name: agent, password_file: …}}",
            );
        }
        let networks = self.networks(&path.key("networks"), raw.networks.as_ref());
        let servers = raw.name_servers.as_ref();
        let name_servers = self.addresses(&path.key("name_servers"), servers, 53);
        let pac = self.plain_path(&path.key("pac"), raw.pac.as_deref(), DEFAULT_PAC);
        Some(Passage {
            admit: admit?,
            hosts: hosts?,
            ports,
            networks,
            name_servers,
            pac: pac?,
        })
    }

    /// Keys that another mode has.
    fn belongs_to(&mut self, path: &Path, raw: &raw::Listener, mode: Mode) {
        let either = mode.names_others();
        let forward = mode == Mode::Forward;
        let transparent = matches!(mode, Mode::Transparent(_));
        let keys = [
            (
                "admit",
                raw.admit.is_some(),
                either,
                "forward or transparent",
            ),
            (
                "hosts",
                raw.hosts.is_some(),
                either,
                "forward or transparent",
            ),
            (
                "ports",
                raw.ports.is_some(),
                either,
                "forward or transparent",
            ),
            (
                "networks",
                raw.networks.is_some(),
                either,
                "forward or transparent",
            ),
            (
                "name_servers",
                raw.name_servers.is_some(),
                forward,
                "forward",
            ),
            ("pac", raw.pac.is_some(), forward, "forward"),
            (
                "redirected_by",
                raw.redirected_by.is_some(),
                transparent,
                "transparent",
            ),
        ];
        for (key, given, known, whose) in keys {
            if given && !known {
                let hint = match key {
                    "admit" => "say at each route who may use it".to_owned(),
                    _ => format!("write mode: {whose}, or leave it out"),
                };
                self.error(
                    &path.key(key),
                    format!("has no effect: it belongs to listeners of the mode {whose}"),
                    hint,
                );
            }
        }
    }

    pub(super) fn redirected_by(written: Option<Way>) -> RedirectedBy {
        match written {
            None | Some(Way::Nat) => RedirectedBy::Nat,
            Some(Way::Tproxy) => RedirectedBy::Tproxy,
        }
    }

    /// A connection is admitted before there is a request to look at.
    fn judges_connections(&mut self, path: &Path, admit: &Admit, mode: Mode) {
        let Admit::Rules(rules) = admit else {
            return;
        };
        for (n, rule) in rules.iter().enumerate() {
            let path = path.index(n);
            match rule {
                AdmitRule::Key(_) | AdmitRule::Bearer { .. } => self.error(
                    &path,
                    "cannot be asked for here: what a tunnel carries is not seen",
                    "use networks, proxy_user, certificate or uids; a route's admit may ask for more",
                ),
                AdmitRule::Session(_) => self.error(
                    &path,
                    "people who sign in with a browser do not ask here",
                    "write it on a route",
                ),
                AdmitRule::ProxyUser(_) if mode != Mode::Forward => self.error(
                    &path,
                    "cannot be asked for here: redirected programs know of no proxy",
                    "use networks",
                ),
                _ => {}
            }
        }
    }

    fn passed_hosts(&mut self, path: &Path, words: &raw::Words) -> Option<Vec<String>> {
        let checked: Vec<Option<String>> = words
            .0
            .iter()
            .enumerate()
            .map(|(n, word)| match word.as_str() {
                ANY => Some(ANY.to_owned()),
                word => self.host(&path.index(n), word),
            })
            .collect();
        checked.into_iter().collect()
    }

    pub(super) fn proxy_user(&mut self, path: &Path, raw: &Written) -> Option<ProxyUser> {
        let at = path.key("name");
        let name = raw.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            self.missing(&at, "is missing", "");
        } else if name.contains(':') || name.chars().any(char::is_control) {
            // RFC 7617 section 2
            self.error(
                &at,
                format!("{} is no name of a user", shown(&at, name)),
                "a name has no colon and no control character",
            );
        }
        let current = Forms {
            key: "password",
            value: raw.password.as_ref(),
            file: raw.password_file.as_ref(),
            env: raw.password_env.as_ref(),
        };
        let previous = Forms {
            key: "password_previous",
            value: raw.password_previous.as_ref(),
            file: raw.password_previous_file.as_ref(),
            env: raw.password_previous_env.as_ref(),
        };
        if !current.given() {
            let hint = "give password_file, password_env or password";
            self.missing(path, "has no password", hint);
        }
        let password = self.secret_pair(path, current, previous)?;
        for (source, key) in [
            (Some(&password.current), "password"),
            (password.previous.as_ref(), "password_previous"),
        ] {
            self.long_enough(path, key, source);
        }
        Some(ProxyUser {
            name: Arc::from(name),
            password,
        })
    }
}
