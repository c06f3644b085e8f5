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

use crate::shutdown::{Shutdown, Stage};

/// Counts of one connection, and what it is to end with.
#[derive(Debug)]
pub struct Activity {
    stop: Shutdown,
    /// Requests under way.
    busy: AtomicU32,
    /// Answers whose last frame was taken and that nobody has asked for the next one since.
    untaken: AtomicU32,
    /// Changes whenever a request begins or an answer moves.
    moved: AtomicU32,
    /// Bodies of requests that have not come to their end, also of requests that are answered.
    reading: AtomicU32,
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
    /// Of a connection that finishes with `stop`: the process's, or only its listener's.
    pub fn new(stop: Shutdown) -> Self {
        Self {
            stop,
            busy: AtomicU32::default(),
            untaken: AtomicU32::default(),
            moved: AtomicU32::default(),
            reading: AtomicU32::default(),
            header: AtomicBool::default(),
            blocked: AtomicBool::default(),
            multiplexed: AtomicBool::default(),
        }
    }

    pub(super) fn stop(&self) -> &Shutdown {
        &self.stop
    }

    /// A request has come; it lasts until the guard is dropped.
    pub fn request(self: &Arc<Self>) -> Busy {
        add(&self.busy, 1);
        add(&self.moved, 1);
        self.header.store(false, Relaxed);
        Busy {
            activity: Arc::clone(self),
            turn: Turn::Ours,
        }
    }

    /// It speaks HTTP/2.
    pub(super) fn multiplexes(&self) {
        self.multiplexed.store(true, Relaxed);
    }

    pub(super) fn bytes_came(&self) {
        if self.busy.load(Relaxed) > 0 || self.multiplexed.load(Relaxed) {
            return;
        }
        if self.reading.load(Relaxed) > 0 {
            // the rest of a body whose request was answered before its end
            add(&self.moved, 1);
        } else {
            self.header.store(true, Relaxed);
        }
    }

    pub(super) fn writes(&self, blocked: Blocked) {
        let blocked = blocked == Blocked::Yes;
        if self.blocked.load(Relaxed) != blocked {
            self.blocked.store(blocked, Relaxed);
            // what the end of an answer does, when nothing else tells that it goes on
            add(&self.moved, 1);
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
            } else if self.reading.load(Relaxed) > 0 {
                Doing::Body
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
    /// All requests are answered, but the body of one still comes: until it has ended, what comes
    /// next is no request.
    Body,
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

/// A request's body that has not come to its end.
#[derive(Debug)]
pub struct Reading(Arc<Activity>);

impl Drop for Reading {
    fn drop(&mut self) {
        subtract(&self.0.reading, 1);
        add(&self.0.moved, 1);
    }
}

impl Busy {
    /// The request has a body; the guard is to be dropped when it ends, which may be after the
    /// answer.
    pub fn reading(&self) -> Reading {
        add(&self.activity.reading, 1);
        Reading(Arc::clone(&self.activity))
    }

    /// Whether its connection takes no further request.
    pub fn is_last(&self) -> bool {
        self.activity.stop.stage() > Stage::Running
    }

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
