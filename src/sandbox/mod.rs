//! A mock authorization server, a mock iModelHub and its storage, for trying and testing.
//!
//! Three origins on loopback, in this process or as `itwin-auth-proxy sandbox`. They look to a
//! client as Bentley's do, count what happens, and can be made to fail in the ways that real ones
//! do ([`Faults`]). This wing shares no code with the parts it is there to test: what speaks OAuth
//! here is written apart. Nothing in it is a secret, and nothing in it is for production.

mod answer;
mod changesets;
mod clients;
mod exchange;
mod faults;
mod hub;
mod idp;
mod imodels;
mod introspection;
mod itwins;
mod journal;
mod model;
mod page;
mod people;
mod registered;
mod server;
mod signing;
mod storage;
mod sts;
#[cfg(test)]
mod tests;
mod token;
mod wsg;

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::json;

use self::{
    clients::Clients,
    hub::Hub,
    idp::Idp,
    journal::Journal,
    model::Model,
    server::{Body, Cut, Origin},
    signing::Signer,
    storage::Storage,
    token::RefreshToken,
};
pub use self::{
    clients::{AssertionTrust, Client},
    faults::{Door, Faults, HubFault, IdpEndpoint, IdpFault, SignInFault, Times},
    journal::{Counts, HubRequest, TokenRequest},
    people::{Consent, Implicit, Person, Registration},
    signing::{SigningAlgorithm, TokenShape},
};
use crate::{
    clock::Clock,
    shutdown::{Shutdown, Stage},
};

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Where the three listen; port 0: the kernel chooses.
    pub idp: SocketAddr,
    pub hub: SocketAddr,
    pub storage: SocketAddr,
    /// The first is the one that [`Sandbox::client_id`] names.
    pub clients: Vec<Client>,
    /// Names and passwords for the `password` grant.
    pub users: BTreeMap<String, String>,
    /// Who can sign in with a browser; for the `password` grant as well.
    pub people: Vec<Person>,
    /// Whole seconds; `expires_in` has no others.
    pub token_lifetime: Duration,
    pub signing: SigningAlgorithm,
    pub shape: TokenShape,
    /// Who may ask about tokens (RFC 7662); the scopes are the API's own.
    pub apis: Vec<Client>,
    /// In the first iTwin.
    pub imodels: usize,
    /// Of each iModel.
    pub changesets: usize,
    pub clock: Clock,
}

const API: &str = "imodels-api";
const API_SECRET: &str = "sandbox-api-secret";
const USER: &str = "agent@sandbox.example";
const PASSWORD: &str = "sandbox-password";

impl Default for SandboxConfig {
    fn default() -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            idp: loopback,
            hub: loopback,
            storage: loopback,
            clients: registered::clients(),
            users: BTreeMap::from([(USER.to_owned(), PASSWORD.to_owned())]),
            people: registered::people(),
            token_lifetime: Duration::from_secs(3600),
            signing: SigningAlgorithm::Es256,
            shape: TokenShape::Ims,
            apis: vec![Client::with_secret(API, API_SECRET)],
            imodels: 23,
            changesets: 5,
            clock: Clock::system(),
        }
    }
}

/// A running sandbox; dropping it stops it.
#[derive(Debug)]
pub struct Sandbox {
    config: SandboxConfig,
    idp: Arc<Idp>,
    hub_url: String,
    storage_url: String,
    storage: Arc<Storage>,
    itwin: String,
    faults: Faults,
    journal: Arc<Journal>,
    stop: Shutdown,
}

impl Sandbox {
    /// Binds, makes the keys, and serves on the current runtime. Returns when it listens.
    ///
    /// # Errors
    /// When an address cannot be bound or a key cannot be made.
    pub async fn start(config: SandboxConfig) -> io::Result<Self> {
        let idp_origin = Arc::new(Origin::bind(config.idp)?);
        let hub_origin = Arc::new(Origin::bind(config.hub)?);
        let storage_origin = Arc::new(Origin::bind(config.storage)?);
        let (algorithm, shape) = (config.signing, config.shape);
        let signer = tokio::task::spawn_blocking(move || Signer::new(algorithm, shape))
            .await
            .map_err(io::Error::other)?
            .map_err(io::Error::other)?;
        let signer = Arc::new(signer);
        let journal = Arc::new(Journal::default());
        let clock = config.clock.clone();
        let faults = Faults::new(
            Arc::clone(&idp_origin),
            Arc::clone(&hub_origin),
            Arc::clone(&signer),
            config.token_lifetime,
        );
        let storage = Arc::new(Storage::new(
            storage_origin.url(),
            clock.clone(),
            Arc::clone(&journal),
        ));
        let issuer = idp_origin.url();
        let audiences = [issuer.clone(), format!("{issuer}/connect/token")];
        let idp = Arc::new(Idp {
            issuer: issuer.clone(),
            clock: clock.clone(),
            signer: Arc::clone(&signer),
            faults: faults.clone(),
            journal: Arc::clone(&journal),
            clients: Clients::new(config.clients.clone(), audiences),
            apis: Clients::new(
                config.apis.clone(),
                [issuer.clone(), format!("{issuer}/connect/introspect")],
            ),
            users: config.users.clone(),
            assertions: sts::Assertions::default(),
            refresh_tokens: Mutex::default(),
            people: config.people.clone(),
            desk: Mutex::default(),
        });
        let model = Model::new(
            hub_origin.url(),
            clock.clone(),
            Arc::clone(&storage),
            config.imodels,
            config.changesets,
        );
        let itwin = model.itwins[0].id.clone();
        let hub = Arc::new(Hub {
            issuer,
            clock,
            signer,
            faults: faults.clone(),
            journal: Arc::clone(&journal),
            model: Mutex::new(model),
        });
        let sandbox = Self {
            config,
            hub_url: hub_origin.url(),
            storage_url: storage_origin.url(),
            storage: Arc::clone(&storage),
            itwin,
            faults,
            journal,
            stop: Shutdown::new(),
            idp: Arc::clone(&idp),
        };
        let control = sandbox.control();
        sandbox.serve(&idp_origin, &control, move |request| {
            let idp = Arc::clone(&idp);
            async move { idp.handle(request).await }
        });
        sandbox.serve(&hub_origin, &control, move |request| {
            let hub = Arc::clone(&hub);
            async move { hub.handle(request).await }
        });
        sandbox.serve(&storage_origin, &control, move |request| {
            let storage = Arc::clone(&storage);
            async move { Ok(storage.handle(&request)) }
        });
        Ok(sandbox)
    }

    /// The authorization server's issuer.
    pub fn issuer(&self) -> &str {
        &self.idp.issuer
    }

    /// The hub's origin, without a slash at the end.
    pub fn hub(&self) -> &str {
        &self.hub_url
    }

    /// The storage's origin, without a slash at the end.
    pub fn storage(&self) -> &str {
        &self.storage_url
    }

    /// The iTwin that has iModels.
    pub fn itwin_id(&self) -> &str {
        &self.itwin
    }

    pub fn client_id(&self) -> &str {
        self.config.clients.first().map_or("", |client| &client.id)
    }

    pub fn client_secret(&self) -> &str {
        let secret = self.config.clients.first();
        secret
            .and_then(|client| client.secrets.first())
            .map_or("", String::as_str)
    }

    /// The API that may ask about tokens, and its secret.
    pub fn api(&self) -> Option<(&str, &str)> {
        let api = self.config.apis.first()?;
        Some((&api.id, api.secrets.first()?))
    }

    /// A user's name and password.
    pub fn user(&self) -> Option<(&str, &str)> {
        let (name, password) = self.config.users.first_key_value()?;
        Some((name, password))
    }

    /// A new refresh token for the first client, good for one use.
    pub fn refresh_token(&self) -> String {
        let scopes = [idp::DEFAULT_SCOPE, token::OFFLINE].map(str::to_owned);
        self.idp.refresh_token(RefreshToken {
            client_id: self.client_id().to_owned(),
            user: USER.to_owned(),
            scopes: scopes.into(),
            spent: false,
            granted: None,
        })
    }

    /// The client may use these secrets from now on, and no other.
    pub fn set_client_secrets(&self, client_id: &str, secrets: Vec<String>) {
        self.idp.clients.set_secrets(client_id, secrets);
    }

    /// Where names and passwords become SAML assertions, and where those become others.
    pub fn sts(&self) -> (String, String) {
        let issuer = self.issuer();
        (
            format!("{issuer}{}", sts::SIGN_IN),
            format!("{issuer}{}", sts::DELEGATION),
        )
    }

    /// Who can sign in with a browser.
    pub fn people(&self) -> &[Person] {
        &self.config.people
    }

    /// Everybody and everything that is registered.
    pub fn clients(&self) -> &[Client] {
        &self.config.clients
    }

    /// Ends that person's sessions in all browsers and tells the clients; returns how many were
    /// concerned.
    pub async fn end_sessions(&self, mail: &str) -> usize {
        self.idp.end_sessions(mail).await
    }

    /// No SAML assertion issued so far is good any more.
    pub fn revoke_assertions(&self) {
        self.idp.assertions.revoke();
    }

    /// What can be made to go wrong.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.control().counts()
    }

    /// The last requests to the token endpoint that it answered by itself, oldest first.
    pub fn token_requests(&self) -> Vec<TokenRequest> {
        self.journal.token_requests()
    }

    /// The last requests to the hub, oldest first.
    pub fn hub_requests(&self) -> Vec<HubRequest> {
        self.journal.hub_requests()
    }

    /// A link for uploading a blob of this name to the storage.
    pub fn upload_link(&self, name: &str) -> String {
        self.storage.link("uploads", name, storage::Access::Write)
    }

    fn control(&self) -> Control {
        Control {
            faults: self.faults.clone(),
            journal: Arc::clone(&self.journal),
            idp: Arc::clone(&self.idp),
            client_id: self.client_id().to_owned(),
        }
    }

    /// Serves `origin`: its own requests by `handler`, those to the sandbox itself by `control`.
    fn serve<H, F>(&self, origin: &Arc<Origin>, control: &Control, handler: H)
    where
        H: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, Cut>> + Send + 'static,
    {
        let control = control.clone();
        origin.serve(&self.stop, move |request| {
            let ours = control.answer(&request);
            let theirs = ours.is_none().then(|| handler(request));
            async move {
                match (ours, theirs) {
                    (Some(answer), _) => Ok(answer),
                    (None, Some(answer)) => answer.await,
                    (None, None) => Err(Cut),
                }
            }
        });
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.advance(Stage::Hard);
    }
}

/// The sandbox's own resources, on every origin: `/__faults`, `/__counts`, `/__requests`.
#[derive(Debug, Clone)]
struct Control {
    faults: Faults,
    journal: Arc<Journal>,
    idp: Arc<Idp>,
    client_id: String,
}

impl Control {
    fn answer(&self, request: &Request<Bytes>) -> Option<Response<Body>> {
        let document = match (request.method(), request.uri().path()) {
            (&Method::POST, "/__faults") => match self.faults.apply(request.body()) {
                Ok(order) => {
                    if order.revoke_assertions {
                        self.idp.assertions.revoke();
                    }
                    if let Some(secrets) = order.client_secrets {
                        self.idp.clients.set_secrets(&self.client_id, secrets);
                    }
                    return Some(answer::empty(StatusCode::NO_CONTENT));
                }
                Err(slip) => {
                    let body = json!({"error": {"code": "InvalidFault", "message": slip}});
                    return Some(answer::json(StatusCode::BAD_REQUEST, &body));
                }
            },
            (&Method::GET, "/__counts") => json!(self.counts()),
            (&Method::GET, "/__requests") => json!({
                "token": self.journal.token_requests(),
                "hub": self.journal.hub_requests(),
            }),
            _ => return None,
        };
        Some(answer::json(StatusCode::OK, &document))
    }

    fn counts(&self) -> Counts {
        let mut counts = self.journal.counts();
        (counts.idp_connections, counts.hub_connections) = self.faults.connections();
        counts
    }
}

/// An identifier that follows from `kind` and `seed`, in the form of a GUID.
fn guid(kind: u8, seed: &str) -> String {
    let hash = digest(&SHA256, format!("{kind}/{seed}").as_bytes());
    let hash = hash.as_ref();
    let number = |range: std::ops::Range<usize>| {
        hash[range]
            .iter()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        number(0..4),
        number(4..6),
        number(6..8) & 0xfff,
        number(8..10) & 0xfff,
        number(10..16),
    )
}
