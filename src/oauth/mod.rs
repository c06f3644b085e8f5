//! The protocol, without state: one exchange with a provider at a time.
//!
//! Nothing here is cached, retried or written. Requests that carry credentials follow no redirect,
//! answers are bounded, and what a provider writes is cleaned before anybody reads it.

pub mod client_auth;
pub mod discovery;
pub mod grant;
pub mod jwks;
mod sent;
pub mod token_endpoint;
pub mod types;

/// What exchanges run on.
pub use crate::http::client::{ClientError, HttpClient, chain};

pub use self::{
    client_auth::{AssertionError, Proof},
    discovery::{CheckedMetadata, DiscoveryError, discover, discover_keys},
    grant::TokenRequest,
    jwks::{JwksError, fetch_jwks},
    types::{Class, ExchangeError, Issued, Note},
};
