//! `AdmissionReview` (`admission.k8s.io/v1`): the API server's question and our answer.
//!
//! What is no creation of a pod is admitted as it is, whatever the webhook's rules let through. A
//! question that cannot be understood is the caller's mistake; it never becomes a pod without its
//! sidecar unnoticed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

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
    let review: Value = serde_json::from_slice(body).map_err(ReviewError::Json)?;
    if review["kind"] != "AdmissionReview" || review["apiVersion"] != "admission.k8s.io/v1" {
        return Err(ReviewError::Kind);
    }
    let request = &review["request"];
    let uid = request["uid"].as_str().filter(|uid| !uid.is_empty());
    let uid = uid.ok_or(ReviewError::Request)?;
    let (result, response, faults) = decide(request, settings, form);
    let mut response = response;
    response["uid"] = json!(uid);
    Ok(Answer {
        body: json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": response,
        }),
        result,
        pod: name(request),
        faults,
    })
}

fn decide(
    request: &Value,
    settings: &InjectionSettings,
    form: Form,
) -> (Admission, Value, Vec<String>) {
    let resource = &request["resource"];
    let pods = resource["group"].as_str().unwrap_or_default().is_empty()
        && resource["resource"] == "pods"
        && request["subResource"]
            .as_str()
            .unwrap_or_default()
            .is_empty();
    if !pods || request["operation"] != "CREATE" || !request["object"].is_object() {
        return (Admission::Untouched, json!({ "allowed": true }), Vec::new());
    }
    match inject(&request["object"], settings, form) {
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
fn name(request: &Value) -> String {
    let metadata = &request["object"]["metadata"];
    let text = |value: &Value| {
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let namespace = text(&request["namespace"]).unwrap_or_default();
    let name = text(&request["name"])
        .or_else(|| text(&metadata["name"]))
        .or_else(|| Some(format!("{}*", text(&metadata["generateName"])?)));
    short(
        &format!("{namespace}/{}", name.unwrap_or_default()),
        LONGEST_NAME,
    )
}
