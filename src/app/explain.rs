//! What would happen to a request, without sending it.

mod ways;

use std::collections::BTreeSet;

use http::{Method, Request, Uri};

use crate::{
    config::{
        ActsFor, Admit, AdmitRule, Bound, CallerIdentity, CallersToken, Config, Grant,
        IdentityHeader, Inject, JwtSource, LinkRewriting, PresentedAuthorization, Route,
        SamlSource, Says, Strangers,
    },
    proxy::{Looked, StandIn, look, refuses_name},
};

/// The answer to `explain METHOD URL`: lines of a name and a text, in reading order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub verdict: Verdict,
    pub lines: Vec<(&'static str, String)>,
}

/// Whether a route would take the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Served,
    Refused,
}

/// Says which route a request takes, who may use it, and what would be sent where. The URL names
/// the proxy (`http://127.0.0.1:8080/imodels`) or the upstream (`https://api.bentley.com/imodels`);
/// without a scheme it is a path.
pub fn explain(config: &Config, method: &Method, url: &Uri) -> Explanation {
    let mut lines = Vec::new();
    let host = url
        .authority()
        .map_or("localhost", |authority| authority.as_str());
    let request = Request::builder()
        .method(method.clone())
        .uri(url.path_and_query().map_or("/", |path| path.as_str()))
        .header(http::header::HOST, host)
        .body(());
    let Ok(request) = request else {
        lines.push((
            "refused",
            "the URL is not one that HTTP can carry".to_owned(),
        ));
        return Explanation {
            verdict: Verdict::Refused,
            lines,
        };
    };
    let route = match look(config, &request) {
        Looked::Route(route) => route,
        Looked::Own(own) => return answered_here(own),
        Looked::Refused { code, reason } => {
            lines.push(("refused", format!("{reason} ({code})")));
            let (ways, verdict) = ways::to(config, url);
            lines.extend(ways);
            return Explanation { verdict, lines };
        }
    };
    let (ways, verdict) = ways::to(config, url);
    lines.extend(ways);
    if ways::are_the_only_ones(config, url, route) {
        lines.extend(ways::without_a_route(verdict));
        return Explanation { verdict, lines };
    }
    if let Some(authority) = url.authority()
        && ways::all_are_asked_as_the_service(config)
        && let Some((code, reason)) = refuses_name(route, authority.as_str())
    {
        lines.push(("route", route.name.to_string()));
        lines.push(("refused", format!("{reason} ({code})")));
        lines.push(("who may", admits(&route.admit, route)));
        return Explanation {
            verdict: Verdict::Refused,
            lines,
        };
    }
    taken(route, method, url, lines)
}

/// What a route does with a request that it takes.
fn taken(
    route: &Route,
    method: &Method,
    url: &Uri,
    mut lines: Vec<(&'static str, String)>,
) -> Explanation {
    let matched = &route.matches;
    let any = |list: String| match list.as_str() {
        "" => "any".to_owned(),
        _ => list,
    };
    lines.push(("route", route.name.to_string()));
    lines.push((
        "matches",
        format!(
            "host {}, path {}, method {}",
            any(matched.hosts.join(" ")),
            matched.path,
            any(matched
                .methods
                .iter()
                .cloned()
                .collect::<Vec<_>>()
                .join(" ")),
        ),
    ));
    lines.push(("who may", admits(&route.admit, route)));
    let Some(upstream) = &route.upstream else {
        let text = "nothing: gateways only ask whether it may pass";
        lines.push(("sent to", text.to_owned()));
        return Explanation {
            verdict: Verdict::Served,
            lines,
        };
    };
    lines.push((
        "sent to",
        format!(
            "{method} {}{}",
            upstream.origin,
            url.path_and_query().map_or("/", |path| path.as_str())
        ),
    ));
    match &route.inject {
        None => lines.push(("token", passed(route).into())),
        Some(inject) => injected(inject, &mut lines),
    }
    if let Some(identity) = &route.identity {
        lines.push(("service learns", told(identity)));
    }
    let rewriting = match &route.links {
        LinkRewriting::Off => "links in answers stay as they are".to_owned(),
        LinkRewriting::On { public: None } => format!(
            "links to {} in JSON answers point back at the address that the caller used",
            upstream.origin
        ),
        LinkRewriting::On {
            public: Some(public),
        } => {
            format!(
                "links to {} in JSON answers point at {public}",
                upstream.origin
            )
        }
    };
    lines.push(("links", rewriting));
    Explanation {
        verdict: Verdict::Served,
        lines,
    }
}

fn answered_here(own: StandIn<'_>) -> Explanation {
    let who = match (own.admit, own.hosts) {
        (Admit::Local, []) => {
            "callers on this machine that ask for localhost or a loopback address".to_owned()
        }
        (Admit::Local, hosts) => {
            format!("callers on this machine that ask for {}", hosts.join(" "))
        }
        (other, _) => who(other),
    };
    Explanation {
        verdict: Verdict::Served,
        lines: vec![("answered by", own.answers), ("who may", who)],
    }
}

fn admits(admit: &Admit, route: &Route) -> String {
    match admit {
        Admit::Local => format!(
            "callers on this machine that ask for localhost, a loopback address or {}; no web pages of other sites",
            route
                .upstream
                .as_ref()
                .map_or("a host of the route", |upstream| &upstream.origin.host)
        ),
        other => who(other),
    }
}

fn who(admit: &Admit) -> String {
    match admit {
        Admit::Local => "callers on this machine".to_owned(),
        Admit::Anyone => "anyone who reaches a listener".to_owned(),
        Admit::Rules(rules) => {
            let rules: Vec<String> = rules.iter().map(rule).collect();
            rules.join(", or ")
        }
    }
}

fn rule(rule: &AdmitRule) -> String {
    match rule {
        AdmitRule::Networks(networks) => {
            let all: Vec<String> = networks.iter().map(ToString::to_string).collect();
            format!("callers from {}", all.join(", "))
        }
        AdmitRule::ProxyUser(user) => format!("the forward proxy's user {}", user.name),
        AdmitRule::Key(key) => format!("callers with the key {} in {}", key.name, key.header),
        AdmitRule::Bearer { provider, rules } => {
            let all = |words: &BTreeSet<String>| {
                words
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(" or ")
            };
            let mut text = format!(
                "callers with an access token of {} for {}",
                provider.issuer,
                all(&rules.audiences)
            );
            if !rules.clients.is_empty() {
                text = format!("{text}, of client {}", all(&rules.clients));
            }
            if !rules.scopes.is_empty() {
                let scopes: Vec<&str> = rules.scopes.iter().map(String::as_str).collect();
                text = format!("{text}, with the scopes {}", scopes.join(" "));
            }
            if !rules.any_scopes.is_empty() {
                text = format!("{text}, with one of the scopes {}", all(&rules.any_scopes));
            }
            let claims: BTreeSet<&str> = rules.claims.iter().map(|c| c.claim.as_str()).collect();
            if !claims.is_empty() {
                let claims = Vec::from_iter(claims);
                text = format!("{text}, with rules for {}", claims.join(", "));
            }
            if let Some(age) = rules.max_age {
                let age = humantime::format_duration(age);
                text = format!("{text}, signed in within {age}");
            }
            match rules.bound {
                Bound::Checked => {}
                Bound::Required => text.push_str(", bound to a key or certificate of theirs"),
                Bound::Ignored => text.push_str(", whatever it is bound to"),
            }
            if rules.strangers == Strangers::Admitted {
                text.push_str(", or without any token, as strangers");
            }
            text
        }
        AdmitRule::Session(session) => {
            format!("people who are signed in by the session {}", session.name)
        }
        AdmitRule::Certificate { names } if names.is_empty() => {
            "callers with a client certificate".to_owned()
        }
        AdmitRule::Certificate { names } => {
            let all: Vec<&str> = names.iter().map(String::as_str).collect();
            format!("callers with a client certificate for {}", all.join(" or "))
        }
        AdmitRule::Uids(uids) => format!("processes of the users {uids:?} on a Unix socket"),
    }
}

/// What becomes of the caller's `Authorization` where nothing is injected.
fn passed(route: &Route) -> &'static str {
    let checks = match &route.admit {
        Admit::Rules(rules) => rules.iter().any(|r| matches!(r, AdmitRule::Bearer { .. })),
        Admit::Local | Admit::Anyone => false,
    };
    match &route.identity {
        Some(identity) if identity.token == CallersToken::Removed => {
            "none is added; the caller's Authorization is removed"
        }
        Some(identity) if identity.token == CallersToken::Exchanged => {
            "none is added; the caller's is exchanged for another once it is checked"
        }
        _ if checks => "none is added; the caller's passes once it is checked",
        _ => "none is added; the caller's Authorization passes",
    }
}

fn told(identity: &CallerIdentity) -> String {
    if identity.headers.is_empty() && identity.jwt.is_none() {
        return "nothing of the caller".to_owned();
    }
    let one = |header: &IdentityHeader| {
        let what = match &header.says {
            Says::Caller => "how the caller is known",
            Says::Subject => "subject",
            Says::Client => "client",
            Says::Issuer => "issuer",
            Says::Scopes => "scopes",
            Says::Email => "e-mail address",
            Says::Claim(claim) => claim,
        };
        format!("{what} in {}", header.name)
    };
    let mut all: Vec<String> = identity.headers.iter().map(one).collect();
    if let Some(jwt) = &identity.jwt {
        all.push(format!(
            "all that in a JWT for {} in {}",
            jwt.audience, jwt.header
        ));
    }
    format!("{}; a caller's own such fields are removed", all.join(", "))
}

/// What is shown to the provider that somebody else gave.
fn shown(grant: &Grant) -> Option<String> {
    let host = |url: &url::Url| url.host_str().unwrap_or_default().to_owned();
    match grant {
        Grant::SamlBearer { assertion, .. } => Some(match assertion {
            SamlSource::File(file) => format!("the SAML assertion in {}", file.display()),
            SamlSource::Sts(sts) => {
                let second = sts
                    .delegation
                    .as_ref()
                    .map(|url| format!(", and one of the delegation service {} for it", host(url)));
                format!(
                    "a SAML assertion of the STS {} for the user {}{}",
                    host(&sts.url),
                    sts.username,
                    second.unwrap_or_default()
                )
            }
        }),
        Grant::JwtBearer { assertion } => Some(match assertion {
            JwtSource::File(file) => format!("the JWT in {}", file.display()),
            JwtSource::Caller => "the caller's token".to_owned(),
            JwtSource::Credential(other) => format!(
                "the token of credential {} (client {}, grant {})",
                other.name,
                other.client_id,
                other.grant.grant_type()
            ),
        }),
        _ => None,
    }
}

fn injected(inject: &Inject, lines: &mut Vec<(&'static str, String)>) {
    let credential = &inject.credential;
    lines.push((
        "token",
        format!(
            "of credential {} (client {}, grant {}) from {}",
            credential.name,
            credential.client_id,
            credential.grant.grant_type(),
            credential.provider.issuer,
        ),
    ));
    match (shown(&credential.grant), inject.acts_for) {
        (_, ActsFor::Caller) => {
            let text = "the token of the caller, in whose name it is";
            lines.push(("got with", text.to_owned()));
        }
        (Some(shown), ActsFor::Itself) => lines.push(("got with", shown)),
        (None, ActsFor::Itself) => {}
    }
    let scopes = if inject.scopes.is_empty() {
        "none asked for; the provider decides".to_owned()
    } else {
        inject.scopes.to_string()
    };
    lines.push(("scopes", scopes));
    if inject.acts_for == ActsFor::Caller {
        let text = "the caller's is exchanged for it, or the call is refused; one that was not checked goes no further";
        lines.push(("authorization", text.to_owned()));
        return;
    }
    let policy = |policy| match policy {
        PresentedAuthorization::Replace => "replaced",
        PresentedAuthorization::Keep => "kept, and no token added",
        PresentedAuthorization::Refuse => "refused with 400",
    };
    lines.push((
        "authorization",
        format!(
            "none or a placeholder: ours is added; another bearer token: {}; another scheme: {}",
            policy(inject.presented_bearer),
            policy(inject.presented_other),
        ),
    ));
}
