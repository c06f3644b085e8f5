//! `itwin-auth-proxy log` and `logs`: the log of a running proxy, changed and read along.

use std::{
    io::{IsTerminal, Write, stdout},
    time::Duration,
};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{Method, StatusCode};
use serde_json::{Map, Value};

use super::{
    Exit,
    asking::{Whom, disobeyed},
    block_on, complain, say,
};
use crate::telemetry::text::{human, human_value};

const ANSWER: Duration = Duration::from_secs(5);

/// Change how much a running proxy logs, and how it looks.
///
/// Without LEVEL and format it says what holds. It needs the admin socket, or the admin key in both
/// configurations. Exit code 0: it was told; 1: it answered something else; 64: it cannot understand
/// it; 69: nothing answers; 77: it does not allow it; 78: the configuration does not
/// say where it is.
#[derive(Debug, Args)]
pub(super) struct Change {
    /// `debug`, or of one module `info,itwin_auth_proxy::tokens=debug`; `configured` goes back to what
    /// the configuration says.
    #[arg(value_name = "LEVEL")]
    level: Option<String>,
    /// How long, such as 10m; then what is configured comes back by itself.
    #[arg(long = "for", value_name = "TIME")]
    lasting: Option<String>,
    /// How lines look.
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    whom: Whom,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Auto,
    Human,
    Json,
}

/// Read the log of a running proxy: the newest lines, and those that come with --follow.
///
/// It needs the admin socket, or the admin key in both configurations. Exit codes as of `log`.
#[derive(Debug, Args)]
pub(super) struct Read {
    /// Go on until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// Only lines of this level and weightier ones. What the proxy does not log is not here either:
    /// `log debug --for 10m` has it log more.
    #[arg(long, value_parser = ["error", "warn", "info", "debug", "trace"])]
    level: Option<String>,
    /// How many lines that were there before.
    #[arg(long, short = 'n', default_value_t = 20)]
    lines: usize,
    /// Lines as they are in the log, also on a terminal.
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    whom: Whom,
}

pub(super) fn level(arguments: &Change) -> Result<Exit, Exit> {
    let asked = arguments.whom.find()?;
    let mut order = Map::new();
    if let Some(level) = &arguments.level {
        order.insert("level".into(), level.as_str().into());
    }
    if let Some(format) = arguments.format {
        let format = match format {
            Format::Auto => "auto",
            Format::Human => "human",
            Format::Json => "json",
        };
        order.insert("format".into(), format.into());
    }
    if order.is_empty() {
        if arguments.lasting.is_some() {
            complain("error: --for needs a LEVEL or --format");
            return Err(Exit::Usage);
        }
        return match block_on(asked.send(Method::GET, "/status", ANSWER))? {
            Ok((StatusCode::OK, text)) => {
                let status: Value = serde_json::from_str(&text).unwrap_or_default();
                say(told(&status["log"]));
                Ok(Exit::Ok)
            }
            other => Ok(refused(&asked.to_string(), other)),
        };
    }
    if let Some(lasting) = &arguments.lasting {
        order.insert("for".into(), lasting.as_str().into());
    }
    let body = Bytes::from(Value::Object(order).to_string());
    match block_on(asked.send_with(Method::POST, "/log", body, ANSWER))? {
        Ok((StatusCode::OK, text)) => {
            let answer: Value = serde_json::from_str(&text).unwrap_or_default();
            say(told(&answer));
            Ok(Exit::Ok)
        }
        other => Ok(refused(&asked.to_string(), other)),
    }
}

/// `level debug, format json, until …; configured: level info, format json`.
fn told(log: &Value) -> String {
    let look = |log: &Value| {
        let word = |name: &str| log[name].as_str().unwrap_or("?").to_owned();
        format!("level {}, format {}", word("level"), word("format"))
    };
    let mut text = look(log);
    if let Some(until) = log["until"].as_str() {
        text.extend([format!(", until {until}")]);
    }
    if log["configured"].is_object() {
        text.extend([format!("; configured: {}", look(&log["configured"]))]);
    }
    text
}

/// Says why it was not done.
fn refused(whom: &str, answer: Result<(StatusCode, String), String>) -> Exit {
    let (status, text) = match answer {
        Ok(answer) => answer,
        Err(reason) => {
            complain(format!("error: {whom} cannot be asked: {reason}"));
            return Exit::Unavailable;
        }
    };
    match status {
        StatusCode::BAD_REQUEST => {
            disobeyed(status, &text);
            Exit::Usage
        }
        _ => disobeyed(status, &text),
    }
}

pub(super) fn lines(arguments: &Read) -> Result<Exit, Exit> {
    let asked = arguments.whom.find()?;
    let mut path = format!("/log?lines={}", arguments.lines);
    if let Some(level) = &arguments.level {
        path.extend(["&level=", level]);
    }
    if arguments.follow {
        path += "&follow";
    }
    let mut shown = Shown {
        people: stdout().is_terminal() && !arguments.raw,
        part: Vec::new(),
    };
    let followed = block_on(async {
        tokio::select! {
            followed = asked.follow(&path, ANSWER, |lines| shown.show(lines)) => followed.map(Some),
            _ = tokio::signal::ctrl_c() => Ok(None),
        }
    })?;
    match followed {
        Ok(None | Some((StatusCode::OK, _))) => Ok(Exit::Ok),
        Ok(Some(other)) => Ok(refused(&asked.to_string(), Ok(other))),
        Err(reason) => Ok(refused(&asked.to_string(), Err(reason))),
    }
}

/// Lines on their way to standard output.
struct Shown {
    /// Whether JSON is made readable.
    people: bool,
    /// A line that has not ended yet.
    part: Vec<u8>,
}

impl Shown {
    /// Shows whole lines; false when nobody reads them any more.
    fn show(&mut self, bytes: &[u8]) -> bool {
        self.part.extend_from_slice(bytes);
        let end = self.part.iter().rposition(|octet| *octet == b'\n');
        let end = end.map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.part.drain(..end).collect();
        let mut out = Vec::with_capacity(lines.len());
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let read = self
                .people
                .then(|| serde_json::from_slice::<Map<String, Value>>(line));
            match read {
                Some(Ok(fields)) => readable(&mut out, fields),
                _ => out.extend_from_slice(line),
            }
        }
        let mut stdout = stdout().lock();
        stdout.write_all(&out).and_then(|()| stdout.flush()).is_ok()
    }
}

/// A line of the log for a person: what it is about first, the rest behind it.
fn readable(out: &mut Vec<u8>, mut fields: Map<String, Value>) {
    let mut first = |name: &str| match fields.shift_remove(name) {
        Some(Value::String(text)) => text,
        Some(value) => value.to_string(),
        None => String::new(),
    };
    human(out, &first("time"));
    out.push(b' ');
    let level = first("level");
    if first("kind") == "request" {
        let (status, method) = (first("status"), first("method"));
        let status = if status.is_empty() {
            "---".into()
        } else {
            status
        };
        let whole = format!(
            "{status} {method} {}{} {} ms",
            first("host"),
            first("path"),
            first("total_ms")
        );
        human(out, &whole);
    } else {
        human(out, &level);
        out.push(b' ');
        human(out, &first("message"));
        first("target");
    }
    for (name, value) in fields {
        let text = match value {
            Value::String(text) => text,
            value => value.to_string(),
        };
        out.push(b' ');
        human(out, &name);
        out.push(b'=');
        human_value(out, &text);
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(line: &Value) -> String {
        let mut out = Vec::new();
        readable(&mut out, line.as_object().unwrap().clone());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_for_programs_becomes_one_for_a_person() {
        let event = json!({"time": "T", "level": "warn", "kind": "event", "message": "cannot fetch",
                           "target": "itwin_auth_proxy::tokens", "error": "no route", "tries": 3});
        assert_eq!(
            shown(&event),
            "T warn cannot fetch error=\"no route\" tries=3\n"
        );
        let request = json!({"time": "T", "level": "info", "kind": "request", "id": "7", "method": "GET",
                             "host": "h", "path": "/p", "status": 503, "total_ms": 1.5, "error": "TokenUnavailable"});
        assert_eq!(
            shown(&request),
            "T 503 GET h/p 1.5 ms id=7 error=TokenUnavailable\n"
        );
    }

    #[test]
    fn a_terminal_is_not_told_what_to_do_by_what_was_logged() {
        let event = json!({"time": "T\u{1b}", "level": "\u{1b}[2J", "kind": "event", "message": "a\u{1b}[31m\nb", "x": "\u{9b}1m"});
        let text = shown(&event);
        assert_eq!(text.find('\n'), Some(text.len() - 1));
        assert!(!text.trim_end().chars().any(char::is_control), "{text:?}");
    }

    #[test]
    fn what_holds_is_said_in_a_line() {
        let log = json!({"level": "debug", "format": "json", "until": "T", "configured": {"level": "info", "format": "auto"}});
        assert_eq!(
            told(&log),
            "level debug, format json, until T; configured: level info, format auto"
        );
    }
}
