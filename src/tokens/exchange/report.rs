//! What `/status` says of exchanges: nothing that a caller showed or got.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::Value;

use super::{Exchanger, Shared};
use crate::{
    clock::Clock,
    config::{Credential, ScopeSet},
    health::Report,
};

/// All that exchange tokens, for the status page.
#[derive(Debug, Clone)]
pub struct Exchanges {
    clock: Clock,
    all: Arc<Mutex<Vec<Weak<Shared>>>>,
    rng: Arc<Mutex<StdRng>>,
}

impl Exchanges {
    pub(in crate::tokens) fn new(clock: Clock, rng: StdRng) -> Self {
        Self {
            clock,
            all: Arc::default(),
            rng: Arc::new(Mutex::new(rng)),
        }
    }

    pub(in crate::tokens) fn rng(&self) -> StdRng {
        StdRng::from_rng(&mut *self.rng.lock())
    }

    /// The one that exchanges by this credential already, in every respect.
    pub(in crate::tokens) fn known(
        &self,
        credential: &Credential,
        scopes: &ScopeSet,
    ) -> Option<Exchanger> {
        let all = self.all.lock();
        let mut all = all.iter().filter_map(Weak::upgrade);
        all.find(|one| *one.credential == *credential && one.scopes == *scopes)
            .map(Exchanger)
    }

    pub(in crate::tokens) fn add(&self, exchanger: &Exchanger) {
        let mut all = self.all.lock();
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&exchanger.0));
    }
}

impl Report for Exchanges {
    fn name(&self) -> &'static str {
        "exchanges"
    }

    fn report(&self) -> Value {
        let now = self.clock.now();
        let all = self.all.lock();
        let all = all.iter().filter_map(Weak::upgrade);
        all.map(|one| one.report(now)).collect()
    }
}
