//! The protocol, without state: one exchange with a provider at a time.
//!
//! Nothing here is cached, retried or written. Requests that carry credentials follow no redirect,
//! answers are bounded, and what a provider writes is cleaned before anybody reads it.

pub mod authorization;
pub mod client_auth;
mod client_material;
pub mod discovery;
pub mod end_session;
pub mod grant;
mod introspect;
pub mod jwks;
pub mod revoke;
pub mod saml;
mod sent;
pub mod sts;
pub mod token_endpoint;
pub mod types;

/// What exchanges run on.
pub use crate::http::client::{ClientError, HttpClient, chain};

pub use self::{
    client_auth::{AssertionError, Proof},
    client_material::{ClientMaterial, ProofError, SecretInUse},
    discovery::{
        CheckedMetadata, DiscoveryError, IntrospectionEndpoints, SignInMetadata, WholeMetadata,
        discover, discover_all, discover_introspection, discover_keys, discover_sign_in,
    },
    grant::TokenRequest,
    introspect::{IntrospectionError, IntrospectionRequest, introspect},
    jwks::{JwksError, fetch_jwks},
    saml::{SamlAssertion, SamlError},
    sts::{IssuedAssertion, StsError},
    types::{Class, ExchangeError, Issued, Note},
};

#[cfg(test)]
mod tests;
