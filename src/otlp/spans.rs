//! Spans as OTLP has them.

use std::time::Duration;

use super::proto::{
    Any, Event, KeyValue, Link, Resource, ResourceSpans, Scope, ScopeSpans, Span as Sent, SpanKind,
    Status, StatusCode, TracesRequest, attribute,
};
use crate::trace::{Context, Kind, Outcome, Parent, Span, Value};

/// The version of OpenTelemetry's names that ours are.
pub(super) const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

/// The parent's place is known (bit 8), and it is elsewhere (bit 9).
const PLACE_KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// One request with these spans.
pub(super) fn request(spans: &[Span], resource: &Resource) -> TracesRequest {
    TracesRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope()),
                spans: spans.iter().map(sent).collect(),
            }],
            schema_url: SCHEMA.to_owned(),
        }],
    }
}

/// Who made them.
pub(super) fn scope() -> Scope {
    Scope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn sent(span: &Span) -> Sent {
    let (parent, place) = match span.parent {
        Parent::None => (Vec::new(), 0),
        Parent::Here(parent) => (parent.0.to_vec(), PLACE_KNOWN),
        Parent::Remote(parent) => (parent.0.to_vec(), PLACE_KNOWN | REMOTE),
    };
    let events = span.events.iter().map(|event| Event {
        time_unix_nano: nanos(event.at),
        name: event.name.to_owned(),
    });
    Sent {
        trace_id: span.context.trace.0.to_vec(),
        span_id: span.context.span.0.to_vec(),
        trace_state: span.state.as_deref().unwrap_or_default().to_owned(),
        parent_span_id: parent,
        name: span.name.clone().into_owned(),
        kind: match span.kind {
            Kind::Internal => SpanKind::Internal,
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
        }
        .into(),
        start_time_unix_nano: nanos(span.begun),
        end_time_unix_nano: nanos(span.ended),
        attributes: span.attributes.iter().map(key_value).collect(),
        events: events.collect(),
        links: span.links.iter().map(link).collect(),
        dropped_links_count: span.links_left_out,
        status: match &span.outcome {
            Outcome::Unset => None,
            Outcome::Failed(why) => Some(Status {
                message: why.clone().into_owned(),
                code: StatusCode::Error.into(),
            }),
        },
        flags: u32::from(span.context.flags()) | place,
    }
}

fn link(to: &Context) -> Link {
    Link {
        trace_id: to.trace.0.to_vec(),
        span_id: to.span.0.to_vec(),
        flags: u32::from(to.flags()) | PLACE_KNOWN,
    }
}

fn key_value((key, value): &(&'static str, Value)) -> KeyValue {
    let value = match value {
        Value::Text(text) => Any::Text(text.clone().into_owned()),
        Value::Number(number) => Any::Number(*number),
        Value::Truth(truth) => Any::Truth(*truth),
    };
    attribute(key, value)
}

/// Since 1970, which fits until 2554.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
