//! Manifests of clusters without a webhook: the pods in them are given the sidecar, and all else stays
//! as it is.

use serde_json::Value;

use super::{
    fault::Faults,
    patch::{Outcome, inject},
    sidecar::Form,
};
use crate::config::injector::InjectionSettings;

/// What became of one manifest.
#[derive(Debug, Default)]
pub struct Manifest {
    /// `Kind/name` of the objects whose pods were given the sidecar.
    pub injected: Vec<String>,
    /// `Kind/name: text`.
    pub warnings: Vec<String>,
    /// Objects that cannot be given it, and why.
    pub refused: Vec<(String, Faults)>,
}

impl Manifest {
    /// Gives the sidecar to all pods in `document` that ask for it.
    pub fn inject(&mut self, document: &mut Value, settings: &InjectionSettings, form: Form) {
        let kind = document["kind"].as_str().unwrap_or_default().to_owned();
        if kind == "List" || (kind.ends_with("List") && document["items"].is_array()) {
            for item in document["items"].as_array_mut().into_iter().flatten() {
                self.inject(item, settings, form);
            }
            return;
        }
        let Some(template) = place(&kind).and_then(|place| document.pointer(place)) else {
            return;
        };
        let name = document["metadata"]["name"].as_str();
        let name = name.or(document["metadata"]["generateName"].as_str());
        let name = format!("{kind}/{}", name.unwrap_or_default());
        match inject(template, settings, form) {
            Ok(injection) => {
                let told = injection.warnings.iter();
                self.warnings
                    .extend(told.map(|text| format!("{name}: {text}")));
                if injection.outcome != Outcome::NotAsked {
                    self.injected.push(name);
                    let there = place(&kind).and_then(|place| document.pointer_mut(place));
                    if let Some(there) = there {
                        *there = injection.draft.into_pod();
                    }
                }
            }
            Err(faults) => self.refused.push((name, faults)),
        }
    }
}

/// Where the pod is in an object of a kind.
fn place(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some(""),
        "PodTemplate" => Some("/template"),
        "Deployment"
        | "ReplicaSet"
        | "StatefulSet"
        | "DaemonSet"
        | "Job"
        | "ReplicationController" => Some("/spec/template"),
        "CronJob" => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::injector::tests::{pod, settings};

    #[test]
    fn the_pods_in_objects_of_every_kind_are_found() {
        let template = pod(&[("inject", "true")]);
        let objects = [
            template.clone(),
            json!({ "kind": "Deployment", "metadata": { "name": "d" }, "spec": { "template": template } }),
            json!({ "kind": "CronJob", "metadata": { "name": "c" }, "spec": { "jobTemplate": { "spec": { "template": template } } } }),
            json!({ "kind": "List", "items": [{ "kind": "Job", "metadata": { "generateName": "j-" }, "spec": { "template": template } }] }),
            json!({ "kind": "Secret", "metadata": { "name": "s" } }),
            json!("nothing"),
        ];
        let mut manifest = Manifest::default();
        for mut object in objects {
            if object["spec"]["containers"].is_array() {
                object["kind"] = json!("Pod");
            }
            let asked = object.to_string().contains("containers");
            manifest.inject(&mut object, &settings(), Form::Native);
            assert_eq!(object.to_string().contains("ITWIN_AUTH_PROXY_URL"), asked);
        }
        assert_eq!(
            manifest.injected,
            ["Pod/agent", "Deployment/d", "CronJob/c", "Job/j-"]
        );
        let mut wrong = pod(&[("inject", "true"), ("port", "1")]);
        wrong["kind"] = json!("Pod");
        manifest.inject(&mut wrong, &settings(), Form::Native);
        assert_eq!(manifest.refused[0].0, "Pod/agent");
    }
}
