//! The status page: what `/status` says, for people.
//!
//! Made of the same JSON, here, whenever it is asked for: it needs no script, and a short one in the
//! page only asks again and puts what changed in its place. It gives no orders, loads nothing, and a
//! policy lets nothing in but its own style and script; what others wrote is escaped. A part that
//! does not report leaves no hole.

mod view;
pub(super) mod words;

use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response,
    header::{self, ACCEPT},
};
use http_body_util::Full;
use minijinja::{Environment, UndefinedBehavior, Value as Said, context};
use serde_json::Value;

const NAME: &str = "status.html";
const TEMPLATES: [(&str, &str); 8] = [
    (NAME, include_str!("templates/status.html")),
    ("parts.html", include_str!("templates/parts.html")),
    (
        "credentials.html",
        include_str!("templates/credentials.html"),
    ),
    ("providers.html", include_str!("templates/providers.html")),
    ("routes.html", include_str!("templates/routes.html")),
    (
        "configuration.html",
        include_str!("templates/configuration.html"),
    ),
    ("refusals.html", include_str!("templates/refusals.html")),
    ("log.html", include_str!("templates/log.html")),
];
const STYLE: &str = include_str!("templates/style.css");
const SCRIPT: &str = include_str!("templates/live.js");

/// The page, ready to be filled.
pub(super) struct Page {
    templates: Environment<'static>,
    policy: HeaderValue,
}

impl Page {
    pub(super) fn new() -> Self {
        let mut templates = Environment::new();
        for (name, source) in TEMPLATES {
            // they are ours, and tested: a page that cannot be read is answered as one
            if let Err(error) = templates.add_template(name, source) {
                tracing::error!(%error, name, "a template of the status page cannot be read");
            }
        }
        // what a part does not report is nothing, however deep it is asked for
        templates.set_undefined_behavior(UndefinedBehavior::Chainable);
        templates.add_filter("span", figure(words::span));
        templates.add_filter("milliseconds", figure(words::milliseconds));
        templates.add_filter("rate", figure(words::rate));
        templates.add_filter("host", text(words::host));
        templates.add_filter("slug", text(words::slug));
        templates.add_filter("clock", text(words::clock));
        templates.add_filter("ago", |at: &Said, now: f64| {
            words::ago(at.as_str().unwrap_or_default(), now)
        });
        let policy = format!(
            "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(STYLE),
            hash(SCRIPT),
        );
        Self {
            templates,
            policy: HeaderValue::try_from(policy)
                .unwrap_or(HeaderValue::from_static("default-src 'none'")),
        }
    }

    /// The page about this state, which is what `/status` says.
    ///
    /// # Errors
    /// When the templates have a mistake.
    pub(super) fn show(
        &self,
        status: &Value,
        now: SystemTime,
    ) -> Result<Response<Full<Bytes>>, minijinja::Error> {
        let view = view::view(status, now);
        let page = self.templates.get_template(NAME)?.render(context! {
            style => Said::from_safe_string(STYLE.to_owned()),
            script => Said::from_safe_string(SCRIPT.to_owned()),
            ..said(view)
        })?;
        let mut answer = Response::new(Full::new(page.into()));
        let fields = answer.headers_mut();
        let text = HeaderValue::from_static;
        fields.insert(header::CONTENT_TYPE, text("text/html; charset=utf-8"));
        fields.insert(header::CACHE_CONTROL, text("no-store"));
        fields.insert(header::X_CONTENT_TYPE_OPTIONS, text("nosniff"));
        fields.insert(header::REFERRER_POLICY, text("no-referrer"));
        fields.insert(header::VARY, text("accept"));
        fields.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        for name in ["cross-origin-resource-policy", "cross-origin-opener-policy"] {
            fields.insert(HeaderName::from_static(name), text("same-origin"));
        }
        Ok(answer)
    }
}

/// Whether a page is asked for: browsers name HTML, other programs take anything.
pub(super) fn wanted(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).iter();
    let mut ranges = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    ranges.any(|range| {
        let name = range.split(|byte| *byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"text/html")
    })
}

/// A filter for figures, which takes what is none as well.
fn figure(words: fn(f64) -> String) -> impl Fn(&Said) -> String + Send + Sync + 'static {
    move |value| f64::try_from(value.clone()).map_or_else(|_| "–".into(), words)
}

/// A filter for texts, likewise.
fn text(words: fn(&str) -> String) -> impl Fn(&Said) -> String + Send + Sync + 'static {
    move |value| value.as_str().map_or_else(|| "–".into(), words)
}

/// For a template: whatever others wrote can be read.
fn said(value: Value) -> Said {
    match value {
        Value::Null => Said::from(()),
        Value::Bool(truth) => truth.into(),
        Value::Number(number) => number
            .as_u64()
            .map(Said::from)
            .or_else(|| number.as_i64().map(Said::from))
            .or_else(|| number.as_f64().map(Said::from))
            .unwrap_or_default(),
        Value::String(text) => words::readable(&text).into(),
        Value::Array(all) => all.into_iter().map(said).collect(),
        Value::Object(all) => Said::from_pairs(
            all.into_iter()
                .map(|(key, value)| (words::readable(&key), said(value))),
        ),
    }
}

/// As a source of a policy (CSP level 3, section 2.3.1).
fn hash(text: &str) -> String {
    format!(
        "'sha256-{}'",
        STANDARD.encode(digest(&SHA256, text.as_bytes()))
    )
}

#[cfg(test)]
mod tests;
