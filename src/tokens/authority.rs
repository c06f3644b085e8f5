//! The authorization server that we stand in for, as it was read last: its metadata and its keys,
//! and the requests that are passed on to it.
//!
//! One task fetches both, ahead of need and with backoff; the last good ones stay whatever happens
//! then. Readers wait for the first attempt, and for newer keys, for a moment only. What is passed
//! on goes to endpoints of the provider alone, without anything of ours: no secret, no certificate.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{Request, Response, header};
use parking_lot::Mutex;
use rand::{Rng, rngs::StdRng};
use serde_json::{Map, Value, json};
use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};
use url::Url;

use crate::{
    backoff::Backoff,
    clock::{Clock, Moment},
    config::{ClientTls, Endpoints, KeysLocation, Provider},
    health::Report,
    metrics::{Cache, Exchanges, Metrics, SharedCache},
    oauth::{
        ClientError, DiscoveryError, HttpClient, JwksError, WholeMetadata, chain, discover_all,
        fetch_jwks,
    },
};

const TARGET: &str = "itwin_auth_proxy::tokens";
const EVERY: Duration = Duration::from_secs(600);
/// Keys that are older are fetched anew for who asks.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// Clients give up after ten seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A provider that we stand in for. Clones share.
#[derive(Debug, Clone)]
pub struct Authority(Arc<Shared>);

/// An endpoint of the provider that requests are passed on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Token,
    Introspection,
}

/// A request that got no answer from the provider.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error("the provider's metadata name no such endpoint")]
    NoEndpoint,
    #[error("the connection to the provider is not prepared yet")]
    NotPrepared,
    #[error(transparent)]
    Client(#[from] ClientError),
}

#[derive(Debug)]
struct Shared {
    provider: Arc<Provider>,
    clock: Clock,
    exchanges: Exchanges,
    counts: SharedCache,
    metadata: ArcSwapOption<WholeMetadata>,
    keys: ArcSwapOption<Keys>,
    http: ArcSwapOption<HttpClient>,
    asked: Arc<Notify>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug)]
struct Keys {
    text: Bytes,
    since: Moment,
}

/// How far the task has come.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// Attempts that have ended.
    rounds: u64,
    state: State,
    last_success: Option<Moment>,
    last_error: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Fetching,
    Fine,
    Failing,
}

/// What a round is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Everything,
    Keys,
}

#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Jwks(#[from] JwksError),
    #[error("the keys of {0} are no key set")]
    NoKeySet(String),
    #[error("a file could not be read to its end")]
    Broken,
}

impl Authority {
    pub(super) fn new(provider: &Arc<Provider>, clock: Clock, metrics: &Metrics) -> Self {
        let counts = metrics.shared_cache(Cache::AuthorityDocuments);
        let this = Self(Arc::new(Shared {
            exchanges: metrics.provider(&provider.name, &clock),
            counts: counts.clone(),
            provider: Arc::clone(provider),
            clock,
            metadata: ArcSwapOption::empty(),
            keys: ArcSwapOption::empty(),
            http: ArcSwapOption::empty(),
            asked: Arc::default(),
            progress: watch::channel(Progress::default()).0,
        }));
        counts.held_by(&this.0, |shared| {
            let (metadata, keys) = (shared.metadata.load(), shared.keys.load());
            u64::from(metadata.is_some()) + u64::from(keys.is_some())
        });
        this
    }

    /// Fetches, as long as there is one who may ask.
    pub(super) fn follow(&self, rng: StdRng) -> impl Future<Output = ()> + Send + 'static {
        Self::following(Arc::downgrade(&self.0), Arc::clone(&self.0.asked), rng)
    }

    async fn following(one: Weak<Shared>, asked: Arc<Notify>, mut rng: StdRng) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut round = Round::Everything;
        loop {
            let Some(this) = one.upgrade() else {
                return;
            };
            let ended = this.round(round).await;
            let pause = match &ended {
                Ok(()) => {
                    backoff.reset();
                    EVERY.mul_f64(rng.random_range(0.9..=1.1))
                }
                Err(_) => backoff.next(&mut rng),
            };
            this.ended(ended, pause);
            drop(this);
            round = tokio::select! {
                () = sleep(pause) => Round::Everything,
                () = asked.notified() => Round::Keys,
            };
            let fetching = |progress: &mut Progress| progress.state = State::Fetching;
            if let Some(this) = one.upgrade() {
                this.progress.send_modify(fetching);
            }
        }
    }

    pub fn issuer(&self) -> &Url {
        &self.0.provider.issuer
    }

    /// The metadata as they were read last, if they have been. Never waits.
    pub fn known(&self) -> Option<Arc<WholeMetadata>> {
        self.0.metadata.load_full()
    }

    /// The same, waiting a moment for the first attempt to read them.
    pub async fn metadata(&self) -> Option<Arc<WholeMetadata>> {
        let mut progress = self.0.progress.subscribe();
        let first = progress.wait_for(|progress| progress.rounds > 0);
        // whatever comes of it: what there is now is the answer
        let _ = timeout(LONGEST_WAIT, first).await;
        self.known()
    }

    /// The key set, newer than ten seconds if the provider answers in a moment, else the last one.
    pub async fn keys(&self) -> Option<Bytes> {
        let shared = &self.0;
        let now = shared.clock.now();
        let current = |keys: &Arc<Keys>| !keys.since.plus(ASK_AGAIN).passed(now);
        let kept = shared.keys.load_full().filter(current);
        shared.counts.looked(&kept);
        if let Some(keys) = kept {
            return Some(keys.text.clone());
        }
        let mut progress = shared.progress.subscribe();
        let Progress { rounds, state, .. } = *progress.borrow();
        if state == State::Fine {
            shared.asked.notify_one();
        }
        if state != State::Failing {
            let newer = progress.wait_for(|progress| progress.rounds > rounds);
            let _ = timeout(LONGEST_WAIT, newer).await;
        }
        let keys = shared.keys.load_full()?;
        Some(keys.text.clone())
    }

    /// Where the provider has this endpoint: by its metadata or the configuration, and where neither
    /// says, as `IdentityServer` has it.
    pub fn place(&self, endpoint: Endpoint) -> Option<Url> {
        let provider = &self.0.provider;
        if let (Endpoint::Token, Endpoints::Given { token }) = (endpoint, &provider.endpoints) {
            return Some(token.clone());
        }
        let path = match endpoint {
            Endpoint::Token => "/connect/token",
            Endpoint::Introspection => "/connect/introspect",
        };
        match self.known() {
            Some(metadata) => match endpoint {
                Endpoint::Token => metadata.token.clone(),
                Endpoint::Introspection => metadata.introspection.clone(),
            },
            None => Some(below(&provider.issuer, path)),
        }
    }

    /// Sends the request, as it is but for its address, to an endpoint of the provider.
    ///
    /// # Errors
    /// When there is no such endpoint, or no complete answer in time.
    pub async fn pass(
        &self,
        endpoint: Endpoint,
        mut request: Request<Bytes>,
    ) -> Result<Response<Bytes>, PassError> {
        // its place may be another than the usual one
        self.metadata().await;
        let mut url = self.place(endpoint).ok_or(PassError::NoEndpoint)?;
        if let Some(query) = request.uri().query() {
            url.set_query(Some(query));
        }
        let http = self.0.http.load_full().ok_or(PassError::NotPrepared)?;
        *request.uri_mut() = url.as_str().parse().map_err(|_| PassError::NoEndpoint)?;
        request.headers_mut().remove(header::HOST);
        Ok(http.send(request).await?)
    }
}

/// A path behind the issuer's.
pub(super) fn below(issuer: &Url, path: &str) -> Url {
    let mut url = issuer.clone();
    url.set_path(&format!("{}{path}", issuer.path().trim_end_matches('/')));
    url
}

impl Shared {
    async fn round(&self, round: Round) -> Result<(), RoundError> {
        let provider = Arc::clone(&self.provider);
        let read = spawn_blocking(move || client(&provider));
        let http = read.await.map_err(|_| RoundError::Broken)??;
        let http = Arc::new(http.counted(self.exchanges.clone()));
        self.http.store(Some(Arc::clone(&http)));
        if round == Round::Everything || self.metadata.load().is_none() {
            let provider = &self.provider;
            let metadata = discover_all(&http, &provider.issuer, provider.also()).await?;
            self.metadata.store(Some(Arc::new(metadata)));
        }
        let metadata = self.metadata.load_full();
        let place = match &self.provider.keys.location {
            KeysLocation::Given(url) => Some(url.clone()),
            KeysLocation::Discover => metadata.and_then(|metadata| metadata.keys.clone()),
        };
        if let Some(url) = place {
            let text = fetch_jwks(&http, &url).await?;
            let set: Option<Map<String, Value>> = serde_json::from_slice(&text).ok();
            if set.is_none_or(|set| !set.contains_key("keys")) {
                let host = url.host_str().unwrap_or_default().to_owned();
                return Err(RoundError::NoKeySet(host));
            }
            let since = self.clock.now();
            self.keys.store(Some(Arc::new(Keys { text, since })));
        }
        Ok(())
    }

    fn ended(&self, ended: Result<(), RoundError>, pause: Duration) {
        let failing = self.progress.borrow().last_error.is_some();
        let provider = &self.provider.name;
        match &ended {
            Ok(()) if failing => {
                info!(target: TARGET, %provider, "the provider that is stood in for answers again");
            }
            Ok(()) => {}
            Err(error) if failing => {
                debug!(target: TARGET, %provider, error = chain(error), "still not fetched");
            }
            Err(error) => warn!(
                target: TARGET, %provider, error = chain(error), retry_in = ?pause,
                "the metadata or keys of the provider that is stood in for cannot be fetched; \
                 the last good ones stay in use"
            ),
        }
        self.progress.send_modify(|progress| {
            progress.rounds += 1;
            match ended {
                Ok(()) => {
                    progress.state = State::Fine;
                    progress.last_success = Some(self.clock.now());
                    progress.last_error = None;
                }
                Err(error) => {
                    progress.state = State::Failing;
                    progress.last_error = Some(error.to_string().into());
                }
            }
        });
    }
}

/// Without our certificate: what is passed on is the caller's.
fn client(provider: &Provider) -> Result<HttpClient, ClientError> {
    let tls = ClientTls {
        identity: None,
        ..provider.tls.clone()
    };
    let timeouts = provider.timeouts;
    HttpClient::new(&tls, timeouts.connect, timeouts.total)
}

/// All of them, for the status page. Clones share.
#[derive(Debug, Clone, Default)]
pub struct Authorities(Arc<Mutex<Vec<Weak<Shared>>>>);

impl Authorities {
    /// The one of this provider, as it is configured now.
    pub(super) fn known(&self, provider: &Provider) -> Option<Authority> {
        let all = self.0.lock();
        let mut all = all.iter().filter_map(Weak::upgrade);
        all.find(|one| *one.provider == *provider).map(Authority)
    }

    pub(super) fn add(&self, authority: &Authority) {
        let mut all = self.0.lock();
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&authority.0));
    }
}

impl Report for Authorities {
    fn name(&self) -> &'static str {
        "authorities"
    }

    fn report(&self) -> Value {
        let all = self.0.lock();
        let describe = |shared: Arc<Shared>| {
            let progress = shared.progress.borrow().clone();
            let now = shared.clock.now();
            let ago = |then: Moment| now.wall.saturating_sub(then.wall).as_secs();
            let keys = shared.keys.load_full();
            json!({
                "provider": shared.provider.issuer.as_str(),
                "metadata": if shared.metadata.load().is_some() { "the provider's" } else { "ours, until the provider answers" },
                "keys_seconds_ago": keys.map(|keys| ago(keys.since)),
                "last_success_seconds_ago": progress.last_success.map(ago),
                "last_error": progress.last_error.as_deref(),
            })
        };
        all.iter().filter_map(Weak::upgrade).map(describe).collect()
    }
}
