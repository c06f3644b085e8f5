//! What the agents' containers are told: where the sidecar is, and whom to trust.
//!
//! A variable that a container sets itself stays as it is. Which containers have been told is no
//! matter of memory: whatever lacks a variable gets it.

use serde_json::{Value, json};

use super::{
    annotations::Agents,
    draft::Draft,
    sidecar::{self, Form, Sidecar},
};
use crate::config::injector::InjectedMode;

/// The address to call.
const URL: &str = "ITWIN_AUTH_PROXY_URL";

/// What names the certificates that programs trust: the first adds to the system's, the others take
/// their place.
pub(super) const TRUST: [&str; 4] = [
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];

/// What is reached without the proxy: this pod, and the cluster by its usual names.
const NO_PROXY: [&str; 6] = [
    "localhost",
    "127.0.0.1",
    "::1",
    ".svc",
    ".cluster.local",
    "$(KUBERNETES_SERVICE_HOST)",
];

/// Tells all containers that are to know; returns their names.
pub(super) fn tell(draft: &mut Draft, sidecar: &Sidecar<'_>) -> Vec<String> {
    let variables = variables(sidecar);
    // without native sidecars, init containers have ended before there is anything to call
    let lists: &[&str] = match sidecar.form {
        Form::Native => &["initContainers", "containers"],
        Form::Container => &["containers"],
    };
    let mut told = Vec::new();
    for list in lists {
        for (at, container) in draft.list(&["spec", list]).to_vec().iter().enumerate() {
            let name = container["name"].as_str().unwrap_or_default();
            if !is_agent(name, &sidecar.wish.agents) {
                continue;
            }
            told.push(name.to_owned());
            let at = at.to_string();
            for (variable, value) in &variables {
                if !sets(container, variable) {
                    let entry = json!({ "name": variable, "value": value });
                    draft.add(&["spec", list, &at, "env", "-"], entry);
                }
            }
            if sidecar.opens() && !mounts(container) {
                let mount = json!({
                    "name": sidecar::TRUST,
                    "mountPath": sidecar::TRUST_AT,
                    "readOnly": true,
                });
                draft.add(&["spec", list, &at, "volumeMounts", "-"], mount);
            }
        }
    }
    told
}

/// What one container is told, at most.
pub(super) fn bytes(sidecar: &Sidecar<'_>) -> usize {
    // the operation that adds a variable has about as many bytes around it
    const AROUND: usize = 100;
    let all = variables(sidecar);
    let bytes = all
        .iter()
        .map(|(name, value)| name.len() + value.len() + AROUND);
    bytes.sum()
}

fn is_agent(name: &str, agents: &Agents) -> bool {
    let ours = [sidecar::NAME, sidecar::CA, sidecar::REDIRECT];
    !ours.contains(&name)
        && match agents {
            Agents::All => true,
            Agents::Named(named) => named.iter().any(|one| one == name),
        }
}

/// Whether the container sets the variable, in whatever case: programs look at both.
fn sets(container: &Value, variable: &str) -> bool {
    let mut all = container["env"].as_array().into_iter().flatten();
    all.any(|entry| {
        let name = entry["name"].as_str().unwrap_or_default();
        name.eq_ignore_ascii_case(variable)
    })
}

fn mounts(container: &Value) -> bool {
    let mut all = container["volumeMounts"].as_array().into_iter().flatten();
    all.any(|mount| mount["mountPath"] == sidecar::TRUST_AT)
}

fn variables(sidecar: &Sidecar<'_>) -> Vec<(String, String)> {
    let wish = sidecar.wish;
    let url = format!("http://127.0.0.1:{}", wish.port);
    let mut all = vec![(URL.to_owned(), url.clone())];
    all.extend(
        wish.url_variables
            .iter()
            .map(|name| (name.clone(), url.clone())),
    );
    let mut set = |name: &str, value: &str| all.push((name.to_owned(), value.to_owned()));
    if wish.mode == InjectedMode::Forward {
        let proxy = format!("http://127.0.0.1:{}", sidecar::FORWARD_PORT);
        for name in sidecar.proxy_variables() {
            set(name, &proxy);
        }
        let mut hosts: Vec<&str> = NO_PROXY.to_vec();
        hosts.extend(wish.no_proxy.iter().map(String::as_str));
        let hosts = hosts.join(",");
        set("NO_PROXY", &hosts);
        set("no_proxy", &hosts);
    }
    if sidecar.opens() {
        let authority = format!("{}/ca.crt", sidecar::TRUST_AT);
        let bundle = format!("{}/bundle.crt", sidecar::TRUST_AT);
        let [added, replaced @ ..] = TRUST;
        set(added, &authority);
        for name in replaced {
            set(name, &bundle);
        }
    }
    all
}
