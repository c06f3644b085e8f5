//! The way from everything that logs to one stream, without anybody waiting for that stream.
//!
//! Lines are appended to a buffer under a short lock; a thread of its own swaps the buffer for an
//! empty one and writes it in one call. So a log line costs the one who logs a copy of a few
//! hundred bytes: no allocation, no system call except to wake the writer at most once in
//! [`LINGER`], and lines stay in the order in which they happened. A reader that is too slow makes
//! the buffer full: lines are then dropped whole and counted, and the log says how many as soon as
//! it can.

use std::{
    io::{ErrorKind, Write},
    mem,
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;

/// How long the writer collects lines before it writes them together.
const LINGER: Duration = Duration::from_millis(10);

/// What a buffer keeps for the next lines; more is given back.
const KEPT_BYTES: usize = 64 * 1024;

/// Lines that wait to be written. Clones share.
#[derive(Debug, Clone)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Bytes that may wait.
    capacity: usize,
    state: Mutex<State>,
    /// For the writer: there is something to write, or a hurry.
    work: Condvar,
    /// For those who flush: everything is written.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pending: Vec<u8>,
    /// Lines dropped since the log last said so.
    dropped: u64,
    drops: Counter,
    /// The writer has a batch that is not written yet.
    writing: bool,
    /// Somebody waits for `idle`: no lingering.
    hurry: bool,
    /// The writer ends once everything is written.
    ending: bool,
}

impl Queue {
    /// A queue for `capacity` bytes, with nobody who writes them yet.
    pub(super) fn new(capacity: usize) -> Self {
        Self(Arc::new(Shared {
            capacity,
            state: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
        }))
    }

    /// Starts the thread that writes to `sink`; `note` makes the line that says how many lines
    /// were dropped.
    pub(super) fn write_to(
        &self,
        sink: impl Write + Send + 'static,
        note: impl Fn(&mut Vec<u8>, u64) + Send + 'static,
    ) -> std::io::Result<()> {
        let queue = self.clone();
        thread::Builder::new()
            .name("log".into())
            .spawn(move || queue.run(sink, note))
            .map(drop)
    }

    /// Appends a whole line, with its line feed, or drops it; never waits for the stream.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.0.state.lock();
        if state.pending.len() + line.len() > self.0.capacity {
            state.dropped += 1;
            state.drops.inc();
            return;
        }
        let first = state.pending.is_empty();
        state.pending.extend_from_slice(line);
        drop(state);
        if first {
            self.0.work.notify_one();
        }
    }

    /// Waits until everything is written, but not longer than `limit`: a stream that nobody reads
    /// must not keep the program alive.
    pub(super) fn flush(&self, limit: Duration) {
        let mut state = self.0.state.lock();
        state.hurry = true;
        self.0.work.notify_one();
        self.0.idle.wait_while_for(
            &mut state,
            |state| !state.pending.is_empty() || state.writing,
            limit,
        );
        state.hurry = false;
    }

    /// Lets the writer end; what is logged later stays in memory.
    pub(super) fn close(&self) {
        self.0.state.lock().ending = true;
        self.0.work.notify_one();
    }

    /// Counts dropped lines there from now on.
    pub(super) fn count_drops_in(&self, drops: Counter) {
        let mut state = self.0.state.lock();
        drops.inc_by(state.drops.get());
        state.drops = drops;
    }

    /// What waits, taken out.
    pub(super) fn take(&self) -> Vec<u8> {
        mem::take(&mut self.0.state.lock().pending)
    }

    fn run(&self, mut sink: impl Write, note: impl Fn(&mut Vec<u8>, u64)) {
        let mut batch = Vec::new();
        let mut state = self.0.state.lock();
        loop {
            self.0.work.wait_while(&mut state, |state| {
                state.pending.is_empty() && !state.ending
            });
            if state.pending.is_empty() {
                return;
            }
            let calm = |state: &mut State| !state.hurry && !state.ending;
            self.0.work.wait_while_for(&mut state, calm, LINGER);
            mem::swap(&mut state.pending, &mut batch);
            let dropped = mem::take(&mut state.dropped);
            state.writing = true;
            drop(state);

            if dropped > 0 {
                note(&mut batch, dropped);
            }
            write(&mut sink, &batch);
            batch.clear();
            batch.shrink_to(KEPT_BYTES);

            state = self.0.state.lock();
            state.writing = false;
            if state.pending.is_empty() {
                self.0.idle.notify_all();
            }
        }
    }
}

/// Writes all of `bytes`, also to a pipe that a parent process has made non-blocking; gives up on
/// any other error: nowhere is left to say that the log cannot be written.
fn write(sink: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match sink.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(LINGER),
            Err(_) => return,
        }
    }
    let _ = sink.flush();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A stream that says when it is given something, and takes it only when the reader is there.
    struct Rendezvous {
        given: mpsc::Sender<()>,
        taken: mpsc::SyncSender<Vec<u8>>,
    }

    impl Write for Rendezvous {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.given.send(());
            let _ = self.taken.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn start(queue: &Queue, room: usize) -> (mpsc::Receiver<()>, mpsc::Receiver<Vec<u8>>) {
        let (given, was_given) = mpsc::channel();
        let (taken, reader) = mpsc::sync_channel(room);
        let note = |out: &mut Vec<u8>, dropped| {
            out.extend_from_slice(format!("{dropped} dropped\n").as_bytes());
        };
        queue.write_to(Rendezvous { given, taken }, note).unwrap();
        (was_given, reader)
    }

    #[test]
    fn a_slow_reader_costs_lines_and_is_told_how_many_but_nobody_waits() {
        let queue = Queue::new(20);
        let drops = Counter::default();
        queue.count_drops_in(drops.clone());
        let (given, reader) = start(&queue, 0);
        queue.push(b"the first\n");
        given.recv().unwrap(); // the writer holds it and waits for the reader
        for _ in 0..5 {
            queue.push(b"123456789\n");
        }
        assert_eq!(drops.get(), 3, "two fit");
        assert_eq!(reader.recv().unwrap(), b"the first\n");
        assert_eq!(reader.recv().unwrap(), b"123456789\n123456789\n3 dropped\n");
        queue.close();
    }

    #[test]
    fn a_flush_returns_when_all_is_written_and_the_writer_ends_when_told() {
        let queue = Queue::new(1000);
        let (_given, reader) = start(&queue, 8);
        queue.push(b"a\n");
        queue.push(b"b\n");
        queue.flush(Duration::from_secs(60));
        let written: Vec<u8> = reader.try_iter().flatten().collect();
        assert_eq!(written, b"a\nb\n");
        queue.push(b"c\n");
        queue.close();
        assert_eq!(reader.recv().unwrap(), b"c\n");
        assert!(reader.recv().is_err(), "the writer has ended");
    }

    #[test]
    fn a_reader_that_never_comes_does_not_hold_up_the_end() {
        let queue = Queue::new(1000);
        let (given, reader) = start(&queue, 0);
        queue.push(b"a\n");
        given.recv().unwrap();
        queue.flush(Duration::from_millis(20));
        queue.close();
        drop(reader);
    }

    /// A non-blocking pipe: takes three bytes, then none, and so on.
    struct Pipe {
        full: bool,
        taken: Vec<u8>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.full = !self.full;
            if self.full {
                return Err(ErrorKind::WouldBlock.into());
            }
            let some = bytes.len().min(3);
            self.taken.extend_from_slice(&bytes[..some]);
            Ok(some)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_pipe_that_does_not_block_gets_every_byte() {
        let mut pipe = Pipe {
            full: false,
            taken: Vec::new(),
        };
        write(&mut pipe, b"one line\n");
        assert_eq!(pipe.taken, b"one line\n");
    }
}
