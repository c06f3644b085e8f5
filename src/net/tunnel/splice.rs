//! Moving bytes from one TCP socket to another through a pipe: the kernel passes on the pages that
//! the network card filled.

use std::{
    io::{self, ErrorKind, Read},
    os::fd::{AsFd, OwnedFd},
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::{io::Interest, net::TcpStream};

use super::Direction;

/// Room in a pipe, if the system grants it, as it does to everybody up to here; 64 KiB otherwise.
/// Moving a GiB through it took half of the CPU time that it takes through 64 KiB.
const ROOM: usize = 1024 * 1024;

/// After so many bytes the thread's other connections have their turn.
const SHARE: usize = 1024 * 1024;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Burst {
    /// So many bytes were moved, and for now no more come.
    Paused(usize),
    /// The sender has ended; all that it sent was passed on.
    Ended,
    /// These sockets, or this system, do not do it. Nothing is lost.
    Refused,
}

/// Waits for bytes and moves them until no more come.
///
/// # Errors
/// When either socket fails.
pub(super) async fn burst(
    from: &TcpStream,
    to: &TcpStream,
    way: Direction<'_>,
) -> io::Result<Burst> {
    from.readable().await?;
    let Ok((mut pipe, _turn)) = way.spares.pipe() else {
        // all are in use: these bytes are copied, the next ones may find one
        return Ok(Burst::Paused(0));
    };
    let (mut all, mut share) = (0, 0);
    let burst = loop {
        match pipe.fill(from) {
            Ok(0) => break Burst::Ended,
            Ok(bytes) => {
                way.count(bytes);
                (all, share) = (all + bytes, share + bytes);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break Burst::Paused(all),
            Err(error) if is_refusal(&error) => break Burst::Refused,
            Err(error) => return Err(error),
        }
        while pipe.holds > 0 {
            match pipe.drain(to) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => to.writable().await?,
                Err(error) if is_refusal(&error) => {
                    pipe.pour(to).await?;
                    return Ok(Burst::Refused);
                }
                Err(error) => return Err(error),
            }
        }
        if share >= SHARE {
            share = 0;
            tokio::task::yield_now().await;
        }
    };
    way.spares.keep(pipe);
    Ok(burst)
}

/// `EINVAL` of sockets that have something in between, and what sandboxes say.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::PermissionDenied
    )
}

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub(super) struct Pipe {
    output: OwnedFd,
    input: OwnedFd,
    holds: usize,
}

impl Pipe {
    /// # Errors
    /// When there are too many open files.
    pub(super) fn new() -> io::Result<Self> {
        let (output, input) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // a system that has given out much keeps to less: it serves as well, in more turns
        let _ = fcntl_setpipe_size(&input, ROOM);
        Ok(Self {
            output,
            input,
            holds: 0,
        })
    }

    /// From a socket into the empty pipe: a failure to do so at once is the socket's, then.
    fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        self.holds = from.try_io(Interest::READABLE, || {
            moved(from.as_fd(), self.input.as_fd(), ROOM)
        })?;
        Ok(self.holds)
    }

    fn drain(&mut self, to: &TcpStream) -> io::Result<()> {
        self.holds -= to.try_io(Interest::WRITABLE, || {
            moved(self.output.as_fd(), to.as_fd(), self.holds)
        })?;
        Ok(())
    }

    /// Empties the pipe by copying.
    async fn pour(self, to: &TcpStream) -> io::Result<()> {
        let mut bytes = vec![0; self.holds];
        std::fs::File::from(self.output).read_exact(&mut bytes)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            to.writable().await?;
            match to.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn moved(from: impl AsFd, to: impl AsFd, length: usize) -> io::Result<usize> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    Ok(splice(from, None, to, None, length, flags)?)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use std::sync::atomic::AtomicU64;

    use super::{
        super::{Spares, tests::pair},
        *,
    };

    #[tokio::test]
    async fn what_a_pipe_holds_when_splicing_is_refused_is_copied() {
        let ((mut sender, from), (to, mut receiver)) = (pair().await, pair().await);
        sender.write_all(b"already in the pipe").await.unwrap();
        from.readable().await.unwrap();
        let mut pipe = Pipe::new().unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), 19);
        pipe.pour(&to).await.unwrap();
        drop(to);
        let mut all = Vec::new();
        receiver.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"already in the pipe");
    }

    #[tokio::test]
    async fn without_a_pipe_nothing_is_lost() {
        let ((mut sender, from), (to, _receiver)) = (pair().await, pair().await);
        let spares = Spares::default();
        let mut all = Vec::new();
        while let Ok(lent) = spares.pipe() {
            all.push(lent);
        }
        sender.write_all(b"bytes").await.unwrap();
        let passed = AtomicU64::default();
        let way = Direction {
            spares: &spares,
            passed: &passed,
        };
        let burst = burst(&from, &to, way).await.unwrap();
        assert_eq!(burst, Burst::Paused(0));
        let mut read = [0; 5];
        assert_eq!(from.try_read(&mut read).unwrap(), 5);
        drop(all);
        assert_eq!(spares.pipes(), (0, 0));
    }
}
