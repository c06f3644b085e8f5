//! Listeners that take the place of services, and what that asks of the rest.

use std::collections::BTreeMap;

use super::{
    super::{ClientTls, Interception, Listener, Mode, Name, ServerTls, path::Path, raw},
    Check,
    route::{Credentials, Numbered},
};

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
