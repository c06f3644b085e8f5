//! Configurations of routes that ask for callers' tokens which look safe and may not be.

use super::{
    super::{
        Admit, AdmitRule, Bound, CallersToken, Listener, Mode, Offered, Provider, Route,
        TokenRules, path::Path, raw::Raw,
    },
    Check, Purpose,
    provider::preset_of,
    route::Numbered,
};

/// Bentley IMS writes these into every token, whatever it is for.
const EVERY_TOKENS: [&str; 2] = ["/as/token.oauth2", "/resources"];

impl Check<'_> {
    pub(super) fn guarded_routes(
        &mut self,
        raw: &Raw,
        listeners: &[Listener],
        routes: &[Numbered],
    ) {
        if !routes
            .iter()
            .any(|one| bearers(&one.route).next().is_some())
        {
            return;
        }
        for one in routes {
            let path = Path::root().key("routes").index(one.index);
            let written = raw.routes.get(one.index);
            let unsaid = written.is_some_and(|written| written.admit.is_none());
            if unsaid && matches!(one.route.admit, Admit::Anyone) {
                self.warn(
                    &path,
                    "anyone may use this route, although others ask for tokens",
                    "give it an admit of its own; write admit: anyone if that is meant",
                );
            }
            self.guarded(&path, &one.route);
        }
        if self.purpose == Purpose::Forwards
            && listeners
                .iter()
                .any(|listener| listener.mode != Mode::Reverse)
            && let Some(one) = routes.iter().find(|one| changes_token(&one.route))
        {
            let path = Path::root().key("routes").index(one.index);
            self.warn(
                &path.key("identity").key("token"),
                "holds for requests that pass through only: a gateway that asks sends the caller's token on itself",
                "let the gateway remove Authorization",
            );
        }
        let in_the_clear =
            |listener: &Listener| !listener.bind.is_local() && listener.tls.is_none();
        let found = listeners.iter().position(in_the_clear);
        if let (Some(n), None) = (found, &raw.trusted_proxies) {
            self.warn(
                &Path::root().key("listeners").index(n),
                "callers' tokens pass over the network unencrypted",
                "give the listener tls; or say in trusted_proxies which proxy in front of it has it",
            );
        }
    }

    fn guarded(&mut self, path: &Path, route: &Route) {
        let mut asked: Vec<&Provider> = Vec::new();
        for (n, provider, rules) in bearers(route) {
            let path = path.key("admit").index(n).key("bearer");
            let every = |audience: &&String| {
                EVERY_TOKENS.iter().any(|end| audience.ends_with(end))
                    && preset_of(provider).is_some()
            };
            if let Some(audience) = rules.audiences.iter().find(every) {
                self.warn(
                    &path.key("audiences"),
                    format!(
                        "{audience} is in every token of {}: any service's opens this one",
                        provider.name
                    ),
                    "name what stands for this service, such as bentley-api-management",
                );
            }
            let proofs = rules.proofs.offered == Offered::Yes || rules.bound == Bound::Required;
            if proofs && route.matches.hosts.is_empty() && route.resource.is_none() {
                self.warn(
                    &path,
                    "DPoP proofs are compared with whatever host the caller names, so that one made for another service would do",
                    "give the route its resource, or hosts",
                );
            }
            if provider.introspection.is_some() && asked.iter().all(|p| p.name != provider.name) {
                asked.push(provider);
            }
        }
        if let [first, second, ..] = asked.as_slice() {
            self.warn(
                &path.key("admit"),
                format!(
                    "opaque tokens of {} are shown to {} first",
                    second.name, first.name
                ),
                "give each provider routes of its own, unless they may know each other's tokens",
            );
        }
        if self.purpose == Purpose::OnlyDecides && changes_token(route) {
            self.error(
                &path.key("identity").key("token"),
                "has no effect: a gateway that only asks sends the caller's token on itself",
                "let the gateway remove Authorization",
            );
        }
    }
}

/// Whether the service gets another token than the caller's own, or none.
fn changes_token(route: &Route) -> bool {
    let identity = route.identity.as_ref();
    identity.is_some_and(|identity| identity.token != CallersToken::Kept)
}

fn bearers(route: &Route) -> impl Iterator<Item = (usize, &Provider, &TokenRules)> {
    let rules = match &route.admit {
        Admit::Rules(rules) => rules.as_slice(),
        Admit::Local | Admit::Anyone => &[],
    };
    rules.iter().enumerate().filter_map(|(n, rule)| match rule {
        AdmitRule::Bearer { provider, rules } => Some((n, &**provider, &**rules)),
        _ => None,
    })
}
