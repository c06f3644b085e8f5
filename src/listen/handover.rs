//! Connections that are accepted on one thread and served on another.
//!
//! What a connection holds goes with it: its place among those that may be open, and what counts
//! it. So one that is under way between two threads is waited for at a stop like any other.

use std::{io, num::NonZeroUsize, os};

use tokio::{
    net::{TcpStream, UnixStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use crate::{
    net::{
        Peer, Place,
        share::{Share, Spread},
    },
    proxy::Open,
};

/// What one thread knows of the others that serve its listener.
pub struct Threads {
    pub(super) share: Share,
    pub(super) own: usize,
    pub(super) inboxes: Vec<UnboundedSender<Accepted<Detached>>>,
}

/// What other threads hand over. As much as the connections that may be open.
pub type Inbox = UnboundedReceiver<Accepted<Detached>>;

impl Threads {
    /// For each of the threads of a listener, in their order.
    pub fn new(threads: NonZeroUsize, spread: Spread) -> Vec<(Self, Inbox)> {
        let (inboxes, received): (Vec<_>, Vec<_>) =
            (0..threads.get()).map(|_| unbounded_channel()).unzip();
        let shares = Share::of_threads(threads, spread).into_iter().enumerate();
        let threads = shares.map(|(own, share)| Self {
            share,
            own,
            inboxes: inboxes.clone(),
        });
        threads.zip(received).collect()
    }
}

/// A connection, with all that it holds.
pub struct Accepted<S> {
    pub(super) stream: S,
    pub(super) peer: Peer,
    pub(super) place: Place,
    pub(super) open: Open,
}

impl Accepted<Stream> {
    /// # Errors
    /// When the socket cannot be taken from this thread. It is closed then.
    pub(super) fn hand_over(self, to: &UnboundedSender<Accepted<Detached>>) -> io::Result<()> {
        let accepted = Accepted {
            stream: self.stream.detach()?,
            peer: self.peer,
            place: self.place,
            open: self.open,
        };
        // the other thread is gone only when the stop is hard, and connections are cut
        let _ = to.send(accepted);
        Ok(())
    }
}

/// A socket of this thread's.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket of no thread's.
pub enum Detached {
    Tcp(std::net::TcpStream),
    Unix(os::unix::net::UnixStream),
}

impl Stream {
    fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Tcp(stream) => Detached::Tcp(stream.into_std()?),
            Self::Unix(stream) => Detached::Unix(stream.into_std()?),
        })
    }
}

impl Detached {
    pub(super) fn attach(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }
}
