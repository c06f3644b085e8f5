//! One configuration, as it is served: everything that is made from it and replaced with it.
//!
//! What is dear stays in both: tokens and keys belong to services that outlive a generation, people stay
//! signed in, sockets keep their queues. A generation that cannot be made leaves nothing behind.

use std::sync::Arc;

use rand::{SeedableRng, rngs::StdRng};

use super::{
    Seams, StartError, data,
    sockets::{Grounds, Kept, Listening, Sockets},
};
use crate::{
    clock::Moment,
    config::Config,
    health::Readiness,
    metrics::Metrics,
    net::inherited::Inherited,
    proxy::{Plan, Signer, admit::Key},
    session::{Sessions, Stands},
    tokens::TokenService,
    verify::{KeyService, Proofs},
};

/// What readers of the control plane see.
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) applied: Moment,
    pub(super) config: Arc<Config>,
    pub(super) plan: Arc<Plan>,
    pub(super) keys: KeyService,
    pub(super) sessions: Sessions,
    pub(super) signer: Option<Arc<Signer>>,
    pub(super) proofs: Arc<Proofs>,
    pub(super) listeners: Arc<[Listening]>,
}

/// What generations stand on.
#[derive(Clone)]
pub(super) struct Standing {
    pub(super) seams: Seams,
    pub(super) tokens: TokenService,
    pub(super) workers: usize,
}

impl Standing {
    fn stands<'a>(&'a self, keys: &'a KeyService) -> Stands<'a> {
        Stands {
            clock: &self.seams.clock,
            metrics: &self.seams.metrics,
            audit: &self.seams.audit,
            shutdown: &self.seams.shutdown,
            tokens: &self.tokens,
            keys,
        }
    }

    fn plan(
        &self,
        config: &Config,
        sockets: &Sockets,
        keys: &KeyService,
        sessions: &Sessions,
        signer: Option<&Arc<Signer>>,
        before: Option<&Plan>,
    ) -> Result<Arc<Plan>, StartError> {
        let metrics = &self.seams.metrics;
        let numbers = sockets.numbers();
        let mut plan = Plan::new(
            config,
            &numbers,
            &self.tokens,
            keys,
            sessions,
            metrics,
            signer,
        )?;
        (plan.ours, plan.closed) = sockets.ours();
        if let Some(before) = before {
            for (number, by) in sockets.finishing() {
                plan.finishes(before, number, by);
            }
        }
        Ok(Arc::new(plan))
    }

    /// The first, which readiness waits for.
    pub(super) fn first(
        &self,
        config: Arc<Config>,
        sockets: &Sockets,
        readiness: &Readiness,
        rng: &mut StdRng,
    ) -> Result<Generation, StartError> {
        let Seams {
            clock,
            metrics,
            tracer,
            shutdown,
            ..
        } = &self.seams;
        let keys = KeyService::start(&config, clock, metrics, tracer, shutdown, readiness, rng);
        let signer = config.signing.as_ref().map(Signer::new).transpose()?;
        let signer = signer.map(Arc::new);
        let sessions = Sessions::start(&config, &self.stands(&keys), rng)?;
        let plan = self.plan(&config, sockets, &keys, &sessions, signer.as_ref(), None)?;
        self.tokens.first_tokens(readiness, plan.tokens());
        let longest = data::longest_proofs(&config);
        Ok(Generation {
            number: 1,
            applied: clock.now(),
            plan,
            keys,
            sessions,
            signer,
            proofs: data::proofs(longest, clock, metrics),
            listeners: sockets.described(),
            config,
        })
    }

    /// The one after `before`, and its sockets.
    ///
    /// # Errors
    /// When something that it needs cannot be had. All is as it was then.
    pub(super) fn next(
        &self,
        before: &Generation,
        sockets: &Sockets,
        config: Config,
    ) -> Result<(Generation, Sockets), StartError> {
        let Seams {
            clock,
            metrics,
            tracer,
            shutdown,
            ..
        } = &self.seams;
        let mut rng: StdRng = super::control::rng();
        let kept = if before.config.limits == config.limits {
            Kept::AsTheyAre
        } else {
            Kept::SocketsAlone
        };
        let grounds = Grounds {
            clock,
            metrics,
            workers: self.workers,
            shutdown,
        };
        let sockets = sockets.changed(&config, kept, &grounds, &mut Inherited::default())?;
        let signer = match (&config.signing, &before.signer) {
            (wanted, known) if *wanted == before.config.signing => known.clone(),
            (None, _) => None,
            (Some(wanted), _) => Some(Arc::new(Signer::new(wanted)?)),
        };
        let keys = before.keys.changed(
            &config,
            metrics,
            tracer,
            shutdown,
            &mut StdRng::from_rng(&mut rng),
        );
        let stands = self.stands(&keys);
        let sessions = before.sessions.changed(&config, &stands, &mut rng)?;
        let (signing, then) = (signer.as_ref(), Some(&*before.plan));
        let plan = self.plan(&config, &sockets, &keys, &sessions, signing, then)?;
        let longest = data::longest_proofs(&config);
        let proofs = if longest > data::longest_proofs(&before.config) {
            data::proofs(longest, clock, metrics)
        } else {
            Arc::clone(&before.proofs)
        };
        let generation = Generation {
            number: before.number + 1,
            applied: clock.now(),
            config: Arc::new(config),
            plan,
            keys,
            sessions,
            signer,
            proofs,
            listeners: sockets.described(),
        };
        Ok((generation, sockets))
    }
}

impl Generation {
    /// It is the one that runs.
    pub(super) fn count(&self, metrics: &Metrics) {
        let metrics = &metrics.configuration;
        metrics.generation.set(self.number.cast_signed());
        metrics
            .applied
            .set(self.applied.unix_seconds().cast_signed());
    }

    /// Shared keys that stand in files.
    pub(super) fn shared_keys(&self) -> Vec<Arc<Key>> {
        self.plan.keys()
    }
}
