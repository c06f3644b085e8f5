//! What is put into a pod: the sidecar, what prepares it, their volumes, and the proxy's
//! configuration as environment variables, so that no object has to be written to the cluster.
//!
//! All of it passes Pod Security "restricted", but for the one container of transparent mode that
//! changes the pod's network.

use serde_json::{Value, json};

use super::annotations::{ClientId, Source, Wish};
use crate::config::injector::{
    BentleyEnvironment, InjectedMode, InjectionSettings, Redirected, Resources,
};

/// The sidecar's name, and what all our other names begin with.
pub(super) const NAME: &str = "itwin-auth-proxy";
pub(super) const CA: &str = "itwin-auth-proxy-ca";
pub(super) const REDIRECT: &str = "itwin-auth-proxy-redirect";
pub(super) const TRUST: &str = "itwin-auth-proxy-trust";
const CREDENTIAL: &str = "itwin-auth-proxy-credential";
const IDENTITY: &str = "itwin-auth-proxy-identity";
const CONFIG: &str = "itwin-auth-proxy-config";
const TMP: &str = "itwin-auth-proxy-tmp";

/// The user that the sidecar runs as, and whose connections are not redirected.
///
/// Not the image's: what runs as the sidecar's user is not redirected and could read its memory, and 65532 is
/// the user of many images (distroless), which a pod does not show.
pub(super) const USER: u32 = 61_501;
pub(super) const FORWARD_PORT: u16 = 3128;
pub(super) const TRANSPARENT_PORT: u16 = 15_001;

const PROGRAM: &str = "/usr/local/bin/itwin-auth-proxy";
const CREDENTIAL_AT: &str = "/run/secrets/itwin-auth-proxy";
const IDENTITY_AT: &str = "/run/secrets/itwin-auth-proxy-identity";
const CONFIG_AT: &str = "/etc/itwin-auth-proxy";
const CA_AT: &str = "/run/itwin-auth-proxy/ca";
pub(super) const TRUST_AT: &str = "/run/itwin-auth-proxy/trust";

/// How the cluster runs a sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An init container that keeps running (Kubernetes 1.29 and newer).
    Native,
    /// A container among the others, the first.
    Container,
}

impl Form {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Container => "container",
        }
    }
}

/// Whether a pod ends by itself, as that of a Job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pod {
    Runs,
    Ends,
}

/// What is put into a pod.
pub(super) struct Sidecar<'a> {
    pub(super) wish: &'a Wish,
    pub(super) settings: &'a InjectionSettings,
    pub(super) form: Form,
    pub(super) pod: Pod,
}

impl Sidecar<'_> {
    /// Whether TLS connections of agents are opened.
    pub(super) fn opens(&self) -> bool {
        matches!(
            self.wish.mode,
            InjectedMode::Forward | InjectedMode::Transparent
        )
    }

    /// The ports that the sidecar takes, all on the pod's loopback, and what says so.
    pub(super) fn ports(&self) -> Vec<(u16, &'static str)> {
        let mut ports = vec![
            (self.wish.port, "port"),
            (self.wish.admin_port, "admin-port"),
        ];
        match self.wish.mode {
            InjectedMode::Reverse => {}
            InjectedMode::Forward => ports.push((FORWARD_PORT, "mode")),
            InjectedMode::Transparent => ports.push((TRANSPARENT_PORT, "mode")),
        }
        ports
    }

    /// The containers that come before the agents', in order: first what prepares, then the sidecar.
    pub(super) fn init_containers(&self) -> Vec<Value> {
        let mut all = Vec::new();
        if self.opens() {
            all.push(self.authority());
        }
        if self.wish.mode == InjectedMode::Transparent {
            all.push(self.redirect());
        }
        if self.form == Form::Native {
            all.push(self.container());
        }
        all
    }

    /// The sidecar itself.
    pub(super) fn container(&self) -> Value {
        let mut container = self.base(NAME, &["run"]);
        container["env"] = self.environment().into_iter().collect();
        container["volumeMounts"] = self.mounts(&[TMP, CREDENTIAL, IDENTITY, CONFIG, CA]);
        match self.form {
            Form::Native => {
                container["restartPolicy"] = json!("Always");
                // agents start when this has succeeded, and this does when there is a token
                container["startupProbe"] = json!({
                    "exec": { "command": [PROGRAM, "probe"] },
                    "periodSeconds": 1,
                    "timeoutSeconds": 3,
                    "failureThreshold": 300,
                });
            }
            Form::Container => {
                // kubelet starts containers in order, and the next one when this has returned
                container["lifecycle"] = json!({
                    "postStart": { "exec": { "command": [PROGRAM, "wait", "--timeout", "60"] } },
                });
            }
        }
        container
    }

    /// Makes the pod's own authority: the key for the sidecar, the certificate for the agents.
    fn authority(&self) -> Value {
        let mut args = vec!["ca", "init", "--force", "--out", CA_AT, "--trust", TRUST_AT];
        let hosts = self.hosts();
        if let Some(hosts) = &hosts {
            args.extend(["--hosts", hosts]);
        }
        let mut container = self.base(CA, &args);
        if hosts.is_none() {
            container["env"] = self.environment().into_iter().collect();
        }
        container["volumeMounts"] = self.mounts(&[CONFIG, CA, TRUST]);
        container
    }

    /// Makes the kernel's rules: the one container with a capability, and with no secret.
    fn redirect(&self) -> Value {
        let (user, port) = (USER.to_string(), TRANSPARENT_PORT.to_string());
        let ports = self.redirected_ports();
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let ports = ports.join(",");
        let mut args = vec!["redirect", "--apply", "--uid", &user, "--port", &port];
        args.extend(["--ports", &ports]);
        if self.settings.ip == Redirected::V4 {
            args.push("--no-ipv6");
        }
        let mut container = self.base(REDIRECT, &args);
        container["securityContext"] = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": { "add": ["NET_ADMIN"], "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "runAsUser": 0,
            "seccompProfile": { "type": "RuntimeDefault" },
        });
        container
    }

    fn redirected_ports(&self) -> Vec<u16> {
        let mut ports = vec![80, 443];
        if let Some(port) = self.upstream().and_then(|(_, _, port)| port)
            && !ports.contains(&port)
        {
            ports.push(port);
        }
        ports
    }

    fn base(&self, name: &str, args: &[&str]) -> Value {
        let mut container = json!({ "name": name, "image": self.wish.image, "args": args });
        if let Some(policy) = self.settings.pull_policy {
            container["imagePullPolicy"] = json!(policy);
        }
        let resources = resources(&self.wish.resources);
        if resources != json!({}) {
            container["resources"] = resources;
        }
        container["securityContext"] = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsGroup": USER,
            "runAsNonRoot": true,
            "runAsUser": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        });
        container
    }

    /// The proxy's configuration.
    pub(super) fn environment(&self) -> Vec<Value> {
        let wish = self.wish;
        let mut all = Vec::new();
        let mut set = |name: &str, value: &str| all.push(json!({ "name": name, "value": value }));
        match &wish.source {
            Source::ConfigMap(_) => set("ITWIN_CONFIG", &format!("{CONFIG_AT}/config.yaml")),
            Source::Simple {
                client_id,
                scopes,
                environment,
                upstream,
            } => {
                if let ClientId::Written(id) = client_id {
                    set("ITWIN_CLIENT_ID", id);
                }
                if wish.audience.is_some() {
                    set(
                        "ITWIN_AUTH_PROXY__CREDENTIALS__AGENT__ASSERTION_FILE",
                        &format!("{IDENTITY_AT}/token"),
                    );
                } else {
                    let file = format!("{CREDENTIAL_AT}/client-secret");
                    set("ITWIN_CLIENT_SECRET_FILE", &file);
                }
                if *environment == BentleyEnvironment::Qa {
                    set("ITWIN_ENVIRONMENT", environment.name());
                }
                if !scopes.is_empty() {
                    set("ITWIN_SCOPES", &scopes.join(" "));
                }
                if let Some(upstream) = upstream {
                    set("ITWIN_UPSTREAM", upstream.as_str());
                }
                if let Some(listeners) = self.listeners() {
                    set("ITWIN_AUTH_PROXY__LISTENERS", &listeners.to_string());
                } else {
                    set("ITWIN_BIND", &format!("127.0.0.1:{}", wish.port));
                }
                if let Some(hosts) = self.hosts() {
                    let hosts = json!([hosts]).to_string();
                    set("ITWIN_AUTH_PROXY__INTERCEPTION__HOSTS", &hosts);
                }
            }
        }
        if self.opens() {
            let files = [("CERTIFICATE", "ca.crt"), ("KEY", "ca.key")];
            for (key, file) in files {
                let name = format!("ITWIN_AUTH_PROXY__INTERCEPTION__{key}");
                set(&name, &format!("{CA_AT}/{file}"));
            }
        }
        set(
            "ITWIN_ADMIN_BIND",
            &format!("127.0.0.1:{}", wish.admin_port),
        );
        if wish.resources.cpu_limit.is_none() && matches!(wish.source, Source::Simple { .. }) {
            // one serves thousands of calls a second; without a limit there would be one for each CPU of the node
            set("ITWIN_AUTH_PROXY__WORKERS", "1");
        }
        if self.form == Form::Container {
            if self.pod == Pod::Ends {
                // an agent that is done ends the sidecar, which would keep its Job going
                set("ITWIN_AUTH_PROXY__ADMIN__ALLOW_QUIT", "true");
            }
            // all containers are told to stop at once: what agents still do is to succeed
            set("ITWIN_AUTH_PROXY__LIMITS__DRAIN_DELAY", "5s");
            set("ITWIN_AUTH_PROXY__LIMITS__DRAIN_TIMEOUT", "20s");
        }
        if let Source::Simple {
            client_id: ClientId::InSecret(secret),
            ..
        } = &wish.source
        {
            let from = json!({ "secretKeyRef": { "name": secret, "key": "client-id" } });
            all.insert(0, json!({ "name": "ITWIN_CLIENT_ID", "valueFrom": from }));
        }
        all
    }

    /// The listeners of a mode that has several.
    fn listeners(&self) -> Option<Value> {
        let reverse = json!({ "bind": format!("127.0.0.1:{}", self.wish.port) });
        match self.wish.mode {
            InjectedMode::Reverse => None,
            // the agent reaches all of these without the proxy as well: they share their network
            InjectedMode::Forward => {
                let forward = json!({
                    "bind": format!("127.0.0.1:{FORWARD_PORT}"),
                    "mode": "forward",
                    "hosts": ["*"],
                    "ports": self.redirected_ports(),
                    "networks": ["0.0.0.0/0", "::/0"],
                });
                Some(json!([reverse, forward]))
            }
            InjectedMode::Transparent => {
                let ports = self.redirected_ports();
                let listener = |host: &str| {
                    json!({
                        "bind": format!("{host}:{TRANSPARENT_PORT}"),
                        "mode": "transparent",
                        "ports": ports,
                    })
                };
                let mut all = vec![reverse, listener("127.0.0.1")];
                if self.settings.ip == Redirected::V4AndV6 {
                    all.push(listener("[::1]"));
                }
                Some(Value::Array(all))
            }
        }
    }

    /// Scheme, host and written port of the upstream, where it is known.
    fn upstream(&self) -> Option<(&str, &str, Option<u16>)> {
        match &self.wish.source {
            Source::ConfigMap(_) => None,
            Source::Simple {
                upstream: Some(url),
                ..
            } => Some((url.scheme(), url.host_str()?, url.port())),
            Source::Simple { environment, .. } => Some(("https", environment.host(), None)),
        }
    }

    /// The hosts whose connections are opened, where it is not the configuration that says so.
    fn hosts(&self) -> Option<String> {
        let (_, host, _) = self.upstream().filter(|_| self.opens())?;
        Some(host.to_owned())
    }

    /// Variables for agents that obey a proxy.
    pub(super) fn proxy_variables(&self) -> &'static [&'static str] {
        match self.upstream() {
            Some(("http", ..)) => &["HTTP_PROXY", "http_proxy"],
            Some(_) => &["HTTPS_PROXY", "https_proxy"],
            None => &["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"],
        }
    }

    /// The pod's volumes that are needed.
    pub(super) fn volumes(&self) -> Vec<Value> {
        let mut all = vec![json!({ "name": TMP, "emptyDir": {} })];
        if let Some(secret) = &self.wish.secret {
            let source = json!({ "secretName": secret, "defaultMode": 0o444 });
            all.push(json!({ "name": CREDENTIAL, "secret": source }));
        }
        if let Some(audience) = &self.wish.audience {
            let token = json!({ "audience": audience, "expirationSeconds": 3600, "path": "token" });
            let source = json!({ "sources": [{ "serviceAccountToken": token }] });
            all.push(json!({ "name": IDENTITY, "projected": source }));
        }
        if let Source::ConfigMap(name) = &self.wish.source {
            all.push(json!({ "name": CONFIG, "configMap": { "name": name } }));
        }
        if self.opens() {
            let memory = json!({ "medium": "Memory", "sizeLimit": "1Mi" });
            all.push(json!({ "name": CA, "emptyDir": memory }));
            all.push(json!({ "name": TRUST, "emptyDir": { "sizeLimit": "4Mi" } }));
        }
        all
    }

    /// Those of the named volumes that the pod gets.
    fn mounts(&self, wanted: &[&str]) -> Value {
        let there: Vec<Value> = self.volumes();
        let places = [
            (TMP, "/tmp"),
            (CREDENTIAL, CREDENTIAL_AT),
            (IDENTITY, IDENTITY_AT),
            (CONFIG, CONFIG_AT),
            (CA, CA_AT),
            (TRUST, TRUST_AT),
        ];
        let mounts = places.into_iter().filter(|(name, _)| {
            wanted.contains(name) && there.iter().any(|volume| volume["name"] == *name)
        });
        mounts
            .map(|(name, path)| {
                let mut mount = json!({ "name": name, "mountPath": path });
                if matches!(name, CREDENTIAL | IDENTITY | CONFIG) {
                    mount["readOnly"] = json!(true);
                }
                mount
            })
            .collect()
    }
}

fn resources(resources: &Resources) -> Value {
    let mut all = json!({});
    for (key, cpu, memory) in [
        (
            "requests",
            &resources.cpu_request,
            &resources.memory_request,
        ),
        ("limits", &resources.cpu_limit, &resources.memory_limit),
    ] {
        for (what, amount) in [("cpu", cpu), ("memory", memory)] {
            if let Some(amount) = amount {
                all[key][what] = json!(amount);
            }
        }
    }
    all
}
