//! What a request tells its trace, where there is one.
//!
//! Names are those of OpenTelemetry's conventions for HTTP. The query is left out everywhere: it may
//! hold a signature or a token. Where traces are off, each of these is one comparison.

use std::{borrow::Cow, time::Duration};

use http::Method;

use super::{outgoing::Head, permit::Permit, record::Record};
use crate::{
    net::{Conn, Peer},
    telemetry::{AnsweredBy, Replayed},
    tokens::TokenError,
    trace::{Attribute, Ended, Outcome, Wait},
};

impl Record {
    /// The connection that it came on.
    pub(super) fn came_on(&mut self, conn: &Conn) {
        let Some(trace) = self.trace.as_mut().filter(|trace| trace.is_kept()) else {
            return;
        };
        let scheme = if conn.security.is_tls() {
            "https"
        } else {
            "http"
        };
        let mut notes: Vec<Attribute> = vec![("url.scheme", scheme.into())];
        if let Peer::Tcp(peer) = &conn.peer {
            notes.push(("network.peer.address", peer.ip().to_string().into()));
        }
        trace.note(notes);
    }

    /// The route's rules have let the caller in, or not.
    pub(super) fn judged(&mut self, refused: Option<&'static str>) {
        let Some(trace) = self.trace.as_mut().filter(|trace| trace.is_kept()) else {
            return;
        };
        let mut attributes = Vec::new();
        if let Some(route) = &self.route {
            let name = route.config.name.to_string();
            attributes.push(("itwin_auth_proxy.route", name.into()));
        }
        let outcome = match refused {
            None => Outcome::Unset,
            Some(code) => {
                attributes.push(("error.type", code.into()));
                Outcome::Failed(Cow::Borrowed(code))
            }
        };
        trace.since_the_beginning("admit", attributes, outcome);
    }

    /// It waits for a token now.
    pub(super) fn waits(&self) -> Option<Wait> {
        self.trace.as_ref()?.waits()
    }

    /// It has waited for a token of this credential.
    pub(super) fn waited(
        &mut self,
        wait: Option<Wait>,
        credential: &str,
        error: Option<&TokenError>,
    ) {
        let (Some(trace), Some(wait)) = (&mut self.trace, wait) else {
            return;
        };
        let name = "itwin_auth_proxy.credential";
        let attributes = vec![(name, credential.to_owned().into())];
        let outcome = match error {
            None => Outcome::Unset,
            Some(error) => Outcome::Failed(error.reason.to_string().into()),
        };
        trace.waited(wait, "token wait", attributes, outcome);
    }

    /// It is sent to the upstream, whose parent this call is.
    pub(super) fn goes_out(&mut self, permit: &Permit, head: &mut Head) {
        let Some(trace) = &mut self.trace else {
            return;
        };
        let (method, path) = (head.method.clone(), head.path().clone());
        let again = self.replayed != Replayed::No;
        trace.goes_out(head.headers_mut(), || {
            let origin = &permit.route().to.origin;
            let (name, mut attributes) = asked(&method);
            attributes.extend([
                ("server.address", origin.host.clone().into()),
                ("server.port", origin.port.into()),
                ("url.full", format!("{origin}{}", path.path()).into()),
            ]);
            if again {
                attributes.push(("http.request.resend_count", 1.into()));
            }
            (Cow::Borrowed(name), attributes)
        });
    }

    /// The upstream gave no answer.
    pub(super) fn call_failed(&mut self, class: &'static str) {
        if let Some(trace) = &mut self.trace {
            trace.call_ends(Outcome::Failed(Cow::Borrowed(class)));
        }
    }

    /// What there is to say of it all.
    pub(super) fn told(&self, after: Duration) -> Ended {
        let Some(request) = &self.asked else {
            return Ended {
                name: Cow::Borrowed("HTTP"),
                attributes: Vec::new(),
                outcome: Outcome::Unset,
                after,
            };
        };
        let (method, mut attributes) = asked(&request.method);
        let mut text = |name, value: &str| attributes.push((name, value.to_owned().into()));
        text("url.path", request.uri.path());
        text("server.address", request.host());
        text("itwin_auth_proxy.request_id", &self.id().to_string());
        let mut name = Cow::Borrowed(method);
        if let Some(route) = &self.route {
            let pattern = route.config.matches.path.as_str();
            name = Cow::Owned(format!("{method} {pattern}"));
            text("http.route", pattern);
            text("itwin_auth_proxy.route", &route.config.name);
        }
        if let Some(credential) = self.credential() {
            text("itwin_auth_proxy.credential", credential);
        }
        let version = super::record::protocol(self.version());
        let version = version.trim_start_matches("HTTP/");
        attributes.push(("network.protocol.version", version.into()));
        if self.answered_by == AnsweredBy::Proxy {
            attributes.push(("itwin_auth_proxy.answered_by", "proxy".into()));
        }
        if let Some(status) = self.status {
            attributes.push(("http.response.status_code", status.into()));
        }
        let failed = self.status.is_some_and(|status| status >= 500);
        let error = match (self.error, self.status) {
            (Some(code), _) => Some(code.into()),
            (None, Some(status)) if failed => Some(status.to_string().into()),
            (None, None) => Some("client_gone".into()),
            _ => None,
        };
        attributes.extend(error.map(|error| ("error.type", error)));
        // a caller's mistake is no error of the server's
        let outcome = if failed || self.status.is_none() {
            let reason = self.reason.as_deref().unwrap_or_default();
            Outcome::Failed(reason.to_owned().into())
        } else {
            Outcome::Unset
        };
        Ended {
            name,
            attributes,
            outcome,
            after,
        }
    }
}

/// The method as a span is named after it: what a caller made up is no name.
fn asked(method: &Method) -> (&'static str, Vec<Attribute>) {
    let known = match method.as_str() {
        "CONNECT" => "CONNECT",
        "DELETE" => "DELETE",
        "GET" => "GET",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "POST" => "POST",
        "PUT" => "PUT",
        "TRACE" => "TRACE",
        other => {
            let original = ("http.request.method_original", other.to_owned().into());
            return (
                "HTTP",
                vec![("http.request.method", "_OTHER".into()), original],
            );
        }
    };
    (known, vec![("http.request.method", known.into())])
}
