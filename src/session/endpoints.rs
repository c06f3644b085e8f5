//! Our own endpoints for browsers and the provider, below the configured prefix.

use std::net::IpAddr;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL},
};
use serde_json::json;

use super::{
    Realm,
    answer::{self, Problem},
    asked::{Asked, Verdict, asked},
    cors,
    live::Id,
    realm::{Trace, Who},
    return_to::ReturnTo,
    sign_in::{Purpose, Wish},
};
use crate::{config, config::Flow, handbook::Reference};

/// What a request asks of us.
#[derive(Debug)]
pub struct Visit {
    pub method: Method,
    /// As it came, without query.
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    /// Of a form; empty otherwise.
    pub body: Bytes,
    /// Who began the connection.
    pub peer: IpAddr,
    pub reference: Reference,
}

/// Why a request to a route is answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Somebody who is signed in.
    SignIn(Trace),
    /// Another token, had behind the back of the person who is signed in.
    Renewal(Id),
    /// Another page than one of another site.
    SameSite,
    /// Nothing: a browser asks whether it may.
    Preflight,
}

/// One of our endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Login,
    Callback,
    Logout,
    SignedOut,
    Session,
    Renew,
    BackchannelLogout,
    FrontchannelLogout,
}

impl Endpoint {
    pub const ALL: [Self; 8] = [
        Self::Login,
        Self::Callback,
        Self::Logout,
        Self::SignedOut,
        Self::Session,
        Self::Renew,
        Self::BackchannelLogout,
        Self::FrontchannelLogout,
    ];

    /// Its path.
    pub fn path(self, session: &config::Session) -> String {
        match self {
            Self::Callback => session.callback.clone(),
            Self::Login => session.path("login"),
            Self::Logout => session.path("logout"),
            Self::SignedOut => session.path("signed-out"),
            Self::Session => session.path("session"),
            Self::Renew => session.path("renew"),
            Self::BackchannelLogout => session.path("backchannel-logout"),
            Self::FrontchannelLogout => session.path("frontchannel-logout"),
        }
    }

    /// Whether a form may come with it.
    pub fn takes_form(self) -> bool {
        matches!(
            self,
            Self::Callback | Self::Logout | Self::BackchannelLogout
        )
    }

    fn methods(self) -> &'static [Method] {
        match self {
            Self::Login | Self::SignedOut | Self::Session | Self::Renew => {
                &[Method::GET, Method::HEAD]
            }
            Self::FrontchannelLogout => &[Method::GET, Method::HEAD],
            Self::Callback | Self::Logout => &[Method::GET, Method::POST],
            Self::BackchannelLogout => &[Method::POST],
        }
    }
}

impl Realm {
    /// Answers one of our endpoints.
    pub async fn visited(self, endpoint: Endpoint, visit: Visit) -> Response<Bytes> {
        if asked(&visit.method, &visit.headers) == Asked::Preflight {
            return cors::preflight(&self.0.origins, &visit.headers);
        }
        if !endpoint.methods().contains(&visit.method) {
            let methods: Vec<_> = endpoint.methods().iter().map(Method::as_str).collect();
            let mut response = answer::plain(StatusCode::METHOD_NOT_ALLOWED);
            if let Ok(allowed) = HeaderValue::try_from(methods.join(", ")) {
                response.headers_mut().insert(ALLOW, allowed);
            }
            return response;
        }
        let mut response = match endpoint {
            Endpoint::Login => {
                let wish = Wish::of_query(visit.query.as_deref(), &self);
                self.begin(wish, &visit).await
            }
            Endpoint::Callback => {
                let posted = visit.method == Method::POST;
                let implicit = self.config().credential.grant.flow() == Some(Flow::Implicit);
                match (posted, implicit) {
                    (true, true) => self.callback(&visit.body, &visit).await,
                    // an error may come either way; nothing else that comes in a query is taken
                    (false, _) => {
                        let query = visit.query.as_deref().unwrap_or_default();
                        self.callback(query.as_bytes(), &visit).await
                    }
                    (true, false) => answer::problem(&self, &visit, &Problem::NotBegun),
                }
            }
            Endpoint::Logout => self.sign_out(&visit).await,
            Endpoint::SignedOut => answer::signed_out(&self),
            Endpoint::Session => self.told(&visit),
            Endpoint::Renew => self.renewed(&visit).await,
            Endpoint::BackchannelLogout => self.backchannel(&visit.body).await,
            Endpoint::FrontchannelLogout => self.frontchannel(&visit).await,
        };
        cors::add(&self.0.origins, &visit.headers, response.headers_mut());
        let headers = response.headers_mut();
        if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        response
    }

    /// Whether a person's request may do what it asks.
    pub fn allows(&self, method: &Method, headers: &HeaderMap) -> bool {
        let asks = asked(method, headers);
        self.0.origins.verdict(method, asks, headers) == Verdict::Allowed
    }

    /// Whether a browser asks whether it may ask.
    pub fn is_preflight(&self, method: &Method, headers: &HeaderMap) -> bool {
        asked(method, headers) == Asked::Preflight
    }

    /// Answers in place of a route.
    pub async fn challenge(self, wanted: Wanted, visit: Visit) -> Response<Bytes> {
        let mut response = match wanted {
            Wanted::Preflight => return cors::preflight(&self.0.origins, &visit.headers),
            Wanted::SameSite => answer::problem(&self, &visit, &Problem::CrossSite),
            Wanted::Renewal(id) => {
                let wish = Wish {
                    return_to: self.here(&visit),
                    parameters: Vec::new(),
                    purpose: Purpose::Renewal(id),
                };
                self.begin(wish, &visit).await
            }
            Wanted::SignIn(trace) => {
                let mut response = self.wants_sign_in(&visit).await;
                if trace == Trace::Stale {
                    answer::set_cookies(&mut response, self.cleared());
                }
                response
            }
        };
        cors::add(&self.0.origins, &visit.headers, response.headers_mut());
        response
    }

    /// What the browser asks for, to come back to.
    fn here(&self, visit: &Visit) -> ReturnTo {
        let here = match &visit.query {
            Some(query) => format!("{}?{query}", visit.path),
            None => visit.path.clone(),
        };
        ReturnTo::parse(&here, self.config()).unwrap_or_else(ReturnTo::root)
    }

    async fn wants_sign_in(&self, visit: &Visit) -> Response<Bytes> {
        let return_to = self.here(visit);
        match answer::wants(visit) {
            answer::Form::Redirect => {
                let wish = Wish {
                    return_to,
                    parameters: Vec::new(),
                    purpose: Purpose::SignIn,
                };
                self.begin(wish, visit).await
            }
            answer::Form::Page => answer::sign_in_needed(self, visit, &return_to),
            answer::Form::Json => answer::sign_in_required(self, visit),
        }
    }

    /// Who is signed in, and until when; never a token.
    fn told(&self, visit: &Visit) -> Response<Bytes> {
        let now = self.0.clock.now();
        let (document, cookies) = match self.seen(&visit.headers, now) {
            Who::Nobody(trace) => {
                let document = json!({"signed_in": false, "sign_in": self.config().path("login")});
                let cookies = match trace {
                    Trace::Stale => self.cleared(),
                    Trace::Nothing => Vec::new(),
                };
                (document, cookies)
            }
            Who::Person(present) => {
                let (session, config) = (&present.session, self.config());
                let facts = &session.facts;
                let ends = facts.began + config.absolute;
                let idle = session.used() + config.idle;
                let document = json!({
                    "signed_in": true,
                    "subject": facts.subject,
                    "name": facts.name,
                    "username": facts.username,
                    "email": facts.email,
                    "signed_in_at": facts.began.as_secs(),
                    "ends_at": ends.as_secs(),
                    "ends_when_unused_at": idle.min(ends).as_secs(),
                    "ends_in": ends.saturating_sub(now.wall).as_secs(),
                    "sign_in": config.path("login"),
                    "sign_out": config.path("logout"),
                    "renew": (config.credential.grant.flow() == Some(Flow::Implicit)).then(|| config.path("renew")),
                });
                (document, present.newer_cookies(now))
            }
        };
        let mut response = answer::json(StatusCode::OK, &document);
        answer::set_cookies(&mut response, cookies);
        response
    }

    /// Another token for a registration that has no refresh tokens: in a frame of our own page, or in
    /// place of one.
    async fn renewed(&self, visit: &Visit) -> Response<Bytes> {
        let now = self.0.clock.now();
        let implicit = self.config().credential.grant.flow() == Some(Flow::Implicit);
        match self.seen(&visit.headers, now) {
            Who::Nobody(_) => answer::sign_in_required(self, visit),
            // renewed by itself
            Who::Person(_) if !implicit => answer::plain(StatusCode::NO_CONTENT),
            Who::Person(present) => {
                let query = visit.query.as_deref();
                let mut wish = Wish::of_query(query, self);
                if !query.is_some_and(|query| query.contains("return_to=")) {
                    let path = self.config().path("session");
                    wish.return_to = ReturnTo::ours(&path);
                }
                wish.purpose = Purpose::Renewal(present.session.id);
                self.begin(wish, visit).await
            }
        }
    }
}
