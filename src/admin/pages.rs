//! The answers themselves.

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Map, Value, json};

use super::{Admin, Answer, access::Standing, exposition, findings::findings, page, process};
use crate::{
    handbook::{self, Code, Help},
    health::Question,
};

/// What a page is asked with.
pub(super) struct Asked<'a> {
    pub(super) path: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) standing: Standing,
}

pub(super) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const STYLED: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");

const INDEX: &str = "itwin-auth-proxy

/startup  everything is bound
/live     this program answers
/ready    requests can be served; 503 says what is waited for
/metrics  OpenMetrics or Prometheus text
/status   how every part is, as JSON
/troubleshooting  what every error code means, and what to do
/revocations  tokens that are revoked; to be changed by who has the admin.key
/drain    POST: not ready any more, calls are still served; at the admin.socket, with the admin.key, or where
          admin.allow_quit permits
/quit     POST: as SIGTERM, likewise
/jwks.json  keys of identity JWTs, where a route sends any
";

/// The status page for browsers, a list of what there is for programs.
pub(super) fn index(admin: &Admin, asked: &Asked<'_>) -> Answer {
    if !page::wanted(asked.headers) {
        let mut answer = answer(StatusCode::OK, TEXT, INDEX);
        let varies = HeaderValue::from_static("accept");
        answer.headers_mut().insert(header::VARY, varies);
        return answer;
    }
    let now = UNIX_EPOCH + admin.state.clock.now().wall;
    let status = state(admin, asked.standing);
    admin.page.show(&status, now).unwrap_or_else(|error| {
        tracing::error!(%error, "the status page cannot be shown");
        bug()
    })
}

pub(super) fn startup(admin: &Admin, _: &Asked<'_>) -> Answer {
    let started = admin.state.readiness.is_started();
    probe(started, &json!({ "started": started }))
}

/// That this is answered at all is the answer.
pub(super) fn live(_: &Admin, _: &Asked<'_>) -> Answer {
    probe(true, &json!({ "live": true }))
}

pub(super) fn ready(admin: &Admin, _: &Asked<'_>) -> Answer {
    let waiting = admin.state.readiness.waiting();
    let ready = waiting.is_empty();
    probe(ready, &json!({ "ready": ready, "waiting_for": waiting }))
}

pub(super) fn metrics(admin: &Admin, asked: &Asked<'_>) -> Answer {
    let format = exposition::Format::asked_for(asked.headers);
    let now = admin.state.clock.now();
    let mut all = admin.state.metrics.scrape(now);
    all.extend(process::scrape(admin.started));
    answer(StatusCode::OK, format.content_type(), format.write(&all))
}

pub(super) fn status(admin: &Admin, asked: &Asked<'_>) -> Answer {
    json_answer(StatusCode::OK, &state(admin, asked.standing))
}

/// All that the parts tell such a one, and what that means.
fn state(admin: &Admin, standing: Standing) -> Value {
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
        let told = match standing {
            Standing::Elsewhere => report.report_afar(),
            Standing::Here | Standing::Operator => report.report(),
        };
        all.insert(report.name().to_owned(), told);
    }
    let mut all = Value::Object(all);
    all["findings"] = findings(&all, UNIX_EPOCH + now.wall).into_iter().collect();
    all
}

pub(super) fn document(admin: &Admin, asked: &Asked<'_>) -> Answer {
    let document = admin.document(asked.path);
    let Some(text) = document.and_then(|document| document.text()) else {
        let message = "there is none now: no route of the configuration asks for one";
        return problem(StatusCode::NOT_FOUND, "NotFound", message);
    };
    answer(StatusCode::OK, JSON, text)
}

pub(super) fn question(question: &dyn Question, query: &str) -> Answer {
    match question.answer(query) {
        Ok(said) => json_answer(StatusCode::OK, &said),
        Err(faults) => {
            let message = "the details say what is wrong with the query";
            problem_with(StatusCode::BAD_REQUEST, "InvalidRequest", message, &faults)
        }
    }
}

/// What every code means, where errors may point (`errors.help`).
pub(super) fn troubleshooting(_: &Admin, _: &Asked<'_>) -> Answer {
    let mut answer = answer(StatusCode::OK, HTML, handbook::html());
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, STYLED);
    answer
}

/// A refusal, in the shape of all our errors.
pub(super) fn problem(status: StatusCode, code: &str, message: &str) -> Answer {
    problem_with(status, code, message, &[])
}

/// The same, for where it comes instead of an answer.
pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Box<Answer> {
    Box::new(problem(status, code, message))
}

/// A refusal with all there is to say.
pub(super) fn problem_with(
    status: StatusCode,
    code: &str,
    message: &str,
    details: &[String],
) -> Answer {
    let mut details: Vec<_> = details
        .iter()
        .map(|detail| json!({ "message": detail }))
        .collect();
    let help = Code::find(code).map(|code| Help::Program.to(code));
    details.extend(help.map(|help| json!({ "code": "Help", "message": help })));
    let error = json!({ "error": { "code": code, "message": message, "details": details } });
    json_answer(status, &error)
}

pub(super) fn bug() -> Answer {
    problem(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalError",
        "the program has a bug: its log says where",
    )
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

pub(super) fn answer(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Answer {
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
