//! The injector's configuration: a file of its own, checked as the proxy's is.
//!
//! It says where the webhook is served, which certificate it shows, and what holds for pods that do
//! not say otherwise. The environment has no part in it: variables beginning with `ITWIN_` are the
//! proxy's.

pub mod value;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use url::Url;

pub use self::value::{BentleyEnvironment, InjectedMode};
use super::{
    Identity, Log, Place, Problem, Problems, Severity, raw, schema::Schema, shape, source, valid,
    yaml,
};

/// The injector's configuration, valid.
#[derive(Debug, Clone)]
pub struct Injector {
    pub bind: SocketAddr,
    pub admin: SocketAddr,
    pub certificate: WebhookCertificate,
    pub native_sidecars: NativeSidecars,
    pub api_server: ApiServer,
    pub log: Log,
    pub settings: InjectionSettings,
}

/// What a pod gets that does not say otherwise.
#[derive(Debug, Clone)]
pub struct InjectionSettings {
    pub image: String,
    /// `Always`, `IfNotPresent`, `Never`; `None`: the cluster's choice.
    pub pull_policy: Option<&'static str>,
    /// `None`: every pod has to name its own.
    pub credential_secret: Option<String>,
    /// Empty: those that the proxy asks for by itself.
    pub scopes: Vec<String>,
    /// `None`: the environment's API.
    pub upstream: Option<Url>,
    pub environment: BentleyEnvironment,
    pub mode: InjectedMode,
    pub port: u16,
    pub admin_port: u16,
    pub no_proxy: Vec<String>,
    /// Variables that get the address to call, besides our own.
    pub url_variables: Vec<String>,
    pub ip: Redirected,
    pub resources: Resources,
}

/// What transparent mode redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirected {
    V4,
    V4AndV6,
}

/// What the sidecar is given and may use, as Kubernetes writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    pub cpu_request: Option<String>,
    pub cpu_limit: Option<String>,
    pub memory_request: Option<String>,
    pub memory_limit: Option<String>,
}

/// Where the webhook's certificate comes from.
#[derive(Debug, Clone)]
pub enum WebhookCertificate {
    /// Somebody else renews these.
    Files(Identity),
    Managed(Managed),
}

/// Names of the objects that a certificate of our own lives in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Managed {
    pub secret: String,
    pub namespace: String,
    pub service: String,
    pub webhook: String,
}

/// Whether sidecars are init containers that keep running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NativeSidecars {
    /// The API server's version tells.
    Auto,
    Always,
    Never,
}

/// How the API server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiServer {
    /// The one whose pod we are in.
    InCluster,
    At {
        url: Url,
        token_file: PathBuf,
        ca_file: PathBuf,
    },
}

/// A configuration that was read, and what is worth a look in it.
#[derive(Debug, Clone)]
pub struct LoadedInjector {
    pub injector: Injector,
    pub warnings: Problems,
}

/// Reads and checks the injector's file, and the files that it names; opens no socket.
///
/// # Errors
/// All problems at once, warnings among them.
pub fn load(file: &std::path::Path) -> Result<LoadedInjector, Problems> {
    let mut problems = Problems::default();
    match source::read_file(file) {
        Ok(text) => read(&text, &file.display().to_string()),
        Err(text) => {
            problems.push(Problem {
                severity: Severity::Error,
                path: String::new(),
                origin: None,
                text,
                hint: Some("the file is named by --config".into()),
            });
            Err(problems)
        }
    }
}

/// The same for a text; `name` stands in the places of problems.
///
/// # Errors
/// As of [`load`].
pub fn read(text: &str, name: &str) -> Result<LoadedInjector, Problems> {
    let mut problems = Problems::default();
    let schema = Schema::of::<raw::Injector>();
    let tree = yaml::read(text, &yaml::in_file(name), &mut problems);
    if problems.unreadable() {
        return Err(problems);
    }
    let shaped = shape::check(&tree, &schema, &mut problems);
    let injector = if let Ok(raw) = serde_json::from_value(shaped) {
        valid::injector(&raw, &tree, &mut problems)
    } else {
        problems.push(Problem {
            severity: Severity::Error,
            path: String::new(),
            origin: Some(Place::File {
                name: Arc::from(name),
                line: 1,
                column: 1,
            }),
            text: "the configuration does not fit its own schema; please report this".into(),
            hint: None,
        });
        None
    };
    match injector {
        Some(injector) => Ok(LoadedInjector {
            injector,
            warnings: problems,
        }),
        None => Err(problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANAGED: &str = "image: itwin-auth-proxy:1\ncertificate: { managed: { secret: s, namespace: n, service: v, webhook: w } }\n";

    #[test]
    fn what_is_not_written_has_a_default() {
        let loaded = read(MANAGED, "injector.yaml").unwrap();
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        let injector = loaded.injector;
        assert_eq!(injector.bind.to_string(), "0.0.0.0:8443");
        assert_eq!(injector.admin.to_string(), "0.0.0.0:9901");
        assert_eq!(injector.native_sidecars, NativeSidecars::Auto);
        assert_eq!(injector.api_server, ApiServer::InCluster);
        let settings = injector.settings;
        assert_eq!((settings.port, settings.admin_port), (8080, 9901));
        assert_eq!(settings.mode, InjectedMode::Reverse);
        assert_eq!(settings.resources.memory_request.as_deref(), Some("32Mi"));
    }

    #[test]
    fn the_file_on_its_page_is_good() {
        let page = include_str!("../../../docs/injector.md");
        let block = page.split("```yaml\n").nth(1).unwrap();
        let block = block.split("```").next().unwrap();
        let loaded =
            read(block, "docs/injector.md").unwrap_or_else(|problems| panic!("{problems}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    }

    #[test]
    fn every_problem_of_the_file_is_told_with_its_line() {
        let text = "bind: 8443\nimagee: x y\nimage: x y\ncertificate: { managed: { secret: S, namespace: n, service: v, webhook: w }, files: {} }\n\
                    native_sidecars: maybe\ndefaults:\n  port: 0\n  upstream: api.bentley.com\n  mode: reversed\n  resources: { limits: { memory: 64MB } }\n";
        let problems = read(text, "injector.yaml").unwrap_err();
        let lines: Vec<String> = problems
            .iter()
            .map(|p| {
                let place = p.origin.as_ref().map(ToString::to_string);
                format!("{} {}", p.path, place.unwrap_or_default())
            })
            .collect();
        for expected in [
            "bind injector.yaml:1:7",
            "imagee injector.yaml:2:1",
            "image injector.yaml:3:8",
            "certificate injector.yaml:4:1",
            "certificate.managed.secret injector.yaml:4:35",
            "native_sidecars injector.yaml:5:18",
            "defaults.port injector.yaml:7:9",
            "defaults.upstream injector.yaml:8:13",
            "defaults.mode injector.yaml:9:9",
            "defaults.resources.limits.memory injector.yaml:10:34",
        ] {
            let found = lines
                .iter()
                .any(|line| line.trim_end() == expected.trim_end());
            assert!(found, "{expected}: {lines:#?}\n{problems}");
        }
    }
}
