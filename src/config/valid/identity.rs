//! What a service learns of the caller.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::{
        Admit, AdmitRule, CallerIdentity, CallersToken, Glob, IdentityHeader, IdentityJwt, Route,
        Says, Signing, Upstream,
        path::Path,
        problem::shown,
        raw::{self, IdentityHeaders},
    },
    Check,
    route::Numbered,
    scalar::{HOUR, MINUTE, SECOND},
};
use crate::config::valid::admit::TAKEN;

/// What a JWT for the service says by itself, and what would be taken for more than it is.
const RESERVED: [&str; 13] = [
    "act",
    "aud",
    "client_id",
    "cnf",
    "exp",
    "iat",
    "iss",
    "jti",
    "nbf",
    "scope",
    "sub",
    "subject_issuer",
    "typ",
];

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
        upstream: Option<&Upstream>,
    ) -> Option<CallerIdentity> {
        let usual;
        let raw = match raw {
            Some(raw) => raw,
            None if !injects && admit.is_some_and(knows_people) => {
                usual = raw::CallerIdentity::default();
                &usual
            }
            None => return None,
        };
        let mut known = BTreeMap::new();
        let headers = self.identity_headers(&path.key("headers"), raw.headers.as_ref(), &mut known);
        let at = path.key("jwt");
        let jwt = raw.jwt.as_ref();
        let jwt = jwt.map(|jwt| self.identity_jwt(&at, jwt, upstream, &mut known));
        if jwt.is_some() && admit.is_some_and(|admit| !asks_for_tokens(admit)) {
            self.error(
                &at,
                "is never sent: no caller of this route is known by a token",
                "admit callers by bearer, or leave jwt out",
            );
        }
        Some(CallerIdentity {
            headers,
            jwt: jwt.flatten(),
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
        known: &mut BTreeMap<String, Path>,
    ) -> Vec<IdentityHeader> {
        let usual = IdentityHeaders::default();
        let raw = raw.unwrap_or(&usual);
        if raw.set == Some(false) {
            return Vec::new();
        }
        let mut headers = Vec::new();
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
            self.identity_header(&path.key(key), name, known);
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
            self.identity_header(&at, name, known);
            headers.push(IdentityHeader {
                name: name.clone(),
                says: Says::Claim(claim.clone()),
            });
        }
        headers
    }

    fn identity_jwt(
        &mut self,
        path: &Path,
        raw: &raw::IdentityJwt,
        upstream: Option<&Upstream>,
        known: &mut BTreeMap<String, Path>,
    ) -> Option<IdentityJwt> {
        let header = raw.header.as_deref().unwrap_or("X-Itwin-Identity");
        self.identity_header(&path.key("header"), header, known);
        let lifetime = self.duration(
            &path.key("lifetime"),
            raw.lifetime.as_deref(),
            MINUTE,
            10 * SECOND..=HOUR,
        );
        let claims = match &raw.claims {
            Some(words) => words.0.clone(),
            None => vec!["email".to_owned()],
        };
        for (n, claim) in claims.iter().enumerate() {
            if RESERVED.contains(&claim.as_str()) {
                self.error(
                    &path.key("claims").index(n),
                    format!("{claim} is a claim of the JWT's own"),
                    "",
                );
            }
        }
        let origin = upstream.map(|upstream| upstream.origin.to_string());
        let Some(audience) = raw.audience.clone().or(origin) else {
            self.missing(
                &path.key("audience"),
                "nothing says whom the JWT is for",
                "give audience, because the route has no upstream",
            );
            return None;
        };
        Some(IdentityJwt {
            header: header.to_owned(),
            issuer: raw.issuer.as_deref().unwrap_or("itwin-auth-proxy").into(),
            audience,
            lifetime: Duration::from_secs(lifetime.as_secs()),
            claims,
        })
    }

    /// The keys of identity JWTs, where a route sends any.
    pub(super) fn signing(
        &mut self,
        raw: Option<&raw::Signing>,
        routes: &[Numbered],
    ) -> Option<Signing> {
        let path = Path::root().key("signing");
        let mut key_files = Vec::new();
        let files = raw.and_then(|raw| raw.key_files.as_ref());
        for (n, file) in files.iter().flat_map(|files| files.0.iter().enumerate()) {
            key_files.extend(self.p256_key(&path.key("key_files").index(n), file));
        }
        let written = raw.and_then(|raw| raw.path.as_deref());
        let at = written.filter(|written| *written != "none");
        if let Some(at) = at {
            let plain = Glob::parse(at).is_ok() && at.len() > 1;
            if !plain || at.contains(['*', ' ']) || !at.is_ascii() {
                self.error(
                    &path.key("path"),
                    "is not the path of one document",
                    "such as /.itwin-auth/jwks.json",
                );
            }
        }
        let sends = |one: &Numbered| one.route.identity.as_ref().is_some_and(|i| i.jwt.is_some());
        if !routes.iter().any(sends) {
            if raw.is_some() {
                let hint = "a route sends identity JWTs with identity: {jwt: {}}";
                self.warn(&path, "signs nothing", hint);
            }
            return None;
        }
        Some(Signing {
            key_files,
            path: at.map(str::to_owned),
        })
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
    route.identity.iter().flat_map(|identity| {
        let jwt = identity.jwt.iter().map(|jwt| jwt.header.as_str());
        jwt.chain(identity.headers.iter().map(|header| header.name.as_str()))
    })
}

/// Whether it learns of callers who they are.
fn knows_people(admit: &Admit) -> bool {
    let people = match admit {
        Admit::Rules(rules) => rules.iter().any(AdmitRule::is_session),
        Admit::Local | Admit::Anyone => false,
    };
    people || asks_for_tokens(admit)
}

fn asks_for_tokens(admit: &Admit) -> bool {
    matches!(admit, Admit::Rules(rules) if rules.iter().any(|rule| matches!(rule, AdmitRule::Bearer { .. })))
}

/// As a service could read it: many turn all that is no letter or digit into one character.
fn spelt_plainly(lower: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    lower.chars().map(plain).collect()
}
