//! Listening sockets that were open before this process was: those that systemd holds (socket
//! activation, `sd_listen_fds(3)`), or those of the process that this one replaces.
//!
//! Connections that wait in them are not lost while processes come and go. A socket belongs to the
//! listener that has its address; it keeps the options that it was made with.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
};

use listenfd::ListenFd;
use rustix::net::sockopt;

/// What was handed over and cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    #[error(
        "socket {number} of LISTEN_FDS cannot be used: it has to be a listening stream socket, of TCP or Unix"
    )]
    Unusable { number: usize, source: io::Error },
}

/// Sockets without a listener yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Socket>);

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

impl Inherited {
    /// Those that `LISTEN_FDS` counts, when `LISTEN_PID` means this process. To be called before
    /// there is a second thread: the variables are taken out, so that no child takes them for its own.
    ///
    /// # Errors
    /// When one of them is no listening stream socket.
    pub fn from_environment() -> Result<Self, InheritError> {
        let mut given = ListenFd::from_env();
        let mut all = Self::default();
        for number in 0..given.len() {
            let unusable = |source| InheritError::Unusable { number, source };
            let added = match given.take_unix_listener(number) {
                Ok(Some(socket)) => all.add(socket.into()),
                _ => match given.take_tcp_listener(number).map_err(unusable)? {
                    Some(socket) => all.add(socket.into()),
                    None => continue,
                },
            };
            added.map_err(unusable)?;
        }
        Ok(all)
    }

    /// Adds a socket.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn add(&mut self, socket: OwnedFd) -> io::Result<()> {
        self.add_listening(socket, None)
    }

    /// Adds a Unix socket that is found at this path.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn add_unix(&mut self, socket: OwnedFd, path: PathBuf) -> io::Result<()> {
        self.add_listening(socket, Some(path))
    }

    fn add_listening(&mut self, socket: OwnedFd, path: Option<PathBuf>) -> io::Result<()> {
        if !sockopt::socket_acceptconn(socket.as_fd())? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it does not listen",
            ));
        }
        let socket = socket2::Socket::from(socket);
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let path = path.or_else(|| address.as_pathname().map(Path::to_owned));
        let socket = match (address.as_socket(), path) {
            (Some(address), _) => Socket::Tcp(socket.into(), address),
            (None, Some(path)) => Socket::Unix(OwnedFd::from(socket).into(), path),
            (None, None) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it has no address that a listener could have",
                ));
            }
        };
        self.0.push(socket);
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out all sockets for this address; with port 0, all of one port.
    pub fn tcp(&mut self, wanted: SocketAddr) -> Vec<TcpListener> {
        let mut address = wanted;
        if wanted.port() == 0 {
            let same = self.0.iter().find_map(|socket| match socket {
                Socket::Tcp(_, found) if found.ip() == wanted.ip() => Some(*found),
                _ => None,
            });
            address = same.unwrap_or(wanted);
        }
        let matching = |socket: &mut Socket| matches!(socket, Socket::Tcp(_, a) if *a == address);
        let taken = self.0.extract_if(.., matching);
        taken
            .filter_map(|socket| match socket {
                Socket::Tcp(listener, _) => Some(listener),
                Socket::Unix(..) => None,
            })
            .collect()
    }

    /// Takes out the socket for this path.
    pub fn unix(&mut self, path: &Path) -> Option<UnixListener> {
        let at = self.0.iter().position(
            |socket| matches!(socket, Socket::Unix(_, found) if found.as_path() == path),
        )?;
        match self.0.swap_remove(at) {
            Socket::Unix(listener, _) => Some(listener),
            Socket::Tcp(..) => None,
        }
    }

    /// The addresses of those that are left, each once.
    pub fn rest(&self) -> Vec<String> {
        let mut all: Vec<_> = self.0.iter().map(Socket::address).collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Socket {
    fn address(&self) -> String {
        match self {
            Self::Tcp(_, address) => address.to_string(),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::net::bind;

    #[test]
    fn a_socket_belongs_to_the_listener_with_its_address() {
        let sockets = bind::tcp(([127, 0, 0, 1], 0).into(), 2).unwrap();
        let address = sockets[0].local_addr().unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let unix = UnixListener::bind(&path).unwrap();

        let mut inherited = Inherited::default();
        for socket in sockets {
            inherited.add(socket.into()).unwrap();
        }
        let left = other.local_addr().unwrap().to_string();
        inherited.add(other.into()).unwrap();
        inherited.add(unix.into()).unwrap();

        let elsewhere = SocketAddr::new([127, 0, 0, 2].into(), address.port());
        assert!(inherited.tcp(elsewhere).is_empty());
        let taken = inherited.tcp(address);
        assert_eq!(taken.len(), 2);
        assert!(inherited.tcp(address).is_empty(), "they have an owner");
        let _queued = TcpStream::connect(address).unwrap();
        assert!(inherited.unix(Path::new("/elsewhere")).is_none());
        assert!(inherited.unix(&path).is_some());
        assert_eq!(inherited.rest(), [left]);
        assert_eq!(inherited.tcp(([127, 0, 0, 1], 0).into()).len(), 1);
        assert!(inherited.is_empty());
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut inherited = Inherited::default();
        assert!(inherited.add(stream.into()).is_err());
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(inherited.add(one.into()).is_err());
        assert!(inherited.is_empty());
    }
}
