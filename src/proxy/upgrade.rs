//! Connections that stop being HTTP: WebSocket, on both sides at once.
//!
//! The upstream must have answered 101 to a request that asked for it (RFC 9110 section 7.8);
//! bytes are passed only after both sides have switched.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::Open;
use crate::net::Place;
use crate::shutdown::{Shutdown, Stage, spawn_on_worker};

/// Passes bytes between the two once both have switched, until one side ends or the stop is hard: a
/// tunnel has no message whose end a soft stop could wait for. It counts as a connection.
pub(super) fn join(caller: OnUpgrade, upstream: OnUpgrade, held: (Open, Place), stop: Shutdown) {
    spawn_on_worker(async move {
        let _held = held;
        let (caller, upstream) = match tokio::try_join!(caller, upstream) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "protocol switch failed");
                return;
            }
        };
        let (mut caller, mut upstream) = (TokioIo::new(caller), TokioIo::new(upstream));
        tokio::select! {
            _ = copy_bidirectional(&mut caller, &mut upstream) => {}
            () = stop.reached(Stage::Hard) => {}
        }
    });
}
