//! RFC 7523 section 2.1: a token for a JWT, such as another token of a user for whom the client acts.

use super::TokenRequest;
use crate::{
    clock::Moment,
    http::client::HttpClient,
    oauth::types::{ExchangeError, Issued},
    secret::Secret,
};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// One exchange, sent at `now`.
///
/// # Errors
/// When it brings no token.
pub async fn exchange(
    request: &TokenRequest<'_>,
    assertion: &Secret,
    http: &HttpClient,
    now: Moment,
) -> Result<Issued, ExchangeError> {
    let parameters = [
        ("grant_type", GRANT_TYPE),
        ("assertion", assertion.expose()),
    ];
    request.send(&parameters, http, now).await
}
