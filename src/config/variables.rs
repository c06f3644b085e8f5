//! The environment as a way to write the configuration.
//!
//! Two forms. The short one (`ITWIN_CLIENT_ID`, …) is for the common case of one credential, one
//! provider, one listener and one route; with a file that has several of them it is refused rather
//! than guessed. The long one reaches every key: `ITWIN_AUTH_PROXY__` and then the path with `__`
//! between its levels, list items by number. A variable overrides the file, the long form the short
//! one. An empty variable counts as not set, because that is how containers unset one.

use std::sync::Arc;

use super::{
    path::Path,
    problem::{Place, Problem, Problems, Severity, did_you_mean},
    schema::Schema,
    setter::{Refusal, Setter},
    source::{CONFIG_VARIABLE, Environment},
    tree::{Node, Written},
};

/// The prefix of the long form.
pub(super) const PREFIX: &str = "ITWIN_AUTH_PROXY__";

/// A variable of the short form.
pub(super) struct Short {
    pub(super) name: &'static str,
    target: Target,
    pub(super) meaning: &'static str,
}

/// Which key a short variable writes. `Only` keys belong to the one entry of their kind.
#[derive(Clone, Copy)]
enum Target {
    Credential(&'static str),
    /// The key takes the variable's name, not its value: a secret stays where it is.
    CredentialSecret(&'static str),
    Issuer,
    Environment,
    Upstream,
    Bind,
    Key(&'static [&'static str]),
    /// Read elsewhere.
    Elsewhere,
}

/// The short form, whole.
pub(super) const SHORT: [Short; 17] = [
    short(
        "ITWIN_CLIENT_ID",
        Target::Credential("client_id"),
        "the client's identifier, such as `service-…`",
    ),
    short(
        "ITWIN_CLIENT_SECRET",
        Target::CredentialSecret("client_secret_env"),
        "the client's secret",
    ),
    short(
        "ITWIN_CLIENT_SECRET_FILE",
        Target::Credential("client_secret_file"),
        "a file that holds it; read again when needed",
    ),
    short(
        "ITWIN_CLIENT_SECRET_PREVIOUS",
        Target::CredentialSecret("client_secret_previous_env"),
        "the secret that is being replaced",
    ),
    short(
        "ITWIN_CLIENT_SECRET_PREVIOUS_FILE",
        Target::Credential("client_secret_previous_file"),
        "a file that holds it",
    ),
    short(
        "ITWIN_GRANT",
        Target::Credential("grant"),
        "the OAuth 2.0 grant; default `refresh_token` (what `login` keeps) for a client `native-…` without a secret, otherwise `client_credentials`",
    ),
    short(
        "ITWIN_SCOPES",
        Target::Credential("scopes"),
        "scopes with spaces between them; default at Bentley `itwin-platform`, elsewhere what the server gives",
    ),
    short(
        "ITWIN_ENVIRONMENT",
        Target::Environment,
        "`production` (default) or `qa`: Bentley's authorization server and API",
    ),
    short(
        "ITWIN_ISSUER",
        Target::Issuer,
        "another authorization server; needs `ITWIN_UPSTREAM`",
    ),
    short(
        "ITWIN_UPSTREAM",
        Target::Upstream,
        "where calls go; default `https://api.bentley.com`",
    ),
    short(
        "ITWIN_BIND",
        Target::Bind,
        "where calls are accepted; default `127.0.0.1:8080`",
    ),
    short(
        "ITWIN_ADMIN_BIND",
        Target::Key(&["admin", "bind"]),
        "probes, metrics, status; default `127.0.0.1:9901`",
    ),
    short(
        "ITWIN_LOG",
        Target::Key(&["log", "level"]),
        "`error`, `warn`, `info`, `debug`, `trace`, or directives",
    ),
    short(
        "ITWIN_LOG_FORMAT",
        Target::Key(&["log", "format"]),
        "`auto`, `human` or `json`",
    ),
    short(
        "ITWIN_LOGIN_KEY",
        Target::Elsewhere,
        "what a kept sign-in is sealed with where there is no keyring; default: a random key in a file beside it",
    ),
    short(
        "ITWIN_LOGIN_KEY_FILE",
        Target::Elsewhere,
        "a file that holds that key",
    ),
    short(CONFIG_VARIABLE, Target::Elsewhere, "the configuration file"),
];

const fn short(name: &'static str, target: Target, meaning: &'static str) -> Short {
    Short {
        name,
        target,
        meaning,
    }
}

/// Whether any variable says something about the configuration.
pub(super) fn speak(environment: &Environment) -> bool {
    environment.values.iter().any(|(name, value)| {
        !value.is_empty()
            && name != CONFIG_VARIABLE
            && (name.starts_with(PREFIX) || SHORT.iter().any(|short| short.name == name))
    })
}

/// The variables that write into the configuration.
pub(super) fn speaking(environment: &Environment) -> Vec<String> {
    let writes = |short: &Short| !matches!(short.target, Target::Elsewhere);
    let all = environment.values.iter().filter(|(name, value)| {
        let short = || {
            SHORT
                .iter()
                .any(|short| short.name == *name && writes(short))
        };
        !value.is_empty() && (name.starts_with(PREFIX) || short())
    });
    all.map(|(name, _)| name.clone()).collect()
}

/// Writes what the environment says into the tree.
pub(super) fn apply(
    tree: &mut Node,
    environment: &Environment,
    schema: &Schema,
    problems: &mut Problems,
) {
    let mut writer = Writer {
        tree,
        schema,
        problems,
    };
    let set = |name: &str| {
        environment
            .values
            .get(name)
            .filter(|value| !value.is_empty())
    };
    for short in &SHORT {
        if let Some(value) = set(short.name) {
            writer.short(short, value);
        }
    }
    if let (Some(_), Some(_)) = (set("ITWIN_ISSUER"), set("ITWIN_ENVIRONMENT")) {
        writer.report(
            "ITWIN_ENVIRONMENT",
            "ITWIN_ISSUER and ITWIN_ENVIRONMENT both choose the authorization server",
            Some("leave one of them out".into()),
        );
    }
    writer.person_at_a_desk();
    for (name, value) in environment
        .values
        .iter()
        .filter(|(_, value)| !value.is_empty())
    {
        if let Some(path) = name.strip_prefix(PREFIX) {
            writer.long(name, path, value);
        } else if name.starts_with("ITWIN_") {
            writer.unknown_short(name);
        }
    }
}

struct Writer<'a> {
    tree: &'a mut Node,
    schema: &'a Schema,
    problems: &'a mut Problems,
}

impl Writer<'_> {
    fn report(&mut self, variable: &str, text: impl Into<String>, hint: Option<String>) {
        self.say(Severity::Error, variable, text.into(), hint);
    }

    fn say(&mut self, severity: Severity, variable: &str, text: String, hint: Option<String>) {
        self.problems.push(Problem {
            severity,
            path: String::new(),
            origin: Some(variable_place(variable)),
            text,
            hint,
        });
    }

    fn short(&mut self, short: &Short, value: &str) {
        let name = short.name;
        match short.target {
            Target::Elsewhere => {}
            Target::Key(path) => self.write(name, path, value),
            Target::Credential(key) => self.write_credential(name, key, value),
            Target::CredentialSecret(key) => self.write_credential(name, key, name),
            Target::Environment => match value {
                "production" | "prod" => self.write_credential(name, "provider", "bentley"),
                "qa" => self.write_credential(name, "provider", "bentley-qa"),
                _ => self.report(name, "must be production or qa", None),
            },
            Target::Issuer => {
                let Some(provider) = self.only(name, "providers", "issuer") else {
                    return;
                };
                if self
                    .tree
                    .get("credentials")
                    .is_some_and(|all| !all.keys().is_empty())
                {
                    self.write_credential(name, "provider", &provider);
                }
                self.write(name, &["providers", &provider, "issuer"], value);
            }
            Target::Upstream => {
                let routes = self.length("routes");
                if routes > 1 {
                    return self.ambiguous(name, "routes", routes, "ROUTES__0__UPSTREAM");
                }
                if routes == 0
                    && let Some(credential) = self.only(name, "credentials", "agent")
                {
                    self.write(name, &["routes", "0", "inject"], &credential);
                }
                self.write(name, &["routes", "0", "upstream", "url"], value);
            }
            Target::Bind => {
                let listeners = self.length("listeners");
                if listeners > 1 {
                    return self.ambiguous(name, "listeners", listeners, "LISTENERS__0__BIND");
                }
                self.write(name, &["listeners", "0", "bind"], value);
            }
        }
    }

    /// A client that is registered for a program at a desk has no secret, and cannot act for
    /// itself: it is a person's, who signs in by `login`.
    fn person_at_a_desk(&mut self) {
        let Some(credentials) = self.tree.get("credentials") else {
            return;
        };
        let [name] = credentials.keys()[..] else {
            return;
        };
        let name = name.to_owned();
        let Some(credential) = credentials.get(&name) else {
            return;
        };
        let native = match credential.get("client_id").map(|id| (&id.value, &id.place)) {
            Some((Written::Scalar(id, _), Place::Variable(_))) => id.starts_with("native-"),
            _ => false,
        };
        let says_how = |key: &&str| {
            [
                "grant",
                "client_auth",
                "client_secret",
                "private_key",
                "assertion",
                "tls",
                "username",
            ]
            .iter()
            .any(|how| key.starts_with(how))
        };
        if native && !credential.keys().iter().any(says_how) {
            let path = ["credentials", &name, "grant"];
            self.write("ITWIN_CLIENT_ID", &path, "refresh_token");
        }
    }

    fn write_credential(&mut self, variable: &str, key: &str, value: &str) {
        if let Some(credential) = self.only(variable, "credentials", "agent") {
            self.write(variable, &["credentials", &credential, key], value);
        }
    }

    /// The name of the only entry of a map, or `fallback` when there is none.
    fn only(&mut self, variable: &str, map: &str, fallback: &str) -> Option<String> {
        let names: Vec<String> = self
            .tree
            .get(map)
            .map(|node| node.keys().into_iter().map(str::to_owned).collect())
            .unwrap_or_default();
        match names.as_slice() {
            [] => Some(fallback.to_owned()),
            [only] => Some(only.clone()),
            several => {
                let text = format!(
                    "the file has {} {map}: {}",
                    several.len(),
                    several.join(", ")
                );
                let first = several[0].to_ascii_uppercase().replace(['-', '.'], "_");
                let hint = format!(
                    "name the one that is meant, as in {PREFIX}{}__{first}__…",
                    map.to_ascii_uppercase()
                );
                self.report(variable, text, Some(hint));
                None
            }
        }
    }

    fn length(&self, list: &str) -> usize {
        match self.tree.get(list).map(|node| &node.value) {
            Some(Written::List(items)) => items.len(),
            _ => 0,
        }
    }

    fn ambiguous(&mut self, variable: &str, list: &str, count: usize, path: &str) {
        let hint = format!("name the one that is meant, as in {PREFIX}{path}");
        self.report(variable, format!("the file has {count} {list}"), Some(hint));
    }

    fn long(&mut self, variable: &str, path: &str, value: &str) {
        let steps: Vec<&str> = path.split("__").collect();
        self.write(variable, &steps, value);
    }

    fn write(&mut self, variable: &str, steps: &[&str], value: &str) {
        let place = variable_place(variable);
        let root = self.schema.root();
        let mut setter = Setter {
            schema: self.schema,
            place: &place,
            value,
            problems: self.problems,
        };
        if let Err(Refusal { text, hint }) = setter.set(self.tree, &root, steps) {
            self.report(variable, text, hint);
        }
    }

    fn unknown_short(&mut self, name: &str) {
        if SHORT.iter().any(|short| short.name == name) || from_kubernetes(name) {
            return;
        }
        let known = SHORT.iter().map(|short| short.name);
        let hint = if name.starts_with("ITWIN_AUTH_PROXY_") {
            Some(format!(
                "the long form begins with {PREFIX}, two underscores between levels"
            ))
        } else {
            did_you_mean(name, known)
        };
        self.say(
            Severity::Warning,
            name,
            "the variable is not known and has no effect".into(),
            hint,
        );
    }
}

/// Kubernetes and Docker describe services in variables of their own: a service called `itwin-…`
/// must not look like a mistake.
fn from_kubernetes(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || (name.contains("_PORT_") && (name.contains("_TCP") || name.contains("_UDP")))
}

fn variable_place(name: &str) -> Place {
    Place::Variable(Arc::from(name))
}

/// Where a short variable's value ends up, for the reference page.
pub(super) fn written_to(short: &Short) -> String {
    match short.target {
        Target::Credential(key) | Target::CredentialSecret(key) => {
            format!("credentials.agent.{key}")
        }
        Target::Issuer => "providers.issuer.issuer".into(),
        Target::Environment => "credentials.agent.provider".into(),
        Target::Upstream => "routes[0].upstream".into(),
        Target::Bind => "listeners[0].bind".into(),
        Target::Key(path) => path
            .iter()
            .fold(Path::root(), |path, key| path.key(key))
            .to_string(),
        Target::Elsewhere => String::new(),
    }
}
