//! What only shows when listeners and routes are seen together.

use super::{
    super::{
        Admit, AdmitRule, Bind, ClientCertificates, Glob, Listener, Match, Passage, path::Path,
        raw::Raw, tree::Node,
    },
    Check, Purpose,
    route::Numbered,
};

impl Check<'_> {
    /// Whoever can reach an injecting route *is* the service: on a listener that others than this
    /// machine reach, somebody must have said who may.
    pub(super) fn nobody_else_injects(
        &mut self,
        raw: &Raw,
        listeners: &[Listener],
        routes: &[Numbered],
    ) {
        // also of routes that something else is wrong with
        let mut open: Vec<String> = Vec::new();
        for (n, written) in raw.routes.iter().enumerate() {
            let checked = routes.iter().find(|route| route.index == n);
            let lends = |route: &Numbered| {
                let upstream = route.route.upstream.as_ref();
                upstream.is_some_and(|upstream| upstream.tls.identity.is_some())
            };
            if written.admit.is_none() && (written.inject.is_some() || checked.is_some_and(lends)) {
                let name = written.name.clone();
                open.push(name.unwrap_or_else(|| format!("route-{}", n + 1)));
            }
        }
        let none = self.tree.get("routes").is_some_and(Node::is_empty_list);
        if raw.routes.is_empty() && !none && (!routes.is_empty() || raw.credentials.len() == 1) {
            open.push("the default route".into());
        }
        if open.is_empty() {
            return;
        }
        for (n, listener) in listeners.iter().enumerate() {
            // a decision lends nobody a token, and a listener's own rules hold for its callers
            let guarded = match &listener.passage {
                Some(passage) => matches!(passage.admit, Admit::Local | Admit::Rules(_)),
                None => listener.mode.decides(),
            };
            if listener.bind.is_local() || guarded {
                continue;
            }
            let port = match &listener.bind {
                Bind::Tcp(address) => address.port(),
                Bind::Unix { .. } => continue,
            };
            self.error(
                &Path::root().key("listeners").index(n).key("bind"),
                format!(
                    "whoever reaches {} could act as the service: nothing says who may use {}",
                    listener.bind,
                    open.join(", ")
                ),
                format!(
                    "say who may use the route: admit: {{networks: [10.0.0.0/8]}}, admit: {{key: {{secret_file: …}}}}, \
                     admit: {{certificate: {{}}}} with tls.client_ca on the listener, or admit: anyone; \
                     or bind 127.0.0.1:{port} or a Unix socket"
                ),
            );
        }
    }

    /// No route is hidden by an earlier one, and each admits somebody who can come.
    pub(super) fn every_route_can_match(&mut self, listeners: &[Listener], routes: &[Numbered]) {
        let path = Path::root().key("routes");
        let known = !listeners.is_empty() && !self.problems.touches(&Path::root().key("listeners"));
        for (n, Numbered { index, route }) in routes.iter().enumerate() {
            let path = path.index(*index);
            let earlier = routes[..n]
                .iter()
                .find(|earlier| covers(&earlier.route.matches, &route.matches));
            if let Some(earlier) = earlier {
                let (at, name) = (earlier.index, &earlier.route.name);
                self.error(
                    &path,
                    format!(
                        "can never match: routes[{at}] ({name}) is asked first and takes all of it"
                    ),
                    "put the narrower route first",
                );
            }
            if known {
                self.can_be_admitted(&path.key("admit"), listeners, &route.admit);
            }
        }
    }

    pub(super) fn can_be_admitted(&mut self, path: &Path, listeners: &[Listener], admit: &Admit) {
        // of a gateway's questions, nothing about the connection is the caller's
        let direct = |listener: &&Listener| !listener.mode.decides();
        let any = |fits: fn(&Listener) -> bool| listeners.iter().filter(direct).any(fits);
        let rules = match admit {
            Admit::Anyone => return,
            Admit::Local => {
                if !any(is_for_this_machine) && self.place(path).is_some_and(|_| self.written(path))
                {
                    self.error(
                        path,
                        "admits nobody: every listener can be reached by others than this machine",
                        "add a listener on 127.0.0.1, or say who else may",
                    );
                }
                return;
            }
            Admit::Rules(rules) => rules,
        };
        for (n, rule) in rules.iter().enumerate() {
            let path = path.index(n);
            match rule {
                AdmitRule::Certificate { .. } | AdmitRule::Uids(_) | AdmitRule::Networks(_)
                    if self.purpose == Purpose::OnlyDecides =>
                {
                    self.error(
                        &path,
                        "admits nobody: the connection of a gateway that asks says nothing about the caller",
                        "use a bearer or key rule, which look at the request",
                    );
                }
                AdmitRule::ProxyUser(_) => self.error(
                    &path,
                    "a route does not ask for it: it belongs to a listener of the mode forward",
                    "write it at listeners[].admit; a route with admit: local takes whom that admits",
                ),
                AdmitRule::Certificate { .. } if !any(asks_for_certificates) => {
                    self.error(
                        &path,
                        "admits nobody: no listener asks callers for a certificate",
                        "give a listener tls with a client_ca",
                    );
                }
                AdmitRule::Uids(_)
                    if !any(|listener| matches!(listener.bind, Bind::Unix { .. })) =>
                {
                    self.error(
                        &path,
                        "admits nobody: only a Unix socket tells the caller's user",
                        "add a listener such as unix:/run/itwin-auth-proxy/proxy.sock",
                    );
                }
                AdmitRule::Networks(_)
                    if !any(|listener| matches!(listener.bind, Bind::Tcp(_))) =>
                {
                    self.error(
                        &path,
                        "admits nobody: callers of a Unix socket have no address",
                        "use uids",
                    );
                }
                AdmitRule::Key(_)
                    if any(|listener| !listener.bind.is_local() && listener.tls.is_none()) =>
                {
                    self.warn(
                        &path,
                        "the key passes over the network unencrypted",
                        "give the listener tls",
                    );
                }
                _ => {}
            }
        }
    }

    fn written(&self, path: &Path) -> bool {
        let above = path.first(path.steps().len().saturating_sub(1));
        self.place(path) != self.place(&above)
    }
}

/// Or for whom it knows as well.
fn is_for_this_machine(listener: &Listener) -> bool {
    let rules = |passage: &Passage| matches!(passage.admit, Admit::Rules(_));
    listener.bind.is_local() || listener.passage.as_ref().is_some_and(rules)
}

fn asks_for_certificates(listener: &Listener) -> bool {
    listener
        .tls
        .as_ref()
        .is_some_and(|tls| match tls.clients() {
            ClientCertificates::Optional { .. } | ClientCertificates::Required { .. } => true,
            // they admit nobody
            ClientCertificates::None | ClientCertificates::Any => false,
        })
}

/// Whether `one` matches everything that `other` matches. `false` when that cannot be told.
fn covers(one: &Match, other: &Match) -> bool {
    let hosts = one.hosts.is_empty()
        || !other.hosts.is_empty()
            && other
                .hosts
                .iter()
                .all(|host| one.hosts.iter().any(|pattern| host_covers(pattern, host)));
    let methods = one.methods.is_empty()
        || !other.methods.is_empty() && other.methods.is_subset(&one.methods);
    hosts && methods && path_covers(&one.path, &other.path)
}

fn host_covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => host.strip_prefix('*').unwrap_or(host).ends_with(end) && host != &end[1..],
        None => pattern == host,
    }
}

fn path_covers(one: &Glob, other: &Glob) -> bool {
    let segments =
        |glob: &Glob| -> Vec<String> { glob.as_str()[1..].split('/').map(str::to_owned).collect() };
    let (one, other) = (segments(one), segments(other));
    let (deep, fixed) = match one.split_last() {
        Some((last, before)) if last == "**" => (true, before),
        _ => (false, one.as_slice()),
    };
    if !deep && (fixed.len() != other.len() || other.last().is_some_and(|last| last == "**")) {
        return false;
    }
    fixed.len() <= other.len()
        && fixed
            .iter()
            .zip(&other)
            .all(|(one, other)| other != "**" && segment_covers(one.as_bytes(), other.as_bytes()))
}

/// Whether a segment's pattern matches all that another matches: a `*` of the other is taken for a
/// character that only a `*` matches.
fn segment_covers(one: &[u8], other: &[u8]) -> bool {
    match (one.split_first(), other.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) if one.len() == 1 => {
            let _ = rest;
            !other.is_empty() // whether a lone '*' matches nothing is left to the router
        }
        (Some((b'*', rest)), None) => segment_covers(rest, other),
        (Some((b'*', rest)), Some((_, below))) => {
            segment_covers(rest, other) || segment_covers(one, below)
        }
        (Some((a, rest)), Some((b, below))) => a == b && *b != b'*' && segment_covers(rest, below),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_it_matches_whole() {
        for (one, other, expected) in [
            ("/**", "/imodels/**", true),
            ("/**", "/", true),
            ("/imodels/**", "/imodels", true),
            ("/imodels/**", "/imodels/*/changesets", true),
            ("/imodels/**", "/imodels2", false),
            ("/imodels/*", "/imodels/abc", true),
            ("/imodels/*", "/imodels/a/b", false),
            ("/imodels/*", "/imodels/**", false),
            ("/imodels/*/x", "/imodels/*/x", true),
            ("/a*", "/ab*", true),
            ("/ab*", "/a*", false),
            ("/*a", "/*ba", true),
            ("/imodels/**", "/**", false),
            ("/imodels", "/imodels", true),
        ] {
            let (one, other) = (Glob::parse(one).unwrap(), Glob::parse(other).unwrap());
            assert_eq!(path_covers(&one, &other), expected, "{one} {other}");
        }
        for (one, other, expected) in [
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "*.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "badexample.com", false),
            ("a.example.com", "*.example.com", false),
        ] {
            assert_eq!(host_covers(one, other), expected, "{one} {other}");
        }
    }
}
