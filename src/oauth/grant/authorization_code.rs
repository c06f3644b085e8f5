//! RFC 6749 section 4.1.3: a token for the code that a browser brought, with the PKCE verifier (RFC
//! 7636 section 4.5) of the request that it was given for.

use std::borrow::Cow;

use oauth2::{AuthorizationCode, PkceCodeVerifier, RedirectUrl};
use url::Url;

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

/// What is redeemed. All of it is of one authorization request.
#[derive(Debug, Clone, Copy)]
pub struct Code<'a> {
    pub code: &'a Secret,
    pub verifier: &'a Secret,
    pub redirect_uri: &'a Url,
}

/// One exchange, sent at `now`. The scopes are those of the authorization request, and not sent.
///
/// A code is good for one use. Whoever sends it again after an error that may have used it up is
/// answered `invalid_grant`, and may have the tokens revoked (RFC 6749 section 4.1.2).
///
/// # Errors
/// When it brings no token.
pub async fn exchange(
    request: &TokenRequest<'_>,
    code: &Code<'_>,
    http: &HttpClient,
    now: Moment,
) -> Result<Issued, ExchangeError> {
    let endpoint = TokenEndpoint::new(http, request.endpoint, now);
    let client = request.client();
    let redirect = RedirectUrl::from_url(code.redirect_uri.clone());
    let mut exchange = client
        .exchange_code(AuthorizationCode::new(code.code.expose().to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(code.verifier.expose().to_owned()))
        .set_redirect_uri(Cow::Owned(redirect));
    for (name, value) in request.parameters() {
        exchange = exchange.add_extra_param(name, value);
    }
    endpoint.read(exchange.request_async(&endpoint).await)
}
