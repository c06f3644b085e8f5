//! What a caller lacked whom no rule admits.
//!
//! A key is asked for in the answer; what a connection cannot change is only named.

use crate::handbook::Code;

/// What would have admitted the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Something in the request: 401.
    Key,
    /// Something about the connection: 403.
    Another,
    /// A host that no page can have been given: 403.
    KnownName,
}

impl Wants {
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Key | Self::Another => "",
            Self::KnownName => " by a host that is not in its `hosts`",
        }
    }

    /// Code, error of `Proxy-Status`, message.
    pub(super) fn told(self) -> (Code, &'static str, &'static str) {
        let (code, message) = match self {
            Self::Key => (
                Code::Unauthorized,
                "This route needs a key that the request does not carry.",
            ),
            Self::Another => (
                Code::NotAdmitted,
                "No rule of this route admits the caller.",
            ),
            Self::KnownName => (
                Code::NotAdmitted,
                "A web page could ask by this host: write it in the proxy's `hosts`, or use an address or a short name.",
            ),
        };
        (code, "http_request_denied", message)
    }
}
