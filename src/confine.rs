//! The process gives up what it will not need: new privileges (`no_new_privs`), other files and
//! other programs (Landlock), signals and abstract sockets of processes outside.
//!
//! Both hold for the thread that asks and for those that it starts, so that [`Rules::enforce`] comes
//! before any other thread. What the kernel does not offer is left out, and [`Held`] says so: a
//! confinement is a second wall, never a reason not to start.
//!
//! Files are replaced rather than overwritten (a new secret, a renewed certificate, `..data` of
//! Kubernetes), and Landlock knows files, not names: so a file's directory may be read, and those
//! that its symbolic links lead through. Connections are not restricted: whoever may be called
//! stands in the configuration, by name.

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
};

/// What may be read and written; everything else may not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    read: BTreeSet<PathBuf>,
    write: BTreeSet<PathBuf>,
    /// Directories in which Unix sockets are made.
    sockets: BTreeSet<PathBuf>,
    /// Sockets without a name in the file system that other processes listen on.
    abstract_sockets: bool,
}

/// What the C library and the certificates of authorities need, where it is there.
const SYSTEM: [&str; 17] = [
    // names: resolv.conf, hosts, nsswitch.conf, each replaced now and then
    "/etc",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    // modules of the name service are loaded with the first name
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    // links in /etc/ssl/certs lead there
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
    "/var/lib/ca-certificates",
    // what this process is and may use; of others the kernel shows little (ptrace(2))
    "/proc",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    // where the C library is linked statically, random numbers are not asked for by a system call:
    // they are read from the second file, once the first one says that there are some
    "/dev/random",
    "/dev/urandom",
];

/// Files of the system that may be links to elsewhere.
const LINKS: [&str; 5] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

impl Rules {
    /// What every program needs, and files of a temporary directory.
    pub fn of_the_system() -> Self {
        let mut rules = Self::default();
        let there = SYSTEM.iter().map(PathBuf::from);
        rules.read.extend(there.filter(|path| path.exists()));
        for link in LINKS {
            if fs::symlink_metadata(link).is_ok_and(|found| found.is_symlink()) {
                rules.reads(Path::new(link));
            }
        }
        rules.write.insert("/dev/null".into());
        rules.write.insert(std::env::temp_dir());
        rules
    }

    /// This file, whatever may take its place, and all of it if it is a directory.
    pub fn reads(&mut self, file: &Path) {
        self.read.extend(lookups(file));
        if file.is_dir() {
            self.read.insert(file.into());
        }
    }

    /// This file, which is replaced by others of ours, with others beside it.
    pub fn replaces(&mut self, file: &Path) {
        self.write.extend(lookups(file));
    }

    /// A Unix socket is made and removed there.
    pub fn binds(&mut self, socket: &Path) {
        self.sockets.extend(lookups(socket).into_iter().take(1));
    }

    /// Abstract sockets of other processes may be connected to.
    pub fn connects_to_abstract_sockets(&mut self) {
        self.abstract_sockets = true;
    }
}

/// Where the file is looked up: its directory, and those of what its symbolic links lead to. The
/// root directory stands for the file alone.
fn lookups(file: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut at = file.to_owned();
    // as many links as the kernel follows
    for _ in 0..40 {
        let directory = match at.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) => Path::new("."),
            None => break,
        };
        let is_root = directory
            .canonicalize()
            .is_ok_and(|real| real.parent().is_none());
        found.push(if is_root {
            at.clone()
        } else {
            directory.into()
        });
        match fs::read_link(&at) {
            Ok(target) => at = directory.join(target),
            Err(_) => break,
        }
    }
    found
}

/// What holds from now on. Displays for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// With which version of Landlock, and how many paths may still be read and written.
    Confined {
        abi: u32,
        reads: usize,
        writes: usize,
    },
    /// No new privileges, but any file; why.
    PrivilegesOnly(&'static str),
    /// Nothing; why.
    Nothing(String),
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Confined { abi, reads, writes } => write!(
                f,
                "confined: no new privileges, Landlock ABI {abi}: reads {reads} paths, writes {writes}, executes nothing"
            ),
            Self::PrivilegesOnly(why) => {
                write!(f, "not confined to its files: {why}; no new privileges")
            }
            Self::Nothing(why) => write!(f, "not confined: {why}"),
        }
    }
}

#[cfg(target_os = "linux")]
impl Rules {
    /// Gives up everything else, for this thread and all that it starts.
    pub fn enforce(&self) -> Held {
        self.restrict()
            .unwrap_or_else(|error| Held::Nothing(error.to_string()))
    }

    fn restrict(&self) -> Result<Held, landlock::RulesetError> {
        use landlock::{
            ABI, Access, AccessFs, CompatLevel, Compatible, LandlockStatus, RestrictSelfAttr,
            Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
        };

        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = read
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::RemoveFile;
        // made under another name in a directory of its own, and moved
        let bind = read
            | AccessFs::MakeSock
            | AccessFs::MakeDir
            | AccessFs::RemoveFile
            | AccessFs::RemoveDir
            | AccessFs::Refer;
        // without this right nothing could be moved: rather no confinement than no socket
        let refer = if self.sockets.is_empty() {
            CompatLevel::BestEffort
        } else {
            CompatLevel::SoftRequirement
        };
        let scope = if self.abstract_sockets {
            Scope::Signal.into()
        } else {
            Scope::AbstractUnixSocket | Scope::Signal
        };
        let status = Ruleset::default()
            .set_compatibility(refer)
            .handle_access(AccessFs::Refer)?
            .set_compatibility(CompatLevel::BestEffort)
            // connecting to Unix sockets (ABI 9) is like other connections
            .handle_access(AccessFs::from_all(ABI::V5))?
            .scope(scope)?
            .create()?
            .add_rules(path_beneath_rules(&self.read, read))?
            .add_rules(path_beneath_rules(&self.write, write))?
            .add_rules(path_beneath_rules(&self.sockets, bind))?
            // newer kernels also take threads along that there are already
            .all_threads(true)?
            .restrict_self()?;
        let abi = match status.landlock {
            LandlockStatus::Available { effective_abi, .. } => effective_abi as u32,
            LandlockStatus::NotEnabled => {
                return Ok(Held::PrivilegesOnly("Landlock is not enabled (lsm=)"));
            }
            LandlockStatus::NotImplemented => {
                return Ok(Held::PrivilegesOnly("the kernel has no Landlock"));
            }
        };
        if status.ruleset == RulesetStatus::NotEnforced {
            let why = "Unix sockets need a kernel with Landlock ABI 2 (Linux 5.19)";
            return Ok(Held::PrivilegesOnly(why));
        }
        Ok(Held::Confined {
            abi,
            reads: self.read.len(),
            writes: self.write.union(&self.sockets).count(),
        })
    }
}

#[cfg(not(target_os = "linux"))]
impl Rules {
    pub fn enforce(&self) -> Held {
        Held::Nothing("only Linux can".into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_may_be_replaced_wherever_its_links_lead() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        // as Kubernetes mounts a secret
        fs::create_dir_all(at("mount/..2026")).unwrap();
        fs::write(at("mount/..2026/key"), "a").unwrap();
        symlink("..2026", at("mount/..data")).unwrap();
        symlink("..data/key", at("mount/key")).unwrap();
        assert_eq!(lookups(&at("mount/key")), [at("mount"), at("mount/..data")]);
        // as certbot does
        fs::create_dir_all(at("archive")).unwrap();
        fs::create_dir_all(at("live")).unwrap();
        symlink("../archive/key2.pem", at("live/key.pem")).unwrap();
        assert_eq!(
            lookups(&at("live/key.pem")),
            [at("live"), at("live/../archive")]
        );
        assert_eq!(lookups(&at("none/key")), [at("none")]);
    }

    #[test]
    fn random_numbers_are_to_be_had_without_a_system_call() {
        let rules = Rules::of_the_system();
        for file in ["/dev/random", "/dev/urandom"] {
            assert!(rules.read.contains(Path::new(file)), "{file}");
        }
    }

    #[test]
    fn no_file_opens_the_root_directory() {
        for file in ["/config.yaml", "/../config.yaml", "/proc/../config.yaml"] {
            assert_eq!(lookups(Path::new(file)), [Path::new(file)], "{file}");
        }
        assert_eq!(lookups(Path::new("proxy.yaml")), [Path::new(".")]);
        assert!(lookups(Path::new("/")).is_empty());
    }

    #[test]
    fn links_in_a_circle_end() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("a");
        symlink("a", &at).unwrap();
        assert_eq!(lookups(&at).len(), 40);
    }
}
