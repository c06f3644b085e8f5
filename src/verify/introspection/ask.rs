//! The task that asks one provider about tokens: on the control plane, for all threads.
//!
//! What the questions have in common (where to ask, the API's own secret) is made ready once and
//! again now and then, between questions, so that a hundred callers cause one look at the metadata.
//! Each question is then a task of its own. A secret that was rotated is found within
//! [`READ_AGAIN`], and at once when the provider refuses the old one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
    time::timeout,
};
use tracing::{error, info, warn};
use url::Url;

use super::{
    Flight,
    answer::{self, Unreadable},
};
use crate::{
    clock::{Clock, Deadline, Moment},
    config::{Introspection, IntrospectionEndpoint, Provider, secret::SecretError},
    metrics::{IntrospectionLabels, Metrics},
    oauth::{
        ClientError, ClientMaterial, DiscoveryError, HttpClient, IntrospectionError,
        IntrospectionRequest, ProofError, SecretInUse, chain, discover_introspection, introspect,
    },
    shutdown::Shutdown,
    trouble::{Failed, Fault},
    verify::Issuer,
};

const TARGET: &str = "itwin_auth_proxy::verify";
/// Questions under way at once: a flood of tokens is the provider's burden only so far, and all
/// callers' turn comes.
const AT_ONCE: usize = 64;
/// How often secrets and certificates are read again while there are questions.
const READ_AGAIN: Duration = Duration::from_secs(10);
/// How often the metadata are fetched again while there are questions.
const FIND_AGAIN: Duration = Duration::from_secs(3600);

/// Asks what is put into the queue.
pub(in crate::verify) struct Asker {
    pub(in crate::verify) issuer: Arc<Issuer>,
    pub(in crate::verify) provider: Arc<Provider>,
    pub(in crate::verify) config: Introspection,
    pub(in crate::verify) clock: Clock,
    pub(in crate::verify) metrics: Arc<Metrics>,
    pub(in crate::verify) shutdown: Shutdown,
}

/// What questions have in common.
struct Ready {
    http: HttpClient,
    material: ClientMaterial,
    endpoint: Url,
    /// When files are read again, and the metadata.
    read_again: Deadline,
    find_again: Deadline,
    secret: Which,
}

/// Whether the previous of two secrets goes first.
#[derive(Debug, Default)]
struct Which(AtomicBool);

/// When what is known is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    WhenDue,
    Now,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(transparent)]
    Introspection(#[from] IntrospectionError),
    #[error("the answer of {host} {what}")]
    Answer { host: String, what: Unreadable },
    #[error("the provider did not answer in {0:?}")]
    Late(Duration),
    #[error("a file could not be read to its end")]
    Broken,
}

impl Asker {
    /// Until nobody can ask any more.
    pub(in crate::verify) async fn run(self, mut queue: mpsc::Receiver<Flight>) {
        let asker = Arc::new(self);
        let stale = Arc::new(AtomicBool::new(false));
        let mut ready: Option<Arc<Ready>> = None;
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        while let Some(flight) = queue.recv().await {
            let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
                return; // it is never closed
            };
            let begun = asker.clock.now();
            // a question that waited here while another found the provider out of reach
            let Some(flight) = flight.unless_held_back(begun) else {
                continue;
            };
            let limit = asker.provider.timeouts.total;
            let again = if stale.swap(false, Ordering::AcqRel) {
                Again::Now
            } else {
                Again::WhenDue
            };
            let made = timeout(limit, asker.ready(ready.clone(), again, begun)).await;
            match made.unwrap_or(Err(AskError::Late(limit))) {
                Ok(made) => {
                    ready = Some(Arc::clone(&made));
                    let (asker, stale) = (Arc::clone(&asker), Arc::clone(&stale));
                    asker.shutdown.clone().spawn(async move {
                        if asker.answer(&made, flight).await == Doubt::Ready {
                            stale.store(true, Ordering::Release);
                        }
                        drop(turn);
                    });
                }
                Err(error) => asker.failed(flight, &error),
            }
        }
    }

    /// What is known already, as far as it is fresh enough; what cannot be had again stays in use.
    async fn ready(
        &self,
        known: Option<Arc<Ready>>,
        again: Again,
        now: Moment,
    ) -> Result<Arc<Ready>, AskError> {
        let due = |then: Deadline| again == Again::Now || then.passed(now);
        if let Some(known) = &known
            && !due(known.read_again)
        {
            return Ok(Arc::clone(known));
        }
        let provider = &self.provider.name;
        let (material, http) = match (self.read().await, &known) {
            (Ok(read), _) => read,
            (Err(error), None) => return Err(error),
            (Err(error), Some(known)) => {
                warn!(target: TARGET, %provider, error = chain(&error), "the introspection client's files are not read again; what they held stays in use");
                (known.material.clone(), known.http.clone())
            }
        };
        let (endpoint, find_again) = match &known {
            Some(known) if !due(known.find_again) => (known.endpoint.clone(), known.find_again),
            _ => match (self.find(&http).await, &known) {
                (Ok(url), _) => (url, now.plus(FIND_AGAIN)),
                (Err(error), None) => return Err(error),
                (Err(error), Some(known)) => {
                    warn!(target: TARGET, %provider, error = chain(&error), "the provider's metadata cannot be fetched again; the last stay in use");
                    (known.endpoint.clone(), now.plus(FIND_AGAIN))
                }
            },
        };
        let secret = known.is_some_and(|known| known.secret.0.load(Ordering::Relaxed));
        Ok(Arc::new(Ready {
            http,
            material,
            endpoint,
            read_again: now.plus(READ_AGAIN),
            find_again,
            secret: Which(AtomicBool::new(secret)),
        }))
    }

    async fn read(&self) -> Result<(ClientMaterial, HttpClient), AskError> {
        let (provider, auth) = (Arc::clone(&self.provider), self.config.auth.clone());
        let exchanges = self.metrics.provider(&provider.name, &self.clock);
        let timeouts = provider.timeouts;
        let read = spawn_blocking(move || {
            let tls = ClientMaterial::tls(&auth, &provider.tls);
            let http = HttpClient::new(&tls, timeouts.connect, timeouts.total)?;
            let http = http.counted(exchanges);
            Ok((ClientMaterial::read(&auth)?, http))
        });
        read.await.map_err(|_| AskError::Broken)?
    }

    async fn find(&self, http: &HttpClient) -> Result<Url, AskError> {
        let issuer = &self.provider.issuer;
        match &self.config.endpoint {
            IntrospectionEndpoint::Given(url) => Ok(url.clone()),
            IntrospectionEndpoint::Discover => {
                let found = discover_introspection(http, issuer, self.provider.also()).await?;
                Ok(found.of(&self.config.auth))
            }
        }
    }

    async fn answer(&self, ready: &Ready, flight: Flight) -> Doubt {
        let asked = self.clock.now();
        let limit = self.provider.timeouts.total;
        let document = timeout(limit, self.ask(ready, &flight, asked)).await;
        let said = document
            .unwrap_or(Err(AskError::Late(limit)))
            .and_then(|document| {
                let cache = self.config.cache;
                answer::read(&document, &self.issuer, asked, cache).map_err(|what| {
                    let host = ready.endpoint.host_str().unwrap_or_default().to_owned();
                    AskError::Answer { host, what }
                })
            });
        match said {
            Ok(said) => {
                self.count(if said.is_ok() { "active" } else { "inactive" });
                flight.answered(said, asked, self.clock.now());
                Doubt::None
            }
            Err(error) => {
                let doubt = match &error {
                    AskError::Introspection(error)
                        if error.is_unauthorized() || error.is_wrong_address() =>
                    {
                        Doubt::Ready
                    }
                    _ => Doubt::None,
                };
                self.failed(flight, &error);
                doubt
            }
        }
    }

    async fn ask(&self, ready: &Ready, flight: &Flight, now: Moment) -> Result<Bytes, AskError> {
        let client_id = &*self.config.client_id;
        let mut proofs = ready.material.proofs(client_id, &ready.endpoint, now)?;
        if ready.secret.0.load(Ordering::Relaxed) {
            proofs.reverse();
        }
        let mut proofs = proofs.into_iter().peekable();
        while let Some((which, proof)) = proofs.next() {
            let request = IntrospectionRequest {
                endpoint: &ready.endpoint,
                client_id,
                proof: &proof,
                token: flight.token(),
            };
            match introspect(&ready.http, &request, now).await {
                Ok(document) => {
                    self.secret_works(&ready.secret, which);
                    return Ok(document);
                }
                Err(error) if error.is_unauthorized() && proofs.peek().is_some() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(AskError::Broken)
    }

    fn secret_works(&self, first: &Which, which: SecretInUse) {
        let previous = which == SecretInUse::Previous;
        if first.0.swap(previous, Ordering::Relaxed) == previous {
            return;
        }
        let provider = &self.provider.name;
        if previous {
            warn!(target: TARGET, %provider, "the provider takes the introspection client's previous secret only");
        } else {
            info!(target: TARGET, %provider, "the provider takes the introspection client's current secret");
        }
    }

    fn failed(&self, flight: Flight, error: &AskError) {
        self.count(error.label());
        let provider = Arc::clone(&self.provider.name);
        let text = chain(error);
        let failed = Failed {
            fault: error.fault(),
            reason: error.reason(self.provider.issuer.host_str()).into(),
            retry_after: error.retry_after(),
        };
        let pause = flight.failed(failed, self.clock.now());
        let pause_s = pause.map(|pause| pause.as_secs_f32());
        match error {
            // nobody's token can be checked until a person has done something
            AskError::Introspection(refused) if refused.is_unauthorized() => error!(
                target: TARGET,
                %provider,
                error = text,
                client_id = self.config.client_id,
                pause_s,
                "the provider refuses the introspection client; set introspection.client_id and its \
                 secret to what the provider knows of this API"
            ),
            _ => warn!(
                target: TARGET,
                %provider,
                error = text,
                pause_s,
                "the provider does not say whether a token is good"
            ),
        }
    }

    fn count(&self, result: &'static str) {
        let provider = self.provider.name.to_string();
        let labels = IntrospectionLabels { provider, result };
        self.metrics.introspections.get_or_create(&labels).inc();
    }
}

/// Whether what was made ready is still right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    None,
    Ready,
}

impl AskError {
    /// A word for the metric.
    fn label(&self) -> &'static str {
        match self {
            Self::Introspection(error) if error.is_unauthorized() => "unauthorized",
            _ => "failed",
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Introspection(error) if error.may_be_the_tokens() => Fault::PerhapsTheToken,
            Self::Answer { .. } => Fault::PerhapsTheToken,
            _ => Fault::Endpoint,
        }
    }

    /// For callers: fixed text, the host, a status.
    fn reason(&self, host: Option<&str>) -> String {
        match self {
            Self::Secret(_) | Self::Proof(_) | Self::Broken => {
                "a file that is needed to ask the provider cannot be used".to_owned()
            }
            Self::Client(error) => error.to_string(),
            Self::Introspection(error) => error.reason(),
            Self::Discovery(_) => {
                let host = host.unwrap_or_default();
                format!("the introspection endpoint of {host} cannot be found")
            }
            Self::Answer { .. } => self.to_string(),
            Self::Late(_) => {
                let host = host.unwrap_or_default();
                format!("the provider {host} did not answer in time")
            }
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Introspection(error) => error.retry_after(),
            _ => None,
        }
    }
}
