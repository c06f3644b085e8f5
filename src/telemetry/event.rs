//! Everything that is logged through `tracing`, written as lines like those about requests.
//!
//! A layer of our own, because order, stream, escaping and the names of the fields must be those of
//! [`super::request`]. Spans are not written: what a reader needs stands in the event itself.

use std::{
    error::Error,
    fmt::{self, Write as _},
    io::Write as _,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use super::{
    Style,
    queue::Queue,
    text::{self, Date, put},
};
use crate::clock::Clock;

/// Writes events to the queue.
pub(super) struct Events {
    pub(super) queue: Queue,
    pub(super) style: Style,
    pub(super) clock: Clock,
}

impl<S: Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields {
            style: self.style,
            message: String::new(),
            rest: Vec::new(),
        };
        event.record(&mut fields);
        let mut line = Vec::with_capacity(128 + fields.message.len() + fields.rest.len());
        let level = *event.metadata().level();
        match self.style {
            Style::Json => {
                put(&mut line, "{\"time\":\"");
                Date::default().write(&mut line, self.clock.now().wall);
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
                put(&mut line, self.style.paint("\x1b[2m"));
                Date::default().write(&mut line, self.clock.now().wall);
                put(&mut line, self.style.paint("\x1b[0m"));
                line.push(b' ');
                put(&mut line, self.style.paint(colour(level)));
                put(&mut line, name(level));
                put(&mut line, self.style.paint("\x1b[0m"));
                line.push(b' ');
                text::human(&mut line, &fields.message);
                line.extend_from_slice(&fields.rest);
                line.push(b'\n');
            }
        }
        self.queue.push(&line);
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

    /// The whole chain: the outermost error alone rarely says why.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut chain = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let _ = write!(chain, ": {cause}");
            source = cause.source();
        }
        self.text(field, &chain);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }
}
