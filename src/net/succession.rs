//! A new process takes the place of the one that runs, and no connection is refused.
//!
//! The running one, the predecessor, offers its listening sockets at a Unix socket, to processes of its
//! own user and of root (`SCM_RIGHTS`, unix(7)). The new one, the successor, takes them, and says when it is
//! ready to serve; until then nothing has changed, and nothing does if it never comes to that. From
//! then on it accepts, on the same sockets, whose queues are lost at no time, and the predecessor
//! finishes what it has.
//!
//! On the wire: the successor sends `T`; the predecessor `1`, the version, then an `S` with each socket
//! of TCP, a `U` with each Unix socket and its path (two bytes of length, most significant first), then
//! `E`. The successor sends `R` when it is ready. The predecessor ends its offer and answers `A`, or `N` if
//! another was faster. The successor accepts, offers in its turn, and sends `D`: not before is it the
//! one that serves. Where a connection ends, whoever is left goes on.

use std::{
    ffi::OsString,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::{StreamExt, stream::FuturesUnordered};
use rustix::{
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt,
    },
    process::{Pid, Uid, getuid},
};
use tokio::{io::Interest, net::UnixListener, sync::watch};

use super::inherited::Inherited;

const TAKE: u8 = b'T';
const VERSION: u8 = b'1';
const TCP: u8 = b'S';
const UNIX: u8 = b'U';
const END: u8 = b'E';
const READY: u8 = b'R';
const ACKNOWLEDGED: u8 = b'A';
const ANOTHER: u8 = b'N';
const DONE: u8 = b'D';

/// Successors that wait at once; whoever tries in a loop holds no more.
const AT_ONCE: usize = 16;
/// Sockets that are taken: a thousand threads with dozens of listeners.
const MOST: usize = 65_536;

/// All is on one machine, and both sides have nothing else to do.
const PATIENCE: Duration = Duration::from_secs(5);

/// A listening socket, to be taken.
#[derive(Debug)]
pub enum Offered {
    Tcp(OwnedFd),
    /// With the path that it is found at: the kernel tells the one that it was first bound to.
    Unix(OwnedFd, PathBuf),
}

/// The sockets that there are to hand over now.
pub type Offers = ArcSwap<Vec<Offered>>;

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
pub enum SuccessionError {
    #[error("process {process} at the handover socket did not hand its sockets over")]
    Broken { process: i32, source: io::Error },
    #[error(
        "process {0} at the handover socket speaks another version: stop it, and start this one"
    )]
    Version(i32),
    #[error(
        "the handover socket is that of user {0}, from whom no sockets are taken: put handover_socket into a directory that is this user's alone"
    )]
    Stranger(u32),
}

/// The process that this one replaces; dropped before [`Predecessor::replace`], it goes on.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

/// What became of replacing it.
#[derive(Debug)]
pub enum Replaced {
    /// It serves until it is told that this one does.
    Serving(Predecessor),
    /// It ended meanwhile.
    Gone(io::Error),
    /// Another process took its place first.
    ByAnother,
}

/// Takes the sockets of the process that listens at `path`; `None`: there is none. Blocking, for
/// seconds at most.
///
/// # Errors
/// When there is one that does not hand over what it should, or from which none are to be taken.
pub fn take(path: &Path) -> Result<Option<(Inherited, Predecessor)>, SuccessionError> {
    let Ok(stream) = UnixStream::connect(path) else {
        return Ok(None);
    };
    let broken = |process| move |source| SuccessionError::Broken { process, source };
    let peer = sockopt::socket_peercred(&stream).map_err(|error| broken(0)(error.into()))?;
    // whoever could make a socket there would get our callers
    if !is_trusted(peer.uid) {
        return Err(SuccessionError::Stranger(peer.uid.as_raw()));
    }
    let process = peer.pid.as_raw_pid();
    let received = || -> io::Result<Option<Inherited>> {
        stream.set_read_timeout(Some(PATIENCE))?;
        send(&stream, TAKE, None)?;
        if receive(&stream)?.0 != VERSION {
            return Ok(None);
        }
        let mut sockets = Inherited::default();
        for _ in 0..MOST {
            match receive(&stream)? {
                (TCP, Some(socket)) => sockets.add(socket)?,
                (UNIX, Some(socket)) => sockets.add_unix(socket, receive_path(&stream)?)?,
                (END, None) => return Ok(Some(sockets)),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    };
    match received().map_err(broken(process))? {
        Some(sockets) => Ok(Some((sockets, Predecessor(stream)))),
        None => Err(SuccessionError::Version(process)),
    }
}

impl Predecessor {
    /// Says that this process is ready, and waits until the other's offer has ended. Blocking, for
    /// seconds at most.
    pub fn replace(self) -> Replaced {
        // who has been told that another was first finds the answer here, though nobody listens any more
        let _ = send(&self.0, READY, None);
        match receive(&self.0) {
            Ok((ACKNOWLEDGED, None)) => Replaced::Serving(self),
            Ok((ANOTHER, None)) => Replaced::ByAnother,
            Ok(_) => Replaced::Gone(io::ErrorKind::InvalidData.into()),
            Err(error) => Replaced::Gone(error),
        }
    }

    /// This process accepts now, and offers its sockets: the other may finish.
    pub fn finish(self) {
        // if it is gone, it has finished
        let _ = send(&self.0, DONE, None);
    }
}

/// Which process would hand its sockets over at `path`.
pub fn owner(path: &Path) -> Option<Pid> {
    let stream = UnixStream::connect(path).ok()?;
    Some(sockopt::socket_peercred(&stream).ok()?.pid)
}

/// A successor that is ready.
pub struct Successor {
    stream: tokio::net::UnixStream,
    pub process: Pid,
}

impl Successor {
    /// Tells it that the offer has ended, and its own may begin. Whether it then serves; if not, this
    /// process has to go on.
    pub async fn serves(self) -> bool {
        if send(&self.stream, ACKNOWLEDGED, None).is_err() {
            return false;
        }
        // as long as it neither says so nor ends, both may serve
        let said = self
            .stream
            .async_io(Interest::READABLE, || receive(&self.stream));
        matches!(said.await, Ok((DONE, None)))
    }
}

/// Offers `sockets` until a successor is ready; `held` counts those that have them and are not. Of several
/// that try at once, the first that is ready is it, and the others are told.
pub async fn offer(listener: &UnixListener, sockets: &Offers, held: &AtomicUsize) -> Successor {
    let lost = watch::Sender::new(false);
    let mut waiting = FuturesUnordered::new();
    loop {
        let accepted = tokio::select! {
            Some(ready) = waiting.next(), if !waiting.is_empty() => {
                let Some(successor): Option<Successor> = ready else {
                    continue;
                };
                lost.send_replace(true);
                let told = async {
                    while let Some(other) = waiting.next().await {
                        if let Some(other) = other {
                            let _ = send(&other.stream, ANOTHER, None);
                        }
                    }
                };
                // who is not told sees its connection end
                let _ = tokio::time::timeout(Duration::from_millis(100), told).await;
                return successor;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if waiting.len() < AT_ONCE => {
                waiting.push(successor(
                    stream,
                    sockets.load_full(),
                    held,
                    lost.subscribe(),
                ));
            }
            Ok(_) => tracing::warn!("too many processes wait to replace this one"),
            Err(error) => {
                tracing::warn!(%error, "the handover socket");
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }
}

/// One that tries, until it is ready; `None`: it has gone, or is nobody's.
async fn successor(
    stream: tokio::net::UnixStream,
    sockets: Arc<Vec<Offered>>,
    held: &AtomicUsize,
    lost: watch::Receiver<bool>,
) -> Option<Successor> {
    let process = permitted(&stream)?;
    // who sends nothing only looked who is here
    if !wants(&stream).await.unwrap_or(false) {
        return None;
    }
    tracing::info!(process = process.as_raw_pid(), "sockets are handed over");
    // at the end of this process it still has them
    held.fetch_add(1, Ordering::Relaxed);
    let served = serve(stream, sockets, lost).await;
    held.fetch_sub(1, Ordering::Relaxed);
    match served {
        Ok(stream) => stream.map(|stream| Successor { stream, process }),
        Err(error) => {
            tracing::warn!(
                process = process.as_raw_pid(),
                %error,
                "the process that was to replace this one is gone: this one goes on"
            );
            None
        }
    }
}

/// Who may take the sockets: whoever may replace the program as well.
fn permitted(stream: &tokio::net::UnixStream) -> Option<Pid> {
    let peer = sockopt::socket_peercred(stream).ok()?;
    if is_trusted(peer.uid) {
        return Some(peer.pid);
    }
    tracing::warn!(
        uid = peer.uid.as_raw(),
        "another user's process asked for the sockets, and is refused"
    );
    None
}

fn is_trusted(user: Uid) -> bool {
    user == getuid() || user == Uid::ROOT
}

async fn wants(stream: &tokio::net::UnixStream) -> io::Result<bool> {
    let said = stream.async_io(Interest::READABLE, || receive(stream));
    Ok(tokio::time::timeout(PATIENCE, said).await??.0 == TAKE)
}

/// Hands over the sockets, and waits until it is ready; `None`: another was first.
async fn serve(
    stream: tokio::net::UnixStream,
    sockets: Arc<Vec<Offered>>,
    mut lost: watch::Receiver<bool>,
) -> io::Result<Option<tokio::net::UnixStream>> {
    let stream = stream.into_std()?;
    // whoever does not read what it asked for holds up nothing else
    let sent = tokio::task::spawn_blocking(move || {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        send(&stream, VERSION, None)?;
        for socket in sockets.iter() {
            match socket {
                Offered::Tcp(socket) => send(&stream, TCP, Some(socket))?,
                Offered::Unix(socket, path) => {
                    send(&stream, UNIX, Some(socket))?;
                    let path = path.as_os_str().as_bytes();
                    let length = u16::try_from(path.len()).map_err(io::Error::other)?;
                    (&stream).write_all(&length.to_be_bytes())?;
                    (&stream).write_all(path)?;
                }
            }
        }
        send(&stream, END, None)?;
        stream.set_nonblocking(true)?;
        io::Result::Ok(stream)
    });
    let stream = tokio::net::UnixStream::from_std(sent.await.map_err(io::Error::other)??)?;
    // it may take as long as its provider does
    let said = tokio::select! {
        biased;
        _ = lost.wait_for(|lost| *lost) => {
            send(&stream, ANOTHER, None)?;
            return Ok(None);
        }
        said = stream.async_io(Interest::READABLE, || receive(&stream)) => said?,
    };
    match said {
        (READY, None) => Ok(Some(stream)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn send(stream: impl AsFd, what: u8, socket: Option<&OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    let sockets = socket.map(AsFd::as_fd);
    if let Some(socket) = &sockets {
        with.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(
            socket,
        )));
    }
    match sendmsg(
        stream,
        &[IoSlice::new(&[what])],
        &mut with,
        SendFlags::NOSIGNAL,
    )? {
        1 => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

fn receive_path(mut stream: &UnixStream) -> io::Result<PathBuf> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut path = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut path)?;
    Ok(OsString::from_vec(path).into())
}

/// One byte, and the socket that came with it.
fn receive(stream: impl AsFd) -> io::Result<(u8, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut byte)],
        &mut with,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut sockets = with.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    let socket = sockets.next().and_then(|mut sockets| sockets.next());
    Ok((byte[0], socket))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    struct Running {
        address: SocketAddr,
        path: std::path::PathBuf,
        listener: UnixListener,
        sockets: Offers,
        _directory: tempfile::TempDir,
    }

    fn offered() -> Running {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("handover");
        let listener = UnixListener::bind(&path).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        Running {
            address: socket.local_addr().unwrap(),
            path,
            listener,
            sockets: Offers::from_pointee(vec![Offered::Tcp(socket.into())]),
            _directory: directory,
        }
    }

    #[tokio::test]
    async fn a_successor_has_the_connections_that_wait_and_the_other_learns_when_it_is_ready() {
        let offered = offered();
        let waiting = TcpStream::connect(offered.address).unwrap();
        let (path, address) = (offered.path.clone(), offered.address);
        let successor = tokio::task::spawn_blocking(move || {
            let (mut inherited, predecessor) = take(&path).unwrap().unwrap();
            let sockets = inherited.tcp(address);
            match predecessor.replace() {
                Replaced::Serving(predecessor) => predecessor.finish(),
                other => panic!("{other:?}"),
            }
            sockets
        });
        let ready = offer(&offered.listener, &offered.sockets, &AtomicUsize::new(0)).await;
        assert_eq!(ready.process.as_raw_pid(), std::process::id().cast_signed());
        assert!(ready.serves().await);
        let sockets = successor.await.unwrap();
        drop(offered.sockets);
        let (_, peer) = sockets[0].accept().unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
    }

    #[tokio::test]
    async fn who_goes_away_or_stands_still_keeps_nobody_from_replacing_it() {
        let offered = offered();
        let path = offered.path.clone();
        let held = AtomicUsize::new(0);
        let successors = tokio::task::spawn_blocking(move || {
            // two that speak of something else, one that only looks, one that gives up
            assert!(owner(&path).is_some());
            let nonsense = UnixStream::connect(&path).unwrap();
            send(&nonsense, b'?', None).unwrap();
            let half = UnixStream::connect(&path).unwrap();
            send(&half, TAKE, None).unwrap();
            send(&half, b'?', None).unwrap();
            drop(take(&path).unwrap().unwrap());
            // one that says nothing more, one that never gets ready, one that is too late
            let silent = UnixStream::connect(&path).unwrap();
            let stuck = take(&path).unwrap().unwrap();
            let (_, late) = take(&path).unwrap().unwrap();
            let (_sockets, predecessor) = take(&path).unwrap().unwrap();
            let Replaced::Serving(predecessor) = predecessor.replace() else {
                panic!("not served");
            };
            predecessor.finish();
            let late = late.replace();
            drop((silent, stuck));
            late
        });
        let ready = offer(&offered.listener, &offered.sockets, &held).await;
        assert!(ready.serves().await);
        let late = successors.await.unwrap();
        assert!(matches!(late, Replaced::ByAnother), "{late:?}");
        assert_eq!(held.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn one_that_ends_before_it_serves_has_not_replaced_it() {
        let offered = offered();
        let path = offered.path.clone();
        let successor = tokio::task::spawn_blocking(move || {
            let (_sockets, predecessor) = take(&path).unwrap().unwrap();
            let replaced = predecessor.replace();
            assert!(matches!(replaced, Replaced::Serving(_)), "{replaced:?}");
        });
        let ready = offer(&offered.listener, &offered.sockets, &AtomicUsize::new(0)).await;
        assert!(!ready.serves().await);
        successor.await.unwrap();
    }

    #[test]
    fn sockets_pass_between_processes_of_this_user_and_root_alone() {
        let stranger = Uid::from_raw(getuid().as_raw().wrapping_add(4242));
        for (user, trusted) in [(getuid(), true), (Uid::ROOT, true), (stranger, false)] {
            assert_eq!(is_trusted(user), trusted, "{user:?}");
        }
    }

    #[test]
    fn where_nobody_listens_there_is_no_predecessor() {
        let directory = tempfile::tempdir().unwrap();
        assert!(take(&directory.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn one_of_another_version_is_told_apart_from_one_that_breaks() {
        let directory = tempfile::tempdir().unwrap();
        for (name, said, version) in [("later", &b"2"[..], true), ("broken", b"1S", false)] {
            let path = directory.path().join(name);
            let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            let said = said.to_vec();
            let other = std::thread::spawn(move || {
                let mut stream = listener.accept().unwrap().0;
                // what is closed with something unread is reset, whatever was said before
                stream.read_exact(&mut [0]).unwrap();
                stream.write_all(&said).unwrap();
            });
            let error = take(&path).unwrap_err();
            assert_eq!(
                matches!(error, SuccessionError::Version(_)),
                version,
                "{error}"
            );
            other.join().unwrap();
        }
    }
}
