//! Who may use a route.

use std::collections::BTreeSet;

use super::{
    super::{
        Admit, AdmitRule, SecretSource, SharedKey,
        path::Path,
        problem::shown,
        raw::{self, AdmitWord},
    },
    Check,
    files::Forms,
    provider::Providers,
};

/// Headers that carry something else, so that no key can be taken from them.
pub(super) const TAKEN: [&str; 12] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A key that is shorter can be guessed.
pub(super) const SHORTEST_KEY: usize = 16;

impl Check<'_> {
    /// The rules; `injects` decides what holds when nothing is written.
    pub(super) fn admit(
        &mut self,
        path: &Path,
        raw: Option<&raw::Admit>,
        otherwise: Admit,
        providers: &Providers,
    ) -> Option<Admit> {
        let rules = match raw {
            None => return Some(otherwise),
            Some(raw::Admit::Word(AdmitWord::Local)) => return Some(Admit::Local),
            Some(raw::Admit::Word(AdmitWord::Anyone)) => return Some(Admit::Anyone),
            Some(raw::Admit::Rules(rules)) => rules,
        };
        if rules.is_empty() {
            self.missing(
                path,
                "admits nobody: the list is empty",
                "write local, anyone, or a rule such as {networks: [10.0.0.0/8]}",
            );
            return None;
        }
        let rules: Vec<Option<AdmitRule>> = rules
            .iter()
            .enumerate()
            .map(|(n, rule)| self.rule(&path.index(n), rule, providers))
            .collect();
        Some(Admit::Rules(rules.into_iter().collect::<Option<_>>()?))
    }

    fn rule(
        &mut self,
        path: &Path,
        raw: &raw::AdmitRule,
        providers: &Providers,
    ) -> Option<AdmitRule> {
        let given: Vec<&str> = [
            ("networks", raw.networks.is_some()),
            ("key", raw.key.is_some()),
            ("bearer", raw.bearer.is_some()),
            ("session", raw.session.is_some()),
            ("certificate", raw.certificate.is_some()),
            ("uids", raw.uids.is_some()),
            ("proxy_user", raw.proxy_user.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect();
        if given.len() != 1 {
            let hint = "write one of networks, key, bearer, session, certificate, uids in each; of several rules one must hold";
            match given.len() {
                0 => self.missing(path, "the rule says nothing", hint),
                _ => self.error(
                    path,
                    format!(
                        "the rule has {}, which is more than one",
                        given.join(" and ")
                    ),
                    hint,
                ),
            }
            return None;
        }
        if let Some(key) = &raw.key {
            return self.shared_key(&path.key("key"), key).map(AdmitRule::Key);
        }
        if let Some(bearer) = &raw.bearer {
            return self.bearer(&path.key("bearer"), bearer, providers);
        }
        if let Some(name) = &raw.session {
            return self.session_called(&path.key("session"), name);
        }
        if let Some(certificate) = &raw.certificate {
            let names = certificate
                .names
                .iter()
                .flat_map(|names| names.0.iter().cloned());
            return Some(AdmitRule::Certificate {
                names: names.collect(),
            });
        }
        if let Some(user) = &raw.proxy_user {
            let user = self.proxy_user(&path.key("proxy_user"), user);
            return user.map(AdmitRule::ProxyUser);
        }
        if let Some(uids) = &raw.uids {
            let uids: BTreeSet<u32> = uids.iter().copied().collect();
            if uids.is_empty() {
                self.missing(&path.key("uids"), "names nobody", "");
            }
            return Some(AdmitRule::Uids(uids));
        }
        let path = path.key("networks");
        let networks = self.networks(&path, raw.networks.as_ref());
        if networks.is_empty() {
            self.missing(&path, "names no network", "");
        }
        Some(AdmitRule::Networks(networks))
    }

    fn shared_key(&mut self, path: &Path, raw: &raw::KeyRule) -> Option<SharedKey> {
        let header_path = path.key("header");
        let header = raw
            .header
            .as_deref()
            .unwrap_or("x-api-key")
            .to_ascii_lowercase();
        let good = http::HeaderName::from_bytes(header.as_bytes()).is_ok();
        if !good {
            self.error(
                &header_path,
                format!("{} is not a header's name", shown(&header_path, &header)),
                "",
            );
        } else if TAKEN.contains(&header.as_str()) {
            self.error(
                &header_path,
                format!("the header {header} carries something else"),
                "use a header of its own, such as x-api-key",
            );
        }
        let current = Forms {
            key: "secret",
            value: raw.secret.as_ref(),
            file: raw.secret_file.as_ref(),
            env: raw.secret_env.as_ref(),
        };
        let previous = Forms {
            key: "secret_previous",
            value: raw.secret_previous.as_ref(),
            file: raw.secret_previous_file.as_ref(),
            env: raw.secret_previous_env.as_ref(),
        };
        if !current.given() {
            self.missing(
                path,
                "has no secret",
                "give secret_file, secret_env or secret",
            );
        }
        let secret = self.secret_pair(path, current, previous)?;
        for (source, key) in [
            (Some(&secret.current), "secret"),
            (secret.previous.as_ref(), "secret_previous"),
        ] {
            self.long_enough(path, key, source);
        }
        if let Some(name) = &raw.name {
            self.name(&path.key("name"), name);
        }
        Some(SharedKey {
            name: raw.name.as_deref().unwrap_or("key").into(),
            header,
            secret,
        })
    }

    /// Refuses a secret that can be guessed; `key` is its written form.
    pub(super) fn long_enough(&mut self, above: &Path, key: &str, source: Option<&SecretSource>) {
        self.at_least(above, key, source, SHORTEST_KEY);
    }

    /// The same, with another length in characters.
    pub(super) fn at_least(
        &mut self,
        above: &Path,
        key: &str,
        source: Option<&SecretSource>,
        shortest: usize,
    ) {
        let Some(secret) = source.and_then(|source| source.read().ok()) else {
            return;
        };
        if secret.expose().len() < shortest {
            let path = match source {
                Some(SecretSource::File(_)) => above.key(&format!("{key}_file")),
                _ => above.key(key),
            };
            self.error(
                &path,
                format!(
                    "the secret is shorter than {shortest} characters, so that it can be guessed"
                ),
                "openssl rand -base64 32 makes a good one",
            );
        }
    }
}
