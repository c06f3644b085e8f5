//! The grants, a file each, and what all of them send.

pub mod authorization_code;
pub mod client_credentials;
pub mod device_code;
pub mod jwt_bearer;
pub mod password;
pub mod refresh_token;
pub mod saml_bearer;
pub mod token_exchange;

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Request, header};
use oauth2::{
    AuthType, Client, ClientId, ClientSecret, EndpointNotSet, EndpointSet, RequestTokenError,
    Scope, StandardRevocableToken, TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse},
};
use url::{Url, form_urlencoded};

use super::{
    client_auth::{JWT_BEARER, Proof},
    token_endpoint::{Answer, TokenEndpoint},
    types::{ExchangeError, Issued},
};
use crate::{
    clock::Moment,
    config::ScopeSet,
    http::client::{ClientError, HttpClient},
    secret::Secret,
};

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

    /// Sends the request of a grant that the `oauth2` crate does not know.
    async fn send(
        &self,
        parameters: &[(&str, &str)],
        http: &HttpClient,
        now: Moment,
    ) -> Result<Issued, ExchangeError> {
        let endpoint = TokenEndpoint::new(http, self.endpoint, now);
        let answer = endpoint.answer(self.message(parameters)?).await;
        endpoint.read(answer.map_err(RequestTokenError::Request))
    }

    fn message(&self, parameters: &[(&str, &str)]) -> Result<Request<Bytes>, ClientError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(parameters);
        if !self.scopes.is_empty() {
            form.append_pair("scope", &self.scopes.to_string());
        }
        for (name, value) in self.extra {
            form.append_pair(name, value);
        }
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
