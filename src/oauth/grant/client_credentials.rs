//! RFC 6749 section 4.4: the client's own token.

use super::TokenRequest;
use crate::{
    clock::Moment,
    http::client::HttpClient,
    oauth::{
        token_endpoint::TokenEndpoint,
        types::{ExchangeError, Issued},
    },
};

/// One exchange, sent at `now`.
///
/// # Errors
/// When it brings no token.
pub async fn exchange(
    request: &TokenRequest<'_>,
    http: &HttpClient,
    now: Moment,
) -> Result<Issued, ExchangeError> {
    let endpoint = TokenEndpoint::new(http, request.endpoint, now);
    let client = request.client();
    let mut exchange = client
        .exchange_client_credentials()
        .add_scopes(request.scopes());
    for (name, value) in request.parameters() {
        exchange = exchange.add_extra_param(name, value);
    }
    endpoint.read(exchange.request_async(&endpoint).await)
}
