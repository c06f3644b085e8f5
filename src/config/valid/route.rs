//! Routes: what they match, what they inject, where they go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    super::{
        ActsFor, Admit, Credential, Glob, Match, Name, Route, Upstream,
        path::Path,
        problem::{nearest, shown},
        raw::{self, Words},
        tree::Node,
    },
    Check, Purpose,
    provider::Providers,
};

/// Registered methods that are used; others are allowed, but more likely misspelt.
const METHODS: [&str; 16] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "COPY",
    "LOCK",
    "MKCOL",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "UNLOCK",
    "REPORT",
];

pub(super) type Credentials = BTreeMap<Name, Arc<Credential>>;

/// A route and the index at which it was written: those with problems are left out.
pub(super) struct Numbered {
    pub(super) index: usize,
    pub(super) route: Arc<Route>,
}

impl Check<'_> {
    pub(super) fn routes(
        &mut self,
        written: &[raw::Route],
        credentials: &Credentials,
        providers: &Providers,
    ) -> Vec<Numbered> {
        let path = Path::root().key("routes");
        let mut upstreams = Vec::new();
        if written.is_empty() {
            return self
                .default_route(&path, credentials, providers, &mut upstreams)
                .into_iter()
                .collect();
        }
        let mut names = BTreeMap::new();
        let mut routes = Vec::new();
        for (n, raw) in written.iter().enumerate() {
            let path = path.index(n);
            let name = raw
                .name
                .clone()
                .unwrap_or_else(|| format!("route-{}", n + 1));
            self.name(&path.key("name"), &name);
            if let Some(first) = names.insert(name.clone(), n) {
                self.error(
                    &path.key("name"),
                    format!("routes[{first}] has the same name"),
                    "",
                );
            }
            let route = self.route(&path, &name, raw, credentials, providers, &mut upstreams);
            routes.extend(route.map(|route| Numbered {
                index: n,
                route: Arc::new(route),
            }));
        }
        routes
    }

    /// The route that is meant when there is one credential and nothing else is said.
    fn default_route(
        &mut self,
        path: &Path,
        credentials: &Credentials,
        providers: &Providers,
        upstreams: &mut Vec<Arc<Upstream>>,
    ) -> Option<Numbered> {
        if self.tree.get("routes").is_some_and(Node::is_empty_list) {
            // endpoints of our own are enough
            let own = ["authorities", "url_discovery", "token_requests"];
            if own.iter().all(|key| self.tree.get(key).is_none()) {
                self.missing_route(path);
            }
            return None;
        }
        let mut names = credentials.keys();
        let (Some(only), None) = (names.next(), names.next()) else {
            self.missing_route(path);
            return None;
        };
        let raw = raw::Route {
            inject: Some(raw::Inject {
                credential: Some(only.to_string()),
                ..raw::Inject::default()
            }),
            ..raw::Route::default()
        };
        let path = path.index(0);
        let route = self.route(&path, "route-1", &raw, credentials, providers, upstreams)?;
        Some(Numbered {
            index: 0,
            route: Arc::new(route),
        })
    }

    fn missing_route(&mut self, path: &Path) {
        let declared = self.tree.get("credentials").map(Node::keys);
        let unwritten = self.tree.get("routes").is_none();
        if unwritten && declared.is_some_and(|names| names.len() == 1) {
            return; // there is something wrong with it; put right, it has a default route
        }
        self.missing(
            path,
            "there is no route, so that no call could be served",
            "a route says what goes where: routes: [{upstream: https://api.bentley.com, inject: agent}]",
        );
    }

    fn route(
        &mut self,
        path: &Path,
        name: &str,
        raw: &raw::Route,
        credentials: &Credentials,
        providers: &Providers,
        upstreams: &mut Vec<Arc<Upstream>>,
    ) -> Option<Route> {
        let matches = self.matches(path, raw);
        let inject = raw
            .inject
            .as_ref()
            .map(|inject| self.inject(&path.key("inject"), inject, credentials));
        let injects = inject.is_some();
        let inject = inject.flatten();
        let goes_nowhere = self.purpose == Purpose::OnlyDecides && raw.upstream.is_none();
        let upstream = if goes_nowhere {
            None
        } else {
            self.upstream(path, raw.upstream.as_ref(), inject.as_ref(), injects)
        };
        let lends_identity = injects
            || upstream
                .as_ref()
                .is_some_and(|upstream| upstream.tls.identity.is_some());
        let otherwise = if lends_identity {
            Admit::Local
        } else {
            Admit::Anyone
        };
        let admit = self.admit(&path.key("admit"), raw.admit.as_ref(), otherwise, providers);
        match (&inject, &admit) {
            (Some(inject), Some(Admit::Rules(rules))) => {
                self.takes_what_it_asks_for(path, inject, rules);
            }
            (Some(inject), Some(_)) if inject.acts_for == ActsFor::Caller => {
                self.has_callers_tokens(path, &[]);
            }
            _ => {}
        }
        let identity = self.caller_identity(
            &path.key("identity"),
            raw.identity.as_ref(),
            admit.as_ref(),
            injects,
            upstream.as_ref(),
        );
        let callers_token = raw.identity.as_ref().and_then(|one| one.token.as_ref());
        let exchange = self.exchange(
            &path.key("identity").key("token"),
            callers_token,
            credentials,
            admit.as_ref(),
            injects,
        );
        let resource = raw.resource.as_deref();
        let resource = resource.and_then(|url| self.resource(&path.key("resource"), url));
        if let (Some(_), Some(admit)) = (&raw.resource, &admit) {
            self.resource_asks_for_tokens(&path.key("resource"), admit);
        }
        let links = self.links(&path.key("links"), raw.links.as_ref());
        let timeouts = self.route_timeouts(&path.key("timeouts"), raw.timeouts.as_ref());
        let replay = self.replay(&path.key("replay"), raw.replay.as_ref());
        if injects && self.purpose == Purpose::OnlyDecides {
            let hint = "a decision carries no token of ours: leave inject out, or add a listener of the mode reverse";
            self.error(
                &path.key("inject"),
                "has no effect: every listener only decides",
                hint,
            );
        }
        if (injects && inject.is_none()) || (upstream.is_none() && !goes_nowhere) {
            return None;
        }
        if let (Some(inject), Some(upstream)) = (&inject, &upstream) {
            let at = path.key("upstream").key("url");
            self.same_environment(&at, &inject.credential.provider, &upstream.origin);
            if !upstream.origin.https && !is_local_host(&upstream.origin.host) {
                self.warn(
                    &at,
                    "the token passes over this connection unencrypted",
                    "use https, or an upstream on this machine",
                );
            }
        }
        // equal upstreams share their connections
        let upstream = upstream.map(|upstream| {
            let known = upstreams.iter().find(|known| ***known == upstream).cloned();
            known.unwrap_or_else(|| {
                let upstream = Arc::new(upstream);
                upstreams.push(Arc::clone(&upstream));
                upstream
            })
        });
        Some(Route {
            name: name.into(),
            matches: matches?,
            admit: admit?,
            resource,
            inject,
            exchange,
            identity,
            upstream,
            links: links?,
            refuse_login_pages: raw.refuse_login_pages.unwrap_or(injects),
            timeouts,
            replay,
        })
    }

    fn matches(&mut self, path: &Path, raw: &raw::Route) -> Option<Match> {
        let hosts = self.each(&path.key("hosts"), raw.hosts.as_ref(), Self::host);
        let methods = self.each(&path.key("methods"), raw.methods.as_ref(), Self::method);
        let glob_path = path.key("path");
        let glob = match raw.path.as_deref().map(Glob::parse) {
            None => Some(Glob::default()),
            Some(Ok(glob)) => Some(glob),
            Some(Err(error)) => {
                self.error(
                    &glob_path,
                    error.to_string(),
                    "'*' stands for anything within a segment, '/**' at the end for all the rest",
                );
                None
            }
        };
        Some(Match {
            hosts: hosts?,
            path: glob?,
            methods: with_head(methods?.into_iter().collect()),
        })
    }

    /// Checks each word; nothing when one is wrong. An empty list is wrong as well: it looks like
    /// "none", but would mean "any".
    pub(super) fn each(
        &mut self,
        path: &Path,
        words: Option<&Words>,
        check: fn(&mut Self, &Path, &str) -> Option<String>,
    ) -> Option<Vec<String>> {
        let Some(words) = words else {
            return Some(Vec::new());
        };
        if words.0.is_empty() {
            self.missing(path, "the list is empty", "leave it out to match any");
            return None;
        }
        let checked: Vec<Option<String>> = words
            .0
            .iter()
            .enumerate()
            .map(|(n, word)| check(self, &path.index(n), word))
            .collect();
        checked.into_iter().collect()
    }

    pub(super) fn host(&mut self, path: &Path, written: &str) -> Option<String> {
        let lower = written.to_ascii_lowercase();
        let (wildcard, name) = match lower.strip_prefix("*.") {
            Some(name) => ("*.", name),
            None => ("", lower.as_str()),
        };
        let hint = if name.contains("://") || name.contains('/') {
            "write the host only: scheme and path do not belong here"
        } else if name
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
            && !name.contains("::")
        {
            "write the host without its port"
        } else {
            "'*.' may stand at the beginning, for one or more labels"
        };
        match url::Host::parse(name) {
            Ok(url::Host::Domain(name)) if !name.contains('*') => Some(format!("{wildcard}{name}")),
            Ok(url::Host::Ipv4(address)) if wildcard.is_empty() => Some(address.to_string()),
            Ok(url::Host::Ipv6(address)) if wildcard.is_empty() => Some(address.to_string()),
            _ => {
                self.error(
                    path,
                    format!("{} is not a host", shown(path, written)),
                    hint,
                );
                None
            }
        }
    }

    fn method(&mut self, path: &Path, written: &str) -> Option<String> {
        let upper = written.to_ascii_uppercase();
        if http::Method::from_bytes(upper.as_bytes()).is_err() || upper == "CONNECT" {
            let hint = if upper == "CONNECT" {
                "a listener of the mode forward takes it"
            } else {
                ""
            };
            self.error(
                path,
                format!(
                    "{} is not a method that a route can have",
                    shown(path, written)
                ),
                hint,
            );
            return None;
        }
        if !METHODS.contains(&upper.as_str())
            && let Some(meant) = nearest(&upper, METHODS)
        {
            self.warn(
                path,
                format!("{upper} is an unusual method"),
                format!("did you mean {meant}?"),
            );
        }
        Some(upper)
    }
}

/// HEAD asks for what GET would answer (RFC 9110 section 9.3.2).
fn with_head(mut methods: BTreeSet<String>) -> BTreeSet<String> {
    if methods.contains("GET") {
        methods.insert("HEAD".to_owned());
    }
    methods
}

fn is_local_host(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
