//! `itwin-auth-proxy init`: a configuration to begin with.

use std::{fs, io::Write, path::PathBuf};

use clap::{Args, ValueEnum, ValueHint};

use super::{Exit, complain, output};

/// Write a commented configuration to begin with.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The kind of application.
    #[arg(value_enum, default_value_t = Kind::Service)]
    kind: Kind,
    /// The file to write; it must not exist [default: standard output].
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// The client's identifier, as registered.
    #[arg(long, value_name = "ID", default_value = "service-your-client-id")]
    client_id: String,
    /// The file that will hold the client's secret.
    #[arg(long, value_name = "FILE", default_value = "/run/secrets/itwin", value_hint = ValueHint::FilePath)]
    secret_file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A service or agent that acts for itself (`client_credentials`), on the same machine or in the same pod.
    Service,
    /// The same for callers on other machines, who show a key over TLS.
    Shared,
}

const SERVICE: &str = include_str!("init/service.yaml");
const SHARED: &str = include_str!("init/shared.yaml");

#[expect(clippy::unnecessary_wraps, reason = "as every command")]
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let text = text(arguments);
    let Some(file) = &arguments.output else {
        output::pour(&text);
        return Ok(Exit::Ok);
    };
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => {
            complain(format!(
                "next: itwin-auth-proxy check --config {}",
                file.display()
            ));
            Ok(Exit::Ok)
        }
        Err(error) => {
            complain(format!(
                "error: {} cannot be written: {error}",
                file.display()
            ));
            Ok(Exit::CannotCreate)
        }
    }
}

fn text(arguments: &Arguments) -> String {
    let template = match arguments.kind {
        Kind::Service => SERVICE,
        Kind::Shared => SHARED,
    };
    template
        .replace("{client_id}", &quoted(&arguments.client_id))
        .replace(
            "{secret_file}",
            &quoted(&arguments.secret_file.display().to_string()),
        )
}

/// A YAML scalar, in quotes where it needs them.
fn quoted(text: &str) -> String {
    crate::config::print::scalar(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn what_is_written_is_good_once_the_files_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        fs::write(at("tls.crt"), pair.cert.pem()).unwrap();
        fs::write(at("tls.key"), pair.signing_key.serialize_pem()).unwrap();
        fs::write(at("itwin"), "a secret that nobody guesses").unwrap();
        for kind in [Kind::Service, Kind::Shared] {
            let text = text(&Arguments {
                kind,
                output: None,
                client_id: "service: it's #1".into(),
                secret_file: at("itwin"),
            });
            let text = text
                .replace(
                    "/etc/itwin-auth-proxy",
                    &directory.path().display().to_string(),
                )
                .replace("/run/secrets/callers", &at("itwin").display().to_string());
            let loaded = load(Sources::yaml(&text)).unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(
                loaded.config.credentials["agent"].client_id,
                "service: it's #1"
            );
        }
    }
}
