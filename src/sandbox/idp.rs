//! The mock authorization server: discovery, keys and token endpoint, shaped as Bentley IMS and
//! IdentityServer shape theirs.
//!
//! Every error of the token endpoint is status 400, whatever the error; refresh tokens are good for
//! one use; a missing `scope` means the platform's own; there is no
//! `/.well-known/oauth-authorization-server`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::{
    answer,
    clients::{Authenticated, Clients},
    exchange::{self, Exchanged},
    faults::{Faults, IdpEndpoint, IdpFault},
    journal::{Journal, TokenRequest},
    server::{Body, Cut},
    signing::{Claims, Signer},
    sts,
};
use crate::clock::Clock;

/// The scope of a token when none is asked for.
pub(super) const DEFAULT_SCOPE: &str = "itwin-platform";

const HUGE_BYTES: u64 = 64 * 1024 * 1024;
const FOREIGN_ISSUER: &str = "https://somebody-else.example";

/// The authorization server.
#[derive(Debug)]
pub(super) struct Idp {
    pub(super) issuer: String,
    pub(super) clock: Clock,
    pub(super) signer: Arc<Signer>,
    pub(super) faults: Faults,
    pub(super) journal: Arc<Journal>,
    pub(super) clients: Clients,
    /// Who may ask about tokens.
    pub(super) apis: Clients,
    /// Name and password.
    pub(super) users: BTreeMap<String, String>,
    pub(super) assertions: sts::Assertions,
    pub(super) refresh_tokens: Mutex<HashMap<String, RefreshToken>>,
}

/// What a refresh token stands for.
#[derive(Debug, Clone)]
pub(super) struct RefreshToken {
    client_id: String,
    user: String,
    scopes: Vec<String>,
    spent: bool,
}

/// An answer of the token endpoint (RFC 6749 section 5.2).
#[derive(Debug)]
pub(super) struct OAuthError {
    error: String,
    description: String,
}

impl OAuthError {
    pub(super) fn new(error: &str, description: &str) -> Self {
        Self {
            error: error.to_owned(),
            description: description.to_owned(),
        }
    }

    pub(super) fn client(description: &str) -> Self {
        Self::new("invalid_client", description)
    }

    pub(super) fn request(description: &str) -> Self {
        Self::new("invalid_request", description)
    }

    fn response(&self) -> Response<Body> {
        let body = json!({"error": self.error, "error_description": self.description});
        answer::no_store(answer::json(StatusCode::BAD_REQUEST, &body))
    }
}

/// The parameters of a request, each at most once (RFC 6749 section 3.2).
#[derive(Debug)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, OAuthError> {
        let form = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| {
                let essence = value.split(';').next().unwrap_or_default().trim();
                essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
            });
        if !form {
            return Err(OAuthError::request("the body is not a form"));
        }
        let mut parameters = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            // an empty value counts as a missing one
            if !value.is_empty()
                && parameters
                    .insert(name.into_owned(), value.into_owned())
                    .is_some()
            {
                return Err(OAuthError::request("a parameter is given twice"));
            }
        }
        Ok(Self(parameters))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
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
}

/// Asks for a refresh token; never in the token itself.
pub(super) const OFFLINE: &str = "offline_access";

impl Idp {
    pub(super) async fn handle(&self, request: Request<Bytes>) -> Result<Response<Body>, Cut> {
        let endpoint = match request.uri().path() {
            "/.well-known/openid-configuration" => IdpEndpoint::Discovery,
            "/.well-known/openid-configuration/jwks" => IdpEndpoint::Keys,
            "/connect/token" => IdpEndpoint::Token,
            "/connect/introspect" => IdpEndpoint::Introspection,
            sts::SIGN_IN => IdpEndpoint::Sts,
            sts::DELEGATION => IdpEndpoint::Delegation,
            _ => return Ok(answer::empty(StatusCode::NOT_FOUND)),
        };
        self.journal.count(|counts| match endpoint {
            IdpEndpoint::Discovery => counts.discovery_requests += 1,
            IdpEndpoint::Keys => counts.key_requests += 1,
            IdpEndpoint::Introspection => counts.introspection_requests += 1,
            IdpEndpoint::Sts => counts.sts_requests += 1,
            IdpEndpoint::Delegation => counts.delegation_requests += 1,
            IdpEndpoint::Token | IdpEndpoint::All => counts.token_requests += 1,
        });
        let fault = self.faults.strike_idp(endpoint);
        let response = match &fault {
            Some(IdpFault::Hang) => std::future::pending().await,
            Some(IdpFault::Reset) => return Err(Cut),
            Some(IdpFault::Status {
                status,
                retry_after,
            }) => answer::retry_after(plain(*status), *retry_after),
            Some(IdpFault::EmptyBody) => answer::empty(StatusCode::OK),
            Some(IdpFault::HugeBody) => answer::spaces(HUGE_BYTES),
            Some(IdpFault::NotJson) => answer::login_page(),
            Some(IdpFault::OAuthError { error }) if endpoint == IdpEndpoint::Token => {
                OAuthError::new(error, "as the sandbox was told").response()
            }
            _ => self.serve(endpoint, &request, fault.as_ref()),
        };
        Ok(response)
    }

    fn serve(
        &self,
        endpoint: IdpEndpoint,
        request: &Request<Bytes>,
        fault: Option<&IdpFault>,
    ) -> Response<Body> {
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        match endpoint {
            IdpEndpoint::Discovery if get => {
                let mut document = self.discovery();
                if fault == Some(&IdpFault::ForeignIssuer) {
                    document["issuer"] = FOREIGN_ISSUER.into();
                }
                answer::json(StatusCode::OK, &document)
            }
            IdpEndpoint::Keys if get => answer::json(StatusCode::OK, &self.signer.jwks()),
            IdpEndpoint::Introspection => self.introspect(request),
            IdpEndpoint::Sts => self.sign_in(request),
            IdpEndpoint::Delegation => self.delegate(request),
            IdpEndpoint::Token | IdpEndpoint::All => match self.token(request, fault) {
                Ok(document) => answer::no_store(answer::json(StatusCode::OK, &document)),
                Err(error) => error.response(),
            },
            IdpEndpoint::Discovery | IdpEndpoint::Keys => {
                answer::empty(StatusCode::METHOD_NOT_ALLOWED)
            }
        }
    }

    fn token(
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
        let issued = granted.and_then(|issue| self.issue(&issue, fault));
        self.journal.token_request(TokenRequest {
            client_id: match &authenticated {
                Ok(who) => who.client.id.clone(),
                Err(_) => form.get("client_id").unwrap_or("(unknown)").to_owned(),
            },
            grant_type: form.get("grant_type").unwrap_or_default().to_owned(),
            client_auth: authenticated.as_ref().map_or("none", |who| who.method),
            scope: form.get("scope").unwrap_or_default().to_owned(),
            parameters: form
                .0
                .iter()
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
                })
            }
            Some("password") => {
                let (name, password) = form
                    .get("username")
                    .zip(form.get("password"))
                    .ok_or_else(|| OAuthError::request("username or password is missing"))?;
                if self.users.get(name).is_none_or(|known| known != password) {
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
                })
            }
            Some(exchange::GRANT_TYPE) => self.exchange(who, form),
            Some(sts::SAML_TOKEN | sts::SAML2_BEARER) => self.for_saml(who, form),
            Some(sts::JWT_BEARER) => self.for_jwt(who, form),
            Some("refresh_token") => self.refresh(client_id, form),
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
        let mut tokens = self.refresh_tokens.lock();
        let token = tokens
            .get_mut(shown)
            .filter(|token| token.client_id == client_id)
            .ok_or_else(bad)?;
        if token.spent {
            self.journal.count(|counts| counts.refresh_reuses += 1);
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
        })
    }

    fn issue(&self, issue: &Issue, fault: Option<&IdpFault>) -> Result<Value, OAuthError> {
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
            sub: super::guid(0xc1, &issue.client_id),
            iss: issuer.to_owned(),
            sid: format!("{serial}.{}", random_text()),
            nbf: now.saturating_sub(300),
            exp,
            others,
        };
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
                .refresh_token(&issue.client_id, user, issue.renewable.clone())
                .into();
        }
        Ok(document)
    }

    /// A new refresh token.
    pub(super) fn refresh_token(&self, client_id: &str, user: &str, scopes: Vec<String>) -> String {
        let handle = random_text();
        let token = RefreshToken {
            client_id: client_id.to_owned(),
            user: user.to_owned(),
            scopes,
            spent: false,
        };
        self.refresh_tokens.lock().insert(handle.clone(), token);
        handle
    }

    /// The keys that IdentityServer's document has and clients insist on.
    fn discovery(&self) -> Value {
        let issuer = &self.issuer;
        json!({
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/.well-known/openid-configuration/jwks"),
            "authorization_endpoint": format!("{issuer}/connect/authorize"),
            "token_endpoint": format!("{issuer}/connect/token"),
            "userinfo_endpoint": format!("{issuer}/connect/userinfo"),
            "end_session_endpoint": format!("{issuer}/connect/endsession"),
            "revocation_endpoint": format!("{issuer}/connect/revocation"),
            "introspection_endpoint": format!("{issuer}/connect/introspect"),
            "frontchannel_logout_supported": true,
            "frontchannel_logout_session_supported": true,
            "backchannel_logout_supported": true,
            "backchannel_logout_session_supported": true,
            "scopes_supported": ["openid", "profile", "email", OFFLINE, DEFAULT_SCOPE],
            "claims_supported": ["sub", "name", "email"],
            "grant_types_supported":
                ["client_credentials", "refresh_token", "password", exchange::GRANT_TYPE,
                    sts::SAML_TOKEN, sts::SAML2_BEARER, sts::JWT_BEARER],
            "response_types_supported": ["code", "token", "id_token", "id_token token",
                "code id_token", "code token", "code id_token token"],
            "response_modes_supported": ["form_post", "query", "fragment"],
            "token_endpoint_auth_methods_supported":
                ["client_secret_basic", "client_secret_post", "private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS256", "ES256"],
            "id_token_signing_alg_values_supported": [self.signer.algorithm_name()],
            "subject_types_supported": ["public"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "request_parameter_supported": true,
        })
    }
}

/// Parameters that [`TokenRequest`] has in a field of their own, and those that are secrets.
const RECORDED_OTHERWISE: [&str; 10] = [
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

fn split(scopes: &str) -> Vec<String> {
    scopes.split_ascii_whitespace().map(str::to_owned).collect()
}

fn plain(status: u16) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer::bytes(status, text, "upstream connect error\n")
}

/// 32 hexadecimal digits that nobody guesses.
pub(super) fn random_text() -> String {
    let mut bytes = [0; 16];
    // fails only where the system has no randomness; then the text is merely guessable
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes.iter().fold(String::new(), |mut text, byte| {
        use std::fmt::Write;
        let _ = write!(text, "{byte:02x}");
        text
    })
}
