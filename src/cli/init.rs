//! `itwin-auth-proxy init`: a configuration to begin with, for a kind of application.
//!
//! What is not given as a flag is asked, but only where a person sits at a terminal and named no kind:
//! a script is never asked, it gets what the flags and the defaults say. Nothing is overwritten.

mod questions;

use std::{fs, io::Write, path::PathBuf};

use clap::{Args, ValueEnum, ValueHint};
use url::{Host, Url};

use self::questions::Questions;
use super::{Exit, complain, output};
use crate::config::PLACEHOLDERS;

/// Write a commented configuration to begin with.
///
/// Without a kind it asks a few questions, at a terminal; elsewhere it writes one for a service.
#[derive(Debug, Default, Args)]
pub(super) struct Arguments {
    /// The kind of application.
    #[arg(value_enum)]
    kind: Option<Kind>,
    /// The file to write; it must not exist [default: standard output].
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// The client's identifier, as registered.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The file that will hold the client's secret [default: /run/secrets/itwin].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    secret_file: Option<PathBuf>,
    /// Where browsers will reach a web application [default: `http://localhost:8080`].
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Bentley's environment.
    #[arg(long, value_enum, default_value_t)]
    environment: Environment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A service or agent that acts for itself (`client_credentials`), on the same machine or in the same pod.
    Service,
    /// A web application whose people sign in with their browsers.
    Web,
    /// Scripts and desktop applications of the person at this machine.
    Desktop,
    /// Software that nobody will change: agents of iModel.js 1.x and 2.x, fixed addresses.
    Legacy,
    /// A service for callers on other machines, who show a key over TLS.
    Shared,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Environment {
    #[default]
    Production,
    Qa,
}

/// All that a configuration is made of.
#[derive(Debug)]
struct Chosen {
    kind: Kind,
    client_id: String,
    secret_file: PathBuf,
    public_url: PublicUrl,
    environment: Environment,
}

/// Where browsers reach the proxy: an origin that a session can have.
#[derive(Debug, Clone)]
struct PublicUrl {
    origin: String,
    /// The listener that serves it.
    listener: String,
}

const PUBLIC_URL: &str = "http://localhost:8080";
const SECRET_FILE: &str = "/run/secrets/itwin";

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let mut output = arguments.output.clone();
    let chosen = match (arguments.kind, Questions::at_terminal()) {
        (None, Some(mut questions)) => {
            let chosen = ask(arguments, &mut questions)?;
            if output.is_none() && questions.shows_output() {
                output = Some(questions.ask("File to write", "itwin.yaml", text)?.into());
            }
            chosen
        }
        (kind, _) => choose(arguments, kind.unwrap_or(Kind::Service))?,
    };
    let written = chosen.write();
    let Some(file) = &output else {
        output::pour(&written);
        return Ok(Exit::Ok);
    };
    let done = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut file| file.write_all(written.as_bytes()));
    match done {
        Ok(()) => {
            complain("what to fill in at the registration page stands at the top of the file");
            let command = match chosen.kind {
                Kind::Legacy => "ca init",
                _ => "check",
            };
            complain(format!(
                "next: itwin-auth-proxy {command} --config {}",
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

/// What the flags and the defaults say.
fn choose(arguments: &Arguments, kind: Kind) -> Result<Chosen, Exit> {
    let public_url = arguments.public_url.as_deref().unwrap_or(PUBLIC_URL);
    let public_url = PublicUrl::parse(public_url).map_err(|fault| {
        complain(format!("error: --public-url: {fault}"));
        Exit::Usage
    })?;
    Ok(Chosen {
        kind,
        client_id: arguments
            .client_id
            .clone()
            .unwrap_or_else(|| kind.client_id().to_owned()),
        secret_file: arguments
            .secret_file
            .clone()
            .unwrap_or_else(|| SECRET_FILE.into()),
        public_url,
        environment: arguments.environment,
    })
}

/// The same, where what is missing is asked.
fn ask(arguments: &Arguments, questions: &mut Questions) -> Result<Chosen, Exit> {
    let kind = questions.choose("What kind of application is it?", &Kind::choices())?;
    let mut chosen = choose(arguments, kind)?;
    if arguments.client_id.is_none() {
        chosen.client_id = questions.ask("Client identifier", kind.client_id(), text)?;
    }
    if arguments.secret_file.is_none() && kind != Kind::Desktop {
        let asked = questions.ask("File that will hold its secret", SECRET_FILE, text)?;
        chosen.secret_file = asked.into();
    }
    if arguments.public_url.is_none() && kind == Kind::Web {
        let asked = "Where browsers will reach it";
        chosen.public_url = questions.ask(asked, PUBLIC_URL, PublicUrl::parse)?;
    }
    Ok(chosen)
}

/// An answer that may be anything that can be seen.
fn text(answer: &str) -> Result<String, String> {
    if answer.contains(char::is_control) {
        return Err("there is a control character in this; type it again".into());
    }
    Ok(answer.to_owned())
}

impl Kind {
    const fn client_id(self) -> &'static str {
        match self {
            Self::Service | Self::Legacy | Self::Shared => PLACEHOLDERS[0],
            Self::Web => PLACEHOLDERS[1],
            Self::Desktop => PLACEHOLDERS[2],
        }
    }

    const fn template(self) -> &'static str {
        match self {
            Self::Service => include_str!("init/service.yaml"),
            Self::Web => include_str!("init/web.yaml"),
            Self::Desktop => include_str!("init/desktop.yaml"),
            Self::Legacy => include_str!("init/legacy.yaml"),
            Self::Shared => include_str!("init/shared.yaml"),
        }
    }

    /// All of them, each with what `--help` says of it.
    fn choices() -> Vec<(Self, String, String)> {
        let all = Self::value_variants().iter();
        all.filter_map(|kind| {
            let value = kind.to_possible_value()?;
            let help = value.get_help().map(ToString::to_string);
            Some((*kind, value.get_name().to_owned(), help.unwrap_or_default()))
        })
        .collect()
    }
}

impl Environment {
    const fn provider(self) -> &'static str {
        match self {
            Self::Production => "bentley",
            Self::Qa => "bentley-qa",
        }
    }

    const fn api_host(self) -> &'static str {
        match self {
            Self::Production => "api.bentley.com",
            Self::Qa => "qa-api.bentley.com",
        }
    }

    const fn ims_host(self) -> &'static str {
        match self {
            Self::Production => "ims.bentley.com",
            Self::Qa => "qa-ims.bentley.com",
        }
    }
}

impl PublicUrl {
    fn parse(written: &str) -> Result<Self, String> {
        let url =
            Url::parse(written).map_err(|error| format!("{written} is not a URL: {error}"))?;
        let has_more = url.path() != "/" || url.query().is_some() || url.fragment().is_some();
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_more || has_user {
            return Err("scheme, host and port only, as in https://app.example.com".into());
        }
        let is_here = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        };
        let listener = match url.scheme() {
            "https" => "  - bind: 0.0.0.0:8443\n    tls:                                # read again when the files change\n      certificate: /etc/itwin-auth-proxy/tls.crt\n      key: /etc/itwin-auth-proxy/tls.key\n".into(),
            "http" if is_here => {
                let port = url.port().unwrap_or(80);
                match url.host() {
                    Some(Host::Ipv6(ip)) => format!("  - bind: \"[{ip}]:{port}\"\n"),
                    _ => format!("  - bind: 127.0.0.1:{port}\n"),
                }
            }
            _ => return Err("https, or http and localhost: browsers keep no session otherwise".into()),
        };
        Ok(Self {
            origin: url.origin().ascii_serialization(),
            listener,
        })
    }
}

impl Chosen {
    fn write(&self) -> String {
        let (environment, public) = (self.environment, &self.public_url);
        let api = format!("https://{}", environment.api_host());
        let secret_file = self.secret_file.display().to_string();
        let values = [
            ("{provider}", environment.provider().to_owned()),
            ("{api}", api),
            ("{api_host}", environment.api_host().to_owned()),
            ("{ims_host}", environment.ims_host().to_owned()),
            ("{origin}", public.origin.clone()),
            ("{public_url}", quoted(&public.origin)),
            ("{listener}", public.listener.clone()),
            // last: what was typed is not looked through for the others
            ("{secret_file}", quoted(&secret_file)),
            ("{client_id}", quoted(&self.client_id)),
        ];
        let template = self.kind.template().to_owned();
        values.iter().fold(template, |written, (name, value)| {
            written.replace(name, value)
        })
    }
}

/// A YAML scalar, in quotes where it needs them.
fn quoted(text: &str) -> String {
    crate::config::print::scalar(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn written(kind: Kind, arguments: &Arguments) -> String {
        choose(arguments, kind).unwrap().write()
    }

    #[test]
    fn what_is_written_is_good_once_the_files_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        fs::write(at("tls.crt"), pair.cert.pem()).unwrap();
        fs::write(at("tls.key"), pair.signing_key.serialize_pem()).unwrap();
        fs::write(at("itwin"), "a secret that nobody guesses").unwrap();
        let kinds = [Kind::Service, Kind::Web, Kind::Desktop, Kind::Shared];
        for (kind, environment, public_url) in kinds.into_iter().flat_map(|kind| {
            [
                (kind, Environment::Production, PUBLIC_URL),
                (kind, Environment::Qa, "https://app.example.com"),
            ]
        }) {
            let text = written(
                kind,
                &Arguments {
                    client_id: Some("service: it's #1 {api}".into()),
                    secret_file: Some(at("itwin")),
                    public_url: Some(public_url.into()),
                    environment,
                    ..Arguments::default()
                },
            );
            let place = directory.path().display().to_string();
            let text = text
                .replace("/etc/itwin-auth-proxy", &place)
                .replace("/run/secrets/callers", &at("itwin").display().to_string());
            let sources = Sources::yaml(&text).with_variables([("XDG_STATE_HOME", place.as_str())]);
            let loaded = load(sources).unwrap_or_else(|problems| panic!("{text}\n{problems}"));
            let credential = loaded.config.credentials.values().next().unwrap();
            assert_eq!(credential.client_id, "service: it's #1 {api}");
            assert_eq!(&*credential.provider.name, environment.provider());
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in_that_nobody_asked_for() {
        for kind in Kind::value_variants() {
            let text = written(*kind, &Arguments::default());
            for line in text.lines() {
                let open = line.find('{').map(|at| &line[at + 1..]);
                let is_flow = open.is_none_or(|rest| rest.starts_with('}') || rest.contains(": "));
                assert!(is_flow, "{line}");
            }
            assert!(text.contains("developer.bentley.com"), "{kind:?}");
        }
    }

    #[test]
    fn where_browsers_come_to_is_an_origin_that_can_have_a_session() {
        for (written, listener) in [
            ("http://localhost:8080", "127.0.0.1:8080"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("http://[::1]:99", "[::1]:99"),
            ("https://app.example.com/", "0.0.0.0:8443"),
        ] {
            let url = PublicUrl::parse(written).unwrap();
            assert!(url.listener.contains(listener), "{written}");
        }
        for written in [
            "app.example.com",
            "http://app.example.com",
            "https://app.example.com/path",
            "https://me@app.example.com",
            "https://app.example.com/?a",
            "ftp://localhost",
        ] {
            assert!(PublicUrl::parse(written).is_err(), "{written}");
        }
    }
}
