//! Hosts that are reached for callers though no route names them.
//!
//! Their requests pass untouched and carry no token of ours; where they go is checked against the
//! listener's [`Destinations`](crate::net::destination::Destinations) with every connection. Which
//! hosts these are is the callers' choice, so that only so many are remembered.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{
    door::Door,
    failure::Failure,
    plan::{Plan, Route},
    upstream::{Pool, Settings, Target, UpstreamError},
};
use crate::{
    config::{
        self, Admit, ClientTls, Forwarded, LinkRewriting, Match, Origin, Replay, RouteTimeouts,
        Upstream, UpstreamProtocol,
    },
    metrics::Metrics,
    net::names::Names,
};

/// The name of their route in logs and metrics; no configured route can have it.
pub(super) const NAME: &str = "(passed)";

/// Hosts whose connections a thread keeps.
const MOST: usize = 64;

/// One thread's.
#[derive(Debug, Default)]
pub(super) struct Passing {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    routes: HashMap<Place, Used>,
    /// By listener.
    names: HashMap<usize, Arc<Names>>,
    uses: u64,
    /// The same for all hosts: it is large.
    tls: Option<Settings>,
}

/// A host as a listener reaches it: each may reach other addresses.
#[derive(Debug, PartialEq, Eq, Hash, Clone)]
struct Place {
    listener: usize,
    origin: Origin,
}

#[derive(Debug)]
struct Used {
    route: Arc<Route>,
    last: u64,
}

impl Passing {
    /// The way to `origin` from this listener.
    ///
    /// # Errors
    /// When there cannot be one: no certificate could have the host's name, or none can be checked.
    pub(super) fn route(
        &self,
        listener: usize,
        origin: Origin,
        plan: &Plan,
        metrics: &Metrics,
    ) -> Result<Arc<Route>, Failure> {
        let place = Place { listener, origin };
        let mut known = self.known.lock();
        known.uses += 1;
        let now = known.uses;
        if let Some(used) = known.routes.get_mut(&place) {
            used.last = now;
            return Ok(Arc::clone(&used.route));
        }
        let unusable = |source| Failure::Unusable {
            origin: place.origin.to_string(),
            source,
        };
        let door = plan.door(listener).ok_or(Failure::NoRoute)?;
        let upstream = Arc::new(upstream(place.origin.clone()));
        let target = known.target(Arc::clone(&upstream)).map_err(unusable)?;
        let names = Arc::clone(known.names(listener, door, plan));
        let kept = metrics.kept_connections(NAME);
        let pool = Pool::of_names(Arc::new(target), names, kept);
        let route = Route::passing(config(upstream), Arc::new(pool), metrics)?;
        let route = Arc::new(route);
        if known.routes.len() >= MOST {
            let oldest = known.routes.iter().min_by_key(|(_, used)| used.last);
            if let Some(oldest) = oldest.map(|(place, _)| place.clone()) {
                known.routes.remove(&oldest);
            }
        }
        let used = Used {
            route: Arc::clone(&route),
            last: now,
        };
        known.routes.insert(place, used);
        Ok(route)
    }

    /// How a listener finds the addresses of hosts that callers chose: what it has learnt is kept.
    pub(super) fn names(&self, listener: usize, door: &Door, plan: &Plan) -> Arc<Names> {
        Arc::clone(self.known.lock().names(listener, door, plan))
    }

    /// Closes connections that were idle too long.
    pub(super) fn prune(&self) {
        let known = self.known.lock();
        let pools = known.routes.values().filter_map(|used| used.route.pool());
        pools.for_each(|pool| pool.prune());
    }
}

impl Known {
    fn target(&mut self, upstream: Arc<Upstream>) -> Result<Target, UpstreamError> {
        if !upstream.origin.https {
            return Target::new(upstream);
        }
        let settings = match self.tls.take() {
            Some(settings) => settings,
            None => Settings::of(&upstream.tls, upstream.protocol)?,
        };
        let target = Target::with(upstream, &settings);
        self.tls = Some(settings);
        target
    }

    /// Never our own, whatever networks a listener names: a request would go round, and a caller
    /// would be taken for us.
    fn names(&mut self, listener: usize, door: &Door, plan: &Plan) -> &Arc<Names> {
        let names = self.names.entry(listener);
        names.or_insert_with(|| Arc::new(door.names().but_not(Arc::clone(&plan.closed))))
    }
}

fn upstream(origin: Origin) -> Upstream {
    Upstream {
        origin,
        protocol: UpstreamProtocol::Auto,
        tls: ClientTls::default(),
        connect_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(30),
        idle_connections: 8,
        preserve_host: true,
        forwarded: Forwarded::Silent,
    }
}

fn config(upstream: Arc<Upstream>) -> config::Route {
    config::Route {
        name: NAME.into(),
        matches: Match::default(),
        admit: Admit::Anyone,
        resource: None,
        inject: None,
        exchange: None,
        identity: None,
        upstream: Some(upstream),
        links: LinkRewriting::Off,
        refuse_login_pages: false,
        timeouts: RouteTimeouts {
            response: Duration::from_secs(120),
            idle: Duration::from_secs(120),
            total: None,
        },
        replay: Replay {
            memory_bytes: 0,
            total_bytes: 0,
        },
    }
}
