//! The authorization server that we stand in for.
//!
//! `client_credentials` is answered with a token that we have; whatever else its endpoints are asked
//! goes to the provider with the caller's own credentials, byte for byte. Its metadata are the
//! provider's with the endpoints that we serve pointing here, and complete even when the provider
//! has never answered. `issuer` stays the provider's unless it is configured otherwise: it is what
//! all of its tokens say, and who compares them with these metadata must find it there.
//!
//! A page of another site gets what is public, and what it has its own credentials for; never a
//! token of ours.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_LENGTH, RETRY_AFTER, VIA},
};
use serde_json::{Map, Value, json};
use url::Url;

use super::{
    document,
    form::{self, NoForm, Room, is_form},
    guarded::{Asked, Pages, Service, matcher},
    handout::{Handout, never_stored, retry_after},
    other_method, refusal,
};
use crate::{
    config::{self, NamedIssuer, ScopeSet},
    handbook::{Code, Reference},
    http::{
        headers::{strip_forwarded, strip_hop_by_hop},
        survey::Survey,
    },
    proxy::{admit::Site, route::Matcher},
    tokens::{self, Endpoint, TokenHandle},
};

const METADATA: &str = "/.well-known/openid-configuration";
const OTHER_METADATA: &str = "/.well-known/oauth-authorization-server";
const KEYS: &str = "/.well-known/openid-configuration/jwks";
const TOKEN: &str = "/connect/token";
const INTROSPECTION: &str = "/connect/introspect";
const AUTHORIZATION: &str = "/connect/authorize";

/// One provider's place.
#[derive(Debug, Clone)]
pub(super) struct Authority(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    prefix: String,
    /// Where the provider itself is called, so that its paths are ours as well.
    hosts: Option<Matcher>,
    issuer: NamedIssuer,
    provider: tokens::Authority,
    handout: Handout,
    room: Room,
}

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Metadata,
    /// Clients of generation 2.x look there first, and expect nothing.
    Nothing,
    Keys,
    Token,
    Introspection,
}

impl Authority {
    pub(super) fn new(
        config: &config::Authority,
        provider: tokens::Authority,
        handout: Handout,
    ) -> Self {
        Self(Arc::new(Shared {
            prefix: config.prefix.clone(),
            hosts: (!config.hosts.is_empty()).then(|| matcher(&config.hosts)),
            issuer: config.issuer,
            provider,
            handout,
            room: Room::new(),
        }))
    }
}

impl Service for Authority {
    fn serves(&self, path: &str) -> bool {
        self.0.part(path).is_some()
    }

    fn pages(&self) -> Pages {
        Pages::Judged
    }

    fn answer(&self, asked: Asked) -> BoxFuture<'static, Response<Bytes>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.answer(asked).await })
    }

    fn tokens(&self) -> Vec<TokenHandle> {
        vec![self.0.handout.handle().clone()]
    }
}

impl Shared {
    fn part(&self, path: &str) -> Option<Part> {
        let usual = Part::usual(&self.prefix, path);
        if usual.is_some() || self.hosts.is_none() {
            return usual;
        }
        let at = |url: Option<Url>| url.is_some_and(|url| self.is_ours(&url) && url.path() == path);
        if at(self.provider.place(Endpoint::Token)) {
            return Some(Part::Token);
        }
        let metadata = self.provider.known()?;
        if at(metadata.keys.clone()) {
            return Some(Part::Keys);
        }
        at(metadata.introspection.clone()).then_some(Part::Introspection)
    }

    /// Whether requests to the provider's own URL come here.
    fn is_ours(&self, url: &Url) -> bool {
        let hosts = self.hosts.as_ref().zip(url.host_str());
        hosts.is_some_and(|(hosts, host)| hosts.matches(&Method::GET, host, "/"))
    }

    async fn answer(&self, asked: Asked) -> Response<Bytes> {
        let Some(part) = self.part(&asked.path) else {
            return not_here(&asked.reference);
        };
        let reads = matches!(*asked.request.method(), Method::GET | Method::HEAD);
        match part {
            Part::Nothing => not_here(&asked.reference),
            Part::Metadata | Part::Keys if !reads => other_method("GET, HEAD", &asked.reference),
            Part::Metadata => public(json_document(&self.metadata(&asked.origin).await)),
            Part::Keys => match self.provider.keys().await {
                Some(keys) => public(document("application/jwk-set+json", keys)),
                None => unavailable("the keys of the provider are not known yet"),
            },
            Part::Token => self.token(asked).await,
            Part::Introspection => match *asked.request.method() {
                Method::POST => {
                    let (parts, incoming) = asked.request.into_parts();
                    match self.room.body(incoming).await {
                        Ok(body) => self.pass(Endpoint::Introspection, parts, body).await,
                        Err(why) => formless(why),
                    }
                }
                _ => other_method("POST", &asked.reference),
            },
        }
    }

    async fn token(&self, asked: Asked) -> Response<Bytes> {
        let method = asked.request.method().clone();
        let (parts, incoming) = asked.request.into_parts();
        if method == Method::OPTIONS {
            // whether a page may ask is for the provider to say: what it asks goes there
            return self.pass(Endpoint::Token, parts, Bytes::new()).await;
        }
        if method != Method::POST {
            return never_stored(other_method("POST", &asked.reference));
        }
        let text = match self.room.body(incoming).await {
            Ok(text) => text,
            Err(why) => return formless(why),
        };
        if !is_form(&parts.headers) {
            return invalid("send a form (application/x-www-form-urlencoded)");
        }
        let Ok(parameters) = form::parameters(&text) else {
            return invalid("a parameter is there more than once");
        };
        match parameters.get("grant_type").map(String::as_str) {
            None => invalid("grant_type is missing"),
            Some("client_credentials") if asked.from == Site::Another => error(
                StatusCode::FORBIDDEN,
                "unauthorized_client",
                "the token of the service is not for pages of other sites",
            ),
            Some("client_credentials") => {
                let scope = parameters.get("scope").map_or("", String::as_str);
                self.ours(&ScopeSet::new([scope]), &asked.reference.request_id)
                    .await
            }
            Some(_) => self.pass(Endpoint::Token, parts, text).await,
        }
    }

    async fn ours(&self, wanted: &ScopeSet, request_id: &str) -> Response<Bytes> {
        match self.handout.token(wanted).await {
            Ok(handed) => self.handout.answer(&handed),
            Err(failure) => {
                let credential = self.handout.credential();
                tracing::warn!(request_id, %credential, error = %failure, "no token to hand out");
                let mut answer = error(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "temporarily_unavailable",
                    &format!("credential {credential}: {}", failure.reason),
                );
                let after = retry_after(&failure);
                answer.headers_mut().insert(RETRY_AFTER, after);
                answer
            }
        }
    }

    /// Sent on with everything that is the caller's, answered with everything that is the
    /// provider's.
    async fn pass(
        &self,
        endpoint: Endpoint,
        mut parts: http::request::Parts,
        body: Bytes,
    ) -> Response<Bytes> {
        let ours = HeaderValue::from_static("1.1 itwin-auth-proxy");
        if parts.headers.get_all(VIA).iter().any(|via| *via == ours) {
            return error(
                StatusCode::LOOP_DETECTED,
                "temporarily_unavailable",
                "the provider's name leads back to this proxy: give the provider tls.addresses or tls.name_servers",
            );
        }
        clean(&mut parts.headers);
        strip_forwarded(&mut parts.headers);
        parts.headers.append(VIA, ours);
        parts.version = http::Version::HTTP_11;
        let request = Request::from_parts(parts, body);
        match self.provider.pass(endpoint, request).await {
            Ok(mut answer) => {
                clean(answer.headers_mut());
                *answer.version_mut() = http::Version::HTTP_11;
                answer
            }
            Err(failure) => {
                tracing::warn!(error = %failure, ?endpoint, "not passed on to the provider");
                unavailable("the provider does not answer")
            }
        }
    }

    async fn metadata(&self, origin: &str) -> Map<String, Value> {
        let read = self.provider.metadata().await;
        let issuer = self.provider.issuer();
        let mut members = match &read {
            Some(read) => read.members.clone(),
            None => Map::new(),
        };
        let here = |url: Option<&Url>, path: &str| match url {
            Some(url) if self.is_ours(url) => format!("{origin}{}", url.path()),
            _ => format!("{origin}{}{path}", self.prefix),
        };
        let token = self.provider.place(Endpoint::Token);
        members.insert("token_endpoint".into(), here(token.as_ref(), TOKEN).into());
        let read = read.as_deref();
        if read.is_none_or(|read| read.keys.is_some()) {
            let place = here(read.and_then(|read| read.keys.as_ref()), KEYS);
            members.insert("jwks_uri".into(), place.into());
        }
        if read.is_none_or(|read| read.introspection.is_some()) {
            let place = read.and_then(|read| read.introspection.as_ref());
            let place = here(place, INTROSPECTION);
            members.insert("introspection_endpoint".into(), place.into());
        }
        complete(&mut members, issuer);
        if self.issuer == NamedIssuer::Here {
            let here = format!("{origin}{}", self.prefix);
            members.insert("issuer".into(), here.into());
        }
        members
    }
}

impl Part {
    /// Behind a prefix.
    fn usual(prefix: &str, path: &str) -> Option<Self> {
        // RFC 8414 section 3.1 puts it before the path
        if path.strip_prefix(OTHER_METADATA) == Some(prefix) {
            return Some(Self::Nothing);
        }
        Some(match path.strip_prefix(prefix)? {
            METADATA => Self::Metadata,
            OTHER_METADATA => Self::Nothing,
            KEYS => Self::Keys,
            TOKEN => Self::Token,
            INTROSPECTION => Self::Introspection,
            _ => return None,
        })
    }
}

/// What is answered there, in words.
pub(super) fn usual(prefix: &str, path: &str) -> Option<&'static str> {
    Some(match Part::usual(prefix, path)? {
        Part::Metadata => "its metadata, with our endpoints",
        Part::Nothing => "404, which clients of generation 2.x expect",
        Part::Keys => "its keys",
        Part::Token => "client_credentials by a token of ours; other grants are passed on",
        Part::Introspection => "passed on as it is",
    })
}

/// Adds what clients do not do without, where the provider does not say it.
fn complete(members: &mut Map<String, Value>, issuer: &Url) {
    let name = issuer.as_str().trim_end_matches('/');
    let absent = [
        ("issuer", json!(name)),
        (
            "authorization_endpoint",
            json!(format!("{name}{AUTHORIZATION}")),
        ),
        ("response_types_supported", json!(["code"])),
        ("subject_types_supported", json!(["public"])),
        ("id_token_signing_alg_values_supported", json!(["RS256"])),
    ];
    for (member, value) in absent {
        members.entry(member).or_insert(value);
    }
    // what our token endpoint takes, besides what is passed on
    for (member, taken) in [
        ("grant_types_supported", ["client_credentials"].as_slice()),
        (
            "token_endpoint_auth_methods_supported",
            &["client_secret_basic", "client_secret_post"],
        ),
    ] {
        let known = members.entry(member).or_insert_with(|| json!([]));
        let Value::Array(known) = known else { continue };
        for one in taken {
            if !known.iter().any(|known| known == one) {
                known.push(json!(one));
            }
        }
    }
}

fn clean(headers: &mut HeaderMap) {
    let survey = Survey::of(headers);
    strip_hop_by_hop(headers, survey);
    headers.remove(CONTENT_LENGTH);
}

fn json_document(members: &Map<String, Value>) -> Response<Bytes> {
    let text = serde_json::to_string(members).unwrap_or_default();
    document("application/json", text.into())
}

/// It says where the caller came from, so that no cache may give it to another.
fn public(answer: Response<Bytes>) -> Response<Bytes> {
    let mut answer = never_stored(answer);
    let anyone = HeaderValue::from_static("*");
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, anyone);
    answer
}

fn not_here(reference: &Reference) -> Response<Bytes> {
    refusal(
        Code::NotHere,
        "The metadata of this authority are at /.well-known/openid-configuration behind its address.",
        reference,
    )
}

fn invalid(description: &str) -> Response<Bytes> {
    error(StatusCode::BAD_REQUEST, "invalid_request", description)
}

fn formless(why: NoForm) -> Response<Bytes> {
    match why {
        NoForm::Bad => invalid("the form is too large, or did not come"),
        NoForm::NoRoom => unavailable("too many forms are being sent at once"),
    }
}

fn unavailable(description: &str) -> Response<Bytes> {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let mut answer = error(status, "temporarily_unavailable", description);
    let soon = HeaderValue::from_static("1");
    answer.headers_mut().insert(RETRY_AFTER, soon);
    answer
}

/// RFC 6749 section 5.2.
fn error(status: StatusCode, error: &str, description: &str) -> Response<Bytes> {
    let body = json!({"error": error, "error_description": description});
    let mut answer = document("application/json", body.to_string().into());
    *answer.status_mut() = status;
    never_stored(answer)
}
