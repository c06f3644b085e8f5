//! How this process comes after another, and another after it.
//!
//! A successor has the sockets of its predecessor from the start, and accepts when it is ready: until
//! then the predecessor serves, whatever becomes of the successor. From then on the predecessor only finishes
//! what it has.

use std::{
    io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicUsize},
};

use rustix::process::Pid;
use tokio::sync::watch;

use crate::{
    config::Config,
    health::Readiness,
    net::{
        bind::{self, BindError, SocketFile},
        inherited::Inherited,
        succession::{self, Offers, Predecessor, Replaced, SuccessionError},
    },
    shutdown::{Shutdown, Stage},
};

/// What was there before this process.
#[derive(Debug, Default)]
pub struct Inheritance {
    pub(super) sockets: Inherited,
    pub(super) predecessor: Option<Predecessor>,
}

impl Inheritance {
    /// The sockets that are `activated` (`LISTEN_FDS`), and those of the process that serves this
    /// configuration now, if there is one.
    ///
    /// # Errors
    /// When there is one that does not hand them over.
    pub fn find(config: &Config, activated: Inherited) -> Result<Self, SuccessionError> {
        let taken = config.handover_socket.as_deref().map(succession::take);
        Ok(match taken.transpose()?.flatten() {
            Some((sockets, predecessor)) => Self {
                sockets,
                predecessor: Some(predecessor),
            },
            None => Self {
                sockets: activated,
                predecessor: None,
            },
        })
    }
}

/// The process that offers its sockets at `path`.
pub fn process_at(path: &Path) -> Option<i32> {
    succession::owner(path).map(Pid::as_raw_pid)
}

/// Listeners accept when this is true.
pub(super) type Open = watch::Receiver<bool>;

/// What a process has to do for those before and after it.
pub(super) struct Succession {
    pub(super) predecessor: Option<Predecessor>,
    pub(super) offer: Option<Offer>,
    /// How many processes have the sockets and do not serve yet.
    pub(super) held: Arc<AtomicUsize>,
    pub(super) open: watch::Sender<bool>,
}

/// The sockets, for who comes to a place.
pub(super) struct Offer {
    path: PathBuf,
    sockets: Arc<Offers>,
    /// `None` as long as a predecessor is there.
    place: Option<(UnixListener, SocketFile)>,
}

impl Offer {
    /// Binds the place, unless a predecessor has it.
    pub(super) fn new(
        path: PathBuf,
        sockets: Arc<Offers>,
        predecessor: Option<&Predecessor>,
    ) -> Result<Self, BindError> {
        let place = match predecessor {
            None => Some(bind::unix(&path, 0o600)?),
            Some(_) => None,
        };
        Ok(Self {
            path,
            sockets,
            place,
        })
    }

    /// Makes the place, and waits until a process that took them there serves with them.
    async fn taken(mut self, opened: impl FnOnce(), held: &AtomicUsize) -> io::Result<i32> {
        let mut opened = Some(opened);
        loop {
            let place = match self.place.take() {
                Some(place) => Ok(place),
                None => bind::unix(&self.path, 0o600).map_err(io::Error::other),
            };
            // also where there is none: one process is enough
            if let Some(opened) = opened.take() {
                opened();
            }
            let (listener, file) = place?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let successor = succession::offer(&listener, &self.sockets, held).await;
            let process = successor.process.as_raw_pid();
            // its own place is to be there
            drop((listener, file));
            if successor.serves().await {
                return Ok(process);
            }
            tracing::warn!(
                process,
                "the process that was to replace this one is gone: this one goes on"
            );
        }
    }
}

impl Succession {
    /// Replaces the predecessor as soon as this process is ready, then offers the sockets, until
    /// somebody serves with them or the stop begins.
    pub(super) async fn run(self, readiness: Readiness, stop: Shutdown) {
        let mut before = None;
        if let Some(predecessor) = self.predecessor {
            tracing::info!("taking over from the process that runs, as soon as this one is ready");
            tokio::select! {
                () = readiness.ready() => {}
                // it goes on
                () = stop.reached(Stage::Soft) => return,
            }
            let replaced = tokio::task::spawn_blocking(|| predecessor.replace()).await;
            match replaced.unwrap_or_else(|error| Replaced::Gone(io::Error::other(error))) {
                Replaced::Serving(predecessor) => before = Some(predecessor),
                Replaced::Gone(error) => {
                    tracing::warn!(%error, "the process before this one is gone");
                }
                Replaced::ByAnother => {
                    tracing::error!("another process has taken over: this one is not needed");
                    stop.advance(Stage::Hard);
                    return;
                }
            }
        }
        self.open.send_replace(true);
        // not before it could be replaced in its turn
        let finish = move || {
            if let Some(predecessor) = before {
                predecessor.finish();
                tracing::info!("took over");
            }
        };
        let Some(offer) = self.offer else {
            return finish();
        };
        let taken = tokio::select! {
            taken = offer.taken(finish, &self.held) => taken,
            () = stop.reached(Stage::Soft) => return,
        };
        match taken {
            Ok(process) => stop.supersede(process),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "no process can take over from this one");
            }
        }
    }
}
