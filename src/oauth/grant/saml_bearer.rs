//! RFC 7522 section 2.1: a token for a SAML assertion; and the form of it that Bentley IMS had before.

use super::TokenRequest;
use crate::{
    clock::Moment,
    config::SamlDialect,
    http::client::HttpClient,
    oauth::{
        saml::SamlAssertion,
        types::{ExchangeError, Issued},
    },
};

/// One exchange, sent at `now`.
///
/// # Errors
/// When it brings no token.
pub async fn exchange(
    request: &TokenRequest<'_>,
    assertion: &SamlAssertion,
    dialect: SamlDialect,
    http: &HttpClient,
    now: Moment,
) -> Result<Issued, ExchangeError> {
    let grant_type = match dialect {
        SamlDialect::Bentley => "urn:ietf:params:oauth:grant-type:saml-token",
        SamlDialect::Rfc7522 => "urn:ietf:params:oauth:grant-type:saml2-bearer",
    };
    let assertion = assertion.parameter(dialect);
    let parameters = [
        ("grant_type", grant_type),
        ("assertion", assertion.expose()),
    ];
    request.send(&parameters, http, now).await
}
