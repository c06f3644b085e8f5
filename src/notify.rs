//! Tells the service manager how it goes, as `sd_notify(3)` describes: `READY=1` and so on in one
//! datagram to the Unix socket that it named.
//!
//! Nobody listens in a container or a terminal: then nothing is sent, and nothing has to be asked
//! first. A message that cannot be sent is given up: a service manager that went away must not
//! hold up those who are served. The socket is connected when it is made, so that it can be used
//! when no path can be opened any more.
//!
//! When the program is started anew in place, the one that is going says [`Notify::main_pid`] and
//! then nothing more; the new one says everything from then on. Until it is the main process the
//! manager may not listen to it (`NotifyAccess=main`).

use std::{
    io,
    os::unix::net::{SocketAddr, UnixDatagram},
    sync::Arc,
};

/// The service manager, or nobody. Clones share.
#[derive(Debug, Clone, Default)]
pub struct Notify {
    socket: Option<Arc<UnixDatagram>>,
}

impl Notify {
    /// Nobody wants to know.
    pub fn nobody() -> Self {
        Self::default()
    }

    /// The socket at this address: a path, or after `@` a name in the abstract namespace.
    ///
    /// # Errors
    /// When it cannot be connected, or is of another kind (`vsock:`).
    pub fn to(address: &str) -> io::Result<Self> {
        let address = match address.split_at_checked(1) {
            #[cfg(target_os = "linux")]
            Some(("@", name)) => {
                <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)?
            }
            Some(("/", _)) => SocketAddr::from_pathname(address)?,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // a manager that does not read must not stop us
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Some(Arc::new(socket)),
        })
    }

    /// Whether somebody listens.
    pub fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// Everything is bound and requests are accepted.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// One line for people.
    pub fn status(&self, text: &str) {
        // a line break would end it, and begin whatever comes next
        let line = text.replace(|c: char| c.is_control(), " ");
        self.send(&format!("STATUS={line}"));
    }

    /// Everything still moves.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// Another process takes over, and is ready.
    pub fn main_pid(&self, pid: u32) {
        self.send(&format!("MAINPID={pid}\nREADY=1"));
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::debug!(%error, message, "the service manager was not told");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;

    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut message = [0; 512];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    #[test]
    fn each_message_is_one_datagram() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::to(path.to_str().unwrap()).unwrap();
        notify.status("waiting for: credential a\nREADY=1");
        notify.main_pid(42);
        notify.alive();
        assert_eq!(heard(&manager), "STATUS=waiting for: credential a READY=1");
        assert_eq!(heard(&manager), "MAINPID=42\nREADY=1");
        assert_eq!(heard(&manager), "WATCHDOG=1");
    }

    #[test]
    fn the_address_may_be_a_name_in_the_abstract_namespace() {
        let name = format!("itwin-auth-proxy-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        Notify::to(&format!("@{name}")).unwrap().ready();
        assert_eq!(heard(&manager), "READY=1");
    }

    #[test]
    fn an_address_of_another_kind_is_refused() {
        for address in ["", "vsock:2:1", "notify", "/no/such/socket", "@"] {
            let notify = Notify::to(address);
            assert!(notify.is_err(), "{address}");
        }
    }

    #[test]
    fn a_manager_that_is_gone_or_does_not_read_stops_nobody() {
        Notify::nobody().ready();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::to(path.to_str().unwrap()).unwrap();
        for _ in 0..10_000 {
            notify.alive();
        }
        drop(manager);
        notify.alive();
    }
}
