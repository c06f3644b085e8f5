//! The life of a request.
//!
//! [`Proxy::prepare`] and [`Proxy::passed`] state the order and nothing but the order. Each step is
//! a file, and each step's result is the next step's argument: a request that was not admitted has
//! no [`permit::Permit`], and without one there is neither a token nor a socket. What lies between
//! the two is [`handling`], which waits, and [`attempt`], which sends.

pub mod admit;
mod answer;
mod attempt;
mod bearer;
mod bound;
mod check;
mod connect;
mod current;
mod decide;
mod door;
mod exchange;
mod failure;
mod forward;
mod forwarded;
mod handling;
mod identity;
mod incoming;
mod look;
mod outgoing;
mod own;
mod pac;
mod passing;
mod patience;
mod permit;
mod person;
mod plan;
mod record;
mod redirected;
mod rejected;
mod route;
mod slots;
mod target;
mod traced;
mod tunnelled;
mod upgrade;
mod upstream;

use std::{
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, Request, Response, StatusCode, response::Parts};
use hyper::body::Incoming;
use tokio::sync::mpsc::UnboundedSender;

use self::{
    admit::Site,
    answer::{Content, Ending},
    attempt::{Exchanged, First},
    bearer::{Denied, Tokens},
    bound::Called,
    connect::Connect,
    forward::Meant,
    handling::{Begun, Handling},
    identity::Memory,
    incoming::{Asked, Https},
    outgoing::Outgoing,
    passing::Passing,
    permit::Permit,
    person::{Challenged, Person},
    plan::Route,
    record::Record,
    slots::Full,
    target::{PathMatters, Target},
    tunnelled::Tunnelled,
    upstream::Pool,
};
pub use self::{
    answer::Answer,
    bound::Thumbprints,
    connect::{Opened, OpenedStream},
    current::Current,
    door::Door,
    failure::{Failure, Unpassed},
    identity::{Signer, SignerError},
    look::{Looked, look, refuses_name},
    own::StandIn,
    plan::{Plan, PlanError},
    record::Observer,
    redirected::Course,
    slots::Limit,
    upstream::Target as UpstreamTarget,
};
use crate::{
    config::Mode,
    handbook::Reference,
    http::{serve::Activity, survey::Survey},
    metrics::Cache,
    net::{Conn, Place, tunnel::Spares},
    telemetry::RequestId,
    tls::mint::Mint,
    verify::{Coming, Verifier, Waited},
};

/// What one data-plane thread serves requests with.
#[derive(Debug)]
pub struct Proxy {
    plan: Arc<Plan>,
    observer: Arc<Observer>,
    pools: Vec<Arc<Pool>>,
    spares: Arc<Spares>,
    passing: Passing,
    /// Connections that go on as ones to other hosts.
    opened: UnboundedSender<Opened>,
    mint: Option<Mint>,
    verifier: Arc<Verifier>,
    memory: Memory,
    /// Random, one a thread; with `next` it names a request.
    seed: u64,
    next: AtomicU64,
}

impl Proxy {
    /// None of these is another thread's.
    pub fn new(
        plan: Arc<Plan>,
        observer: Arc<Observer>,
        verifier: Arc<Verifier>,
        opened: UnboundedSender<Opened>,
        mint: Option<Mint>,
        seed: u64,
    ) -> Self {
        let metrics = &observer.metrics;
        let pools = plan.upstreams.iter().map(|target| {
            let pool = Pool::new(Arc::clone(target), Arc::clone(&plan.ours), metrics);
            Arc::new(pool)
        });
        let memory = Memory::counting(metrics.cache(Cache::ToldCallers));
        Self {
            pools: pools.collect(),
            spares: Arc::default(),
            passing: Passing::default(),
            opened,
            mint,
            plan,
            observer,
            verifier,
            memory,
            seed,
            next: AtomicU64::new(0),
        }
    }

    /// What stands for other hosts, where any are opened.
    pub fn mint(&self) -> Option<&Mint> {
        self.mint.as_ref()
    }

    /// Whether the certificates of callers are to be told apart.
    pub fn thumbprints(&self) -> Thumbprints {
        self.plan.thumbprints
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
        let busy = activity.request();
        let record = Record::begin(&self.observer, self.request_id(), &request);
        let mut ending = Ending::new(record, busy);
        ending.record.came_on(conn);
        let begun = catch_unwind(AssertUnwindSafe(|| {
            Ok(match self.prepare(request, conn, &mut ending.record)? {
                Step::On(prepared) => {
                    ending.reads(prepared.outgoing.payload.intake.as_ref());
                    self.launch(prepared, &mut ending.record)
                }
                Step::Held(held) => Begun::Held(held),
                Step::Own(answer) => Begun::Own(answer),
                Step::Connect(connect) => Begun::Connect(connect),
            })
        }));
        let begun = begun.unwrap_or_else(|_| {
            self.observer.metrics.panics.inc();
            Err(Failure::Panicked)
        });
        Handling::new(self, ending, begun)
    }

    /// What an answer of ours says beside what happened.
    fn reference(&self, record: &Record) -> Reference {
        Reference {
            request_id: record.id().to_string(),
            help: self.plan.help.clone(),
        }
    }

    fn request_id(&self) -> RequestId {
        RequestId(self.seed, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The steps that need no waiting: target, route, admission, permit, outgoing.
    fn prepare(
        &self,
        request: Request<Incoming>,
        conn: &Conn,
        record: &mut Record,
    ) -> Result<Step, Failure> {
        record.slot().map_err(|Full| Failure::Overloaded)?;
        let request = match conn.mode {
            Mode::Reverse | Mode::Forward | Mode::Transparent(_) => request,
            Mode::Decide(gateway) => {
                record.decides(gateway);
                decide::described(request, gateway)?
            }
        };
        let survey = Survey::of(request.headers());
        check::size(survey, request.uri(), &self.plan.limits)?;
        check::framing(&request, survey)?;
        if forward::may_name_others(conn) {
            return self.forwarded(request, survey, conn, record);
        }
        check::method(request.method())?;
        let meant = match &conn.inside {
            None => Meant::Ours,
            Some(inside) => {
                let target = Target::read(&request, PathMatters::No)?;
                Meant::Theirs(Box::new(forward::within(&target, inside)?))
            }
        };
        self.admit(request, survey, conn, meant, record, &Waited::default())
    }

    fn peer(&self, headers: &HeaderMap, conn: &Conn) -> IpAddr {
        forwarded::address(headers, conn, &self.plan.trusted_proxies)
    }

    /// The connections to a route's upstream.
    fn pool<'p>(&'p self, route: &'p Route) -> &'p Arc<Pool> {
        route.pool().unwrap_or_else(|| &self.pools[route.upstream])
    }

    fn admit(
        &self,
        request: Request<Incoming>,
        survey: Survey,
        conn: &Conn,
        meant: Meant,
        record: &mut Record,
        waited: &Waited,
    ) -> Result<Step, Failure> {
        let target = Target::read(&request, self.plan.path_matters)?;
        // a gateway would take any answer of theirs for a yes
        if !conn.mode.decides()
            && let Some(found) = self.plan.own.find(&target, &meant)
        {
            let asking = self.asks(found, &target, &request, survey, (conn, &meant), record)?;
            return Ok(Step::Own(asking.answer(request)));
        }
        let theirs;
        let route = match &meant {
            Meant::Ours => {
                let found = self.plan.find(request.method(), &target);
                found.ok_or(Failure::NoRoute)?
            }
            Meant::Theirs(meant) => {
                theirs = self.their_route(request.method(), &target, conn, meant)?;
                &theirs
            }
        };
        record.route(route);
        let name = &route.config.name;
        let from = Site::of(&target, request.headers(), survey);
        let now = if waited.is_nothing() {
            record.begun()
        } else {
            self.observer.clock.now()
        };
        let tokens = Tokens {
            verifier: &self.verifier,
            now,
            method: request.method(),
            called: Called {
                conn,
                guest: meant.guest(),
                authority: target.authority,
                uri: request.uri(),
                trusted_proxies: &self.plan.trusted_proxies,
                resource: route.config.resource.as_ref(),
            },
            query: request.uri().query(),
            waited,
            revoked: &self.plan.revoked,
            metadata: route.metadata.as_ref(),
        };
        let headers = request.headers();
        let admitted = route.gate.admit(name, &target, headers, from, &tokens);
        let admission = match admitted {
            Ok(admission) => admission,
            Err(Denied::For(failure)) => return Err(failure),
            Err(Denied::Challenged(challenged)) => {
                let Challenged { realm, wanted } = *challenged;
                let reference = self.reference(record);
                let peer = self.peer(request.headers(), conn);
                let visit = person::visit(&request, Bytes::new(), peer, reference);
                return Ok(Step::Own(realm.challenge(wanted, visit).boxed()));
            }
            Err(Denied::Until(coming)) => {
                let conn = conn.clone();
                return Ok(Step::Held(Box::new(Held {
                    request,
                    survey,
                    conn,
                    meant,
                    coming,
                })));
            }
        };
        let permit = Permit::grant(route, admission, || self.peer(request.headers(), conn));
        record.caller(permit.caller());
        if conn.mode.decides() {
            let shown = request.headers();
            let answer = decide::yes(&self.plan, &permit, shown, &self.memory, now)?;
            return Ok(Step::Own(std::future::ready(answer).boxed()));
        }
        let asked = Asked {
            https: match &meant {
                Meant::Theirs(theirs) => theirs.https,
                Meant::Ours if conn.security.is_tls() => Https::Yes,
                Meant::Ours => Https::No,
            },
        };
        let outgoing = Outgoing::prepare(
            request,
            &self.plan,
            conn,
            &permit,
            &self.memory,
            survey,
            now,
        )?;
        if let Some(intake) = &outgoing.payload.intake {
            record.intake(intake);
        }
        let place = outgoing.upgrade.is_some().then(|| Arc::clone(&conn.place));
        Ok(Step::On(Box::new(Prepared {
            permit,
            outgoing,
            asked,
            place,
        })))
    }

    /// The steps that wait: token, upstream, answer; or what is left of them after the `first`
    /// sending.
    async fn carry(
        &self,
        prepared: &mut Prepared,
        first: Option<First>,
        record: &mut Record,
    ) -> Result<(Parts, Content), Failure> {
        let Some(after) = prepared.permit.route().config.timeouts.total else {
            return self.exchanged(prepared, first, record).await;
        };
        tokio::time::timeout(after, self.exchanged(prepared, first, record))
            .await
            .unwrap_or(Err(Failure::TotalTimeout { after }))
    }

    async fn exchanged(
        &self,
        prepared: &mut Prepared,
        first: Option<First>,
        record: &mut Record,
    ) -> Result<(Parts, Content), Failure> {
        let Prepared {
            permit, outgoing, ..
        } = prepared;
        let exchanged = self.send(permit, outgoing, record, first).await?;
        self.passed(exchanged, prepared, record)
    }

    /// The upstream's answer, made the caller's.
    fn passed(
        &self,
        mut exchanged: Exchanged,
        prepared: &mut Prepared,
        record: &mut Record,
    ) -> Result<(Parts, Content), Failure> {
        let Prepared {
            permit,
            outgoing,
            asked,
            place,
        } = prepared;
        let status = exchanged.response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(caller), Some(place)) = (outgoing.upgrade.take(), place.take()) else {
                return Err(Failure::UnwantedUpgrade {
                    origin: permit.route().origin(),
                });
            };
            let upstream = hyper::upgrade::on(&mut exchanged.response);
            let stop = place.stop.clone();
            upgrade::join(
                caller,
                upstream,
                (self.connection(), place),
                Tunnelled::begin(&self.observer, Some(record.id()), permit.route().origin()),
                Arc::clone(&self.spares),
                upgrade::Until {
                    stop,
                    lasting: permit.person().and_then(Person::lasting),
                },
            );
            record.passes(status.as_u16());
            let (parts, _) = exchanged.response.into_parts();
            return Ok((parts, Content::own(Bytes::new())));
        }
        let timeouts = permit.route().config.timeouts;
        let left = timeouts.total.map(|total| {
            let now = self.observer.clock.mono();
            total.saturating_sub(now.saturating_duration_since(record.begun().mono))
        });
        let mut answer = incoming::clean(exchanged, permit, asked, outgoing, left)?;
        record.passes(status.as_u16());
        let headers = &mut answer.0.headers;
        person::strip_answer(headers);
        if let Some(person) = permit.person() {
            person.answered(outgoing.head.headers(), headers, self.observer.clock.now());
        }
        Ok(answer)
    }
}

/// What comes after the steps that need no waiting.
enum Step {
    On(Box<Prepared>),
    Held(Box<Held>),
    /// An endpoint of ours answers.
    Own(BoxFuture<'static, Response<Bytes>>),
    Connect(Box<Connect>),
}

/// A request whose caller may be admitted once something has come.
#[derive(Debug)]
struct Held {
    request: Request<Incoming>,
    survey: Survey,
    conn: Conn,
    meant: Meant,
    coming: Coming,
}

/// A request that may go on.
#[derive(Debug)]
struct Prepared {
    permit: Permit,
    outgoing: Outgoing,
    asked: Asked,
    /// Of the caller's connection, where it may become a tunnel.
    place: Option<Place>,
}

/// A caller's open connection.
#[derive(Debug)]
pub struct Open(Arc<Observer>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}
