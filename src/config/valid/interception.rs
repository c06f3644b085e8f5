//! Interception: the authority can do what the hosts need, and no more than that is asked of it.

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{
    super::{
        Identity, Interception, PlannedAuthority,
        path::Path,
        problem::{Place, shown},
        raw,
    },
    Check,
    scalar::{DAY, MINUTE},
};
use crate::clock::Clock;

/// Software is told of a new authority by hand, so that its end is told early.
const SOON: u64 = 30 * 24 * 3600;

impl Check<'_> {
    pub(super) fn interception(&mut self, raw: Option<&raw::Interception>) -> Option<Interception> {
        let raw = raw?;
        let path = Path::root().key("interception");
        let hosts = self.opened_hosts(&path.key("hosts"), raw.hosts.as_ref());
        let files = raw::Identity {
            certificate: raw.certificate.clone(),
            key: raw.key.clone(),
        };
        let authority = if self.authority_is_there(&path, &files) {
            self.identity(&path, &files)
        } else {
            None
        };
        if let (Some(authority), Some(hosts)) = (&authority, &hosts) {
            self.can_sign_for(&path, authority, hosts);
        }
        let leaf_lifetime = self.duration(
            &path.key("leaf_lifetime"),
            raw.leaf_lifetime.as_deref(),
            DAY,
            MINUTE * 10..=DAY * 90,
        );
        Some(Interception {
            authority: authority?,
            hosts: hosts?,
            leaf_lifetime,
        })
    }

    /// Told at once for both files: before the authority is made neither is there.
    fn authority_is_there(&mut self, path: &Path, files: &raw::Identity) -> bool {
        let both = [("certificate", &files.certificate), ("key", &files.key)];
        let absent = |file: &String| !std::path::Path::new(file).exists();
        let first = both
            .iter()
            .find(|(_, file)| file.as_ref().is_some_and(absent));
        let Some((key, Some(file))) = first else {
            return true;
        };
        let hint = format!("{} makes an authority", self.makes_one(path, ""));
        self.error(
            &path.key(key),
            format!("the file {file} is not there"),
            hint,
        );
        false
    }

    fn makes_one(&self, path: &Path, options: &str) -> String {
        let command = format!("itwin-auth-proxy ca init{options}");
        match self.place(path) {
            Some(Place::File { name, .. }) => format!("{command} --config {name}"),
            _ => command,
        }
    }

    pub(super) fn planned_authority(
        &mut self,
        raw: &raw::Interception,
    ) -> Option<PlannedAuthority> {
        let path = Path::root().key("interception");
        let hosts = self.opened_hosts(&path.key("hosts"), raw.hosts.as_ref());
        Some(PlannedAuthority {
            files: Identity {
                certificate: raw.certificate.as_ref()?.into(),
                key: raw.key.as_ref()?.into(),
            },
            hosts: hosts?,
        })
    }

    fn opened_hosts(&mut self, path: &Path, words: Option<&raw::Words>) -> Option<Vec<String>> {
        let words = words.map_or(&[][..], |words| &words.0);
        if words.is_empty() {
            let hint = "name the hosts that the software calls, as in [api.bentley.com, ims.bentley.com]; no other is opened";
            self.missing(path, "names no host", hint);
            return None;
        }
        let mut hosts = Vec::with_capacity(words.len());
        let mut all = true;
        for (n, word) in words.iter().enumerate() {
            match self.host(&path.index(n), word) {
                Some(host) if host.parse::<std::net::IpAddr>().is_ok() => {
                    let text = format!("{} is an address", shown(path, word));
                    let hint = "only connections to names are opened: the authority must not be able to sign for addresses";
                    self.error(&path.index(n), text, hint);
                    all = false;
                }
                Some(host) if host.trim_start_matches("*.").is_empty() => all = false,
                Some(host) => {
                    if !hosts.contains(&host) {
                        hosts.push(host);
                    }
                }
                None => all = false,
            }
        }
        all.then_some(hosts)
    }

    fn can_sign_for(&mut self, path: &Path, authority: &Identity, hosts: &[String]) {
        let file = authority.certificate.display().to_string();
        let at = path.key("certificate");
        let Some(der) = self.certificates(&at, &file).and_then(|mut all| {
            // the first is the key's
            (!all.is_empty()).then(|| all.remove(0))
        }) else {
            return;
        };
        let remake = self.makes_one(path, " --force");
        let Ok((_, certificate)) = X509Certificate::from_der(&der) else {
            self.error(
                &at,
                format!("the certificate in {file} cannot be read"),
                remake,
            );
            return;
        };
        if !signs(&certificate) {
            let text =
                format!("the certificate in {file} is no authority's: it may not sign others");
            self.error(&at, text, format!("{remake} makes one"));
            return;
        }
        self.lasts(&at, &file, &certificate, &remake);
        let constraints = certificate.name_constraints().ok().flatten();
        let Some(constraints) = constraints else {
            let text = format!("the authority in {file} may sign for every name there is");
            let hint = format!("{remake} makes one for the configured hosts only");
            self.warn(&at, text, hint);
            return;
        };
        for (n, host) in hosts.iter().enumerate() {
            let name = host.trim_start_matches("*.");
            let below = |all: &[&str]| all.iter().any(|base| is_below(name, base));
            let permitted = dns(constraints.value.permitted_subtrees.as_deref());
            let excluded = dns(constraints.value.excluded_subtrees.as_deref());
            let barred = permitted.as_ref().is_some_and(|all| !below(all))
                || excluded.as_ref().is_some_and(|all| below(all));
            if barred {
                let text = format!("the authority in {file} may not sign for {host}");
                let hint = format!(
                    "{remake} makes a new one; software that trusts the old one must be told"
                );
                self.error(&path.key("hosts").index(n), text, hint);
            }
        }
    }

    fn lasts(&mut self, at: &Path, file: &str, certificate: &X509Certificate<'_>, remake: &str) {
        let now = i64::try_from(Clock::system().now().unix_seconds()).unwrap_or(i64::MAX);
        let validity = certificate.validity();
        let (from, until) = (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        );
        let hint =
            format!("{remake} makes a new one; software that trusts the old one must be told");
        if until <= now {
            let text = format!("the authority in {file} has ended: {}", validity.not_after);
            self.error(at, text, hint);
        } else if from > now {
            let text = format!(
                "the authority in {file} begins in the future: {}",
                validity.not_before
            );
            self.error(at, text, "is the clock of this machine right?");
        } else if until.saturating_sub(now).unsigned_abs() < SOON {
            let text = format!("the authority in {file} ends soon: {}", validity.not_after);
            self.warn(at, text, hint);
        }
    }
}

/// RFC 5280 sections 4.2.1.3 and 4.2.1.9.
fn signs(certificate: &X509Certificate<'_>) -> bool {
    let usage = certificate.key_usage().ok().flatten();
    certificate.is_ca() && usage.is_none_or(|usage| usage.value.key_cert_sign())
}

/// The DNS names among subtrees; nothing when there is none, so that names are not restricted.
fn dns<'a>(
    subtrees: Option<&[x509_parser::extensions::GeneralSubtree<'a>]>,
) -> Option<Vec<&'a str>> {
    let names: Vec<&str> = subtrees?
        .iter()
        .filter_map(|subtree| match subtree.base {
            GeneralName::DNSName(name) => Some(name),
            _ => None,
        })
        .collect();
    (!names.is_empty()).then_some(names)
}

/// RFC 5280 section 4.2.1.10: the name itself, or with labels before it.
fn is_below(name: &str, base: &str) -> bool {
    let base = base.trim_start_matches('.').to_ascii_lowercase();
    base.is_empty()
        || name == base
        || name
            .strip_suffix(&base)
            .is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use rcgen::{
        BasicConstraints, CertificateParams, CidrSubnet, GeneralSubtree, IsCa, KeyPair,
        KeyUsagePurpose, NameConstraints, date_time_ymd,
    };

    use crate::config::{self, Loaded, Problems, Sources};

    /// An authority that permits `api.bentley.com` and what is below `example.com`.
    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: ["api.bentley.com", "example.com"]
                .map(|name| GeneralSubtree::DnsName(name.to_owned()))
                .into(),
            excluded_subtrees: vec![
                GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
                GeneralSubtree::DnsName("not.example.com".into()),
            ],
        });
        params
    }

    /// The configuration with this authority, whose key has these permissions.
    fn with(params: &CertificateParams, permissions: u32, rest: &str) -> Result<Loaded, Problems> {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let key = KeyPair::generate().unwrap();
        fs::write(at("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(at("ca.key"), key.serialize_pem()).unwrap();
        fs::set_permissions(at("ca.key"), fs::Permissions::from_mode(permissions)).unwrap();
        let text = format!(
            "credentials: {{agent: {{client_id: a, client_secret: b}}}}\n\
            interception: {{certificate: '{0}/ca.crt', key: '{0}/ca.key', {rest}}}\n",
            directory.path().display()
        );
        config::load(Sources::yaml(&text))
    }

    /// All that is said of it, with hints.
    fn said(params: &CertificateParams, permissions: u32, rest: &str) -> String {
        let problems = match with(params, permissions, rest) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems,
        };
        problems.to_string()
    }

    #[test]
    fn an_authority_that_can_sign_for_the_hosts_and_no_more_is_good() {
        let rest = "hosts: [API.Bentley.com, api.bentley.com, x.api.bentley.com, '*.example.com']";
        let loaded = with(&params(), 0o600, rest).unwrap();
        assert_eq!(loaded.warnings.to_string(), "");
        let interception = loaded.config.interception.unwrap();
        let hosts = ["api.bentley.com", "x.api.bentley.com", "*.example.com"];
        assert_eq!(interception.hosts, hosts);
        assert_eq!(interception.leaf_lifetime.as_secs(), 24 * 3600);
    }

    /// What is said holds each part, and is one thing.
    fn told(table: &[(&CertificateParams, u32, &str, &[&str])]) {
        for (params, permissions, rest, parts) in table {
            let said = said(params, *permissions, rest);
            for part in *parts {
                assert!(said.contains(part), "{rest}\nwanted: {part}\nsaid: {said}");
            }
            let told = said.matches("error: ").count() + said.matches("warning: ").count();
            assert_eq!(told, 1, "one fault is told once: {said}");
        }
    }

    #[test]
    fn a_listener_that_takes_a_services_place_finds_the_service_by_other_means_than_its_name() {
        let taking =
            "hosts: [api.bentley.com]}\nlisteners: [{bind: '127.0.0.1:1', tls: {minted: true}}";
        let lists =
            |routes: &str| format!("{taking}]\nroutes: [{{inject: agent, {routes}}}]\nlog: {{");
        let said = said(&params(), 0o600, &lists("path: /a"));
        for part in [
            "warning: routes[0].upstream",
            "takes the place of api.bentley.com: its name may lead back to us",
            "tls.addresses or tls.name_servers",
        ] {
            assert!(said.contains(part), "{part}\n{said}");
        }
        for found in ["addresses: 192.0.2.1", "name_servers: 192.0.2.53"] {
            let route = format!("upstream: {{url: 'https://api.bentley.com', tls: {{{found}}}}}");
            let loaded = with(&params(), 0o600, &lists(&route)).unwrap();
            assert_eq!(loaded.warnings.to_string(), "", "{found}");
        }
    }

    #[test]
    fn a_host_that_is_opened_and_that_nothing_serves_is_worth_a_warning() {
        let forward = |rest: &str| {
            format!(
                "hosts: [api.bentley.com]}}\nlisteners: [{{bind: '127.0.0.1:1', mode: forward}}]\n{rest}\nlog: {{"
            )
        };
        let elsewhere = "{inject: agent, upstream: 'http://127.0.0.1:9001'}";
        let warned = said(
            &params(),
            0o600,
            &forward(&format!("routes: [{elsewhere}]")),
        );
        for part in [
            "warning: interception.hosts[0]",
            "no route serves it: what is asked there is answered 404",
            "hosts: [api.bentley.com]",
        ] {
            assert!(warned.contains(part), "{part}\n{warned}");
        }
        for served in [
            "routes: [{inject: agent}]".to_owned(),
            format!("routes: [{{hosts: api.bentley.com, {}", &elsewhere[1..]) + "]",
            format!("routes: [{{hosts: '*.bentley.com', {}", &elsewhere[1..]) + "]",
            format!(
                "routes: [{elsewhere}]\nauthorities: [{{credential: agent, hosts: api.bentley.com}}]"
            ),
        ] {
            let said = said(&params(), 0o600, &forward(&served));
            assert!(!said.contains("no route serves it"), "{served}\n{said}");
        }
    }

    #[test]
    fn each_fault_of_the_hosts_is_told_with_its_remedy() {
        let good = params();
        let hosts = "hosts: [api.bentley.com]";
        told(&[
            (
                &good,
                0o600,
                "hosts: []",
                &["interception.hosts: names no host"],
            ),
            (
                &good,
                0o600,
                "leaf_lifetime: 1h",
                &["interception.hosts", "is missing"],
            ),
            (
                &good,
                0o600,
                "hosts: [10.0.0.1]",
                &["hosts[0]: '10.0.0.1' is an address"],
            ),
            (
                &good,
                0o600,
                "hosts: ['*']",
                &["hosts[0]: '*' is not a host"],
            ),
            (
                &good,
                0o600,
                "hosts: ['https://api.bentley.com/']",
                &["write the host only"],
            ),
            (
                &good,
                0o600,
                "hosts: [api.bentley.com, ims.bentley.com]",
                &[
                    "hosts[1]: the authority in ",
                    "may not sign for ims.bentley.com",
                    "ca init --force --config config.yaml",
                ],
            ),
            (
                &good,
                0o600,
                "hosts: [anexample.com]",
                &["may not sign for anexample.com"],
            ),
            (
                &good,
                0o600,
                "hosts: ['*.not.example.com']",
                &["may not sign for *.not.example.com"],
            ),
            (
                &good,
                0o644,
                hosts,
                &["every user of this machine can read", "chmod 600"],
            ),
        ]);
    }

    #[test]
    fn each_fault_of_the_authority_is_told_with_its_remedy() {
        let good = params();
        let hosts = "hosts: [api.bentley.com]";
        let mut unable = params();
        unable.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let mut leaf = params();
        leaf.is_ca = IsCa::NoCa;
        let mut ended = params();
        ended.not_after = date_time_ymd(2001, 1, 1);
        let mut early = params();
        early.not_before = date_time_ymd(3001, 1, 1);
        let mut wide = params();
        wide.name_constraints = None;
        let mut soon = params();
        soon.not_after = time::UtcDateTime::now().into();
        soon.not_after += std::time::Duration::from_secs(3600 * 24 * 20);
        let init = "itwin-auth-proxy ca init --force --config config.yaml";
        told(&[
            (&unable, 0o600, hosts, &["is no authority's", init]),
            (&leaf, 0o600, hosts, &["is no authority's", init]),
            (
                &ended,
                0o600,
                hosts,
                &["has ended: Jan  1 00:00:00 2001", init],
            ),
            (
                &early,
                0o600,
                hosts,
                &[
                    "begins in the future",
                    "is the clock of this machine right?",
                ],
            ),
            (&soon, 0o600, hosts, &["warning", "ends soon", init]),
            (
                &wide,
                0o600,
                hosts,
                &["warning", "may sign for every name there is", init],
            ),
            (
                &good,
                0o600,
                "hosts: [api.bentley.com], leaf_lifetime: 1s",
                &["is out of range"],
            ),
        ]);
    }
}
