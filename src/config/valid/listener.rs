//! Listeners.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use super::{
    super::{
        Bind, ClientCertificates, Gateway, Identity, Listener, Mode, OwnCertificate, ServerTls,
        path::Path,
        raw::{self, ClientsMode, GatewayName},
        tree::Node,
    },
    Check,
    provider::Providers,
};

/// The mode of a listener that only answers questions.
pub(super) const DECIDE: &str = "decide";

const DEFAULT_BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// `sun_path` of Linux holds 107 bytes and a zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// Where clients of generation 2.x look for a debugging proxy.
const DEBUGGING_PROXY_PORT: u16 = 8888;

impl Check<'_> {
    pub(super) fn listeners(
        &mut self,
        written: &[raw::Listener],
        providers: &Providers,
    ) -> Vec<Listener> {
        let path = Path::root().key("listeners");
        if self.tree.get("listeners").is_some_and(Node::is_empty_list) {
            self.error(
                &path,
                "the list is empty",
                "leave it out for the default, 127.0.0.1:8080",
            );
        } else if written.is_empty() && !self.problems.touches(&path) {
            return vec![Listener {
                bind: Bind::Tcp(DEFAULT_BIND),
                mode: Mode::Reverse,
                tls: None,
                passage: None,
            }];
        }
        written
            .iter()
            .enumerate()
            .filter_map(|(n, raw)| self.listener(&path.index(n), raw, providers))
            .collect()
    }

    fn listener(
        &mut self,
        path: &Path,
        raw: &raw::Listener,
        providers: &Providers,
    ) -> Option<Listener> {
        let bind = raw
            .bind
            .as_ref()
            .and_then(|bind| self.bind(&path.key("bind"), bind, raw.socket_mode.as_deref()));
        let is_tcp = matches!(bind, Some(Bind::Tcp(_)));
        let mode_path = path.key("socket_mode");
        if is_tcp && raw.socket_mode.is_some() {
            self.error(
                &mode_path,
                "has no effect: the listener is no Unix socket",
                "leave it out",
            );
        }
        let mode = self.mode(path, raw);
        let redirected = matches!(mode, Some(Mode::Transparent(_)));
        let tls = raw.tls.as_ref().filter(|_| !redirected);
        let tls = tls.map(|tls| self.server_tls(&path.key("tls"), tls));
        if let (Some(Mode::Transparent(_)), Some(_)) = (mode, &raw.tls) {
            self.error(
                &path.key("tls"),
                "has no effect: connections redirected here are meant for others",
                "interception opens those of its hosts",
            );
        }
        if let (Some(Mode::Transparent(_)), Some(Bind::Unix { .. })) = (mode, &bind) {
            self.error(
                &path.key("bind"),
                "the kernel redirects no connection to a Unix socket",
                "bind an address, such as 127.0.0.1:15001",
            );
        }
        let passage = mode.and_then(|mode| self.passage(path, raw, mode, bind.as_ref(), providers));
        if mode?.names_others() && passage.is_none() {
            return None;
        }
        Some(Listener {
            passage,
            bind: bind?,
            mode: mode?,
            tls: match tls {
                Some(tls) => Some(tls?),
                None => None,
            },
        })
    }

    fn mode(&mut self, path: &Path, raw: &raw::Listener) -> Option<Mode> {
        let at = path.key("gateway");
        let decides = raw.mode.as_deref() == Some(DECIDE);
        match raw.gateway {
            None if decides => {
                let hint = "write nginx, ingress_nginx, traefik or envoy: each describes a request in other headers, and those of another would be the caller's to choose";
                self.missing(&at, "is missing: who asks for decisions?", hint);
                None
            }
            None => Some(match raw.mode.as_deref() {
                Some("forward") => Mode::Forward,
                Some("transparent") => Mode::Transparent(Self::redirected_by(raw.redirected_by)),
                // the shape was checked
                _ => Mode::Reverse,
            }),
            Some(_) if !decides => {
                let hint = "write mode: decide, or leave it out";
                self.error(&at, "has no effect: the listener answers no gateway", hint);
                None
            }
            Some(name) => Some(Mode::Decide(match name {
                GatewayName::Nginx => Gateway::Nginx,
                GatewayName::IngressNginx => Gateway::IngressNginx,
                GatewayName::Traefik => Gateway::Traefik,
                GatewayName::Envoy => Gateway::Envoy,
            })),
        }
    }

    fn bind(&mut self, path: &Path, written: &str, mode: Option<&str>) -> Option<Bind> {
        let Some(socket) = written.strip_prefix("unix:") else {
            let address = self.socket_address(path, written)?;
            self.not_the_debugging_port(path, address);
            return Some(Bind::Tcp(address));
        };
        let file = self.socket_path(path, socket, "write unix:/run/itwin-auth-proxy/proxy.sock")?;
        let at = match path.steps().split_last() {
            Some((_, above)) => path.first(above.len()).key("socket_mode"),
            None => path.clone(),
        };
        Some(Bind::Unix {
            path: file,
            mode: self.socket_mode(&at, mode, 0o600),
        })
    }

    /// The path of a Unix socket, in a directory that is there.
    pub(super) fn socket_path(
        &mut self,
        path: &Path,
        socket: &str,
        example: &str,
    ) -> Option<PathBuf> {
        let file = PathBuf::from(socket);
        if !file.is_absolute() {
            self.error(path, "the path of a Unix socket must be absolute", example);
            return None;
        }
        if socket.len() > LONGEST_SOCKET_PATH {
            self.error(
                path,
                format!("the path of a Unix socket has at most {LONGEST_SOCKET_PATH} bytes"),
                "",
            );
            return None;
        }
        if !file.parent().is_some_and(std::path::Path::is_dir) {
            self.error(
                path,
                "the directory of the Unix socket does not exist",
                "make it, or mount it",
            );
            return None;
        }
        Some(file)
    }

    /// The permissions of a Unix socket, written at `path`.
    pub(super) fn socket_mode(&mut self, path: &Path, written: Option<&str>, default: u32) -> u32 {
        let Some(written) = written else {
            return default;
        };
        let digits = written.trim_start_matches("0o");
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if mode <= 0o777 && mode & 0o600 == 0o600 => mode,
            _ => {
                self.error(
                    path,
                    "is not a mode for a socket",
                    "write it in octal, as in 0600, 0660 or 0666",
                );
                default
            }
        }
    }

    pub(super) fn not_the_debugging_port(&mut self, path: &Path, address: SocketAddr) {
        let reached =
            address.ip().is_unspecified() || address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST);
        if address.port() == DEBUGGING_PROXY_PORT && reached {
            self.error(
                path,
                "port 8888 of this machine is not safe: iTwin clients of generation 2.x take whatever answers there for a debugging proxy, \
                 send everything through it and stop checking certificates",
                "use another port, such as 8080",
            );
        }
    }

    fn server_tls(&mut self, path: &Path, raw: &raw::ServerTls) -> Option<ServerTls> {
        let given = [
            ("certificate", raw.certificate.is_some()),
            ("key", raw.key.is_some()),
            ("client_ca", raw.client_ca.is_some()),
            ("client_certificates", raw.client_certificates.is_some()),
        ];
        if raw.minted == Some(true) {
            if let Some((key, _)) = given.iter().find(|(_, given)| *given) {
                self.error(
                    &path.key(key),
                    "has no effect: minted is true",
                    "leave it out",
                );
                return None;
            }
            return Some(ServerTls::Minted);
        }
        for (key, given) in &given[..2] {
            if !given {
                self.missing(&path.key(key), "is missing", "");
            }
        }
        let identity = self.identity(
            path,
            &raw::Identity {
                certificate: raw.certificate.clone(),
                key: raw.key.clone(),
            },
        );
        let ca = raw
            .client_ca
            .as_ref()
            .map(|file| self.authorities(&path.key("client_ca"), file));
        let clients = match (raw.client_certificates, ca) {
            (None | Some(ClientsMode::None), None) => Some(ClientCertificates::None),
            (Some(ClientsMode::Any), None) => Some(ClientCertificates::Any),
            (Some(ClientsMode::Any), Some(_)) => {
                self.error(
                    &path.key("client_ca"),
                    "has no effect: client_certificates is any",
                    "leave one of them out",
                );
                None
            }
            (Some(ClientsMode::None), Some(_)) => {
                self.error(
                    &path.key("client_ca"),
                    "has no effect: client_certificates is none",
                    "leave one of them out",
                );
                None
            }
            (Some(_), None) => {
                self.missing(
                    &path.key("client_ca"),
                    "is missing: somebody must have signed the callers' certificates",
                    "",
                );
                None
            }
            (None | Some(ClientsMode::Required), Some(ca)) => {
                ca.map(|ca| ClientCertificates::Required { ca })
            }
            (Some(ClientsMode::Optional), Some(ca)) => {
                ca.map(|ca| ClientCertificates::Optional { ca })
            }
        };
        let Identity { certificate, key } = identity?;
        Some(ServerTls::Own(OwnCertificate {
            identity: Identity { certificate, key },
            clients: clients?,
        }))
    }

    /// No two listeners on one address.
    pub(super) fn listeners_apart(&mut self, listeners: &[Listener], admin: Option<SocketAddr>) {
        let path = Path::root().key("listeners");
        for (n, one) in listeners.iter().enumerate() {
            if let Some(other) = listeners[..n]
                .iter()
                .find(|other| clash(&one.bind, &other.bind))
            {
                let text = format!("{} is taken by another listener, {}", one.bind, other.bind);
                self.error(
                    &path.index(n).key("bind"),
                    text,
                    "give each listener an address of its own",
                );
            }
            if admin.is_some_and(|admin| clash(&one.bind, &Bind::Tcp(admin))) {
                self.error(
                    &path.index(n).key("bind"),
                    format!("{} is the address of the admin listener as well", one.bind),
                    "give one of them another port; admin.bind moves the admin listener",
                );
            }
        }
    }
}

fn clash(one: &Bind, other: &Bind) -> bool {
    match (one, other) {
        (Bind::Unix { path: one, .. }, Bind::Unix { path: other, .. }) => one == other,
        (Bind::Tcp(one), Bind::Tcp(other)) => {
            let same_family = one.is_ipv4() == other.is_ipv4();
            let overlap = one.ip() == other.ip()
                || same_family && (one.ip().is_unspecified() || other.ip().is_unspecified());
            one.port() == other.port() && one.port() != 0 && overlap
        }
        _ => false,
    }
}
