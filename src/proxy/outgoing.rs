//! The request as the upstream will see it: strip first, inject last.
//!
//! Everything that the caller must not decide is taken out before anything of ours goes in, so that
//! no field of the caller's can take ours away or stand beside it. Path and query pass byte for
//! byte.

use http::{
    HeaderMap, HeaderValue, Method, Request, Uri, Version,
    header::{
        ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, COOKIE, EXPECT, HOST, TE, UPGRADE,
    },
    request,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::Body;
use hyper::{body::Incoming, upgrade::OnUpgrade};

use super::{
    bound::DPOP,
    failure::Failure,
    forwarded::Forwarding,
    identity::{self, Identity, Memory},
    permit::Permit,
    plan::{Plan, Route},
    upstream::Need,
};
use crate::{
    clock::Moment,
    config::{ActsFor, Forwarded, Inject, LinkRewriting, PresentedAuthorization},
    http::{
        body::{CallerBody, Intake, OutgoingBody},
        headers::{self, Presented, Trailers, Upgrade},
        links,
        replay::{self, Kept, ReplayBody},
        survey::{Field, Survey},
    },
    net::Conn,
    secret::Secret,
    session::strip_ours,
    tokens::TokenHandle,
};

/// A request on its way.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub head: Head,
    pub payload: Payload,
    pub injects: Injects,
    /// The token that admitted the caller, where another goes on in its place.
    pub(super) exchanged: Option<Subject>,
    /// The caller's connection, once it switches protocols.
    pub upgrade: Option<OnUpgrade>,
    /// The host that the caller asked for, where the upstream is asked for another.
    asked: Option<HeaderValue>,
}

/// All of it but the body and the token.
#[derive(Debug)]
pub(super) struct Head {
    pub method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    trailers: Trailers,
    pub need: Need,
    pub expects: Expects,
}

/// Whether a token of ours goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Injects {
    Yes,
    No,
}

/// Whether the caller holds its body back (RFC 9110 section 10.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expects {
    Nothing,
    Continue,
}

/// The protocol of an upstream connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl Head {
    pub(super) fn path(&self) -> &PathAndQuery {
        &self.path
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(super) fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }
}

impl Outgoing {
    /// Takes the request apart.
    ///
    /// # Errors
    /// When the caller's `Authorization` is not what the route takes, or the body is known to be
    /// too large.
    pub(super) fn prepare(
        mut request: Request<Incoming>,
        plan: &Plan,
        conn: &Conn,
        permit: &Permit,
        memory: &Memory,
        survey: Survey,
        now: Moment,
    ) -> Result<Self, Failure> {
        let route = permit.route();
        let told = route.to.forwarded;
        let injects = match &route.config.inject {
            // decided below, with the caller's token at hand
            Some(inject) if inject.acts_for == ActsFor::Caller => Injects::No,
            Some(inject) if survey.has(Field::Authorization) => decide(request.headers(), inject)?,
            Some(_) => Injects::Yes,
            None => Injects::No,
        };
        let forwarded = (told != Forwarded::Silent).then(|| Forwarding::read(&request, plan, conn));
        let upgrade = if survey.has(Field::Upgrade) {
            upgrade_of(&mut request)
        } else {
            None
        };
        let (
            request::Parts {
                method,
                uri,
                mut headers,
                ..
            },
            body,
        ) = request.into_parts();

        let hop = headers::strip_hop_by_hop(&mut headers, survey);
        plan.own_fields.strip(&mut headers);
        match forwarded {
            Some(forwarded) => forwarded.write(&mut headers, told),
            None if survey.has(Field::Forwarded) => headers::strip_forwarded(&mut headers),
            None => {}
        }
        if survey.has(Field::Cookie) {
            // they are nobody's but ours
            strip_ours(&mut headers);
            join_cookies(&mut headers);
        }
        let exchanged = to_exchange(&headers, permit);
        let ours = match &exchanged {
            Some(_) => Injects::Yes,
            None => injects,
        };
        if ours == Injects::Yes {
            // takes the caller's away, and makes room for ours in every copy
            headers.insert(AUTHORIZATION, HeaderValue::from_static(""));
        } else if survey.has(Field::Authorization) {
            check_presented(&mut headers, permit);
        }
        // a proof is about the caller's token, and goes no further than that
        if survey.has(Field::Dpop) {
            let gone = survey.has(Field::Authorization) && !headers.contains_key(AUTHORIZATION);
            if gone || ours == Injects::Yes {
                headers.remove(DPOP);
            }
        }
        if route.config.links != LinkRewriting::Off
            && survey.has(Field::AcceptEncoding)
            && let Some(fewer) = links::acceptable(&headers)
        {
            headers.insert(ACCEPT_ENCODING, fewer);
        }
        if let Some(identity) = &route.identity {
            identity.tell(&mut headers, permit, memory, now);
        }
        let asked = set_host(&mut headers, route, uri.authority());
        let need = match hop.upgrade {
            Upgrade::WebSocket if upgrade.is_some() => {
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                Need::Upgrade
            }
            _ => Need::Any,
        };
        let expects = match headers.get(EXPECT).filter(|_| survey.has(Field::Expect)) {
            Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
                Expects::Continue
            }
            _ => Expects::Nothing,
        };
        let path = uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        let payload = Payload::of(body, ours, plan, permit)?;
        let trailers = hop.trailers;
        let head = Head {
            method,
            path,
            headers,
            trailers,
            need,
            expects,
        };
        let upgrade = upgrade.filter(|_| need == Need::Upgrade);
        Ok(Self {
            head,
            payload,
            injects,
            exchanged,
            upgrade,
            asked,
        })
    }
}

/// Says which host the upstream is asked for; answers the one that the caller asked for, if it is
/// another.
fn set_host(
    headers: &mut HeaderMap,
    route: &Route,
    authority: Option<&Authority>,
) -> Option<HeaderValue> {
    let named = || HeaderValue::from_str(authority?.as_str()).ok();
    if !route.to.preserve_host {
        return headers.insert(HOST, route.host.clone()).or_else(named);
    }
    if !headers.contains_key(HOST) {
        headers.insert(HOST, named().unwrap_or_else(|| route.host.clone()));
    }
    None
}

fn decide(headers: &HeaderMap, inject: &Inject) -> Result<Injects, Failure> {
    let policy = match headers::presented(headers, &inject.placeholders) {
        Presented::Nothing => return Ok(Injects::Yes),
        Presented::Several => return Err(Failure::SeveralAuthorizations),
        Presented::Bearer => inject.presented_bearer,
        Presented::OtherScheme => inject.presented_other,
    };
    match policy {
        PresentedAuthorization::Replace => Ok(Injects::Yes),
        PresentedAuthorization::Keep => Ok(Injects::No),
        PresentedAuthorization::Refuse => Err(Failure::AuthorizationRefused),
    }
}

/// What is exchanged for the token that goes on.
#[derive(Debug)]
pub(super) enum Subject {
    /// The token that admitted the caller.
    Shown(Secret),
    /// The token of the person who is signed in.
    Persons(TokenHandle),
}

/// The caller's token, if the route exchanges it.
fn to_exchange(headers: &HeaderMap, permit: &Permit) -> Option<Subject> {
    permit.route().exchanger.as_ref()?;
    if let Some(person) = permit.person() {
        return person.subject.clone().map(Subject::Persons);
    }
    permit.verified()?;
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (_, token) = value.trim_ascii().split_once(' ')?;
    let token = Secret::new(token.trim_ascii_start());
    Some(Subject::Shown(token))
}

/// A caller's own token goes on if it was checked and the route sends it on.
fn check_presented(headers: &mut HeaderMap, permit: &Permit) {
    let route = permit.route();
    let keeps = route.identity.as_ref().is_none_or(Identity::keeps_token);
    if !keeps {
        headers.remove(AUTHORIZATION);
    } else if permit.verified().is_none() && route.gate.asks_for_tokens() {
        identity::remove_unchecked_token(headers);
    }
}

/// Only HTTP/1.1 has upgrades, and WebSocket's is a GET (RFC 6455 section 4.1).
fn upgrade_of(request: &mut Request<Incoming>) -> Option<OnUpgrade> {
    let possible = request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && request.headers().contains_key(UPGRADE);
    possible.then(|| hyper::upgrade::on(request))
}

/// HTTP/2 may split `Cookie`; HTTP/1.1 may not (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut all = headers.get_all(COOKIE).iter();
    if all.next().is_none() || all.next().is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

impl Outgoing {
    /// Host and port, as the caller asked for them.
    pub(super) fn asked_host(&self) -> Option<&str> {
        let host = self.asked.as_ref().or_else(|| self.head.headers.get(HOST));
        host?.to_str().ok()
    }

    /// What is asked for, without the query.
    pub(super) fn path(&self) -> &str {
        self.head.path.path()
    }

    /// What the caller would take for an answer.
    pub(super) fn accept(&self) -> Option<&HeaderValue> {
        self.head.headers.get(ACCEPT)
    }
}

impl Head {
    /// The request for a connection of `protocol`, with our token if there is one.
    pub(super) fn request(
        &mut self,
        permit: &Permit,
        protocol: Protocol,
        authorization: Option<&HeaderValue>,
        body: OutgoingBody,
    ) -> Request<OutgoingBody> {
        let route = permit.route();
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        // the copy is kept: the original has room to grow, also for hyper, which takes it for the
        // fields of the answer
        let copy = self.headers.clone();
        let headers = request.headers_mut();
        *headers = std::mem::replace(&mut self.headers, copy);
        if let Some(token) = authorization {
            headers.insert(AUTHORIZATION, token.clone());
        }
        match protocol {
            Protocol::Http1 => {
                if self.trailers == Trailers::Welcome && self.need == Need::Any {
                    headers.insert(TE, HeaderValue::from_static("trailers"));
                    headers.insert(CONNECTION, HeaderValue::from_static("te"));
                }
                *request.uri_mut() = Uri::from(self.path.clone());
            }
            Protocol::Http2 => {
                let authority = headers
                    .remove(HOST)
                    .and_then(|host| host.to_str().ok()?.parse().ok())
                    .unwrap_or_else(|| route.authority.clone());
                if self.trailers == Trailers::Welcome {
                    headers.insert(TE, HeaderValue::from_static("trailers"));
                }
                let https = route.to.origin.https;
                let mut parts = http::uri::Parts::default();
                parts.scheme = Some(if https { Scheme::HTTPS } else { Scheme::HTTP });
                parts.authority = Some(authority);
                parts.path_and_query = Some(self.path.clone());
                if let Ok(uri) = Uri::from_parts(parts) {
                    *request.uri_mut() = uri;
                }
                *request.version_mut() = Version::HTTP_2;
            }
        }
        request
    }
}

/// The body, for one sending or for several.
#[derive(Debug)]
pub(super) struct Payload {
    kind: Kind,
    /// Came back from a connection that had not begun with it.
    returned: Option<OutgoingBody>,
    pub intake: Option<Intake>,
}

#[derive(Debug)]
enum Kind {
    None,
    Once(Option<CallerBody>),
    Kept {
        first: Option<ReplayBody>,
        kept: Kept,
    },
}

impl Payload {
    fn of(body: Incoming, ours: Injects, plan: &Plan, permit: &Permit) -> Result<Self, Failure> {
        if body.is_end_stream() {
            return Ok(Self {
                kind: Kind::None,
                returned: None,
                intake: None,
            });
        }
        let limit = plan.limits.body_bytes;
        let known = body.size_hint().exact();
        if let (Some(size), Some(limit)) = (known, limit)
            && size > limit
        {
            return Err(Failure::BodyTooLarge);
        }
        let config = &permit.route().config;
        let intake = Intake::default();
        let body = CallerBody::new(
            body,
            limit,
            config.timeouts.idle,
            intake.clone(),
            plan.unwelcome_trailers.clone(),
        );
        // a body that is known to be too large is not kept at all
        let keep = ours == Injects::Yes && known.unwrap_or(0) <= config.replay.total_bytes;
        let kind = if keep {
            let (first, kept) = replay::keep(body, config.replay);
            Kind::Kept {
                first: Some(first),
                kept,
            }
        } else {
            Kind::Once(Some(body))
        };
        Ok(Self {
            kind,
            returned: None,
            intake: Some(intake),
        })
    }

    /// Puts a body back that was not begun with.
    pub(super) fn give_back(&mut self, body: OutgoingBody) {
        self.returned = Some(body);
    }

    /// Whether [`Payload::body`] has one that is whole.
    pub(super) fn can_be_sent(&self) -> bool {
        self.returned.is_some()
            || match &self.kind {
                Kind::None => true,
                Kind::Once(body) => body.is_some(),
                Kind::Kept { first, kept } => first.is_some() || kept.is_whole(),
            }
    }

    /// Whether there is a body at all.
    pub(super) fn is_none(&self) -> bool {
        matches!(self.kind, Kind::None)
    }

    /// The body for the next sending; `None` when it cannot be sent again.
    pub(super) fn body(&mut self) -> Option<OutgoingBody> {
        if let Some(body) = self.returned.take() {
            return Some(body);
        }
        match &mut self.kind {
            Kind::None => Some(OutgoingBody::empty()),
            Kind::Once(body) => body.take().map(OutgoingBody::once),
            Kind::Kept { first, kept } => match first.take() {
                Some(first) => Some(OutgoingBody::replay(first)),
                None => kept.again().map(OutgoingBody::replay),
            },
        }
    }
}
