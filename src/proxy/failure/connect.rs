//! Why there is no connection to an upstream, and what the caller is told of it.

use std::time::Duration;

use super::Told;
use crate::{handbook::Code, net::dial::DialError};

/// Why there is no connection to an upstream.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the TLS handshake failed")]
    Tls(#[source] std::io::Error),
    #[error("the HTTP handshake failed")]
    Http(#[source] hyper::Error),
    #[error("not connected in {0:?}")]
    Timeout(Duration),
    #[error("the connection offers no HTTP/2, which the route asks for")]
    NoHttp2,
}

impl ConnectError {
    pub(super) fn told(&self) -> Told {
        let (code, proxy_error, message) = match self {
            Self::Dial(DialError::Dns { .. } | DialError::NoAddress { .. }) => (
                Code::UpstreamDns,
                "dns_error",
                "The upstream's address could not be found.",
            ),
            Self::Dial(DialError::Forbidden { .. }) => (
                Code::AddressNotAllowed,
                "destination_ip_prohibited",
                "The host's address is not one that this proxy reaches for callers. The listener's networks would have to name it.",
            ),
            Self::Dial(DialError::Ourselves { .. }) => (
                Code::UpstreamIsThisProxy,
                "proxy_loop_detected",
                "The upstream's name leads back to this proxy. The route's upstream needs tls.addresses or tls.name_servers.",
            ),
            Self::Dial(DialError::Connect { .. }) => (
                Code::UpstreamUnreachable,
                "connection_refused",
                "The upstream could not be connected to.",
            ),
            Self::Tls(_) => (
                Code::UpstreamTls,
                "tls_protocol_error",
                "The TLS handshake with the upstream failed.",
            ),
            Self::Http(_) | Self::NoHttp2 => (
                Code::UpstreamProtocol,
                "http_protocol_error",
                "The upstream does not speak the expected protocol.",
            ),
            Self::Timeout(_) => (
                Code::UpstreamConnectTimeout,
                "connection_timeout",
                "The upstream could not be connected to in time.",
            ),
        };
        Told {
            code,
            proxy_error,
            message,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Dial(DialError::Dns { .. }) => "its name was not found",
            Self::Dial(DialError::NoAddress { .. }) => "its name has no address",
            Self::Dial(DialError::Forbidden { .. }) => "its address is not public",
            Self::Dial(DialError::Ourselves { .. }) => "its name leads back to this proxy",
            Self::Dial(DialError::Connect { .. }) => "no connection",
            Self::Tls(_) => "the TLS handshake failed",
            Self::Http(_) => "the HTTP handshake failed",
            Self::NoHttp2 => "no HTTP/2 there",
            Self::Timeout(_) => "no connection in time",
        }
    }
}
