//! The life of a request.
//!
//! [`Proxy::prepare`] and [`Proxy::exchanged`] state the order and nothing but the order. Each step is a file, and each step's
//! result is the next step's argument: a request that was not admitted has no [`permit::Permit`],
//! and without one there is neither a token nor a socket.

pub mod admit;
mod answer;
mod attempt;
mod failure;
mod forwarded;
mod incoming;
mod outgoing;
mod permit;
mod plan;
mod record;
mod route;
mod slots;
mod target;
mod upgrade;
mod upstream;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use http::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use hyper::body::Incoming;

pub use self::{
    answer::Answer,
    plan::{Plan, PlanError},
    record::Observer,
    slots::Limit,
};
use self::{
    failure::Failure,
    incoming::{Asked, WantsPage},
    outgoing::Outgoing,
    permit::Permit,
    record::Record,
    route::Matcher,
    slots::Full,
    target::{PathMatters, Target},
    upstream::{Need, Pool},
};
use crate::{
    config::{Config, Limits, Origin},
    http::serve::Activity,
    net::{Conn, Place, tunnel::Spares},
    shutdown::Shutdown,
    telemetry::RequestId,
};

/// How often idle upstream connections are looked at.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// What one data-plane thread serves requests with.
#[derive(Debug)]
pub struct Proxy {
    plan: Arc<Plan>,
    observer: Arc<Observer>,
    pools: Vec<Arc<Pool>>,
    spares: Arc<Spares>,
    /// Random, one a thread; with `next` it names a request.
    seed: u64,
    next: AtomicU64,
    stop: Shutdown,
}

impl Proxy {
    /// None of these is another thread's.
    pub fn new(plan: Arc<Plan>, observer: Arc<Observer>, seed: u64, stop: Shutdown) -> Self {
        let pools = plan
            .upstreams
            .iter()
            .map(|target| Arc::new(Pool::new(Arc::clone(target))));
        Self {
            pools: pools.collect(),
            spares: Arc::default(),
            plan,
            observer,
            seed,
            next: AtomicU64::new(0),
            stop,
        }
    }

    /// Closes upstream connections that are idle too long; runs as long as the thread does.
    pub async fn tend(&self) {
        loop {
            tokio::time::sleep(PRUNE_EVERY).await;
            self.pools.iter().for_each(|pool| pool.prune());
        }
    }

    /// A caller's connection was opened; it is counted until the guard is dropped.
    pub fn connection(&self) -> Open {
        self.observer.metrics.connections.inc();
        Open(Arc::clone(&self.observer))
    }

    /// Answers a request, whatever happens.
    ///
    /// What needs no waiting is done before the future exists: it is kept in every connection, and
    /// would have to carry the request through each step.
    pub fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        conn: &Conn,
        activity: &Arc<Activity>,
    ) -> impl Future<Output = Response<Answer>> + Send + use<> {
        let busy = activity.request(request.version());
        let id = RequestId(self.seed, self.next.fetch_add(1, Ordering::Relaxed));
        let mut record = Box::new(Record::begin(&self.observer, id, &request));
        let prepared = catch_unwind(AssertUnwindSafe(|| {
            self.prepare(request, conn, &mut record).map(Box::new)
        }));
        async move {
            let outcome = match prepared {
                Ok(Ok(mut prepared)) => {
                    let carried = self.carry(&mut prepared, &mut record);
                    AssertUnwindSafe(carried).catch_unwind().await
                }
                Ok(Err(failure)) => Ok(Err(failure)),
                Err(panic) => Err(panic),
            };
            let outcome = outcome.unwrap_or_else(|_| {
                self.observer.metrics.panics.inc();
                Err(Failure::Panicked)
            });
            let response = outcome.unwrap_or_else(|failure| {
                record.fails(&failure);
                failure.response(&record.id().to_string()).map(Answer::own)
            });
            response.map(|answer| answer.ending(record, busy))
        }
    }

    /// The steps that need no waiting: target, route, admission, permit, outgoing.
    fn prepare(
        &self,
        request: Request<Incoming>,
        conn: &Conn,
        record: &mut Record,
    ) -> Result<Prepared, Failure> {
        record.slot().map_err(|Full| Failure::Overloaded)?;
        check_size(request.headers(), request.uri(), &self.plan.limits)?;
        check_framing(&request)?;
        check_method(request.method())?;
        let target = Target::read(&request, self.plan.path_matters)?;
        let route = self.plan.find(request.method(), &target);
        let route = route.ok_or(Failure::NoRoute)?;
        record.route(route);
        let name = &route.config.name;
        let admission = route.gate.admit(name, &target, request.headers(), conn)?;
        let permit = Permit::grant(route, admission);
        record.caller(permit.caller());
        let asked = Asked {
            method: request.method().clone(),
            origin: origin(&target, conn),
            wants: WantsPage::of(request.headers()),
        };
        let outgoing = Outgoing::prepare(request, &self.plan, conn, &permit)?;
        if let Some(intake) = &outgoing.payload.intake {
            record.intake(intake);
        }
        Ok(Prepared {
            permit,
            outgoing,
            asked,
            place: Arc::clone(&conn.place),
        })
    }

    /// The steps that wait: token, upstream, answer.
    async fn carry(
        &self,
        prepared: &mut Prepared,
        record: &mut Record,
    ) -> Result<Response<Answer>, Failure> {
        let Some(after) = prepared.permit.route().config.timeouts.total else {
            return self.exchanged(prepared, record).await;
        };
        let answered = Box::pin(self.exchanged(prepared, record));
        tokio::time::timeout(after, answered)
            .await
            .unwrap_or(Err(Failure::TotalTimeout { after }))
    }

    async fn exchanged(
        &self,
        prepared: &mut Prepared,
        record: &mut Record,
    ) -> Result<Response<Answer>, Failure> {
        let Prepared {
            permit,
            outgoing,
            asked,
            place,
        } = prepared;
        let mut exchanged = self.send(permit, outgoing, record).await?;
        let status = exchanged.response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(caller), Need::Upgrade) = (outgoing.upgrade.take(), outgoing.head.need)
            else {
                return Err(Failure::UnwantedUpgrade {
                    origin: permit.route().origin(),
                });
            };
            let upstream = hyper::upgrade::on(&mut exchanged.response);
            let held = (self.connection(), Arc::clone(place));
            let spares = Arc::clone(&self.spares);
            upgrade::join(caller, upstream, held, spares, self.stop.clone());
            record.passes(status.as_u16());
            return Ok(exchanged.response.map(|_| Answer::own(bytes::Bytes::new())));
        }
        let timeouts = permit.route().config.timeouts;
        let left = timeouts.total.map(|total| {
            let now = self.observer.clock.mono();
            total.saturating_sub(now.saturating_duration_since(record.begun().mono))
        });
        let response = incoming::clean(exchanged, permit, asked, outgoing.injects, left)?;
        record.passes(status.as_u16());
        Ok(response)
    }
}

/// A request that may go on.
#[derive(Debug)]
struct Prepared {
    permit: Permit,
    outgoing: Outgoing,
    asked: Asked,
    place: Place,
}

/// What [`look`] finds.
#[derive(Debug)]
pub enum Looked<'c> {
    Route(&'c crate::config::Route),
    Refused { code: &'static str, reason: String },
}

/// The route that a request would take, without sending it.
pub fn look<'c, B>(config: &'c Config, request: &Request<B>) -> Looked<'c> {
    let prepared = || {
        config
            .routes
            .iter()
            .map(|route| (route, Matcher::new(&route.matches)))
    };
    let matters = if prepared().any(|(_, matcher)| matcher.depends_on_path()) {
        PathMatters::Yes
    } else {
        PathMatters::No
    };
    let found = check_size(request.headers(), request.uri(), &config.limits)
        .and_then(|()| check_method(request.method()))
        .and_then(|()| Target::read(request, matters))
        .and_then(|target| {
            prepared()
                .find(|(_, m)| m.matches(request.method(), &target.host, &target.path))
                .ok_or(Failure::NoRoute)
        });
    match found {
        Ok((route, _)) => Looked::Route(route),
        Err(failure) => Looked::Refused {
            code: failure.code(),
            reason: failure.to_string(),
        },
    }
}

/// A caller's open connection.
#[derive(Debug)]
pub struct Open(Arc<Observer>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}

fn check_size(headers: &HeaderMap, uri: &http::Uri, limits: &Limits) -> Result<(), Failure> {
    // name, colon, space, value, line end: what HTTP/1.1 would have sent
    let fields: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let line = uri.path().len() + uri.query().map_or(0, str::len);
    if headers.len() > limits.header_count || fields + line > limits.header_bytes {
        return Err(Failure::HeaderTooLarge);
    }
    Ok(())
}

/// A length said in two ways is how requests are smuggled (RFC 9112 section 6.1); HTTP/1.0 has one
/// way only.
fn check_framing<B>(request: &Request<B>) -> Result<(), Failure> {
    let headers = request.headers();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    // another coding beneath `chunked` would be lost with it
    let chunked = coding
        .as_bytes()
        .trim_ascii()
        .eq_ignore_ascii_case(b"chunked");
    let single = chunked && codings.next().is_none();
    if !single || headers.contains_key(CONTENT_LENGTH) || request.version() == Version::HTTP_10 {
        return Err(Failure::Framing);
    }
    Ok(())
}

/// TRACE would show the caller the token that we add; CONNECT asks for another kind of proxy.
fn check_method(method: &Method) -> Result<(), Failure> {
    // methods are case-sensitive, but not to every server; TRACK is another name for TRACE
    let refused = ["TRACE", "TRACK", "CONNECT"];
    if refused
        .iter()
        .any(|name| method.as_str().eq_ignore_ascii_case(name))
    {
        return Err(Failure::MethodRefused(method.clone()));
    }
    Ok(())
}

/// Where the caller reached us.
fn origin(target: &Target<'_>, conn: &Conn) -> Option<Origin> {
    let https = conn.security.is_tls();
    let authority: http::uri::Authority = target.authority.parse().ok()?;
    Some(Origin {
        https,
        host: target.host.clone().into_owned(),
        port: authority.port_u16().unwrap_or(if https { 443 } else { 80 }),
    })
}
