//! The way from everything that logs to one stream, without anybody waiting for that stream.
//!
//! Every thread appends its lines to a buffer of its own, its lane; a thread named `log` swaps the
//! buffers for empty ones and writes each in one call. So a log line costs the one who logs a copy of
//! a few hundred bytes under a lock that nobody else wants: no allocation, and no system call except
//! to wake the writer, at most once in [`LINGER`]. A thread's lines stay in the order in which they
//! happened; those of two threads may change places within one batch. A reader that is too slow makes
//! a lane full: lines are then dropped whole and counted, and the log says how many as soon as it can.

use std::{
    cell::RefCell,
    io::{ErrorKind, Write},
    mem,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use crate::metrics::Counter;

use super::follow::Hub;

/// How long the writer collects lines before it writes them together.
const LINGER: Duration = Duration::from_millis(10);

/// What a buffer keeps in any case for the next lines.
const KEPT_BYTES: usize = 64 * 1024;

/// Lines that wait to be written. Clones share.
#[derive(Debug, Clone)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Bytes that may wait, of each thread.
    capacity: usize,
    state: Mutex<State>,
    /// For the writer: there is something to write, or a hurry.
    work: Condvar,
    /// For those who flush: everything is written.
    idle: Condvar,
    /// The writer has found all lanes empty, and waits to be woken.
    asleep: AtomicBool,
    drops: Mutex<Counter>,
    /// Those who read along.
    hub: Hub,
}

#[derive(Debug, Default)]
struct State {
    lanes: Vec<Arc<Lane>>,
    /// The writer has a batch that is not written yet.
    writing: bool,
    /// Somebody waits for `idle`: no lingering.
    hurry: bool,
    /// The writer ends once everything is written.
    ending: bool,
}

/// Lines of one thread. Aligned so that no two threads' locks are in one pair of cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    lines: Vec<u8>,
    /// Lines dropped since the log last said so.
    dropped: u64,
}

thread_local! {
    /// This thread's lane, and whose it is: in tests there is more than one queue.
    static LANE: RefCell<Option<(Weak<Shared>, Arc<Lane>)>> = const { RefCell::new(None) };
}

impl Queue {
    /// A queue for `capacity` bytes of each thread, with nobody who writes them yet.
    pub(super) fn new(capacity: usize) -> Self {
        Self(Arc::new(Shared {
            capacity,
            state: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            asleep: AtomicBool::new(false),
            drops: Mutex::default(),
            hub: Hub::default(),
        }))
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.0.hub
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
        // fails in a thread that is ending; the line must not be lost with it
        let pushed = LANE.try_with(|lane| {
            let here = |(queue, _): &(Weak<Shared>, _)| Weak::as_ptr(queue) == Arc::as_ptr(&self.0);
            if !lane.borrow().as_ref().is_some_and(here) {
                lane.replace(Some((Arc::downgrade(&self.0), self.lane())));
            }
            if let Some((_, lane)) = &*lane.borrow() {
                self.append(lane, line);
            }
        });
        if pushed.is_err() {
            self.append(&self.lane(), line);
        }
    }

    /// A new lane; the writer forgets it when the thread has ended.
    fn lane(&self) -> Arc<Lane> {
        let lane = Arc::new(Lane::default());
        self.0.state.lock().lanes.push(Arc::clone(&lane));
        lane
    }

    fn append(&self, to: &Lane, line: &[u8]) {
        let mut pending = to.0.lock();
        let before = pending.lines.len();
        if before + line.len() > self.0.capacity {
            pending.dropped += 1;
            drop(pending);
            self.0.drops.lock().inc();
            return;
        }
        pending.lines.extend_from_slice(line);
        drop(pending);
        // The writer says that it sleeps before it looks at the lanes for the last time: either it
        // sees this line, or we see that it sleeps. Nobody else looked if there were lines before.
        if before == 0 && self.0.asleep.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if self.0.asleep.swap(false, Ordering::Relaxed) {
            // between its last look and its waiting the writer holds this lock
            drop(self.0.state.lock());
            self.0.work.notify_one();
        }
    }

    /// Waits until everything is written, but not longer than `limit`: a stream that nobody reads
    /// must not keep the program alive.
    pub(super) fn flush(&self, limit: Duration) {
        let mut state = self.0.state.lock();
        state.hurry = true;
        self.0.work.notify_one();
        let busy = |state: &mut State| state.writing || !state.is_empty();
        self.0.idle.wait_while_for(&mut state, busy, limit);
        state.hurry = false;
    }

    /// Lets the writer end; what is logged later stays in memory.
    pub(super) fn close(&self) {
        self.0.state.lock().ending = true;
        self.0.work.notify_one();
    }

    /// Counts dropped lines there from now on.
    pub(super) fn count_drops_in(&self, drops: Counter) {
        let mut now = self.0.drops.lock();
        drops.inc_by(now.get());
        *now = drops;
    }

    /// How many lines were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.0.drops.lock().get()
    }

    /// What waits, taken out.
    pub(super) fn take(&self) -> Vec<u8> {
        let mut batch = Batch::default();
        batch.collect(&mut self.0.state.lock());
        batch.parts.concat()
    }

    fn run(&self, mut sink: impl Write, note: impl Fn(&mut Vec<u8>, u64)) {
        let mut batch = Batch::default();
        let mut state = self.0.state.lock();
        loop {
            if !self.sleep(&mut state) {
                return;
            }
            let calm = |state: &mut State| !state.hurry && !state.ending;
            self.0.work.wait_while_for(&mut state, calm, LINGER);
            let dropped = batch.collect(&mut state);
            state.writing = true;
            drop(state);

            if dropped > 0
                && let Some(last) = batch.parts.last_mut()
            {
                note(last, dropped);
            }
            for part in batch.parts.iter().filter(|part| !part.is_empty()) {
                self.0.hub.publish(part);
                write(&mut sink, part);
            }
            batch.clear();

            state = self.0.state.lock();
            state.writing = false;
            if state.is_empty() {
                self.0.idle.notify_all();
            }
        }
    }

    /// Waits for something to write; false when there is nothing and will be nothing.
    fn sleep(&self, state: &mut parking_lot::MutexGuard<'_, State>) -> bool {
        loop {
            self.0.asleep.store(true, Ordering::Relaxed);
            let found = !state.is_empty();
            if found || state.ending {
                self.0.asleep.store(false, Ordering::Relaxed);
                return found;
            }
            self.0.work.wait(state);
        }
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.0.lock().lines.is_empty())
    }
}

/// What the writer has taken out: the lines of each lane, in buffers that it gives back empty.
#[derive(Debug, Default)]
struct Batch {
    parts: Vec<Vec<u8>>,
}

impl Batch {
    /// Takes all that waits, and forgets the lanes of threads that have ended; says how many lines
    /// were dropped.
    fn collect(&mut self, state: &mut State) -> u64 {
        self.parts.resize_with(state.lanes.len(), Vec::new);
        let mut dropped = 0;
        for (lane, part) in state.lanes.iter().zip(&mut self.parts) {
            let mut pending = lane.0.lock();
            mem::swap(&mut pending.lines, part);
            dropped += mem::take(&mut pending.dropped);
        }
        // whose thread has ended, and has not logged since
        state
            .lanes
            .retain(|lane| Arc::strong_count(lane) > 1 || !lane.0.lock().lines.is_empty());
        dropped
    }

    /// Buffers shrink to what the last lines needed, but not for every change: growing one again
    /// copies it.
    fn clear(&mut self) {
        for part in &mut self.parts {
            let needed = part.len().max(KEPT_BYTES);
            part.clear();
            if part.capacity() > 4 * needed {
                part.shrink_to(2 * needed);
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

    #[test]
    fn every_thread_s_lines_come_whole_and_in_its_order() {
        let queue = Queue::new(usize::MAX);
        let (_given, reader) = start(&queue, usize::from(u16::MAX));
        thread::scope(|scope| {
            for name in 0..4 {
                let queue = &queue;
                scope.spawn(move || {
                    for number in 0..2000 {
                        queue.push(format!("{name} {number}\n").as_bytes());
                    }
                });
            }
        });
        queue.flush(Duration::from_secs(60));
        let written: Vec<u8> = reader.try_iter().flatten().collect();
        let mut next = [0; 4];
        for line in String::from_utf8(written).unwrap().lines() {
            let (name, number) = line.split_once(' ').unwrap();
            let next = &mut next[name.parse::<usize>().unwrap()];
            assert_eq!(number.parse::<u32>().unwrap(), *next, "of thread {name}");
            *next += 1;
        }
        assert_eq!(next, [2000; 4]);
        queue.push(b"the end\n");
        queue.flush(Duration::from_secs(60));
        let state = queue.0.state.lock();
        assert_eq!(
            state.lanes.len(),
            1,
            "threads that have ended are forgotten"
        );
        drop(state);
        queue.close();
    }

    #[test]
    fn a_writer_that_sleeps_is_woken_by_a_line() {
        let queue = Queue::new(1000);
        let (_given, reader) = start(&queue, 8);
        for line in [b"a\n", b"b\n", b"c\n"] {
            queue.push(line);
            assert_eq!(reader.recv().unwrap(), line);
        }
        queue.close();
    }

    #[test]
    fn buffers_keep_what_they_need_and_no_more() {
        let mut batch = Batch::default();
        batch.parts.push(vec![0; 1024 * 1024]);
        batch.clear();
        assert_eq!(batch.parts[0].capacity(), 1024 * 1024);
        batch.parts[0].push(0);
        batch.clear();
        assert!(batch.parts[0].capacity() <= 2 * KEPT_BYTES);
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
