//! One fetch: which secrets go with which grant.

use url::Url;

use super::{
    assertions::SignIn,
    material::{Material, Presented},
    rotation::Sendable,
    source::Shown,
};
use crate::{
    clock::Moment,
    config::{Credential, Grant, SamlDialect, SamlSource, ScopeSet},
    oauth::{ExchangeError, Issued, Proof, SamlAssertion, TokenRequest, grant},
    secret::Secret,
};

/// What one fetch works with.
pub(super) struct Fetch<'a> {
    pub(super) credential: &'a Credential,
    pub(super) scopes: &'a ScopeSet,
    pub(super) material: &'a Material,
    pub(super) refresh: Option<&'a Sendable>,
    pub(super) shown: &'a Shown,
}

/// What goes into one token request, by grant.
#[derive(Clone, Copy)]
pub(super) enum Asking<'a> {
    ClientCredentials,
    Password {
        username: &'a str,
        password: &'a Secret,
    },
    RefreshToken(&'a Secret),
    Exchange {
        subject: &'a Secret,
        subject_type: &'a str,
    },
    Jwt(&'a Secret),
    Saml(&'a SamlAssertion),
    /// What the grant needs is not there.
    Nothing,
}

impl<'a> Fetch<'a> {
    /// Where an assertion must be had first.
    pub(super) fn sign_in(&self) -> Option<SignIn<'a>> {
        match (&self.credential.grant, &self.material.grant) {
            (
                Grant::SamlBearer {
                    assertion: SamlSource::Sts(sts),
                    ..
                },
                Presented::SignIn { password, http },
            ) => Some(SignIn {
                credential: self.credential,
                sts,
                password,
                http,
            }),
            _ => None,
        }
    }

    /// What is known without asking anybody else.
    pub(super) fn asking(&self) -> Asking<'a> {
        let (shown, read) = (self.shown, &self.material.grant);
        match (&self.credential.grant, read, shown, self.refresh) {
            (_, _, Shown::RefreshToken(refresh), _) => Asking::RefreshToken(refresh),
            (Grant::ClientCredentials, ..) => Asking::ClientCredentials,
            (Grant::Password { username, .. }, Presented::Password(password), ..) => {
                Asking::Password { username, password }
            }
            (Grant::RefreshToken { .. }, _, _, Some(refresh)) => {
                Asking::RefreshToken(&refresh.token)
            }
            (Grant::TokenExchange { subject_token_type }, _, Shown::Token(subject), _) => {
                Asking::Exchange {
                    subject,
                    subject_type: subject_token_type,
                }
            }
            (Grant::JwtBearer { .. }, Presented::Jwt(jwt), ..)
            | (Grant::JwtBearer { .. }, _, Shown::Token(jwt), _) => Asking::Jwt(jwt),
            (Grant::SamlBearer { .. }, Presented::Saml(assertion), ..) => Asking::Saml(assertion),
            // the configuration asks for a token only where what it needs is there
            _ => Asking::Nothing,
        }
    }

    /// One token request.
    pub(super) async fn once(
        &self,
        asking: Asking<'_>,
        endpoint: &Url,
        proof: &Proof,
        now: Moment,
    ) -> Result<Issued, ExchangeError> {
        let request = TokenRequest {
            endpoint,
            client_id: &self.credential.client_id,
            proof,
            scopes: self.scopes,
            extra: &self.credential.extra,
        };
        let http = &self.material.http;
        match asking {
            Asking::ClientCredentials => {
                grant::client_credentials::exchange(&request, http, now).await
            }
            Asking::Password { username, password } => {
                grant::password::exchange(&request, username, password, http, now).await
            }
            Asking::RefreshToken(token) => {
                // what the person granted may be less than what was asked for (RFC 6749 section 6)
                let all = ScopeSet::default();
                let granted =
                    self.credential.grant.is_kept() && *self.scopes == self.credential.scopes;
                let request = TokenRequest {
                    scopes: if granted { &all } else { self.scopes },
                    ..request
                };
                grant::refresh_token::exchange(&request, token, http, now).await
            }
            Asking::Exchange {
                subject,
                subject_type,
            } => grant::token_exchange::exchange(&request, subject, subject_type, http, now).await,
            Asking::Jwt(jwt) => grant::jwt_bearer::exchange(&request, jwt, http, now).await,
            Asking::Saml(assertion) => {
                let dialect = match &self.credential.grant {
                    Grant::SamlBearer { dialect, .. } => *dialect,
                    _ => SamlDialect::Rfc7522,
                };
                grant::saml_bearer::exchange(&request, assertion, dialect, http, now).await
            }
            Asking::Nothing => Err(ExchangeError::NothingShown),
        }
    }
}
