//! Listeners that take the place of services, and what that asks of the rest.

use std::collections::BTreeMap;

use super::{
    super::{
        ClientTls, Interception, Listener, Mode, Name, OwnEndpoints, Route, ServerTls, path::Path,
        raw,
    },
    Check,
    route::{Credentials, Numbered},
};

/// Whether a host pattern has anything of another.
fn alike(one: &str, other: &str) -> bool {
    let within = |pattern: &str, name: &str| {
        pattern
            .strip_prefix('*')
            .is_some_and(|end| name.ends_with(end))
    };
    one == other || within(one, other) || within(other, one)
}

impl Check<'_> {
    /// Minted certificates need an authority, and a listener that serves what is sent there.
    pub(super) fn minted(&mut self, raw: &raw::Raw, listeners: &[Listener]) {
        let path = Path::root().key("listeners");
        for (n, listener) in listeners.iter().enumerate() {
            if listener.tls != Some(ServerTls::Minted) {
                continue;
            }
            let at = path.index(n).key("tls").key("minted");
            if raw.interception.is_none() {
                let hint = "interception says for which hosts, and by which authority; itwin-auth-proxy ca init makes one";
                self.error(&at, "there is no interception", hint);
            }
            if listener.mode != Mode::Reverse {
                let hint = "minted certificates are for listeners that take the place of a service";
                self.error(&at, "the listener's mode is not reverse", hint);
            }
        }
    }

    /// What callers that name hosts of others send to an opened one needs a route that names it.
    pub(super) fn opened_and_served(
        &mut self,
        listeners: &[Listener],
        interception: &Interception,
        own: &OwnEndpoints,
        routes: &[Numbered],
    ) {
        if !listeners.iter().any(|one| one.mode.names_others()) {
            return;
        }
        for (n, host) in interception.hosts.iter().enumerate() {
            let serves = |route: &Route| {
                let upstream = route.upstream.as_ref();
                if route.matches.hosts.is_empty() {
                    return upstream.is_some_and(|to| to.origin.host == *host);
                }
                route.matches.hosts.iter().any(|one| alike(one, host))
            };
            let stands_in = |hosts: &[String]| hosts.iter().any(|one| alike(one, host));
            let ours = own.authorities.iter().any(|one| stands_in(&one.hosts))
                || own.url_discovery.iter().any(|one| stands_in(&one.hosts));
            if !ours && !routes.iter().any(|one| serves(&one.route)) {
                self.warn(
                    &Path::root().key("interception").key("hosts").index(n),
                    format!("connections to {host} are opened, and no route serves it: what is asked there is answered 404"),
                    format!("write hosts: [{host}] at the route that is for it: one without hosts is for its upstream's own host there; or leave the host out"),
                );
            }
        }
    }

    /// Where a listener takes the place of a host, the host's name leads to it, often for us too.
    pub(super) fn found_elsewhere(
        &mut self,
        listeners: &[Listener],
        interception: &Interception,
        credentials: &Credentials,
        routes: &[Numbered],
    ) {
        if listeners
            .iter()
            .all(|one| one.tls != Some(ServerTls::Minted))
        {
            return;
        }
        let asks_system = |tls: &ClientTls| tls.addresses.is_empty() && tls.name_servers.is_empty();
        let hint =
            "write tls.addresses or tls.name_servers there, so that it is found where it really is";
        let root = Path::root();
        for numbered in routes {
            let Some(upstream) = &numbered.route.upstream else {
                continue;
            };
            if interception.opens(&upstream.origin.host) && asks_system(&upstream.tls) {
                let at = root.key("routes").index(numbered.index).key("upstream");
                let text = format!(
                    "a listener takes the place of {}: its name may lead back to us",
                    upstream.origin.host
                );
                self.warn(&at, text, hint);
            }
        }
        let providers = credentials.values().map(|credential| &credential.provider);
        let providers: BTreeMap<&Name, _> = providers.map(|one| (&one.name, one)).collect();
        for (name, provider) in providers {
            let host = provider.issuer.host_str().unwrap_or_default();
            if interception.opens(host) && asks_system(&provider.tls) {
                let at = root.key("providers").key(name).key("tls");
                let text =
                    format!("a listener takes the place of {host}: its name may lead back to us");
                self.warn(&at, text, hint);
            }
        }
    }
}
