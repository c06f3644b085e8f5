//! Binding listeners, one socket a worker thread.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "another process listens on {address}: `ss -ltnp` shows which; stop it, or give this one another address"
    )]
    Taken { address: SocketAddr },
    #[error("cannot listen on {address}")]
    Tcp {
        address: SocketAddr,
        source: io::Error,
    },
    #[error(
        "cannot listen on {address} for other addresses' connections (redirected_by: tproxy), which takes CAP_NET_ADMIN or CAP_NET_RAW"
    )]
    Transparent {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot listen on the Unix socket {path}")]
    Unix { path: PathBuf, source: io::Error },
    #[error("{path} exists and is no socket")]
    NotASocket { path: PathBuf },
    #[error("another process listens on the Unix socket {path}")]
    InUse { path: PathBuf },
}

/// One listening socket for each of `count` threads, all on one address; the kernel spreads
/// connections over them (`SO_REUSEPORT`). Port 0 lets the kernel choose, once for all.
///
/// # Errors
/// When the address is in use, even by a process that shares its own port, or cannot be had.
pub fn tcp(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, BindError> {
    bound(address, count, Takes::Own)
}

/// The same, for connections to any address that TPROXY hands over.
///
/// # Errors
/// As of [`tcp`], and without `CAP_NET_ADMIN` or `CAP_NET_RAW`.
pub fn tproxy(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, BindError> {
    bound(address, count, Takes::Any)
}

/// Which addresses' connections a socket takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Own,
    /// `IP_TRANSPARENT`.
    Any,
}

fn bound(address: SocketAddr, count: usize, takes: Takes) -> Result<Vec<TcpListener>, BindError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied if takes == Takes::Any => {
            BindError::Transparent { address, source }
        }
        io::ErrorKind::AddrInUse => BindError::Taken { address },
        _ => BindError::Tcp { address, source },
    };
    let socket = |address, port| socket(address, port, takes);
    // `SO_REUSEPORT` would let a second proxy take half of the first one's connections unnoticed:
    // a socket without it fails where any other listens
    let first = socket(address, Port::Exclusive).map_err(failed)?;
    let address = first.local_addr().map_err(failed)?;
    if count <= 1 {
        return Ok(vec![first]);
    }
    drop(first);
    (0..count)
        .map(|_| socket(address, Port::Shared).map_err(failed))
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    Exclusive,
    Shared,
}

fn socket(address: SocketAddr, port: Port, takes: Takes) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // `[::]:8080` is IPv6 alone, whatever the machine's default says
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(port == Port::Shared)?;
    socket.set_nonblocking(true)?;
    if takes == Takes::Any {
        transparent(&socket, address)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(target_os = "linux")]
fn transparent(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        socket.set_ip_transparent_v6(true)
    } else {
        socket.set_ip_transparent_v4(true)
    }
}

#[cfg(not(target_os = "linux"))]
fn transparent(_: &Socket, _: SocketAddr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A Unix socket with `mode`, that all threads accept from. A file left behind by a process that
/// is gone is replaced.
///
/// # Errors
/// When the path is in use, is something else than a socket, or cannot be created.
pub fn unix(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), BindError> {
    let failed = |source| BindError::Unix {
        path: path.into(),
        source,
    };
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(BindError::NotASocket { path: path.into() });
        }
        if UnixStream::connect(path).is_ok() {
            return Err(BindError::InUse { path: path.into() });
        }
        fs::remove_file(path).map_err(failed)?;
    }
    let listener = bind_private(path, mode).map_err(failed)?;
    let file = SocketFile::new(path).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok((listener, file))
}

/// The file of a Unix socket of ours. It is removed when this is dropped, unless another has taken
/// its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let identity = identity(path)?;
        let path = path.into();
        Ok(Self { path, identity })
    }
}

impl SocketFile {
    /// Leaves it to the process that has taken the socket.
    pub fn leave(mut self) {
        self.path = PathBuf::new();
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // in a directory that is no longer ours to write in, it stays
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The file's device, inode and time: an inode is used again as soon as its file is removed.
type Identity = (u64, u64, i64, i64);

fn identity(path: &Path) -> io::Result<Identity> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
}

/// Binds under another name in the same directory and moves the socket into place with its mode
/// set: between `bind` and `chmod` it would be open to whoever the process's umask lets in.
fn bind_private(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    let private = tempfile::Builder::new()
        .prefix(".itwin-auth-proxy-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(directory)?;
    let first = private.path().join("s");
    let listener = UnixListener::bind(&first)?;
    fs::set_permissions(&first, fs::Permissions::from_mode(mode))?;
    fs::rename(&first, path)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_listen_on_one_port_and_nobody_else_does() {
        let sockets = tcp(([127, 0, 0, 1], 0).into(), 3).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert_ne!(address.port(), 0);
        assert!(sockets.iter().all(|s| s.local_addr().unwrap() == address));
        assert!(matches!(tcp(address, 2), Err(BindError::Taken { .. })));
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_replaces_a_dead_one_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.sock");
        let (listener, socket) = unix(&path, 0o660).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(matches!(unix(&path, 0o660), Err(BindError::InUse { .. })));
        drop(listener);
        // so that the next one has another inode for certain
        fs::hard_link(&path, directory.path().join("kept")).unwrap();
        let (_listener, replaced) = unix(&path, 0o600).unwrap();
        drop(socket);
        assert!(path.exists(), "it is another's now");
        drop(replaced);
        assert!(!path.exists());

        let file = directory.path().join("file");
        fs::write(&file, "precious").unwrap();
        assert!(matches!(
            unix(&file, 0o600),
            Err(BindError::NotASocket { .. })
        ));
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }
}
