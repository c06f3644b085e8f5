//! What a caller lacked whom no rule admits.
//!
//! A key is asked for in the answer; what a connection cannot change is only named.

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

    /// Status, code, error of `Proxy-Status`, message.
    pub(super) fn told(self) -> (u16, &'static str, &'static str, &'static str) {
        let (status, code, message) = match self {
            Self::Key => (
                401,
                "Unauthorized",
                "This route needs a key that the request does not carry.",
            ),
            Self::Another => (
                403,
                "NotAdmitted",
                "No rule of this route admits the caller.",
            ),
            Self::KnownName => (
                403,
                "NotAdmitted",
                "A web page could ask by this host: write it in the proxy's `hosts`, or use an address or a short name.",
            ),
        };
        (status, code, "http_request_denied", message)
    }
}
