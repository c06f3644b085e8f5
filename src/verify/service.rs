//! All issuers whose tokens some route takes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    follow::{Follower, Remote},
    introspection::{Asker, Introspector},
    issuer::Issuer,
    kept::Kept,
    keys::KeyFacts,
    logout::Logouts,
    revoked::{Revoked, follow},
};
use crate::{
    clock::Clock,
    config::{Admit, AdmitRule, BackchannelLogout, Config, Name, Provider},
    health::{Readiness, Report, Waiting},
    metrics::{Cache, Metrics},
    shutdown::{Life, Shutdown},
    trace::Tracer,
};

/// Gives out issuers. Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub struct KeyService {
    issuers: Arc<BTreeMap<Name, Arc<Followed>>>,
    kept: Option<Kept>,
    revoked: Arc<Revoked>,
    clock: Clock,
    /// No number is given twice: what was verified is remembered by it.
    numbers: Arc<AtomicU32>,
}

/// An issuer, with the tasks that ask it.
#[derive(Debug)]
struct Followed {
    issuer: Arc<Issuer>,
    provider: Arc<Provider>,
    _life: Life,
}

/// What the tasks stand on.
struct Around<'a> {
    clock: &'a Clock,
    metrics: &'a Arc<Metrics>,
    tracer: &'a Tracer,
    shutdown: &'a Shutdown,
}

impl KeyService {
    /// Follows the keys of every provider that a route asks tokens of, on the current runtime until
    /// the stop is hard. Not ready until each has been had once. `rng` spreads the fetches.
    pub fn start(
        config: &Config,
        clock: &Clock,
        metrics: &Arc<Metrics>,
        tracer: &Tracer,
        shutdown: &Shutdown,
        readiness: &Readiness,
        rng: &mut impl Rng,
    ) -> Self {
        let asked = asked_for(config);
        let store = config.token_store.as_ref().filter(|_| !asked.is_empty());
        let revoked = Arc::new(Revoked::counting(metrics.revoked_tokens_refused.clone()));
        let listed = metrics.shared_cache(Cache::RevokedTokens);
        listed.held_by(&revoked, |revoked| revoked.entries() as u64);
        let mut this = Self {
            issuers: Arc::default(),
            kept: store.map(|store| Kept::open(store, shutdown)),
            revoked: Arc::clone(&revoked),
            clock: clock.clone(),
            numbers: Arc::default(),
        };
        let around = Around {
            clock,
            metrics,
            tracer,
            shutdown,
        };
        let followed = asked.into_values().map(|provider| {
            let waiting = readiness.wait_for(format!("keys of provider {}", provider.name));
            let followed = this.follow(&provider, Some(waiting), &around, rng);
            (Arc::clone(&provider.name), Arc::new(followed))
        });
        this.issuers = Arc::new(followed.collect());
        if let Some(store) = store {
            revoked.keep(store, clock.now(), shutdown);
        }
        if let Some(path) = &config.revocation.file {
            let waiting = readiness.wait_for("the list of revoked tokens");
            shutdown.spawn(follow(Arc::clone(&revoked), path.clone(), waiting));
        }
        this
    }

    /// The same for another configuration, on the current runtime: issuers that are in both go on
    /// with what they have; the others are left alone when the last of this is dropped. Readiness does
    /// not wait for new ones: what is served already would be taken away with it.
    #[must_use]
    pub fn changed(
        &self,
        config: &Config,
        metrics: &Arc<Metrics>,
        tracer: &Tracer,
        shutdown: &Shutdown,
        rng: &mut impl Rng,
    ) -> Self {
        let asked = asked_for(config);
        let mut next = self.clone();
        if next.kept.is_none()
            && !asked.is_empty()
            && let Some(store) = &config.token_store
        {
            next.kept = Some(Kept::open(store, shutdown));
            self.revoked.keep(store, self.clock.now(), shutdown);
        }
        let around = Around {
            clock: &self.clock,
            metrics,
            tracer,
            shutdown,
        };
        let followed = asked.into_values().map(|provider| {
            let known = self.issuers.get(&provider.name);
            let followed = match known.filter(|known| known.provider == provider) {
                Some(known) => Arc::clone(known),
                None => Arc::new(next.follow(&provider, None, &around, rng)),
            };
            (Arc::clone(&provider.name), followed)
        });
        next.issuers = Arc::new(followed.collect());
        next
    }

    fn follow(
        &self,
        provider: &Arc<Provider>,
        waiting: Option<Waiting>,
        around: &Around<'_>,
        rng: &mut impl Rng,
    ) -> Followed {
        let life = Life::within(around.shutdown);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let issuer = asking(Issuer::new(number, provider), provider, around, &life, rng);
        // of one that answers for all, keys check nothing
        if !provider.answers_for_all() {
            let exchanges = around.metrics.provider(&provider.name, around.clock);
            let follower = Follower {
                issuer: Arc::clone(&issuer),
                clock: around.clock.clone(),
                metrics: Arc::clone(around.metrics),
                tracer: around.tracer.clone(),
                rng: StdRng::from_rng(rng),
                algorithms: provider.keys.algorithms.clone(),
                max_stale: provider.keys.max_stale,
                kept: self.kept.as_ref().map(|kept| kept.place(provider)),
                waiting,
                source: Remote::new(Arc::clone(provider), exchanges),
            };
            life.shutdown().spawn(follower.run());
        }
        Followed {
            issuer,
            provider: Arc::clone(provider),
            _life: life,
        }
    }

    pub fn revoked(&self) -> &Arc<Revoked> {
        &self.revoked
    }

    /// What takes logout tokens.
    pub fn logouts(&self, config: &BackchannelLogout) -> Logouts {
        Logouts::new(
            self.issuer(&config.provider),
            config.clients.clone(),
            config.keep,
            Arc::clone(&self.revoked),
            self.clock.clone(),
        )
    }

    /// The issuer that this provider is; one that no route asks tokens of has no keys.
    pub fn issuer(&self, provider: &Provider) -> Arc<Issuer> {
        let known = self.issuers.get(&provider.name);
        let known = known.map(|followed| Arc::clone(&followed.issuer));
        known.unwrap_or_else(|| Arc::new(Issuer::new(u32::MAX, provider)))
    }
}

/// The issuer, with the task that asks it about tokens where that is configured.
fn asking(
    issuer: Issuer,
    provider: &Arc<Provider>,
    around: &Around<'_>,
    life: &Life,
    rng: &mut impl Rng,
) -> Arc<Issuer> {
    let Some(config) = provider.introspection.clone() else {
        return Arc::new(issuer);
    };
    let name = Arc::clone(&provider.name);
    let counts = around.metrics.shared_cache(Cache::Introspection);
    let made = Introspector::new(issuer.number(), name, &config, &counts, rng);
    // a key of 32 octets can always be used
    let Ok((introspector, queue)) = made else {
        return Arc::new(issuer);
    };
    let issuer = Arc::new(issuer.asking(introspector));
    let asker = Asker {
        issuer: Arc::clone(&issuer),
        provider: Arc::clone(provider),
        config,
        clock: around.clock.clone(),
        metrics: Arc::clone(around.metrics),
        shutdown: life.shutdown().clone(),
    };
    life.shutdown().spawn(asker.run(queue));
    issuer
}

fn asked_for(config: &Config) -> BTreeMap<Name, Arc<Provider>> {
    let rules = config.routes.iter().flat_map(|route| match &route.admit {
        Admit::Rules(rules) => rules.as_slice(),
        Admit::Local | Admit::Anyone => &[],
    });
    let people = config.sessions.values();
    let people = people.map(|session| &session.credential.provider);
    let people = people.map(|provider| (provider.name.clone(), Arc::clone(provider)));
    rules
        .filter_map(|rule| match rule {
            AdmitRule::Bearer { provider, .. } => {
                Some((provider.name.clone(), Arc::clone(provider)))
            }
            _ => None,
        })
        .chain(people)
        .collect()
}

fn key(facts: &KeyFacts<'_>) -> Value {
    let at = |time: std::time::Duration| {
        humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + time).to_string()
    };
    json!({
        "kid": facts.id,
        "alg": facts.algorithm.name(),
        "since": facts.since.map(at),
        "last_verified": facts.used.map(at),
    })
}

impl Report for KeyService {
    fn name(&self) -> &'static str {
        "keys"
    }

    fn report(&self) -> Value {
        let now = self.clock.now();
        let describe = |followed: &Arc<Followed>| {
            let issuer = &followed.issuer;
            let progress = issuer.progress.borrow().clone();
            let ago = |then: crate::clock::Moment| now.wall.saturating_sub(then.wall).as_secs();
            json!({
                "provider": &*issuer.name,
                "keys": issuer.keys().facts().map(|facts| key(&facts)).collect::<Vec<_>>(),
                "keys_changed": progress.keys_changed.map(crate::clock::Moment::rfc3339),
                "last_success_seconds_ago": progress.last_success.map(ago),
                "last_error": progress.last_error.as_deref(),
                "introspection": issuer.introspector().map(|one| one.report(now)),
            })
        };
        self.issuers.values().map(describe).collect()
    }
}
