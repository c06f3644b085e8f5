//! `itwin-auth-proxy status`: how a running proxy is, on a terminal.

use std::{io, time::Duration};

use clap::Args;
use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    Exit,
    asking::{Asked, Whom, disobeyed},
    block_on, complain, duration,
    output::{Style, pour, styled},
};

const ANSWER: Duration = Duration::from_secs(5);
/// Clears a terminal and begins at its top (ECMA-48: CUP, ED).
const AFRESH: &str = "\x1b[H\x1b[J";

/// Show how a running proxy is: what it waits for, and each credential's token.
///
/// Exit code 0: it is ready; 1: it is not; 69: nothing answers; 77: it does not answer us; 78: the
/// configuration is wrong, or has no admin listener.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    whom: Whom,
    /// Show it again and again, until this is interrupted.
    #[arg(long)]
    watch: bool,
    /// With --watch: how long each picture stays.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = every, requires = "watch")]
    every: Duration,
    /// All that the proxy says, as JSON; with --watch one line each time.
    #[arg(long)]
    json: bool,
}

fn every(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(1)..=Duration::from_secs(3600))
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let asked = arguments.whom.find()?;
    if !arguments.watch {
        return block_on(once(&asked, arguments, ""))?;
    }
    let afresh = if !arguments.json && io::IsTerminal::is_terminal(&io::stdout()) {
        AFRESH
    } else {
        ""
    };
    block_on(async {
        loop {
            // a proxy that is gone may come back
            let _ = once(&asked, arguments, afresh).await;
            tokio::time::sleep(arguments.every).await;
        }
    })?
}

async fn once(asked: &Asked, arguments: &Arguments, before: &str) -> Result<Exit, Exit> {
    let answered = asked.send(Method::GET, "/status", ANSWER).await;
    let (status, text) = answered.map_err(|reason| {
        complain(format!("error: {asked} cannot be asked: {reason}"));
        Exit::Unavailable
    })?;
    if status != StatusCode::OK {
        return Err(disobeyed(status, &text));
    }
    let said: Value = serde_json::from_str(&text).map_err(|error| {
        complain(format!(
            "error: {asked} does not answer as a proxy does: {error}"
        ));
        Exit::Unavailable
    })?;
    if arguments.json {
        pour(&format!("{said}\n"));
    } else {
        pour(&format!("{before}{}", picture(&said)));
    }
    Ok(match said["ready"].as_bool() {
        Some(true) => Exit::Ok,
        _ => Exit::No,
    })
}

/// What of it fits a terminal.
fn picture(said: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let up = Duration::from_secs(said["uptime_seconds"].as_u64().unwrap_or_default());
    let waiting: Vec<_> = list(&said["waiting_for"]).map(text).collect();
    let state = if waiting.is_empty() {
        styled(Style::Green, "ready")
    } else {
        styled(
            Style::Bold,
            &format!("not ready: waits for {}", waiting.join(", ")),
        )
    };
    let mut lines = vec![format!(
        "itwin-auth-proxy {}, up {}, {state}",
        text(&said["version"]),
        humantime::format_duration(up)
    )];
    let running = &said["configuration"];
    if let Some(generation) = running["generation"].as_u64() {
        let last = &running["last_reload"]["result"];
        let last = last
            .as_str()
            .map_or_else(String::new, |last| format!(", last reload {last}"));
        lines.push(format!("configuration {generation}{last}"));
        for problem in list(&running["last_reload"]["problems"]) {
            lines.push(format!(
                "  {}: {}",
                text(&problem["path"]),
                text(&problem["message"])
            ));
        }
        if let Some(next) = running["last_reload"]["next_try_in_seconds"].as_u64() {
            lines.push(format!("  it is tried again in {next}s"));
        }
        let pending = &running["pending_reload"];
        if let Some(doing) = pending["doing"].as_str() {
            let since = text(&pending["since"]);
            lines.push(format!("  another one is under way since {since}: {doing}"));
        }
    }
    for finding in list(&said["findings"]) {
        let level = styled(Style::Bold, &text(&finding["level"]));
        lines.push(format!("{level}: {}", text(&finding["says"])));
        if let Some(remedy) = finding["remedy"].as_str() {
            lines.push(format!("  {remedy}"));
        }
    }
    lines.push(format!(
        "\n{:24} {:12} {:>9} {:>9}  {}",
        "CREDENTIAL", "TOKEN", "LIVES", "OF", "LAST FAILURE"
    ));
    for one in list(&said["tokens"]) {
        let failure = match one["failures_since_success"].as_u64() {
            Some(0) | None => "-".to_owned(),
            Some(times) => format!("{} ({times} times)", text(&one["last_error"])),
        };
        lines.push(format!(
            "{:24} {:12} {:>9} {:>9}  {failure}",
            text(&one["credential"]),
            text(&one["zone"]),
            span(&one["remaining_seconds"]),
            span(&one["life_seconds"]),
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn span(seconds: &Value) -> String {
    match seconds.as_u64() {
        None => "-".into(),
        Some(seconds) if seconds >= 3600 => {
            format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60)
        }
        Some(seconds) if seconds >= 60 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        Some(seconds) => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_picture_says_what_is_wrong() {
        let said = json!({
            "version": "1", "uptime_seconds": 61, "ready": false, "waiting_for": ["credential web"],
            "configuration": { "generation": 3, "last_reload": { "result": "refused", "problems": [
                { "path": "routes[0].upstream", "message": "is no URL" },
            ], "next_try_in_seconds": 8 },
                "pending_reload": { "since": "2026-11-22T20:15:00Z", "doing": "waiting for first tokens" } },
            "tokens": [
                { "credential": "agent", "zone": "fresh", "remaining_seconds": 3000, "life_seconds": 3600,
                  "failures_since_success": 0 },
                { "credential": "web", "zone": "none", "remaining_seconds": null,
                  "failures_since_success": 2, "last_error": "invalid_client" },
            ],
        });
        let picture = picture(&said);
        for part in [
            "up 1m 1s, not ready: waits for credential web",
            "configuration 3, last reload refused",
            "  routes[0].upstream: is no URL",
            "  it is tried again in 8s",
            "  another one is under way since 2026-11-22T20:15:00Z: waiting for first tokens",
            "fresh          50m 00s    1h 00m  -",
            "none                 -         -  invalid_client (2 times)",
        ] {
            assert!(picture.contains(part), "{part}\n{picture}");
        }
    }
}
