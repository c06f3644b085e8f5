//! Providers: the way there, what time it is there, what its metadata say, whether it answers
//! questions about tokens, and whether people could sign in.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, header};

use super::{
    Check, Finding, sign_in,
    way::{self, Further, To},
};
use crate::{
    cli::output::chain,
    clock::{Clock, Moment},
    config::{
        ClientAuth, Config, Endpoints, Grant, Introspection, IntrospectionEndpoint, KeysLocation,
        Provider,
    },
    http::client::HttpClient,
    oauth::{
        CheckedMetadata, ClientMaterial, IntrospectionRequest, SecretInUse, discover,
        discover_introspection, discover_keys, fetch_jwks, introspect,
    },
    secret::Secret,
};

/// The way to each provider, its clock, its metadata and keys.
pub(super) fn checks<'a>(config: &'a Config, clock: &'a Clock, checks: &mut Vec<Check<'a>>) {
    for provider in config.providers.values() {
        let what = format!("provider {}", provider.name);
        checks.push(Check::new(
            "provider",
            what,
            examine(config, provider, clock),
        ));
    }
}

/// Whether people can sign in there, and APIs ask about tokens.
pub(super) fn questions<'a>(config: &'a Config, clock: &'a Clock, checks: &mut Vec<Check<'a>>) {
    for session in config.sessions.values() {
        let what = format!("sign-in of session {}", session.name);
        let name = what.clone();
        checks.push(Check::new("sign_in", what, async move {
            let tried = sign_in::try_session(session, clock.now()).await;
            let issuer = &session.credential.provider.issuer;
            let tried = tried.map_err(|why| format!("{issuer}: {why}"));
            let remedy = "compare client, secret and redirect URI with what is registered there";
            vec![finding("sign_in", &name, tried, remedy)]
        }));
    }
    for provider in config.providers.values() {
        let Some(introspection) = &provider.introspection else {
            continue;
        };
        let what = format!(
            "introspection at provider {} as {}",
            provider.name, introspection.client_id
        );
        let name = what.clone();
        checks.push(Check::new("introspection", what, async move {
            let asked = ask_about_nothing(provider, introspection, clock.now()).await;
            let remedy = "compare the API's name and secret with what is registered there; it is \
                          no client that gets tokens";
            vec![finding("introspection", &name, asked, remedy)]
        }));
    }
}

fn finding(
    check: &'static str,
    what: &str,
    result: Result<String, String>,
    remedy: &str,
) -> Finding {
    match result {
        Ok(seen) => Finding::ok(check, what, seen),
        Err(why) => Finding::failure(check, what, why, remedy),
    }
}

async fn examine(config: &Config, provider: &Arc<Provider>, clock: &Clock) -> Vec<Finding> {
    let whom = format!("provider {}", provider.name);
    let url = match &provider.endpoints {
        Endpoints::Discover { .. } => &provider.issuer,
        Endpoints::Given { token } => token,
    };
    let Ok(uri) = url.as_str().parse() else {
        return Vec::new();
    };
    let to = To {
        whom,
        uri,
        tls: &provider.tls,
        alpn: &[b"http/1.1"],
        limit: provider.timeouts.connect,
    };
    let (mut found, further) = way::go(&to, clock).await;
    if further == Further::No {
        return found;
    }
    let timeouts = provider.timeouts;
    let http = match HttpClient::new(&provider.tls, timeouts.connect, timeouts.total) {
        Ok(http) => http,
        Err(error) => {
            let remedy = "mend the named file of `tls` in the configuration";
            found.push(Finding::failure("tls", &to.whom, chain(&error), remedy));
            return found;
        }
    };
    let (time, metadata, keys) = tokio::join!(
        clock_of(provider, url, &http, clock),
        metadata(config, provider, &http),
        keys(config, provider, &http)
    );
    found.extend(time.into_iter().chain(metadata).chain(keys));
    found
}

/// The time in its answer's `Date` (RFC 9110 section 6.6.1), which has whole seconds.
async fn clock_of(
    provider: &Provider,
    url: &url::Url,
    http: &HttpClient,
    clock: &Clock,
) -> Option<Finding> {
    let what = format!("clock against provider {}", provider.name);
    let path = url.path().trim_end_matches('/');
    let mut asked = url.clone();
    asked.set_path(&format!("{path}/.well-known/openid-configuration"));
    let request = Request::get(asked.as_str()).body(Bytes::new()).ok()?;
    let sent = clock.now();
    let answer = http.send(request).await.ok()?;
    let received = clock.now();
    let date = answer.headers().get(header::DATE);
    let date = date
        .and_then(|value| value.to_str().ok())
        .and_then(|text| httpdate::parse_http_date(text).ok())
        .and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    let Some(there) = date else {
        let seen = "its answer does not say what time it is";
        return Some(Finding::ok("clock", &what, seen));
    };
    Some(judged(&what, there, sent, received))
}

/// It was written some time between `sent` and `received`, and cut to whole seconds.
fn judged(what: &str, there: Duration, sent: Moment, received: Moment) -> Finding {
    let earliest = sent.wall.saturating_sub(Duration::from_secs(1));
    let (off, way) = match there.checked_sub(received.wall) {
        Some(off) => (off, "behind"),
        None => (earliest.saturating_sub(there), "ahead"),
    };
    if off < TELL {
        return Finding::ok("clock", what, "the same time");
    }
    let seconds = off.as_secs();
    let seen = format!("this machine is {seconds} s {way}");
    let remedy = "set the clock of this machine by NTP (timedatectl set-ntp true); tokens and \
                  certificates hold from one time to another";
    if off < REFUSED {
        Finding::warning("clock", what, seen, remedy)
    } else {
        Finding::failure("clock", what, seen, remedy)
    }
}

async fn metadata(config: &Config, provider: &Arc<Provider>, http: &HttpClient) -> Vec<Finding> {
    let what = format!("metadata of provider {}", provider.name);
    match &provider.endpoints {
        Endpoints::Given { token } => {
            let seen = format!("not asked for: the token endpoint is given, {token}");
            return vec![Finding::ok("metadata", &what, seen)];
        }
        // nobody asks it for tokens, and it may have no endpoint for them
        Endpoints::Discover { .. } if !gives_tokens(config, provider) => return Vec::new(),
        Endpoints::Discover { .. } => {}
    }
    match discover(http, &provider.issuer, provider.also()).await {
        Ok(metadata) => {
            let seen = format!("token endpoint {}", metadata.token_endpoint);
            let mut found = vec![Finding::ok("metadata", &what, seen)];
            found.extend(unsupported(config, provider, &metadata));
            found
        }
        Err(error) => {
            let remedy = format!(
                "compare the issuer {} with the provider's documentation, to the letter; its \
                 metadata are at /.well-known/openid-configuration below it",
                provider.issuer
            );
            vec![Finding::failure("metadata", &what, chain(&error), remedy)]
        }
    }
}

fn gives_tokens(config: &Config, provider: &Arc<Provider>) -> bool {
    let mut credentials = config.credentials.values();
    credentials.any(|credential| credential.provider.name == provider.name)
}

/// What the metadata say that it does not do, and a credential wants. Many say less than they do.
fn unsupported(
    config: &Config,
    provider: &Arc<Provider>,
    metadata: &CheckedMetadata,
) -> Vec<Finding> {
    let lacks = |list: &[String], one: &str| !list.is_empty() && !list.iter().any(|it| it == one);
    let mut found = Vec::new();
    for credential in config.credentials.values() {
        if credential.provider.name != provider.name {
            continue;
        }
        let what = format!("what credential {} asks for", credential.name);
        let mut lacking = Vec::new();
        if let Some(grant) = standard_name(&credential.grant)
            && lacks(&metadata.grant_types, grant)
        {
            lacking.push(format!("the grant {grant}"));
        }
        let method = match &credential.auth {
            ClientAuth::Basic(_) => Some("client_secret_basic"),
            ClientAuth::Post(_) => Some("client_secret_post"),
            ClientAuth::Assertion(_) => Some("private_key_jwt"),
            ClientAuth::None | ClientAuth::MutualTls(_) => None,
        };
        if let Some(method) = method.filter(|method| lacks(&metadata.auth_methods, method)) {
            lacking.push(format!("client authentication by {method}"));
        }
        let scopes = credential.scopes.iter();
        let unknown = scopes.filter(|scope| lacks(&metadata.scopes, scope));
        lacking.extend(unknown.map(|scope| format!("the scope {scope}")));
        if !lacking.is_empty() {
            let seen = format!("the metadata do not name {}", lacking.join(", "));
            let remedy = "if tokens come nevertheless, all is well; if not, ask the provider what \
                          the client is registered for";
            found.push(Finding::warning("metadata", &what, seen, remedy));
        }
    }
    found
}

/// As `grant_types_supported` has it (RFC 8414 section 2), where it has one name.
fn standard_name(grant: &Grant) -> Option<&'static str> {
    Some(match grant {
        Grant::ClientCredentials => "client_credentials",
        Grant::Password { .. } => "password",
        Grant::RefreshToken { .. } => "refresh_token",
        Grant::TokenExchange { .. } => "urn:ietf:params:oauth:grant-type:token-exchange",
        Grant::JwtBearer { .. } => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        Grant::SamlBearer { .. } | Grant::AuthorizationCode { .. } => return None,
    })
}

/// Of providers whose tokens callers show.
async fn keys(config: &Config, provider: &Arc<Provider>, http: &HttpClient) -> Option<Finding> {
    let mut checked = config.routes.iter().flat_map(|route| match &route.admit {
        crate::config::Admit::Rules(rules) => rules.as_slice(),
        _ => &[],
    });
    let used = checked.any(|rule| match rule {
        crate::config::AdmitRule::Bearer { provider: its, .. } => its.name == provider.name,
        _ => false,
    });
    if !used || provider.answers_for_all() {
        return None;
    }
    let what = format!("keys of provider {}", provider.name);
    let url = match &provider.keys.location {
        KeysLocation::Given(url) => Ok(url.clone()),
        KeysLocation::Discover => discover_keys(http, &provider.issuer, provider.also())
            .await
            .map_err(|error| chain(&error)),
    };
    let document = match url {
        Ok(url) => fetch_jwks(http, &url).await.map_err(|error| chain(&error)),
        Err(why) => Err(why),
    };
    let remedy = "callers' tokens cannot be checked without its keys: see that the provider serves \
                  them, or name their place in providers.….keys";
    Some(match document.map(|text| key_ids(&text)) {
        Err(why) => Finding::failure("keys", &what, why, remedy),
        Ok(ids) if ids.is_empty() => Finding::failure("keys", &what, "there are none", remedy),
        Ok(ids) => Finding::ok("keys", &what, ids.join(", ")),
    })
}

/// The `kid` of each key (RFC 7517 section 4.5), in their order; `?` for one without.
pub(in crate::cli) fn key_ids(document: &[u8]) -> Vec<String> {
    let set: serde_json::Value = serde_json::from_slice(document).unwrap_or_default();
    let keys = set["keys"].as_array();
    let id = |key: &serde_json::Value| key["kid"].as_str().unwrap_or("?").to_owned();
    keys.into_iter().flatten().map(id).collect()
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

/// Below it, a clock is as good as the answer's whole seconds.
const TELL: Duration = Duration::from_secs(5);

/// What verifiers allow at most, as a rule; tokens and assertions are refused beyond it.
const REFUSED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::checkup::Verdict;

    #[tokio::test(start_paused = true)]
    async fn a_clock_is_judged_by_what_the_answer_can_mean() {
        let clock = Clock::for_tests(Duration::from_secs(1_000_000));
        let sent = clock.now();
        tokio::time::advance(Duration::from_secs(2)).await;
        let received = clock.now();
        for (there, verdict, seen) in [
            (1_000_001, Verdict::Ok, "the same time"),
            (999_999, Verdict::Ok, "the same time"),
            (1_000_006, Verdict::Ok, "the same time"),
            (1_000_007, Verdict::Warning, "this machine is 5 s behind"),
            (999_989, Verdict::Warning, "this machine is 10 s ahead"),
            (1_000_072, Verdict::Failure, "this machine is 70 s behind"),
            (990_000, Verdict::Failure, "this machine is 9999 s ahead"),
        ] {
            let found = judged("clock", Duration::from_secs(there), sent, received);
            assert_eq!((found.verdict, &*found.seen), (verdict, seen), "{there}");
        }
    }

    #[test]
    fn keys_are_told_by_their_ids() {
        assert_eq!(
            key_ids(br#"{"keys":[{"kid":"a"},{"kty":"RSA"}]}"#),
            ["a", "?"]
        );
        assert!(key_ids(b"<html>").is_empty());
    }
}
