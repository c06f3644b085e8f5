//! RFC 6749 section 4.3: a token for a user whose password we were given. For authorization
//! servers that still offer it.

use oauth2::{ResourceOwnerPassword, ResourceOwnerUsername};

use super::TokenRequest;
use crate::{
    clock::Moment,
    http::client::HttpClient,
    oauth::{
        token_endpoint::TokenEndpoint,
        types::{ExchangeError, Issued},
    },
    secret::Secret,
};

/// One exchange, sent at `now`.
///
/// # Errors
/// When it brings no token.
pub async fn exchange(
    request: &TokenRequest<'_>,
    username: &str,
    password: &Secret,
    http: &HttpClient,
    now: Moment,
) -> Result<Issued, ExchangeError> {
    let endpoint = TokenEndpoint::new(http, request.endpoint, now);
    let client = request.client();
    let username = ResourceOwnerUsername::new(username.to_owned());
    let password = ResourceOwnerPassword::new(password.expose().to_owned());
    let mut exchange = client
        .exchange_password(&username, &password)
        .add_scopes(request.scopes());
    for (name, value) in request.parameters() {
        exchange = exchange.add_extra_param(name, value);
    }
    endpoint.read(exchange.request_async(&endpoint).await)
}
