//! Connections that the kernel redirected to us: what becomes of each, by what it begins with.
//!
//! The name that a caller writes at the beginning decides how it is answered, never where a token
//! goes: that the route says. What no route or interception is for goes on to the very address that
//! it was going to, untouched.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Request, Response, header::CONNECTION};
use hyper::body::Incoming;
use tokio::{net::TcpStream, time::timeout};

use super::{
    Proxy,
    answer::{Answer, Ending},
    door::Door,
    failure::{ConnectError, Failure},
    forward::{Theirs, Unrouted},
    incoming::Https,
    record::Record,
    target,
    tunnelled::Tunnelled,
};
use crate::{
    caller::Guest,
    http::serve::Activity,
    metrics::RedirectedLabels,
    net::{
        Conn, Inside, Reach, Within, dial,
        dial::DialError,
        peek::{First, ServerName},
        tunnel::Spares,
    },
};

/// For a connection to the original address.
const PATIENCE: Duration = Duration::from_secs(10);

/// What becomes of a connection.
#[derive(Debug)]
pub enum Course {
    /// It is one to a host that is opened here: TLS.
    Opened(Inside),
    /// It is one to a host that a route names, in clear.
    Served(Inside),
    /// It goes on to where it was going; to which host, as it says itself.
    Passed(Option<String>),
}

impl Proxy {
    /// As whom the listener lets a redirected connection in.
    ///
    /// # Errors
    /// When no rule of it admits whoever made the connection.
    pub fn lets_in(&self, conn: &Conn) -> Result<Guest, Failure> {
        // nothing of a request is there that a rule could look at
        Ok(self.door(conn)?.admit(&HeaderMap::new(), conn)?)
    }

    /// Whether what is going to this port is looked into.
    pub fn looks_into(&self, conn: &Conn, port: u16) -> bool {
        self.plan
            .door(conn.listener)
            .is_some_and(|door| door.looks_into(port))
    }

    /// What becomes of a connection that begins so.
    ///
    /// # Errors
    /// When the listener's hosts do not let it pass.
    pub fn course(
        &self,
        conn: &Conn,
        guest: Guest,
        to: SocketAddr,
        first: &First,
    ) -> Result<Course, Failure> {
        let inside = |host: String, security| Inside {
            host: host.into(),
            port: to.port(),
            security,
            guest,
        };
        let host = match first {
            First::Tls(ServerName::Named(host)) if self.opens(host) => {
                return Ok(Course::Opened(inside(host.clone(), Within::Tls)));
            }
            First::Tls(ServerName::Named(host)) => Some(host.clone()),
            First::Http1 {
                authority: Some(authority),
            } => {
                let inside = inside(target::host(authority).into_owned(), Within::Plain);
                if self.is_for(&inside) {
                    return Ok(Course::Served(inside));
                }
                Some(inside.host.into())
            }
            First::Http1 { authority: None }
            | First::Tls(ServerName::Absent | ServerName::Unreadable)
            | First::Http2
            | First::Other => None,
        };
        self.passes(conn, to, host.as_deref())?;
        Ok(Course::Passed(host))
    }

    /// What becomes of a connection to a port that is not looked into.
    ///
    /// # Errors
    /// As of [`Proxy::course`].
    pub fn unseen(&self, conn: &Conn, to: SocketAddr) -> Result<Course, Failure> {
        self.passes(conn, to, None)?;
        Ok(Course::Passed(None))
    }

    fn passes(&self, conn: &Conn, to: SocketAddr, host: Option<&str>) -> Result<(), Failure> {
        let door = self.door(conn)?;
        match host {
            Some(host) => door.passes_host(host)?,
            // who says no name is known by the address
            None => door.passes_host(&to.ip().to_string())?,
        }
        // what means another machine when we ask is not reached for others
        if conn.local == Reach::Others && !door.passes_on(to.ip()) {
            let (host, address) = (to.ip().to_string(), to.ip());
            return Err(unconnected(to, DialError::Forbidden { host, address }));
        }
        Ok(())
    }

    /// The record of a connection that is passed on.
    pub fn tunnelled(&self, to: SocketAddr) -> Tunnelled {
        Tunnelled::begin(&self.observer, None, to.to_string())
    }

    /// Whether a route is for requests of such a connection.
    fn is_for(&self, inside: &Inside) -> bool {
        let theirs = Theirs {
            guest: inside.guest.clone(),
            https: Https::No,
            port: inside.port,
            unrouted: Unrouted::Refused,
        };
        self.plan.is_for(&inside.host, &theirs)
    }

    fn door(&self, conn: &Conn) -> Result<&Door, Failure> {
        self.plan.door(conn.listener).ok_or(Failure::NoRoute)
    }

    /// Connects to the address that a connection was going to.
    ///
    /// # Errors
    /// When nobody is there.
    pub async fn reach(&self, to: SocketAddr) -> Result<TcpStream, Failure> {
        match timeout(PATIENCE, dial::address(to)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(unconnected(to, error)),
            Err(_) => Err(unconnected(to, ConnectError::Timeout(PATIENCE))),
        }
    }

    /// What a tunnel borrows.
    pub fn spares(&self) -> &Arc<Spares> {
        &self.spares
    }

    /// Answers a request of a connection that leads nowhere, the only one.
    pub fn refuse(
        &self,
        request: &Request<Incoming>,
        failure: Failure,
        activity: &Arc<Activity>,
    ) -> Response<Answer> {
        let busy = activity.request();
        let record = Record::begin(&self.observer, self.request_id(), request);
        let mut answer = self.answer(Ending::new(record, busy), |_| Err(failure));
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
        answer
    }

    /// A connection that was redirected; `course` is one of a few words.
    pub fn redirected(&self, course: &'static str) {
        let labels = RedirectedLabels { course };
        let counters = &self.observer.metrics.redirected_connections;
        counters.get_or_create(&labels).inc();
    }

    /// Whether there is a line for each.
    pub fn tells_each(&self) -> bool {
        self.observer.log.is_on()
    }
}

fn unconnected(to: SocketAddr, source: impl Into<ConnectError>) -> Failure {
    Failure::Connect {
        origin: to.to_string(),
        source: source.into(),
    }
}
