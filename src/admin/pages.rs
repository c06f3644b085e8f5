//! The answers themselves.

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Map, Value, json};

use super::{Admin, exposition, process};

type Answer = Response<Full<Bytes>>;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

const INDEX: &str = "itwin-auth-proxy

/startup  everything is bound
/live     this program answers
/ready    requests can be served; 503 says what is waited for
/metrics  OpenMetrics or Prometheus text
/status   how every part is, as JSON
/revocations  tokens that are revoked; to be changed by who has the admin.key
/drain    POST: not ready any more, calls are still served; where admin.allow_quit or the admin.key permits
/quit     POST: as SIGTERM, likewise
/jwks.json  keys of identity JWTs, where a route sends any
";

pub(super) fn index(_: &Admin, _: &str, _: &HeaderMap) -> Answer {
    answer(StatusCode::OK, TEXT, INDEX)
}

pub(super) fn startup(admin: &Admin, _: &str, _: &HeaderMap) -> Answer {
    let started = admin.state.readiness.is_started();
    probe(started, &json!({ "started": started }))
}

/// That this is answered at all is the answer.
pub(super) fn live(_: &Admin, _: &str, _: &HeaderMap) -> Answer {
    probe(true, &json!({ "live": true }))
}

pub(super) fn ready(admin: &Admin, _: &str, _: &HeaderMap) -> Answer {
    let waiting = admin.state.readiness.waiting();
    let ready = waiting.is_empty();
    probe(ready, &json!({ "ready": ready, "waiting_for": waiting }))
}

pub(super) fn metrics(admin: &Admin, _: &str, headers: &HeaderMap) -> Answer {
    let format = exposition::Format::asked_for(headers);
    let now = admin.state.clock.now();
    let process = process::registry(admin.started);
    let text = admin.state.metrics.open_metrics(now, &process);
    answer(StatusCode::OK, format.content_type(), format.write(text))
}

pub(super) fn status(admin: &Admin, _: &str, _: &HeaderMap) -> Answer {
    let now = admin.state.clock.now();
    let waiting = admin.state.readiness.waiting();
    let started = UNIX_EPOCH + admin.started.wall;
    let uptime = now.mono.saturating_duration_since(admin.started.mono);
    let mut all = Map::new();
    all.insert("program".into(), "itwin-auth-proxy".into());
    all.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    let text = humantime::format_rfc3339_seconds(started).to_string();
    all.insert("started".into(), text.into());
    all.insert("uptime_seconds".into(), uptime.as_secs().into());
    all.insert("ready".into(), waiting.is_empty().into());
    all.insert("waiting_for".into(), waiting.into());
    for report in &admin.state.reports {
        all.insert(report.name().to_owned(), report.report());
    }
    json_answer(StatusCode::OK, &Value::Object(all))
}

pub(super) fn document(admin: &Admin, path: &str, _: &HeaderMap) -> Answer {
    let text = admin.document(path).map(|document| document.text());
    answer(StatusCode::OK, JSON, text.unwrap_or_default())
}

/// A refusal, in the shape of all our errors.
pub(super) fn problem(status: StatusCode, code: &str, message: &str) -> Answer {
    let error = json!({ "error": { "code": code, "message": message } });
    json_answer(status, &error)
}

fn probe(good: bool, body: &Value) -> Answer {
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json_answer(status, body)
}

pub(super) fn json_answer(status: StatusCode, body: &Value) -> Answer {
    answer(status, JSON, format!("{body}\n"))
}

fn answer(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    answer
}
