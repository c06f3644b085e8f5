//! The token endpoint of the mock authorization server: which grant is good, and what it gives.
//!
//! Every error is status 400, whatever the error; a missing `scope` means the platform's own;
//! refresh tokens are good for one use. What people granted is in [`super::people`].

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Map, Value, json};

use super::{
    clients::Authenticated,
    exchange::{self, Exchanged},
    faults::{IdpFault, Point},
    idp::{DEFAULT_SCOPE, FOREIGN_ISSUER, Form, Idp, OAuthError, random_text},
    journal::TokenRequest,
    people::{Granted, device},
    signing::Claims,
    sts,
};

/// What a refresh token stands for.
#[derive(Debug, Clone)]
pub(super) struct RefreshToken {
    pub(super) client_id: String,
    pub(super) user: String,
    pub(super) scopes: Vec<String>,
    pub(super) spent: bool,
    pub(super) granted: Option<Arc<Granted>>,
}

/// What a token is issued for.
pub(super) struct Issue {
    pub(super) client_id: String,
    pub(super) user: Option<String>,
    pub(super) scopes: Vec<String>,
    /// What a refresh token beside it is good for; empty: there is none.
    pub(super) renewable: Vec<String>,
    /// Where another token was shown for it.
    pub(super) exchanged: Option<Exchanged>,
    /// Where a person signed in for it.
    pub(super) granted: Option<Arc<Granted>>,
}

/// Asks for a refresh token; never in the token itself.
pub(super) const OFFLINE: &str = "offline_access";

impl Idp {
    pub(super) fn token(
        &self,
        request: &Request<Bytes>,
        fault: Option<&IdpFault>,
    ) -> Result<Value, OAuthError> {
        if request.method() != Method::POST {
            return Err(OAuthError::request("a token is asked for with POST"));
        }
        let form = Form::read(request.headers(), request.body())?;
        let authenticated = self
            .clients
            .authenticate(request.headers(), &form, self.clock.now());
        let granted = authenticated.as_ref().map_or_else(
            |error| Err(OAuthError::new(&error.error, &error.description)),
            |who| self.grant(who, &form),
        );
        let person = granted.as_ref().ok().and_then(|issue| {
            let granted = issue.granted.as_ref()?;
            Some(granted.person.mail.clone())
        });
        let issued = granted.and_then(|issue| self.issue(&issue, fault));
        self.journal.token_request(TokenRequest {
            client_id: match &authenticated {
                Ok(who) => who.client.id.clone(),
                Err(_) => form.get("client_id").unwrap_or("(unknown)").to_owned(),
            },
            grant_type: form.get("grant_type").unwrap_or_default().to_owned(),
            person,
            client_auth: authenticated.as_ref().map_or("none", |who| who.method),
            scope: form.get("scope").unwrap_or_default().to_owned(),
            parameters: form
                .all()
                .filter(|(name, _)| !RECORDED_OTHERWISE.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            result: match &issued {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.error.clone(),
            },
        });
        issued
    }

    /// Decides whether the grant is good, and what for.
    fn grant(&self, who: &Authenticated, form: &Form) -> Result<Issue, OAuthError> {
        let client_id = who.client.id.clone();
        match form.get("grant_type") {
            Some("client_credentials") => {
                if who.method == "none" {
                    let text = "a public client has no credentials";
                    return Err(OAuthError::new("unauthorized_client", text));
                }
                let scopes = scopes(who, form.get("scope"))?;
                let identity = ["openid", "profile", "email", "organization", OFFLINE];
                if scopes.iter().any(|scope| identity.contains(&&**scope)) {
                    let text = "a service has no identity and no session";
                    return Err(OAuthError::new("invalid_scope", text));
                }
                Ok(Issue {
                    client_id,
                    user: None,
                    scopes,
                    renewable: Vec::new(),
                    exchanged: None,
                    granted: None,
                })
            }
            Some("password") => {
                let (name, password) = form
                    .get("username")
                    .zip(form.get("password"))
                    .ok_or_else(|| OAuthError::request("username or password is missing"))?;
                let person = self.people.iter().find(|person| person.mail == name);
                let known = person.map(|person| &person.password);
                if known
                    .or_else(|| self.users.get(name))
                    .is_none_or(|known| known != password)
                {
                    let text = "invalid_username_or_password";
                    return Err(OAuthError::new("invalid_grant", text));
                }
                let scopes = scopes(who, form.get("scope"))?;
                let offline = scopes.iter().any(|scope| scope == OFFLINE);
                Ok(Issue {
                    client_id,
                    user: Some(name.to_owned()),
                    renewable: if offline { scopes.clone() } else { Vec::new() },
                    scopes,
                    exchanged: None,
                    granted: None,
                })
            }
            Some(exchange::GRANT_TYPE) => self.exchange(who, form),
            Some(sts::SAML_TOKEN | sts::SAML2_BEARER) => self.for_saml(who, form),
            Some(sts::JWT_BEARER) => self.for_jwt(who, form),
            Some("refresh_token") => self.refresh(client_id, form),
            Some("authorization_code") => self.redeem(client_id, form),
            Some(device::GRANT_TYPE) => self.poll(client_id, form),
            Some(_) => Err(OAuthError::new("unsupported_grant_type", "not offered")),
            None => Err(OAuthError::request("grant_type is missing")),
        }
    }

    /// RFC 6749 section 6; good for one use, as IdentityServer's default is.
    fn refresh(&self, client_id: String, form: &Form) -> Result<Issue, OAuthError> {
        let shown = form
            .get("refresh_token")
            .ok_or_else(|| OAuthError::request("refresh_token is missing"))?;
        let bad = || OAuthError::new("invalid_grant", "the refresh token is not good (any more)");
        self.journal.count(|counts| counts.refreshes += 1);
        if self.faults.strike_sign_in(Point::Refresh).is_some() {
            return Err(bad());
        }
        let mut tokens = self.refresh_tokens.lock();
        let token = tokens
            .get_mut(shown)
            .filter(|token| token.client_id == client_id)
            .ok_or_else(bad)?;
        if token.spent {
            self.journal.count(|counts| counts.refresh_reuses += 1);
            // RFC 9700 section 4.14.2: who shows it may have stolen it
            if let Some(granted) = token.granted.clone() {
                drop(tokens);
                self.revoke_family(granted.family);
            }
            return Err(bad());
        }
        let scopes = match form.get("scope") {
            None => token.scopes.clone(),
            Some(narrowed) => {
                let narrowed: Vec<String> = split(narrowed);
                if narrowed.iter().any(|scope| !token.scopes.contains(scope)) {
                    return Err(OAuthError::new("invalid_scope", "more than was granted"));
                }
                narrowed
            }
        };
        token.spent = true;
        Ok(Issue {
            client_id,
            user: Some(token.user.clone()),
            scopes,
            renewable: token.scopes.clone(),
            exchanged: None,
            granted: token.granted.clone(),
        })
    }

    pub(super) fn issue(
        &self,
        issue: &Issue,
        fault: Option<&IdpFault>,
    ) -> Result<Value, OAuthError> {
        let wall = self.clock.now().wall;
        let now = wall.as_secs();
        let lifetime = self.faults.lifetime().as_secs();
        // `exp` has no fractions: rounded up, so that no token lives shorter than `expires_in` says
        let exp = now + lifetime + u64::from(wall.subsec_nanos() > 0);
        let serial = self.faults.next_serial();
        let mut scope = issue.scopes.clone();
        scope.retain(|scope| scope != OFFLINE);
        let mut others = Map::new();
        if let Some(user) = &issue.user {
            others.insert("preferred_username".into(), user.clone().into());
        }
        let issuer = match fault {
            Some(IdpFault::ForeignIssuer) => FOREIGN_ISSUER,
            _ => &self.issuer,
        };
        let mut claims = Claims {
            aud: vec![
                format!("{issuer}/as/token.oauth2"),
                format!("{issuer}/resources"),
                "bentley-api-management".to_owned(),
            ],
            scope,
            client_id: issue.client_id.clone(),
            sub: match &issue.granted {
                Some(granted) => granted.person.subject(),
                None => super::guid(0xc1, &issue.client_id),
            },
            iss: issuer.to_owned(),
            sid: format!("{serial}.{}", random_text()),
            nbf: now.saturating_sub(300),
            exp,
            others,
        };
        if let Some(granted) = &issue.granted {
            granted.person.describe(&issue.scopes, &mut claims.others);
            self.desk.lock().issued(granted.family, serial);
        }
        if let Some(exchanged) = &issue.exchanged {
            exchanged.mark(&mut claims);
        }
        let token = self
            .signer
            .sign(&claims, self.clock.now())
            .map_err(|error| OAuthError::new("server_error", &error.to_string()))?;
        let mut document = json!({
            "access_token": token,
            "expires_in": lifetime,
            "token_type": "Bearer",
            "scope": issue.scopes.join(" "),
        });
        exchange::say(issue, &mut document);
        if let Some(granted) = &issue.granted
            && issue.scopes.iter().any(|scope| scope == "openid")
        {
            document["id_token"] = self.id_token(granted, &token)?.into();
        }
        match fault {
            Some(IdpFault::NoExpiresIn) => {
                if let Some(keys) = document.as_object_mut() {
                    keys.remove("expires_in");
                }
            }
            Some(IdpFault::ZeroExpiresIn) => document["expires_in"] = 0.into(),
            _ => {}
        }
        if let (false, Some(user)) = (issue.renewable.is_empty(), &issue.user) {
            document["refresh_token"] = self
                .refresh_token(RefreshToken {
                    client_id: issue.client_id.clone(),
                    user: user.clone(),
                    scopes: issue.renewable.clone(),
                    spent: false,
                    granted: issue.granted.clone(),
                })
                .into();
        }
        Ok(document)
    }

    /// A new refresh token.
    pub(super) fn refresh_token(&self, token: RefreshToken) -> String {
        let handle = random_text();
        self.refresh_tokens.lock().insert(handle.clone(), token);
        handle
    }
}

/// Parameters that [`TokenRequest`] has in a field of their own, and those that are secrets.
const RECORDED_OTHERWISE: [&str; 13] = [
    "code",
    "code_verifier",
    "device_code",
    "assertion",
    "client_id",
    "client_secret",
    "client_assertion",
    "grant_type",
    "password",
    "refresh_token",
    "scope",
    "subject_token",
    "client_assertion_type",
];

pub(super) fn scopes(who: &Authenticated, asked: Option<&str>) -> Result<Vec<String>, OAuthError> {
    let asked = split(asked.unwrap_or(DEFAULT_SCOPE));
    let allowed = &who.client.scopes;
    if !allowed.is_empty() && asked.iter().any(|scope| !allowed.contains(scope)) {
        return Err(OAuthError::new("invalid_scope", "not for this client"));
    }
    Ok(asked)
}

pub(super) fn split(scopes: &str) -> Vec<String> {
    scopes.split_ascii_whitespace().map(str::to_owned).collect()
}
