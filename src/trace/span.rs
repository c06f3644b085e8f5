//! A span: something that began, ended, and how.
//!
//! Names of attributes are OpenTelemetry's where it has one, and begin with `itwin_auth_proxy.`
//! otherwise. What must never be in one, a token, a secret, the value of a query, has no place here.

use std::{borrow::Cow, time::Duration};

use super::{Context, SpanId};

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub context: Context,
    pub parent: Parent,
    /// `tracestate` of its trace, if there is any.
    pub state: Option<Box<str>>,
    pub name: Cow<'static, str>,
    pub kind: Kind,
    /// Since 1970-01-01T00:00:00Z.
    pub begun: Duration,
    pub ended: Duration,
    pub attributes: Vec<Attribute>,
    pub events: Vec<Event>,
    pub links: Vec<Context>,
    /// Links that there was no room for.
    pub links_left_out: u32,
    pub outcome: Outcome,
}

/// Whose child a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// Nobody's: the trace begins with it.
    None,
    /// Of a span of ours.
    Here(SpanId),
    /// Of a span of the caller's.
    Remote(SpanId),
}

/// What a span is in the exchange that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Internal,
    /// A request that we answer.
    Server,
    /// A request that we make.
    Client,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Outcome {
    #[default]
    Unset,
    Failed(Cow<'static, str>),
}

/// Something that happened in between.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub at: Duration,
    pub name: &'static str,
}

/// A name and a value.
pub type Attribute = (&'static str, Value);

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(Cow<'static, str>),
    Number(i64),
    Truth(bool),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}
