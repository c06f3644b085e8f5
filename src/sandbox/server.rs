//! One origin of the sandbox: an address that can be shut, and the connections it accepted.
//!
//! A shut door behaves as a stopped server does: connections under way break, new ones are refused
//! by the kernel, and yet no other program can take the port meanwhile. From the moment a switch
//! returns, no request is answered by the old state. Request bodies are read whole before a handler
//! sees them: nothing here is made for large ones.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::answer;
use crate::shutdown::Shutdown;

/// A body of the sandbox's; it may end in [`Cut`].
pub(super) type Body = UnsyncBoxBody<Bytes, Cut>;

/// The connection breaks here, in the middle of whatever it was doing.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox was told to cut the connection here")]
pub(super) struct Cut;

/// Whether an origin takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// It does.
    Open,
    /// The kernel refuses them, as when the server is not running.
    Refuse,
    /// They are accepted and reset at once.
    Reset,
}

/// No request of any client in the sandbox is larger.
const REQUEST_BODY_MAX_BYTES: usize = 64 * 1024 * 1024;

/// One listening address.
#[derive(Debug)]
pub(super) struct Origin {
    address: SocketAddr,
    /// Bound but not listening: keeps the port ours while the door is shut.
    _reserve: Socket,
    state: watch::Sender<State>,
    connections: AtomicU64,
}

/// What the door does now. A connection belongs to the generation that accepted it and ends with
/// it, so that shutting and opening in one breath still breaks what was open.
#[derive(Debug, Clone)]
struct State {
    generation: u64,
    door: Door,
    listener: Option<Arc<StdListener>>,
}

impl Origin {
    /// Binds and listens; requests wait in the kernel's queue until [`Origin::serve`].
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        };
        let reserve = socket(address).map_err(named)?;
        let address = reserve
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("a bound socket has no address"))?;
        let state = State {
            generation: 0,
            door: Door::Open,
            listener: Some(Arc::new(listen(address)?)),
        };
        Ok(Self {
            address,
            _reserve: reserve,
            state: watch::Sender::new(state),
            connections: AtomicU64::new(0),
        })
    }

    /// `http://127.0.0.1:1234`.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections accepted so far.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Opens or shuts the door, now.
    pub(super) fn set_door(&self, door: Door) -> io::Result<()> {
        let listener = match door {
            Door::Refuse => None,
            Door::Open | Door::Reset => Some(Arc::new(listen(self.address)?)),
        };
        self.state.send_modify(|state| {
            if let Some(old) = state.listener.take() {
                // the accept loop closes it a moment later; nobody may connect until then
                let _ = SockRef::from(&*old).shutdown(std::net::Shutdown::Both);
            }
            *state = State {
                generation: state.generation + 1,
                door,
                listener,
            };
        });
        Ok(())
    }

    /// Opens the door unless it is open; connections of an open one are left alone.
    pub(super) fn open(&self) -> io::Result<()> {
        let door = self.state.borrow().door;
        match door {
            Door::Open => Ok(()),
            Door::Refuse | Door::Reset => self.set_door(Door::Open),
        }
    }

    /// Accepts and serves until `stop` is hard.
    pub(super) fn serve<H, F>(self: &Arc<Self>, stop: &Shutdown, handler: H)
    where
        H: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, Cut>> + Send + 'static,
    {
        let (origin, tasks) = (Arc::clone(self), stop.clone());
        stop.spawn(async move {
            let mut states = origin.state.subscribe();
            loop {
                let state = states.borrow_and_update().clone();
                tokio::select! {
                    () = origin.accept(&state, &tasks, &handler) => {}
                    _ = states.changed() => {}
                }
            }
        });
    }

    /// Accepts while `state` holds; pending for ever when there is nothing to accept on.
    async fn accept<H, F>(self: &Arc<Self>, state: &State, stop: &Shutdown, handler: &H)
    where
        H: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, Cut>> + Send + 'static,
    {
        let listener = state
            .listener
            .as_ref()
            .and_then(|listener| TcpListener::from_std(listener.try_clone().ok()?).ok());
        let Some(listener) = listener else {
            return std::future::pending().await;
        };
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // out of file descriptors, or the socket was shut under us
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            if state.door == Door::Reset {
                reset(&stream);
                continue;
            }
            self.connections.fetch_add(1, Ordering::Relaxed);
            let connection =
                connection(Arc::clone(self), state.generation, stream, handler.clone());
            stop.spawn(connection);
        }
    }

    fn is_current(&self, generation: u64) -> bool {
        self.state.borrow().generation == generation
    }
}

/// Serves one connection until it ends, breaks on purpose, or the door moves.
async fn connection<H, F>(origin: Arc<Origin>, generation: u64, stream: TcpStream, handler: H)
where
    H: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Cut>> + Send + 'static,
{
    let _ = stream.set_nodelay(true);
    // a second descriptor, so that the end of the served one sends no FIN before we know how it ended
    let Ok(socket) = SockRef::from(&stream).try_clone() else {
        return;
    };
    let mut states = origin.state.subscribe();
    let service = service_fn(|request: Request<Incoming>| {
        let (origin, handler) = (Arc::clone(&origin), handler.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = match Limited::new(body, REQUEST_BODY_MAX_BYTES).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) if error.is::<hyper::Error>() => return Err(Cut),
                Err(_) => return Ok(answer::too_large()),
            };
            if !origin.is_current(generation) {
                return Err(Cut);
            }
            handler(Request::from_parts(parts, body)).await
        }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    server.http2().timer(TokioTimer::new());
    let ended = tokio::select! {
        ended = server.serve_connection(TokioIo::new(stream), service) => ended.is_ok(),
        _ = states.wait_for(|state| state.generation != generation) => false,
    };
    if !ended {
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
}

/// Makes the end of `stream` a reset.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = socket(address)?;
    socket.set_nonblocking(true)?;
    socket.listen(1024)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn hello(_: Request<Bytes>) -> Result<Response<Body>, Cut> {
        Ok(answer::empty(http::StatusCode::NO_CONTENT))
    }

    async fn ask(stream: &mut TcpStream) -> io::Result<String> {
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await?;
        let mut head = [0; 512];
        let n = stream.read(&mut head).await?;
        Ok(String::from_utf8_lossy(&head[..n]).into_owned())
    }

    #[tokio::test]
    async fn a_shut_door_breaks_what_was_open_and_refuses_what_comes() {
        let stop = Shutdown::new();
        let origin = Arc::new(Origin::bind(([127, 0, 0, 1], 0).into()).unwrap());
        origin.serve(&stop, hello);
        let mut open = TcpStream::connect(origin.address).await.unwrap();
        assert!(ask(&mut open).await.unwrap().starts_with("HTTP/1.1 204"));

        for _ in 0..20 {
            origin.set_door(Door::Refuse).unwrap();
            assert!(
                ask(&mut open).await.is_err_and(|e| matches!(
                    e.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                )),
                "an open connection is reset"
            );
            let refused = TcpStream::connect(origin.address).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

            origin.set_door(Door::Open).unwrap();
            open = TcpStream::connect(origin.address).await.unwrap();
            assert!(ask(&mut open).await.unwrap().starts_with("HTTP/1.1 204"));
        }

        origin.set_door(Door::Reset).unwrap();
        let answer = match TcpStream::connect(origin.address).await {
            Ok(mut stream) => ask(&mut stream).await,
            Err(error) => Err(error),
        };
        assert!(answer.is_err(), "accepted and reset, got {answer:?}");
        stop.advance(crate::shutdown::Stage::Hard);
        stop.finished().await;
    }
}
