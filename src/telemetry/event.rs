//! Everything that is logged through `tracing`, written as lines like those about requests.
//!
//! A layer of our own, because order, stream, escaping and the names of the fields must be those of
//! [`super::request`]. Spans are not written: what a reader needs stands in the event itself.

use std::{error::Error, fmt, io::Write as _};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use super::{
    Style,
    recent::chain,
    steer::Log,
    text::{self, Date, put},
};

/// Writes events to the log's queue.
pub(super) struct Events(pub(super) Log);

impl<S: Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Log(log) = &self.0;
        let style = self.0.style();
        let mut fields = Fields {
            style,
            message: String::new(),
            rest: Vec::new(),
        };
        event.record(&mut fields);
        let mut line = Vec::with_capacity(128 + fields.message.len() + fields.rest.len());
        let level = *event.metadata().level();
        let mut time = Vec::with_capacity(24);
        Date::default().write(&mut time, log.clock.now().wall);
        log.recent
            .keep(event, name(level), &String::from_utf8_lossy(&time));
        match style {
            Style::Json => {
                put(&mut line, "{\"time\":\"");
                line.extend_from_slice(&time);
                put(&mut line, "\",\"level\":\"");
                put(&mut line, name(level));
                put(&mut line, "\",\"kind\":\"event\",\"message\":\"");
                text::json(&mut line, &fields.message);
                put(&mut line, "\",\"target\":\"");
                text::json(&mut line, event.metadata().target());
                line.push(b'"');
                line.extend_from_slice(&fields.rest);
                put(&mut line, "}\n");
            }
            Style::Human { .. } => {
                put(&mut line, style.paint("\x1b[2m"));
                line.extend_from_slice(&time);
                put(&mut line, style.paint("\x1b[0m"));
                line.push(b' ');
                put(&mut line, style.paint(colour(level)));
                put(&mut line, name(level));
                put(&mut line, style.paint("\x1b[0m"));
                line.push(b' ');
                text::human(&mut line, &fields.message);
                line.extend_from_slice(&fields.rest);
                line.push(b'\n');
            }
        }
        log.queue.push(&line);
    }
}

const fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

const fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG | Level::TRACE => "\x1b[36m",
    }
}

/// Collects an event's fields: the message apart, the others already escaped.
struct Fields {
    style: Style,
    message: String,
    rest: Vec<u8>,
}

impl Fields {
    fn text(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
            return;
        }
        match self.style {
            Style::Json => {
                let _ = write!(self.rest, ",\"{}\":\"", field.name());
                text::json(&mut self.rest, value);
                self.rest.push(b'"');
            }
            Style::Human { .. } => {
                let _ = write!(self.rest, " {}=", field.name());
                text::human_value(&mut self.rest, value);
            }
        }
    }

    /// A number or truth value, which JSON has without quotes too.
    fn bare(&mut self, field: &Field, value: impl fmt::Display) {
        let _ = match self.style {
            Style::Json => write!(self.rest, ",\"{}\":{value}", field.name()),
            Style::Human { .. } => write!(self.rest, " {}={value}", field.name()),
        };
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, value);
    }

    /// JSON has no infinity and no "not a number".
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.bare(field, value);
        } else {
            self.text(field, &value.to_string());
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field, &chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }
}
