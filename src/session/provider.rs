//! The provider that people sign in with: its metadata, followed by a task, and what we prove ourselves
//! with there. One that is down keeps nobody from starting; the last good metadata stay.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::{Rng, rngs::StdRng};
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use crate::{
    backoff::Backoff,
    clock::{Clock, Deadline},
    config::{Credential, Endpoints, secret::SecretError},
    metrics::Exchanges,
    oauth::{
        ClientError, ClientMaterial, DiscoveryError, HttpClient, ProofError, SignInMetadata, chain,
        discover_sign_in,
    },
};

const EVERY: Duration = Duration::from_secs(3600);
/// Who signs in waits no longer for the first metadata.
const PATIENCE: Duration = Duration::from_secs(10);
/// A client is used again for so long.
const KEPT: Duration = Duration::from_secs(5);
/// Requests in the name of browsers.
const AT_ONCE: usize = 64;

/// Why nobody can sign in at the moment.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    #[error("the metadata of {host} are not known: {why}")]
    Unknown { host: String, why: String },
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error("a file could not be read to its end")]
    Broken,
    #[error("{AT_ONCE} sign-ins wait for the provider already")]
    Busy,
    #[error("the client has nothing to prove itself with")]
    NoProof,
}

/// One provider, as a client of it sees it.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) credential: Arc<Credential>,
    known: watch::Sender<Option<Arc<SignInMetadata>>>,
    last_error: Mutex<Option<Arc<str>>>,
    /// Made a moment ago: one for each sign-in would cost more than the sign-in.
    client: Mutex<Option<(Arc<Client>, Deadline)>>,
    clock: Clock,
    exchanges: Exchanges,
    /// Requests in the name of browsers at once.
    places: Semaphore,
}

/// What requests to it are made with.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) material: ClientMaterial,
    pub(super) http: HttpClient,
}

impl Provider {
    pub(super) fn new(credential: &Arc<Credential>, clock: Clock, exchanges: Exchanges) -> Self {
        Self {
            exchanges,
            credential: Arc::clone(credential),
            known: watch::Sender::new(None),
            last_error: Mutex::default(),
            client: Mutex::default(),
            clock,
            places: Semaphore::new(AT_ONCE),
        }
    }

    /// Fetches the metadata, without end.
    pub(super) async fn follow(self: Arc<Self>, mut rng: StdRng) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        loop {
            let pause = match self.fetch().await {
                Ok(metadata) => {
                    for (endpoint, why) in &metadata.left_out {
                        tracing::warn!(endpoint, %why, "an endpoint of the provider is not used");
                    }
                    self.known.send_replace(Some(Arc::new(metadata)));
                    *self.last_error.lock() = None;
                    backoff.reset();
                    EVERY.mul_f64(rng.random_range(0.9..=1.1))
                }
                Err(error) => {
                    let error = chain(&error);
                    let host = self.host();
                    tracing::warn!(host, error, "the provider's metadata cannot be had");
                    *self.last_error.lock() = Some(error.as_str().into());
                    // who waits for the first answer has it
                    self.known.send_modify(|_| {});
                    backoff.next(&mut rng)
                }
            };
            sleep(pause).await;
        }
    }

    async fn fetch(&self) -> Result<SignInMetadata, ProviderError> {
        let http = self.made().await?.http;
        let provider = &self.credential.provider;
        let also = match &provider.endpoints {
            Endpoints::Discover { also } => also.as_slice(),
            Endpoints::Given { .. } => &[],
        };
        let auth = &self.credential.auth;
        Ok(discover_sign_in(&http, &provider.issuer, also, auth).await?)
    }

    /// What is known of it, after a moment's patience.
    pub(super) async fn metadata(&self) -> Result<Arc<SignInMetadata>, ProviderError> {
        let mut known = self.known.subscribe();
        let tried = |known: &Option<_>| known.is_some() || self.last_error.lock().is_some();
        // whatever came of it: what there is now is the answer
        let _ = timeout(PATIENCE, known.wait_for(tried)).await;
        if let Some(metadata) = self.known() {
            return Ok(metadata);
        }
        let why = self.last_error.lock().clone();
        Err(ProviderError::Unknown {
            host: self.host().to_owned(),
            why: why.map_or_else(
                || "it has not answered yet".to_owned(),
                |why| why.to_string(),
            ),
        })
    }

    /// The same, if it is known already.
    pub(super) fn known(&self) -> Option<Arc<SignInMetadata>> {
        self.known.borrow().clone()
    }

    pub(super) fn last_error(&self) -> Option<Arc<str>> {
        self.last_error.lock().clone()
    }

    /// For one request in the name of a browser: bounded, because anybody can begin a sign-in.
    pub(super) fn place(&self) -> Result<SemaphorePermit<'_>, ProviderError> {
        self.places.try_acquire().map_err(|_| ProviderError::Busy)
    }

    /// The same, for what nobody waits for: many sessions may end at once.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // nobody closes it
        self.places.acquire().await.ok()
    }

    /// Secrets may have been rotated since: it is made anew every few seconds.
    pub(super) async fn client(&self) -> Result<Arc<Client>, ProviderError> {
        let now = self.clock.now();
        let made = self.client.lock().clone();
        if let Some((client, until)) = made
            && !until.passed(now)
        {
            return Ok(client);
        }
        let client = Arc::new(self.made().await?);
        *self.client.lock() = Some((Arc::clone(&client), now.plus(KEPT)));
        Ok(client)
    }

    async fn made(&self) -> Result<Client, ProviderError> {
        let credential = Arc::clone(&self.credential);
        let exchanges = self.exchanges.clone();
        let read = spawn_blocking(move || {
            let (auth, provider) = (&credential.auth, &credential.provider);
            let material = ClientMaterial::read(auth)?;
            let tls = ClientMaterial::tls(auth, &provider.tls);
            let timeouts = provider.timeouts;
            let http = HttpClient::new(&tls, timeouts.connect, timeouts.total)?;
            let http = http.counted(exchanges);
            Ok::<_, ProviderError>(Client { material, http })
        });
        read.await.map_err(|_| ProviderError::Broken)?
    }

    pub(super) fn host(&self) -> &str {
        let issuer = &self.credential.provider.issuer;
        issuer.host_str().unwrap_or_default()
    }
}
