//! All issuers whose tokens some route takes.

use std::{collections::BTreeMap, sync::Arc};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    follow::{Follower, Remote},
    introspection::{Asker, Introspector},
    issuer::Issuer,
    kept::Kept,
    logout::Logouts,
    revoked::{Revoked, follow},
};
use crate::{
    clock::Clock,
    config::{Admit, AdmitRule, BackchannelLogout, Config, Name, Provider},
    health::{Readiness, Report},
    metrics::Metrics,
    shutdown::Shutdown,
};

/// Gives out issuers. Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub struct KeyService {
    issuers: Arc<BTreeMap<Name, Arc<Issuer>>>,
    revoked: Arc<Revoked>,
    clock: Clock,
}

impl KeyService {
    /// Follows the keys of every provider that a route asks tokens of, on the current runtime until
    /// the stop is hard. Not ready until each has been had once. `rng` spreads the fetches.
    pub fn start(
        config: &Config,
        clock: &Clock,
        metrics: &Arc<Metrics>,
        shutdown: &Shutdown,
        readiness: &Readiness,
        rng: &mut impl Rng,
    ) -> Self {
        let mut issuers = BTreeMap::new();
        let asked = asked_for(config);
        let store = config.token_store.as_ref().filter(|_| !asked.is_empty());
        let kept = store.map(|store| Kept::open(store, shutdown));
        for (number, provider) in (0..).zip(asked.into_values()) {
            let around = (clock, metrics, shutdown);
            let issuer = asking(Issuer::new(number, &provider), &provider, around, rng);
            issuers.insert(provider.name.clone(), Arc::clone(&issuer));
            if provider.answers_for_all() {
                continue; // its keys check nothing
            }
            let follower = Follower {
                issuer,
                clock: clock.clone(),
                metrics: Arc::clone(metrics),
                rng: StdRng::from_rng(rng),
                algorithms: provider.keys.algorithms.clone(),
                max_stale: provider.keys.max_stale,
                kept: kept.as_ref().map(|kept| kept.place(&provider)),
                waiting: Some(readiness.wait_for(format!("keys of provider {}", provider.name))),
                source: Remote::new(provider),
            };
            shutdown.spawn(follower.run());
        }
        let revoked = Arc::new(Revoked::counting(metrics.revoked_tokens_refused.clone()));
        if let Some(store) = store {
            revoked.keep(store, clock.now(), shutdown);
        }
        if let Some(path) = &config.revocation.file {
            let waiting = readiness.wait_for("the list of revoked tokens");
            shutdown.spawn(follow(Arc::clone(&revoked), path.clone(), waiting));
        }
        Self {
            issuers: Arc::new(issuers),
            revoked,
            clock: clock.clone(),
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
        let known = self.issuers.get(&provider.name).cloned();
        known.unwrap_or_else(|| Arc::new(Issuer::new(u32::MAX, provider)))
    }
}

/// The issuer, with the task that asks it about tokens where that is configured.
fn asking(
    issuer: Issuer,
    provider: &Arc<Provider>,
    (clock, metrics, shutdown): (&Clock, &Arc<Metrics>, &Shutdown),
    rng: &mut impl Rng,
) -> Arc<Issuer> {
    let Some(config) = provider.introspection.clone() else {
        return Arc::new(issuer);
    };
    let name = Arc::clone(&provider.name);
    let made = Introspector::new(issuer.number(), name, &config, rng);
    // a key of 32 octets can always be used
    let Ok((introspector, queue)) = made else {
        return Arc::new(issuer);
    };
    let issuer = Arc::new(issuer.asking(introspector));
    let asker = Asker {
        issuer: Arc::clone(&issuer),
        provider: Arc::clone(provider),
        config,
        clock: clock.clone(),
        metrics: Arc::clone(metrics),
        shutdown: shutdown.clone(),
    };
    shutdown.spawn(asker.run(queue));
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

impl Report for KeyService {
    fn name(&self) -> &'static str {
        "keys"
    }

    fn report(&self) -> Value {
        let now = self.clock.now();
        let describe = |issuer: &Arc<Issuer>| {
            let progress = issuer.progress.borrow().clone();
            let ago = |then: crate::clock::Moment| now.wall.saturating_sub(then.wall).as_secs();
            json!({
                "provider": &*issuer.name,
                "keys": issuer.keys().ids().collect::<Vec<_>>(),
                "last_success_seconds_ago": progress.last_success.map(ago),
                "last_error": progress.last_error.as_deref(),
                "introspection": issuer.introspector().map(|one| one.report(now)),
            })
        };
        self.issuers.values().map(describe).collect()
    }
}
