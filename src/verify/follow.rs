//! The task that keeps one issuer's keys: one a provider, so that no provider's trouble is
//! another's.
//!
//! Keys are fetched ahead of need. A fetch that fails, and a document without a usable key, change
//! nothing: the last good set serves until it is too old to be believed, and is then taken away,
//! with everything that was remembered by its word. A request only ever waits for a fetch; one that
//! goes away cancels none.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use rand::{Rng, rngs::StdRng};
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tracing::{info, warn};
use url::Url;

use super::{
    issuer::{ASK_AGAIN, Fetch, Issuer},
    kept::Place,
    keys::{KeySet, KeySetError},
};
use crate::{
    backoff::Backoff,
    clock::{Clock, Deadline, Moment},
    config::{Algorithm, KeysLocation, Provider},
    health::Waiting,
    metrics::{Exchanges, KeyFetchLabels, Metrics, ProviderLabels},
    oauth::{ClientError, DiscoveryError, HttpClient, JwksError, chain, discover_keys, fetch_jwks},
    trace::{Background, Tracer},
};

const TARGET: &str = "itwin_auth_proxy::verify";
/// A key that the provider withdrew is believed for so long at most.
const EVERY: Duration = Duration::from_secs(600);
/// Timers stand still while the machine sleeps.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Where key sets come from.
pub(super) trait Source: Send + 'static {
    fn fetch(&mut self) -> BoxFuture<'_, Result<Bytes, KeysError>>;
}

/// Keys that could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeysError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Jwks(#[from] JwksError),
    #[error(transparent)]
    Set(#[from] KeySetError),
    #[error("the provider did not answer in {0:?}")]
    Late(Duration),
    #[error("a file could not be read to its end")]
    Broken,
}

impl KeysError {
    /// A word for traces.
    fn class(&self) -> &'static str {
        match self {
            Self::Client(error) => error.class(),
            Self::Discovery(_) => "discovery",
            Self::Jwks(_) => "jwks",
            Self::Set(_) => "key_set",
            Self::Late(_) => "timeout",
            Self::Broken => "internal",
        }
    }
}

/// Follows one issuer's keys.
pub(super) struct Follower<S> {
    pub(super) issuer: Arc<Issuer>,
    pub(super) source: S,
    pub(super) clock: Clock,
    pub(super) rng: StdRng,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) max_stale: Duration,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tracer: Tracer,
    /// Where they survive a restart.
    pub(super) kept: Option<Place>,
    /// Until the first keys are there.
    pub(super) waiting: Option<Waiting>,
}

impl<S: Source> Follower<S> {
    /// Without end.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        // when the keys are too old; there are none yet
        let mut stale: Option<Deadline> = self.remember();
        loop {
            let begun = self.clock.now();
            let mut span = self.span();
            let fetched = self.fetch(&mut span).await;
            if let Err(error) = &fetched {
                span.fails(error.class(), chain(error));
            }
            drop(span);
            let now = self.clock.now();
            let pause = match &fetched {
                Ok(()) => {
                    backoff.reset();
                    stale = Some(now.plus(self.max_stale));
                    self.waiting = None;
                    // keys must not be given up before they were asked for again
                    let every = EVERY.min(self.max_stale / 2);
                    every.mul_f64(self.rng.random_range(0.9..=1.1))
                }
                Err(error) => {
                    let pause = backoff.next(&mut self.rng);
                    self.failed(error, pause);
                    pause
                }
            };
            self.ended(begun, now, fetched.err());
            self.pause(now.plus(pause), &mut stale).await;
            self.issuer
                .progress
                .send_modify(|progress| progress.fetch = Fetch::UnderWay);
        }
    }

    /// Takes the keys of before a restart, while they may still be believed; until when that is.
    fn remember(&mut self) -> Option<Deadline> {
        let now = self.clock.now();
        let (document, age) = self.kept.as_ref()?.last(now)?;
        let left = self
            .max_stale
            .checked_sub(age)
            .filter(|left| !left.is_zero())?;
        let (keys, _) = KeySet::read(&document, &self.algorithms).ok()?;
        info!(
            target: TARGET,
            provider = %self.issuer.name,
            keys = keys.ids().collect::<Vec<_>>().join(" "),
            age_s = age.as_secs(),
            "keys of before the restart"
        );
        self.issuer.replace(keys);
        self.issuer.keys().came(now.wall.saturating_sub(age));
        self.waiting = None;
        Some(now.plus(left))
    }

    async fn fetch(&mut self, span: &mut Background) -> Result<(), KeysError> {
        let document = self.source.fetch().await?;
        let (keys, unusable) = KeySet::read(&document, &self.algorithms)?;
        if let Some(kept) = &self.kept {
            kept.keep(&document, self.clock.now());
        }
        let known = self.issuer.keys();
        let same = keys.same(&known);
        // the first ones are no change
        let changed = !same && !known.is_empty();
        drop(known);
        span.attribute("itwin_auth_proxy.keys.changed", changed);
        if same {
            return Ok(());
        }
        let ids: Vec<&str> = keys.ids().collect();
        info!(target: TARGET, provider = %self.issuer.name, keys = ids.join(" "), "keys fetched");
        for key in unusable {
            let (provider, why) = (&self.issuer.name, key.why);
            warn!(target: TARGET, %provider, key = key.id, why, "a key is left out");
        }
        self.issuer.replace(keys);
        let now = self.clock.now();
        self.issuer.keys().came(now.wall);
        if changed {
            let progress = &self.issuer.progress;
            progress.send_modify(|progress| progress.keys_changed = Some(now));
        }
        Ok(())
    }

    fn span(&self) -> Background {
        let provider = self.issuer.name.to_string();
        let attributes = [("itwin_auth_proxy.provider", provider.into())];
        self.tracer.background("key fetch", attributes)
    }

    fn failed(&self, error: &KeysError, pause: Duration) {
        let last = if self.issuer.keys().is_empty() {
            "there are none yet"
        } else {
            "the last good ones stay in use"
        };
        warn!(
            target: TARGET,
            provider = %self.issuer.name,
            error = chain(error),
            again_in_s = pause.as_secs_f32(),
            "no keys could be fetched; {last}"
        );
    }

    fn ended(&self, begun: Moment, now: Moment, error: Option<KeysError>) {
        let labels = KeyFetchLabels {
            provider: self.issuer.name.to_string(),
            result: if error.is_none() { "ok" } else { "failed" },
        };
        self.metrics.key_fetches.get_or_create(&labels).inc();
        if error.is_none() {
            let provider = self.issuer.name.to_string();
            let fetched = self
                .metrics
                .keys_last_success
                .get_or_create(&ProviderLabels { provider });
            fetched.set(now.wall.as_secs_f64());
        }
        self.show_keys();
        self.issuer.progress.send_modify(|progress| {
            progress.rounds += 1;
            progress.fetch = Fetch::NotBefore(begun.plus(ASK_AGAIN));
            match error {
                None => {
                    progress.last_success = Some(now);
                    progress.last_error = None;
                }
                Some(error) => progress.last_error = Some(chain(&error).into()),
            }
        });
    }

    fn show_keys(&self) {
        let provider = self.issuer.name.to_string();
        let keys = self.issuer.keys().ids().count();
        let shown = self
            .metrics
            .keys
            .get_or_create(&ProviderLabels { provider });
        shown.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    /// Until `next`, or until somebody asks who may.
    async fn pause(&self, next: Deadline, stale: &mut Option<Deadline>) {
        loop {
            let now = self.clock.now();
            if stale.is_some_and(|stale| stale.passed(now)) {
                *stale = None;
                warn!(
                    target: TARGET,
                    provider = %self.issuer.name,
                    max_stale_s = self.max_stale.as_secs(),
                    "the keys are too old to be believed; no token is taken any more"
                );
                self.issuer.replace(KeySet::none());
                self.show_keys();
            }
            if next.passed(now) {
                return;
            }
            let left = stale.map_or(LOOK_AGAIN, |stale| stale.remaining(now));
            let left = left.min(next.remaining(now)).min(LOOK_AGAIN);
            tokio::select! {
                () = sleep(left) => {}
                () = self.issuer.asked.notified() => {
                    let now = self.clock.now();
                    match self.issuer.progress.borrow().fetch {
                        Fetch::NotBefore(then) if !then.passed(now) => {}
                        _ => return,
                    }
                }
            }
        }
    }
}

/// A provider, asked over the network.
pub(super) struct Remote {
    provider: Arc<Provider>,
    exchanges: Exchanges,
    /// Where the keys were last, should the metadata be out of reach.
    known: Option<Url>,
}

impl Remote {
    pub(super) fn new(provider: Arc<Provider>, exchanges: Exchanges) -> Self {
        Self {
            provider,
            exchanges,
            known: None,
        }
    }

    async fn ask(&mut self) -> Result<Bytes, KeysError> {
        let exchanges = self.exchanges.clone();
        let provider = Arc::clone(&self.provider);
        let timeouts = provider.timeouts;
        let (connect, total) = (timeouts.connect, timeouts.total);
        // it reads files
        let http = spawn_blocking(move || HttpClient::new(&provider.tls, connect, total));
        let http = http.await.map_err(|_| KeysError::Broken)??;
        let http = http.counted(exchanges);
        let url = match &self.provider.keys.location {
            KeysLocation::Given(url) => url.clone(),
            KeysLocation::Discover => {
                let issuer = &self.provider.issuer;
                let found = discover_keys(&http, issuer, self.provider.also()).await;
                match (found, self.known.clone()) {
                    (Ok(url), _) => url,
                    // a provider whose metadata cannot be had may still serve its keys
                    (Err(error), Some(url)) if is_no_word(&error) => url,
                    (Err(error), _) => return Err(error.into()),
                }
            }
        };
        let document = fetch_jwks(&http, &url).await?;
        self.known = Some(url);
        Ok(document)
    }
}

/// Whether the provider said nothing of where its keys are, rather than something else than before.
fn is_no_word(error: &DiscoveryError) -> bool {
    matches!(
        error,
        DiscoveryError::Client(_)
            | DiscoveryError::Status { .. }
            | DiscoveryError::Unreadable { .. }
    )
}

impl Source for Remote {
    fn fetch(&mut self) -> BoxFuture<'_, Result<Bytes, KeysError>> {
        let limit = self.provider.timeouts.total;
        async move {
            let asked = timeout(limit, self.ask()).await;
            asked.unwrap_or(Err(KeysError::Late(limit)))
        }
        .boxed()
    }
}
