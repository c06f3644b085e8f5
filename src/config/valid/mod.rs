//! From what was written to values that cannot be wrong.
//!
//! Every check reports what it finds and goes on, so that all problems are seen at once; the
//! values come out only when there is none. A check that needs something which an earlier one
//! found wrong stays silent.

mod across;
mod admin;
mod admit;
mod assertion;
mod audit;
mod bearer;
mod bound;
mod client_auth;
mod credential;
mod files;
mod guarded;
mod identity;
mod inject;
mod injector;
mod interception;
mod introspection;
mod listener;
mod login;
mod own;
mod passage;
mod provider;
mod revocation;
mod route;
mod scalar;
mod session;
mod settings;
mod takeover;
mod telemetry;
mod upstream;

use std::sync::Arc;

pub(super) use self::{injector::injector, scalar::format_size};
use super::{
    Admin, Config, Log, PlannedAuthority,
    path::Path,
    problem::{Place, Problem, Problems, Severity},
    raw::{self, Raw},
    source::Environment,
    tree::Node,
};

/// What checks look at, and where they report.
struct Check<'a> {
    tree: &'a Node,
    environment: &'a Environment,
    problems: &'a mut Problems,
    purpose: Purpose,
    /// Those that have been checked; rules name them.
    sessions: session::Sessions,
}

/// What the listeners are for, together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Forwards,
    /// Routes need no upstream.
    OnlyDecides,
}

/// The configuration, if nothing is wrong with it.
pub(super) fn check(
    raw: &Raw,
    tree: &Node,
    environment: &Environment,
    problems: &mut Problems,
) -> Option<Config> {
    let mut check = Check {
        tree,
        environment,
        problems,
        purpose: Purpose::Forwards,
        sessions: session::Sessions::new(),
    };
    let decides = |listener: &raw::Listener| listener.mode.as_deref() == Some(listener::DECIDE);
    if !raw.listeners.is_empty() && raw.listeners.iter().all(decides) {
        check.purpose = Purpose::OnlyDecides;
    }
    let root = Path::root();
    let providers = check.providers(&raw.providers);
    let credentials = check.credentials(&raw.credentials, &providers);
    check.sessions = check.sessions(&raw.sessions, &credentials);
    let listeners = check.listeners(&raw.listeners, &providers);
    let routes = check.routes(&raw.routes, &credentials, &providers);
    let admin = check.admin(raw.admin.as_ref());
    let admin_key = check.admin_key(raw.admin.as_ref(), admin);
    let admin_socket = check.admin_socket(raw, &listeners);
    check.minted(raw, &listeners);
    check.listeners_apart(&listeners, admin);
    check.nobody_else_injects(raw, &listeners, &routes);
    check.every_route_can_match(&listeners, &routes);
    check.guarded_routes(raw, &listeners, &routes);
    check.identity_apart_from_keys(&routes);
    check.people(&routes);
    let own = check.own_endpoints(raw, &credentials, &providers, &listeners, &routes);
    let revocation = check.revocation(raw.revocation.as_ref(), &providers, &routes);
    let signing = check.signing(raw.signing.as_ref(), &routes);
    let ours = signing.as_ref().and_then(|signing| signing.path.as_ref());
    let logout = revocation.logout.as_ref();
    if logout.is_some_and(|logout| ours == Some(&logout.path)) {
        check.error(
            &root.key("signing").key("path"),
            "revocation.backchannel_logout has the same path",
            "",
        );
    }
    let interception = check.interception(raw.interception.as_ref());
    if let Some(interception) = &interception {
        check.found_elsewhere(&listeners, interception, &credentials, &routes);
        check.opened_and_served(&listeners, interception, &own, &routes);
    }
    let limits = check.limits(raw.limits.as_ref(), &listeners);
    let help = check.help(raw.errors.as_ref());
    let log = check.log(raw.log.as_ref());
    let telemetry = check.telemetry(raw.telemetry.as_ref());
    let audit = check.audit(raw.audit.as_ref());
    let token_store = check.token_store(raw.token_store.as_ref());
    let handover_socket = check.handover_socket(raw.handover_socket.as_deref(), &listeners);
    let trusted_proxies = check.trusted_proxies(raw.trusted_proxies.as_ref());
    if check.problems.errors() > 0 {
        return None;
    }
    Some(Config {
        providers: provider::used(providers, &credentials, &routes),
        credentials,
        sessions: std::mem::take(&mut check.sessions),
        listeners: listeners.into_iter().map(Arc::new).collect(),
        routes: routes.into_iter().map(|numbered| numbered.route).collect(),
        own,
        signing,
        limits,
        admin,
        admin_key,
        admin_socket,
        admin_allow_quit: raw
            .admin
            .as_ref()
            .and_then(|admin| admin.allow_quit)
            .unwrap_or(false),
        help,
        log,
        telemetry,
        audit,
        token_store,
        workers: raw
            .workers
            .and_then(|n| std::num::NonZeroUsize::new(usize::try_from(n).ok()?)),
        reload_watch: raw
            .reload
            .as_ref()
            .and_then(|reload| reload.watch)
            .unwrap_or(true),
        handover_socket,
        trusted_proxies,
        revocation,
        interception,
    })
}

/// Where the admin listener is, whatever else is wrong.
pub(super) fn admin_alone(raw: &Raw, tree: &Node, environment: &Environment) -> Admin {
    let mut check = Check {
        tree,
        environment,
        problems: &mut Problems::default(),
        purpose: Purpose::Forwards,
        sessions: session::Sessions::new(),
    };
    let address = check.admin(raw.admin.as_ref());
    Admin {
        address,
        key: check.admin_key(raw.admin.as_ref(), address),
        socket: check.admin_socket(raw, &[]),
    }
}

/// How is logged, whatever else is wrong; nothing where that is.
pub(super) fn log_alone(raw: &Raw, tree: &Node, environment: &Environment) -> Option<Log> {
    let mut problems = Problems::default();
    let mut check = Check {
        tree,
        environment,
        problems: &mut problems,
        purpose: Purpose::Forwards,
        sessions: session::Sessions::new(),
    };
    let log = check.log(raw.log.as_ref());
    (problems.errors() == 0).then_some(log)
}

/// What is said of the interception's authority, whose files need not be there; only problems of
/// that part count.
pub(super) fn planned_authority(
    raw: &Raw,
    tree: &Node,
    environment: &Environment,
    mut problems: Problems,
) -> Result<Option<PlannedAuthority>, Problems> {
    let planned = raw.interception.as_ref().map(|raw| {
        let mut check = Check {
            tree,
            environment,
            problems: &mut problems,
            purpose: Purpose::Forwards,
            sessions: session::Sessions::new(),
        };
        check.planned_authority(raw)
    });
    let mut ours = Problems::default();
    let interception = Path::root().key("interception").to_string();
    for problem in problems.iter() {
        if problem.severity == Severity::Error && problem.path.starts_with(&interception) {
            ours.push(problem.clone());
        }
    }
    if ours.is_empty() {
        return Ok(planned.flatten());
    }
    Err(ours)
}

impl Check<'_> {
    fn error(&mut self, path: &Path, text: impl Into<String>, hint: impl Into<String>) {
        self.report(Severity::Error, path, text.into(), hint.into());
    }

    fn warn(&mut self, path: &Path, text: impl Into<String>, hint: impl Into<String>) {
        self.report(Severity::Warning, path, text.into(), hint.into());
    }

    /// Reports something that is absent below `path`, unless something is known to be wrong there
    /// already: a misspelt key would otherwise be told twice.
    fn missing(&mut self, path: &Path, text: impl Into<String>, hint: impl Into<String>) {
        if !self.problems.touches(&self.tree.written_path(path)) {
            self.error(path, text, hint);
        }
    }

    fn report(&mut self, severity: Severity, path: &Path, text: String, hint: String) {
        let origin = self.place(path);
        self.problems.push(Problem {
            severity,
            path: self.tree.written_path(path).to_string(),
            origin,
            text,
            hint: Some(hint).filter(|hint| !hint.is_empty()),
        });
    }

    fn place(&self, path: &Path) -> Option<Place> {
        self.tree.place_of(path)
    }

    /// A name that may stand in logs, metrics and variables.
    fn name(&mut self, path: &Path, name: &str) {
        let good = !name.is_empty()
            && name.len() <= 64
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if !good {
            self.error(
                path,
                "this name cannot be used",
                "a name has up to 64 letters, digits, '.', '_' and '-', and begins with a letter or digit",
            );
        }
    }
}
