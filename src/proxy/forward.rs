//! Requests that name hosts which are not ours: in absolute form (RFC 9112 section 3.2.2), in a
//! connection that was opened here, or by CONNECT.
//!
//! A host that a route names is served by that route. A route without hosts is for its upstream's
//! own host then: a caller that names any host must not get a token for what it did not mean. Hosts
//! that no route names are passed on untouched where the listener names them ([`super::door`]).

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{
    HeaderValue, Method, Request, Response,
    header::{CONNECTION, CONTENT_TYPE, HOST},
    uri::Authority,
};
use hyper::body::Incoming;

use super::{
    Proxy, Step, check,
    failure::{Failure, Unpassed},
    incoming::Https,
    plan::Route,
    record::Record,
    target::{self, PathMatters, Target},
};
use crate::{
    caller::Guest,
    config::{Mode, Origin},
    http::survey::Survey,
    net::{Conn, Inside},
    verify::Waited,
};

/// What a caller means by the host that it names.
#[derive(Debug, Clone)]
pub(super) enum Meant {
    /// Us, whatever we are called.
    Ours,
    /// That host, on the network. Boxed: nearly all mean us.
    Theirs(Box<Theirs>),
}

/// A request for a host that is not ours.
#[derive(Debug, Clone)]
pub(super) struct Theirs {
    /// As whom the listener knows the caller.
    pub guest: Guest,
    pub https: Https,
    /// Where the caller believes to be connected to.
    pub port: u16,
    pub unrouted: Unrouted,
}

/// What becomes of a request that no route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unrouted {
    /// It passes where the listener's hosts say so.
    Passes,
    Refused,
}

impl Meant {
    pub(super) fn guest(&self) -> Option<&Guest> {
        match self {
            Self::Ours => None,
            Self::Theirs(theirs) => Some(&theirs.guest),
        }
    }
}

impl Proxy {
    /// A request to a forward listener.
    pub(super) fn forwarded(
        &self,
        request: Request<Incoming>,
        survey: Survey,
        conn: &Conn,
        record: &mut Record,
    ) -> Result<Step, Failure> {
        let door = self.plan.door(conn.listener).ok_or(Failure::NoRoute)?;
        let (request, form) = Form::of(request, conn)?;
        if form != Form::Theirs {
            let target = Target::read(&request, PathMatters::No)?;
            if door.pac.is_at(&target.path) {
                let answer = door
                    .pac
                    .answer(request.method(), target.authority, &conn.security);
                return Ok(Step::Own(std::future::ready(answer).boxed()));
            }
            if target.path == "/" && request.method() == Method::GET {
                return Ok(Step::Own(std::future::ready(here()).boxed()));
            }
            if let Some(found) = self.plan.own.find(&target, &Meant::Ours) {
                let way = (conn, &Meant::Ours);
                let asking = self.asks(found, &target, &request, survey, way, record)?;
                return Ok(Step::Own(asking.answer(request)));
            }
            if form == Form::Origin {
                return Err(Unpassed::NotAbsolute.into());
            }
        }
        let guest = door.admit(request.headers(), conn)?;
        record.caller(&guest.caller);
        if request.method() == Method::CONNECT {
            return self.connected(request, guest, conn).map(Step::Connect);
        }
        check::method(request.method())?;
        let (request, theirs) = absolute(request, guest)?;
        let meant = Meant::Theirs(Box::new(theirs));
        self.admit(request, survey, conn, meant, record, &Waited::default())
    }

    /// The route for a request to a host that is not ours; one may be made for it.
    pub(super) fn their_route(
        &self,
        method: &Method,
        target: &Target<'_>,
        conn: &Conn,
        theirs: &Theirs,
    ) -> Result<Arc<Route>, Failure> {
        if let Some(route) = self.plan.find_theirs(method, target, theirs) {
            return Ok(Arc::clone(route));
        }
        if theirs.unrouted == Unrouted::Refused {
            return Err(Failure::NoRoute);
        }
        let door = self.plan.door(conn.listener).ok_or(Failure::NoRoute)?;
        door.passes(&target.host, theirs.port)?;
        let origin = Origin {
            https: theirs.https == Https::Yes,
            host: target.host.clone().into_owned(),
            port: theirs.port,
        };
        let metrics = &self.observer.metrics;
        self.passing
            .route(conn.listener, origin, &self.plan, metrics)
    }

    /// Whether TLS with this host is ended here.
    pub(super) fn opens(&self, host: &str) -> bool {
        self.mint.as_ref().is_some_and(|mint| mint.opens(host))
    }
}

/// How a request to a forward listener names its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Not in its URL: it is for us.
    Origin,
    /// In its URL, and the host is this end of the connection: programs that know of no `NO_PROXY`
    /// ask so, and so does all of HTTP/2. For what is our own; nothing else of ours is reached so.
    Ours,
    Theirs,
}

impl Form {
    /// # Errors
    /// When it is for us and `Host` has several values.
    fn of(request: Request<Incoming>, conn: &Conn) -> Result<(Request<Incoming>, Self), Failure> {
        let uri = request.uri();
        let Some(authority) = uri.authority() else {
            return Ok((request, Self::Origin));
        };
        let default = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Ok((request, Self::Theirs)),
        };
        let port = authority.port_u16().unwrap_or(default);
        let host = target::host(authority.as_str());
        let ours = conn.end.as_ref().is_some_and(|e| e.is_named(&host, port));
        if !ours || request.method() == Method::CONNECT {
            return Ok((request, Self::Theirs));
        }
        let host = authority.clone();
        Ok((with_host(request, &host)?, Self::Ours))
    }
}

/// That there is a proxy: agents of generation 1.x use the one of `HTTPS_PROXY` only if it answers a
/// plain `GET /` with 200. They never read the rest, so nothing is kept open for them.
fn here() -> Response<Bytes> {
    let text = "This is a forward proxy: name it in HTTP_PROXY or HTTPS_PROXY.\n";
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    let kind = HeaderValue::from_static("text/plain");
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What a request in a connection that was opened here means.
///
/// # Errors
/// When it is for another host than the connection: its certificate is good for one.
pub(super) fn within(target: &Target<'_>, inside: &Inside) -> Result<Theirs, Unpassed> {
    if *target.host != *inside.host {
        return Err(Unpassed::Misdirected(inside.host.clone()));
    }
    Ok(Theirs {
        guest: inside.guest.clone(),
        https: inside.https(),
        port: inside.port,
        unrouted: Unrouted::Refused,
    })
}

impl Inside {
    fn https(&self) -> Https {
        match self.security {
            crate::net::Within::Tls => Https::Yes,
            crate::net::Within::Plain => Https::No,
        }
    }
}

/// A request to a forward listener, in absolute form: what it means, and the request with the
/// `Host` that its URL says (RFC 9112 section 3.2.2).
///
/// # Errors
/// When it is not in absolute form.
pub(super) fn absolute(
    request: Request<Incoming>,
    guest: Guest,
) -> Result<(Request<Incoming>, Theirs), Failure> {
    let uri = request.uri();
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Unpassed::NotAbsolute.into());
    };
    let https = match scheme {
        "http" => Https::No,
        "https" => Https::Yes,
        _ => return Err(Unpassed::Scheme.into()),
    };
    let default = if https == Https::Yes { 443 } else { 80 };
    let theirs = Theirs {
        guest,
        https,
        port: authority.port_u16().unwrap_or(default),
        unrouted: Unrouted::Passes,
    };
    let authority = authority.clone();
    Ok((with_host(request, &authority)?, theirs))
}

/// The request with the `Host` that its URL says.
fn with_host(
    mut request: Request<Incoming>,
    authority: &Authority,
) -> Result<Request<Incoming>, Failure> {
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Failure::NoHost)?;
    // several would be another's to choose from
    if request.headers().get_all(HOST).iter().nth(1).is_some() {
        return Err(Failure::NoHost);
    }
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

/// Host and port of a CONNECT request (RFC 9110 section 9.3.6).
///
/// # Errors
/// When it is not exactly that.
pub(super) fn connect_target(request: &Request<Incoming>) -> Result<(String, u16), Unpassed> {
    let authority = request.uri().authority().ok_or(Unpassed::Authority)?;
    let port = authority.port_u16().filter(|port| *port != 0);
    let host = target::host(authority.as_str()).into_owned();
    let more = request.uri().scheme().is_some() || request.uri().path_and_query().is_some();
    if more || authority.as_str().contains('@') || host.is_empty() {
        return Err(Unpassed::Authority);
    }
    Ok((host, port.ok_or(Unpassed::Authority)?))
}

/// Whether requests on this connection may name hosts that are not ours.
pub(super) fn may_name_others(conn: &Conn) -> bool {
    conn.mode == Mode::Forward && conn.inside.is_none()
}
