//! Where the configuration comes from: a file and the environment.
//!
//! The one place that reads the process's environment. Everything else, tests included, gets a
//! [`Sources`] and never touches the process.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    problem::{Place, Problem, Problems, Severity},
    schema::Schema,
    tree::Node,
    variables, yaml,
};

/// The variable that names the file.
pub const CONFIG_VARIABLE: &str = "ITWIN_CONFIG";

/// Whether the user declines colours (`NO_COLOR`, see no-color.org).
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Where the certificates of authorities are, if the environment says so.
pub fn authorities() -> Vec<PathBuf> {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os);
    let named = named.iter().flatten().flat_map(std::env::split_paths);
    named.filter(|path| path.is_absolute()).collect()
}

/// Whether the bus on which the keyring of this session is has no name in the file system.
pub fn session_bus_is_abstract() -> bool {
    let bus = std::env::var_os("DBUS_SESSION_BUS_ADDRESS");
    bus.is_some_and(|bus| bus.to_string_lossy().contains("unix:abstract="))
}

/// What the desktop of this session can show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desktop {
    /// The person's choice of a browser (`BROWSER`).
    pub browser: Option<String>,
    /// Whether there is a screen.
    pub display: bool,
}

/// The desktop of this process's session.
pub fn desktop() -> Desktop {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    Desktop {
        browser: set("BROWSER").and_then(|browser| browser.into_string().ok()),
        display: ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"]
            .iter()
            .any(|name| set(name).is_some()),
    }
}

/// What the service manager that started this process wants to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceManager {
    /// Where (`NOTIFY_SOCKET`, see `sd_notify(3)`).
    pub socket: String,
    /// Within what time it must hear that the program lives (`WATCHDOG_USEC`).
    pub watchdog: Option<Duration>,
}

/// The service manager, if one started this process and wants to hear anything.
pub fn service_manager() -> Option<ServiceManager> {
    let variable = |name: &str| std::env::var_os(name)?.into_string().ok();
    ServiceManager::told(variable, std::process::id())
}

impl ServiceManager {
    /// By these variables. A watchdog for another process (`WATCHDOG_PID`) is none of ours: the
    /// variables are inherited.
    fn told(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Option<Self> {
        let number = |name| variable(name).map(|text| text.parse::<u64>().ok());
        let socket = variable("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())?;
        let ours = number("WATCHDOG_PID").is_none_or(|its| its == Some(u64::from(pid)));
        let time = number("WATCHDOG_USEC").flatten().filter(|time| *time > 0);
        Some(Self {
            socket,
            watchdog: time.filter(|_| ours).map(Duration::from_micros),
        })
    }
}

/// The API server of the cluster whose pod this is: host and port.
pub fn kubernetes_service() -> Option<(String, String)> {
    let text = |name: &str| std::env::var_os(name)?.into_string().ok();
    let host = text("KUBERNETES_SERVICE_HOST")?;
    let port = text("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".into());
    Some((host, port)).filter(|(host, _)| !host.is_empty())
}

/// Variables that send the requests of most HTTP clients elsewhere. This program obeys none of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyVariables {
    /// Those that name a proxy; of two spellings the one that is set.
    named: Vec<&'static str>,
    /// What goes past it.
    past: Vec<String>,
    /// Node programs check no certificate (`NODE_TLS_REJECT_UNAUTHORIZED=0`).
    pub unverified_tls: bool,
}

impl ProxyVariables {
    /// Of this process.
    pub fn process() -> Self {
        Self::told(|name| std::env::var_os(name)?.into_string().ok())
    }

    /// By these variables.
    pub fn told(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &&str| variable(name).is_some_and(|value| !value.trim().is_empty());
        let spellings = [
            ["http_proxy", "HTTP_PROXY"],
            ["https_proxy", "HTTPS_PROXY"],
            ["all_proxy", "ALL_PROXY"],
        ];
        let named = spellings.into_iter();
        let past = ["no_proxy", "NO_PROXY"].into_iter().find(set);
        let past = past.and_then(&variable).unwrap_or_default();
        let past = past.split([',', ' ']).filter(|one| !one.is_empty());
        Self {
            named: named
                .filter_map(|names| names.into_iter().find(set))
                .collect(),
            past: past.map(str::to_ascii_lowercase).collect(),
            unverified_tls: variable("NODE_TLS_REJECT_UNAUTHORIZED").as_deref() == Some("0"),
        }
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        !self.named.is_empty()
    }

    /// Those that lead requests to this machine away from it.
    pub fn hijack_loopback(&self) -> Vec<&'static str> {
        let spared = |one: &String| matches!(one.as_str(), "*" | "127.0.0.1" | "127.0.0.0/8");
        if self.past.iter().any(spared) {
            return Vec::new();
        }
        self.named.clone()
    }
}

/// What a configuration is read from.
#[derive(Clone, Default)]
pub struct Sources {
    file: File,
    environment: Environment,
}

/// The environment: names and values.
#[derive(Clone, Default)]
pub(super) struct Environment {
    pub(super) values: BTreeMap<String, String>,
    /// Variables whose values are not text.
    unreadable: Vec<String>,
}

#[derive(Clone, Default)]
enum File {
    #[default]
    None,
    Text {
        name: String,
        text: String,
    },
    Path(PathBuf),
}

impl Sources {
    /// The process's environment, and the file that is given or that `ITWIN_CONFIG` names.
    pub fn process(file: Option<PathBuf>) -> Self {
        let mut environment = Environment::default();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else {
                continue;
            };
            match value.into_string() {
                Ok(value) => drop(environment.values.insert(name, value)),
                Err(_) => environment.unreadable.push(name),
            }
        }
        let named = environment.values.get(CONFIG_VARIABLE);
        let file = file.or_else(|| named.filter(|path| !path.is_empty()).map(PathBuf::from));
        Self {
            file: file.map_or(File::None, File::Path),
            environment,
        }
    }

    /// The file, and no environment.
    pub fn at(path: &Path) -> Self {
        Self {
            file: File::Path(path.to_owned()),
            environment: Environment::default(),
        }
    }

    /// A text instead of a file, and no environment.
    pub fn yaml(text: &str) -> Self {
        Self {
            file: File::Text {
                name: "config.yaml".into(),
                text: text.to_owned(),
            },
            environment: Environment::default(),
        }
    }

    /// Nothing but these variables.
    pub fn variables<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::default().with_variables(pairs)
    }

    /// The same with these variables in its environment.
    #[must_use]
    pub fn with_variables<'a>(
        mut self,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        self.environment.values.extend(
            pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        self
    }

    /// The file that is read, if there is one.
    pub fn file(&self) -> Option<&Path> {
        match &self.file {
            File::Path(path) => Some(path),
            File::Text { .. } | File::None => None,
        }
    }

    /// The same with nothing of the file but one key that stands at its left margin, for a file that is
    /// no YAML elsewhere. Nothing, where the file cannot be read or has the key in another form.
    pub(super) fn part(&self, key: &str) -> Option<Self> {
        let (name, text) = match &self.file {
            File::None => return None,
            File::Text { name, text } => (name.clone(), text.clone()),
            File::Path(path) => (path.display().to_string(), read_file(path).ok()?),
        };
        let mut lines = text.lines();
        let begins = |line: &&str| {
            let rest = line.strip_prefix(key);
            rest.is_some_and(|rest| rest.starts_with(':'))
        };
        let first = lines.find(begins);
        if first.is_none() && text.contains(key) {
            return None;
        }
        // comments and empty lines may stand anywhere
        let within = |line: &&str| line.is_empty() || line.starts_with([' ', '\t', '#']);
        let lines = first.into_iter().chain(lines.take_while(within));
        let text = lines.collect::<Vec<_>>().join("\n");
        Some(Self {
            file: File::Text { name, text },
            environment: self.environment.clone(),
        })
    }

    /// Whether there is neither a file nor a variable that says anything.
    pub fn are_none(&self) -> bool {
        matches!(self.file, File::None) && !variables::speak(&self.environment)
    }

    /// The variables that write into the configuration, over what a file says; by name.
    pub fn overrides(&self) -> Vec<String> {
        variables::speaking(&self.environment)
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Everything that was written, as one tree.
    pub(super) fn tree(&self, schema: &Schema, problems: &mut Problems) -> Node {
        let mut tree = match &self.file {
            File::None => Node::null(Place::Variable("".into())),
            File::Text { name, text } => yaml::read(text, &yaml::in_file(name), problems),
            File::Path(path) => match read_file(path) {
                Ok(text) => {
                    let name = path.display().to_string();
                    yaml::read(&text, &yaml::in_file(&name), problems)
                }
                Err(text) => {
                    problems.push(Problem {
                        severity: Severity::Error,
                        path: String::new(),
                        origin: None,
                        text,
                        hint: Some(format!(
                            "the file is named by --config or the environment variable {CONFIG_VARIABLE}"
                        )),
                    });
                    Node::null(Place::Variable(CONFIG_VARIABLE.into()))
                }
            },
        };
        for name in &self.environment.unreadable {
            if name.starts_with("ITWIN_") {
                problems.push(Problem {
                    severity: Severity::Error,
                    path: String::new(),
                    origin: Some(Place::Variable(Arc::from(name.as_str()))),
                    text: "the variable's value is not UTF-8 text".into(),
                    hint: None,
                });
            }
        }
        if problems.errors() == 0 && self.are_none() {
            problems.push(Problem {
                severity: Severity::Error,
                path: String::new(),
                origin: None,
                text: "there is no configuration".into(),
                hint: Some(
                    "set ITWIN_CLIENT_ID and ITWIN_CLIENT_SECRET_FILE, or name a file with --config; \
                     'itwin-auth-proxy init' writes one, 'itwin-auth-proxy demo' needs none"
                        .into(),
                ),
            });
            return tree;
        }
        variables::apply(&mut tree, &self.environment, schema, problems);
        tree
    }
}

pub(super) fn read_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| format!("cannot read the file {shown}: {error}");
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let most = u64::try_from(yaml::MAX_BYTES).unwrap_or(u64::MAX);
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > yaml::MAX_BYTES {
        return Err(format!("the file {shown} is larger than {most} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| format!("the file {shown} is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_manager_says_what_it_wants_to_hear() {
        let (socket, time) = (("NOTIFY_SOCKET", "/run/n"), ("WATCHDOG_USEC", "20000000"));
        let within = |seconds| Some(Some(Duration::from_secs(seconds)));
        for (what, variables, expected) in [
            ("no manager", &[][..], None),
            ("nobody listens", &[("NOTIFY_SOCKET", ""), time], None),
            ("only a watchdog", &[time], None),
            ("no watchdog", &[socket], Some(None)),
            ("a watchdog", &[socket, time], within(20)),
            ("ours", &[socket, time, ("WATCHDOG_PID", "7")], within(20)),
            (
                "another's",
                &[socket, time, ("WATCHDOG_PID", "8")],
                Some(None),
            ),
            ("whose?", &[socket, time, ("WATCHDOG_PID", "x")], Some(None)),
            ("off", &[socket, ("WATCHDOG_USEC", "0")], Some(None)),
            ("nonsense", &[socket, ("WATCHDOG_USEC", "-1")], Some(None)),
        ] {
            let variable = |name: &str| {
                let found = variables.iter().find(|(its, _)| *its == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let told = ServiceManager::told(variable, 7);
            assert_eq!(told.map(|manager| manager.watchdog), expected, "{what}");
        }
    }
}
