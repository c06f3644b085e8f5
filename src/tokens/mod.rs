//! The token service: who has the tokens that we fetch, and who renews them.
//!
//! One worker task owns every token's life (`cell`, `worker`); requests hold a [`TokenHandle`] and
//! usually read the token from it without waiting. A request never fetches, so a request that goes
//! away never cancels a fetch. No token is served past its expiry, ever; none is fetched that
//! nobody uses.

mod agenda;
mod assertions;
mod authority;
mod cell;
mod endpoints;
mod entry;
mod errand;
mod error;
mod exchange;
mod fetch;
mod handle;
pub mod kept;
mod key;
mod material;
mod person;
mod providers;
mod queue;
mod record;
mod refresh;
mod registry;
mod rotation;
mod shown;
mod source;
mod store;
mod worker;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use http::HeaderValue;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::sleep};

pub use self::{
    authority::{Authorities, Authority, Endpoint, PassError},
    error::{ErrorKind, Occasion, TokenError},
    exchange::{Exchanger, Exchanges},
    handle::{Ready, TokenHandle},
    person::{Deposit, Keep, Person, PersonState, PersonToken},
};
use self::{
    handle::{Asked, Renewal, Shared, Snapshot},
    providers::Providers,
    record::Record,
    registry::Registry,
    source::{SecretInUse, Source},
    store::{Keeper, Stored},
    worker::{Seams, Worker},
};
use crate::{
    clock::{Clock, Deadline, Moment},
    config::{Credential, ScopeSet, TokenStore},
    health::{Readiness, Report},
    metrics::{HandedOutLabels, Metrics},
    shutdown::Shutdown,
    trace::Tracer,
};

/// Requests that wait to be heard by the worker; more wait with their senders.
const ASKS: usize = 1024;
/// Between attempts to have a first token, where the failure does not say.
const FIRST_AGAIN: Duration = Duration::from_secs(5);

/// Gives out handles. Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub struct TokenService {
    registry: Arc<Registry>,
    asks: mpsc::Sender<Asked>,
    clock: Clock,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
    providers: Providers,
    exchanges: Exchanges,
    authorities: Authorities,
}

impl TokenService {
    /// Reads the store, if there is one, and runs its worker on the current runtime until the
    /// stop is hard. `rng` spreads renewals and retries.
    pub fn start(
        clock: Clock,
        metrics: Arc<Metrics>,
        tracer: Tracer,
        shutdown: &Shutdown,
        store: Option<&TokenStore>,
        rng: StdRng,
    ) -> Self {
        let providers = Providers::new(clock.clone(), Arc::clone(&metrics), shutdown.clone());
        let source = Arc::new(providers.clone());
        let seen = (metrics, tracer);
        Self::start_with(source, providers, clock, seen, shutdown, store, rng)
    }

    fn start_with(
        source: Arc<dyn Source>,
        providers: Providers,
        clock: Clock,
        (metrics, tracer): (Arc<Metrics>, Tracer),
        shutdown: &Shutdown,
        store: Option<&TokenStore>,
        mut rng: StdRng,
    ) -> Self {
        let exchanges = Exchanges::new(clock.clone(), StdRng::from_rng(&mut rng));
        let keeper = match store {
            None => Keeper::memory(),
            Some(config) => Keeper::file(config, &clock, shutdown),
        };
        let registry = Arc::new(Registry::new(keeper.tokens()));
        let (asks, asked) = mpsc::channel(ASKS);
        let seams = Seams {
            source,
            clock: clock.clone(),
            record: Record::new(Arc::clone(&metrics), tracer),
            shutdown: shutdown.clone(),
            registry: registry.clone(),
            keeper,
            rng,
        };
        shutdown.spawn(Worker::run(seams, asked));
        Self {
            registry,
            asks,
            clock,
            shutdown: shutdown.clone(),
            metrics,
            providers,
            exchanges,
            authorities: Authorities::default(),
        }
    }

    /// Counts a token that somebody was given.
    pub fn handed_out(&self, credential: &str) {
        let credential = credential.to_owned();
        let handed = &self.metrics.tokens_handed_out;
        handed.get_or_create(&HandedOutLabels { credential }).inc();
    }

    /// What its tokens' ends are measured by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The handle of a credential with these scopes. The same inputs lead to the same token.
    /// Fetches nothing by itself.
    pub fn handle(&self, credential: &Arc<Credential>, scopes: &ScopeSet) -> TokenHandle {
        let now = self.clock.now();
        // the configuration has no circles
        let shown = credential.grant.shows();
        let shown = shown.map(|other| self.handle(other, &other.scopes));
        let shared = self
            .registry
            .shared(credential, scopes, shown, |shared, stored| {
                restore(shared, stored, self.registry.token_number(), now);
            });
        self.handle_of(shared)
    }

    fn handle_of(&self, shared: Arc<Shared>) -> TokenHandle {
        TokenHandle {
            shared,
            asks: self.asks.clone(),
            clock: self.clock.clone(),
        }
    }

    /// Exchanges callers' tokens by this credential for ones of these scopes, with all that it has
    /// exchanged before; its task runs on the current runtime, as long as there is one who asks.
    pub fn exchanger(&self, credential: &Arc<Credential>, scopes: &ScopeSet) -> Exchanger {
        if let Some(known) = self.exchanges.known(credential, scopes) {
            return known;
        }
        let (providers, metrics) = (self.providers.clone(), Arc::clone(&self.metrics));
        let clock = self.clock.clone();
        let rng = self.exchanges.rng();
        let what = (Arc::clone(credential), scopes.clone());
        let exchanger = Exchanger::start(what, providers, metrics, clock, &self.shutdown, rng);
        self.exchanges.add(&exchanger);
        exchanger
    }

    /// What came of the exchanges, for the status page.
    pub fn exchanges(&self) -> Exchanges {
        self.exchanges.clone()
    }

    /// Stands in for the credential's provider, which it follows by a task on the current runtime,
    /// as long as somebody has one.
    pub fn authority(&self, credential: &Credential) -> Authority {
        if let Some(known) = self.authorities.known(&credential.provider) {
            return known;
        }
        let authority = Authority::new(&credential.provider, self.clock.clone(), &self.metrics);
        let follow = authority.follow(self.exchanges.rng());
        self.shutdown.spawn(follow);
        self.authorities.add(&authority);
        authority
    }

    /// Providers that are stood in for, for the status page.
    pub fn authorities(&self) -> Authorities {
        self.authorities.clone()
    }

    /// Lets go of the program's tokens that none of these handles needs: nobody renews them.
    pub fn keep_only(&self, handles: impl IntoIterator<Item = TokenHandle>) {
        let mut needed = HashSet::new();
        for handle in handles {
            let mut next = Some(&handle);
            while let Some(one) = next {
                needed.insert(one.shared.number);
                next = one.shared.shown.as_ref();
            }
        }
        self.registry.keep_only(&needed);
    }

    /// Waits for the first token, without end: attempts go on with their backoff.
    pub async fn ready(&self, handle: &TokenHandle) {
        loop {
            let wait = Duration::from_secs(30);
            match handle.get(Duration::ZERO, wait).await {
                Ok(_) => return,
                Err(error) => {
                    let pause = error.retry_after.unwrap_or(FIRST_AGAIN);
                    sleep(pause.clamp(Duration::from_millis(50), FIRST_AGAIN)).await;
                }
            }
        }
    }

    /// Not ready until each of these has its first token. Runs on the current runtime.
    ///
    /// That token may expire while the provider is down: the program is ready all the same. All
    /// replicas would lose theirs at once, and taking them all out of service mends no provider; calls
    /// of other routes would fail with them, and those that need the token would get a bare refusal of
    /// a load balancer in place of our 503 with its reason.
    pub fn first_tokens(
        &self,
        readiness: &Readiness,
        handles: impl IntoIterator<Item = TokenHandle>,
    ) {
        for handle in handles {
            let waiting = readiness.wait_for(format!("credential {}", handle.credential().name));
            let service = self.clone();
            self.shutdown.spawn(async move {
                service.ready(&handle).await;
                drop(waiting);
            });
        }
    }
}

/// Publishes what the store had, so that it serves before the worker has seen the key.
fn restore(shared: &Shared, stored: &Stored, id: u64, now: Moment) {
    let Some(header) = stored.header() else {
        return;
    };
    let snapshot = restored(header, id, stored.since(now), stored.life, now);
    shared.snapshot.store(snapshot);
}

/// A token that somebody else kept, if it is still good.
fn restored(
    header: HeaderValue,
    id: u64,
    since: Moment,
    life: Duration,
    now: Moment,
) -> Option<Arc<Snapshot>> {
    let ends = since.plus(cell::served(life));
    (!ends.passed(now)).then(|| {
        let renews = since.plus(life.mul_f64(0.7));
        Arc::new(Snapshot {
            ready: Ready::new(header, id, ends).ageing(renews, life),
            since,
            life,
            renews,
            renewal: Renewal::Fine,
            reserve: Duration::ZERO,
        })
    })
}

impl Report for TokenService {
    fn name(&self) -> &'static str {
        "tokens"
    }

    fn report(&self) -> Value {
        let now = self.clock.now();
        self.registry
            .all()
            .iter()
            .map(|shared| describe(shared, now))
            .collect()
    }
}

fn describe(shared: &Shared, now: Moment) -> Value {
    let credential = shared.credential.load();
    let status = shared.status.lock().clone();
    let snapshot = shared.snapshot.load();
    let valid = snapshot.as_ref().filter(|s| !s.ready.expires().passed(now));
    let zone = match &valid {
        None if status.last_success.is_some() => "expired",
        None => "none",
        Some(s) if !cell::suffices(s.ready.expires().remaining(now), s.life, s.reserve) => {
            "last_resort"
        }
        Some(s) if s.renews.passed(now) => "ageing",
        Some(_) => "fresh",
    };
    let renewal = match &valid {
        Some(s) if s.renewal == Renewal::Failing => "failing",
        _ => "fine",
    };
    let ago = |then: Moment| now.wall.saturating_sub(then.wall).as_secs();
    let at = |then: Moment| written(then.wall);
    let then = |deadline: Deadline| written(now.wall + deadline.remaining(now));
    json!({
        "credential": &*credential.name,
        "provider": credential.provider.issuer.as_str(),
        "grant": credential.grant.grant_type(),
        "scopes": shared.scopes.iter().collect::<Vec<_>>(),
        "scopes_not_granted": status.missing.iter().collect::<Vec<_>>(),
        "zone": zone,
        "renewal": renewal,
        "issued": valid.map(|s| at(s.since)),
        "renews": valid.map(|s| at(s.renews.moment())),
        "expires": valid.map(|s| then(s.ready.expires())),
        "last_resort_seconds": valid.map(|s| s.reserve.as_secs()),
        "life_seconds": valid.map(|s| s.life.as_secs()),
        "remaining_seconds": valid.map(|s| s.ready.expires().remaining(now).as_secs()),
        "ends_in_seconds": valid.map(|s| s.ready.expires().remaining(now).as_secs()),
        "fetching": status.fetching,
        "last_success": status.last_success.map(at),
        "last_success_seconds_ago": status.last_success.map(ago),
        "last_error": status.last_error.as_deref(),
        "last_failure": status.last_failure.as_ref().map(|failed| json!({
            "at": at(failed.at),
            "class": failed.class,
            "message": &*failed.reason,
        })),
        "secret": status.secret.map(|secret| match secret {
            SecretInUse::Current => "current",
            SecretInUse::Previous => "previous",
        }),
        "failures_since_success": status.failures,
        "next_attempt_in_seconds":
            status.next_attempt.map(|next| next.remaining(now).as_secs()),
    })
}

/// A time after 1970, in whole seconds (RFC 3339).
fn written(wall: Duration) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + wall).to_string()
}

#[cfg(test)]
mod tests;
