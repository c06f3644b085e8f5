//! `itwin-auth-proxy wait`: holds back what needs the proxy until it is ready.

use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    Exit,
    asking::{Asked, Whom},
    block_on, complain, duration,
};

/// A proxy on this machine answers at once or is not there.
const EVERY: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(2);

/// Wait until the proxy is ready.
///
/// For scripts, and as the `postStart` hook of a sidecar in clusters without native sidecars: the
/// containers after it start when it has ended. Exit code 0: it is ready; 1: the time was over; 78: the configuration does not
/// say where it is.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    whom: Whom,
    /// When this is given up: seconds, or with a unit, 1s to 1d.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = limit)]
    timeout: Duration,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let asked = arguments.whom.find()?;
    let mut last = String::from("it has not answered yet");
    let waited = block_on(async {
        tokio::time::timeout(arguments.timeout, ready(&asked, &mut last))
            .await
            .is_ok()
    })?;
    if waited {
        return Ok(Exit::Ok);
    }
    complain(format!(
        "error: the proxy at {} is not ready after {}: {last}",
        asked,
        humantime::format_duration(arguments.timeout)
    ));
    Ok(Exit::No)
}

fn limit(text: &str) -> Result<Duration, String> {
    duration(
        text,
        Duration::from_secs(1)..=Duration::from_secs(24 * 3600),
    )
}

async fn ready(asked: &Asked, last: &mut String) {
    loop {
        *last = match asked.send(Method::GET, "/ready", ANSWER).await {
            Ok((StatusCode::OK, _)) => return,
            Ok((status, text)) => waiting_for(&text).unwrap_or_else(|| status.to_string()),
            Err(reason) => reason,
        };
        tokio::time::sleep(EVERY).await;
    }
}

fn waiting_for(text: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(text).ok()?;
    let parts = answer["waiting_for"].as_array()?;
    let parts: Vec<_> = parts.iter().filter_map(Value::as_str).collect();
    Some(format!("it waits for {}", parts.join(", ")))
}
