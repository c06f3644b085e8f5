//! The newest events, for a page that is looked at when something is wrong.
//!
//! Requests are not among them: they would push everything else out. Nor are libraries' debug events,
//! which may show headers, even where the configuration asks for them.

use std::{
    collections::VecDeque,
    error::Error,
    fmt::{self, Write as _},
};

use parking_lot::Mutex;
use serde_json::{Map, Value};
use tracing::{
    Event, Level,
    field::{Field, Visit},
};

use super::OURS;

/// How many are kept.
const KEPT: usize = 200;
/// A longer text is cut.
const LONGEST: usize = 2048;

#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<Value>>);

impl Recent {
    /// Keeps an event, if it is one of those that are kept.
    pub(super) fn keep(&self, event: &Event<'_>, level: &'static str, at: &str) {
        let (target, weight) = (event.metadata().target(), *event.metadata().level());
        if weight > Level::WARN && (weight > Level::INFO || !target.starts_with(OURS)) {
            return;
        }
        let mut fields = Fields(Map::new());
        for (name, text) in [
            ("at", at),
            ("level", level),
            ("target", target),
            ("message", ""),
        ] {
            fields.0.insert(name.into(), text.into());
        }
        event.record(&mut fields);
        let mut kept = self.0.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(fields.0.into());
    }

    pub(super) fn newest_first(&self) -> Vec<Value> {
        self.0.lock().iter().rev().cloned().collect()
    }
}

/// The event's fields as JSON.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        // what we say of the event is not what the event says
        let name = match field.name() {
            name @ ("at" | "level" | "target") => format!("{name}_"),
            name => name.to_owned(),
        };
        self.0.insert(name, value);
    }

    fn text(&mut self, field: &Field, mut text: String) {
        if text.len() > LONGEST {
            let cut = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(cut.unwrap_or_default());
            text.push('…');
        }
        self.put(field, text.into());
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field, chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }
}

/// The whole chain: the outermost error alone rarely says why.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(chain, ": {cause}");
        source = cause.source();
    }
    chain
}
