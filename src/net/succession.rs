//! A new process takes the place of the one that runs, and no connection is refused.
//!
//! The running one, the predecessor, offers its listening sockets at a Unix socket, to processes of its
//! own user and of root (`SCM_RIGHTS`, unix(7)). The new one, the successor, takes them, and says when it is
//! ready to serve; until then nothing has changed, and nothing does if it never comes to that. From
//! then on it accepts, on the same sockets, whose queues are lost at no time, and the predecessor
//! finishes what it has.
//!
//! On the wire: the successor sends `T`; the predecessor `1`, the version, then an `S` with each socket of TCP, a
//! `U` with each Unix socket and its path (two bytes of length, most significant first), then `E`. The successor sends `R` when it is ready, and the predecessor answers `A` when its offer has ended.

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
    sync::Arc,
    time::Duration,
};

use rustix::{
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt,
    },
    process::{Pid, Uid, getuid},
};
use tokio::{io::Interest, net::UnixListener};

use super::inherited::Inherited;

const TAKE: u8 = b'T';
const VERSION: u8 = b'1';
const TCP: u8 = b'S';
const UNIX: u8 = b'U';
const END: u8 = b'E';
const READY: u8 = b'R';
const ACKNOWLEDGED: u8 = b'A';

/// All is on one machine, and both sides have nothing else to do.
const PATIENCE: Duration = Duration::from_secs(5);

/// A listening socket, to be taken.
#[derive(Debug)]
pub enum Offered {
    Tcp(OwnedFd),
    /// With the path that it is found at: the kernel tells the one that it was first bound to.
    Unix(OwnedFd, PathBuf),
}

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
pub enum SuccessionError {
    #[error("the process at the handover socket did not hand its sockets over")]
    Broken(#[source] io::Error),
    #[error(
        "the process at the handover socket speaks another version: stop it, and start this one"
    )]
    Version,
}

/// The process that this one replaces; dropped before [`Predecessor::replace`], it goes on.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

/// Takes the sockets of the process that listens at `path`; `None`: there is none. Blocking, for
/// seconds at most.
///
/// # Errors
/// When there is one that does not hand over what it should.
pub fn take(path: &Path) -> Result<Option<(Inherited, Predecessor)>, SuccessionError> {
    let Ok(stream) = UnixStream::connect(path) else {
        return Ok(None);
    };
    let received = || -> io::Result<Option<Inherited>> {
        stream.set_read_timeout(Some(PATIENCE))?;
        send(&stream, TAKE, None)?;
        if receive(&stream)?.0 != VERSION {
            return Ok(None);
        }
        let mut sockets = Inherited::default();
        loop {
            match receive(&stream)? {
                (TCP, Some(socket)) => sockets.add(socket)?,
                (UNIX, Some(socket)) => sockets.add_unix(socket, receive_path(&stream)?)?,
                (END, None) => return Ok(Some(sockets)),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    };
    match received().map_err(SuccessionError::Broken)? {
        Some(sockets) => Ok(Some((sockets, Predecessor(stream)))),
        None => Err(SuccessionError::Version),
    }
}

impl Predecessor {
    /// Tells it that it is replaced, and waits until its offer has ended. Blocking, for seconds at most.
    pub fn replace(self) -> io::Result<()> {
        send(&self.0, READY, None)?;
        match receive(&self.0)? {
            (ACKNOWLEDGED, None) => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Which process would hand its sockets over at `path`.
pub fn owner(path: &Path) -> Option<Pid> {
    let stream = UnixStream::connect(path).ok()?;
    Some(sockopt::socket_peercred(&stream).ok()?.pid)
}

/// A successor that is ready.
pub struct Successor {
    stream: UnixStream,
    pub process: Pid,
}

impl Successor {
    /// Tells it that the offer has ended, and its own may begin.
    pub fn acknowledge(self) {
        // it would not wait for long
        let _ = send(&self.stream, ACKNOWLEDGED, None);
    }
}

/// Offers `sockets` until a successor is ready. One is served at a time: another waits until that one is
/// ready, or gone.
pub async fn offer(listener: &UnixListener, sockets: &Arc<[Offered]>) -> Successor {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the handover socket");
                tokio::time::sleep(PATIENCE).await;
                continue;
            }
        };
        let Some(process) = permitted(&stream) else {
            continue;
        };
        match wants(&stream).await {
            Ok(true) => {}
            // it only looked who is here
            Ok(false) | Err(_) => continue,
        }
        tracing::info!(process = process.as_raw_pid(), "sockets are handed over");
        match serve(stream, sockets).await {
            Ok(stream) => return Successor { stream, process },
            Err(error) => {
                tracing::warn!(
                    process = process.as_raw_pid(),
                    %error,
                    "the process that was to replace this one is gone: this one goes on"
                );
            }
        }
    }
}

/// Who may take the sockets: whoever may replace the program as well.
fn permitted(stream: &tokio::net::UnixStream) -> Option<Pid> {
    let peer = sockopt::socket_peercred(stream).ok()?;
    if peer.uid == getuid() || peer.uid == Uid::ROOT {
        return Some(peer.pid);
    }
    tracing::warn!(
        uid = peer.uid.as_raw(),
        "another user's process asked for the sockets, and is refused"
    );
    None
}

async fn wants(stream: &tokio::net::UnixStream) -> io::Result<bool> {
    let said = stream.async_io(Interest::READABLE, || receive(stream));
    Ok(tokio::time::timeout(PATIENCE, said).await??.0 == TAKE)
}

async fn serve(stream: tokio::net::UnixStream, sockets: &Arc<[Offered]>) -> io::Result<UnixStream> {
    let (stream, sockets) = (stream.into_std()?, Arc::clone(sockets));
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
    let said = stream
        .async_io(Interest::READABLE, || receive(&stream))
        .await?;
    match said {
        (READY, None) => stream.into_std(),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn send(stream: &UnixStream, what: u8, socket: Option<&OwnedFd>) -> io::Result<()> {
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
        sockets: Arc<[Offered]>,
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
            sockets: [Offered::Tcp(socket.into())].into(),
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
            predecessor.replace().unwrap();
            sockets
        });
        let ready = offer(&offered.listener, &offered.sockets).await;
        assert_eq!(ready.process.as_raw_pid(), std::process::id().cast_signed());
        ready.acknowledge();
        let sockets = successor.await.unwrap();
        drop(offered.sockets);
        let (_, peer) = sockets[0].accept().unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
    }

    #[tokio::test]
    async fn one_that_goes_away_before_it_is_ready_changes_nothing() {
        let offered = offered();
        let path = offered.path.clone();
        let successors = tokio::task::spawn_blocking(move || {
            // two that speak of something else, one that only looks, one that gives up
            assert!(owner(&path).is_some());
            let nonsense = UnixStream::connect(&path).unwrap();
            send(&nonsense, b'?', None).unwrap();
            let half = UnixStream::connect(&path).unwrap();
            send(&half, TAKE, None).unwrap();
            send(&half, b'?', None).unwrap();
            drop(take(&path).unwrap().unwrap());
            let (_sockets, predecessor) = take(&path).unwrap().unwrap();
            predecessor.replace().unwrap();
        });
        offer(&offered.listener, &offered.sockets)
            .await
            .acknowledge();
        successors.await.unwrap();
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
                listener.accept().unwrap().0.write_all(&said).unwrap();
            });
            let error = take(&path).unwrap_err();
            assert_eq!(
                matches!(error, SuccessionError::Version),
                version,
                "{error}"
            );
            other.join().unwrap();
        }
    }
}
