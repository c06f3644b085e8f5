//! The configuration, prepared for requests: matchers, gates, token handles, upstreams.
//!
//! Made once, never changed: another configuration has another. Whatever can be parsed, looked up or
//! formatted before a request comes is. Every data-plane thread has a copy of its own
//! ([`Plan::for_thread`]).

mod placed;

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderName, HeaderValue, header::AUTHORIZATION, uri::Authority};

use self::placed::{Placed, nowhere};
use super::{
    admit::{Gate, Key, Rule},
    bound::Thumbprints,
    door::Door,
    failure::Failure,
    forward::Theirs,
    identity::{self, Identity, Signer},
    incoming::Https,
    own::{self, Own},
    person,
    route::Matcher,
    target::{PathMatters, Target},
    upstream::{self, Pool, UpstreamError},
};
use crate::{
    config::{
        self, ActsFor, Admit, CallerIdentity, Config, Credential, Limits, Name, Says, ScopeSet,
        Upstream,
    },
    handbook::Help,
    http::headers::Aliases,
    metrics::{CredentialMetrics, Metrics, RouteMetrics},
    net::ours::Ours,
    session::Sessions,
    tokens::{Exchanger, TokenHandle, TokenService},
    verify::{KeyService, Revoked},
};

/// What all threads serve by.
#[derive(Debug)]
pub struct Plan {
    pub routes: Vec<Arc<Route>>,
    pub upstreams: Vec<Arc<upstream::Target>>,
    pub path_matters: PathMatters,
    pub limits: Limits,
    /// Where errors point for what they mean.
    pub help: Help,
    pub thumbprints: Thumbprints,
    pub revoked: Arc<Revoked>,
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Fields that carry keys for us, or say who the caller is: a caller's never go on.
    pub own_fields: Aliases,
    /// Those of them that say who the caller is, on whatever route.
    pub told_fields: Vec<HeaderName>,
    /// The same, and `Authorization`: what a caller's trailers do not carry on either.
    pub unwelcome_trailers: Aliases,
    /// Where we accept: no upstream is there.
    pub ours: Arc<Ours>,
    /// The same and the admin listener: not reached for callers.
    pub closed: Arc<Ours>,
    /// Endpoints of our own.
    pub(super) own: Own,
    /// By the number of the listener: connections know theirs.
    doors: Vec<(usize, Arc<Door>)>,
    /// The same for listeners of plans before whose connections finish.
    finishing: Vec<(usize, Arc<Door>)>,
}

/// A route, prepared.
#[derive(Debug)]
pub struct Route {
    pub config: Arc<config::Route>,
    /// Where it goes, if that is no upstream of the plan's.
    pool: Option<Arc<Pool>>,
    matcher: Matcher,
    pub gate: Gate,
    /// Where its metadata are (RFC 9728).
    pub metadata: Option<Arc<str>>,
    pub token: Option<TokenHandle>,
    /// What the token that admitted the caller is exchanged by.
    pub exchanger: Option<Exchanger>,
    /// What the service is told of callers.
    pub identity: Option<Identity>,
    pub metrics: RouteMetrics,
    /// Of the credential that it injects.
    pub credential: Option<Arc<CredentialMetrics>>,
    /// Which of the plan's upstreams.
    pub upstream: usize,
    pub to: Arc<Upstream>,
    pub authority: Authority,
    /// The authority, as a `Host` field says it.
    pub host: HeaderValue,
    /// Hosts of the provider: a redirect there is a login page.
    pub provider_hosts: Vec<String>,
}

impl Route {
    pub fn credential_name(&self) -> Option<&str> {
        let injected = self.config.inject.as_ref();
        let injected = injected.map(|inject| &inject.credential);
        let credential = injected.or(self.config.exchange.as_ref());
        credential.map(|credential| &*credential.name)
    }

    pub fn origin(&self) -> String {
        self.to.origin.to_string()
    }

    pub(super) fn pool(&self) -> Option<&Arc<Pool>> {
        self.pool.as_ref()
    }

    /// To a host that a caller chose.
    pub(super) fn passing(
        config: config::Route,
        pool: Arc<Pool>,
        metrics: &Metrics,
    ) -> Result<Self, Failure> {
        let to = config.upstream.clone().unwrap_or_else(nowhere);
        let authority: Authority = to.origin.authority().parse().map_err(|_| Failure::NoHost)?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Failure::NoHost)?;
        Ok(Self {
            pool: Some(pool),
            matcher: Matcher::new(&config.matches),
            gate: Gate::Anyone,
            metadata: None,
            token: None,
            exchanger: None,
            identity: None,
            metrics: metrics.route(&config.name),
            credential: None,
            upstream: 0,
            to,
            authority,
            host,
            provider_hosts: Vec::new(),
            config: Arc::new(config),
        })
    }

    /// Whether a caller that names this host, on the network, means this route.
    fn is_for(&self, host: &str, theirs: &Theirs) -> bool {
        let origin = &self.to.origin;
        let usual = if theirs.https == Https::Yes { 443 } else { 80 };
        (theirs.port == usual || theirs.port == origin.port)
            && (self.matcher.names_hosts() || *host == *origin.host)
    }

    fn for_thread(&self, metrics: &Metrics) -> Self {
        let (authority, host) = (self.authority.as_str(), self.host.as_bytes());
        Self {
            config: Arc::clone(&self.config),
            pool: self.pool.clone(),
            matcher: self.matcher.clone(),
            gate: self.gate.clone(),
            metadata: self.metadata.clone(),
            token: self.token.clone(),
            exchanger: self.exchanger.clone(),
            identity: self.identity.as_ref().map(Identity::for_thread),
            metrics: metrics.route(&self.config.name),
            credential: self.credential_name().map(|name| metrics.credential(name)),
            upstream: self.upstream,
            to: Arc::clone(&self.to),
            // from text: clones would count their references in one place; what was valid still is
            authority: authority.parse().unwrap_or_else(|_| self.authority.clone()),
            host: HeaderValue::from_bytes(host).unwrap_or_else(|_| self.host.clone()),
            provider_hosts: self.provider_hosts.clone(),
        }
    }
}

/// A configuration that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("route {route}")]
    Upstream {
        route: String,
        source: UpstreamError,
    },
    #[error("route {route}: the upstream {origin} has no valid authority")]
    Authority { route: String, origin: String },
}

impl Plan {
    /// `listeners` are the numbers of the configuration's, in its order. Nothing has been asked of
    /// `tokens` if it fails.
    ///
    /// # Errors
    /// When an upstream's certificates cannot be read or its name cannot be used.
    pub fn new(
        config: &Config,
        listeners: &[usize],
        tokens: &TokenService,
        keys: &KeyService,
        sessions: &Sessions,
        metrics: &Metrics,
        signer: Option<&Arc<Signer>>,
    ) -> Result<Self, PlanError> {
        let mut upstreams: Vec<Arc<upstream::Target>> = Vec::new();
        let mut places = Vec::with_capacity(config.routes.len());
        for route in &config.routes {
            places.push(Placed::new(route, &mut upstreams)?);
        }
        let mut routes = Vec::with_capacity(config.routes.len());
        let mut identities = Vec::new();
        let mut exchangers: BTreeMap<(Name, &ScopeSet), Exchanger> = BTreeMap::new();
        for (route, placed) in config.routes.iter().zip(places) {
            let mut prepared = prepare(route, placed, (tokens, keys, sessions), metrics);
            prepared.identity = identity(&mut identities, route, signer);
            prepared.exchanger = exchanged(route).map(|(credential, scopes)| {
                let known = exchangers.entry((Arc::clone(&credential.name), scopes));
                known
                    .or_insert_with(|| tokens.exchanger(credential, scopes))
                    .clone()
            });
            routes.push(Arc::new(prepared));
        }
        let matters = routes.iter().any(|route| route.matcher.depends_on_path());
        let told_fields = told_fields(&routes);
        let issuers = keys;
        let logout = config.revocation.logout.as_ref();
        let logout = logout.map(|logout| (logout, Arc::new(issuers.logouts(logout))));
        let own = Own::of(config, logout, signer);
        let own = own
            .signing_in(sessions)
            .standing_in(config, tokens, issuers);
        let gates = routes.iter().map(|route| &route.gate).chain(own.gates());
        let keys = gates.flat_map(Gate::keys);
        let keys = keys.map(|key| key.header());
        let own_fields: Vec<HeaderName> = keys.chain(told_fields.iter().cloned()).collect();
        let unwelcome = own_fields.iter().cloned().chain([AUTHORIZATION]);
        let doors = listeners.iter().zip(&config.listeners);
        let doors = doors.filter_map(|(number, listener)| {
            let door = Door::new(listener, config, issuers)?;
            Some((*number, Arc::new(door)))
        });
        Ok(Self {
            own,
            doors: doors.collect(),
            finishing: Vec::new(),
            ours: Arc::default(),
            closed: Arc::default(),
            routes,
            upstreams,
            path_matters: if matters {
                PathMatters::Yes
            } else {
                PathMatters::No
            },
            limits: config.limits.clone(),
            help: config.help.clone(),
            revoked: Arc::clone(issuers.revoked()),
            thumbprints: Thumbprints::of(config.token_rules()),
            trusted_proxies: config.trusted_proxies.clone(),
            unwelcome_trailers: unwelcome.collect(),
            own_fields: own_fields.into_iter().collect(),
            told_fields,
        })
    }

    /// The same for one more thread. What requests clone, they clone by counting references; threads
    /// that count in one place take it from each other with every request. Connection settings are
    /// cloned with connections only, and stay shared.
    #[must_use]
    pub fn for_thread(&self, metrics: &Metrics) -> Self {
        let routes = self.routes.iter();
        Self {
            routes: routes.map(|r| Arc::new(r.for_thread(metrics))).collect(),
            upstreams: self.upstreams.clone(),
            path_matters: self.path_matters,
            limits: self.limits.clone(),
            help: self.help.clone(),
            thumbprints: self.thumbprints,
            revoked: Arc::clone(&self.revoked),
            trusted_proxies: self.trusted_proxies.clone(),
            own_fields: self.own_fields.for_thread(),
            told_fields: self.told_fields.iter().map(identity::own).collect(),
            unwelcome_trailers: self.unwelcome_trailers.for_thread(),
            own: self.own.clone(),
            doors: self.doors.clone(),
            finishing: self.finishing.clone(),
            ours: Arc::clone(&self.ours),
            closed: Arc::clone(&self.closed),
        }
    }

    /// The first route that matches.
    pub fn find(&self, method: &http::Method, target: &Target<'_>) -> Option<&Arc<Route>> {
        self.routes
            .iter()
            .find(|route| route.matcher.matches(method, &target.host, &target.path))
    }

    /// The first route that is for a host which is not ours.
    pub(super) fn find_theirs(
        &self,
        method: &http::Method,
        target: &Target<'_>,
        theirs: &Theirs,
    ) -> Option<&Arc<Route>> {
        let mut routes = self.routes.iter();
        routes.find(|route| {
            route.is_for(&target.host, theirs)
                && route.matcher.matches(method, &target.host, &target.path)
        })
    }

    /// Whether some route is for this host, by its name.
    pub fn names(&self, host: &str) -> bool {
        let mut routes = self.routes.iter();
        routes.any(|route| route.matcher.is_for_host(host) || *host == *route.to.origin.host)
    }

    /// Whether some route is for requests of a connection to this host.
    pub(super) fn is_for(&self, host: &str, theirs: &Theirs) -> bool {
        let mut routes = self.routes.iter();
        routes.any(|route| {
            let here = !route.matcher.names_hosts() || route.matcher.is_for_host(host);
            here && route.is_for(host, theirs)
        })
    }

    /// Calls that still come by a listener of a plan before pass as by the one that has taken its
    /// place, or else as they did: they were sent before their callers could know.
    pub fn finishes(&mut self, before: &Self, listener: usize, by: Option<usize>) {
        let next = by.map(|by| self.doors.iter().find(|(number, _)| *number == by));
        let door = next.unwrap_or_else(|| {
            let mut doors = before.doors.iter().chain(&before.finishing);
            doors.find(|(number, _)| *number == listener)
        });
        if let Some((_, door)) = door {
            self.finishing.push((listener, Arc::clone(door)));
        }
    }

    /// What a listener lets through.
    pub fn door(&self, listener: usize) -> Option<&Door> {
        let mut doors = self.doors.iter().chain(&self.finishing);
        let (_, door) = doors.find(|(number, _)| *number == listener)?;
        Some(door)
    }

    /// The name of the route that a request takes. For benchmarks, which cannot make what
    /// [`Plan::find`] takes.
    #[doc(hidden)]
    pub fn route_name<B>(&self, request: &http::Request<B>) -> Option<&str> {
        let target = Target::read(request, self.path_matters).ok()?;
        let route = self.find(request.method(), &target)?;
        Some(&route.config.name)
    }

    /// The tokens that routes inject, and those that are handed out.
    pub fn tokens(&self) -> impl Iterator<Item = TokenHandle> {
        let injected = self.routes.iter().filter_map(|route| route.token.clone());
        injected.chain(self.own.tokens())
    }

    /// Shared keys of all routes.
    pub fn keys(&self) -> Vec<Arc<Key>> {
        let gates = self.routes.iter().map(|route| &route.gate);
        let gates = gates.chain(self.own.gates());
        let doors = self.doors.iter().map(|(_, door)| door);
        let keys = gates.flat_map(Gate::keys);
        keys.chain(doors.flat_map(|door| door.keys()))
            .cloned()
            .collect()
    }
}

/// Routes that tell the same share what was made of a token.
fn identity<'c>(
    all: &mut Vec<&'c CallerIdentity>,
    route: &'c config::Route,
    signer: Option<&Arc<Signer>>,
) -> Option<Identity> {
    let wanted = route.identity.as_ref()?;
    let known = all.iter().position(|known| *known == wanted);
    let number = known.unwrap_or_else(|| {
        all.push(wanted);
        all.len() - 1
    });
    Some(Identity::new(number, wanted, signer))
}

/// Fields that say who the caller is. Where some route asks for tokens or tells who called, also
/// those that it does not use, but others usually do: services know these names.
fn told_fields(routes: &[Arc<Route>]) -> Vec<HeaderName> {
    let identities = || routes.iter().filter_map(|route| route.identity.as_ref());
    let told = routes
        .iter()
        .any(|route| route.identity.is_some() || route.gate.asks_for_tokens());
    let usual = told
        .then_some(&Says::USUAL)
        .into_iter()
        .flatten()
        .filter_map(|(_, name)| HeaderName::from_bytes(name.as_bytes()).ok());
    let ours = identities().flat_map(Identity::names).cloned();
    let mut all: Vec<HeaderName> = ours.chain(usual).collect();
    all.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    all.dedup();
    all
}

/// What callers' tokens are exchanged by, and for which scopes.
fn exchanged(route: &config::Route) -> Option<(&Arc<Credential>, &ScopeSet)> {
    let behalf = route.inject.as_ref();
    let behalf = behalf.filter(|inject| inject.acts_for == ActsFor::Caller);
    let behalf = behalf.map(|inject| (&inject.credential, &inject.scopes));
    let told = route.exchange.as_ref();
    behalf.or(told.map(|credential| (credential, &credential.scopes)))
}

fn prepare(
    route: &Arc<config::Route>,
    placed: Placed,
    (tokens, keys, sessions): (&TokenService, &KeyService, &Sessions),
    metrics: &Metrics,
) -> Route {
    let Placed {
        upstream,
        to,
        authority,
        host,
    } = placed;
    let origin = &to.origin;
    let mut hosts = route.matches.hosts.clone();
    hosts.push(origin.host.clone());
    let gate = match &route.admit {
        Admit::Anyone => Gate::Anyone,
        Admit::Local => Gate::Local { hosts },
        Admit::Rules(rules) => Gate::Rules {
            rules: rules
                .iter()
                .filter_map(|rule| Rule::new(rule, keys))
                .collect(),
            realm: person::realm(sessions, rules),
            hosts,
        },
    };
    let inject = route.inject.as_ref();
    let provider = inject.map(|inject| &inject.credential.provider);
    let hosts = provider.into_iter().flat_map(|provider| {
        let names = std::iter::once(&provider.issuer).chain(provider.also());
        names.filter_map(|url| Some(url.host_str()?.to_ascii_lowercase()))
    });
    Route {
        pool: None,
        matcher: Matcher::new(&route.matches),
        gate,
        metadata: route
            .resource
            .as_ref()
            .map(|url| own::metadata_url(url).as_str().into()),
        // a person's token is that person's, and one for a caller the caller's
        token: inject
            .filter(|inject| inject.credential.grant.flow().is_none())
            .filter(|inject| inject.acts_for == ActsFor::Itself)
            .map(|inject| tokens.handle(&inject.credential, &inject.scopes)),
        exchanger: None,
        identity: None,
        metrics: metrics.route(&route.name),
        credential: None,
        upstream,
        authority,
        host,
        provider_hosts: hosts.collect(),
        to,
        config: Arc::clone(route),
    }
}
