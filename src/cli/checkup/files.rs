//! Files that the configuration names: can they be read, may others read what is secret, and how
//! long do the certificates in them hold?

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Finding,
    way::{SOON, days},
};
use crate::{
    cli::output::chain,
    config::{Config, Identity, Loaded, NamedFile, ServerTls},
    tls::witness::Shown,
};

/// All of them, in the order of their paths.
pub(in crate::cli) fn findings(loaded: &Loaded, now: Duration) -> Vec<Finding> {
    let mut all = Vec::new();
    let secret = |path: &Path| loaded.secret_files.iter().any(|one| one == path);
    for file in &loaded.files {
        match file {
            NamedFile::Read(path) if secret(path) => all.push(private(path)),
            NamedFile::Read(path) => all.extend(readable(path)),
            NamedFile::Replaced(path) => all.push(replaced(path)),
            NamedFile::Socket(_) => {}
        }
    }
    for identity in identities(&loaded.config) {
        all.extend(certificate(identity, now));
    }
    // what reading the configuration brought up is told with it
    all.retain(|finding| {
        let mut told = loaded.warnings.iter();
        let path = finding.what.rsplit_once("file ").map(|(_, path)| path);
        !told.any(|one| path.is_some_and(|path| one.text.ends_with(path)))
    });
    all
}

/// Who may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rights {
    mode: u32,
}

impl Rights {
    fn others_read(self) -> bool {
        self.mode & 0o004 != 0
    }

    fn others_write(self) -> bool {
        self.mode & 0o002 != 0
    }
}

fn private(path: &Path) -> Finding {
    let what = format!("secret file {}", path.display());
    let rights = match fs::read(path).and_then(|_| fs::metadata(path)) {
        Ok(metadata) => Rights {
            mode: metadata.mode(),
        },
        Err(error) => return unreadable(&what, path, &error),
    };
    let mode = format!("mode {:04o}", rights.mode & 0o7777);
    if rights.others_write() {
        let seen = format!("{mode}: everybody on this machine can replace it");
        return Finding::failure("files", &what, seen, chmod(path));
    }
    if rights.others_read() {
        let seen = format!("{mode}: everybody on this machine can read it");
        return Finding::warning("files", &what, seen, chmod(path));
    }
    if let Some(directory) = open_directory(path) {
        let seen = format!(
            "{mode}, but everybody can replace it: anyone may write to {}",
            directory.display()
        );
        let remedy = format!("chmod o-w {}", directory.display());
        return Finding::failure("files", &what, seen, remedy);
    }
    Finding::ok("files", &what, mode)
}

fn chmod(path: &Path) -> String {
    format!(
        "chmod 600 {} (640 where the proxy reads it by its group; in Kubernetes: defaultMode: 0440 of the volume, and fsGroup)",
        path.display()
    )
}

/// The directory that it stands in, where anybody may replace what is not theirs.
fn open_directory(path: &Path) -> Option<&Path> {
    let directory = path.parent()?;
    let mode = fs::metadata(directory).ok()?.mode();
    // with the sticky bit, only what is one's own
    (mode & 0o002 != 0 && mode & 0o1000 == 0).then_some(directory)
}

fn readable(path: &Path) -> Option<Finding> {
    let what = format!("file {}", path.display());
    match fs::File::open(path) {
        Ok(_) => {
            let directory = open_directory(path)?;
            let seen = "everybody can replace it";
            let remedy = format!("chmod o-w {}", directory.display());
            Some(Finding::warning("files", &what, seen, remedy))
        }
        Err(error) => Some(unreadable(&what, path, &error)),
    }
}

fn unreadable(what: &str, path: &Path, error: &io::Error) -> Finding {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "let the user of the proxy read it (chown, or its group and chmod g+r): {}",
            path.display()
        ),
        io::ErrorKind::NotFound => {
            "put it there, or see that the volume is mounted and the name is right".into()
        }
        _ => "see what is there".into(),
    };
    Finding::failure("files", what, format!("cannot be read: {error}"), remedy)
}

/// A file that is written by another name first, beside it.
fn replaced(path: &Path) -> Finding {
    let what = format!("file {}, which is replaced", path.display());
    let directory = path.parent().unwrap_or(Path::new("."));
    if let Ok(metadata) = fs::metadata(path) {
        let mode = metadata.mode();
        if mode & 0o006 != 0 {
            let seen = format!("mode {:04o}: others can use it", mode & 0o7777);
            let remedy = format!("chmod 0600 {}", path.display());
            return Finding::warning("files", &what, seen, remedy);
        }
    }
    match writable(directory) {
        Ok(()) => Finding::ok("files", &what, "its directory can be written to"),
        Err(error) => {
            let seen = format!("{} cannot be written to: {error}", directory.display());
            let remedy = "let the user of the proxy write to that directory, and mount it writable";
            Finding::failure("files", &what, seen, remedy)
        }
    }
}

fn writable(directory: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Certificates of our own, with the keys that must fit.
fn identities(config: &Config) -> Vec<&Identity> {
    let listeners = config.listeners.iter().filter_map(|one| match &one.tls {
        Some(ServerTls::Own(own)) => Some(&own.identity),
        Some(ServerTls::Minted) | None => None,
    });
    let credentials = config.credentials.values();
    let clients = credentials.filter_map(|one| match &one.auth {
        crate::config::ClientAuth::MutualTls(identity) => Some(identity),
        _ => None,
    });
    let upstreams = config.routes.iter().filter_map(|one| one.upstream.as_ref());
    let towards = upstreams
        .map(|one| &one.tls)
        .chain(config.providers.values().map(|one| &one.tls))
        .filter_map(|tls| tls.identity.as_ref());
    let authority = config.interception.iter().map(|one| &one.authority);
    let mut all: Vec<_> = listeners
        .chain(clients)
        .chain(towards)
        .chain(authority)
        .collect();
    all.sort_by_key(|one| (&one.certificate, &one.key));
    all.dedup();
    all
}

fn certificate(identity: &Identity, now: Duration) -> Option<Finding> {
    let path: &PathBuf = &identity.certificate;
    let what = format!("certificate {}", path.display());
    let renew = "renew it; the new file is taken over without a restart";
    let shown = match Shown::read(path) {
        Ok(shown) => shown,
        // a file that is not there has been told already
        Err(_) if !path.exists() => return None,
        Err(error) => return Some(Finding::failure("files", &what, chain(&error), renew)),
    };
    let own = shown.first()?;
    let seen = format!("{}, by {}", own.names.join(", "), own.issuer);
    Some(if own.until < now {
        let seen = format!(
            "{seen}; ended {} days ago",
            days(now.saturating_sub(own.until))
        );
        Finding::failure("files", &what, seen, renew)
    } else if now < own.from {
        let seen = format!("{seen}; does not hold yet");
        let remedy = "see whether the clock of this machine is right";
        Finding::failure("files", &what, seen, remedy)
    } else if let Err(error) = crate::tls::fits(identity) {
        let remedy = "put the key beside the certificate that it belongs to";
        Finding::failure("files", &what, chain(&error), remedy)
    } else {
        let left = days(own.until.saturating_sub(now));
        let seen = format!("{seen}; {left} days left");
        if left < SOON {
            Finding::warning("files", &what, seen, renew)
        } else {
            Finding::ok("files", &what, seen)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::checkup::Verdict;

    #[test]
    fn a_secret_that_others_can_read_or_replace_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, "s").unwrap();
        for (file, around, verdict, part) in [
            (0o600, 0o755, Verdict::Ok, "mode 0600"),
            (0o640, 0o755, Verdict::Ok, "mode 0640"),
            (0o644, 0o755, Verdict::Warning, "can read it"),
            (0o666, 0o755, Verdict::Failure, "can replace it"),
            (0o600, 0o777, Verdict::Failure, "anyone may write to"),
            (0o600, 0o1777, Verdict::Ok, "mode 0600"),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(file)).unwrap();
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(around)).unwrap();
            let found = private(&path);
            assert_eq!(found.verdict, verdict, "{file:o} {around:o}");
            assert!(found.seen.contains(part), "{}", found.seen);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(private(&path).verdict, Verdict::Failure);
    }

    #[test]
    fn a_certificate_is_told_with_its_days_and_whether_its_key_fits() {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity {
            certificate: directory.path().join("tls.crt"),
            key: directory.path().join("tls.key"),
        };
        let made = rcgen::generate_simple_self_signed(["proxy.test".to_owned()]).unwrap();
        fs::write(&identity.certificate, made.cert.pem()).unwrap();
        fs::write(&identity.key, made.signing_key.serialize_pem()).unwrap();
        let ends = Shown::read(&identity.certificate).unwrap()[0].until;
        let day = Duration::from_secs(24 * 3600);
        let before = |days: u32| ends.saturating_sub(days * day);
        for (now, verdict, part) in [
            (before(100), Verdict::Ok, "100 days left"),
            (before(3), Verdict::Warning, "3 days left"),
            (ends + 2 * day, Verdict::Failure, "ended 2 days ago"),
            (Duration::ZERO, Verdict::Failure, "does not hold yet"),
        ] {
            let found = certificate(&identity, now).unwrap();
            assert_eq!(found.verdict, verdict, "{part}");
            assert!(found.seen.contains(part), "{}", found.seen);
        }
        let another = rcgen::generate_simple_self_signed(["proxy.test".to_owned()]).unwrap();
        fs::write(&identity.key, another.signing_key.serialize_pem()).unwrap();
        let found = certificate(&identity, before(100)).unwrap();
        assert_eq!(found.verdict, Verdict::Failure);
        assert!(
            found.seen.contains("does not fit its key"),
            "{}",
            found.seen
        );
    }
}
