//! Contacts what the configuration names: providers, with a token for each credential and a question
//! about a token where callers' tokens are asked about, and upstreams.
//!
//! A token is asked for as in earnest and thrown away. The question is about none that was ever
//! issued: that it is answered says that the API is known. An upstream is asked for `/` without any
//! token: whatever it answers, it was reached.

mod sign_in;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::json;

use super::output::chain;
use crate::{
    clock::{Clock, Moment},
    config::{Config, Introspection, IntrospectionEndpoint, Provider, Upstream, UpstreamProtocol},
    http::client::{ClientError, HttpClient},
    metrics::Metrics,
    oauth::{
        ClientMaterial, IntrospectionRequest, SecretInUse, discover_introspection, introspect,
    },
    secret::Secret,
    shutdown::{Shutdown, Stage},
    tokens::TokenService,
};

/// What came of one contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) what: String,
    /// What was seen, or why not.
    pub(super) result: Result<String, String>,
}

impl Finding {
    pub(super) fn to_line(&self) -> String {
        match &self.result {
            Ok(seen) => format!("ok      {}: {seen}", self.what),
            Err(reason) => format!("failed  {}: {reason}", self.what),
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.result {
            Ok(seen) => json!({"what": self.what, "ok": true, "seen": seen}),
            Err(reason) => json!({"what": self.what, "ok": false, "reason": reason}),
        }
    }
}

/// How long an upstream may take to answer anything.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// What is told while things are contacted.
pub(super) enum Progress<'a> {
    /// This is contacted now.
    Asking(&'a str),
    Found(&'a Finding),
}

/// Contacts everything, one after the other; each finding is told as it comes.
pub(super) async fn contact(config: &Config, tell: impl Fn(Progress<'_>)) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |what: String, result: Result<String, String>| {
        let finding = Finding { what, result };
        tell(Progress::Found(&finding));
        findings.push(finding);
    };
    let clock = Clock::system();
    let shutdown = Shutdown::new();
    // neither the store nor its tokens: what is asked here is whether new ones can be had
    let tokens = TokenService::start(
        clock.clone(),
        Arc::new(Metrics::new()),
        &shutdown,
        None,
        StdRng::from_os_rng(),
    );
    let mut asked = BTreeSet::new();
    let routes = config
        .routes
        .iter()
        .filter_map(|route| route.inject.as_ref());
    let wanted = routes
        .map(|inject| (&inject.credential, &inject.scopes))
        .chain(config.credentials.values().map(|one| (one, &one.scopes)));
    for (credential, scopes) in wanted {
        // there is no caller's token to try it with
        // nor a person's: what is seen of them is below
        if credential.grant.exchanges() || credential.grant.flow().is_some() {
            continue;
        }
        if !asked.insert((Arc::clone(&credential.name), scopes.clone())) {
            continue;
        }
        let handle = tokens.handle(credential, scopes);
        let scopes = if scopes.is_empty() {
            "none asked for".into()
        } else {
            scopes.to_string()
        };
        let what = format!(
            "token for credential {} (scopes: {scopes})",
            credential.name
        );
        tell(Progress::Asking(&what));
        let issuer = &credential.provider.issuer;
        let result = match handle.get(Duration::ZERO, credential.patience()).await {
            Ok(ready) => {
                let left = ready.expires().remaining(clock.now()).as_secs();
                Ok(format!("{issuer}, valid for {left} s"))
            }
            Err(error) => Err(format!("{issuer}: {}", chain(&error))),
        };
        found(what, result);
    }
    shutdown.advance(Stage::Hard);
    shutdown.finished().await;
    for session in config.sessions.values() {
        let what = format!("sign-in of session {}", session.name);
        tell(Progress::Asking(&what));
        let result = sign_in::try_session(session, clock.now()).await;
        let issuer = &session.credential.provider.issuer;
        found(what, result.map_err(|why| format!("{issuer}: {why}")));
    }
    for provider in config.providers.values() {
        if let Some(introspection) = &provider.introspection {
            let what = format!(
                "introspection at provider {} as {}",
                provider.name, introspection.client_id
            );
            tell(Progress::Asking(&what));
            let result = ask_about_nothing(provider, introspection, clock.now()).await;
            found(what, result);
        }
    }
    let mut reached: Vec<&Arc<Upstream>> = Vec::new();
    for upstream in config
        .routes
        .iter()
        .filter_map(|route| route.upstream.as_ref())
    {
        if !reached.contains(&upstream) {
            reached.push(upstream);
            let what = format!("upstream {}", upstream.origin);
            tell(Progress::Asking(&what));
            let result = reach(upstream).await;
            found(what, result);
        }
    }
    findings
}

/// Whether the provider answers a question about a token that nobody ever issued.
async fn ask_about_nothing(
    provider: &Provider,
    introspection: &Introspection,
    now: Moment,
) -> Result<String, String> {
    let tls = ClientMaterial::tls(&introspection.auth, &provider.tls);
    let timeouts = provider.timeouts;
    let http =
        HttpClient::new(&tls, timeouts.connect, timeouts.total).map_err(|error| chain(&error))?;
    let material = ClientMaterial::read(&introspection.auth).map_err(|error| chain(&error))?;
    let endpoint = match &introspection.endpoint {
        IntrospectionEndpoint::Given(url) => url.clone(),
        IntrospectionEndpoint::Discover => {
            let found = discover_introspection(&http, &provider.issuer, provider.also()).await;
            found
                .map_err(|error| chain(&error))?
                .of(&introspection.auth)
        }
    };
    let client_id = &*introspection.client_id;
    let proofs = material.proofs(client_id, &endpoint, now);
    let mut answer = Err("there is no secret to ask with".to_owned());
    for (which, proof) in proofs.map_err(|error| chain(&error))? {
        let request = IntrospectionRequest {
            endpoint: &endpoint,
            client_id,
            proof: &proof,
            token: &Secret::new("a-token-that-nobody-issued"),
        };
        answer = match introspect(&http, &request, now).await {
            Ok(_) if which == SecretInUse::Previous => {
                return Ok(format!("{endpoint} answers, to the previous secret only"));
            }
            Ok(_) => return Ok(format!("{endpoint} answers")),
            Err(error) => Err(chain(&error)),
        };
    }
    answer
}

async fn reach(upstream: &Upstream) -> Result<String, String> {
    let limit = upstream.connect_timeout + ANSWER_LIMIT;
    let client =
        HttpClient::new(&upstream.tls, upstream.connect_timeout, limit).map_err(|e| chain(&e))?;
    let request = Request::head(format!("{}/", upstream.origin))
        .body(Bytes::new())
        .map_err(|e| e.to_string())?;
    match client.send(request).await {
        Ok(answer) => Ok(format!("reached, answered {}", answer.status())),
        // this asks in HTTP/1.1, which such a server need not understand
        Err(ClientError::Protocol { .. }) if upstream.protocol == UpstreamProtocol::Http2 => {
            Ok("reached".into())
        }
        Err(error) => Err(chain(&error)),
    }
}
