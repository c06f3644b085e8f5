//! Pages of a list, and the absolute links from one to the next.

use std::fmt::Write;

use http::Method;
use serde_json::{Value, json};

use super::answer::ApiError;

/// The largest page that can be asked for.
const TOP_MAX: usize = 1000;
/// The page when none is asked for.
const TOP_DEFAULT: usize = 100;

/// A request to the hub, taken apart.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: &'a Method,
    /// As sent.
    pub(super) path: &'a str,
    /// Decoded, without empty ones.
    pub(super) segments: Vec<String>,
    /// Decoded.
    pub(super) query: Vec<(String, String)>,
    /// The JSON body; null if there is none.
    pub(super) body: Value,
    pub(super) content: &'a bytes::Bytes,
    pub(super) content_type: &'a str,
    pub(super) detail: Detail,
}

/// `Prefer: return=…`, which decides what the members of a list hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Minimal,
    Representation,
}

impl Ask<'_> {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name)?;
        Some(&found.1)
    }

    /// A text property of the body that must be there.
    pub(super) fn text(&self, property: &str) -> Result<String, ApiError> {
        match &self.body[property] {
            Value::String(text) if !text.trim().is_empty() => Ok(text.clone()),
            Value::Null => Err(ApiError::invalid(
                "MissingRequiredProperty",
                property,
                "Required property is missing.",
            )),
            _ => Err(ApiError::invalid(
                "InvalidValue",
                property,
                "Provided property value is not valid.",
            )),
        }
    }
}

/// How a list names the place where its next page starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cursor {
    /// `$skip`, a number.
    Skip,
    /// `$continuationToken`, opaque; with characters that must stay escaped.
    Continuation,
}

/// One page of `members` as JSON under `name`, with `_links`.
pub(super) fn page<T>(
    ask: &Ask<'_>,
    hub: &str,
    name: &str,
    cursor: Cursor,
    members: &[T],
    show: impl Fn(&T) -> Value,
) -> Result<Value, ApiError> {
    let top = number(ask, "$top")?.unwrap_or(TOP_DEFAULT);
    if !(1..=TOP_MAX).contains(&top) {
        return Err(invalid("$top"));
    }
    let skip = match ask.parameter("$continuationToken") {
        Some(token) => continued(token).ok_or_else(|| invalid("$continuationToken"))?,
        None => number(ask, "$skip")?.unwrap_or(0),
    };
    let shown: Vec<Value> = members.iter().skip(skip).take(top).map(show).collect();
    let link = |skip: usize| json!({"href": link(ask, hub, cursor, top, skip)});
    let next = (skip + top < members.len()).then(|| link(skip + top));
    let previous = (skip > 0).then(|| link(skip.saturating_sub(top)));
    Ok(json!({
        name: shown,
        "_links": {"self": link(skip), "prev": previous, "next": next},
    }))
}

/// All other parameters stay.
fn link(ask: &Ask<'_>, hub: &str, cursor: Cursor, top: usize, skip: usize) -> String {
    let mut url = format!("{hub}{}?", ask.path);
    for (name, value) in &ask.query {
        if !matches!(&**name, "$top" | "$skip" | "$continuationToken") {
            let value = value.replace('%', "%25").replace('&', "%26");
            let value = value.replace(' ', "%20").replace('#', "%23");
            // writing to a String cannot fail
            let _ = write!(url, "{name}={value}&");
        }
    }
    let place = match cursor {
        Cursor::Skip => format!("$skip={skip}"),
        Cursor::Continuation => format!("$continuationToken=c2tpcA%3D%3D%2B{skip}%2F"),
    };
    format!("{url}{place}&$top={top}")
}

fn continued(token: &str) -> Option<usize> {
    let number = token.strip_prefix("c2tpcA==+")?.strip_suffix('/')?;
    number.parse().ok()
}

fn number(ask: &Ask<'_>, name: &str) -> Result<Option<usize>, ApiError> {
    ask.parameter(name)
        .map(|text| text.parse().map_err(|_| invalid(name)))
        .transpose()
}

fn invalid(parameter: &str) -> ApiError {
    ApiError::invalid(
        "InvalidValue",
        parameter,
        "Provided parameter value is not valid.",
    )
}
