//! Protected resource metadata (RFC 9728): where a client learns which authorization server's
//! tokens a resource takes, and with which scopes.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{
    HeaderValue, Method, Request, Response,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL},
};
use hyper::body::Incoming;
use serde_json::json;
use url::Url;

use super::{Endpoint, Visitor, document, other_method};
use crate::config::{Admit, AdmitRule, Offered, Route, TokenRules};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Where a resource's metadata are (RFC 9728 section 3.1).
pub(in crate::proxy) fn metadata_url(resource: &Url) -> Url {
    let mut url = resource.clone();
    // only a slash that stands for no path is left out
    let path = match resource.path() {
        "/" => "",
        path => path,
    };
    url.set_path(&format!("{WELL_KNOWN}{path}"));
    url
}

/// The metadata of one resource.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) url: Url,
    text: Bytes,
}

/// One for each resource; routes with the same resource share theirs.
pub(super) fn documents(routes: &[Arc<Route>]) -> impl Iterator<Item = Document> {
    let resources = routes.iter().filter_map(|route| route.resource.as_ref());
    let resources: BTreeSet<&Url> = resources.collect();
    resources.into_iter().map(move |resource| {
        let mine = routes
            .iter()
            .filter(|route| route.resource.as_ref() == Some(resource));
        describe(resource, mine)
    })
}

fn describe<'r>(resource: &Url, routes: impl Iterator<Item = &'r Arc<Route>>) -> Document {
    let mut servers = BTreeSet::new();
    let mut scopes = BTreeSet::new();
    let mut all: Vec<&TokenRules> = Vec::new();
    for route in routes {
        let Admit::Rules(rules) = &route.admit else {
            continue;
        };
        for rule in rules {
            if let AdmitRule::Bearer { provider, rules } = rule {
                servers.insert(provider.issuer.as_str().trim_end_matches('/'));
                scopes.extend(rules.scopes.iter().chain(&rules.any_scopes));
                all.push(rules);
            }
        }
    }
    let mut text = json!({
        "resource": as_written(resource),
        "authorization_servers": servers,
        "bearer_methods_supported": ["header"],
    });
    if !scopes.is_empty() {
        text["scopes_supported"] = json!(scopes);
    }
    let offers = |rules: &&&TokenRules| rules.proofs.offered == Offered::Yes;
    let offering = all.iter().filter(offers);
    let algorithms: BTreeSet<&str> = offering
        .flat_map(|rules| rules.proofs.algorithms.iter())
        .map(|algorithm| algorithm.name())
        .collect();
    if !algorithms.is_empty() {
        text["dpop_signing_alg_values_supported"] = json!(algorithms);
    }
    Document {
        url: metadata_url(resource),
        text: text.to_string().into(),
    }
}

/// A client compares it with the URL that it asked for (section 3.3), which without a path has no
/// slash.
fn as_written(resource: &Url) -> &str {
    match resource.path() {
        "/" => resource.as_str().trim_end_matches('/'),
        _ => resource.as_str(),
    }
}

impl Endpoint for Document {
    fn answer(
        &self,
        request: Request<Incoming>,
        Visitor { reference, .. }: Visitor,
    ) -> BoxFuture<'static, Response<Bytes>> {
        let answer = if matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = document("application/json", self.text.clone());
            let headers = answer.headers_mut();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
            // it is public, and pages of any site read it before they sign in
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            answer
        } else {
            other_method("GET, HEAD", &reference)
        };
        std::future::ready(answer).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_path_stands_before_the_resources_own() {
        for (resource, expected) in [
            (
                "https://api.example",
                "https://api.example/.well-known/oauth-protected-resource",
            ),
            (
                "https://api.example/",
                "https://api.example/.well-known/oauth-protected-resource",
            ),
            (
                "https://api.example:8443/imodels",
                "https://api.example:8443/.well-known/oauth-protected-resource/imodels",
            ),
            (
                "https://api.example/a/b/",
                "https://api.example/.well-known/oauth-protected-resource/a/b/",
            ),
        ] {
            let url = metadata_url(&Url::parse(resource).unwrap());
            assert_eq!(url.as_str(), expected);
        }
    }
}
