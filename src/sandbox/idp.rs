//! The mock authorization server: which endpoint a request is for, discovery and keys, shaped as
//! Bentley IMS and IdentityServer shape theirs.
//!
//! There is no `/.well-known/oauth-authorization-server`. Pages in browsers may call what their
//! programs call, of any origin.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    answer,
    clients::Clients,
    exchange,
    faults::{Faults, IdpEndpoint, IdpFault},
    journal::Journal,
    people::{Desk, Person, device},
    server::{Body, Cut},
    signing::Signer,
    sts,
    token::{OFFLINE, RefreshToken},
};
use crate::clock::Clock;

/// The scope of a token when none is asked for.
pub(super) const DEFAULT_SCOPE: &str = "itwin-platform";

/// Where people answer.
const INTERACTION: &str = "/interaction/";
const HUGE_BYTES: u64 = 64 * 1024 * 1024;
pub(super) const FOREIGN_ISSUER: &str = "https://somebody-else.example";

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
    /// Who can sign in with a browser.
    pub(super) people: Vec<Person>,
    pub(super) desk: Mutex<Desk>,
}

/// An answer of the token endpoint (RFC 6749 section 5.2).
#[derive(Debug)]
pub(super) struct OAuthError {
    pub(super) error: String,
    pub(super) description: String,
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

    pub(super) fn response(&self) -> Response<Body> {
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
        Self::parse(body)
    }

    /// The same of a query.
    pub(super) fn parse(text: &[u8]) -> Result<Self, OAuthError> {
        let mut parameters = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(text) {
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

    /// With another value of that parameter.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }
}

impl Idp {
    pub(super) async fn handle(&self, request: Request<Bytes>) -> Result<Response<Body>, Cut> {
        if *request.method() == Method::OPTIONS {
            return Ok(shared(answer::empty(StatusCode::NO_CONTENT)));
        }
        let endpoint = match request.uri().path() {
            "/.well-known/openid-configuration" => IdpEndpoint::Discovery,
            "/.well-known/openid-configuration/jwks" => IdpEndpoint::Keys,
            "/connect/token" => IdpEndpoint::Token,
            "/connect/introspect" => IdpEndpoint::Introspection,
            "/connect/authorize" => IdpEndpoint::Authorization,
            "/connect/par" => IdpEndpoint::PushedRequests,
            "/connect/deviceauthorization" => IdpEndpoint::DeviceAuthorization,
            "/connect/userinfo" => IdpEndpoint::Userinfo,
            "/connect/revocation" => IdpEndpoint::Revocation,
            "/connect/endsession" => IdpEndpoint::EndSession,
            device::PAGE => IdpEndpoint::Pages,
            path if path.starts_with(INTERACTION) => IdpEndpoint::Pages,
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
            IdpEndpoint::Authorization => counts.authorization_requests += 1,
            IdpEndpoint::PushedRequests => counts.pushed_requests += 1,
            IdpEndpoint::DeviceAuthorization => counts.device_requests += 1,
            IdpEndpoint::Userinfo => counts.userinfo_requests += 1,
            IdpEndpoint::Revocation => counts.revocation_requests += 1,
            // those that end a session are counted where they do
            IdpEndpoint::EndSession | IdpEndpoint::Pages => {}
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
            Some(IdpFault::Redirect { status, to }) => {
                let mut response = answer::redirect(to);
                *response.status_mut() = StatusCode::from_u16(*status).unwrap_or(StatusCode::FOUND);
                response
            }
            Some(IdpFault::Slow { milliseconds }) => {
                tokio::time::sleep(Duration::from_millis(*milliseconds)).await;
                self.serve(endpoint, &request, None).await
            }
            _ => self.serve(endpoint, &request, fault.as_ref()).await,
        };
        Ok(match endpoint {
            IdpEndpoint::Authorization | IdpEndpoint::EndSession | IdpEndpoint::Pages => response,
            _ => shared(response),
        })
    }

    async fn serve(
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
            IdpEndpoint::Authorization => self.authorize(request),
            IdpEndpoint::PushedRequests => self.push(request),
            IdpEndpoint::DeviceAuthorization => self.authorize_device(request),
            IdpEndpoint::Userinfo => self.userinfo(request),
            IdpEndpoint::Revocation => self.revoke(request),
            IdpEndpoint::EndSession => self.end_session(request).await,
            IdpEndpoint::Pages => match request.uri().path().strip_prefix(INTERACTION) {
                Some(rest) => self.interact(rest, request),
                None => self.enter_code(request),
            },
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

    /// The keys that IdentityServer's document has and clients insist on.
    fn discovery(&self) -> Value {
        let issuer = &self.issuer;
        json!({
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/.well-known/openid-configuration/jwks"),
            "authorization_endpoint": format!("{issuer}/connect/authorize"),
            "token_endpoint": format!("{issuer}/connect/token"),
            "userinfo_endpoint": format!("{issuer}/connect/userinfo"),
            "pushed_authorization_request_endpoint": format!("{issuer}/connect/par"),
            "require_pushed_authorization_requests": false,
            "device_authorization_endpoint": format!("{issuer}/connect/deviceauthorization"),
            "authorization_response_iss_parameter_supported": true,
            "end_session_endpoint": format!("{issuer}/connect/endsession"),
            "revocation_endpoint": format!("{issuer}/connect/revocation"),
            "introspection_endpoint": format!("{issuer}/connect/introspect"),
            "frontchannel_logout_supported": true,
            "frontchannel_logout_session_supported": true,
            "backchannel_logout_supported": true,
            "backchannel_logout_session_supported": true,
            "scopes_supported": ["openid", "profile", "email", OFFLINE, DEFAULT_SCOPE],
            "claims_supported": ["sub", "sid", "auth_time", "name", "given_name", "family_name",
                "preferred_username", "email", "email_verified"],
            "grant_types_supported":
                ["authorization_code", "implicit", device::GRANT_TYPE,
                    "client_credentials", "refresh_token", "password", exchange::GRANT_TYPE,
                    sts::SAML_TOKEN, sts::SAML2_BEARER, sts::JWT_BEARER],
            "response_types_supported": ["code", "id_token token"],
            "response_modes_supported": ["form_post", "query", "fragment"],
            "token_endpoint_auth_methods_supported":
                ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS256", "ES256"],
            "id_token_signing_alg_values_supported": [self.signer.algorithm_name()],
            "subject_types_supported": ["public"],
            "code_challenge_methods_supported": ["S256"],
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
            "request_parameter_supported": false,
            "request_uri_parameter_supported": false,
        })
    }
}

/// For programs in browsers, of any origin.
fn shared(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    let any = HeaderValue::from_static("*");
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, any);
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type"),
    );
    response
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
