//! The listening sockets: bound once for all threads, kept as long as a listener is configured.
//!
//! Every thread accepts from a duplicate. So a listener that gets another certificate or another mode
//! keeps its queue: connections that the kernel has taken for it are lost at no time.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::PathBuf,
    sync::Arc,
};

use parking_lot::Mutex;

use super::{StartError, shown};
use crate::{
    admin,
    clock::Clock,
    config::{
        Bind, ClientCertificates, Config, Interception, Listener, Mode, RedirectedBy, ServerTls,
    },
    listen::{Certificates, Shown, Socket},
    metrics::{Cache, Metrics},
    net::{
        Reach,
        bind::{self, SocketFile},
        inherited::Inherited,
        ours::Ours,
        succession::Offered,
    },
    shutdown::Shutdown,
    tls::{
        mint::{self, Mint},
        reload,
    },
};

/// The files of Unix sockets: there as long as somebody may come by them.
pub(super) type Files = Arc<Mutex<BTreeMap<PathBuf, SocketFile>>>;

/// Every listener's sockets, and what is shown there.
pub(super) struct Sockets {
    /// Where the admin listener is.
    pub(super) admin: Option<SocketAddr>,
    pub(super) all: Vec<Arc<Bound>>,
    mint: Option<(Interception, Mint)>,
    /// The number that the next listener gets; none is given twice.
    next: usize,
    tls_tasks: Vec<TlsTask>,
    files: Vec<(PathBuf, SocketFile)>,
    /// Whom Unix sockets that were there let in.
    modes: Vec<(PathBuf, u32)>,
    /// Listeners that are no more, whose last connections may still be there.
    left: Vec<Left>,
}

/// What is known of a listener that is no more.
#[derive(Debug, Clone)]
struct Left {
    number: usize,
    name: String,
    mode: Mode,
}

/// Of how many the calls are served that still come: a connection may be accepted and ask for the first
/// time while its listener is replaced again and again.
const MOST_LEFT: usize = 256;

/// One listener's.
pub(super) struct Bound {
    pub(super) number: usize,
    /// What it was made by.
    listener: Arc<Listener>,
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) reach: Reach,
    pub(super) mode: Mode,
    pub(super) tls: Option<Shown>,
    pub(super) certificates: Certificates,
    pub(super) sockets: Vec<Raw>,
    /// Connections that came here finish with it.
    pub(super) stop: Shutdown,
}

/// A listener, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listening {
    /// What it is called in metrics.
    pub(super) address: String,
    pub(super) mode: &'static str,
    /// Who asks there, in mode `decide`.
    pub(super) gateway: Option<&'static str>,
    pub(super) tls: &'static str,
}

/// Keeps a listener's certificate current.
pub(super) type TlsTask = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) enum Raw {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// What sockets are made for.
pub(super) struct Grounds<'a> {
    pub(super) clock: &'a Clock,
    pub(super) metrics: &'a Metrics,
    pub(super) workers: usize,
    pub(super) shutdown: &'a Shutdown,
}

impl Sockets {
    /// Binds all listeners, but for those whose sockets there are already.
    pub(super) fn bind(
        config: &Config,
        grounds: &Grounds<'_>,
        inherited: &mut Inherited,
    ) -> Result<Self, StartError> {
        let none = Self {
            admin: None,
            all: Vec::new(),
            mint: None,
            next: 0,
            tls_tasks: Vec::new(),
            files: Vec::new(),
            modes: Vec::new(),
            left: Vec::new(),
        };
        none.changed(config, Kept::AsTheyAre, grounds, inherited)
    }

    /// The same for another configuration. Listeners that are in both keep their sockets, and those that
    /// are as before all else.
    ///
    /// # Errors
    /// When an address cannot be bound or a certificate cannot be used; these are as they were then.
    pub(super) fn changed(
        &self,
        config: &Config,
        kept: Kept,
        grounds: &Grounds<'_>,
        inherited: &mut Inherited,
    ) -> Result<Self, StartError> {
        let mut next = Self {
            admin: self.admin,
            all: Vec::with_capacity(config.listeners.len()),
            mint: None,
            next: self.next,
            tls_tasks: Vec::new(),
            files: Vec::new(),
            modes: Vec::new(),
            left: self.left.clone(),
        };
        next.mint = match (&config.interception, &self.mint) {
            (None, _) => None,
            (Some(wanted), Some((known, mint))) if wanted == known => {
                Some((known.clone(), mint.clone()))
            }
            (Some(wanted), _) => {
                let counts = grounds.metrics.shared_cache(Cache::Certificates);
                let followed = mint::follow(wanted, grounds.clock.clone(), &counts);
                let (mint, task) = followed.map_err(StartError::Interception)?;
                next.tls_tasks.push(Box::pin(task));
                Some((wanted.clone(), mint))
            }
        };
        let same_mint = match (&self.mint, &next.mint) {
            (Some((known, _)), Some((wanted, _))) => known == wanted,
            (known, wanted) => known.is_none() && wanted.is_none(),
        };
        let mut before: Vec<&Arc<Bound>> = self.all.iter().collect();
        for listener in &config.listeners {
            let found = before.iter().position(|bound| bound.is_at(listener));
            let found = found.map(|at| before.remove(at));
            let minted = listener.tls == Some(ServerTls::Minted);
            if let (Some(_), Bind::Unix { path, mode }) = (found, &listener.bind) {
                next.modes.push((path.clone(), *mode));
            }
            let same = found.filter(|bound| {
                kept == Kept::AsTheyAre && bound.serves(listener) && (same_mint || !minted)
            });
            if let Some(bound) = same {
                next.all.push(Arc::clone(bound));
                continue;
            }
            let bound = next.bound(listener, found.map(|bound| &**bound), grounds, inherited)?;
            next.all.extend(bound.map(Arc::new));
        }
        next.leaves(&self.all);
        Ok(next)
    }

    fn leaves(&mut self, before: &[Arc<Bound>]) {
        let numbers = self.numbers();
        let gone = before
            .iter()
            .filter(|bound| !numbers.contains(&bound.number));
        self.left.extend(gone.map(|gone| Left {
            number: gone.number,
            name: gone.name.clone(),
            mode: gone.mode,
        }));
        let many = self.left.len().saturating_sub(MOST_LEFT);
        self.left.drain(..many);
    }

    fn bound(
        &mut self,
        listener: &Arc<Listener>,
        before: Option<&Bound>,
        grounds: &Grounds<'_>,
        inherited: &mut Inherited,
    ) -> Result<Option<Bound>, StartError> {
        let tls = match (&listener.tls, &self.mint) {
            (None, _) => None,
            // the configuration was checked: there is an interception
            (Some(ServerTls::Minted), None) => return Ok(None),
            (Some(ServerTls::Minted), Some((_, mint))) => Some(Shown::Minted(mint.clone())),
            (Some(ServerTls::Own(own)), _) => {
                let (current, task) =
                    reload::follow(own.clone()).map_err(|source| StartError::Tls {
                        listener: listener.bind.to_string(),
                        source,
                    })?;
                self.tls_tasks.push(Box::pin(task));
                Some(Shown::Own(current))
            }
        };
        let sockets = match before {
            Some(before) => {
                let sockets = before.sockets.iter().map(Raw::duplicate);
                sockets
                    .collect::<io::Result<_>>()
                    .map_err(StartError::Duplicate)?
            }
            None => self.sockets(listener, grounds.workers, inherited)?,
        };
        let bound = sockets.first().and_then(Raw::address);
        let number = self.next;
        self.next += 1;
        Ok(Some(Bound {
            number,
            listener: Arc::clone(listener),
            port: bound.map_or(0, |address| address.port()),
            name: shown(&listener.bind, bound),
            reach: if listener.bind.is_local() {
                Reach::ThisMachine
            } else {
                Reach::Others
            },
            mode: listener.mode,
            certificates: match listener.tls.as_ref().map(ServerTls::clients) {
                Some(ClientCertificates::Any) => Certificates::Claimed,
                _ => Certificates::Vouched,
            },
            tls,
            sockets,
            stop: grounds.shutdown.part(),
        }))
    }

    fn sockets(
        &mut self,
        listener: &Listener,
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Vec<Raw>, StartError> {
        Ok(match &listener.bind {
            Bind::Tcp(address) => {
                let found = inherited.tcp(*address);
                let sockets = match listener.mode {
                    _ if !found.is_empty() => {
                        one_each(found, workers).map_err(StartError::Duplicate)?
                    }
                    Mode::Transparent(RedirectedBy::Tproxy) => bind::tproxy(*address, workers)?,
                    _ => bind::tcp(*address, workers)?,
                };
                sockets.into_iter().map(Raw::Tcp).collect()
            }
            // one thread accepts: each connection would wake all of them
            Bind::Unix { path, mode } => {
                // the file of one that was there is its maker's
                let socket = if let Some(socket) = inherited.unix(path) {
                    socket
                } else {
                    let (socket, file) = bind::unix(path, *mode)?;
                    self.files.push((path.clone(), file));
                    socket
                };
                vec![Raw::Unix(socket, path.clone())]
            }
        })
    }

    pub(super) fn mint(&self) -> Option<&Mint> {
        self.mint.as_ref().map(|(_, mint)| mint)
    }

    /// Their numbers, in the order of the configuration.
    pub(super) fn numbers(&self) -> Vec<usize> {
        self.all.iter().map(|bound| bound.number).collect()
    }

    /// Listeners that are here no more, and which has taken the place of each.
    pub(super) fn finishing(&self) -> impl Iterator<Item = (usize, Option<usize>)> {
        self.left.iter().map(|left| {
            let by = self.accepting(&left.name, left.mode);
            (left.number, by.map(|by| by.number))
        })
    }

    /// The listener that accepts where this one did, in the same way.
    pub(super) fn successor(&self, gone: &Bound) -> Option<&Arc<Bound>> {
        self.accepting(&gone.name, gone.mode)
    }

    fn accepting(&self, name: &str, mode: Mode) -> Option<&Arc<Bound>> {
        let mut all = self.all.iter();
        all.find(|bound| bound.name == name && bound.mode == mode)
    }

    /// All of them once more, for a process that is to take them.
    pub(super) fn duplicates(&self, admin: &admin::Sockets) -> io::Result<Vec<Offered>> {
        let mut all = Vec::new();
        for socket in self.all.iter().flat_map(|bound| &bound.sockets) {
            all.push(match socket.duplicate()? {
                Raw::Tcp(socket) => Offered::Tcp(socket.into()),
                Raw::Unix(socket, path) => Offered::Unix(socket.into(), path),
            });
        }
        all.extend(admin.duplicate()?.offered());
        Ok(all)
    }

    /// What there is to say of each, in the order of the configuration.
    pub(super) fn described(&self) -> Arc<[Listening]> {
        let all = self.all.iter().map(|bound| Listening {
            address: bound.name.clone(),
            mode: match bound.mode {
                Mode::Reverse => "reverse",
                Mode::Forward => "forward",
                Mode::Transparent(RedirectedBy::Nat) => "transparent",
                Mode::Transparent(RedirectedBy::Tproxy) => "transparent (tproxy)",
                Mode::Decide(_) => "decide",
            },
            gateway: match bound.mode {
                Mode::Decide(gateway) => Some(gateway.name()),
                _ => None,
            },
            tls: match &bound.listener.tls {
                None => "none",
                Some(ServerTls::Minted) => "made for each host",
                Some(ServerTls::Own(own)) => match &own.clients {
                    ClientCertificates::None => "own certificate",
                    _ => "own certificate, asks for callers'",
                },
            },
        });
        let opened = self.mint.as_ref().map(|_| Listening {
            address: "interception".to_owned(),
            mode: "opened connections",
            gateway: None,
            tls: "made for each host",
        });
        all.chain(opened).collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.all.iter().map(|bound| bound.name.clone()).collect()
    }

    /// Where we accept, and the same with the admin listener.
    pub(super) fn ours(&self) -> (Arc<Ours>, Arc<Ours>) {
        let names = self.all.iter().filter_map(|bound| bound.name.parse().ok());
        let listening: Vec<SocketAddr> = names.collect();
        let closed = Ours::new(listening.iter().copied().chain(self.admin));
        (Arc::new(Ours::new(listening)), Arc::new(closed))
    }

    /// Puts the files of new Unix sockets to the others, removes those that nobody is to come by any
    /// more, and lets in at the rest whom the configuration lets in.
    pub(super) fn settle(&mut self, files: &Files) {
        let mut files = files.lock();
        files.extend(self.files.drain(..));
        files.retain(|path, _| {
            let at = |bound: &Arc<Bound>| matches!(&bound.listener.bind, Bind::Unix { path: at, .. } if at == path);
            self.all.iter().any(at)
        });
        for (path, mode) in self.modes.drain(..) {
            let permissions = fs::Permissions::from_mode(mode);
            if let Err(error) = fs::set_permissions(&path, permissions) {
                tracing::error!(path = %path.display(), %error, "the mode of a socket is as it was");
            }
        }
    }

    /// Takes out the tasks that keep certificates current; the control plane runs them.
    pub(super) fn tls_tasks(&mut self) -> Vec<TlsTask> {
        std::mem::take(&mut self.tls_tasks)
    }
}

/// Which of the listeners that have not changed go on as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    AsTheyAre,
    /// What holds for all connections has changed: only sockets are kept.
    SocketsAlone,
}

impl Bound {
    /// Whether the sockets are those of this listener.
    fn is_at(&self, listener: &Listener) -> bool {
        let tproxy = Mode::Transparent(RedirectedBy::Tproxy);
        match (&self.listener.bind, &listener.bind) {
            (Bind::Tcp(here), Bind::Tcp(there)) => {
                here == there && (self.mode == tproxy) == (listener.mode == tproxy)
            }
            (Bind::Unix { path, .. }, Bind::Unix { path: other, .. }) => path == other,
            _ => false,
        }
    }

    /// Whether this one's connections are those of `next`, but for limits.
    pub(super) fn is_served_as(&self, next: &Self) -> bool {
        self.serves(&next.listener)
    }

    /// Whether connections are served as this listener says. Where they may go is the plan's part.
    fn serves(&self, listener: &Listener) -> bool {
        self.mode == listener.mode && self.listener.tls == listener.tls
    }
}

impl Raw {
    pub(super) fn duplicate(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket, path) => Self::Unix(socket.try_clone()?, path.clone()),
        })
    }

    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    pub(super) fn listen(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(socket) => Socket::Tcp(tokio::net::TcpListener::from_std(socket)?),
            Self::Unix(socket, _) => Socket::Unix(tokio::net::UnixListener::from_std(socket)?),
        })
    }
}

/// A socket for each thread at least: where there are fewer, threads share.
fn one_each(mut sockets: Vec<TcpListener>, workers: usize) -> io::Result<Vec<TcpListener>> {
    let there = sockets.len();
    for shared in 0..workers.saturating_sub(there) {
        let again = sockets[shared % there].try_clone()?;
        sockets.push(again);
    }
    Ok(sockets)
}
