//! `itwin-auth-proxy status`: how a running proxy is, on a terminal.

use std::{
    io,
    time::{Duration, UNIX_EPOCH},
};

use clap::Args;
use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    Exit,
    asking::{Asked, Whom, disobeyed},
    block_on, complain, duration,
    output::{Style, columns, count, pour, styled, wrapped},
};
use crate::{clock::Clock, telemetry::text::human};

const ANSWER: Duration = Duration::from_secs(5);
/// Clears a terminal and begins at its top (ECMA-48: CUP, ED).
const AFRESH: &str = "\x1b[H\x1b[J";

/// Show how a running proxy is: what it waits for, each credential's token, what is wrong and what to do.
///
/// Exit code 0: it is ready, and nothing that it found is a failure; 1: it is not, or something is; 69:
/// nothing answers; 77: it does not answer us; 78: the configuration does not say where it is. `probe`
/// asks for no more than whether it is ready.
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
        let clock = if arguments.watch {
            let now = UNIX_EPOCH + Clock::system().now().wall;
            format!("{}\n", humantime::format_rfc3339_seconds(now))
        } else {
            String::new()
        };
        pour(&format!("{before}{clock}{}", picture(&said, columns())));
    }
    let fails = list(&said["findings"]).any(|finding| finding["level"] == "failure");
    Ok(match said["ready"].as_bool() {
        Some(true) if !fails => Exit::Ok,
        _ => Exit::No,
    })
}

/// What of it fits lines of so many columns: nothing is cut off.
fn picture(said: &Value, width: usize) -> String {
    let mut lines = heading(said, width);
    lines.push(String::new());
    lines.extend(credentials(said, width));
    let findings: Vec<_> = list(&said["findings"]).collect();
    if findings.is_empty() {
        lines.push(format!("\n{}", styled(Style::Green, "Nothing is wrong.")));
    }
    for finding in findings {
        lines.push(String::new());
        lines.extend(told(finding, width));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn heading(said: &Value, width: usize) -> Vec<String> {
    let up = Duration::from_secs(said["uptime_seconds"].as_u64().unwrap_or_default());
    let waiting: Vec<_> = list(&said["waiting_for"]).map(text).collect();
    let without = |one: &&Value| matches!(one["zone"].as_str(), Some("expired" | "none"));
    let without = list(&said["tokens"]).filter(without);
    let without: Vec<_> = without.map(|one| text(&one["credential"])).collect();
    let state = if waiting.is_empty() && without.is_empty() {
        "ready".to_owned()
    } else if waiting.is_empty() {
        let without = without.join(", ");
        format!("ready, but calls that need a token of {without} are answered 503")
    } else {
        format!("not ready: waits for {}", waiting.join(", "))
    };
    let program = format!(
        "itwin-auth-proxy {}, up {}, {state}",
        text(&said["version"]),
        humantime::format_duration(up)
    );
    let style = if waiting.is_empty() && without.is_empty() {
        Style::Green
    } else {
        Style::Bold
    };
    let mut lines = hanging("", &program, width);
    for line in &mut lines {
        *line = styled(style, line);
    }
    let running = &said["configuration"];
    if let Some(generation) = running["generation"].as_u64() {
        let last = &running["last_reload"]["result"];
        let last = last
            .as_str()
            .map_or_else(String::new, |last| format!(", last reload {last}"));
        lines.push(format!("configuration {generation}{last}"));
        for problem in list(&running["last_reload"]["problems"]) {
            let (path, message) = (text(&problem["path"]), text(&problem["message"]));
            lines.extend(hanging("  ", &format!("{path}: {message}"), width));
        }
        if let Some(next) = running["last_reload"]["next_try_in_seconds"].as_u64() {
            lines.push(format!("  it is tried again in {next}s"));
        }
        let pending = &running["pending_reload"];
        if pending["doing"].is_string() {
            let (since, doing) = (text(&pending["since"]), text(&pending["doing"]));
            let pending = format!("another one is under way since {since}: {doing}");
            lines.extend(hanging("  ", &pending, width));
        }
    }
    lines
}

/// A line for each credential; why there is no other token stands below it.
fn credentials(said: &Value, width: usize) -> Vec<String> {
    let names = list(&said["tokens"]).map(|one| text(&one["credential"]).chars().count());
    let name = names.max().unwrap_or_default().max(10);
    let row = |first: &str, zone: &str, left: &str, life: &str| {
        let figures = format!("{zone:<11}  {left:>8}  {life:>8}");
        if name + 2 + figures.len() <= width {
            format!("{first:name$}  {figures}")
        } else {
            format!("{first}\n  {figures}")
        }
    };
    let mut lines = vec![row("CREDENTIAL", "TOKEN", "LEFT", "LIFE")];
    for one in list(&said["tokens"]) {
        lines.push(row(
            &text(&one["credential"]),
            &text(&one["zone"]),
            &span(&one["remaining_seconds"]),
            &span(&one["life_seconds"]),
        ));
        let times = one["failures_since_success"].as_u64().unwrap_or_default();
        if times > 0 {
            let times = count(usize::try_from(times).unwrap_or(usize::MAX), "time");
            let failed = format!("failed {times}: {}", text(&one["last_error"]));
            lines.extend(hanging("  ", &failed, width));
        }
    }
    lines
}

/// A finding as the page has it: its title, what it says, what to do.
fn told(finding: &Value, width: usize) -> Vec<String> {
    let level = text(&finding["level"]);
    let title = format!("{level}: {}", text(&finding["title"]));
    let mut lines = hanging("", &title, width);
    if let Some(first) = lines.first_mut() {
        *first = first.replacen(&level, &styled(Style::Bold, &level), 1);
    }
    lines.extend(hanging("  ", &text(&finding["says"]), width));
    if finding["remedy"].is_string() {
        let remedy = format!("To do: {}", text(&finding["remedy"]));
        lines.extend(hanging("  ", &remedy, width));
    }
    lines
}

/// A text in lines of so many columns, each behind this.
fn hanging(before: &str, text: &str, width: usize) -> Vec<String> {
    let lines = wrapped(text, width.saturating_sub(before.len()).max(20));
    lines.iter().map(|line| format!("{before}{line}")).collect()
}

/// As it may stand on a terminal: much of it comes from elsewhere.
fn text(value: &Value) -> String {
    let mut out = Vec::new();
    human(&mut out, value.as_str().unwrap_or("-"));
    String::from_utf8_lossy(&out).into_owned()
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

    fn said() -> Value {
        json!({
            "version": "1", "uptime_seconds": 61, "ready": false, "waiting_for": ["credential web"],
            "configuration": { "generation": 3, "last_reload": { "result": "refused", "problems": [
                { "path": "routes[0].upstream", "message": "is no URL" },
            ], "next_try_in_seconds": 8 },
                "pending_reload": { "since": "2026-11-22T20:15:00Z", "doing": "waiting for first tokens" } },
            "tokens": [
                { "credential": "agent", "zone": "fresh", "remaining_seconds": 3000, "life_seconds": 3600,
                  "failures_since_success": 0 },
                { "credential": "web", "zone": "none", "remaining_seconds": null,
                  "failures_since_success": 2, "last_error": "invalid_client\u{1b}[2J" },
            ],
            "findings": [
                { "level": "failure", "title": "The token of “web” is missing: the provider does not take its client id and secret",
                  "says": "Calls that need it are answered 503 until there is one.",
                  "remedy": "Put the right secret where the configuration points; it is read again by itself." },
            ],
        })
    }

    #[test]
    fn the_picture_says_what_is_wrong_and_what_to_do() {
        let picture = picture(&said(), usize::MAX);
        for part in [
            "up 1m 1s, not ready: waits for credential web\n",
            "configuration 3, last reload refused\n",
            "  routes[0].upstream: is no URL\n",
            "  it is tried again in 8s\n",
            "  another one is under way since 2026-11-22T20:15:00Z: waiting for first tokens\n",
            "agent       fresh         50m 00s    1h 00m\n",
            "web         none                -         -\n",
            "  failed 2 times: invalid_client\\u{1b}[2J\n",
            "\nfailure: The token of “web” is missing",
            "\n  To do: Put the right secret where",
        ] {
            assert!(picture.contains(part), "{part}\n{picture}");
        }
    }

    #[test]
    fn narrow_lines_have_every_word() {
        let (wide, narrow) = (picture(&said(), usize::MAX), picture(&said(), 60));
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&wide), words(&narrow));
        for line in narrow.lines() {
            assert!(line.chars().count() <= 60, "{line}");
        }
    }

    #[test]
    fn who_is_ready_without_a_token_says_what_becomes_of_calls() {
        let said = |zone| {
            let said = json!({
                "version": "1", "uptime_seconds": 61, "ready": true, "waiting_for": [],
                "tokens": [{ "credential": "agent", "zone": zone }, { "credential": "web", "zone": "fresh" }],
            });
            picture(&said, usize::MAX)
        };
        let expired = "up 1m 1s, ready, but calls that need a token of agent are answered 503";
        assert!(said("expired").contains(expired), "{}", said("expired"));
        assert!(
            said("last_resort").contains("up 1m 1s, ready\n"),
            "{}",
            said("last_resort")
        );
    }
}
