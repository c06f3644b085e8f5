//! The line about a request: what it says, and how it is written down.
//!
//! Written by hand into a buffer that the thread keeps, not through `tracing` and not through
//! `format!`: two dozen fields a request through a visitor, a filter and a subscriber would cost more
//! than forwarding the request does. The names of the fields are a promise to whoever reads the log with a program. What must
//! never be in it — a token, a secret, the value of a query — has no field here.

use std::{fmt, io::Write, time::Duration};

use super::{
    Style,
    text::{self, Date, number, put},
};
use crate::caller::Caller;

/// A longer path is cut: a caller must not choose the size of our log.
const PATH_BYTES: usize = 1024;

/// Names a request in the log and in our own errors: 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(pub u64, pub u64);

impl RequestId {
    fn digits(self) -> [u8; 32] {
        let mut digits = [0; 32];
        let bytes = self.0.to_be_bytes().into_iter().chain(self.1.to_be_bytes());
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *pair = PAIRS[usize::from(byte)];
        }
        digits
    }
}

/// The hexadecimal digits of every byte.
const PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}

/// Everything the log says about a request that has ended.
#[derive(Debug, Clone)]
pub struct RequestLine<'a> {
    /// When it ended, since 1970-01-01T00:00:00Z.
    pub ended: Duration,
    pub id: RequestId,
    pub method: &'a str,
    /// As the caller named it, with its port.
    pub host: &'a str,
    /// What follows a `?` or `#` in it is not written.
    pub path: &'a str,
    /// `HTTP/1.1`, `HTTP/2` …: how the caller spoke to us.
    pub protocol: &'static str,
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
    pub error: Option<&'static str>,
    /// The whole chain of reasons behind it, which the caller did not read.
    pub reason: Option<&'a str>,
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
    pub(super) fn write(&self, out: &mut Vec<u8>, date: &mut Date, style: Style) {
        match style {
            Style::Json => self.json(out, date),
            Style::Human { .. } => self.human(out, date, style),
        }
    }

    fn json(&self, out: &mut Vec<u8>, date: &mut Date) {
        put(out, "{\"time\":\"");
        date.write(out, self.ended);
        put(out, "\",\"level\":\"");
        put(out, self.level());
        put(out, "\",\"kind\":\"request\",\"id\":\"");
        out.extend_from_slice(&self.id.digits());
        put(out, "\",\"method\":\"");
        text::json(out, self.method);
        put(out, "\",\"host\":\"");
        text::json(out, shown_host(self.host));
        put(out, "\",\"path\":\"");
        text::json(out, shown_path(self.path));
        put(out, "\",\"protocol\":\"");
        put(out, self.protocol);
        if let Some(route) = self.route {
            put(out, "\",\"route\":\"");
            text::json(out, route);
        }
        if let Some(credential) = self.credential {
            put(out, "\",\"credential\":\"");
            text::json(out, credential);
        }
        if let Some(error) = self.error {
            put(out, "\",\"error\":\"");
            put(out, error);
        }
        if let Some(reason) = self.reason {
            put(out, "\",\"reason\":\"");
            text::json(out, reason);
        }
        put(out, "\",\"answered_by\":\"");
        put(out, self.answered_by.as_str());
        if self.replayed != Replayed::No {
            put(out, "\",\"replayed\":\"");
            put(out, self.replayed.as_str());
        }
        if let Some(caller) = self.caller {
            put(out, "\",\"caller\":\"");
            write_caller(out, caller, text::json);
        }
        out.push(b'"');
        if let Some(status) = self.status {
            put(out, ",\"status\":");
            number(out, status.into());
        }
        if let Some(status) = self.upstream_status {
            put(out, ",\"upstream_status\":");
            number(out, status.into());
        }
        put(out, ",\"bytes_in\":");
        number(out, self.bytes_in);
        put(out, ",\"bytes_out\":");
        number(out, self.bytes_out);
        put(out, ",\"total_ms\":");
        text::milliseconds(out, self.total);
        if let Some(took) = self.token_wait {
            put(out, ",\"token_wait_ms\":");
            text::milliseconds(out, took);
        }
        if let Some(took) = self.upstream_first_byte {
            put(out, ",\"upstream_first_byte_ms\":");
            text::milliseconds(out, took);
        }
        put(out, "}\n");
    }

    fn human(&self, out: &mut Vec<u8>, date: &mut Date, style: Style) {
        put(out, style.paint("\x1b[2m"));
        date.write(out, self.ended);
        put(out, style.paint("\x1b[0m"));
        put(out, " ");
        put(out, style.paint(self.colour()));
        match self.status {
            Some(status) => number(out, status.into()),
            None => put(out, "---"),
        }
        put(out, style.paint("\x1b[0m"));
        put(out, " ");
        text::human(out, self.method);
        put(out, " ");
        text::human(out, shown_host(self.host));
        text::human(out, shown_path(self.path));
        put(out, " ");
        text::milliseconds(out, self.total);
        put(out, " ms");
        put(out, style.paint("\x1b[2m"));
        for (name, value) in [
            (" route=", self.route),
            (" credential=", self.credential),
            (" error=", self.error),
            (" reason=", self.reason),
        ] {
            if let Some(value) = value {
                put(out, name);
                text::human_value(out, value);
            }
        }
        if let Some(caller) = self.caller {
            put(out, " caller=");
            write_caller(out, caller, text::human);
        }
        if self.answered_by != AnsweredBy::Upstream {
            put(out, " answered_by=");
            put(out, self.answered_by.as_str());
        }
        if self.replayed != Replayed::No {
            put(out, " replayed=");
            put(out, self.replayed.as_str());
        }
        // our own status stands in front
        for (name, value) in [
            (" upstream_status=", self.upstream_status.map(u64::from)),
            (" bytes_in=", Some(self.bytes_in)),
            (" bytes_out=", Some(self.bytes_out)),
        ] {
            if let Some(value) = value {
                put(out, name);
                number(out, value);
            }
        }
        for (name, took) in [
            (" token_wait=", self.token_wait),
            (" upstream_first_byte=", self.upstream_first_byte),
        ] {
            if let Some(took) = took {
                put(out, name);
                text::milliseconds(out, took);
                put(out, "ms");
            }
        }
        put(out, " ");
        put(out, self.protocol);
        put(out, " id=");
        out.extend_from_slice(&self.id.digits());
        put(out, style.paint("\x1b[0m"));
        put(out, "\n");
    }

    /// A failure of ours or of what we need is a warning; what a service answers is not about us.
    const fn level(&self) -> &'static str {
        match (self.answered_by, self.status) {
            (AnsweredBy::Proxy, Some(500..)) => "warn",
            _ => "info",
        }
    }

    const fn colour(&self) -> &'static str {
        match self.status {
            Some(100..=399) => "\x1b[32m",
            Some(400..=499) => "\x1b[33m",
            _ => "\x1b[31m",
        }
    }
}

/// What `Display` says of a caller, without its price; a certificate's subject is the caller's text.
fn write_caller(out: &mut Vec<u8>, caller: &Caller, escape: impl Fn(&mut Vec<u8>, &str)) {
    match caller {
        Caller::Local => put(out, "local"),
        Caller::Stranger => put(out, "stranger"),
        Caller::Key(name) => {
            put(out, "key:");
            escape(out, name);
        }
        Caller::ProxyUser(name) => {
            put(out, "user:");
            escape(out, name);
        }
        Caller::Certificate(name) => {
            put(out, "cert:");
            escape(out, name);
        }
        Caller::Bearer(holder) => {
            put(out, "bearer:");
            escape(out, holder.client.as_deref().unwrap_or("-"));
            put(out, "/");
            escape(out, holder.subject.as_deref().unwrap_or("-"));
        }
        Caller::Person(holder) => {
            put(out, "person:");
            escape(out, holder.subject.as_deref().unwrap_or("-"));
        }
        Caller::Uid(uid) => {
            put(out, "uid:");
            number(out, (*uid).into());
        }
        // digits, letters, points and colons: nothing to escape
        Caller::Network(_) => _ = write!(out, "{caller}"),
    }
}

/// The host without what may stand before an `@`: a password, if anything.
fn shown_host(host: &str) -> &str {
    memchr::memrchr(b'@', host.as_bytes()).map_or(host, |at| &host[at + 1..])
}

/// The path without query and fragment, cut where it is too long.
fn shown_path(path: &str) -> &str {
    let end = memchr::memchr2(b'?', b'#', path.as_bytes());
    let mut end = end.unwrap_or(path.len()).min(PATH_BYTES);
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

    pub(crate) fn line() -> RequestLine<'static> {
        RequestLine {
            ended: Duration::from_millis(1_700_000_000_123),
            id: RequestId(0x7f3a, 0x01ff),
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
            reason: None,
            total: Duration::from_micros(45_123),
            token_wait: None,
            upstream_first_byte: Some(Duration::from_millis(41)),
            bytes_in: 0,
            bytes_out: 5120,
            replayed: Replayed::No,
        }
    }

    fn written(line: &RequestLine<'_>, style: Style) -> String {
        let mut out = Vec::new();
        line.write(&mut out, &mut Date::default(), style);
        String::from_utf8(out).unwrap()
    }

    const PLAIN: Style = Style::Human { colour: false };

    #[test]
    fn json_names_every_field_as_documented() {
        let text = written(&line(), Style::Json);
        let mut value: Value = serde_json::from_str(&text).unwrap();
        let time = value.as_object_mut().unwrap().remove("time").unwrap();
        assert_eq!(time.as_str(), Some("2023-11-14T22:13:20.123Z"));
        assert_eq!(
            value,
            json!({
                "level": "info", "kind": "request", "id": "0000000000007f3a00000000000001ff", "method": "GET",
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
             id=0000000000007f3a00000000000001ff\n"
        );
        let refused = RequestLine {
            status: Some(503),
            upstream_status: None,
            answered_by: AnsweredBy::Proxy,
            error: Some("TokenUnavailable"),
            reason: Some("no token of credential agent: invalid_client"),
            token_wait: Some(Duration::from_secs(5)),
            upstream_first_byte: None,
            ..line()
        };
        let text = written(&refused, PLAIN);
        for part in [
            " 503 GET ",
            " error=TokenUnavailable ",
            " reason=\"no token of credential agent: invalid_client\" ",
            " answered_by=proxy ",
            " token_wait=5000.000ms ",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let levels = [
            (AnsweredBy::Proxy, Some(503), "warn"),
            (AnsweredBy::Proxy, Some(403), "info"),
            (AnsweredBy::Upstream, Some(503), "info"),
            (AnsweredBy::Nobody, None, "info"),
        ];
        for (answered_by, status, level) in levels {
            let line = RequestLine {
                status,
                answered_by,
                ..line()
            };
            let value: Value = serde_json::from_str(&written(&line, Style::Json)).unwrap();
            assert_eq!(value["level"], level, "{status:?}");
        }
    }

    #[test]
    fn every_kind_of_caller_is_written_as_it_is_shown_elsewhere() {
        for caller in [
            Caller::Local,
            Caller::Network("2001:db8::1".parse().unwrap()),
            Caller::Key("ci".into()),
            Caller::Certificate("CN=agent".into()),
            Caller::Uid(1000),
        ] {
            let line = RequestLine {
                caller: Some(&caller),
                ..line()
            };
            let value: Value = serde_json::from_str(&written(&line, Style::Json)).unwrap();
            assert_eq!(value["caller"].as_str(), Some(&*caller.to_string()));
            assert!(written(&line, PLAIN).contains(&format!(" caller={caller} ")));
        }
        let id = line().id;
        assert_eq!(id.digits(), id.to_string().as_bytes());
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
