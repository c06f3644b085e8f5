//! Why a forward listener does not let a request through, and what the caller is told of it.

use http::{HeaderMap, HeaderValue, header::PROXY_AUTHENTICATE};

use super::Failure;
use crate::handbook::Code;

/// Why a request does not pass.
#[derive(Debug, thiserror::Error)]
pub enum Unpassed {
    #[error("the listener is a forward proxy, and the request names no other host")]
    NotAbsolute,
    #[error("the request's URL is neither http nor https")]
    Scheme,
    #[error("CONNECT asks for a host and a port, and nothing else")]
    Authority,
    #[error("the caller shows no user and password that the listener knows")]
    Unauthenticated,
    #[error("no rule of the listener admits the caller")]
    NotAdmitted,
    #[error("no route names {0}, nor do the listener's hosts")]
    Host(String),
    #[error("a tunnel to {0}, which a route names, would carry no token")]
    NotOpened(String),
    #[error("as many tunnels are open as there may be connections")]
    Tunnels,
    #[error("port {0} is not one that the listener's hosts are reached at")]
    Port(u16),
    #[error("the connection was opened as one to {0}, and the request is for another host")]
    Misdirected(Box<str>),
}

impl Unpassed {
    pub(super) fn told(&self) -> (Code, &'static str, &'static str) {
        match self {
            Self::NotAbsolute => (
                Code::NotAbsolute,
                "http_request_error",
                "This listener is a forward proxy: name it in HTTP_PROXY or HTTPS_PROXY, or use one whose mode is reverse.",
            ),
            Self::Scheme => (
                Code::SchemeUnknown,
                "http_request_error",
                "This proxy forwards http and https URLs.",
            ),
            Self::Authority => (
                Code::ConnectTarget,
                "http_request_error",
                "CONNECT names a host and a port, such as api.bentley.com:443.",
            ),
            Self::Unauthenticated => (
                Code::ProxyAuthenticationRequired,
                "http_request_denied",
                "This proxy asks for a user and a password.",
            ),
            Self::NotAdmitted => (
                Code::NotAdmitted,
                "http_request_denied",
                "No rule of this listener admits the caller.",
            ),
            Self::Host(_) => (
                Code::HostNotAllowed,
                "destination_not_found",
                "This proxy reaches the hosts that a route or the listener names, and not this one.",
            ),
            Self::NotOpened(_) => (
                Code::HostNotOpened,
                "destination_not_found",
                "A route names this host, but what a tunnel carries is not seen and gets no token. Name it in interception.hosts to have it opened, or in the listener's hosts to let it pass as it is.",
            ),
            Self::Tunnels => (
                Code::TooManyTunnels,
                "proxy_internal_response",
                "This proxy has as many tunnels open as it may (limits.connections).",
            ),
            Self::Port(_) => (
                Code::PortNotAllowed,
                "destination_not_found",
                "This proxy does not reach hosts at this port.",
            ),
            Self::Misdirected(_) => (
                Code::Misdirected,
                "http_request_error",
                "The connection was made to another host than the request is for.",
            ),
        }
    }

    /// What the caller must show (RFC 9110 section 11.7.1).
    pub(super) fn challenge(&self, headers: &mut HeaderMap) {
        if matches!(self, Self::Unauthenticated) {
            let basic = "Basic realm=\"itwin-auth-proxy\", charset=\"UTF-8\"";
            headers.insert(PROXY_AUTHENTICATE, HeaderValue::from_static(basic));
        }
    }

    pub(super) fn detail(&self) -> Option<String> {
        match self {
            Self::Host(host) | Self::NotOpened(host) => Some(host.clone()),
            Self::Port(port) => Some(port.to_string()),
            Self::Misdirected(host) => Some(host.to_string()),
            _ => None,
        }
    }
}

impl From<Unpassed> for Failure {
    fn from(why: Unpassed) -> Self {
        Self::Unpassed(Box::new(why))
    }
}
