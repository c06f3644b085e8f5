//! The log: one stream on stderr, a line each for requests and events, nobody waits for it.
//!
//! [`init`] decides once how lines look: for a person on a terminal, JSON otherwise. Requests are
//! written through [`RequestLog`], everything else through `tracing`; both go through one bounded
//! queue (`queue`), so that the order of a thread's lines is the one in which things happened. (That,
//! and one write for many lines, is why it is not `tracing-appender`, which hands over an allocation a
//! line.)
//!
//! No secret gets here by a type that shows it (`secret`); and libraries, whose debug output shows
//! headers, are kept to warnings unless an operator names them in the level. What of this changes while
//! the program runs is in `steer`; who reads along, in `follow`.

mod event;
mod follow;
mod queue;
mod recent;
mod request;
mod steer;
pub(crate) mod text;

use std::{
    cell::RefCell,
    io::{self, IsTerminal},
    panic,
    time::Duration,
};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, registry::Registry};

pub(crate) use self::steer::rfc3339;
use self::{event::Events, queue::Queue, steer::Levels, text::Date};
pub use self::{
    request::{AnsweredBy, Replayed, RequestId, RequestLine},
    steer::{Log, LogOrder},
};
use crate::{clock::Clock, metrics::Counter};

/// How much of each thread may wait for the reader of the log: fifty milliseconds of the busiest
/// thread, minutes of a usual one. A little less than a power of two, so that the line that fills
/// the buffer does not double it.
const QUEUE_BYTES: usize = 1024 * 1024 - 64 * 1024;

/// How long the end of the program waits for the reader of the log.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// How the log is to be.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    /// See [`levels`].
    pub level: &'a str,
    pub format: Format,
    pub colour: Colour,
    pub requests: Requests,
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a person if stderr is a terminal, JSON otherwise.
    Auto,
    Human,
    Json,
}

/// Whether lines for a person are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// If stderr is a terminal.
    Auto,
    /// `NO_COLOR` is set.
    Never,
}

/// Whether there is a line for every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requests {
    Logged,
    NotLogged,
}

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the log level is wrong")]
    Level(#[from] LevelError),
    #[error("the log's thread cannot be started")]
    Thread(#[source] io::Error),
    #[error("another log is set up in this process already")]
    Twice,
}

/// A level that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    #[error("`{0}` is not a level: use error, warn, info, debug, trace or off, or module=level")]
    NotALevel(String),
    #[error("`{0}` is not the path of a module")]
    NotAModule(String),
}

/// Keeps the log going; writes what is left when it is dropped.
#[derive(Debug)]
#[must_use = "what is still to be written is written when it is dropped"]
pub struct Telemetry {
    log: Log,
    requests: Requests,
}

/// Sets the log of this process up: once, and first of all.
pub fn init(settings: &Settings<'_>) -> Result<Telemetry, TelemetryError> {
    let screen = Screen::of(io::stderr().is_terminal(), settings.colour);
    let (telemetry, subscriber) = build(settings, screen, Clock::system())?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::Twice)?;
    let log = telemetry.log.clone();
    telemetry
        .log
        .0
        .queue
        .write_to(io::stderr(), move |out, dropped| note(out, dropped, &log))
        .map_err(TelemetryError::Thread)?;
    log_panics();
    Ok(telemetry)
}

fn build(
    settings: &Settings<'_>,
    screen: Screen,
    clock: Clock,
) -> Result<(Telemetry, impl Subscriber + use<>), LevelError> {
    let queue = Queue::new(QUEUE_BYTES);
    let log = Log::new(settings.level, settings.format, screen, queue, clock)?;
    let subscriber = Registry::default()
        .with(Levels(log.clone()))
        .with(Events(log.clone()));
    let telemetry = Telemetry {
        log,
        requests: settings.requests,
    };
    Ok((telemetry, subscriber))
}

/// Understands a level: directives with commas between them, each `level` (for this program;
/// libraries stay at `warn`) or `module=level` (for what is named).
pub fn levels(directives: &str) -> Result<Targets, LevelError> {
    let level = |text: &str| {
        let known = ["off", "error", "warn", "info", "debug", "trace"];
        let lower = text.to_ascii_lowercase();
        match lower.parse::<LevelFilter>() {
            Ok(filter) if known.contains(&lower.as_str()) => Ok(filter),
            _ => Err(LevelError::NotALevel(text.to_owned())),
        }
    };
    let mut targets = Targets::new().with_default(LevelFilter::WARN);
    for directive in directives.split(',').map(str::trim) {
        match directive.split_once('=') {
            None => {
                let ours = level(directive)?;
                targets = targets
                    .with_target(OURS, ours)
                    .with_default(ours.min(LevelFilter::WARN));
            }
            Some((module, filter)) => {
                let module = module.trim();
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
                if module.is_empty() || !module.chars().all(plain) {
                    return Err(LevelError::NotAModule(module.to_owned()));
                }
                targets = targets.with_target(module, level(filter.trim())?);
            }
        }
    }
    Ok(targets)
}

/// The target of everything that this program logs.
const OURS: &str = "itwin_auth_proxy";

/// How lines look, decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Human { colour: bool },
    Json,
}

impl Style {
    /// `sequence` if there is colour, nothing otherwise.
    const fn paint(self, sequence: &'static str) -> &'static str {
        match self {
            Self::Human { colour: true } => sequence,
            _ => "",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::Human { colour: false } => 1,
            Self::Human { colour: true } => 2,
        }
    }

    const fn of_number(number: u8) -> Self {
        match number {
            0 => Self::Json,
            1 => Self::Human { colour: false },
            _ => Self::Human { colour: true },
        }
    }
}

/// What shows the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Screen {
    /// A file or another program.
    None,
    Plain,
    Coloured,
}

impl Screen {
    fn of(terminal: bool, colour: Colour) -> Self {
        match (terminal, colour) {
            (false, _) => Self::None,
            (true, Colour::Never) => Self::Plain,
            (true, Colour::Auto) => Self::Coloured,
        }
    }
}

impl Format {
    /// How a line looks there.
    fn on(self, screen: Screen) -> Style {
        match self {
            Self::Auto if screen == Screen::None => Style::Json,
            Self::Json => Style::Json,
            Self::Auto | Self::Human => Style::Human {
                colour: screen == Screen::Coloured,
            },
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Human => "human",
            Self::Json => "json",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        let mut all = [Self::Auto, Self::Human, Self::Json].into_iter();
        all.find(|format| format.name() == name)
    }
}

impl Telemetry {
    /// Where requests are logged.
    pub fn requests(&self) -> RequestLog {
        RequestLog {
            log: Some(self.log.clone()),
            requests: self.requests,
        }
    }

    /// Counts lines that a slow reader made us drop there.
    pub fn count_drops_in(&self, drops: Counter) {
        self.log.0.queue.count_drops_in(drops);
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.log.0.queue.flush(FLUSH_LIMIT);
        self.log.0.queue.close();
    }
}

/// Where requests are logged. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RequestLog {
    log: Option<Log>,
    requests: Requests,
}

impl RequestLog {
    /// Nothing is logged.
    pub fn off() -> Self {
        Self {
            log: None,
            requests: Requests::NotLogged,
        }
    }

    /// For tests: JSON lines are kept in memory.
    pub fn captured() -> (Self, Captured) {
        let queue = Queue::new(usize::MAX);
        let log = Log::new(
            "info",
            Format::Json,
            Screen::None,
            queue.clone(),
            Clock::system(),
        );
        let log = Self {
            log: log.ok(),
            requests: Requests::Logged,
        };
        (log, Captured(queue))
    }

    /// Whether anybody reads it.
    pub fn is_on(&self) -> bool {
        self.requests == Requests::Logged && self.log.is_some()
    }

    /// The log that they are part of; `None`: there is none.
    pub fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    /// Logs a request. Neither waits nor, once the thread has logged a few, allocates.
    pub fn write(&self, line: &RequestLine<'_>) {
        thread_local!(static DESK: RefCell<(Vec<u8>, Date)> = RefCell::default());
        let (Some(log), Requests::Logged) = (&self.log, self.requests) else {
            return;
        };
        // not straight into the queue's buffer: a bug here must not hold its lock
        DESK.with_borrow_mut(|(buffer, date)| {
            buffer.clear();
            line.write(buffer, date, log.style());
            log.0.queue.push(buffer);
        });
    }
}

/// For tests: what was logged.
#[derive(Debug, Clone)]
pub struct Captured(Queue);

impl Captured {
    /// The lines since the last call.
    pub fn take(&self) -> String {
        String::from_utf8_lossy(&self.0.take()).into_owned()
    }
}

/// The line that says that lines are missing.
fn note(out: &mut Vec<u8>, dropped: u64, log: &Log) {
    let time = steer::rfc3339(log.0.clock.now().wall);
    let text = match log.style() {
        Style::Json => format!(
            "{{\"time\":\"{time}\",\"level\":\"warn\",\"kind\":\"event\",\
             \"message\":\"log lines dropped\",\"dropped\":{dropped}}}\n"
        ),
        Style::Human { .. } => format!("{time} warn log lines dropped dropped={dropped}\n"),
    };
    out.extend_from_slice(text.as_bytes());
}

/// Says in the log where a panic was. Its message is left out: it may quote the text that was being
/// worked on (`str` slicing does), and that may be a secret.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(
            place = place.as_deref().unwrap_or("unknown"),
            "the program has a bug: a panic"
        );
    }));
}

#[cfg(test)]
mod tests {
    use tracing::{debug, error, info, trace, warn};

    use super::*;

    fn settings(level: &str, style: Style) -> Settings<'_> {
        Settings {
            level,
            format: match style {
                Style::Json => Format::Json,
                Style::Human { .. } => Format::Human,
            },
            colour: Colour::Auto,
            requests: Requests::Logged,
        }
    }

    /// What is in the log after `work`, with the times taken off.
    fn logged(level: &str, style: Style, work: impl FnOnce(&RequestLog)) -> Vec<String> {
        let clock = Clock::for_tests(Duration::from_secs(1_700_000_000));
        let (telemetry, subscriber) = build(&settings(level, style), Screen::None, clock).unwrap();
        tracing::subscriber::with_default(subscriber, || work(&telemetry.requests()));
        let text = String::from_utf8(telemetry.log.0.queue.take()).unwrap();
        text.lines()
            .map(|line| match style {
                Style::Json => line.split_once(',').unwrap().1.to_owned(),
                Style::Human { .. } => line.split_once(' ').unwrap().1.to_owned(),
            })
            .collect()
    }

    const PLAIN: Style = Style::Human { colour: false };

    #[test]
    fn a_terminal_gets_lines_for_a_person_and_a_pipe_gets_json() {
        let all = [
            (
                Format::Auto,
                Colour::Auto,
                true,
                Style::Human { colour: true },
            ),
            (Format::Auto, Colour::Never, true, PLAIN),
            (Format::Auto, Colour::Auto, false, Style::Json),
            (Format::Human, Colour::Auto, false, PLAIN),
            (Format::Json, Colour::Auto, true, Style::Json),
        ];
        for (format, colour, terminal, expected) in all {
            let style = format.on(Screen::of(terminal, colour));
            assert_eq!(style, expected, "{format:?} {colour:?} {terminal}");
        }
    }

    #[test]
    fn events_and_requests_stand_in_the_order_in_which_they_happened() {
        let lines = logged("info", PLAIN, |requests| {
            info!(listener = "127.0.0.1:8080", "listening");
            requests.write(&request::tests::line());
            let cause = io::Error::other("no route to host");
            error!(
                error = &LogTestError(cause) as &dyn std::error::Error,
                tries = 3,
                "cannot fetch a token"
            );
        });
        assert_eq!(lines[0], "info listening listener=127.0.0.1:8080");
        assert!(lines[1].starts_with("200 GET 127.0.0.1:8080/imodels "));
        assert_eq!(
            lines[2],
            "error cannot fetch a token error=\"the provider is away: no route to host\" tries=3"
        );
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the provider is away")]
    struct LogTestError(#[source] io::Error);

    #[test]
    fn json_events_are_json_whatever_is_in_them() {
        let lines = logged("info", Style::Json, |_| {
            warn!(
                answer = "<b>\u{1b}[31m\n\"",
                code = 7,
                again = true,
                wait = 0.25,
                never = f64::INFINITY,
                "odd {}",
                "\r\n"
            );
        });
        let value: serde_json::Value = serde_json::from_str(&format!("{{{}", lines[0])).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "level": "warn", "kind": "event", "message": "odd \r\n",
                "target": "itwin_auth_proxy::telemetry::tests",
                "answer": "<b>\u{1b}[31m\n\"", "code": 7, "again": true,
                "wait": 0.25, "never": "inf"
            })
        );
        assert!(!lines[0].chars().any(char::is_control));
    }

    #[test]
    fn libraries_are_kept_to_warnings_unless_they_are_named() {
        let work = |_: &RequestLog| {
            trace!("ours");
            debug!(target: "h2", "headers");
            warn!(target: "h2", "strange");
            debug!(target: "hyper", "bytes");
        };
        assert_eq!(logged("trace", PLAIN, work), ["trace ours", "warn strange"]);
        assert_eq!(
            logged("info, h2=debug", PLAIN, work),
            ["debug headers", "warn strange"]
        );
        assert_eq!(logged("off", PLAIN, work), [""; 0]);
    }

    #[test]
    fn a_mistyped_level_is_an_error_and_not_a_module_of_that_name() {
        let not_a_level = |text: &str| Some(LevelError::NotALevel(text.into()));
        assert_eq!(levels("inof").err(), not_a_level("inof"));
        assert_eq!(levels("").err(), not_a_level(""));
        assert_eq!(levels("info,").err(), not_a_level(""));
        assert_eq!(levels("3").err(), not_a_level("3"));
        assert_eq!(levels("hyper=loud").err(), not_a_level("loud"));
        assert_eq!(
            levels("[span]=info").err(),
            Some(LevelError::NotAModule("[span]".into()))
        );
        assert!(levels("INFO,hyper=Debug").is_ok());
    }

    #[test]
    fn requests_that_are_not_to_be_logged_are_not() {
        let quiet = Settings {
            requests: Requests::NotLogged,
            ..settings("info", PLAIN)
        };
        let (telemetry, _) = build(&quiet, Screen::None, Clock::for_tests(Duration::ZERO)).unwrap();
        assert!(!telemetry.requests().is_on());
        let (log, captured) = RequestLog::captured();
        log.write(&request::tests::line());
        assert!(captured.take().contains("\"kind\":\"request\""));
        assert_eq!(captured.take(), "");
    }
}
