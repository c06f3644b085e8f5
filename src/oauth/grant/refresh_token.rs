//! RFC 6749 section 6: a token for who signed in once. The answer may hold another refresh token,
//! and then the one that was sent is used up.

use oauth2::RefreshToken;

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
    refresh: &Secret,
    http: &HttpClient,
    now: Moment,
) -> Result<Issued, ExchangeError> {
    let endpoint = TokenEndpoint::new(http, request.endpoint, now);
    let client = request.client();
    let refresh = RefreshToken::new(refresh.expose().to_owned());
    let mut exchange = client
        .exchange_refresh_token(&refresh)
        .add_scopes(request.scopes());
    for (name, value) in request.parameters() {
        exchange = exchange.add_extra_param(name, value);
    }
    endpoint.read(exchange.request_async(&endpoint).await)
}
