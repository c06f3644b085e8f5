//! Connections that the kernel redirected here: their callers believe to be connected elsewhere.
//!
//! What such a connection begins with is read without being lost, decides its course
//! ([`Course`]), and is read again by whoever takes it. A connection that nobody redirected is
//! refused: passing it on would bring it back.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::service::service_fn;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use super::Service;
use crate::{
    caller::Guest,
    config::{Mode, RedirectedBy},
    http::serve::{Activity, Protocol},
    net::{
        Conn, Peer, dial,
        original_dst::{self, Destination},
        peek::{Begun, First, Peek},
        prefixed::Prefixed,
        tunnel::{self, End},
    },
    proxy::{Course, Failure},
    shutdown::Stage,
};

/// A caller that says nothing for so long may be waiting for the other side to begin, which is
/// connected to then. Whoever speaks first decides.
const SILENCE: Duration = Duration::from_secs(1);

/// Of refusals that come one after the other one is logged in this time.
const REFUSALS_EVERY: Duration = Duration::from_secs(10);

/// Says now and then that connections are refused: who makes them can make any number.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    untold: u64,
}

/// A connection whose destination is known.
struct Redirected<'s> {
    service: &'s Service,
    conn: Conn,
    guest: Guest,
    to: SocketAddr,
}

/// What was read of it, and what was connected to for it.
struct Beginning {
    first: First,
    read: Bytes,
    /// The other side, where it had to be asked first.
    far: Option<TcpStream>,
}

impl Service {
    /// Serves a redirected connection, passes it on, or refuses it.
    pub(super) async fn redirected(&self, stream: TcpStream, conn: Arc<Conn>) {
        let to = match self.destination(&stream) {
            Ok(Destination::Redirected(to)) => to,
            Ok(Destination::Ourselves) => {
                self.refusals.tell(|untold| {
                    tracing::warn!(from = %from(&conn), untold, "a connection that nobody redirected is refused");
                });
                return self.reset(&stream, "refused");
            }
            Err(error) => {
                tracing::debug!(%error, "where a connection was going cannot be found out");
                return self.reset(&stream, "failed");
            }
        };
        let guest = match self.proxy.now().lets_in(&conn) {
            Ok(guest) => guest,
            Err(why) => {
                self.refused(&conn, to, &why);
                return self.reset(&stream, "refused");
            }
        };
        let conn = (*conn).clone();
        let redirected = Redirected {
            service: self,
            conn,
            guest,
            to,
        };
        redirected.run(stream).await;
    }

    fn destination(&self, stream: &TcpStream) -> io::Result<Destination> {
        match self.mode {
            Mode::Transparent(RedirectedBy::Tproxy) => original_dst::intercepted(stream, self.port),
            _ => original_dst::translated(stream, self.port),
        }
    }

    fn refused(&self, conn: &Conn, to: SocketAddr, why: &Failure) {
        self.refusals.tell(|untold| {
            let why = why as &dyn std::error::Error;
            tracing::warn!(from = %from(conn), %to, why, untold, "a redirected connection is refused");
        });
    }

    /// Ends a connection as a host does that does not take it.
    fn reset(&self, stream: &TcpStream, course: &'static str) {
        self.proxy.now().redirected(course);
        // closing it is as good
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
}

impl Redirected<'_> {
    async fn run(self, mut stream: TcpStream) {
        let seen = self
            .service
            .proxy
            .now()
            .looks_into(&self.conn, self.to.port());
        let beginning = if seen {
            match self.begin(&mut stream).await {
                Ok(Some(beginning)) => beginning,
                Ok(None) => return,
                Err(why) => {
                    tracing::debug!(to = %self.to, why = &why as &dyn std::error::Error, "nobody is there");
                    return self.service.reset(&stream, "failed");
                }
            }
        } else {
            Beginning {
                first: First::Other,
                read: Bytes::new(),
                far: None,
            }
        };
        let (proxy, guest) = (self.service.proxy.now(), self.guest.clone());
        let course = if seen {
            proxy.course(&self.conn, guest, self.to, &beginning.first)
        } else {
            proxy.unseen(&self.conn, self.to)
        };
        match course {
            Ok(Course::Opened(inside)) => {
                proxy.redirected("opened");
                let conn = self.inside(inside);
                let stream = Prefixed::new(beginning.read, stream);
                self.service.open(stream, conn).await;
            }
            Ok(Course::Served(inside)) => {
                proxy.redirected("served");
                let conn = Arc::new(self.inside(inside));
                let stream = Prefixed::new(beginning.read, stream);
                self.service.serve(stream, Protocol::Unknown, conn).await;
            }
            Ok(Course::Passed(host)) => self.pass(stream, beginning, host).await,
            Err(why) => {
                self.service.refused(&self.conn, self.to, &why);
                self.lead_nowhere(stream, beginning, why, "refused").await;
            }
        }
    }

    fn inside(&self, inside: crate::net::Inside) -> Conn {
        Conn {
            inside: Some(Arc::new(inside)),
            ..self.conn.clone()
        }
    }

    /// Waits for the beginning. `None`: there is none any more.
    ///
    /// # Errors
    /// When it takes the other side to know, and nobody is there.
    async fn begin(&self, stream: &mut TcpStream) -> Result<Option<Beginning>, Failure> {
        let mut far = None;
        if timeout(SILENCE, heard(stream)).await.is_err() {
            let other = self.service.proxy.now().reach(self.to).await?;
            // nobody may ever speak: the kernel is to notice when one is gone
            dial::keep_alive(stream);
            dial::keep_alive(&other);
            tokio::select! {
                biased;
                () = heard(stream) => {}
                () = heard(&other) => {
                    let first = First::Other;
                    return Ok(Some(Beginning { first, read: Bytes::new(), far: Some(other) }));
                }
                // nothing is under way
                () = self.service.stop.reached(Stage::Soft) => return Ok(None),
            }
            far = Some(other);
        }
        let mut peek = Peek::default();
        let first = match timeout(self.service.handshake_timeout, peek.first(stream)).await {
            Ok(Ok(first)) => first,
            Ok(Err(_)) => return Ok(None),
            // half a hello can be answered by nobody
            Err(_) if peek.begun() == Begun::Tls => {
                self.service.reset(stream, "refused");
                return Ok(None);
            }
            Err(_) => First::Other,
        };
        let read = peek.into_bytes();
        Ok(Some(Beginning { first, read, far }))
    }

    async fn pass(&self, stream: TcpStream, mut beginning: Beginning, host: Option<String>) {
        let (service, to) = (self.service, self.to);
        let far = match beginning.far.take() {
            Some(far) => Ok(far),
            None => service.proxy.now().reach(to).await,
        };
        let far = match far {
            Ok(far) => far,
            Err(why) => return self.lead_nowhere(stream, beginning, why, "failed").await,
        };
        service.proxy.now().redirected("passed");
        if service.proxy.now().tells_each() {
            tracing::info!(from = %from(&self.conn), %to, host, "a redirected connection is passed on");
        }
        let ends = [(stream, beginning.read), (far, Bytes::new())];
        let [near, far] = ends.map(|(io, early)| {
            dial::keep_alive(&io);
            End { io, early }
        });
        let tunnelled = service.proxy.now().tunnelled(to);
        let proxy = service.proxy.now();
        let flow = tunnelled.flow(proxy.spares());
        let passes = tunnel::tcp(near, far, flow);
        tokio::select! {
            ended = passes => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a tunnel broke");
                }
            }
            // it has no message whose end a soft stop could wait for
            () = service.stop.reached(Stage::Hard) => {}
        }
    }

    /// Says so in HTTP, and otherwise as far as TCP can.
    async fn lead_nowhere(
        &self,
        stream: TcpStream,
        beginning: Beginning,
        why: Failure,
        course: &'static str,
    ) {
        let service = self.service;
        if !matches!(beginning.first, First::Http1 { .. }) {
            return service.reset(&stream, course);
        }
        service.proxy.now().redirected(course);
        let (proxy, why) = (service.proxy.now(), Mutex::new(Some(why)));
        let activity = Arc::new(Activity::new(service.stop.clone()));
        let answered = Arc::clone(&activity);
        let answering = service_fn(move |request| {
            // the answer to the first is the last
            let why = why.lock().take().unwrap_or(Failure::NoRoute);
            let answer = proxy.refuse(&request, why, &answered);
            async move { Ok::<_, std::convert::Infallible>(answer) }
        });
        let stream = Prefixed::new(beginning.read, stream);
        let serving = service
            .server
            .serve(stream, Protocol::Unknown, answering, activity);
        serving.await;
    }
}

/// Waits until there is something to read, or never will be. (A socket may be said to be readable
/// that is not.)
async fn heard(stream: &TcpStream) {
    // what goes wrong here goes wrong with the next read too
    let _ = stream.peek(&mut [0]).await;
}

/// Where the caller is.
fn from(conn: &Conn) -> SocketAddr {
    match conn.peer {
        Peer::Tcp(address) => address,
        // the kernel redirects none from a Unix socket
        Peer::Unix { .. } => SocketAddr::from(([0; 4], 0)),
    }
}

impl Refusals {
    fn tell(&self, tell: impl FnOnce(u64)) {
        let mut told = self.0.lock();
        let now = super::now();
        if told.last.is_some_and(|last| now - last < REFUSALS_EVERY) {
            told.untold += 1;
            return;
        }
        told.last = Some(now);
        tell(std::mem::take(&mut told.untold));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn of_many_refusals_few_are_told() {
        let refusals = Refusals::default();
        let mut told = Vec::new();
        for _ in 0..25 {
            refusals.tell(|untold| told.push(untold));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(told, [0, 9, 9]);
    }
}
