//! The line about a request: what it says, and how it is written down.
//!
//! Written by hand into a buffer that the thread keeps, not through `tracing`: two dozen fields a
//! request through a visitor, a filter and a subscriber would cost more than forwarding the request
//! does. The names of the fields are a promise to whoever reads the log with a program. What must
//! never be in it — a token, a secret, the value of a query — has no field here.

use std::{fmt::Write, time::Duration};

use super::{Style, text};
use crate::{caller::Caller, clock::Moment};

/// A longer path is cut: a caller must not choose the size of our log.
const PATH_BYTES: usize = 1024;

/// Everything the log says about a request that has ended.
#[derive(Debug, Clone)]
pub struct RequestLine<'a> {
    /// When it ended.
    pub ended: Moment,
    pub id: &'a str,
    pub method: &'a str,
    /// As the caller named it, with its port.
    pub host: &'a str,
    /// What follows a `?` or `#` in it is not written.
    pub path: &'a str,
    /// `HTTP/1.1`, `HTTP/2` …: how the caller spoke to us.
    pub protocol: &'a str,
    /// `None`: no route matched.
    pub route: Option<&'a str>,
    /// `None`: the caller was not established.
    pub caller: Option<&'a Caller>,
    /// The name of the credential whose token went with it.
    pub credential: Option<&'a str>,
    /// What the caller saw; `None`: it went away before an answer began.
    pub status: Option<u16>,
    /// What the upstream answered last.
    pub upstream_status: Option<u16>,
    pub answered_by: AnsweredBy,
    /// The code of our own error, as the caller read it.
    pub error: Option<&'a str>,
    /// From the header of the request to the end of the answer.
    pub total: Duration,
    /// Waiting for a token; `None`: there was one, or none was needed.
    pub token_wait: Option<Duration>,
    /// From sending the request to the header of the upstream's answer.
    pub upstream_first_byte: Option<Duration>,
    /// Body bytes from the caller.
    pub bytes_in: u64,
    /// Body bytes to the caller.
    pub bytes_out: u64,
    pub replayed: Replayed,
}

/// Whose answer the caller got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnsweredBy {
    Upstream,
    Proxy,
    /// The caller went away first.
    Nobody,
}

impl AnsweredBy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
            Self::Nobody => "nobody",
        }
    }
}

/// Whether the request was sent to the upstream a second time, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    No,
    /// The upstream refused our token with a 401.
    NewToken,
    /// A reused connection had died before it read the request.
    NewConnection,
}

impl Replayed {
    const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::NewToken => "new_token",
            Self::NewConnection => "new_connection",
        }
    }
}

impl RequestLine<'_> {
    /// Appends the line, with its line feed.
    pub(super) fn write(&self, out: &mut String, style: Style) {
        match style {
            Style::Json => self.json(out),
            Style::Human { .. } => self.human(out, style),
        }
    }

    fn json(&self, out: &mut String) {
        out.push_str("{\"time\":\"");
        text::time(out, self.ended.wall);
        out.push_str("\",\"level\":\"info\",\"kind\":\"request\"");
        let mut field = |name: &str, value: &str| {
            let _ = write!(out, ",\"{name}\":\"");
            text::json(out, value);
            out.push('"');
        };
        field("id", self.id);
        field("method", self.method);
        field("host", shown_host(self.host));
        field("path", shown_path(self.path));
        field("protocol", self.protocol);
        for (name, value) in self.names() {
            field(name, value);
        }
        field("answered_by", self.answered_by.as_str());
        if self.replayed != Replayed::No {
            field("replayed", self.replayed.as_str());
        }
        if let Some(caller) = self.caller {
            out.push_str(",\"caller\":\"");
            caller_text(caller, |part| text::json(out, part));
            out.push('"');
        }
        for (name, value) in self.numbers() {
            let _ = write!(out, ",\"{name}\":{value}");
        }
        for (name, took) in self.durations() {
            let _ = write!(out, ",\"{name}_ms\":");
            text::milliseconds(out, took);
        }
        out.push_str("}\n");
    }

    fn human(&self, out: &mut String, style: Style) {
        let paint = |out: &mut String, colour| out.push_str(style.paint(colour));
        paint(out, "\x1b[2m");
        text::time(out, self.ended.wall);
        paint(out, "\x1b[0m");
        out.push(' ');
        paint(out, self.colour());
        match self.status {
            Some(status) => _ = write!(out, "{status}"),
            None => out.push_str("---"),
        }
        paint(out, "\x1b[0m");
        out.push(' ');
        text::human(out, self.method);
        out.push(' ');
        text::human(out, shown_host(self.host));
        text::human(out, shown_path(self.path));
        out.push(' ');
        text::milliseconds(out, self.total);
        out.push_str(" ms");
        paint(out, "\x1b[2m");
        for (name, value) in self.names() {
            let _ = write!(out, " {name}=");
            text::human_value(out, value);
        }
        if let Some(caller) = self.caller {
            out.push_str(" caller=");
            caller_text(caller, |part| text::human(out, part));
        }
        if self.answered_by != AnsweredBy::Upstream {
            let _ = write!(out, " answered_by={}", self.answered_by.as_str());
        }
        if self.replayed != Replayed::No {
            let _ = write!(out, " replayed={}", self.replayed.as_str());
        }
        // the status stands in front
        for (name, value) in self.numbers().filter(|(name, _)| *name != "status") {
            let _ = write!(out, " {name}={value}");
        }
        for (name, took) in self.durations().filter(|(name, _)| *name != "total") {
            let _ = write!(out, " {name}=");
            text::milliseconds(out, took);
            out.push_str("ms");
        }
        out.push(' ');
        text::human(out, self.protocol);
        out.push_str(" id=");
        text::human(out, self.id);
        paint(out, "\x1b[0m");
        out.push('\n');
    }

    fn names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("route", self.route),
            ("credential", self.credential),
            ("error", self.error),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    fn numbers(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("status", self.status.map(u64::from)),
            ("upstream_status", self.upstream_status.map(u64::from)),
            ("bytes_in", Some(self.bytes_in)),
            ("bytes_out", Some(self.bytes_out)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    fn durations(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        [
            ("total", Some(self.total)),
            ("token_wait", self.token_wait),
            ("upstream_first_byte", self.upstream_first_byte),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    const fn colour(&self) -> &'static str {
        match self.status {
            Some(100..=399) => "\x1b[32m",
            Some(400..=499) => "\x1b[33m",
            _ => "\x1b[31m",
        }
    }
}

/// Writes a caller piece by piece through `escape`: a certificate's subject is the caller's text.
fn caller_text(caller: &Caller, escape: impl FnMut(&str)) {
    struct Pieces<F>(F);
    impl<F: FnMut(&str)> Write for Pieces<F> {
        fn write_str(&mut self, piece: &str) -> std::fmt::Result {
            (self.0)(piece);
            Ok(())
        }
    }
    let _ = write!(Pieces(escape), "{caller}");
}

/// The host without what may stand before an `@`: a password, if anything.
fn shown_host(host: &str) -> &str {
    host.rsplit_once('@').map_or(host, |(_, host)| host)
}

/// The path without query and fragment, cut where it is too long.
fn shown_path(path: &str) -> &str {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut end = path.len().min(PATH_BYTES);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    &path[..end]
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::Clock;

    pub(crate) fn line() -> RequestLine<'static> {
        RequestLine {
            ended: Clock::for_tests(Duration::from_millis(1_700_000_000_123)).now(),
            id: "7f3a",
            method: "GET",
            host: "127.0.0.1:8080",
            path: "/imodels",
            protocol: "HTTP/1.1",
            route: Some("imodels"),
            caller: Some(&Caller::Local),
            credential: Some("agent"),
            status: Some(200),
            upstream_status: Some(200),
            answered_by: AnsweredBy::Upstream,
            error: None,
            total: Duration::from_micros(45_123),
            token_wait: None,
            upstream_first_byte: Some(Duration::from_millis(41)),
            bytes_in: 0,
            bytes_out: 5120,
            replayed: Replayed::No,
        }
    }

    fn written(line: &RequestLine<'_>, style: Style) -> String {
        let mut out = String::new();
        line.write(&mut out, style);
        out
    }

    const PLAIN: Style = Style::Human { colour: false };

    #[test]
    fn json_names_every_field_as_documented() {
        let text = written(&line(), Style::Json);
        let mut value: Value = serde_json::from_str(&text).unwrap();
        let time = value.as_object_mut().unwrap().remove("time").unwrap();
        assert!(time.as_str().unwrap().starts_with("2023-11-14T22:13:20."));
        assert_eq!(
            value,
            json!({
                "level": "info", "kind": "request", "id": "7f3a", "method": "GET",
                "host": "127.0.0.1:8080", "path": "/imodels", "protocol": "HTTP/1.1",
                "route": "imodels", "credential": "agent", "answered_by": "upstream",
                "caller": "local", "status": 200, "upstream_status": 200,
                "bytes_in": 0, "bytes_out": 5120,
                "total_ms": 45.123, "upstream_first_byte_ms": 41.0
            })
        );
    }

    #[test]
    fn a_person_sees_status_method_path_and_time_first() {
        let text = written(&line(), PLAIN);
        assert_eq!(
            text.split_once(' ').unwrap().1,
            "200 GET 127.0.0.1:8080/imodels 45.123 ms route=imodels credential=agent caller=local \
             upstream_status=200 bytes_in=0 bytes_out=5120 upstream_first_byte=41.000ms HTTP/1.1 \
             id=7f3a\n"
        );
        let refused = RequestLine {
            status: Some(503),
            upstream_status: None,
            answered_by: AnsweredBy::Proxy,
            error: Some("TokenUnavailable"),
            token_wait: Some(Duration::from_secs(5)),
            upstream_first_byte: None,
            ..line()
        };
        let text = written(&refused, PLAIN);
        for part in [
            " 503 GET ",
            " error=TokenUnavailable ",
            " answered_by=proxy ",
            " token_wait=5000.000ms ",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn colour_is_only_in_what_a_terminal_is_shown() {
        assert!(written(&line(), Style::Human { colour: true }).contains("\x1b[32m200\x1b[0m"));
        assert!(!written(&line(), PLAIN).contains('\x1b'));
    }

    #[test]
    fn query_fragment_and_password_are_not_written() {
        let line = RequestLine {
            host: "user:hunter2@127.0.0.1",
            path: "/imodels?sig=hunter2#hunter2",
            ..line()
        };
        for style in [Style::Json, PLAIN] {
            let text = written(&line, style);
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_caller_sends_is_one_line_that_reads_back(
            method in any::<String>(), host in any::<String>(), path in any::<String>(), name in any::<String>(),
        ) {
            let caller = Caller::Certificate(name.as_str().into());
            let line = RequestLine { method: &method, host: &host, path: &path, caller: Some(&caller), ..line() };
            for style in [Style::Json, PLAIN] {
                let text = written(&line, style);
                prop_assert_eq!(text.find('\n'), Some(text.len() - 1));
                prop_assert!(!text.trim_end_matches('\n').chars().any(char::is_control));
            }
            let value: Value = serde_json::from_str(&written(&line, Style::Json)).unwrap();
            prop_assert_eq!(value["method"].as_str(), Some(method.as_str()));
            prop_assert_eq!(&value["caller"], &Value::from(format!("cert:{name}")));
        }
    }
}
