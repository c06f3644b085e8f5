//! The process that runs: does it answer, is it well, and does it do what the configuration here says?

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;

use super::{Finding, provider::key_ids};
use crate::{
    cli::{asking::Asked, output::chain},
    config::{Admit, AdmitRule, Config, KeysLocation, Provider, print},
    http::client::HttpClient,
    oauth::{discover_keys, fetch_jwks},
};

const WHAT: &str = "the process";
const ANSWER: Duration = Duration::from_secs(5);

/// What it says of itself, held against the configuration here, if that is good.
pub(in crate::cli) async fn examine(asked: &Asked, config: Option<&Config>) -> Vec<Finding> {
    let status = match get(asked, "/status").await {
        Ok((StatusCode::OK, text)) => serde_json::from_str(&text).unwrap_or_default(),
        Ok((status, _)) => {
            let seen = format!("answers {status} when asked for its status");
            let remedy = "see whether another program has that address";
            return vec![Finding::failure("process", WHAT, seen, remedy)];
        }
        Err(why) => {
            let seen = format!("none answers: {why}");
            let remedy = "start it (itwin-auth-proxy run), or look at its log for why it ended; where \
                          it runs elsewhere, --offline or --admin ADDRESS";
            return vec![Finding::warning("process", WHAT, seen, remedy)];
        }
    };
    let mut all = vec![alive(&status, get(asked, "/ready").await)];
    all.extend(configuration(
        &status,
        get(asked, "/configuration").await,
        config,
    ));
    all.extend(credentials(&status));
    all.extend(rotations(&status));
    all
}

async fn get(asked: &Asked, path: &str) -> Result<(StatusCode, String), String> {
    asked.send(Method::GET, path, ANSWER).await
}

fn alive(status: &Value, ready: Result<(StatusCode, String), String>) -> Finding {
    let version = status["version"].as_str().unwrap_or("?");
    let own = env!("CARGO_PKG_VERSION");
    let seen = format!("it runs, version {version}");
    match ready {
        Ok((StatusCode::OK, _)) if version != own => {
            let seen = format!("{seen}; this program is {own}");
            let remedy =
                "restart it to run this version (itwin-auth-proxy upgrade, or the service manager)";
            Finding::warning("process", WHAT, seen, remedy)
        }
        Ok((StatusCode::OK, _)) => Finding::ok("process", WHAT, format!("{seen}, and is ready")),
        Ok((_, waiting)) => {
            let waiting: Value = serde_json::from_str(&waiting).unwrap_or_default();
            let waiting: Vec<&str> = waiting["waiting_for"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            if waiting.contains(&"shutting down") {
                let seen = format!("{seen}, and is on its way out: it was drained, or is stopping");
                let remedy = "nothing, if that was wanted; a drained one is ready again when it is \
                              restarted";
                return Finding::warning("process", WHAT, seen, remedy);
            }
            let waiting = waiting.join(", ");
            let seen = format!("{seen}, and is not ready: it waits for {waiting}");
            let remedy = "see the lines about what it waits for";
            Finding::failure("process", WHAT, seen, remedy)
        }
        Err(why) => {
            let remedy = "it may be starting, stopping or overloaded: ask again";
            Finding::warning("process", WHAT, format!("{seen}; {why}"), remedy)
        }
    }
}

/// Whether it runs what is configured here, and how its last reload went.
fn configuration(
    status: &Value,
    running: Result<(StatusCode, String), String>,
    config: Option<&Config>,
) -> Vec<Finding> {
    let what = "configuration of the process";
    let about = &status["configuration"];
    let mut all = Vec::new();
    let reload = &about["last_reload"];
    if reload["result"] == "refused" {
        let problems = reload["problems"].as_array().into_iter().flatten();
        let texts: Vec<&str> = problems
            .filter_map(|one| one.as_str().or_else(|| one["message"].as_str()))
            .collect();
        let seen = format!("the last reload was refused: {}", texts.join("; "));
        let remedy = "mend the file (itwin-auth-proxy check names every problem); the old \
                      configuration serves until then";
        all.push(Finding::failure("reload", what, seen, remedy));
    }
    let Some(generation) = about["generation"].as_u64() else {
        return all;
    };
    let Some(config) = config else {
        let seen =
            format!("it is another than the one here, which is wrong (generation {generation})");
        let remedy = "mend what is written before the process is started again: until then it serves with \
                      what it has";
        all.push(Finding::warning("reload", what, seen, remedy));
        return all;
    };
    let Ok((StatusCode::OK, running)) = running else {
        return all;
    };
    let running: Value = serde_json::from_str(&running).unwrap_or_default();
    if running["configuration"].is_null() {
        return all;
    }
    if running["configuration"] == print::value(config) {
        let seen = format!("it is this one, generation {generation}");
        all.push(Finding::ok("reload", what, seen));
    } else {
        let seen = format!("it is another than this one (generation {generation})");
        let remedy = "itwin-auth-proxy reload takes this one over; explain --live says what the \
                      process would do with a request";
        all.push(Finding::warning("reload", what, seen, remedy));
    }
    all
}

/// Each credential as it is there: a token may be fine here and not there.
fn credentials(status: &Value) -> Vec<Finding> {
    let mut all = Vec::new();
    for one in status["tokens"].as_array().into_iter().flatten() {
        let name = one["credential"].as_str().unwrap_or("?");
        let what = format!("credential {name} in the process");
        let zone = one["zone"].as_str().unwrap_or("none");
        let failing = one["failures_since_success"].as_u64().unwrap_or(0) > 0;
        let why = one["last_error"].as_str().unwrap_or("no attempt yet");
        let left = one["ends_in_seconds"].as_u64();
        all.push(match (left, failing) {
            (Some(left), true) => {
                let seen = format!("its token lasts {left} s, and cannot be renewed: {why}");
                let remedy = "mend it before the token ends; see the lines about the provider and \
                              the credential";
                Finding::warning("credential", &what, seen, remedy)
            }
            (None, true) if one["last_failure"]["class"] == "signed_out" => {
                let seen = format!("nobody is signed in: {why}");
                let remedy = format!("itwin-auth-proxy login {name}, as the user that the process runs as");
                Finding::failure("credential", &what, seen, remedy)
            }
            (None, true) => {
                let seen = format!("it has no token: {why}");
                let remedy = "see the lines about the provider and the credential; itwin-auth-proxy \
                              token refresh tries at once";
                Finding::failure("credential", &what, seen, remedy)
            }
            (None, false) => Finding::ok("credential", &what, "it has not needed a token yet"),
            (Some(_), false) if one["secret"] == "previous" => {
                let seen = "the provider takes the previous secret only";
                let remedy = "the new secret is not known to the provider: compare it with the \
                              registration before the previous one ends";
                Finding::warning("credential", &what, seen, remedy)
            }
            (Some(left), false) => {
                let changed = one["secret_changed"].as_str();
                let changed = changed.map(|at| format!("; its secret changed {at}"));
                let changed = changed.unwrap_or_default();
                let seen = format!("{zone}, {left} s left{changed}");
                Finding::ok("credential", &what, seen)
            }
        });
    }
    all
}

/// Files that changed while it ran.
fn rotations(status: &Value) -> Vec<Finding> {
    let mut all = Vec::new();
    for one in status["rotations"].as_array().into_iter().flatten() {
        let text = |key: &str| one[key].as_str().unwrap_or("?");
        let what = format!("{} of {} in the process", text("what"), text("of"));
        all.push(if one["result"] == "refused" {
            let seen = format!(
                "changed {}, and cannot be used: {}; the old one stays",
                text("at"),
                text("error")
            );
            let remedy = "mend the file; it is taken over when it can be used";
            Finding::failure("rotation", &what, seen, remedy)
        } else {
            let seen = format!("changed {}, and was taken over", text("at"));
            Finding::ok("rotation", &what, seen)
        });
    }
    all
}

/// Whether the process knows the keys that the provider has now.
pub(in crate::cli) async fn keys(asked: &Asked, config: &Config) -> Vec<Finding> {
    let Ok((StatusCode::OK, text)) = get(asked, "/status").await else {
        return Vec::new();
    };
    let status: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut all = Vec::new();
    for provider in config.providers.values() {
        if !checks_tokens_of(config, provider) || provider.answers_for_all() {
            continue;
        }
        let Some(known) = known(&status, provider) else {
            continue;
        };
        let Ok(now) = fetched(provider).await else {
            // told with the provider
            continue;
        };
        let what = format!("keys of provider {} in the process", provider.name);
        let new: Vec<&str> = now
            .iter()
            .filter(|id| *id != "?" && !known.contains(id))
            .map(String::as_str)
            .collect();
        all.push(if new.is_empty() {
            Finding::ok("process_keys", &what, "those that the provider has now")
        } else {
            let seen = format!("the provider has new ones: {}", new.join(", "));
            let remedy = "nothing: the process asks for them when it is shown a token of one, and \
                          every ten minutes";
            Finding::warning("process_keys", &what, seen, remedy)
        });
    }
    all
}

/// By `kid`.
fn known(status: &Value, provider: &Provider) -> Option<Vec<String>> {
    let lists = ["providers", "keys", "issuers"].iter();
    let mut all = lists.filter_map(|list| status[*list].as_array()).flatten();
    let issuer = provider.issuer.as_str().trim_end_matches('/');
    let its = all.find(|one| {
        let names = ["name", "provider", "issuer"].iter();
        let mut names = names.filter_map(|name| one[*name].as_str());
        one["keys"].is_array()
            && names.any(|name| name == &*provider.name || name.trim_end_matches('/') == issuer)
    })?;
    let keys = its["keys"].as_array()?.iter();
    let id = |key: &Value| key.as_str().or(key["kid"].as_str()).map(str::to_owned);
    Some(keys.filter_map(id).collect())
}

fn checks_tokens_of(config: &Config, provider: &Provider) -> bool {
    config.routes.iter().any(|route| match &route.admit {
        Admit::Rules(rules) => rules.iter().any(|rule| match rule {
            AdmitRule::Bearer { provider: its, .. } => its.name == provider.name,
            _ => false,
        }),
        Admit::Local | Admit::Anyone => false,
    })
}

async fn fetched(provider: &Provider) -> Result<Vec<String>, String> {
    let timeouts = provider.timeouts;
    let http = HttpClient::new(&provider.tls, timeouts.connect, timeouts.total);
    let http = http.map_err(|error| chain(&error))?;
    let url = match &provider.keys.location {
        KeysLocation::Given(url) => url.clone(),
        KeysLocation::Discover => discover_keys(&http, &provider.issuer, provider.also())
            .await
            .map_err(|error| chain(&error))?,
    };
    let document = fetch_jwks(&http, &url)
        .await
        .map_err(|error| chain(&error))?;
    Ok(key_ids(&document))
}
