//! The admin listener: its address, its key, its Unix socket.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{
    super::{AdminSocket, Bind, Listener, SecretSource, path::Path, raw},
    Check,
    files::Forms,
};

const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

impl Check<'_> {
    /// The admin address; nothing when it is switched off.
    pub(super) fn admin(&mut self, raw: Option<&raw::Admin>) -> Option<SocketAddr> {
        let Some(written) = raw.and_then(|raw| raw.bind.as_deref()) else {
            return Some(DEFAULT_ADMIN);
        };
        let path = Path::root().key("admin").key("bind");
        if written == "none" {
            return None;
        }
        let address = self.socket_address(&path, written)?;
        self.not_the_debugging_port(&path, address);
        let allowed = raw.and_then(|raw| raw.allow_remote).unwrap_or(false);
        if !address.ip().is_loopback() && !allowed {
            self.error(
                &path,
                "others than this machine can reach this address",
                "bind 127.0.0.1:9901, or set admin.allow_remote: true where a network policy keeps others out",
            );
        }
        let key = raw.is_some_and(|raw| {
            raw.key.is_some() || raw.key_file.is_some() || raw.key_env.is_some()
        });
        if key && !address.ip().is_loopback() {
            self.warn(
                &path,
                "the key passes over the network unencrypted",
                "bind 127.0.0.1, or put a proxy with TLS in front",
            );
        }
        Some(address)
    }

    /// The key of the admin listener.
    pub(super) fn admin_key(
        &mut self,
        raw: Option<&raw::Admin>,
        admin: Option<SocketAddr>,
    ) -> Option<SecretSource> {
        let raw = raw?;
        let path = Path::root().key("admin");
        let forms = Forms {
            key: "key",
            value: raw.key.as_ref(),
            file: raw.key_file.as_ref(),
            env: raw.key_env.as_ref(),
        };
        if forms.given() && admin.is_none() && raw.bind.as_deref() == Some("none") {
            let hint = "give admin.bind an address, or leave the key out";
            self.warn(&path, "has a key, but there is no admin listener", hint);
        }
        let key = self.secret(&path, forms);
        self.long_enough(&path, "key", key.as_ref());
        key
    }

    /// The socket whose peers are known by their uid.
    pub(super) fn admin_socket(
        &mut self,
        raw: &raw::Raw,
        listeners: &[Listener],
    ) -> Option<AdminSocket> {
        let handover = raw.handover_socket.as_deref();
        let raw = raw.admin.as_ref()?.socket.as_ref()?;
        let path = Path::root().key("admin").key("socket");
        let at = path.key("path");
        let example = "write /run/itwin-auth-proxy/admin.sock";
        let Some(written) = raw.path.as_deref() else {
            self.error(&path, "has no path", example);
            return None;
        };
        let socket = self.socket_path(&at, written, example)?;
        let taken = |listener: &Listener| matches!(&listener.bind, Bind::Unix { path, .. } if *path == socket);
        if listeners.iter().any(taken) {
            let hint = "give it a name of its own: calls do not go where orders are given";
            self.error(&at, format!("{written} is a listener's"), hint);
        }
        if handover == Some(written) {
            let hint = "give each a name of its own";
            self.error(&at, format!("{written} is the handover_socket, too"), hint);
        }
        let uids = raw.uids.clone().unwrap_or_default();
        // others than our own have to get to where the kernel says who they are
        let default = if uids.is_empty() { 0o600 } else { 0o666 };
        Some(AdminSocket {
            path: socket,
            mode: self.socket_mode(&path.key("mode"), raw.mode.as_deref(), default),
            uids,
        })
    }
}
