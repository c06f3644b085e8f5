//! The webhook's certificate where nobody else makes one: kept in a Secret that replicas share, its
//! authority told to the API server by the `caBundle` of the webhook's configuration.
//!
//! Who finds none, or one that has a third of its life left, makes a new one; of several who do, the
//! Secret's version decides, and the others take what won. A new certificate is served only some time
//! after its authority stands in `caBundle` beside the old one, which stays there until it has ended:
//! so no API server meets a certificate that it does not trust, whichever replica it asks. While the
//! API cannot be reached, the old certificate is served on. What a Secret holds is of use only if an
//! API server that trusts its authorities accepts it; an authority that has not ended leaves `caBundle`
//! by nobody's doing but an operator's.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use parking_lot::Mutex;
use rand::Rng;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::kube::{Api, ApiError};
use crate::{
    backoff::Backoff,
    clock::{Clock, Moment},
    config::injector::Managed,
    health::Waiting,
    http::client::chain,
    metrics::InjectorMetrics,
    secret::Secret,
    tls::{
        TlsError,
        issued::{self, Issued},
    },
};

/// Long enough that an injector that is away over holidays finds a good one, short enough that
/// rotation is no rare event.
pub const LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// What is left of it when it is replaced.
const RENEWED: Duration = Duration::from_secs(30 * 24 * 3600);
/// Between two looks at Secret and configuration.
pub const EVERY: Duration = Duration::from_secs(60);
/// API servers watch the configuration: they know at once, as a rule.
const LEARNT: Duration = Duration::from_secs(1);
/// After this time even one that was cut off for a while knows.
const SETTLED: Duration = Duration::from_secs(30);

/// More than this only somebody makes who empties the Secret again and again.
const MOST_AUTHORITIES: usize = 16;

/// Why the certificate could not be kept current.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("no certificate can be made")]
    Make(#[from] TlsError),
    #[error("the MutatingWebhookConfiguration {0} does not exist")]
    NoWebhook(String),
    #[error(
        "the Secret {0} is gone, and the injector may not make it: apply the chart (or its manifest) again, which makes it empty"
    )]
    NoSecret(String, #[source] ApiError),
    #[error("the certificate that was just made cannot be used")]
    Unusable,
}

/// Keeps the certificate of one webhook.
pub struct Keeper {
    pub api: Api,
    pub names: Managed,
    pub clock: Clock,
    pub metrics: InjectorMetrics,
    /// Of the certificate that is served, which the Secret may have lost.
    pub serving: Mutex<Option<String>>,
}

/// What the Secret holds.
#[derive(Debug, Clone)]
struct Kept {
    issued: Issued,
    /// All that are to be trusted, the newest first; PEM.
    authorities: Vec<String>,
    config: Arc<ServerConfig>,
    ends: Duration,
    told: Told,
}

/// When API servers were told of its authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Before,
    Now,
}

impl Keeper {
    /// The names by which the API server calls a Service.
    fn hosts(&self) -> Vec<String> {
        let Managed {
            service, namespace, ..
        } = &self.names;
        vec![
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
            format!("{service}.{namespace}"),
        ]
    }

    /// What is served until the first certificate is there: nobody trusts it, and `/ready` says so.
    ///
    /// # Errors
    /// When no certificate can be made at all.
    pub fn provisional(&self) -> Result<Arc<ServerConfig>, KeepError> {
        let issued = Issued::new(&self.hosts(), self.clock.now(), LIFETIME)?;
        issued.server_config().ok_or(KeepError::Unusable)
    }

    /// Keeps `served` current, without end; `waiting` is let go when API servers can trust it.
    pub async fn keep(
        self,
        served: watch::Sender<Arc<ServerConfig>>,
        waiting: Waiting,
        mut rng: impl Rng + Send,
    ) {
        let mut waiting = Some(waiting);
        let mut serving: Option<String> = None;
        let mut backoff = Backoff::new(Duration::from_secs(1), EVERY);
        loop {
            let wait = match self.round().await {
                Ok(kept) => {
                    if serving.as_ref() != Some(&kept.issued.certificate) {
                        // the first is served at once: nobody trusts what is there until then
                        if serving.is_some() {
                            tokio::time::sleep(SETTLED).await;
                        }
                        self.metrics.certificate_expiry.set(kept.ends.as_secs_f64());
                        let until =
                            humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + kept.ends);
                        tracing::info!(%until, "the webhook's certificate is served");
                        *self.serving.lock() = Some(kept.issued.authority);
                        serving = Some(kept.issued.certificate);
                        served.send_replace(kept.config);
                    }
                    if waiting.is_some() && kept.told == Told::Now {
                        tokio::time::sleep(LEARNT).await;
                    }
                    waiting = None;
                    backoff.reset();
                    EVERY
                }
                // who was first is seen by reading again
                Err(KeepError::Api(ApiError::Conflict { what })) => {
                    tracing::debug!(what, "somebody else was first");
                    backoff.next(&mut rng).min(Duration::from_secs(2))
                }
                Err(error) => {
                    self.metrics.certificate_failures.inc();
                    let error = chain(&error);
                    let stays = waiting.is_none();
                    tracing::error!(error, stays, "the webhook's certificate is not current");
                    backoff.next(&mut rng)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Looks at Secret and configuration, and changes what is to be changed.
    async fn round(&self) -> Result<Kept, KeepError> {
        let now = self.clock.now();
        let path = self.secret();
        let secret = self.api.get(&path).await?;
        let kept = secret.as_ref().and_then(|secret| self.read(secret, now));
        let kept = match kept {
            Some(kept) if kept.ends > now.wall.saturating_add(RENEWED) => kept,
            old => self.renew(secret, old, now).await?,
        };
        let told = self.tell(&kept, now).await?;
        Ok(Kept { told, ..kept })
    }

    fn secret(&self) -> String {
        let Managed {
            secret, namespace, ..
        } = &self.names;
        format!("/api/v1/namespaces/{namespace}/secrets/{secret}")
    }

    /// What a Secret holds, if it is of use.
    fn read(&self, secret: &Value, now: Moment) -> Option<Kept> {
        let text = |key: &str| {
            let coded = secret["data"][key].as_str()?;
            String::from_utf8(STANDARD.decode(coded).ok()?).ok()
        };
        let authorities = pems(&text("ca.crt")?, now);
        let issued = Issued {
            certificate: text("tls.crt")?,
            key: Secret::new(text("tls.key")?),
            authority: authorities.first()?.clone(),
        };
        Some(Kept {
            ends: issued::end(&issued.certificate).filter(|end| *end > now.wall)?,
            config: issued
                .server_config()
                .filter(|_| issued.is_accepted(&self.hosts(), &authorities, now))?,
            authorities,
            issued,
            told: Told::Before,
        })
    }

    /// Makes a new one, and writes it into the version of the Secret that was read.
    async fn renew(
        &self,
        secret: Option<Value>,
        old: Option<Kept>,
        now: Moment,
    ) -> Result<Kept, KeepError> {
        let issued = Issued::new(&self.hosts(), now, LIFETIME)?;
        let mut authorities = vec![issued.authority.clone()];
        authorities.extend(old.into_iter().flat_map(|old| old.authorities));
        let data = json!({
            "tls.crt": STANDARD.encode(&issued.certificate),
            "tls.key": STANDARD.encode(issued.key.expose()),
            "ca.crt": STANDARD.encode(authorities.concat()),
        });
        if let Some(mut object) = secret {
            // what else is in there is somebody else's
            for (key, value) in data.as_object().into_iter().flatten() {
                object["data"][key] = value.clone();
            }
            self.api.replace(&self.secret(), &object).await?;
        } else {
            let object = json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": { "name": self.names.secret, "namespace": self.names.namespace },
                "type": "Opaque",
                "data": data,
            });
            let list = format!("/api/v1/namespaces/{}/secrets", self.names.namespace);
            let made = self.api.create(&list, &object).await;
            made.map_err(|error| match error {
                ApiError::Refused { status, .. } if status == StatusCode::FORBIDDEN => {
                    KeepError::NoSecret(self.names.secret.clone(), error)
                }
                other => other.into(),
            })?;
        }
        tracing::info!(
            secret = self.names.secret,
            "a certificate for the webhook was made"
        );
        Ok(Kept {
            ends: issued::end(&issued.certificate).ok_or(KeepError::Unusable)?,
            config: issued.server_config().ok_or(KeepError::Unusable)?,
            authorities,
            issued,
            told: Told::Before,
        })
    }

    /// Tells the API server which authorities to trust.
    async fn tell(&self, kept: &Kept, now: Moment) -> Result<Told, KeepError> {
        let path = format!(
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{}",
            self.names.webhook
        );
        let missing = || KeepError::NoWebhook(self.names.webhook.clone());
        let object = self.api.get(&path).await?.ok_or_else(missing)?;
        let webhooks = object["webhooks"].as_array();
        let mut operations: Vec<Value> = webhooks
            .into_iter()
            .flatten()
            .enumerate()
            .filter_map(|(at, webhook)| {
                let there = &webhook["clientConfig"]["caBundle"];
                let bundle = self.bundle(kept, there.as_str().unwrap_or_default(), now);
                let path = format!("/webhooks/{at}/clientConfig/caBundle");
                let change = json!({ "op": "add", "path": path, "value": bundle });
                (*there != bundle).then_some(change)
            })
            .collect();
        if operations.is_empty() {
            return Ok(Told::Before);
        }
        // another version than the one that was read is a conflict: webhooks may have changed places
        let version = &object["metadata"]["resourceVersion"];
        let first =
            json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version });
        operations.insert(0, first);
        self.api.patch(&path, &Value::from(operations)).await?;
        tracing::info!(
            webhook = self.names.webhook,
            authorities = kept.authorities.len(),
            "the API server was told of the certificate's authority"
        );
        Ok(Told::Now)
    }

    /// All that are to be trusted: those of the Secret, those that are trusted already (another
    /// replica may serve theirs), and our own. All replicas come to the same order.
    fn bundle(&self, kept: &Kept, there: &str, now: Moment) -> String {
        let there = STANDARD.decode(there).unwrap_or_default();
        let there = pems(&String::from_utf8_lossy(&there), now);
        let serving = self.serving.lock().clone();
        let mut all = kept.authorities.clone();
        for one in there.into_iter().chain(serving) {
            if !all.contains(&one) && all.len() < MOST_AUTHORITIES {
                all.push(one);
            }
        }
        STANDARD.encode(all.concat())
    }
}

/// The certificates of a text that have not ended, one text each.
fn pems(text: &str, now: Moment) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let parts = text.split_inclusive(END);
    parts
        .map(|part| format!("{}\n", part.trim()))
        .filter(|part| issued::end(part).is_some_and(|end| end > now.wall))
        .collect()
}

#[cfg(test)]
mod tests;
