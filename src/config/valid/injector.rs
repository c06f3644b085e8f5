//! The injector's file: from what was written to values that cannot be wrong.

use std::net::SocketAddr;

use super::{
    super::{
        injector::{
            ApiServer, BentleyEnvironment, InjectedMode, InjectionSettings, Injector, Managed,
            NativeSidecars, Redirected, Resources, WebhookCertificate,
            value::{self, Allowed},
        },
        path::Path,
        problem::{Problems, shown},
        raw,
        source::Environment,
        tree::Node,
    },
    Check, Purpose,
};

/// The configuration, if nothing is wrong with it.
pub(in crate::config) fn injector(
    raw: &raw::Injector,
    tree: &Node,
    problems: &mut Problems,
) -> Option<Injector> {
    let mut check = Check {
        tree,
        environment: &Environment::default(),
        problems,
        purpose: Purpose::Forwards,
        sessions: super::session::Sessions::new(),
    };
    let root = Path::root();
    let bind = check.listens(&root.key("bind"), raw.bind.as_deref(), "0.0.0.0:8443");
    let admin = check.listens(&root.key("admin"), raw.admin.as_deref(), "0.0.0.0:9901");
    let certificate = check.webhook_certificate(raw.certificate.as_ref());
    let api_server = check.api_server(raw.api_server.as_ref());
    let settings = check.injection(raw);
    let log = check.log(raw.log.as_ref());
    if bind.is_some() && bind == admin {
        check.error(
            &root.key("admin"),
            "is the address that the webhook is served at, too",
            "give one of them another port",
        );
    }
    if check.problems.errors() > 0 {
        return None;
    }
    Some(Injector {
        bind: bind?,
        admin: admin?,
        certificate: certificate?,
        native_sidecars: match raw.native_sidecars {
            None | Some(raw::NativeSidecars::Auto) => NativeSidecars::Auto,
            Some(raw::NativeSidecars::Always) => NativeSidecars::Always,
            Some(raw::NativeSidecars::Never) => NativeSidecars::Never,
        },
        api_server: api_server?,
        log,
        settings: settings?,
    })
}

impl Check<'_> {
    fn listens(&mut self, path: &Path, written: Option<&str>, default: &str) -> Option<SocketAddr> {
        self.socket_address(path, written.unwrap_or(default))
    }

    /// A value with its parser; nothing when it is absent or wrong.
    fn value<T>(
        &mut self,
        path: &Path,
        written: Option<&str>,
        parse: fn(&str) -> Result<T, Allowed>,
    ) -> Option<T> {
        let written = written?;
        let parsed = parse(written);
        if let Err(allowed) = &parsed {
            let text = format!("{} is not allowed", shown(path, written));
            self.error(path, text, format!("allowed is {allowed}"));
        }
        parsed.ok()
    }

    fn webhook_certificate(
        &mut self,
        raw: Option<&raw::Certificate>,
    ) -> Option<WebhookCertificate> {
        let path = Path::root().key("certificate");
        match (
            raw.and_then(|raw| raw.files.as_ref()),
            raw.and_then(|raw| raw.managed.as_ref()),
        ) {
            (Some(files), None) => self
                .identity(&path.key("files"), files)
                .map(WebhookCertificate::Files),
            (None, Some(managed)) => self
                .managed(&path.key("managed"), managed)
                .map(WebhookCertificate::Managed),
            (Some(_), Some(managed)) => {
                self.managed(&path.key("managed"), managed);
                self.error(
                    &path,
                    "has both files and managed",
                    "files are renewed by somebody else, managed is renewed by the injector: leave one out",
                );
                None
            }
            (None, None) => {
                self.missing(
                    &path,
                    "needs files or managed",
                    "files: { certificate: …, key: … } for cert-manager's, or managed: { secret: …, namespace: …, service: …, webhook: … }",
                );
                None
            }
        }
    }

    fn managed(&mut self, path: &Path, raw: &raw::Managed) -> Option<Managed> {
        let mut name = |key: &str, written: &Option<String>| {
            self.value(&path.key(key), written.as_deref(), value::object)
        };
        let secret = name("secret", &raw.secret);
        let namespace = name("namespace", &raw.namespace);
        let service = name("service", &raw.service);
        let webhook = name("webhook", &raw.webhook);
        Some(Managed {
            secret: secret?,
            namespace: namespace?,
            service: service?,
            webhook: webhook?,
        })
    }

    fn api_server(&mut self, raw: Option<&raw::ApiServer>) -> Option<ApiServer> {
        let Some(raw) = raw else {
            return Some(ApiServer::InCluster);
        };
        let path = Path::root().key("api_server");
        let url = raw.url.as_ref();
        let url = url.and_then(|url| self.secure_url(&path.key("url"), url));
        let token = raw.token_file.as_ref();
        let token = token.and_then(|file| self.readable(&path.key("token_file"), file));
        let ca = raw.ca_file.as_ref();
        let ca = ca.and_then(|file| self.authorities(&path.key("ca_file"), file));
        Some(ApiServer::At {
            url: url?,
            token_file: token?,
            ca_file: ca?,
        })
    }

    fn injection(&mut self, raw: &raw::Injector) -> Option<InjectionSettings> {
        let image = self.value(
            &Path::root().key("image"),
            raw.image.as_deref(),
            value::image,
        );
        let path = Path::root().key("defaults");
        let default = raw::Defaults::default();
        let raw_defaults = raw.defaults.as_ref().unwrap_or(&default);
        let at = |key: &str| path.key(key);
        let d = raw_defaults;
        let joined = |words: &Option<raw::Words>| words.as_ref().map(|words| words.0.join(" "));
        let secret = d.credential_secret.as_deref();
        let credential_secret = self.value(&at("credential_secret"), secret, value::object);
        let scopes = joined(&d.scopes).filter(|scopes| !scopes.is_empty());
        let scopes = self.value(&at("scopes"), scopes.as_deref(), value::scopes);
        let upstream = self.value(&at("upstream"), d.upstream.as_deref(), value::upstream);
        let environment = d.environment.as_deref();
        let environment = self.value(&at("environment"), environment, value::environment);
        let mode = self.value(&at("mode"), d.mode.as_deref(), value::mode);
        let hosts = joined(&d.no_proxy);
        let no_proxy = self.value(&at("no_proxy"), hosts.as_deref(), value::hosts);
        let variables = joined(&d.url_variables);
        let variables = self.value(&at("url_variables"), variables.as_deref(), value::variables);
        let resources = self.resources(&at("resources"), d.resources.as_ref());
        let port = number(d.port, 8080);
        let admin_port = number(d.admin_port, 9901);
        if port == admin_port {
            let hint = "give one of them another number";
            self.error(&at("admin_port"), "is the port of the calls, too", hint);
        }
        Some(InjectionSettings {
            image: image?,
            pull_policy: raw.pull_policy.map(|policy| match policy {
                raw::PullPolicy::Always => "Always",
                raw::PullPolicy::IfNotPresent => "IfNotPresent",
                raw::PullPolicy::Never => "Never",
            }),
            credential_secret,
            scopes: scopes.unwrap_or_default(),
            upstream,
            environment: environment.unwrap_or(BentleyEnvironment::Production),
            mode: mode.unwrap_or(InjectedMode::Reverse),
            port,
            admin_port,
            no_proxy: no_proxy.unwrap_or_default(),
            url_variables: variables.unwrap_or_default(),
            ip: match d.ipv6 {
                Some(true) => Redirected::V4AndV6,
                Some(false) | None => Redirected::V4,
            },
            resources,
        })
    }

    /// What is not written: enough for a thousand calls in a second, and no limit of CPU, which
    /// would make calls wait for their turn.
    fn resources(&mut self, path: &Path, raw: Option<&raw::Resources>) -> Resources {
        let Some(raw) = raw else {
            return Resources {
                cpu_request: Some("10m".into()),
                cpu_limit: None,
                memory_request: Some("32Mi".into()),
                memory_limit: Some("128Mi".into()),
            };
        };
        let mut both = |key: &str, amounts: Option<&raw::Amounts>| {
            let path = path.key(key);
            let cpu = amounts.and_then(|amounts| amounts.cpu.as_deref());
            let memory = amounts.and_then(|amounts| amounts.memory.as_deref());
            (
                self.value(&path.key("cpu"), cpu, value::cpu),
                self.value(&path.key("memory"), memory, value::memory),
            )
        };
        let (cpu_request, memory_request) = both("requests", raw.requests.as_ref());
        let (cpu_limit, memory_limit) = both("limits", raw.limits.as_ref());
        Resources {
            cpu_request,
            cpu_limit,
            memory_request,
            memory_limit,
        }
    }
}

/// The schema has checked its range.
fn number(written: Option<u32>, default: u16) -> u16 {
    written.map_or(default, |number| u16::try_from(number).unwrap_or(default))
}
