//! The clients that the mock authorization server knows, and how they prove who they are.
//!
//! Secrets come by Basic, form-encoded (RFC 6749 section 2.3.1), or in the body; assertions as
//! RFC 7523 section 2.2 has them. One request, one way.

use std::collections::{BTreeMap, HashSet};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use parking_lot::Mutex;
use serde_json::Value;

use super::{
    idp::{Form, OAuthError},
    people::Registration,
};
use crate::clock::Moment;

/// A registered client.
#[derive(Debug, Clone)]
pub struct Client {
    pub id: String,
    /// Any of them will do. None, and no assertion: a public client.
    pub secrets: Vec<String>,
    pub assertion: AssertionTrust,
    /// What it may ask for; empty: anything.
    pub scopes: Vec<String>,
    /// Where it signs people in.
    pub registration: Registration,
}

impl Client {
    /// With one secret.
    pub fn with_secret(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secrets: vec![secret.into()],
            assertion: AssertionTrust::None,
            scopes: Vec::new(),
            registration: Registration::default(),
        }
    }

    /// Without any secret.
    pub fn public(id: impl Into<String>, registration: Registration) -> Self {
        Self {
            secrets: Vec::new(),
            registration,
            ..Self::with_secret(id, "")
        }
    }
}

/// Which client assertions are taken.
#[derive(Debug, Clone)]
pub enum AssertionTrust {
    /// None.
    None,
    /// Any JWT that has not expired and names us; whoever signed it. For a cluster's
    /// service-account tokens, whose `sub` is not the client.
    Structure,
    /// `private_key_jwt`: `iss` and `sub` are the client, signed with this key (PEM).
    Key { algorithm: Algorithm, pem: String },
}

/// The `client_assertion_type` of RFC 7523 section 2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// All clients.
#[derive(Debug)]
pub(super) struct Clients {
    by_id: Mutex<BTreeMap<String, Client>>,
    /// `jti` of the assertions taken so far.
    assertions: Mutex<HashSet<String>>,
    /// What an assertion may name as its audience.
    audiences: [String; 2],
}

/// Who asks, and how they proved it.
#[derive(Debug)]
pub(super) struct Authenticated {
    pub(super) client: Client,
    pub(super) method: &'static str,
}

impl Clients {
    pub(super) fn new(clients: Vec<Client>, audiences: [String; 2]) -> Self {
        let by_id = clients
            .into_iter()
            .map(|client| (client.id.clone(), client))
            .collect();
        Self {
            by_id: Mutex::new(by_id),
            assertions: Mutex::default(),
            audiences,
        }
    }

    /// The client `id` may use these secrets from now on, and no other.
    pub(super) fn set_secrets(&self, id: &str, secrets: Vec<String>) {
        if let Some(client) = self.by_id.lock().get_mut(id) {
            client.secrets = secrets;
        }
    }

    pub(super) fn authenticate(
        &self,
        headers: &HeaderMap,
        form: &Form,
        now: Moment,
    ) -> Result<Authenticated, OAuthError> {
        let basic = headers
            .get(AUTHORIZATION)
            .map(|value| basic(value.as_bytes()).ok_or_else(|| OAuthError::client("header")))
            .transpose()?;
        let secret = form.get("client_secret");
        let assertion = form.get("client_assertion");
        let id = form.get("client_id");
        match (basic, secret, assertion) {
            (Some((user, password)), None, None) => {
                if id.is_some_and(|id| id != user) {
                    return Err(OAuthError::request("two different clients"));
                }
                let client = self.with_secret(&user, &password)?;
                Ok(Authenticated {
                    client,
                    method: "client_secret_basic",
                })
            }
            (None, Some(secret), None) => {
                let id = id.ok_or_else(|| OAuthError::request("client_id is missing"))?;
                let client = self.with_secret(id, secret)?;
                Ok(Authenticated {
                    client,
                    method: "client_secret_post",
                })
            }
            (None, None, Some(assertion)) => {
                let client = self.with_assertion(id, assertion, form, now)?;
                Ok(Authenticated {
                    client,
                    method: "private_key_jwt",
                })
            }
            (None, None, None) => {
                let id = id.ok_or_else(|| OAuthError::client("no client authentication"))?;
                let client = self.known(id)?;
                let public =
                    client.secrets.is_empty() && matches!(client.assertion, AssertionTrust::None);
                if !public {
                    return Err(OAuthError::client("no client authentication"));
                }
                Ok(Authenticated {
                    client,
                    method: "none",
                })
            }
            // RFC 6749 section 2.3: not more than one method
            _ => Err(OAuthError::request("more than one client authentication")),
        }
    }

    pub(super) fn known(&self, id: &str) -> Result<Client, OAuthError> {
        let client = self.by_id.lock().get(id).cloned();
        client.ok_or_else(|| OAuthError::client("Invalid client or client credentials."))
    }

    fn with_secret(&self, id: &str, secret: &str) -> Result<Client, OAuthError> {
        let client = self.known(id)?;
        if client.secrets.iter().any(|known| known == secret) {
            return Ok(client);
        }
        Err(OAuthError::client("Invalid client or client credentials."))
    }

    fn with_assertion(
        &self,
        id: Option<&str>,
        assertion: &str,
        form: &Form,
        now: Moment,
    ) -> Result<Client, OAuthError> {
        if form.get("client_assertion_type") != Some(JWT_BEARER) {
            return Err(OAuthError::request("client_assertion_type is not known"));
        }
        let bad = || OAuthError::client("Invalid client assertion.");
        let claims = claims(assertion).ok_or_else(bad)?;
        let subject = claims["sub"].as_str().ok_or_else(bad)?;
        let client = self.known(id.unwrap_or(subject))?;
        match &client.assertion {
            AssertionTrust::None => return Err(bad()),
            AssertionTrust::Structure => {}
            AssertionTrust::Key { algorithm, pem } => {
                verify(assertion, *algorithm, pem).ok_or_else(bad)?;
                if subject != client.id || claims["iss"] != claims["sub"] {
                    return Err(bad());
                }
            }
        }
        let live = claims["exp"]
            .as_u64()
            .is_some_and(|exp| exp > now.unix_seconds());
        let for_us = match &claims["aud"] {
            Value::String(audience) => self.audiences.contains(audience),
            Value::Array(all) => all
                .iter()
                .filter_map(Value::as_str)
                .any(|audience| self.audiences.iter().any(|ours| ours == audience)),
            _ => false,
        };
        if !live || !for_us {
            return Err(bad());
        }
        // one that a cluster keeps in a file is shown again and again; one of `private_key_jwt` is not
        if matches!(client.assertion, AssertionTrust::Key { .. }) {
            let id = claims["jti"].as_str().ok_or_else(bad)?;
            if !self.assertions.lock().insert(id.to_owned()) {
                return Err(bad());
            }
        }
        Ok(client)
    }
}

/// User and password of `Authorization: Basic …`, form-decoded.
fn basic(value: &[u8]) -> Option<(String, String)> {
    let (user, password) = plain_basic(value)?;
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let text = percent_encoding::percent_decode_str(&text).decode_utf8();
        text.ok().map(std::borrow::Cow::into_owned)
    };
    Some((decode(&user)?, decode(&password)?))
}

/// The same as RFC 7617 has it.
pub(super) fn plain_basic(value: &[u8]) -> Option<(String, String)> {
    let value = std::str::from_utf8(value).ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn claims(jwt: &str) -> Option<Value> {
    let mut parts = jwt.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn verify(jwt: &str, algorithm: Algorithm, pem: &str) -> Option<()> {
    let key = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(pem.as_bytes()),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(pem.as_bytes()),
        _ => DecodingKey::from_rsa_pem(pem.as_bytes()),
    }
    .ok()?;
    let mut rules = Validation::new(algorithm);
    // times and audience are compared by the caller
    rules.validate_exp = false;
    rules.validate_aud = false;
    decode::<Value>(jwt, &key, &rules).ok().map(|_| ())
}
