//! Pod + settings → JSON Patch: pure, and the same again when it is done again.
//!
//! A pod that has the sidecar already (`itwin-auth-proxy/status` and the container) gets nothing but
//! what containers that came since lack: other webhooks may add some, and the API server asks again
//! then. What a pod sets itself is never replaced.

use serde_json::{Value, json};
use url::Host;

use super::{
    agents,
    annotations::{self, Agents, Asked, PREFIX, STATUS, Source, Wish},
    draft::Draft,
    fault::{Faults, quoted, short, some},
    sidecar::{self, Form, Pod, Sidecar},
};
use crate::config::injector::{InjectedMode, InjectionSettings};

/// In all lists of a pod together: the work grows with them.
const MOST_CONTAINERS: usize = 500;
/// What variables and status may add: etcd takes objects of 1.5 MB.
const MOST_ADDED_BYTES: usize = 1 << 20;
const MOST_WARNINGS: usize = 20;
/// Of a name in a warning.
const LONGEST_NAME: usize = 63;

/// What becomes of a pod.
#[derive(Debug)]
pub struct Injection {
    pub outcome: Outcome,
    /// The pod, and the patch that leads to it; empty for one that did not ask, and for one that
    /// has all it asked for.
    pub draft: Draft,
    /// For the person who wrote it; the pod is admitted.
    pub warnings: Vec<String>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The pod did not ask.
    NotAsked,
    Injected,
    /// It had the sidecar.
    Again,
}

/// What a pod, as the API server or a manifest has it, is to become.
///
/// # Errors
/// All that is wrong with what it asks for.
pub fn inject(pod: &Value, settings: &InjectionSettings, form: Form) -> Result<Injection, Faults> {
    let draft = Draft::new(pod.clone());
    let metadata = pod.get("metadata").unwrap_or(&Value::Null);
    let (asked, faults) = annotations::read(metadata, settings);
    let wish = match asked {
        Asked::For(wish) => wish,
        Asked::Not { idle } => {
            faults.or(())?;
            let warnings = idle.iter().map(|name| {
                format!("{PREFIX}{name} has no effect without {PREFIX}inject: \"true\"")
            });
            return Ok(Injection {
                outcome: Outcome::NotAsked,
                draft,
                warnings: warnings.collect(),
            });
        }
    };
    let faults = few_containers(pod, faults)?;
    let restarts = pod["spec"]["restartPolicy"].as_str();
    let sidecar = |form| Sidecar {
        pod: match restarts {
            None | Some("Always") => Pod::Runs,
            Some(_) => Pod::Ends,
        },
        wish: &wish,
        settings,
        form,
    };
    let there = [Form::Native, Form::Container]
        .map(sidecar)
        .into_iter()
        .find(|sidecar| is_there(pod, sidecar));
    let outcome = match there {
        Some(_) => Outcome::Again,
        None => Outcome::Injected,
    };
    let mut work = Work {
        sidecar: there.unwrap_or_else(|| sidecar(form)),
        draft,
        faults,
        warnings: Vec::new(),
    };
    work.check(&wish, &pod["spec"]);
    if outcome == Outcome::Injected {
        work.check_collisions();
    }
    std::mem::take(&mut work.faults).or(())?;
    Ok(work.finish(outcome))
}

fn few_containers(pod: &Value, mut faults: Faults) -> Result<Faults, Faults> {
    let lists = [
        "containers",
        "initContainers",
        "ephemeralContainers",
        "volumes",
    ];
    let lists = lists
        .iter()
        .filter_map(|list| pod["spec"][*list].as_array());
    let number: usize = lists.map(Vec::len).sum();
    if number > MOST_CONTAINERS {
        let text = format!(
            "has {number} containers and volumes; a pod with more than {MOST_CONTAINERS} is not given a sidecar"
        );
        faults.say("spec", text);
        return Err(faults);
    }
    Ok(faults)
}

/// Whether all of the sidecar is there by our own doing: anybody can write the annotation, and name a
/// container as we do. Other webhooks change images and add to what they find.
fn is_there(pod: &Value, sidecar: &Sidecar<'_>) -> bool {
    let status = pod["metadata"]["annotations"][STATUS].as_str();
    let status: Value = serde_json::from_str(status.unwrap_or_default()).unwrap_or_default();
    let wish = sidecar.wish;
    let spec = &pod["spec"];
    let has = |list: &str, ours: &Value| {
        let user = |one: &Value| one["securityContext"]["runAsUser"].clone();
        let mut all = spec[list].as_array().into_iter().flatten();
        all.any(|one| {
            let same = |key: &str| one[key] == ours[key];
            ["name", "args", "restartPolicy"]
                .iter()
                .all(|key| same(key))
                && user(one) == user(ours)
        })
    };
    let volume = |ours: &Value| {
        let mut all = spec["volumes"].as_array().into_iter().flatten();
        all.any(|one| one["name"] == ours["name"])
    };
    status["mode"] == wish.mode.name()
        && status["port"] == wish.port
        && sidecar
            .init_containers()
            .iter()
            .all(|one| has("initContainers", one))
        && (sidecar.form == Form::Native || has("containers", &sidecar.container()))
        && sidecar.volumes().iter().all(volume)
}

struct Work<'a> {
    sidecar: Sidecar<'a>,
    draft: Draft,
    faults: Faults,
    warnings: Vec<String>,
}

impl Work<'_> {
    /// What a pod must be like.
    fn check(&mut self, wish: &Wish, spec: &Value) {
        self.check_shape(spec);
        self.check_size(wish);
        if spec["hostNetwork"] == true {
            let why = if wish.mode == InjectedMode::Transparent {
                "the connections of the whole node would be redirected"
            } else {
                "whatever runs on the node could make calls with this pod's credential"
            };
            self.faults.say(
                "spec.hostNetwork",
                format!("the pod shares the network of its node: {why}"),
            );
        }
        let windows = spec["os"]["name"] == "windows"
            || spec["nodeSelector"]["kubernetes.io/os"] == "windows";
        if windows {
            self.faults.say(
                "spec.os",
                "the sidecar is a Linux program, this is a Windows pod",
            );
        }
        if spec["shareProcessNamespace"] == true {
            self.warnings.push(
                "spec.shareProcessNamespace: containers that run as root or as user 61501 can read the sidecar's memory and its credential".into(),
            );
        }
        if self.sidecar.pod == Pod::Ends && self.sidecar.form == Form::Container {
            self.warnings.push(format!(
                "this cluster knows no native sidecars (Kubernetes 1.29): the pod does not end by itself, the agent has to end the sidecar (POST http://127.0.0.1:{}/quit)",
                wish.admin_port
            ));
        }
        if let Source::Simple {
            upstream: Some(url),
            ..
        } = &wish.source
            && url.scheme() == "http"
        {
            self.warnings.push(format!(
                "{url}: the token passes over this connection unencrypted; use https outside of trials"
            ));
        }
        self.check_ports(wish);
        self.check_upstream(wish);
        if wish.mode == InjectedMode::Transparent {
            self.check_users(spec);
        }
        if self.sidecar.opens() {
            self.warn_of_own_trust();
        }
        self.check_named(wish);
    }

    fn check_ports(&mut self, wish: &Wish) {
        if wish.port == wish.admin_port {
            self.faults.say(
                format!("annotation {PREFIX}admin-port"),
                format!("{} is the port of the calls, too", wish.port),
            );
        }
        let ports = self.sidecar.ports();
        for (modes, _) in ports.iter().filter(|(_, says)| *says == "mode") {
            for (port, annotation) in ports.iter().filter(|(_, says)| *says != "mode") {
                if port == modes {
                    let mode = wish.mode.name();
                    self.faults.say(
                        format!("annotation {PREFIX}{annotation}"),
                        format!("{port} is what the sidecar takes in mode {mode}; set another"),
                    );
                }
            }
        }
    }

    /// Certificates of the pod's own authority are for names.
    fn check_upstream(&mut self, wish: &Wish) {
        let Source::Simple {
            upstream: Some(url),
            ..
        } = &wish.source
        else {
            return;
        };
        if self.sidecar.opens() && !matches!(url.host(), Some(Host::Domain(_))) {
            let mode = wish.mode.name();
            self.faults.say(
                format!("annotation {PREFIX}upstream"),
                format!("{url} is an address; mode {mode} is for hosts with a name"),
            );
        }
    }

    /// Whatever a pod asks for is written into each of its containers.
    fn check_size(&mut self, wish: &Wish) {
        let lists = ["containers", "initContainers"].iter();
        let containers: usize = lists
            .map(|list| self.draft.list(&["spec", list]).len())
            .sum();
        let bytes = agents::bytes(&self.sidecar).saturating_mul(containers);
        if bytes > MOST_ADDED_BYTES {
            let text = format!(
                "the variables for {containers} containers have {bytes} bytes; allowed are {MOST_ADDED_BYTES}"
            );
            let longer = if wish.no_proxy.len() > wish.url_variables.len() {
                "no-proxy"
            } else {
                "url-variables"
            };
            self.faults
                .say(format!("annotation {PREFIX}{longer}"), text);
        }
    }

    /// What a container sets itself stays, and then the sidecar's certificate is not trusted.
    fn warn_of_own_trust(&mut self) {
        let containers = self.draft.list(&["spec", "containers"]).to_vec();
        for container in &containers {
            let name = container["name"].as_str().unwrap_or_default();
            let name = short(name, LONGEST_NAME);
            for entry in container["env"].as_array().into_iter().flatten() {
                let own = entry["value"].as_str().unwrap_or_default();
                let variable = entry["name"].as_str().unwrap_or_default();
                if agents::TRUST.contains(&variable) && !own.starts_with(sidecar::TRUST_AT) {
                    if self.warnings.len() >= MOST_WARNINGS {
                        return;
                    }
                    self.warnings.push(format!(
                        "container {name} sets {variable} itself: it has to trust {}/ca.crt as well",
                        sidecar::TRUST_AT
                    ));
                }
            }
        }
    }

    /// An API server sends nothing else, a manifest may hold anything.
    fn check_shape(&mut self, spec: &Value) {
        let containers = &spec["containers"];
        if containers.is_null() {
            self.faults.say("spec.containers", "is missing");
        }
        if containers.as_array().is_some_and(Vec::is_empty) {
            // it would be a pod of the sidecar alone
            self.faults.say("spec.containers", "is empty");
        }
        for list in ["containers", "initContainers", "volumes"] {
            let at = format!("spec.{list}");
            if !spec[list].is_null() && !spec[list].is_array() {
                self.faults.say(at.as_str(), "is no list");
            }
            for (number, item) in spec[list].as_array().into_iter().flatten().enumerate() {
                if item["name"].as_str().is_none_or(str::is_empty) {
                    self.faults.say(format!("{at}[{number}]"), "has no name");
                }
                for inner in ["env", "volumeMounts", "ports"] {
                    let inner_list = &item[inner];
                    if !inner_list.is_null() && !inner_list.is_array() {
                        let at = format!("{at}[{number}].{inner}");
                        self.faults.say(at, "is no list");
                    }
                }
            }
        }
    }

    /// What runs as the sidecar's user is not redirected.
    fn check_users(&mut self, spec: &Value) {
        let pods = &spec["securityContext"]["runAsUser"];
        let containers = ["containers", "initContainers"]
            .iter()
            .flat_map(|list| self.draft.list(&["spec", list]));
        for container in containers {
            let ours = container["name"].as_str();
            if ours.is_some_and(|name| name.starts_with(sidecar::NAME)) {
                continue;
            }
            let own = &container["securityContext"]["runAsUser"];
            let user = if own.is_null() { pods } else { own };
            if *user == sidecar::USER {
                let name = container["name"].as_str().unwrap_or_default();
                self.faults.say(
                    format!("container {name}"),
                    format!(
                        "runs as user {}, whose connections are the sidecar's and are not redirected; give it another",
                        sidecar::USER
                    ),
                );
            }
        }
    }

    fn check_named(&mut self, wish: &Wish) {
        let Agents::Named(named) = &wish.agents else {
            return;
        };
        let there: Vec<&str> = ["containers", "initContainers"]
            .iter()
            .flat_map(|list| self.draft.list(&["spec", list]))
            .filter_map(|container| container["name"].as_str())
            .filter(|name| !name.starts_with(sidecar::NAME))
            .collect();
        let missing: Vec<&String> = named
            .iter()
            .filter(|name| !there.contains(&name.as_str()))
            .collect();
        for name in missing {
            self.faults.say(
                format!("annotation {PREFIX}containers"),
                format!(
                    "the pod has no container {}; it has {}",
                    quoted(name),
                    some(&there)
                ),
            );
        }
    }

    /// Names and ports that the pod has given to others.
    fn check_collisions(&mut self) {
        let mut ours: Vec<Value> = self.sidecar.init_containers();
        if self.sidecar.form == Form::Container {
            ours.push(self.sidecar.container());
        }
        let volumes = self.sidecar.volumes();
        let ports = self.sidecar.ports();
        let mut faults = Faults::default();
        for list in ["initContainers", "containers"] {
            for container in self.draft.list(&["spec", list]) {
                let name = container["name"].as_str().unwrap_or_default();
                if ours.iter().any(|one| one["name"] == name) {
                    faults.say(
                        format!("container {name}"),
                        "has a name that the injector uses; give it another, or do not ask for injection",
                    );
                }
                for port in container["ports"].as_array().into_iter().flatten() {
                    let number = port["containerPort"].as_u64();
                    let tcp = matches!(port["protocol"].as_str(), None | Some("TCP"));
                    let taken = ports
                        .iter()
                        .find(|(ours, _)| number == Some(u64::from(*ours)));
                    if let (true, Some((number, annotation))) = (tcp, taken) {
                        let text = match *annotation {
                            "mode" => format!(
                                "has port {number}, which the sidecar takes in this mode; give it another"
                            ),
                            other => format!(
                                "has port {number}, which the sidecar takes; set {PREFIX}{other} to another"
                            ),
                        };
                        faults.say(format!("container {name}"), text);
                    }
                }
            }
        }
        for volume in self.draft.list(&["spec", "volumes"]) {
            if volumes.iter().any(|one| one["name"] == volume["name"]) {
                let name = volume["name"].as_str().unwrap_or_default();
                faults.say(
                    format!("volume {name}"),
                    "has a name that the injector uses; give it another",
                );
            }
        }
        self.faults.extend(&faults);
    }

    fn finish(self, outcome: Outcome) -> Injection {
        let Self {
            sidecar, mut draft, ..
        } = self;
        let told = agents::tell(&mut draft, &sidecar);
        if outcome == Outcome::Injected {
            for volume in sidecar.volumes() {
                draft.add(&["spec", "volumes", "-"], volume);
            }
            place(&mut draft, &sidecar);
        }
        let status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "sidecar": sidecar.form.name(),
            "mode": sidecar.wish.mode.name(),
            "port": sidecar.wish.port,
            "containers": told,
        });
        draft.add(
            &["metadata", "annotations", STATUS],
            Value::String(status.to_string()),
        );
        Injection {
            outcome,
            draft,
            warnings: self.warnings,
        }
    }
}

/// Puts our containers where they belong. A native sidecar and what prepares it stand before all
/// other init containers, which can call it then; where the sidecar starts after them, so must what
/// redirects to it.
fn place(draft: &mut Draft, sidecar: &Sidecar<'_>) {
    let init = sidecar.init_containers();
    match sidecar.form {
        Form::Native => {
            for (at, container) in init.into_iter().enumerate() {
                draft.add(&["spec", "initContainers", &at.to_string()], container);
            }
        }
        Form::Container => {
            for container in init {
                draft.add(&["spec", "initContainers", "-"], container);
            }
            draft.add(&["spec", "containers", "0"], sidecar.container());
        }
    }
}
