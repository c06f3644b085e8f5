//! What is counted and logged of a request: once, on every way out.
//!
//! A [`Record`] begins with the request and is handed on to the body of the answer. Its drop is
//! what reports, so that a caller who goes away in the middle is reported like any other.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Method, Request, Uri, Version, header::HOST};

use super::{failure::Failure, plan::Route};
use crate::{
    caller::Caller,
    clock::{Clock, Moment},
    http::body::Intake,
    metrics::{Metrics, RouteMetrics},
    telemetry::{AnsweredBy, Replayed, RequestLine, RequestLog},
};

/// Where records go.
#[derive(Debug)]
pub struct Observer {
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub log: RequestLog,
    /// For requests that no route matched.
    pub unrouted: RouteMetrics,
}

/// Names a request in the log and in our own errors.
#[derive(Debug, Clone, Copy)]
pub struct RequestId(pub u64, pub u64);

impl RequestId {
    fn text(self) -> String {
        let mut text = String::with_capacity(32);
        // writing to a String cannot fail
        let _ = write!(text, "{:016x}{:016x}", self.0, self.1);
        text
    }
}

/// One request.
#[derive(Debug)]
pub struct Record {
    observer: Arc<Observer>,
    id: RequestId,
    begun: Moment,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    version: Version,
    route: Option<Arc<Route>>,
    caller: Option<Caller>,
    pub credential_used: CredentialUse,
    status: Option<u16>,
    upstream_status: Option<u16>,
    answered_by: AnsweredBy,
    error: Option<&'static str>,
    pub token_wait: Option<Duration>,
    upstream_first_byte: Option<Duration>,
    intake: Option<Intake>,
    sent: u64,
    replayed: Replayed,
    slot: Option<Slot>,
}

/// One of the requests that may be under way at once.
#[derive(Debug)]
pub struct Slot(Arc<AtomicUsize>);

impl Slot {
    /// `None` when `limit` are taken.
    pub fn take(under_way: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let slot = Self(Arc::clone(under_way));
        let taken = slot.0.fetch_add(1, Ordering::Relaxed);
        (taken < limit).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a token of ours went with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialUse {
    None,
    Injected,
}

impl Record {
    pub fn begin<B>(observer: &Arc<Observer>, id: RequestId, request: &Request<B>) -> Self {
        observer.metrics.requests_in_flight.inc();
        Self {
            observer: Arc::clone(observer),
            id,
            begun: observer.clock.now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: request.headers().get(HOST).cloned(),
            version: request.version(),
            route: None,
            caller: None,
            credential_used: CredentialUse::None,
            status: None,
            upstream_status: None,
            answered_by: AnsweredBy::Nobody,
            error: None,
            token_wait: None,
            upstream_first_byte: None,
            intake: None,
            sent: 0,
            replayed: Replayed::No,
            slot: None,
        }
    }

    /// Holds the slot as long as the request lasts.
    pub fn slot(&mut self, slot: Slot) {
        self.slot = Some(slot);
    }

    pub fn begun(&self) -> Moment {
        self.begun
    }

    pub fn id(&self) -> String {
        self.id.text()
    }

    pub fn route(&mut self, route: &Arc<Route>) {
        self.route = Some(Arc::clone(route));
    }

    pub fn caller(&mut self, caller: &Caller) {
        self.caller = Some(caller.clone());
    }

    pub fn intake(&mut self, intake: &Intake) {
        self.intake = Some(intake.clone());
    }

    /// Sent to the upstream once more.
    pub fn replayed(&mut self, why: Replayed) {
        self.replayed = why;
        if why == Replayed::NewToken
            && let Some(route) = &self.route
        {
            route.metrics.replayed();
        }
    }

    /// The header of an upstream's answer has come.
    pub fn upstream_answered(&mut self, status: u16, sent_at: Moment) {
        let now = self.observer.clock.now();
        let took = now.mono.saturating_duration_since(sent_at.mono);
        self.upstream_status = Some(status);
        self.upstream_first_byte = Some(took);
        if let Some(route) = &self.route {
            route.metrics.upstream_answered(status, took);
        }
    }

    /// The upstream's answer is passed on.
    pub fn passes(&mut self, status: u16) {
        self.status = Some(status);
        self.answered_by = AnsweredBy::Upstream;
    }

    /// We answer ourselves.
    pub fn fails(&mut self, failure: &Failure) {
        self.status = Some(failure.status().as_u16());
        self.answered_by = AnsweredBy::Proxy;
        self.error = Some(failure.code());
        self.metrics().failed(failure.code());
        tracing::debug!(
            id = self.id(),
            code = failure.code(),
            error = failure as &dyn std::error::Error,
            "request failed"
        );
    }

    /// The answer began and could not be passed on to its end.
    pub fn breaks(&mut self, code: &'static str) {
        self.error = Some(code);
        self.metrics().failed(code);
    }

    /// Bytes of the body that went to the caller.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    fn metrics(&self) -> &RouteMetrics {
        match &self.route {
            Some(route) => &route.metrics,
            None => &self.observer.unrouted,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let ended = self.observer.clock.now();
        let total = ended.mono.saturating_duration_since(self.begun.mono);
        let received = self.intake.as_ref().map_or(0, Intake::bytes);
        self.observer.metrics.requests_in_flight.dec();
        self.metrics().finished(self.status, total);
        self.metrics().passed(received, self.sent);
        if !self.observer.log.is_on() {
            return;
        }
        let id = self.id.text();
        let host = match (self.uri.authority(), &self.host) {
            (Some(authority), _) => authority.as_str(),
            (None, Some(host)) => host.to_str().unwrap_or_default(),
            (None, None) => "",
        };
        let credential = match (&self.route, self.credential_used) {
            (Some(route), CredentialUse::Injected) => route.credential_name(),
            _ => None,
        };
        self.observer.log.write(&RequestLine {
            ended,
            id: &id,
            method: self.method.as_str(),
            host,
            path: self.uri.path(),
            protocol: protocol(self.version),
            route: self.route.as_ref().map(|route| &*route.config.name),
            caller: self.caller.as_ref(),
            credential,
            status: self.status,
            upstream_status: self.upstream_status,
            answered_by: self.answered_by,
            error: self.error,
            total,
            token_wait: self.token_wait,
            upstream_first_byte: self.upstream_first_byte,
            bytes_in: received,
            bytes_out: self.sent,
            replayed: self.replayed,
        });
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
