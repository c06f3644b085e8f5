//! What one thread serves requests with now.
//!
//! Another configuration has another [`Proxy`]. Requests that are under way keep theirs until they
//! end; connections stay, and their next request takes the new one.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;

use super::{Plan, Proxy, identity::Memory, passing::Passing, upstream::Pool};
use crate::{metrics::Cache, tls::mint::Mint, verify::Verifier};

/// How often idle upstream connections are looked at.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// One thread's proxy; it is replaced by that thread alone.
#[derive(Debug)]
pub struct Current(ArcSwap<Proxy>);

impl Current {
    pub fn new(proxy: Proxy) -> Self {
        Self(ArcSwap::from_pointee(proxy))
    }

    pub fn now(&self) -> Arc<Proxy> {
        self.0.load_full()
    }

    /// Serves by this plan from the next request on. Connections to upstreams that are in both stay
    /// open; `verifier`, if there is one, takes the place of the one before, with all that it knew.
    pub fn replace(&self, plan: Arc<Plan>, mint: Option<Mint>, verifier: Option<Arc<Verifier>>) {
        let before = self.now();
        let ours = before.plan.ours == plan.ours;
        let metrics = &before.observer.metrics;
        let pools = plan.upstreams.iter().map(|target| {
            let mut known = before.pools.iter().filter(|_| ours);
            let known = known.find(|pool| pool.leads_to(target)).cloned();
            known.unwrap_or_else(|| {
                let pool = Pool::new(Arc::clone(target), Arc::clone(&plan.ours), metrics);
                Arc::new(pool)
            })
        });
        self.0.store(Arc::new(Proxy {
            pools: pools.collect(),
            spares: Arc::clone(&before.spares),
            passing: Passing::default(),
            opened: before.opened.clone(),
            mint,
            observer: Arc::clone(&before.observer),
            verifier: verifier.unwrap_or_else(|| Arc::clone(&before.verifier)),
            // what services are told is numbered by the plan
            memory: Memory::counting(metrics.cache(Cache::ToldCallers)),
            seed: before.seed,
            next: before.next.load(Ordering::Relaxed).into(),
            plan,
        }));
    }

    /// Closes upstream connections that are idle too long; runs as long as the thread does.
    pub async fn tend(&self) {
        loop {
            tokio::time::sleep(PRUNE_EVERY).await;
            let proxy = self.now();
            proxy.pools.iter().for_each(|pool| pool.prune());
            proxy.passing.prune();
        }
    }
}
