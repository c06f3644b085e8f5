//! Tokens from real providers: secrets read, endpoint found, exchange made, refresh token saved.

use std::{sync::Arc, time::Duration};

use futures_util::{
    TryFutureExt,
    future::{BoxFuture, FutureExt},
};
use tokio::{task::spawn_blocking, time::timeout};
use tracing::warn;

use super::{
    assertions::{Assertions, Standing},
    cell,
    endpoints::Endpoints,
    fetch::{Asking, Fetch},
    kept::{KeptError, Lock},
    material::{Material, MaterialError, fingerprint},
    rotation::{Rotations, Sendable},
    source::{Blame, Failure, Fingerprint, Granted, NotExchanged, SecretInUse, Shown, Source},
};
use crate::{
    clock::{Clock, Moment},
    config::{Credential, Grant, JwtSource, SamlSource, ScopeSet},
    metrics::{Cache, Metrics},
    oauth::{Class, DiscoveryError, ExchangeError, Issued, Note, ProofError, StsError, chain},
    secret::Secret,
    shutdown::Shutdown,
    trouble::Fault,
};

/// Goes out to providers. Clones share what was learned of them.
#[derive(Debug, Clone)]
pub(super) struct Providers {
    clock: Clock,
    metrics: Arc<Metrics>,
    endpoints: Endpoints,
    rotations: Rotations,
    assertions: Assertions,
}

/// Why there is no token, before it is told to anybody.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Material(#[from] MaterialError),
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Sts(#[from] StsError),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("no token within {0:?}")]
    Late(Duration),
    #[error("a file could not be read to its end")]
    Broken,
}

impl Providers {
    pub(super) fn new(clock: Clock, metrics: Arc<Metrics>, shutdown: Shutdown) -> Self {
        let assertions = metrics.shared_cache(Cache::Assertions);
        Self {
            assertions: Assertions::new(clock.clone(), assertions),
            metrics,
            endpoints: Endpoints::new(clock.clone(), shutdown),
            clock,
            rotations: Rotations::default(),
        }
    }

    /// For a token that a caller showed (RFC 8693, RFC 7523).
    pub(super) async fn exchanged(
        self,
        credential: Arc<Credential>,
        scopes: ScopeSet,
        subject: Secret,
    ) -> Result<Granted, NotExchanged> {
        let granted = self.granted(Arc::clone(&credential), scopes, Shown::Token(subject));
        granted.await.map_err(|(error, fingerprint)| NotExchanged {
            blame: error.blame(),
            failure: error.failure(&credential, fingerprint),
        })
    }

    async fn granted(
        self,
        credential: Arc<Credential>,
        scopes: ScopeSet,
        shown: Shown,
    ) -> Result<Granted, (FetchError, Option<Fingerprint>)> {
        let owner = match self.own(&credential).await {
            Ok(owner) => owner,
            Err(error) => return Err((error, None)),
        };
        let (this, reading) = (self.clone(), credential.clone());
        let provider = &credential.provider.name;
        let asked = self.metrics.provider(provider, &self.clock);
        let sts = self.metrics.sts_of(provider, &self.clock);
        let read = spawn_blocking(move || {
            // first, so that a change in between is seen as one
            let fingerprint = fingerprint(&reading);
            (
                fingerprint,
                Material::read(&reading, &asked, &sts),
                this.refresh_token(&reading),
            )
        });
        let Ok((fingerprint, material, refresh)) = read.await else {
            return Err((FetchError::Broken, None));
        };
        let fingerprint = Some(fingerprint);
        let (material, refresh) = match (material, refresh) {
            (Ok(material), Ok(refresh)) => (material, refresh),
            (Err(error), _) | (_, Err(error)) => {
                return Err((error.into(), fingerprint));
            }
        };
        let fetch = Fetch {
            credential: &credential,
            scopes: &scopes,
            material: &material,
            refresh: refresh.as_ref(),
            shown: &shown,
        };
        let exchanged = self.exchange(&fetch).await;
        drop(owner);
        match exchanged {
            Ok((issued, secret, since)) => Ok(granted(&scopes, &issued, secret, since)),
            Err(error) => Err((error, fingerprint)),
        }
    }

    /// The network part has the provider's time; what must be saved is saved, however long it
    /// takes.
    async fn exchange(
        &self,
        fetch: &Fetch<'_>,
    ) -> Result<(Issued, SecretInUse, Moment), FetchError> {
        let total = fetch.credential.provider.timeouts.total;
        let mut result = self.within(total, fetch).await;
        let mut sent = fetch.refresh.cloned();
        if let (Err(FetchError::Exchange(error)), Some(refused)) = (&result, fetch.refresh)
            && error.class() == Class::InvalidGrant
            && let Some(newer) = self.newer(refused).await
        {
            let again = Fetch {
                refresh: Some(&newer),
                ..*fetch
            };
            result = self.within(total, &again).await;
            sent = Some(newer);
        }
        let (issued, secret, since) = result?;
        for note in &issued.notes {
            warn_of(*note, fetch.credential);
        }
        if let Some(sent) = sent {
            let (this, newest) = (self.rotations.clone(), issued.refresh.clone());
            let saved = spawn_blocking(move || match newest {
                Some(newest) => this.save(&sent, &newest),
                None => this.save_again(&sent),
            });
            saved.await.map_err(|_| FetchError::Broken)?;
        }
        Ok((issued, secret, since))
    }

    async fn within(
        &self,
        total: Duration,
        fetch: &Fetch<'_>,
    ) -> Result<(Issued, SecretInUse, Moment), FetchError> {
        match timeout(total, self.ask(fetch)).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::Late(total)),
        }
    }

    async fn ask(&self, fetch: &Fetch<'_>) -> Result<(Issued, SecretInUse, Moment), FetchError> {
        let Some(who) = fetch.sign_in() else {
            return self.ask_with(fetch, fetch.asking()).await;
        };
        let found = self.assertions.get(&who).await?;
        let first = self.ask_with(fetch, Asking::Saml(&found.assertion)).await;
        let result = match first {
            Err(FetchError::Exchange(error))
                if error.refuses_the_assertion() && found.standing == Standing::Good =>
            {
                let found = self.assertions.fresh(&who).await?;
                self.ask_with(fetch, Asking::Saml(&found.assertion)).await
            }
            other => other,
        };
        if result.is_ok() {
            self.assertions.good(&who);
        }
        result
    }

    async fn ask_with(
        &self,
        fetch: &Fetch<'_>,
        asking: Asking<'_>,
    ) -> Result<(Issued, SecretInUse, Moment), FetchError> {
        let endpoint = self
            .endpoints
            .of(fetch.credential, &fetch.material.http)
            .await?;
        let client_id = &fetch.credential.client_id;
        let proofs = fetch
            .material
            .auth
            .proofs(client_id, &endpoint, self.clock.now())?;
        let mut proofs = proofs.into_iter().peekable();
        while let Some((secret, proof)) = proofs.next() {
            let since = self.clock.now();
            match fetch.once(asking, &endpoint, &proof, since).await {
                Ok(issued) => return Ok((issued, secret, since)),
                Err(error) if error.is_invalid_client() && proofs.peek().is_some() => {}
                Err(error) => {
                    if error.is_wrong_address() {
                        self.endpoints.doubt(&fetch.credential.provider);
                    }
                    return Err(error.into());
                }
            }
        }
        Err(FetchError::Broken)
    }

    /// Of a sign-in that other processes use too; within the time that they have for a renewal.
    async fn own(&self, credential: &Credential) -> Result<Option<Lock>, FetchError> {
        let Some(place) = self.rotations.place(credential) else {
            return Ok(None);
        };
        let total = credential.provider.timeouts.total;
        match timeout(total, self.rotations.own(&place)).await {
            Ok(owner) => Ok(owner?),
            Err(_) => Err(MaterialError::from(place.busy()).into()),
        }
    }

    fn refresh_token(&self, credential: &Credential) -> Result<Option<Sendable>, MaterialError> {
        let place = self.rotations.place(credential);
        place.map(|place| self.rotations.read(place)).transpose()
    }

    /// What was put in place of a token that was refused meanwhile: by `login`, or by a program that
    /// does not know of the lock.
    async fn newer(&self, refused: &Sendable) -> Option<Sendable> {
        let (this, refused) = (self.rotations.clone(), refused.clone());
        let look = spawn_blocking(move || this.newer(&refused));
        look.await.ok().flatten()
    }
}

impl Source for Providers {
    fn fetch(
        &self,
        credential: Arc<Credential>,
        scopes: ScopeSet,
        shown: Shown,
    ) -> BoxFuture<'static, Result<Granted, Failure>> {
        let granted = self.clone().granted(Arc::clone(&credential), scopes, shown);
        granted
            .map_err(move |(error, fingerprint)| error.failure(&credential, fingerprint))
            .boxed()
    }

    fn fingerprint(&self, credential: Arc<Credential>) -> BoxFuture<'static, Fingerprint> {
        async move {
            let look = spawn_blocking(move || fingerprint(&credential));
            look.await.unwrap_or_default()
        }
        .boxed()
    }
}

fn granted(scopes: &ScopeSet, issued: &Issued, secret: SecretInUse, since: Moment) -> Granted {
    let missing = issued
        .scopes
        .as_ref()
        .map(|granted| granted.missing(scopes));
    Granted {
        header: issued.header.clone(),
        since,
        life: issued.life,
        refresh: issued.refresh.clone(),
        missing: missing.unwrap_or_default(),
        secret,
    }
}

impl FetchError {
    /// Where a caller's token was to be exchanged.
    fn blame(&self) -> Blame {
        match self {
            Self::Exchange(error) if error.refuses_the_subject() => Blame::Subject,
            Self::Exchange(error) if error.may_be_the_subjects() => {
                Blame::Provider(Fault::PerhapsTheToken)
            }
            _ => Blame::Provider(Fault::Endpoint),
        }
    }

    fn failure(self, credential: &Credential, fingerprint: Option<Fingerprint>) -> Failure {
        let host = credential.provider.issuer.host_str().unwrap_or_default();
        let refused = refused_grant(&credential.grant);
        let (class, label, reason) = match &self {
            Self::Material(MaterialError::Kept(KeptError::NobodySignedIn { .. })) => (
                cell::Class::Ended,
                "signed_out",
                format!("nobody is signed in; {}", sign_in(credential)),
            ),
            Self::Material(MaterialError::Kept(error)) => {
                (cell::Class::Transient, "secret", error.to_string())
            }
            Self::Material(_) | Self::Broken => (
                cell::Class::Transient,
                "secret",
                "a file that the token request needs cannot be used".to_owned(),
            ),
            Self::Proof(_) => (
                cell::Class::Fatal,
                "secret",
                "the private key of the client cannot be used".to_owned(),
            ),
            Self::Discovery(DiscoveryError::Client(error)) => {
                (slow(error.class()), error.class(), error.to_string())
            }
            // what the document says is the provider's text: it is for the log
            Self::Discovery(DiscoveryError::ForeignIssuer { host, .. }) => (
                cell::Class::Transient,
                "discovery",
                format!("the metadata of {host} is for another issuer"),
            ),
            Self::Discovery(error) => (cell::Class::Transient, "discovery", error.to_string()),
            Self::Sts(error) => {
                let class = match error.class() {
                    Class::Transient => slow(error.label()),
                    Class::Fatal => cell::Class::Fatal,
                    Class::InvalidGrant => cell::Class::InvalidGrant,
                };
                (class, error.label(), error.to_string())
            }
            Self::Late(_) => (
                cell::Class::Slow,
                "timeout",
                format!("the provider {host} did not answer in time"),
            ),
            Self::Exchange(error) => {
                let class = match error.class() {
                    Class::Transient => slow(error.label()),
                    Class::Fatal => cell::Class::Fatal,
                    Class::InvalidGrant => refused,
                };
                let reason = match error.class() {
                    Class::InvalidGrant if credential.grant.is_kept() => format!(
                        "the sign-in has ended ({}); {}",
                        error.reason(),
                        sign_in(credential)
                    ),
                    _ => error.reason(),
                };
                (class, error.label(), reason)
            }
        };
        let retry_after = match &self {
            Self::Exchange(error) => error.retry_after(),
            Self::Sts(error) => error.retry_after(),
            _ => None,
        };
        Failure {
            class,
            label,
            reason: reason.into(),
            detail: chain(&self),
            retry_after,
            fingerprint,
        }
    }
}

/// What the person has to do whose sign-in it is.
fn sign_in(credential: &Credential) -> String {
    format!(
        "run `itwin-auth-proxy login --credential {}`",
        credential.name
    )
}

/// What it means that the grant itself was refused.
fn refused_grant(grant: &Grant) -> cell::Class {
    match grant {
        Grant::RefreshToken { .. } | Grant::AuthorizationCode { .. } => cell::Class::Ended,
        // the next assertion is another one, and no password is tried with it
        Grant::JwtBearer {
            assertion: JwtSource::Credential(_),
        }
        | Grant::SamlBearer {
            assertion: SamlSource::Sts(_),
            ..
        } => cell::Class::Fatal,
        _ => cell::Class::InvalidGrant,
    }
}

fn slow(label: &str) -> cell::Class {
    match label {
        "timeout" => cell::Class::Slow,
        _ => cell::Class::Transient,
    }
}

fn warn_of(note: Note, credential: &Credential) {
    let credential = &credential.name;
    match note {
        Note::NoLifetime => warn!(
            target: "itwin_auth_proxy::tokens",
            %credential,
            "the provider does not say how long the token lives; five minutes are assumed"
        ),
        Note::NoTokenType => warn!(
            target: "itwin_auth_proxy::tokens",
            %credential,
            "the provider does not say what type the token is; Bearer is assumed"
        ),
    }
}
