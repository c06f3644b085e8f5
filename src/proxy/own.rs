//! Endpoints that we answer ourselves, on the listeners that callers use.
//!
//! They come before all routes. Some have one path, compared exactly, and are for anybody: what such
//! an endpoint is told, it has to check itself. Others stand in for services that old software asks
//! itself, and are for those only whom their gate admits. All see the caller's request and nothing
//! else of ours.

mod authority;
mod form;
mod guarded;
mod handout;
mod keys;
mod logout;
mod look;
mod metadata;
mod session;
mod token_requests;
mod url_discovery;

use std::{fmt, net::IpAddr, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{
    HeaderValue, Request, Response,
    header::{ALLOW, CONTENT_TYPE},
};
use hyper::body::Incoming;
use serde_json::json;

pub use self::look::StandIn;
use self::{authority::Authority, handout::Handout, logout::Logout};
pub(super) use self::{
    guarded::Guarded, handout::HandedOut, look::stand_in, metadata::metadata_url,
};
use super::{admit::Gate, forward::Meant, identity::Signer, route::Matcher, target::Target};
use crate::{
    config::{BackchannelLogout, Config},
    handbook::{Code, Reference},
    session::Sessions,
    tokens::{TokenHandle, TokenService},
    verify::{KeyService, Logouts},
};

/// Who asks an endpoint that is for anybody.
#[derive(Debug)]
pub(super) struct Visitor {
    /// Goes into an error that the endpoint makes.
    pub(super) reference: Reference,
    pub(super) peer: IpAddr,
}

/// What answers.
pub(super) trait Endpoint: fmt::Debug + Send + Sync {
    fn answer(
        &self,
        request: Request<Incoming>,
        visitor: Visitor,
    ) -> BoxFuture<'static, Response<Bytes>>;
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Own {
    all: Vec<Located>,
    guarded: Vec<Guarded>,
    /// Hosts that routes name.
    named: Vec<Matcher>,
}

/// What answers a request.
#[derive(Clone, Copy)]
pub(super) enum Found<'o> {
    Open(&'o Arc<dyn Endpoint>),
    Guarded(&'o Guarded),
}

/// An endpoint and where it is.
#[derive(Debug, Clone)]
struct Located {
    /// Lower case, without port.
    host: Box<str>,
    path: Box<str>,
    endpoint: Arc<dyn Endpoint>,
}

impl Own {
    /// Those that the configuration asks for.
    pub(super) fn of(
        config: &Config,
        logout: Option<(&BackchannelLogout, Arc<Logouts>)>,
        signer: Option<&Arc<Signer>>,
    ) -> Self {
        let path = config
            .signing
            .as_ref()
            .and_then(|signing| signing.path.as_ref());
        let keys = path.zip(signer).map(|(path, signer)| Located {
            host: Box::default(),
            path: path.as_str().into(),
            endpoint: Arc::new(keys::Keys(Arc::clone(signer))),
        });
        let all = metadata::documents(&config.routes).map(|document| Located {
            host: document.url.host_str().unwrap_or_default().into(),
            path: document.url.path().into(),
            endpoint: Arc::new(document),
        });
        let logout = logout.map(|(config, logouts)| Located {
            host: Box::default(),
            path: config.path.as_str().into(),
            endpoint: Arc::new(Logout(logouts)),
        });
        Self {
            all: all.chain(logout).chain(keys).collect(),
            ..Self::default()
        }
    }

    /// With those for people who sign in.
    pub(super) fn signing_in(mut self, sessions: &Sessions) -> Self {
        self.all.extend(session::endpoints(sessions));
        self
    }

    /// With those that stand in for services.
    pub(super) fn standing_in(
        mut self,
        config: &Config,
        tokens: &TokenService,
        keys: &KeyService,
    ) -> Self {
        let own = &config.own;
        let clock = tokens.clock();
        for one in &own.authorities {
            let provider = tokens.authority(&one.credential);
            let handout = Handout::new(&one.credential, tokens, clock, one.min_remaining);
            let service = Arc::new(Authority::new(one, provider, handout));
            let guarded = Guarded::new(&one.name, &one.hosts, &one.admit, keys, service);
            self.guarded.push(guarded);
        }
        if let Some(one) = &own.url_discovery {
            let authority = own.authorities.first().map_or("", |one| &one.prefix);
            let service = Arc::new(url_discovery::Shim::new(one, authority));
            let guarded = Guarded::new("url_discovery", &one.hosts, &one.admit, keys, service);
            self.guarded.push(guarded);
        }
        if let Some(one) = &own.token_requests
            && let Ok(header) = one.header.parse()
        {
            let handouts = one.credentials.iter();
            let handouts = handouts
                .map(|credential| Handout::new(credential, tokens, clock, one.min_remaining));
            let handouts = handouts.collect();
            let service = token_requests::TokenRequests::new(&one.path, header, handouts);
            let service = Arc::new(service);
            let guarded = Guarded::new("token_requests", &one.hosts, &one.admit, keys, service);
            self.guarded.push(guarded);
        }
        let hosts = config.routes.iter().map(|route| &route.matches.hosts);
        let named = hosts.filter(|hosts| !hosts.is_empty());
        self.named = named.map(|hosts| guarded::matcher(hosts)).collect();
        self
    }

    pub(super) fn gates(&self) -> impl Iterator<Item = &Gate> {
        self.guarded.iter().map(Guarded::gate)
    }

    /// Those that are handed out.
    pub(super) fn tokens(&self) -> impl Iterator<Item = TokenHandle> {
        self.guarded.iter().flat_map(|one| one.service.tokens())
    }

    /// The endpoint that a request is for. Of several on one path, each for a host of its own, the
    /// caller's host decides; one alone answers whatever its host is called from inside.
    pub(super) fn find(&self, target: &Target<'_>, meant: &Meant) -> Option<Found<'_>> {
        if matches!(meant, Meant::Theirs(_)) {
            return self.find_named(target);
        }
        let open = self.open(target).map(Found::Open);
        open.or_else(|| {
            let mut all = self.guarded.iter();
            all.find(|one| one.is_for(target, &self.named))
                .map(Found::Guarded)
        })
    }

    fn open(&self, target: &Target<'_>) -> Option<&Arc<dyn Endpoint>> {
        let mut here = self.all.iter().filter(|one| *one.path == *target.path);
        let first = here.next()?;
        let found = match here.clone().next() {
            None => first,
            Some(_) if *first.host == *target.host => first,
            Some(_) => here.find(|one| *one.host == *target.host)?,
        };
        Some(&found.endpoint)
    }

    /// The endpoint that has this host, where the host is another's on the network.
    fn find_named(&self, target: &Target<'_>) -> Option<Found<'_>> {
        let here = |one: &&Located| *one.path == *target.path && *one.host == *target.host;
        let open = self.all.iter().find(here);
        open.map(|one| Found::Open(&one.endpoint)).or_else(|| {
            let mut all = self.guarded.iter();
            all.find(|one| one.is_for_named(target)).map(Found::Guarded)
        })
    }
}

/// 200 with a document.
pub(super) fn document(kind: &'static str, text: Bytes) -> Response<Bytes> {
    let mut response = Response::new(text);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An error in the shape of all others.
pub(super) fn refusal(code: Code, message: &str, reference: &Reference) -> Response<Bytes> {
    let body = json!({"error": {
        "code": code.name(),
        "message": message,
        "details": reference.details(code),
    }});
    let mut response = document("application/json", body.to_string().into());
    *response.status_mut() = code.status();
    let headers = response.headers_mut();
    let id = &reference.request_id;
    let details = format!("itwin-auth-proxy; details=\"{code}; request {id}\"");
    if let Ok(value) = HeaderValue::try_from(details) {
        headers.insert(super::failure::PROXY_STATUS, value);
    }
    response
}

/// 405 for an endpoint that knows these methods only.
pub(super) fn other_method(allowed: &'static str, reference: &Reference) -> Response<Bytes> {
    let mut response = refusal(
        Code::MethodRefused,
        "This endpoint of the proxy does not know the method.",
        reference,
    );
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(ALLOW, allowed);
    response
}
