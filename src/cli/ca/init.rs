//! `itwin-auth-proxy ca init`: a new authority in two files.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueHint};

use super::{super::Configuration, Exit, complain, output, planned};
use crate::{
    atomic::{self, create_secret},
    clock::Clock,
    config::Identity,
    tls::authority::{self, Authority, Described},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Make a new authority, which can sign for the named hosts only.
///
/// Its key is for this program's eyes (mode 0600), and never leaves its file. Run it as the user
/// that will run the proxy.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The hosts, as `api.bentley.com,*.example.com` [default: `interception.hosts` of the
    /// configuration].
    #[arg(long, value_name = "HOST", value_delimiter = ',', value_parser = host)]
    hosts: Vec<String>,
    /// The directory for `ca.crt` and `ca.key` [default: the files that the configuration names,
    /// or this directory].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    out: Option<PathBuf>,
    /// A directory for what others need to trust it, and no key: `ca.crt`, and `bundle.crt` with the
    /// system's authorities too.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    trust: Option<PathBuf>,
    /// How long it is good for. Software must be told of a new one by hand.
    #[arg(long, value_name = "DURATION", default_value = "825d", value_parser = lifetime)]
    lifetime: Duration,
    /// Replace an authority that is there. Software that trusts it trusts the new one only after it
    /// has been told.
    #[arg(long)]
    force: bool,
    /// Leave an authority that is there as it is, and succeed: for what is run at every start.
    #[arg(long, conflicts_with = "force")]
    keep: bool,
    #[command(flatten)]
    configuration: Configuration,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let (hosts, files) = wanted(arguments)?;
    if arguments.keep && files.certificate.exists() && files.key.exists() {
        complain(format!("{} is kept", files.certificate.display()));
        return Ok(Exit::Ok);
    }
    let now = Clock::system().now();
    let made = Authority::new(&hosts, now, arguments.lifetime).map_err(|error| {
        complain(format!("error: {}", output::chain(&error)));
        Exit::Software
    })?;
    let written = if arguments.force {
        replace(&files, &made)
    } else {
        create(&files, &made)
    };
    let written = written.and_then(|()| match &arguments.trust {
        Some(directory) => hand_out(directory, &made),
        None => Ok(()),
    });
    if let Err((file, error)) = written {
        let file = file.display();
        if error.kind() == io::ErrorKind::AlreadyExists {
            complain(format!("error: there is an authority already: {file}"));
            complain(
                "hint: --keep leaves it and succeeds; --force makes another in its place, which all software has to be told of again",
            );
        } else {
            complain(format!("error: {file} cannot be written: {error}"));
        }
        return Ok(Exit::CannotCreate);
    }
    next(&hosts, &files)
}

/// For which hosts, and where to.
fn wanted(arguments: &Arguments) -> Result<(Vec<String>, Identity), Exit> {
    let in_directory = |directory: &Path| Identity {
        certificate: directory.join("ca.crt"),
        key: directory.join("ca.key"),
    };
    let out = arguments.out.as_deref().map(in_directory);
    if !arguments.hosts.is_empty() {
        let mut hosts = arguments.hosts.clone();
        hosts.dedup();
        return Ok((hosts, out.unwrap_or_else(|| in_directory(Path::new("")))));
    }
    let Some(planned) = planned(&arguments.configuration)? else {
        complain(
            "error: for which hosts? Name them (--hosts api.bentley.com,ims.bentley.com), or a configuration that has `interception.hosts` (--config)",
        );
        return Err(Exit::Usage);
    };
    Ok((planned.hosts, out.unwrap_or(planned.files)))
}

type Failed = (PathBuf, io::Error);

/// Both files or none; nothing is overwritten.
fn create(files: &Identity, made: &Authority) -> Result<(), Failed> {
    directory(files)?;
    if fs::symlink_metadata(&files.certificate).is_ok() {
        let exists = io::ErrorKind::AlreadyExists.into();
        return Err((files.certificate.clone(), exists));
    }
    create_secret(&files.key, &made.key).map_err(|error| (files.key.clone(), error))?;
    let certificate = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&files.certificate)
        .and_then(|mut file| file.write_all(made.certificate.as_bytes()));
    certificate.map_err(|error| {
        // the key is of no use without it, and would be in the way the next time
        let _ = fs::remove_file(&files.key);
        (files.certificate.clone(), error)
    })
}

fn replace(files: &Identity, made: &Authority) -> Result<(), Failed> {
    directory(files)?;
    atomic::replace_secret(&files.key, &made.key).map_err(|error| (files.key.clone(), error))?;
    fs::write(&files.certificate, &made.certificate)
        .map_err(|error| (files.certificate.clone(), error))
}

/// For containers that see this directory alone.
fn hand_out(directory: &Path, made: &Authority) -> Result<(), Failed> {
    let bundle = authority::bundle(&made.certificate);
    let failed = |error| (directory.to_path_buf(), error);
    fs::create_dir_all(directory).map_err(failed)?;
    for (name, text) in [("ca.crt", &made.certificate), ("bundle.crt", &bundle)] {
        let file = directory.join(name);
        fs::write(&file, text)
            .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o644)))
            .map_err(|error| (file, error))?;
    }
    Ok(())
}

fn directory(files: &Identity) -> Result<(), Failed> {
    for file in [&files.key, &files.certificate] {
        let parent = file
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            fs::create_dir_all(parent).map_err(|error| (parent.to_path_buf(), error))?;
        }
    }
    Ok(())
}

/// Says what was made, and what is to be done with it.
fn next(hosts: &[String], files: &Identity) -> Result<Exit, Exit> {
    let full = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let (certificate, key) = (full(&files.certificate), full(&files.key));
    let described = Described::read(&certificate).map_err(|error| {
        complain(format!("error: {}", output::chain(&error)));
        Exit::Software
    })?;
    let quoted = |text: &str| crate::config::print::scalar(text);
    let hosts: Vec<String> = hosts.iter().map(|host| quoted(host)).collect();
    complain(format!(
        "{}, whose key is in {}\n\
        next: in the configuration\n  \
          interception: {{ certificate: {}, key: {}, hosts: [{}] }}\n\
        and the software is told to trust the authority, as this says (node, java, dotnet, python, curl, debian, windows):\n  \
          itwin-auth-proxy ca export --for node {}",
        super::show::line(&described),
        key.display(),
        quoted(&certificate.display().to_string()),
        quoted(&key.display().to_string()),
        hosts.join(", "),
        certificate.display(),
    ));
    Ok(Exit::Ok)
}

fn host(text: &str) -> Result<String, String> {
    let (wildcard, name) = match text.trim().strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", text.trim()),
    };
    match url::Host::parse(name) {
        Ok(url::Host::Domain(name)) if !name.contains('*') => Ok(format!("{wildcard}{name}")),
        Ok(url::Host::Ipv4(_) | url::Host::Ipv6(_)) => {
            Err("an address: only connections to names are opened".into())
        }
        _ => Err("not a host; write a name, or '*.' and a name".into()),
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(lifetime) if (DAY..=DAY * 3660).contains(&lifetime) => Ok(lifetime),
        Ok(_) => Err("from one day to ten years".into()),
        Err(_) => Err("a number with a unit, as in 825d or 2y".into()),
    }
}
