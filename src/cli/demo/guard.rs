//! The last act: the proxy on the other side, in front of a service that must only see good calls.
//!
//! The mock iModelHub stands for the service. Callers have tokens of their own here, from the mock
//! authorization server, and one of them has none.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Request,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::{Value, json};

use super::{
    agent::{Agent, Call},
    screen::{Screen, Seen},
};
use crate::{
    app::{self, Running, Seams},
    cli::output::chain,
    config::{self, Sources},
    sandbox::Sandbox,
    shutdown::Stage,
    telemetry::RequestLog,
};

/// What the route asks for.
const SCOPE: &str = "itwin-platform";
/// Of the token that expires while we watch.
const SHORT_LIFETIME: Duration = Duration::from_secs(1);
/// Then it has expired: `exp` has no fractions.
const WAIT: Duration = Duration::from_millis(2100);

/// Shows one call that passes and four that do not.
pub(super) async fn show(sandbox: &Sandbox, agent: &Agent, screen: &mut Screen) {
    screen.act("The other way round: a service of one's own sees good calls only");
    let proxy = match start(sandbox) {
        Ok(proxy) => proxy,
        Err(reason) => return screen.observed(Seen::Otherwise, reason),
    };
    let address = proxy.listeners().first().cloned().unwrap_or_default();
    let url = format!(
        "http://{address}/imodels?iTwinId={}&$top=1",
        sandbox.itwin_id()
    );
    let served = || sandbox.counts().hub_authorized;
    let before = served();

    let good = token(sandbox, agent, SCOPE).await;
    let passed = call(agent, &url, Some(&good)).await;
    screen.observed(
        Seen::when(passed.ok() && served() == before + 1),
        format_args!(
            "a token for this service, with its scope: {}",
            passed.status
        ),
    );
    let other = token(sandbox, agent, "storage:read").await;
    let forged = forged(&good);
    sandbox.faults().token_lifetime(SHORT_LIFETIME);
    let late = token(sandbox, agent, SCOPE).await;
    sandbox.faults().token_lifetime(super::story::LIFETIME);
    tokio::time::sleep(WAIT).await;
    for (what, token, expected) in [
        ("no token", None, (401, "TokenMissing")),
        (
            "a token with one letter changed",
            Some(&forged),
            (401, "TokenInvalid"),
        ),
        (
            "a token that expired a moment ago",
            Some(&late),
            (401, "TokenExpired"),
        ),
        (
            "a token without the scope",
            Some(&other),
            (403, "InsufficientScope"),
        ),
    ] {
        let refused = call(agent, &url, token).await;
        let told = refused.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let code = refused.json()["error"]["code"].clone();
        screen.observed(
            Seen::when((refused.status, &code) == (expected.0, &Value::from(expected.1))),
            format_args!(
                "{what}: {} {} ({told})",
                refused.status,
                code.as_str().unwrap_or("?")
            ),
        );
    }
    screen.observed(
        Seen::when(served() == before + 1),
        format_args!("of these five calls the service saw {}", served() - before),
    );
    proxy.shutdown().advance(Stage::Hard);
    // waits for threads
    let _ = tokio::task::spawn_blocking(move || proxy.wait()).await;
}

/// A proxy as a file would configure it.
fn start(sandbox: &Sandbox) -> Result<Running, String> {
    let config = json!({
        "providers": {"mock": {"issuer": sandbox.issuer()}},
        "listeners": ["127.0.0.1:0"],
        "routes": [{
            "path": "/imodels/**",
            "admit": {"bearer": {
                "audiences": ["bentley-api-management"],
                "scopes": [SCOPE],
                "clock_skew": "0s",
            }},
            "upstream": sandbox.hub(),
        }],
        "admin": {"bind": "none"},
    });
    // JSON is YAML
    let loaded = config::load(Sources::yaml(&config.to_string()));
    let loaded = loaded.map_err(|problems| problems.to_string())?;
    app::start(loaded.config, Seams::system(RequestLog::off())).map_err(|error| chain(&error))
}

/// What the mock authorization server gives for the asking; empty if it does not.
async fn token(sandbox: &Sandbox, agent: &Agent, scope: &str) -> String {
    let form = format!(
        "grant_type=client_credentials&scope={scope}&client_id={}&client_secret={}",
        sandbox.client_id(),
        sandbox.client_secret()
    );
    let request = Request::post(format!("{}/connect/token", sandbox.issuer()))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Bytes::from(form));
    let answer = agent.send(request).await.json();
    answer["access_token"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

async fn call(agent: &Agent, url: &str, token: Option<&String>) -> Call {
    let mut request = Request::get(url);
    let value = token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
    if let Some(value) = value {
        request = request.header(AUTHORIZATION, value);
    }
    agent.send(request.body(Bytes::new())).await
}

/// The same token with another letter in the middle of its signature.
fn forged(token: &str) -> String {
    let middle = token
        .rfind('.')
        .map_or(0, |dot| dot + (token.len() - dot) / 2);
    let (before, rest) = token.split_at_checked(middle).unwrap_or(("", token));
    let other = if rest.starts_with('A') { "B" } else { "A" };
    format!("{before}{other}{}", rest.get(1..).unwrap_or_default())
}
