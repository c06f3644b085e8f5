//! Passing bytes between two connections, both ways, until both ways have ended.
//!
//! The end of one way is passed on and leaves the other way open; a receiver that is slow slows the
//! sender. Between two TCP sockets bytes that come in bulk do not enter this process
//! (`splice`); small ones are copied, which takes fewer system calls. Pipes and buffers are
//! [`Spares`]: a tunnel has them only while it has bytes to pass on.

mod spares;
#[cfg(target_os = "linux")]
mod splice;

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::atomic::{AtomicU64, Ordering},
    task::ready,
    time::Duration,
};

use futures_util::future::{Either, pending, select};
use hyper::body::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

use self::spares::Buffer;
pub use self::spares::Spares;

/// One end of a tunnel, and the bytes that were already read from it: they are passed on first.
#[derive(Debug)]
pub struct End<I> {
    pub io: I,
    pub early: Bytes,
}

/// What a tunnel borrows of its thread, and counts.
#[derive(Debug, Clone, Copy)]
pub struct Flow<'f> {
    pub spares: &'f Spares,
    pub passed: &'f Passed,
}

/// Bytes that were passed on.
#[derive(Debug, Default)]
pub struct Passed {
    /// From the first connection to the second.
    pub there: AtomicU64,
    pub back: AtomicU64,
}

impl Passed {
    fn all(&self) -> u64 {
        let [there, back] = [&self.there, &self.back];
        there.load(Ordering::Relaxed) + back.load(Ordering::Relaxed)
    }
}

/// A tunnel of which one way has ended lasts so long without a byte on the other.
const HALF_OPEN: Duration = Duration::from_secs(5 * 60);

/// One way of a flow.
#[derive(Clone, Copy)]
struct Direction<'f> {
    spares: &'f Spares,
    passed: &'f AtomicU64,
}

impl<'f> Flow<'f> {
    fn directions(self) -> [Direction<'f>; 2] {
        let spares = self.spares;
        [&self.passed.there, &self.passed.back].map(|passed| Direction { spares, passed })
    }
}

impl Direction<'_> {
    fn count(self, bytes: usize) {
        self.passed.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Joins two connections of any kind, by copying.
///
/// # Errors
/// When either connection fails; both ways end then.
pub async fn copied<A, B>(a: End<A>, b: End<B>, flow: Flow<'_>) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (from_a, to_a) = tokio::io::split(a.io);
    let (from_b, to_b) = tokio::io::split(b.io);
    let [along, against] = flow.directions();
    let there = pin!(copy(from_a, to_b, a.early, along));
    let back = pin!(copy(from_b, to_a, b.early, against));
    // whether one is broken shows when something is written: there is nothing to look at
    match select(there, back).await {
        Either::Left((ended, back)) => {
            ended?;
            rest(back, pending(), flow).await
        }
        Either::Right((ended, there)) => {
            ended?;
            rest(there, pending(), flow).await
        }
    }
}

/// Joins two TCP connections; bytes in bulk are moved by the kernel.
///
/// # Errors
/// When either connection fails; both ways end then.
pub async fn tcp(mut a: End<TcpStream>, mut b: End<TcpStream>, flow: Flow<'_>) -> io::Result<()> {
    let (from_a, to_a) = a.io.split();
    let (from_b, to_b) = b.io.split();
    let [along, against] = flow.directions();
    let there = pin!(pass(from_a, to_b, a.early, along));
    let back = pin!(pass(from_b, to_a, b.early, against));
    match select(there, back).await {
        Either::Left((ended, back)) => {
            let near = ended?;
            rest(back, broken(&near), flow).await
        }
        Either::Right((ended, there)) => {
            let far = ended?;
            rest(there, broken(&far), flow).await
        }
    }
}

/// One way has ended and is read no more. The other goes on, unless the connection that has ended
/// turns out to be `broken`, or nothing passes for too long: the far end of a caller that is gone
/// may be silent for ever.
async fn rest<T>(
    other: Pin<&mut impl Future<Output = io::Result<T>>>,
    broken: impl Future<Output = ()>,
    flow: Flow<'_>,
) -> io::Result<()> {
    let silent = async {
        let mut passed = flow.passed.all();
        loop {
            tokio::time::sleep(HALF_OPEN).await;
            let now = flow.passed.all();
            if now == passed {
                return;
            }
            passed = now;
        }
    };
    tokio::select! {
        biased;
        ended = other => ended.map(|_| ()),
        () = broken => Err(io::ErrorKind::ConnectionReset.into()),
        () = silent => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Until a connection fails whose end has been read already.
async fn broken(ended: &ReadHalf<'_>) {
    loop {
        match ended.ready(Interest::ERROR).await {
            Ok(ready) if !ready.is_error() => tokio::task::yield_now().await,
            _ => return,
        }
    }
}

async fn copy<R, W>(mut from: R, mut to: W, early: Bytes, way: Direction<'_>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    first(&mut to, early, way).await?;
    while chunk(&mut from, &mut to, way).await? > 0 {}
    to.shutdown().await
}

async fn first<W: AsyncWrite + Unpin>(
    to: &mut W,
    early: Bytes,
    way: Direction<'_>,
) -> io::Result<()> {
    if early.is_empty() {
        return Ok(());
    }
    to.write_all(&early).await?;
    way.count(early.len());
    to.flush().await
}

/// Waits for bytes and passes them on; how many, 0 at the end.
async fn chunk<R, W>(from: &mut R, to: &mut W, way: Direction<'_>) -> io::Result<usize>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // a buffer is held from the moment that there are bytes in it
    let (buffer, length) = poll_fn(|cx| {
        let mut buffer = way.spares.buffer();
        let mut into = ReadBuf::new(buffer.as_mut());
        ready!(Pin::new(&mut *from).poll_read(cx, &mut into))?;
        let length = into.filled().len();
        std::task::Poll::Ready(Ok::<(Buffer<'_>, usize), io::Error>((buffer, length)))
    })
    .await?;
    to.write_all(&buffer.as_ref()[..length]).await?;
    way.count(length);
    to.flush().await?;
    Ok(length)
}

#[cfg(not(target_os = "linux"))]
async fn pass<'h>(
    mut from: ReadHalf<'h>,
    to: WriteHalf<'_>,
    early: Bytes,
    way: Direction<'_>,
) -> io::Result<ReadHalf<'h>> {
    copy(&mut from, to, early, way).await?;
    Ok(from)
}

/// How the bytes go.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Copied,
    Spliced,
    /// Copied for good: the kernel does not splice these sockets.
    Refused,
}

/// So many bytes at once are a flow rather than messages.
#[cfg(target_os = "linux")]
const BULK: usize = 16 * 1024;

#[cfg(target_os = "linux")]
async fn pass<'h>(
    mut from: ReadHalf<'h>,
    mut to: WriteHalf<'_>,
    early: Bytes,
    direction: Direction<'_>,
) -> io::Result<ReadHalf<'h>> {
    first(&mut to, early, direction).await?;
    let mut way = Way::Copied;
    loop {
        if way == Way::Spliced {
            way = match splice::burst(from.as_ref(), to.as_ref(), direction).await? {
                splice::Burst::Ended => break,
                splice::Burst::Paused(bytes) if bytes < BULK => Way::Copied,
                splice::Burst::Paused(_) => Way::Spliced,
                splice::Burst::Refused => Way::Refused,
            };
            continue;
        }
        let bytes = chunk(&mut from, &mut to, direction).await?;
        if bytes == 0 {
            break;
        }
        if bytes >= BULK && way == Way::Copied {
            way = Way::Spliced;
        }
    }
    to.shutdown().await?;
    Ok(from)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::{Rng, SeedableRng, rngs::StdRng};
    use tokio::{
        io::AsyncReadExt,
        net::TcpListener,
        task::{JoinHandle, JoinSet},
        time::timeout,
    };

    use super::*;

    /// Both ends of a connection.
    pub(super) async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (connected.unwrap(), accepted.unwrap().0)
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Kind {
        Tcp,
        Copied,
    }

    /// A tunnel, and what its two users hold.
    struct Tunnel {
        a: TcpStream,
        b: TcpStream,
        spares: std::sync::Arc<Spares>,
        ended: JoinHandle<io::Result<[u64; 2]>>,
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    async fn tunnel(kind: Kind, early: [&'static [u8]; 2]) -> Tunnel {
        let ((a, near), (b, far)) = (pair().await, pair().await);
        let [near, far] = [(near, early[0]), (far, early[1])].map(|(io, early)| End {
            io,
            early: Bytes::from_static(early),
        });
        let spares = std::sync::Arc::<Spares>::default();
        let lent = spares.clone();
        let ended = tokio::spawn(async move {
            let passed = Passed::default();
            let flow = Flow {
                spares: &lent,
                passed: &passed,
            };
            match kind {
                Kind::Tcp => tcp(near, far, flow).await?,
                Kind::Copied => copied(near, far, flow).await?,
            }
            Ok([passed.there, passed.back].map(AtomicU64::into_inner))
        });
        Tunnel {
            a,
            b,
            spares,
            ended,
        }
    }

    const BOTH: [Kind; 2] = [Kind::Tcp, Kind::Copied];

    #[tokio::test]
    async fn bytes_arrive_as_they_were_sent_whatever_their_sizes() {
        let mut rng = StdRng::seed_from_u64(7);
        for kind in BOTH {
            let mut tunnel = tunnel(kind, [b"read with the request", b"read with the 101"]).await;
            let mut sent: [Vec<u8>; 2] = std::array::from_fn(|_| Vec::new());
            let mut writing = JoinSet::new();
            let mut reading = Vec::new();
            let users = [tunnel.a, tunnel.b].into_iter().zip(&mut sent);
            for (user, sent) in users {
                let (mut read, mut write) = user.into_split();
                let sizes = [
                    1, 2, 100, 16_383, 16_384, 16_385, 300_001, 3, 2_000_003, 1, 65_537,
                ];
                let pieces = sizes.map(|size| {
                    let mut piece = vec![0; size];
                    rng.fill(&mut piece[..]);
                    piece
                });
                *sent = pieces.concat();
                writing.spawn(async move {
                    for piece in pieces {
                        write.write_all(&piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    write.shutdown().await.unwrap();
                });
                reading.push(async move {
                    let mut all = Vec::new();
                    read.read_to_end(&mut all).await.unwrap();
                    all
                });
            }
            let all = futures_util::future::join_all(reading).await;
            let [by_a, by_b] = sent;
            assert!(
                all[1] == [&b"read with the request"[..], &by_a].concat(),
                "{kind:?}"
            );
            assert!(
                all[0] == [&b"read with the 101"[..], &by_b].concat(),
                "{kind:?}"
            );
            let passed = (&mut tunnel.ended).await.unwrap().unwrap();
            assert_eq!(
                passed.map(|bytes| usize::try_from(bytes).unwrap()),
                [all[1].len(), all[0].len()]
            );
        }
    }

    #[tokio::test]
    async fn one_way_may_end_long_before_the_other() {
        for kind in BOTH {
            let mut tunnel = tunnel(kind, [b"", b""]).await;
            tunnel.a.write_all(b"the question").await.unwrap();
            tunnel.a.shutdown().await.unwrap();
            let mut question = String::new();
            tunnel.b.read_to_string(&mut question).await.unwrap();
            assert_eq!(question, "the question");
            tunnel.b.write_all(b"the answer").await.unwrap();
            let mut answer = [0; 10];
            tunnel.a.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"the answer");
            assert!(!tunnel.ended.is_finished());
            tunnel.b.shutdown().await.unwrap();
            assert_eq!(tunnel.a.read(&mut answer).await.unwrap(), 0);
            tunnel.ended.await.unwrap().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_stalls_stalls_the_sender_and_loses_nothing() {
        const ALL: usize = 64 * 1024 * 1024;
        for kind in BOTH {
            let Tunnel {
                a, mut b, ended, ..
            } = tunnel(kind, [b"", b""]).await;
            let (read, mut write) = a.into_split();
            let (piece, mut sent) = (vec![7; 65_536], 0);
            let flood = async {
                while sent < ALL {
                    sent += write.write(&piece).await.unwrap();
                }
            };
            // the clock moves when nothing else does
            timeout(Duration::from_secs(60), flood).await.unwrap_err();
            assert!(sent < ALL / 2, "{kind:?}: {sent} bytes are somewhere");
            drop(write);
            let mut arrived = Vec::new();
            b.read_to_end(&mut arrived).await.unwrap();
            assert_eq!(arrived.len(), sent);
            assert!(arrived.iter().all(|byte| *byte == 7));
            drop((read, b));
            ended.await.unwrap().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_a_tunnel_lasts_as_long_as_bytes_pass_and_no_longer() {
        for kind in BOTH {
            let Tunnel {
                mut a,
                mut b,
                ended,
                ..
            } = tunnel(kind, [b"", b""]).await;
            a.shutdown().await.unwrap();
            let mut byte = [0];
            for _ in 0..3 {
                tokio::time::sleep(HALF_OPEN / 2).await;
                b.write_all(b"x").await.unwrap();
                a.read_exact(&mut byte).await.unwrap();
            }
            assert!(!ended.is_finished(), "{kind:?}");
            // its caller has gone, and the far end says nothing
            let error = ended.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{kind:?}");
            assert_eq!(b.read(&mut byte).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_caller_that_breaks_off_after_its_end_ends_the_tunnel() {
        let mut tunnel = tunnel(Kind::Tcp, [b"", b""]).await;
        tunnel.a.shutdown().await.unwrap();
        let mut byte = [0];
        assert_eq!(tunnel.b.read(&mut byte).await.unwrap(), 0);
        tunnel.a.set_zero_linger().unwrap();
        drop(tunnel.a);
        let error = tunnel.ended.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_connection_that_breaks_ends_both_ways() {
        for kind in BOTH {
            let mut tunnel = tunnel(kind, [b"", b""]).await;
            tunnel.a.set_zero_linger().unwrap();
            drop(tunnel.a);
            tunnel.ended.await.unwrap().unwrap_err();
            assert_eq!(tunnel.b.read(&mut [0]).await.unwrap(), 0);
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_flow_is_spliced_messages_are_not_and_afterwards_the_pipe_is_spare() {
        let mut tunnel = tunnel(Kind::Tcp, [b"", b""]).await;
        let mut message = [0; 1000];
        for _ in 0..10 {
            tunnel.a.write_all(&message).await.unwrap();
            tunnel.b.read_exact(&mut message).await.unwrap();
        }
        assert_eq!(tunnel.spares.pipes(), (0, 0));
        for _ in 0..10 {
            let (flow, mut arrived) = (vec![1; 3_000_000], vec![0; 3_000_000]);
            let (sent, read) =
                tokio::join!(tunnel.a.write_all(&flow), tunnel.b.read_exact(&mut arrived));
            sent.and(read).unwrap();
            while tunnel.spares.pipes().1 > 0 {
                // it has its turn before it sees that no more comes
                tokio::task::yield_now().await;
            }
        }
        assert!(!tunnel.ended.is_finished());
        assert_eq!(tunnel.spares.pipes(), (1, 0));
    }
}
