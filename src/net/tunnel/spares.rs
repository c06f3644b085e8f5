//! What the tunnels of one thread need while bytes move, and lend each other otherwise.
//!
//! A thread moves bytes of one tunnel at a time, so that a few are enough for thousands. Only a
//! tunnel whose receiver is slow keeps its own for longer.

use std::fmt;
#[cfg(target_os = "linux")]
use std::io;

use parking_lot::Mutex;

#[cfg(target_os = "linux")]
use super::splice::Pipe;

/// Bytes that are copied at once: some TLS records, and no more than a core's cache has room for.
const BUFFER: usize = 32 * 1024;

/// Spare ones beyond this number are given back to the system.
const KEPT: usize = 4;

/// Pipes in use at once: each costs two descriptors, and what a slow receiver has not taken yet.
#[cfg(target_os = "linux")]
const MOST_PIPES: usize = 32;

/// The spare buffers and pipes of one thread.
#[derive(Default)]
pub struct Spares(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    buffers: Vec<Box<[u8]>>,
    #[cfg(target_os = "linux")]
    pipes: Vec<Pipe>,
    #[cfg(target_os = "linux")]
    lent: usize,
}

impl Spares {
    pub(super) fn buffer(&self) -> Buffer<'_> {
        let spare = self.0.lock().buffers.pop();
        Buffer {
            bytes: spare.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice()),
            spares: self,
        }
    }
}

impl fmt::Debug for Spares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spares").finish_non_exhaustive()
    }
}

/// A buffer that goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Buffer<'a> {
    bytes: Box<[u8]>,
    spares: &'a Spares,
}

impl AsRef<[u8]> for Buffer<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsMut<[u8]> for Buffer<'_> {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let mut kept = self.spares.0.lock();
        if kept.buffers.len() < KEPT {
            kept.buffers.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(target_os = "linux")]
impl Spares {
    /// An empty pipe, and the right to use one.
    ///
    /// # Errors
    /// When there are too many pipes, or files, already.
    pub(super) fn pipe(&self) -> io::Result<(Pipe, Turn<'_>)> {
        let mut kept = self.0.lock();
        if kept.lent >= MOST_PIPES {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let spare = kept.pipes.pop();
        let pipe = spare.map_or_else(Pipe::new, Ok)?;
        kept.lent += 1;
        Ok((pipe, Turn(self)))
    }

    /// Takes back a pipe that is empty. One that is not closes with its tunnel.
    pub(super) fn keep(&self, pipe: Pipe) {
        let mut kept = self.0.lock();
        if kept.pipes.len() < KEPT {
            kept.pipes.push(pipe);
        }
    }

    /// Pipes that are spare, and that are in use.
    #[cfg(test)]
    pub(super) fn pipes(&self) -> (usize, usize) {
        let kept = self.0.lock();
        (kept.pipes.len(), kept.lent)
    }
}

/// The right to use a pipe, until it is dropped.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Spares);

#[cfg(target_os = "linux")]
impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.0.lock().lent -= 1;
    }
}
