//! What a pod asks for: the annotations under `itwin-auth-proxy/`, read and checked.
//!
//! Every problem is found at once, with the annotation's name, its value and what is allowed. What
//! a pod does not say is the injector's default. A pod that does not ask is not looked at, whatever
//! else it says; the label `itwin-auth-proxy/inject` asks as well, because webhooks can select by
//! labels only.

use serde_json::Value;
use url::Url;

use super::fault::{Fault, Faults, quoted};
use crate::config::injector::{
    BentleyEnvironment, InjectedMode, InjectionSettings, Resources,
    value::{self, Allowed},
};

/// What all our annotations begin with.
pub(super) const PREFIX: &str = "itwin-auth-proxy/";
/// Ours: what was injected.
pub(super) const STATUS: &str = "itwin-auth-proxy/status";

const INJECT: &str = "inject";
/// All that can be said, without the prefix.
pub const NAMES: [&str; 20] = [
    INJECT,
    "credential-secret",
    "client-id",
    "workload-identity",
    "scopes",
    "upstream",
    "environment",
    "config",
    "mode",
    "port",
    "admin-port",
    "containers",
    "url-variables",
    "no-proxy",
    "image",
    "cpu-request",
    "cpu-limit",
    "memory-request",
    "memory-limit",
    "status",
];

/// What a pod says to us, in bytes: names and values.
const OURS_MAX_BYTES: usize = 64 * 1024;
/// As an API server allows them.
const ALL_MAX_BYTES: usize = 256 * 1024;
/// No longer name is one that is only misspelt.
const LONGEST_NAME: usize = 63;
/// Idle annotations that are told of.
const MOST_IDLE: usize = 10;

/// Whether a pod asks, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// It does not; what it says nevertheless has no effect.
    Not {
        idle: Vec<String>,
    },
    For(Box<Wish>),
}

/// What a pod asks for, with the defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) source: Source,
    pub(super) mode: InjectedMode,
    pub(super) port: u16,
    pub(super) admin_port: u16,
    pub(super) agents: Agents,
    pub(super) url_variables: Vec<String>,
    pub(super) no_proxy: Vec<String>,
    pub(super) image: String,
    pub(super) resources: Resources,
    /// A Secret that is mounted in the sidecar.
    pub(super) secret: Option<String>,
    /// The audience of a projected service-account token, which is the client's assertion.
    pub(super) audience: Option<String>,
}

/// Where the sidecar's configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// What the annotations say.
    Simple {
        client_id: ClientId,
        scopes: Vec<String>,
        environment: BentleyEnvironment,
        upstream: Option<Url>,
    },
    /// A `ConfigMap` with `config.yaml`.
    ConfigMap(String),
}

/// Where the client's identifier is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ClientId {
    Written(String),
    /// In the Secret, under `client-id`.
    InSecret(String),
}

/// Which containers are told of the sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Agents {
    All,
    Named(Vec<String>),
}

/// Reads what the metadata of a pod asks for, and all that is wrong with it: what is wrong is the
/// default in the wish, so that the rest of the pod can be checked.
pub(super) fn read(metadata: &Value, settings: &InjectionSettings) -> (Asked, Faults) {
    let mut said = Said {
        annotations: metadata.get("annotations").unwrap_or(&Value::Null),
        faults: Faults::default(),
    };
    if !said.inject(metadata.get("labels").unwrap_or(&Value::Null)) {
        let idle = said.unused();
        return (Asked::Not { idle }, said.faults);
    }
    if !said.bounded() {
        return (Asked::Not { idle: Vec::new() }, said.faults);
    }
    said.unknown();
    let wish = said.wish(settings);
    (Asked::For(Box::new(wish)), said.faults)
}

struct Said<'a> {
    annotations: &'a Value,
    faults: Faults,
}

impl Said<'_> {
    /// The trimmed text of an annotation; an empty one counts as absent.
    fn text(&self, name: &str) -> Option<&str> {
        let text = self.annotations.get(format!("{PREFIX}{name}"))?.as_str()?;
        Some(text.trim()).filter(|text| !text.is_empty())
    }

    fn fault(&mut self, name: &str, text: impl Into<String>) {
        self.faults.push(&Fault {
            subject: format!("annotation {PREFIX}{name}"),
            text: text.into(),
        });
    }

    /// The annotation's value; nothing when it is absent or wrong.
    fn value<T>(&mut self, name: &str, parse: fn(&str) -> Result<T, Allowed>) -> Option<T> {
        let text = self.text(name)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(allowed) => {
                let text = format!("{} is not allowed; allowed is {allowed}", quoted(text));
                self.fault(name, text);
                None
            }
        }
    }

    /// Whether the pod asks. The annotation has the last word.
    fn inject(&mut self, labels: &Value) -> bool {
        const ALLOWED: &str = "\"true\" or \"false\"";
        let yes = |text: &str| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(ALLOWED),
        };
        if self.text(INJECT).is_some() {
            return self.value(INJECT, yes).unwrap_or(false);
        }
        let label = labels.get(format!("{PREFIX}{INJECT}"));
        match label.and_then(Value::as_str) {
            None | Some("false" | "") => false,
            Some("true") => true,
            Some(other) => {
                self.faults.push(&Fault {
                    subject: format!("label {PREFIX}{INJECT}"),
                    text: format!("{} is not allowed; allowed is {ALLOWED}", quoted(other)),
                });
                false
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let all = self.annotations.as_object();
        let ours = all
            .into_iter()
            .flatten()
            .filter_map(|(name, _)| name.strip_prefix(PREFIX));
        ours.map(str::to_owned).collect()
    }

    fn unused(&self) -> Vec<String> {
        let mut names = self.names();
        names.retain(|name| name != INJECT && format!("{PREFIX}{name}") != STATUS);
        names.truncate(MOST_IDLE);
        names
    }

    /// Whether so much is said that none of it is looked at: work is done in proportion to it.
    fn bounded(&mut self) -> bool {
        let (mut all, mut ours) = (0, 0);
        for (name, value) in self.annotations.as_object().into_iter().flatten() {
            let bytes = name.len() + value.as_str().unwrap_or_default().len();
            all += bytes;
            if name.starts_with(PREFIX) {
                ours += bytes;
            }
        }
        for (bytes, most, what) in [
            (ours, OURS_MAX_BYTES, "annotations under itwin-auth-proxy/"),
            (all, ALL_MAX_BYTES, "annotations"),
        ] {
            if bytes > most {
                let text = format!("the {what} have {bytes} bytes; allowed are {most}");
                self.faults.say("metadata.annotations", text);
                return false;
            }
        }
        true
    }

    /// Whoever misspells a name must learn of it before the pod runs without what they meant.
    fn unknown(&mut self) {
        for name in self.names() {
            if NAMES.contains(&name.as_str()) {
                continue;
            }
            let near = NAMES
                .iter()
                .filter(|_| name.len() <= LONGEST_NAME && !self.faults.are_many())
                .map(|known| (strsim::damerau_levenshtein(&name, known), known))
                .filter(|(distance, _)| *distance <= 1 + name.len() / 4)
                .min_by_key(|(distance, _)| *distance);
            let text = match near {
                Some((_, known)) => format!("is not known; did you mean {PREFIX}{known}?"),
                None => format!("is not known; known are {}", NAMES.join(", ")),
            };
            self.fault(&name, text);
        }
    }

    fn wish(&mut self, settings: &InjectionSettings) -> Wish {
        let mode = self.value("mode", value::mode).unwrap_or(settings.mode);
        let port = self.value("port", value::port).unwrap_or(settings.port);
        let admin_port = self.value("admin-port", value::port);
        let admin_port = admin_port.unwrap_or(settings.admin_port);
        let image = self.value("image", value::image);
        let agents = self.value("containers", |text| Ok(value::words(text)));
        let variables = self.value("url-variables", value::variables);
        let no_proxy = self.value("no-proxy", value::hosts);
        let secret = self.value("credential-secret", value::object);
        let secret = secret.or_else(|| settings.credential_secret.clone());
        let audience = self.value("workload-identity", value::word);
        let source = self.source(settings, secret.as_deref(), audience.as_deref());
        // a Secret that is there only by default is of no use where a configuration or a token of
        // the pod's own says who the client is
        let own = self.text("credential-secret").is_some();
        let needed = own || (audience.is_none() && matches!(source, Source::Simple { .. }));
        Wish {
            source,
            mode,
            port,
            admin_port,
            agents: agents.map_or(Agents::All, Agents::Named),
            url_variables: variables.unwrap_or_else(|| settings.url_variables.clone()),
            no_proxy: no_proxy.unwrap_or_else(|| settings.no_proxy.clone()),
            image: image.unwrap_or_else(|| settings.image.clone()),
            resources: self.resources(settings),
            secret: secret.filter(|_| needed),
            audience,
        }
    }

    fn source(
        &mut self,
        settings: &InjectionSettings,
        secret: Option<&str>,
        audience: Option<&str>,
    ) -> Source {
        let client_id = self.value("client-id", value::word);
        let scopes = self.value("scopes", value::scopes);
        let environment = self.value("environment", value::environment);
        let upstream = self.value("upstream", value::upstream);
        if let Some(config) = self.value("config", value::object) {
            for name in ["client-id", "scopes", "environment", "upstream"] {
                if self.text(name).is_some() {
                    let text = format!(
                        "has no effect: the ConfigMap of {PREFIX}config says it; leave one of them out"
                    );
                    self.fault(name, text);
                }
            }
            return Source::ConfigMap(config);
        }
        if self.text("config").is_none() && secret.is_none() {
            let missing = if audience.is_none() {
                "is missing: the name of a Secret with the keys client-id and client-secret; or give workload-identity and client-id, or config"
            } else {
                "is missing: the name of a Secret with the key client-id; or give client-id"
            };
            let known = audience.is_some() && self.text("client-id").is_some();
            // a name that is wrong is told already
            if !known && self.text("credential-secret").is_none() {
                self.fault("credential-secret", missing);
            }
        }
        // the default upstream is that of the default environment
        let default = settings.upstream.clone();
        let default = default.filter(|_| environment.is_none());
        Source::Simple {
            client_id: client_id.map_or_else(
                || ClientId::InSecret(secret.unwrap_or_default().to_owned()),
                ClientId::Written,
            ),
            scopes: scopes.unwrap_or_else(|| settings.scopes.clone()),
            environment: environment.unwrap_or(settings.environment),
            upstream: upstream.or(default),
        }
    }

    fn resources(&mut self, settings: &InjectionSettings) -> Resources {
        let default = settings.resources.clone();
        Resources {
            cpu_request: self
                .value("cpu-request", value::cpu)
                .or(default.cpu_request),
            cpu_limit: self.value("cpu-limit", value::cpu).or(default.cpu_limit),
            memory_request: self
                .value("memory-request", value::memory)
                .or(default.memory_request),
            memory_limit: self
                .value("memory-limit", value::memory)
                .or(default.memory_limit),
        }
    }
}
