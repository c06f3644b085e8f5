//! What a caller's connection is doing, for the timer that watches over it.
//!
//! Written where things happen, with every request and every packet, and read once a second by the
//! connection's timer ([`super::watch`]). So nothing here reads a clock, and everything is a plain
//! load and store: all of a connection, its HTTP/2 streams included, runs on one thread, and a
//! locked instruction would only cost. The fields are atomic because futures have to be `Send`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

use http::Version;

/// Counts of one connection.
#[derive(Debug, Default)]
pub struct Activity {
    /// Requests under way.
    busy: AtomicU32,
    /// Answers whose last frame was taken and that nobody has asked for the next one since.
    untaken: AtomicU32,
    /// Changes whenever a request begins or an answer moves.
    moved: AtomicU32,
    /// Bytes have come that belong to no request yet.
    header: AtomicBool,
    /// The caller's side takes no more bytes for now.
    blocked: AtomicBool,
    /// HTTP/2, where bytes between requests are no header: pings and window updates come, too.
    multiplexed: AtomicBool,
}

fn add(counter: &AtomicU32, by: u32) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

fn subtract(counter: &AtomicU32, by: u32) {
    counter.store(counter.load(Relaxed).wrapping_sub(by), Relaxed);
}

impl Activity {
    pub fn new() -> Self {
        Self::default()
    }

    /// A request has come; it lasts until the guard is dropped.
    pub fn request(self: &Arc<Self>, version: Version) -> Busy {
        if version == Version::HTTP_2 {
            self.multiplexed.store(true, Relaxed);
        }
        add(&self.busy, 1);
        add(&self.moved, 1);
        self.header.store(false, Relaxed);
        Busy {
            activity: Arc::clone(self),
            turn: Turn::Ours,
        }
    }

    pub(super) fn bytes_came(&self) {
        if self.busy.load(Relaxed) == 0 && !self.multiplexed.load(Relaxed) {
            self.header.store(true, Relaxed);
        }
    }

    pub(super) fn writes(&self, blocked: Blocked) {
        let blocked = blocked == Blocked::Yes;
        if self.blocked.load(Relaxed) != blocked {
            self.blocked.store(blocked, Relaxed);
        }
    }

    /// What there is to see.
    pub(super) fn look(&self) -> Look {
        let busy = self.busy.load(Relaxed);
        Look {
            moved: self.moved.load(Relaxed),
            doing: if busy > 0 && self.untaken.load(Relaxed) == busy {
                Doing::Unread
            } else if busy > 0 {
                Doing::Requests
            } else if self.header.load(Relaxed) {
                Doing::Header
            } else if self.blocked.load(Relaxed) {
                Doing::Flushing
            } else {
                Doing::Nothing
            },
        }
    }

    /// A header has begun and has not ended.
    pub(super) fn reads_header(&self) -> bool {
        self.header.load(Relaxed)
    }
}

/// Whether the last write found room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocked {
    Yes,
    No,
}

/// A connection at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Equal in two looks: nothing moved between them.
    pub moved: u32,
    pub doing: Doing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Nothing,
    /// No request is under way, but the end of an answer is not on the wire yet.
    Flushing,
    Header,
    Requests,
    /// Every request under way waits for its caller to read on.
    Unread,
}

/// A request under way.
#[derive(Debug)]
pub struct Busy {
    activity: Arc<Activity>,
    turn: Turn,
}

/// Who has to do something for the answer to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// We, or the upstream.
    Ours,
    /// The caller has a frame, and has to make room for the next one.
    Callers,
}

impl Busy {
    /// The answer moves on.
    pub fn turn(&mut self, turn: Turn) {
        if turn == self.turn {
            return;
        }
        self.turn = turn;
        match turn {
            Turn::Callers => add(&self.activity.untaken, 1),
            Turn::Ours => subtract(&self.activity.untaken, 1),
        }
        add(&self.activity.moved, 1);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.turn(Turn::Ours);
        subtract(&self.activity.busy, 1);
        add(&self.activity.moved, 1);
    }
}
