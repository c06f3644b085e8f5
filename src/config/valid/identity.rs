//! What a service learns of the caller.

use std::collections::BTreeMap;

use super::{
    super::{
        Admit, AdmitRule, CallerIdentity, CallersToken, IdentityHeader, Route, Says,
        path::Path,
        problem::shown,
        raw::{self, IdentityHeaders},
    },
    Check,
    route::Numbered,
};
use crate::config::valid::admit::TAKEN;

/// Longer names are mistakes.
const LONGEST_NAME: usize = 100;
/// More fields than this are no identity; each is looked at for each request.
const MOST_CLAIMS: usize = 32;

/// Fields, beside those that no key can be taken from, that mean something to services or proxies.
const STANDARD: [&str; 20] = [
    "age",
    "cache-control",
    "client-cert",
    "client-cert-chain",
    "date",
    "dpop",
    "etag",
    "forwarded",
    "from",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "referer",
    "set-cookie",
    "traceparent",
    "tracestate",
    "user-agent",
    "vary",
    "via",
];
/// The same, by how they begin.
const STANDARD_BEGINNINGS: [&str; 9] = [
    "accept",
    "access-control-",
    "content-",
    "if-",
    "proxy-",
    "sec-",
    "www-",
    "x-forwarded-",
    "x-real-",
];

impl Check<'_> {
    /// What is written, or what holds for a route that admits callers by their tokens and sends
    /// them on without one of ours.
    pub(super) fn caller_identity(
        &mut self,
        path: &Path,
        raw: Option<&raw::CallerIdentity>,
        admit: Option<&Admit>,
        injects: bool,
    ) -> Option<CallerIdentity> {
        let usual;
        let raw = match raw {
            Some(raw) => raw,
            None if !injects && admit.is_some_and(asks_for_tokens) => {
                usual = raw::CallerIdentity::default();
                &usual
            }
            None => return None,
        };
        Some(CallerIdentity {
            headers: self.identity_headers(&path.key("headers"), raw.headers.as_ref()),
            token: match &raw.token {
                Some(raw::CallersToken {
                    exchange: Some(_), ..
                }) => CallersToken::Exchanged,
                Some(raw::CallersToken {
                    goes: Some(raw::CallersTokenGoes::Remove),
                    ..
                }) => CallersToken::Removed,
                _ => CallersToken::Kept,
            },
        })
    }

    fn identity_headers(
        &mut self,
        path: &Path,
        raw: Option<&IdentityHeaders>,
    ) -> Vec<IdentityHeader> {
        let usual = IdentityHeaders::default();
        let raw = raw.unwrap_or(&usual);
        if raw.set == Some(false) {
            return Vec::new();
        }
        let mut headers = Vec::new();
        let mut known = BTreeMap::new();
        for (says, usual) in Says::USUAL {
            let (key, written) = match &says {
                Says::Caller => ("caller", &raw.caller),
                Says::Subject => ("subject", &raw.subject),
                Says::Client => ("client_id", &raw.client_id),
                Says::Issuer => ("issuer", &raw.issuer),
                Says::Scopes => ("scopes", &raw.scopes),
                Says::Email | Says::Claim(_) => ("email", &raw.email),
            };
            let name = written.as_deref().unwrap_or(usual);
            if name == "off" {
                continue;
            }
            self.identity_header(&path.key(key), name, &mut known);
            let name = name.to_owned();
            headers.push(IdentityHeader { name, says });
        }
        let claims = path.key("claims");
        if raw.claims.len() > MOST_CLAIMS {
            self.error(&claims, format!("names more than {MOST_CLAIMS} claims"), "");
        }
        for (claim, name) in &raw.claims {
            let at = claims.key(claim);
            if claim.is_empty() {
                self.error(&at, "a claim has a name", "");
            }
            self.identity_header(&at, name, &mut known);
            headers.push(IdentityHeader {
                name: name.clone(),
                says: Says::Claim(claim.clone()),
            });
        }
        headers
    }

    /// Checks a field's name; `known` are those of the route, by how a service could spell them.
    fn identity_header(&mut self, path: &Path, name: &str, known: &mut BTreeMap<String, Path>) {
        let lower = name.to_ascii_lowercase();
        let plain = spelt_plainly(&lower);
        let standard = TAKEN.contains(&&*plain)
            || STANDARD.contains(&&*plain)
            || STANDARD_BEGINNINGS.iter().any(|b| plain.starts_with(b));
        if http::HeaderName::from_bytes(lower.as_bytes()).is_err() || lower.len() > LONGEST_NAME {
            self.error(
                path,
                format!("{} is not a header's name", shown(path, name)),
                "",
            );
        } else if standard {
            self.error(
                path,
                format!("the header {lower} carries something else"),
                "use a header of its own, such as X-Itwin-Subject",
            );
        } else if let Some(first) = known.insert(plain, path.clone()) {
            self.error(
                path,
                format!("{lower} is, or could be taken for, what {first} is said with"),
                "each needs a header of its own",
            );
        }
    }

    /// No key is told by a field that says who the caller is, on whatever route.
    pub(super) fn identity_apart_from_keys(&mut self, routes: &[Numbered]) {
        let mut ours = BTreeMap::new();
        for Numbered { route, .. } in routes {
            for name in names(route) {
                let plain = spelt_plainly(&name.to_ascii_lowercase());
                ours.insert(plain, std::sync::Arc::clone(&route.name));
            }
        }
        for Numbered { index, route } in routes {
            let Admit::Rules(rules) = &route.admit else {
                continue;
            };
            for (n, rule) in rules.iter().enumerate() {
                let AdmitRule::Key(key) = rule else { continue };
                let Some(told) = ours.get(&spelt_plainly(&key.header)) else {
                    continue;
                };
                let path = Path::root().key("routes").index(*index);
                self.error(
                    &path.key("admit").index(n).key("key").key("header"),
                    format!(
                        "the header {} says who the caller is, on the route {told}",
                        key.header
                    ),
                    "use a header of its own, such as x-api-key",
                );
            }
        }
    }
}

fn names(route: &Route) -> impl Iterator<Item = &str> {
    let identity = route.identity.iter();
    identity.flat_map(|identity| identity.headers.iter().map(|header| header.name.as_str()))
}

fn asks_for_tokens(admit: &Admit) -> bool {
    matches!(admit, Admit::Rules(rules) if rules.iter().any(|rule| matches!(rule, AdmitRule::Bearer { .. })))
}

/// As a service could read it: many turn all that is no letter or digit into one character.
fn spelt_plainly(lower: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    lower.chars().map(plain).collect()
}
