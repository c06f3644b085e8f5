//! The proxy auto-configuration file of a forward listener: which hosts are asked for through it.
//!
//! It is for anybody who reaches the listener: programs fetch it before they could show who they
//! are. It names hosts, and nothing else of the configuration.

use std::{fmt::Write as _, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
    uri::Authority,
};

use crate::{
    config::{Passage, Route},
    net::Security,
};

/// What the file is made of, but for the proxy's own address.
#[derive(Debug)]
pub(super) struct File {
    path: String,
    /// As `dnsDomainIs` and `==` want them.
    conditions: String,
}

impl File {
    pub(super) fn new(passage: &Passage, routes: &[Arc<Route>]) -> Self {
        let named = routes.iter().flat_map(|route| {
            let own = route.upstream.as_ref().map(|to| &to.origin.host);
            let own = own.filter(|_| route.matches.hosts.is_empty());
            route.matches.hosts.iter().chain(own)
        });
        let mut hosts: Vec<&String> = named.chain(&passage.hosts).collect();
        hosts.sort();
        hosts.dedup();
        let mut conditions = String::new();
        for host in hosts {
            let _ = match (host.as_str(), host.strip_prefix('*')) {
                ("*", _) => writeln!(conditions, "  if (!isPlainHostName(host)) return through;"),
                (_, Some(below)) => {
                    writeln!(
                        conditions,
                        "  if (dnsDomainIs(host, \"{below}\")) return through;"
                    )
                }
                (host, None) => writeln!(conditions, "  if (host === \"{host}\") return through;"),
            };
        }
        Self {
            path: passage.pac.clone(),
            conditions,
        }
    }

    pub(super) fn is_at(&self, path: &str) -> bool {
        self.path == path
    }

    /// The answer to who reached us at `authority`.
    pub(super) fn answer(
        &self,
        method: &Method,
        authority: &str,
        security: &Security,
    ) -> Response<Bytes> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        let (way, default) = match security {
            Security::Plain => ("PROXY", 80),
            Security::Tls { .. } => ("HTTPS", 443),
        };
        // without one, clients take the port of proxies, whichever they think that is
        let port = match authority.parse::<Authority>() {
            Ok(read) if read.port().is_none() => format!(":{default}"),
            _ => String::new(),
        };
        // an authority has no quote and no backslash
        let text = format!(
            "function FindProxyForURL(url, host) {{\n  var through = \"{way} {authority}{port}\";\n{}  return \"DIRECT\";\n}}\n",
            self.conditions
        );
        let mut response = Response::new(Bytes::from(text));
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/x-ns-proxy-autoconfig");
        headers.insert(CONTENT_TYPE, kind);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        response
    }
}
