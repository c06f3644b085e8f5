//! What is counted and logged of a request: once, on every way out.
//!
//! A [`Record`] begins with the request and is handed on to the body of the answer. Its drop is
//! what reports, so that a caller who goes away in the middle is reported like any other.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Uri, Version, header::HOST};
use tokio::time::Instant;

use super::{
    failure::Failure,
    patience::Polled,
    plan::Route,
    slots::{Full, Slots},
    upstream::Connection,
};
use crate::{
    audit::{Desk, Given, Refusal, Use},
    caller::Caller,
    clock::{Clock, Moment},
    config::{Gateway, Name},
    handbook::Code,
    http::{body::Intake, client::chain},
    metrics::{Again, Level, Metrics, RouteMetrics},
    telemetry::{AnsweredBy, Replayed, RequestId, RequestLine, RequestLog},
    tokens::Ready,
    trace::{self, Tracer},
};

/// Where the records of one thread go. Each thread has its own, so that recording neither locks nor
/// takes a cache line from another thread.
#[derive(Debug)]
pub struct Observer {
    pub clock: Clock,
    /// For what is counted seldom.
    pub metrics: Arc<Metrics>,
    pub log: RequestLog,
    pub tracer: Tracer,
    pub audit: Desk,
    /// For requests that no route matched.
    pub unrouted: RouteMetrics,
    pub in_flight: Arc<Level>,
    /// Of the requests that may be under way at once.
    pub slots: Slots,
    /// Of the tunnels that may share connections of HTTP/2 at once.
    pub tunnels: Slots,
}

/// One request.
#[derive(Debug)]
pub struct Record {
    observer: Arc<Observer>,
    id: RequestId,
    begun: Moment,
    pub(super) asked: Option<Asked>,
    version: Version,
    pub(super) route: Option<Arc<Route>>,
    gateway: Option<Gateway>,
    caller: Option<Caller>,
    credential_used: CredentialUse,
    /// Whose token is in the answer itself.
    handed_out: Option<Name>,
    pub(super) status: Option<u16>,
    upstream_status: Option<u16>,
    pub(super) answered_by: AnsweredBy,
    pub(super) error: Option<&'static str>,
    /// The chain behind it, for the log.
    pub(super) reason: Option<Box<str>>,
    pub token_wait: Option<Duration>,
    upstream_first_byte: Option<Duration>,
    intake: Option<Intake>,
    sent: u64,
    pub(super) replayed: Replayed,
    slot: Slot,
    pub(super) trace: Option<Box<trace::Request>>,
}

/// What was asked for: only the log wants to know, so it is kept only if there is one. All of it
/// is shared with the request and not copied.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) uri: Uri,
    host: Option<HeaderValue>,
}

impl Asked {
    /// As the caller named it.
    pub(super) fn host(&self) -> &str {
        match (self.uri.authority(), &self.host) {
            (Some(authority), _) => authority.as_str(),
            (None, Some(host)) => host.to_str().unwrap_or_default(),
            (None, None) => "",
        }
    }
}

/// Whether the request is one of those that may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    None,
    Held,
}

/// Whether a token of ours went with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CredentialUse {
    None,
    Injected,
}

impl Record {
    pub fn begin<B>(observer: &Arc<Observer>, id: RequestId, request: &Request<B>) -> Self {
        observer.in_flight.up();
        let begun = observer.clock.now();
        let trace = observer.tracer.request(request.headers(), begun);
        let told = observer.log.is_on() || trace.as_ref().is_some_and(|trace| trace.is_kept());
        let asked = told.then(|| Asked {
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: request.headers().get(HOST).cloned(),
        });
        Self {
            observer: Arc::clone(observer),
            id,
            begun,
            asked,
            version: request.version(),
            route: None,
            gateway: None,
            caller: None,
            credential_used: CredentialUse::None,
            handed_out: None,
            status: None,
            upstream_status: None,
            answered_by: AnsweredBy::Nobody,
            error: None,
            reason: None,
            token_wait: None,
            upstream_first_byte: None,
            intake: None,
            sent: 0,
            replayed: Replayed::No,
            slot: Slot::None,
            trace,
        }
    }

    /// Makes it one of the requests that may be under way, as long as it lasts.
    pub fn slot(&mut self) -> Result<(), Full> {
        self.observer.slots.take()?;
        self.slot = Slot::Held;
        Ok(())
    }

    /// How often this request is polled: HTTP/1.1 requests with their connection, HTTP/2 streams
    /// have tasks of their own.
    pub fn polled(&self) -> Polled {
        if self.version == Version::HTTP_2 {
            Polled::WhenWoken
        } else {
            Polled::EverySecond
        }
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn begun(&self) -> Moment {
        self.begun
    }

    pub fn id(&self) -> RequestId {
        self.id
    }

    pub fn route(&mut self, route: &Arc<Route>) {
        self.route = Some(Arc::clone(route));
    }

    pub fn caller(&mut self, caller: &Caller) {
        self.caller = Some(caller.clone());
        self.judged(None);
    }

    pub fn intake(&mut self, intake: &Intake) {
        self.intake = Some(intake.clone());
    }

    /// A token of ours goes with it.
    pub fn injects(&mut self, token: &Ready, min_remaining: Duration, now: Moment) {
        self.credential_used = CredentialUse::Injected;
        let route = self.route.as_ref();
        if let Some(credential) = route.and_then(|route| route.credential.as_ref()) {
            let (zone, left) = token.zone(now, min_remaining);
            credential.served(zone, left);
        }
    }

    /// It has a connection to the upstream, which it asked for at `asked_at`.
    pub fn connects(&self, route: &Route, connection: &Connection, asked_at: Instant) {
        if connection.was_used() {
            route.metrics.reused();
        } else {
            let now = self.observer.clock.mono();
            let took = now.saturating_duration_since(asked_at);
            route.metrics.connected(took);
        }
    }

    /// It needs a token of ours, and there is none.
    pub fn has_no_token(&self) {
        let route = self.route.as_ref();
        if let Some(credential) = route.and_then(|route| route.credential.as_ref()) {
            credential.missed();
        }
    }

    /// Sent to the upstream once more.
    pub fn replayed(&mut self, why: Replayed) {
        self.replayed = why;
        let again = match why {
            Replayed::No => return,
            Replayed::NewToken => Again::NewToken,
            Replayed::NewConnection => Again::NewConnection,
        };
        if let Some(route) = &self.route {
            route.metrics.replayed(again);
        }
    }

    /// The header of an upstream's answer has come.
    pub fn upstream_answered(&mut self, status: u16, sent_at: Instant) {
        let now = self.observer.clock.mono();
        let took = now.saturating_duration_since(sent_at);
        self.upstream_status = Some(status);
        self.upstream_first_byte = Some(took);
        if let Some(route) = &self.route {
            route.metrics.upstream_answered(status, took);
        }
        if let Some(trace) = &mut self.trace {
            trace.is_answered(status);
        }
    }

    /// A gateway asks about another request.
    pub fn decides(&mut self, gateway: Gateway) {
        self.gateway = Some(gateway);
    }

    pub fn gateway(&self) -> Option<Gateway> {
        self.gateway
    }

    /// The answer is that of an endpoint of ours.
    pub fn answers(&mut self, status: u16) {
        self.status = Some(status);
        self.answered_by = AnsweredBy::Proxy;
    }

    /// The answer holds a token of this credential.
    pub fn handed_out(&mut self, credential: &Name) {
        self.handed_out = Some(Arc::clone(credential));
    }

    /// The upstream's answer is passed on.
    pub fn passes(&mut self, status: u16) {
        self.status = Some(status);
        self.answered_by = AnsweredBy::Upstream;
        if self.credential_used == CredentialUse::Injected
            && let Some(route) = &self.route
        {
            route.metrics.answered_to_ours(status);
        }
    }

    /// We answer ourselves.
    pub fn fails(&mut self, failure: &Failure) {
        self.status = Some(failure.status().as_u16());
        self.answered_by = AnsweredBy::Proxy;
        self.error = Some(failure.code().name());
        self.metrics().failed(failure.code().name());
        if self.caller.is_none() {
            self.judged(Some(failure.code().name()));
        }
        self.reason = Some(chain(failure).into());
    }

    /// The answer began and could not be passed on to its end.
    pub fn breaks(&mut self, code: Code) {
        self.error = Some(code.name());
        self.metrics().failed(code.name());
    }

    /// Bytes of the body that went to the caller.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Tells the audit what an auditor may ask of it.
    fn account(&self, at: Duration) {
        let audit = &self.observer.audit;
        let route = self.route.as_ref().map(|route| &route.config.name);
        let given = match self.credential_used {
            CredentialUse::Injected => Given::Injected,
            CredentialUse::None => Given::HandedOut,
        };
        if let Some(credential) = self.credential() {
            audit.used(&Use {
                at,
                caller: self.caller.as_ref(),
                credential,
                route,
                given,
                id: self.id,
                status: self.status,
            });
        }
        if let (Some(code), Some(status), AnsweredBy::Proxy) =
            (self.error, self.status, self.answered_by)
        {
            audit.refused(Refusal {
                at,
                code,
                status,
                route: route.cloned(),
                caller: self.caller.clone(),
                reason: self.reason.clone().unwrap_or_default(),
                id: self.id,
            });
        }
    }

    /// Whose token went with it, or is in the answer.
    pub(super) fn credential(&self) -> Option<&str> {
        match (&self.route, self.credential_used) {
            (Some(route), CredentialUse::Injected) => route.credential_name(),
            _ => self.handed_out.as_deref(),
        }
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
        let ended = self.observer.clock.mono();
        let total = ended.saturating_duration_since(self.begun.mono);
        let received = self.intake.as_ref().map_or(0, Intake::bytes);
        self.observer.in_flight.down();
        if self.slot == Slot::Held {
            self.observer.slots.give_back();
        }
        self.metrics().finished(self.status, total);
        self.metrics().passed(received, self.sent);
        if let Some(trace) = self.trace.take() {
            trace.end(|| self.told(total));
        }
        // not read again: only a jump of the wall clock in between would show
        let ended = self.begun.wall.saturating_add(total);
        self.account(ended);
        let Some(asked) = &self.asked else {
            return;
        };
        self.observer.log.write(&RequestLine {
            ended,
            id: self.id,
            method: asked.method.as_str(),
            host: asked.host(),
            path: asked.uri.path(),
            protocol: protocol(self.version),
            route: self.route.as_ref().map(|route| &*route.config.name),
            caller: self.caller.as_ref(),
            credential: self.credential(),
            status: self.status,
            upstream_status: self.upstream_status,
            answered_by: self.answered_by,
            error: self.error,
            reason: self.reason.as_deref(),
            total,
            token_wait: self.token_wait,
            upstream_first_byte: self.upstream_first_byte,
            bytes_in: received,
            bytes_out: self.sent,
            replayed: self.replayed,
        });
    }
}

pub(super) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
