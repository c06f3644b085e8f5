//! Whether the cluster knows native sidecars, by its version; it may be upgraded while we run.

use std::time::Duration;

use rand::Rng;
use serde_json::Value;
use tokio::sync::watch;

use super::{
    kube::{Api, ApiError},
    sidecar::Form,
};
use crate::{backoff::Backoff, health::Waiting, http::client::chain};

/// Between two questions, once there was an answer.
const EVERY: Duration = Duration::from_secs(600);
/// Sidecars are on by default since this version of Kubernetes 1.
const NATIVE_SINCE: u64 = 29;

/// Asks for the version, now and then; `waiting` is let go at the first answer.
pub async fn follow(
    api: Api,
    form: watch::Sender<Form>,
    waiting: Waiting,
    mut rng: impl Rng + Send,
) {
    let mut waiting = Some(waiting);
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        let wait = match ask(&api).await {
            Ok(known) => {
                let changed = form.send_if_modified(|form| std::mem::replace(form, known) != known);
                if changed || waiting.is_some() {
                    tracing::info!(sidecars = known.name(), "the cluster's version is known");
                }
                waiting = None;
                backoff.reset();
                EVERY
            }
            Err(error) => {
                if backoff.failures() == 0 {
                    tracing::warn!(error = chain(&error), "the cluster's version is not known");
                }
                backoff.next(&mut rng)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

async fn ask(api: &Api) -> Result<Form, ApiError> {
    let version = api.get("/version").await?.unwrap_or_default();
    form(&version).ok_or_else(|| ApiError::Json {
        what: "GET /version".into(),
    })
}

/// Some clouds add a sign to the minor version: `29+`.
fn form(version: &Value) -> Option<Form> {
    let number = |key: &str| -> Option<u64> {
        let text = version[key].as_str()?;
        text.trim_end_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .ok()
    };
    let native = (number("major")?, number("minor")?) >= (1, NATIVE_SINCE);
    Some(if native {
        Form::Native
    } else {
        Form::Container
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sidecars_are_native_since_1_29() {
        for (major, minor, expected) in [
            ("1", "20", Some(Form::Container)),
            ("1", "28+", Some(Form::Container)),
            ("1", "29", Some(Form::Native)),
            ("1", "29+", Some(Form::Native)),
            ("1", "35", Some(Form::Native)),
            ("2", "0", Some(Form::Native)),
            ("", "", None),
            ("1", "x", None),
        ] {
            let version = json!({ "major": major, "minor": minor });
            assert_eq!(form(&version), expected, "{major}.{minor}");
        }
        assert_eq!(form(&json!([])), None);
    }
}
