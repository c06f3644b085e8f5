//! `AdmissionReview` (`admission.k8s.io/v1`): the API server's question and our answer.
//!
//! What is no creation of a pod is admitted as it is, whatever the webhook's rules let through. A
//! question that cannot be understood is the caller's mistake; it never becomes a pod without its
//! sidecar unnoticed. Of a question only what is needed is read, and a pod only when its question is
//! one: what stands in memory is bounded by what a pod can have in it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    fault::{Faults, short},
    patch::{Outcome, inject},
    sidecar::Form,
};
use crate::config::injector::InjectionSettings;

/// Warnings are cut here (the API server does it at 256 by itself, and at 4,096 in all).
const LONGEST_WARNING: usize = 250;
/// Of a refusal, and of the name of a pod in the log.
const LONGEST_MESSAGE: usize = 8192;
const LONGEST_NAME: usize = 320;
/// An object of 1.5 MB in a cluster has fewer; each takes many times what it has in the text.
const MOST_VALUES: usize = 50_000;

/// No question that can be answered.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error("the body is not JSON: {0}")]
    Json(serde_json::Error),
    #[error("this is no AdmissionReview of admission.k8s.io/v1")]
    Kind,
    #[error("the AdmissionReview has no request with a uid")]
    Request,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(default)]
    uid: String,
    operation: Option<String>,
    resource: Option<Resource>,
    sub_resource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Resource {
    group: Option<String>,
    resource: Option<String>,
}

impl Request<'_> {
    /// The text of the pod that is to be made, if it is one.
    fn pod(&self) -> Option<&str> {
        let absent = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
        let resource = self.resource.as_ref()?;
        let made = absent(&resource.group)
            && resource.resource.as_deref() == Some("pods")
            && absent(&self.sub_resource)
            && self.operation.as_deref() == Some("CREATE");
        let object = self.object.map(RawValue::get);
        object.filter(|text| made && text.starts_with('{'))
    }
}

/// The answer, and what the log and the metrics say of it.
#[derive(Debug)]
pub struct Answer {
    pub body: Value,
    pub result: Admission,
    /// `namespace/name`, or `namespace/generateName*`.
    pub pod: String,
    /// One line each.
    pub faults: Vec<String>,
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Admission {
    Injected,
    /// It had the sidecar; containers that came since were told.
    Again,
    /// It did not ask, or is no pod that is being made.
    Untouched,
    Refused,
}

impl Admission {
    pub const ALL: [Self; 4] = [Self::Injected, Self::Again, Self::Untouched, Self::Refused];

    pub fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Again => "again",
            Self::Untouched => "untouched",
            Self::Refused => "refused",
        }
    }
}

/// Answers a question.
///
/// # Errors
/// When the body is no question.
pub fn answer(
    body: &[u8],
    settings: &InjectionSettings,
    form: Form,
) -> Result<Answer, ReviewError> {
    let review: Review<'_> = serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            ReviewError::Kind
        } else {
            ReviewError::Json(error)
        }
    })?;
    if review.kind != "AdmissionReview" || review.api_version != "admission.k8s.io/v1" {
        return Err(ReviewError::Kind);
    }
    let request = review.request.map(RawValue::get).unwrap_or_default();
    let request: Request<'_> = serde_json::from_str(request).map_err(|_| ReviewError::Request)?;
    if request.uid.is_empty() {
        return Err(ReviewError::Request);
    }
    let pod = match request.pod() {
        Some(text) if values(text) > MOST_VALUES => Some(Err(too_many())),
        Some(text) => Some(Ok(serde_json::from_str(text).map_err(ReviewError::Json)?)),
        None => None,
    };
    let (result, mut response, faults) = match &pod {
        Some(Ok(pod)) => decide(pod, settings, form),
        Some(Err(faults)) => refuse(faults),
        None => (Admission::Untouched, json!({ "allowed": true }), Vec::new()),
    };
    response["uid"] = json!(request.uid);
    let pod = pod.and_then(Result::ok);
    Ok(Answer {
        body: json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": response,
        }),
        result,
        pod: name(&request, pod.as_ref()),
        faults,
    })
}

/// How many values a JSON text has, at most.
fn values(text: &str) -> usize {
    let (mut number, mut quoted, mut escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => number += 1,
            _ => {}
        }
    }
    number
}

fn too_many() -> Faults {
    let mut faults = Faults::default();
    let text = format!("has more than {MOST_VALUES} values, which is no pod that a cluster takes");
    faults.say("object", text);
    faults
}

fn decide(
    pod: &Value,
    settings: &InjectionSettings,
    form: Form,
) -> (Admission, Value, Vec<String>) {
    match inject(pod, settings, form) {
        Ok(injection) => {
            let mut response = json!({ "allowed": true });
            let operations = injection.draft.operations();
            if !operations.is_empty() {
                let patch = Value::from(operations).to_string();
                response["patchType"] = json!("JSONPatch");
                response["patch"] = json!(STANDARD.encode(patch));
            }
            if !injection.warnings.is_empty() {
                let warnings = injection
                    .warnings
                    .iter()
                    .map(|text| short(text, LONGEST_WARNING));
                response["warnings"] = warnings.collect();
            }
            let result = match injection.outcome {
                Outcome::NotAsked => Admission::Untouched,
                Outcome::Injected => Admission::Injected,
                Outcome::Again => Admission::Again,
            };
            (result, response, Vec::new())
        }
        Err(faults) => refuse(&faults),
    }
}

fn refuse(faults: &Faults) -> (Admission, Value, Vec<String>) {
    let number = faults.count();
    let plural = if number == 1 { "" } else { "s" };
    let message =
        format!("itwin-auth-proxy cannot be injected, {number} problem{plural}:\n{faults}");
    let message = short(&message, LONGEST_MESSAGE);
    let response = json!({
        "allowed": false,
        "status": {
            "status": "Failure",
            "reason": "Invalid",
            "code": 422,
            "message": message,
        },
    });
    let lines = faults.iter().map(ToString::to_string).collect();
    (Admission::Refused, response, lines)
}

/// Pods of controllers have no name yet.
fn name(request: &Request<'_>, pod: Option<&Value>) -> String {
    let written = |key: &str| {
        let text = pod?["metadata"][key].as_str()?;
        Some(text).filter(|text| !text.is_empty())
    };
    let name = request.name.as_deref().filter(|name| !name.is_empty());
    let name = match (name.or_else(|| written("name")), written("generateName")) {
        (Some(name), _) => name.to_owned(),
        (None, Some(prefix)) => format!("{prefix}*"),
        (None, None) => String::new(),
    };
    let namespace = request.namespace.as_deref().unwrap_or_default();
    short(&format!("{namespace}/{name}"), LONGEST_NAME)
}
