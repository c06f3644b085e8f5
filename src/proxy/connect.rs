//! CONNECT (RFC 9110 section 9.3.6): a tunnel to a host, or a connection that is opened here.
//!
//! A tunnel's far end is connected to before the caller hears of success, so that it learns why
//! there is none. Bytes pass as they are, and count as a connection until both ways have ended.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Version, response::Parts};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use rustls_pki_types::DnsName;
use tokio::{net::TcpStream, time::timeout};

use super::{
    Proxy,
    answer::{Answer, Content, Ending},
    failure::{ConnectError, Failure, Unpassed},
    forward::connect_target,
    slots::Full,
    tunnelled::Tunnelled,
    upgrade,
};
use crate::{
    caller::Guest,
    net::{
        Conn, Inside, Within,
        dial::{self, keep_alive},
        prefixed::Prefixed,
        tunnel::End,
    },
    shutdown::spawn_on_worker,
    telemetry::RequestId,
};

/// Name and TCP together.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that goes on as one to another host, here: its caller is about to speak TLS.
pub struct Opened {
    pub stream: OpenedStream,
    /// Says `inside` what it is.
    pub conn: Conn,
}

pub enum OpenedStream {
    Tcp(Prefixed<TcpStream>),
    /// What itself goes through a listener's TLS or a stream of HTTP/2.
    Other(TokioIo<hyper::upgrade::Upgraded>),
}

/// What a CONNECT request asks for, granted.
#[derive(Debug)]
pub(super) struct Connect {
    request: Request<Incoming>,
    host: String,
    port: u16,
    conn: Conn,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Opened(Guest),
    Tunnel,
}

impl Proxy {
    /// What becomes of a CONNECT request whose caller the listener has admitted.
    ///
    /// # Errors
    /// When the host is not reached.
    pub(super) fn connected(
        &self,
        request: Request<Incoming>,
        guest: Guest,
        conn: &Conn,
    ) -> Result<Box<Connect>, Failure> {
        let (host, port) = connect_target(&request)?;
        let door = self.plan.door(conn.listener).ok_or(Failure::NoRoute)?;
        let way = if self.opens(&host) && door.looks_into(port) {
            // there is no certificate for what is no name
            DnsName::try_from(host.as_str()).map_err(|_| Unpassed::Authority)?;
            Way::Opened(guest)
        } else {
            door.passes(&host, port).map_err(|why| match why {
                Unpassed::Host(host) if self.opens(&host) => Unpassed::Port(port),
                Unpassed::Host(host) if self.plan.names(&host) => Unpassed::NotOpened(host),
                why => why,
            })?;
            Way::Tunnel
        };
        Ok(Box::new(Connect {
            request,
            host,
            port,
            conn: conn.clone(),
            way,
        }))
    }

    /// Answers it, and passes bytes once the caller has the answer.
    pub(super) async fn connect(
        self: Arc<Self>,
        connect: Box<Connect>,
        ending: Box<Ending>,
    ) -> Response<Answer> {
        let outcome = match connect.way {
            Way::Opened(ref guest) => {
                let guest = guest.clone();
                Ok(self.open(*connect, guest))
            }
            Way::Tunnel => self.tunnel(*connect, ending.record.id()).await,
        };
        self.answer(ending, |record| {
            let answered = outcome?;
            record.answers(200);
            Ok(answered)
        })
    }

    fn open(&self, connect: Connect, guest: Guest) -> (Parts, Content) {
        let Connect {
            mut request,
            host,
            port,
            mut conn,
            ..
        } = connect;
        conn.inside = Some(Arc::new(Inside {
            host: host.into(),
            port,
            security: Within::Tls,
            guest,
        }));
        let (caller, opened) = (hyper::upgrade::on(&mut request), self.opened.clone());
        spawn_on_worker(async move {
            match caller.await {
                Ok(upgraded) => {
                    let stream = match upgrade::callers_tcp(upgraded) {
                        Ok(End { io, early }) => OpenedStream::Tcp(Prefixed::new(early, io)),
                        Err(upgraded) => OpenedStream::Other(TokioIo::new(upgraded)),
                    };
                    // the listener is gone at a hard stop only
                    let _ = opened.send(Opened { stream, conn });
                }
                Err(error) => tracing::debug!(%error, "protocol switch failed"),
            }
        });
        switched()
    }

    async fn tunnel(&self, connect: Connect, id: RequestId) -> Result<(Parts, Content), Failure> {
        let Connect {
            mut request,
            host,
            port,
            conn,
            ..
        } = connect;
        let door = self.plan.door(conn.listener).ok_or(Failure::NoRoute)?;
        let names = self.passing.names(conn.listener, door, &self.plan);
        let dialled = timeout(PATIENCE, dial::tcp(&host, port, &names)).await;
        let stream = match dialled {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(ConnectError::from(error)),
            Err(_) => Err(ConnectError::Timeout(PATIENCE)),
        };
        let stream = stream.map_err(|source| Failure::Connect {
            origin: format!("{host}:{port}"),
            source,
        })?;
        let tunnelled = Tunnelled::begin(&self.observer, Some(id), format!("{host}:{port}"));
        let tunnelled = match request.version() {
            Version::HTTP_2 => tunnelled.counted().map_err(|Full| Unpassed::Tunnels)?,
            _ => tunnelled,
        };
        let caller: OnUpgrade = hyper::upgrade::on(&mut request);
        keep_alive(&stream);
        let held = (self.connection(), Arc::clone(&conn.place));
        upgrade::pass(
            caller,
            stream,
            held,
            tunnelled,
            Arc::clone(&self.spares),
            conn.place.stop.clone(),
        );
        Ok(switched())
    }
}

/// 200: what follows are the tunnel's bytes.
fn switched() -> (Parts, Content) {
    let (parts, ()) = Response::new(()).into_parts();
    (parts, Content::own(Bytes::new()))
}
