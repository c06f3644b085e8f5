//! Where each provider's token endpoint is, as its metadata said last.
//!
//! The last good document stays when another cannot be had. It is fetched again once an hour while
//! it is used, behind the back of the requests, and before the next attempt when the endpoint
//! turned out to be wrong.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tracing::warn;
use url::Url;

use crate::{
    clock::{Clock, Deadline},
    config::{self, ClientAuth, Credential, Name, Provider},
    oauth::{CheckedMetadata, DiscoveryError, HttpClient, discover},
    shutdown::Shutdown,
};

const GOOD_FOR: Duration = Duration::from_secs(3600);

/// What is known of all providers. Clones share.
#[derive(Debug, Clone)]
pub(super) struct Endpoints {
    clock: Clock,
    shutdown: Shutdown,
    known: Arc<Mutex<HashMap<(Name, Url), Known>>>,
}

#[derive(Debug, Clone)]
struct Known {
    metadata: CheckedMetadata,
    fresh_until: Deadline,
    trust: Trust,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Good,
    /// The endpoint answered as if it were none.
    Doubted,
}

impl Endpoints {
    pub(super) fn new(clock: Clock, shutdown: Shutdown) -> Self {
        Self {
            clock,
            shutdown,
            known: Arc::default(),
        }
    }

    /// The token endpoint for this credential.
    pub(super) async fn of(
        &self,
        credential: &Credential,
        http: &HttpClient,
    ) -> Result<Url, DiscoveryError> {
        let provider = &credential.provider;
        if let config::Endpoints::Given { token } = &provider.endpoints {
            return Ok(token.clone());
        }
        let known = self.known.lock().get(&key(provider)).cloned();
        let metadata = match known {
            None => self.fetch(provider, http).await?,
            Some(known) if known.trust == Trust::Doubted => {
                let fetched = self.fetch(provider, http).await;
                fetched.unwrap_or_else(|error| kept(&error, provider, known.metadata))
            }
            Some(known) => {
                if known.fresh_until.passed(self.clock.now()) {
                    self.fetch_behind(provider.clone(), http.clone());
                }
                known.metadata
            }
        };
        Ok(match (&credential.auth, metadata.mtls_token_endpoint) {
            (ClientAuth::MutualTls(_), Some(alias)) => alias,
            _ => metadata.token_endpoint,
        })
    }

    /// The endpoint answered as if it were none: ask again before the next use.
    pub(super) fn doubt(&self, provider: &Provider) {
        if let Some(known) = self.known.lock().get_mut(&key(provider)) {
            known.trust = Trust::Doubted;
        }
    }

    async fn fetch(
        &self,
        provider: &Provider,
        http: &HttpClient,
    ) -> Result<CheckedMetadata, DiscoveryError> {
        let metadata = discover(http, &provider.issuer, provider.also()).await?;
        let known = Known {
            metadata: metadata.clone(),
            fresh_until: self.clock.now().plus(GOOD_FOR),
            trust: Trust::Good,
        };
        self.known.lock().insert(key(provider), known);
        Ok(metadata)
    }

    fn fetch_behind(&self, provider: Arc<Provider>, http: HttpClient) {
        // now, so that nobody else starts one; and not again for an hour, whatever comes of it
        if let Some(known) = self.known.lock().get_mut(&key(&provider)) {
            known.fresh_until = self.clock.now().plus(GOOD_FOR);
        }
        let endpoints = self.clone();
        self.shutdown.spawn(async move {
            if let Err(error) = endpoints.fetch(&provider, &http).await {
                warn_kept(&error, &provider);
            }
        });
    }
}

fn kept(error: &DiscoveryError, provider: &Provider, old: CheckedMetadata) -> CheckedMetadata {
    warn_kept(error, provider);
    old
}

fn warn_kept(error: &DiscoveryError, provider: &Provider) {
    warn!(
        target: "itwin_auth_proxy::tokens",
        provider = %provider.name,
        %error,
        "the provider's metadata cannot be fetched again; the last stays in use"
    );
}

fn key(provider: &Provider) -> (Name, Url) {
    (provider.name.clone(), provider.issuer.clone())
}
