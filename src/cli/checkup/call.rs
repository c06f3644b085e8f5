//! One call with the token of each route that injects one: does the service take it, and is the
//! client a member of anything there?
//!
//! The call is a GET that the route itself would pass, which changes nothing (RFC 9110 section
//! 9.2.1), and goes where the route goes and nowhere else. What was called is said.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use serde_json::Value;

use super::{Check, Finding, token::has_its_own, upstream::ANSWER_LIMIT};
use crate::{
    config::{ActsFor, Config, Credential, Glob, Inject, Route, Upstream, UpstreamProtocol},
    http::client::HttpClient,
    oauth::types::clean,
    tokens::TokenService,
};

pub(super) fn checks<'a>(
    config: &'a Config,
    tokens: &'a TokenService,
    checks: &mut Vec<Check<'a>>,
) {
    let mut made = Vec::new();
    for route in &config.routes {
        let (Some(inject), Some(upstream)) = (&route.inject, &route.upstream) else {
            continue;
        };
        if inject.acts_for == ActsFor::Caller || !has_its_own(&inject.credential) {
            continue;
        }
        // its requests are asked in HTTP/1.1
        let speaks = upstream.protocol != UpstreamProtocol::Http2;
        let Some(path) = path(route).filter(|_| speaks) else {
            continue;
        };
        let url = format!("{}{path}", upstream.origin);
        let key = (
            Arc::clone(&inject.credential.name),
            &inject.scopes,
            url.clone(),
        );
        if made.contains(&key) {
            continue;
        }
        made.push(key);
        let what = format!("GET {url} as {}", inject.credential.name);
        let work = examine(what.clone(), url, inject, upstream, tokens);
        checks.push(Check::new("call", what, work));
    }
}

/// A path with a query that the route passes and that lists something, if one can be named.
fn path(route: &Route) -> Option<String> {
    let methods = &route.matches.methods;
    if !methods.is_empty() && !methods.contains("GET") {
        return None;
    }
    named_by(&route.matches.path)
}

fn named_by(glob: &Glob) -> Option<String> {
    let pattern = glob.as_str();
    let literal = pattern.strip_suffix("/**").unwrap_or(pattern);
    if literal.contains('*') {
        return None;
    }
    Some(match literal {
        "" | "/itwins" => "/itwins?$top=1".into(),
        literal => literal.into(),
    })
}

async fn examine(
    what: String,
    url: String,
    inject: &Inject,
    upstream: &Upstream,
    tokens: &TokenService,
) -> Vec<Finding> {
    let credential = &inject.credential;
    let handle = tokens.handle(credential, &inject.scopes);
    // the check of the token says why there is none
    let Ok(ready) = handle.get(Duration::ZERO, credential.patience()).await else {
        return Vec::new();
    };
    let limit = upstream.connect_timeout + ANSWER_LIMIT;
    let sent = async {
        let http = HttpClient::new(&upstream.tls, upstream.connect_timeout, limit).ok()?;
        let request = Request::get(url)
            .header(header::AUTHORIZATION, ready.header())
            .header(header::ACCEPT, "application/json")
            .body(Bytes::new())
            .ok()?;
        // the check of the upstream says why it cannot be reached
        http.send(request).await.ok()
    };
    let Some(answer) = sent.await else {
        return Vec::new();
    };
    let (head, body) = answer.into_parts();
    vec![judged(&what, credential, head.status, &head.headers, &body)]
}

fn judged(
    what: &str,
    credential: &Credential,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Finding {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let seen = match said(&answer) {
        Some(said) => format!("{status}: {said}"),
        None => status.to_string(),
    };
    if status == StatusCode::UNAUTHORIZED {
        let remedy = format!(
            "the service does not take tokens of this client: see that {} is registered with the \
             API's scopes at {}, and that provider and API belong together (production, QA, DEV)",
            credential.client_id, credential.provider.issuer
        );
        return Finding::failure("call", what, seen, remedy);
    }
    if status == StatusCode::FORBIDDEN {
        return Finding::warning("call", what, seen, invite(credential));
    }
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        let remedy = "the service has trouble of its own, or has been asked too often; try again";
        return Finding::warning("call", what, seen, remedy);
    }
    if is_page(headers) || status.is_redirection() {
        let seen = format!("{seen}, as to a browser");
        let remedy = "a page or a redirect answers where an API should: see that the upstream is \
                      the API itself, not a portal or a sign-in in front of it";
        return Finding::warning("call", what, seen, remedy);
    }
    match answer["iTwins"].as_array() {
        Some(all) if all.is_empty() => {
            let seen = format!("{seen}, the client is a member of no iTwin");
            Finding::warning("call", what, seen, invite(credential))
        }
        Some(_) => Finding::ok("call", what, format!("{seen}, and is a member of iTwins")),
        None if status.is_success() => Finding::ok("call", what, format!("{seen}, taken")),
        // it knows the client, and wants another call
        None => Finding::ok("call", what, format!("{seen}; the token was taken")),
    }
}

fn invite(credential: &Credential) -> String {
    let host = credential.provider.issuer.host_str().unwrap_or_default();
    if host == "bentley.com" || host.ends_with(".bentley.com") {
        format!(
            "invite {}@apps.imsoidc.bentley.com to the iTwin, with a role that may do what is \
             needed",
            credential.client_id
        )
    } else {
        format!(
            "make the service client {} a member of the iTwin, with a role that may do what is \
             needed; at Bentley its address is CLIENT_ID@apps.imsoidc.bentley.com",
            credential.client_id
        )
    }
}

/// What an error of an iTwin API says.
fn said(answer: &Value) -> Option<String> {
    let error = &answer["error"];
    let code = error["code"].as_str()?;
    let message = error["message"].as_str().unwrap_or_default();
    let details = error["details"].as_array().into_iter().flatten();
    let codes: Vec<&str> = details.filter_map(|one| one["code"].as_str()).collect();
    let mut text = format!("{code}: {message}");
    if !codes.is_empty() {
        text = format!("{text} ({})", codes.join(", "));
    }
    Some(clean(&text))
}

fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::checkup::Verdict,
        config::{self, Sources},
    };

    #[test]
    fn a_call_is_made_only_where_a_path_of_the_route_can_be_named() {
        for (glob, path) in [
            ("/**", Some("/itwins?$top=1")),
            ("/itwins/**", Some("/itwins?$top=1")),
            ("/imodels/**", Some("/imodels")),
            ("/imodels", Some("/imodels")),
            ("/imodels/*/changesets", None),
            ("/a*/**", None),
        ] {
            let named = named_by(&Glob::parse(glob).unwrap());
            assert_eq!(named.as_deref(), path, "{glob}");
        }
    }

    #[test]
    fn an_answer_says_whether_the_client_is_known_and_a_member() {
        let text = "
providers: {bentley: {issuer: 'https://ims.bentley.com'}}
credentials: {agent: {client_id: service-x, client_secret: s}}
routes: [{inject: agent, upstream: 'https://api.bentley.com'}]
";
        let config = config::load(Sources::yaml(text)).unwrap().config;
        let credential = &config.credentials["agent"];
        let unknown = br#"{"error":{"code":"Unauthorized","message":"Denied.","details":[{"code":"UnknownClient"}]}}"#;
        for (status, kind, body, verdict, part) in [
            (
                200,
                "application/json",
                &br#"{"iTwins":[{}]}"#[..],
                Verdict::Ok,
                "is a member",
            ),
            (
                200,
                "application/json",
                br#"{"iTwins":[]}"#,
                Verdict::Warning,
                "service-x@apps.imsoidc.bentley.com",
            ),
            (
                401,
                "application/json",
                unknown,
                Verdict::Failure,
                "Unauthorized: Denied. (UnknownClient)",
            ),
            (
                403,
                "application/json",
                b"",
                Verdict::Warning,
                "service-x@apps.imsoidc.bentley.com",
            ),
            (
                404,
                "application/json",
                b"{}",
                Verdict::Ok,
                "the token was taken",
            ),
            (
                422,
                "application/json",
                b"{}",
                Verdict::Ok,
                "the token was taken",
            ),
            (
                200,
                "text/html",
                b"<html>",
                Verdict::Warning,
                "as to a browser",
            ),
            (302, "text/plain", b"", Verdict::Warning, "as to a browser"),
            (
                503,
                "text/html",
                b"",
                Verdict::Warning,
                "trouble of its own",
            ),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]);
            let found = judged("call", credential, status, &headers, body);
            assert_eq!(found.verdict, verdict, "{found:?}");
            let text = found.render(|_, word| word.to_owned());
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
