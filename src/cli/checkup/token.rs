//! A token for each credential, asked for as in earnest and thrown away, and what it is for.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{Check, Finding};
use crate::{
    cli::output::chain,
    clock::Clock,
    config::{Config, Credential, ScopeSet},
    tokens::{ErrorKind, TokenError, TokenService},
};

pub(super) fn checks<'a>(
    config: &'a Config,
    tokens: &'a TokenService,
    clock: &'a Clock,
    checks: &mut Vec<Check<'a>>,
) {
    let mut asked = BTreeSet::new();
    let routes = config
        .routes
        .iter()
        .filter_map(|route| route.inject.as_ref());
    let wanted = routes
        .map(|inject| (&inject.credential, &inject.scopes))
        .chain(config.credentials.values().map(|one| (one, &one.scopes)));
    for (credential, scopes) in wanted {
        if !has_its_own(credential) || !asked.insert((Arc::clone(&credential.name), scopes)) {
            continue;
        }
        let named = if scopes.is_empty() {
            "none asked for".into()
        } else {
            scopes.to_string()
        };
        let what = format!("token for credential {} (scopes: {named})", credential.name);
        let work = examine(what.clone(), credential, scopes, tokens, clock);
        checks.push(Check::new("token", what, work));
    }
}

/// There is no caller's token to try an exchange with, nor a person's.
pub(super) fn has_its_own(credential: &Credential) -> bool {
    !credential.grant.exchanges() && credential.grant.flow().is_none()
}

async fn examine(
    what: String,
    credential: &Arc<Credential>,
    scopes: &ScopeSet,
    tokens: &TokenService,
    clock: &Clock,
) -> Vec<Finding> {
    let handle = tokens.handle(credential, scopes);
    let issuer = &credential.provider.issuer;
    let ready = match handle.get(Duration::ZERO, credential.patience()).await {
        Ok(ready) => ready,
        Err(error) => {
            let seen = format!("{issuer}: {}", chain(&error));
            return vec![Finding::failure(
                "token",
                &what,
                seen,
                remedy(credential, &error),
            )];
        }
    };
    let left = ready.expires().remaining(clock.now());
    let claims = claims(ready.text());
    let mut seen = format!("{issuer}, valid for {} s", left.as_secs());
    if let Some(audiences) = claims.as_ref().map(|claims| texts(&claims["aud"]))
        && !audiences.is_empty()
    {
        seen.push_str(", for ");
        seen.push_str(&audiences.join(", "));
    }
    let mut found = vec![if left < SHORT {
        let remedy =
            "tokens this short are fetched all the time; ask the provider for a longer life";
        Finding::warning("token", &what, seen, remedy)
    } else {
        Finding::ok("token", &what, seen)
    }];
    // what it says itself, where it says anything
    let says = claims.map(|claims| ScopeSet::new(texts(&claims["scope"])));
    let missing = match says {
        Some(says) if !says.is_empty() => says.missing(scopes),
        _ => handle.not_granted(),
    };
    let what = format!("scopes of credential {}", credential.name);
    if !missing.is_empty() {
        let seen = format!("asked for and not granted: {missing}");
        let remedy = format!(
            "add them to the registration of the client {} at {issuer}, or do not ask for them",
            credential.client_id
        );
        found.push(Finding::warning("scopes", &what, seen, remedy));
    } else if !scopes.is_empty() {
        found.push(Finding::ok("scopes", &what, "all that were asked for"));
    }
    found
}

fn remedy(credential: &Credential, error: &TokenError) -> String {
    if let Some(other) = credential.grant.shows()
        && error.kind == ErrorKind::Unavailable
    {
        let (name, provider) = (&other.name, &credential.provider.name);
        return format!(
            "see the line about credential {name}, whose token it shows; if that is well, those \
             about provider {provider}"
        );
    }
    if error.kind == ErrorKind::SignInAgain {
        return format!("itwin-auth-proxy login {}", credential.name);
    }
    let text = match error.kind {
        ErrorKind::Refused => {
            "compare client id, secret and scopes with the registration; a secret may have been \
             renewed or have ended there"
        }
        ErrorKind::InvalidGrant => {
            "the provider does not take what is shown for a token: a password, assertion or refresh \
             token must be replaced"
        }
        _ => {
            "see the lines about its provider; if they are well, try again in a while: it may be \
             overloaded"
        }
    };
    text.into()
}

/// What a JWT says, not believed by anybody; `None`: it is no JWT.
fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// One text or a list of them, as `aud` and `scope` are.
fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    let all = list.chain([value]).filter_map(Value::as_str);
    all.map(str::to_owned).collect()
}

/// SDKs renew ten minutes before the end, and would never stop.
const SHORT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_a_token_are_read_as_list_and_as_text() {
        for payload in [r#"{"scope":["a","b"]}"#, r#"{"scope":"b a"}"#] {
            let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload));
            let says = ScopeSet::new(texts(&claims(&token).unwrap()["scope"]));
            assert_eq!(says, ScopeSet::new(["a b"]), "{payload}");
        }
        for opaque in ["", "abc", "a.b", "a.!.c"] {
            assert_eq!(claims(opaque), None, "{opaque}");
        }
    }
}
