//! `itwin-auth-proxy wait`: holds back what needs the proxy until it is ready.

use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    Exit,
    asking::{Asked, Whom},
    block_on, complain,
};

/// A proxy on this machine answers at once or is not there.
const EVERY: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(2);

/// Wait until the proxy is ready: exit code 0 then, 1 when the time is over.
///
/// For scripts, and as the `postStart` hook of a sidecar in clusters without native sidecars: the
/// containers after it start when it has ended.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    whom: Whom,
    /// Seconds until this is given up.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let asked = arguments.whom.find()?;
    let mut last = String::from("it has not answered yet");
    let limit = Duration::from_secs(arguments.timeout);
    let waited = block_on(async {
        tokio::time::timeout(limit, ready(&asked, &mut last))
            .await
            .is_ok()
    })?;
    if waited {
        return Ok(Exit::Ok);
    }
    complain(format!(
        "error: the proxy at {} is not ready after {} s: {last}",
        asked.address, arguments.timeout
    ));
    Ok(Exit::No)
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
