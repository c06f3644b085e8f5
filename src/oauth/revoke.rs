//! Token revocation: RFC 7009.
//!
//! A token that the provider does not know is as good as revoked, and answered so (section 2.2).

use bytes::Bytes;
use http::{Request, header};
use url::{Url, form_urlencoded};

use super::{client_auth::Proof, token_endpoint::TokenEndpoint, types::ExchangeError};
use crate::{
    clock::Moment,
    http::client::{ClientError, HttpClient},
    secret::Secret,
};

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct RevocationRequest<'a> {
    pub endpoint: &'a Url,
    pub client_id: &'a str,
    pub proof: &'a Proof,
    pub token: &'a Secret,
    pub kind: TokenKind,
}

/// `token_type_hint`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Its access tokens go with it, where the provider can.
    Refresh,
    Access,
}

/// Revokes, at `now`.
///
/// # Errors
/// When the token may still be good.
pub async fn revoke(
    http: &HttpClient,
    request: &RevocationRequest<'_>,
    now: Moment,
) -> Result<(), ExchangeError> {
    let endpoint = TokenEndpoint::new(http, request.endpoint, now);
    endpoint.told(request.message()?).await
}

impl RevocationRequest<'_> {
    fn message(&self) -> Result<Request<Bytes>, ClientError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("token", self.token.expose());
        let hint = match self.kind {
            TokenKind::Refresh => "refresh_token",
            TokenKind::Access => "access_token",
        };
        form.append_pair("token_type_hint", hint);
        let mut message = Request::post(self.endpoint.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(field) = self.proof.write(self.client_id, &mut form) {
            message = message.header(header::AUTHORIZATION, field);
        }
        message
            .body(form.finish().into())
            .map_err(|_| ClientError::Url)
    }
}
