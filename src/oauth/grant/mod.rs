//! The grants, a file each, and what all of them send.

pub mod client_credentials;
pub mod password;
pub mod refresh_token;
pub mod token_exchange;

use std::collections::BTreeMap;

use oauth2::{
    AuthType, Client, ClientId, ClientSecret, EndpointNotSet, EndpointSet, Scope,
    StandardRevocableToken, TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse},
};
use url::Url;

use super::{
    client_auth::{JWT_BEARER, Proof},
    token_endpoint::Answer,
};
use crate::{config::ScopeSet, secret::Secret};

/// What every token request holds, whatever its grant.
#[derive(Debug, Clone, Copy)]
pub struct TokenRequest<'a> {
    pub endpoint: &'a Url,
    pub client_id: &'a str,
    pub proof: &'a Proof,
    pub scopes: &'a ScopeSet,
    /// `resource`, `audience`, `acr_values` …
    pub extra: &'a BTreeMap<String, String>,
}

type Exchanger = Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl TokenRequest<'_> {
    fn client(&self) -> Exchanger {
        let client = Client::new(ClientId::new(self.client_id.to_owned()))
            .set_token_uri(TokenUrl::from_url(self.endpoint.clone()));
        let secret = |secret: &Secret| ClientSecret::new(secret.expose().to_owned());
        match self.proof {
            Proof::None | Proof::Assertion(_) => client.set_auth_type(AuthType::RequestBody),
            Proof::Basic(value) => client
                .set_auth_type(AuthType::BasicAuth)
                .set_client_secret(secret(value)),
            Proof::Post(value) => client
                .set_auth_type(AuthType::RequestBody)
                .set_client_secret(secret(value)),
        }
    }

    fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.scopes.iter().map(|scope| Scope::new(scope.to_owned()))
    }

    fn parameters(&self) -> impl Iterator<Item = (String, String)> {
        let assertion = match self.proof {
            Proof::Assertion(jwt) => Some([
                ("client_assertion_type".to_owned(), JWT_BEARER.to_owned()),
                ("client_assertion".to_owned(), jwt.expose().to_owned()),
            ]),
            Proof::None | Proof::Basic(_) | Proof::Post(_) => None,
        };
        let extra = self.extra.iter();
        extra
            .map(|(name, value)| (name.clone(), value.clone()))
            .chain(assertion.into_iter().flatten())
    }
}
