//! Connections that stop being HTTP: WebSocket, on both sides at once.
//!
//! The upstream must have answered 101 to a request that asked for it (RFC 9110 section 7.8);
//! bytes are passed only after both sides have switched.

use std::{io, sync::Arc};

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Open, person::Lasting, tunnelled::Tunnelled, upstream};
use crate::{
    http::serve::Watched,
    net::{
        Place,
        tunnel::{self, End, Flow, Spares},
    },
    shutdown::{Shutdown, Stage, spawn_on_worker},
};

/// What ends a tunnel, besides its two ends.
pub(super) struct Until {
    pub(super) stop: Shutdown,
    /// The session that it is for.
    pub(super) lasting: Option<Lasting>,
}

impl Until {
    async fn reached(self) {
        let Some(lasting) = self.lasting else {
            return self.stop.reached(Stage::Hard).await;
        };
        tokio::select! {
            () = self.stop.reached(Stage::Hard) => {}
            () = lasting.over() => {}
        }
    }
}

/// Passes bytes between the two once both have switched, until both ways have ended or the stop is
/// hard: a tunnel has no message whose end a soft stop could wait for. It counts as a connection.
pub(super) fn join(
    caller: OnUpgrade,
    upstream: OnUpgrade,
    held: (Open, Place),
    tunnelled: Tunnelled,
    spares: Arc<Spares>,
    until: Until,
) {
    spawn_on_worker(async move {
        let _held = held;
        let (caller, upstream) = match tokio::try_join!(caller, upstream) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "protocol switch failed");
                return;
            }
        };
        tokio::select! {
            ended = tunnel(caller, upstream, tunnelled.flow(&spares)) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a tunnel broke");
                }
            }
            () = until.reached() => {}
        }
    });
}

/// The same, where the upstream's end is a connection of its own.
pub(super) fn pass(
    caller: OnUpgrade,
    upstream: TcpStream,
    held: (Open, Place),
    tunnelled: Tunnelled,
    spares: Arc<Spares>,
    stop: Shutdown,
) {
    spawn_on_worker(async move {
        let _held = held;
        let caller = match caller.await {
            Ok(caller) => callers_tcp(caller),
            Err(error) => {
                tracing::debug!(%error, "protocol switch failed");
                return;
            }
        };
        let upstream = End {
            io: upstream,
            early: Bytes::new(),
        };
        let flow = tunnelled.flow(&spares);
        let passes = async {
            match caller {
                Ok(caller) => tunnel::tcp(caller, upstream, flow).await,
                Err(caller) => tunnel::copied(whole(caller), upstream, flow).await,
            }
        };
        tokio::select! {
            ended = passes => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a tunnel broke");
                }
            }
            () = stop.reached(Stage::Hard) => {}
        }
    });
}

/// As directly as both ends allow: only between two plain sockets the bytes can stay in the kernel.
async fn tunnel(caller: Upgraded, upstream: Upgraded, flow: Flow<'_>) -> io::Result<()> {
    match (callers_tcp(caller), upstream::into_tcp(upstream)) {
        (Ok(caller), Ok(upstream)) => tunnel::tcp(caller, upstream, flow).await,
        (Ok(caller), Err(upstream)) => tunnel::copied(caller, whole(upstream), flow).await,
        (Err(caller), Ok(upstream)) => tunnel::copied(whole(caller), upstream, flow).await,
        (Err(caller), Err(upstream)) => tunnel::copied(whole(caller), whole(upstream), flow).await,
    }
}

/// The socket of a caller's plain connection; anything else comes back.
pub(super) fn callers_tcp(upgraded: Upgraded) -> Result<End<TcpStream>, Upgraded> {
    let parts = upgraded.downcast::<TokioIo<Watched<TcpStream>>>()?;
    let (io, unread) = parts.io.into_inner().into_inner();
    let early = [&parts.read_buf[..], &unread].concat();
    Ok(End {
        io,
        early: early.into(),
    })
}

/// What was already read comes from it first.
fn whole(upgraded: Upgraded) -> End<TokioIo<Upgraded>> {
    End {
        io: TokioIo::new(upgraded),
        early: Bytes::new(),
    }
}
