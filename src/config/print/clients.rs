//! Providers, and clients of theirs, as they could have been written.

use super::{
    super::{
        Assertion, ClientAuth, Credential, Endpoints, Flow, Grant, Introspected, Introspection,
        IntrospectionEndpoint, JwtSource, KeysLocation, Provider, Redirect, RefreshSource,
        SamlDialect, SamlSource,
        raw::{self, Texts},
    },
    client_tls, duration, forms, identity, list, scopes, text,
};

pub(super) fn provider(provider: &Provider) -> raw::Provider {
    let (also, token_endpoint) = match &provider.endpoints {
        Endpoints::Discover { also } => (Some(Texts(also.iter().map(issuer).collect())), None),
        Endpoints::Given { token } => (None, Some(token.to_string())),
    };
    raw::Provider {
        issuer: Some(issuer(&provider.issuer)),
        also,
        token_endpoint,
        jwks_uri: match &provider.keys.location {
            KeysLocation::Discover => None,
            KeysLocation::Given(url) => Some(url.to_string()),
        },
        algorithms: list(provider.keys.algorithms.iter()),
        max_stale: Some(duration(provider.keys.max_stale)),
        connect_timeout: Some(duration(provider.timeouts.connect)),
        timeout: Some(duration(provider.timeouts.total)),
        tls: client_tls(&provider.tls),
        introspection: provider.introspection.as_ref().map(introspection),
    }
}

/// An issuer as it is compared, without a trailing slash.
fn issuer(url: &url::Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

pub(super) fn credential(one: &Credential) -> raw::Credential {
    let mut raw = raw::Credential {
        provider: Some(one.provider.name.to_string()),
        client_id: Some(one.client_id.clone()),
        scopes: Some(scopes(&one.scopes)),
        parameters: one.extra.clone(),
        ..raw::Credential::default()
    };
    match &one.grant {
        Grant::ClientCredentials => raw.grant = Some(raw::GrantType::ClientCredentials),
        Grant::Password { username, password } => {
            raw.grant = Some(raw::GrantType::Password);
            raw.username = Some(username.clone());
            (raw.password, raw.password_file, raw.password_env) = forms(password);
        }
        Grant::TokenExchange { subject_token_type } => {
            raw.grant = Some(raw::GrantType::TokenExchange);
            raw.subject_token_type = Some(subject_token_type.clone());
        }
        Grant::SamlBearer { assertion, dialect } => {
            raw.grant = Some(raw::GrantType::SamlBearer);
            raw.dialect = Some(match dialect {
                SamlDialect::Bentley => raw::SamlDialect::Bentley,
                SamlDialect::Rfc7522 => raw::SamlDialect::Rfc7522,
            });
            match assertion {
                SamlSource::File(file) => raw.assertion = Some(from_file(file)),
                SamlSource::Sts(sts) => {
                    raw.username = Some(sts.username.clone());
                    (raw.password, raw.password_file, raw.password_env) = forms(&sts.password);
                    raw.sts = Some(raw::Sts {
                        url: Some(sts.url.to_string()),
                        delegation_url: sts.delegation.as_ref().map(ToString::to_string),
                        applies_to: Some(sts.applies_to.clone()),
                        device_id: Some(sts.device_id.clone()),
                        app_id: Some(sts.app_id.clone()),
                        lifetime: Some(duration(sts.lifetime)),
                    });
                }
            }
        }
        Grant::JwtBearer { assertion } => {
            raw.grant = Some(raw::GrantType::JwtBearer);
            raw.assertion = match assertion {
                JwtSource::File(file) => Some(from_file(file)),
                JwtSource::Credential(other) => Some(raw::GrantAssertion {
                    credential: Some(other.name.to_string()),
                    file: None,
                }),
                JwtSource::Caller => None,
            };
        }
        Grant::AuthorizationCode { flow } => {
            raw.grant = Some(raw::GrantType::AuthorizationCode);
            raw.flow = Some(match flow {
                Flow::Code => raw::Flow::Code,
                Flow::Implicit => raw::Flow::Implicit,
            });
        }
        Grant::RefreshToken { from } => {
            raw.grant = Some(raw::GrantType::RefreshToken);
            match from {
                RefreshSource::File(file) => raw.refresh_token_file = Some(text(file)),
                RefreshSource::Login(login) => raw.redirect = Some(redirect(&login.redirect)),
            }
        }
    }
    authenticated(&mut raw, &one.auth);
    raw
}

fn redirect(one: &Redirect) -> raw::Redirect {
    raw::Redirect {
        host: Some(one.host.as_str().to_owned()),
        ports: Some(one.ports.clone()),
        path: Some(one.path.clone()),
    }
}

fn from_file(file: &std::path::Path) -> raw::GrantAssertion {
    raw::GrantAssertion {
        credential: None,
        file: Some(text(file)),
    }
}

fn introspection(one: &Introspection) -> raw::Introspection {
    let mut client = raw::Credential {
        client_id: Some(one.client_id.clone()),
        ..raw::Credential::default()
    };
    authenticated(&mut client, &one.auth);
    raw::Introspection {
        endpoint: match &one.endpoint {
            IntrospectionEndpoint::Discover => None,
            IntrospectionEndpoint::Given(url) => Some(url.to_string()),
        },
        tokens: Some(match one.tokens {
            Introspected::Opaque => raw::IntrospectedTokens::Opaque,
            Introspected::All => raw::IntrospectedTokens::All,
        }),
        cache: Some(duration(one.cache)),
        ..raw::Introspection::of(client)
    }
}

/// How the client proves who it is.
fn authenticated(raw: &mut raw::Credential, auth: &ClientAuth) {
    let method = match auth {
        ClientAuth::None => raw::ClientAuthMethod::None,
        ClientAuth::Basic(pair) | ClientAuth::Post(pair) => {
            (
                raw.client_secret,
                raw.client_secret_file,
                raw.client_secret_env,
            ) = forms(&pair.current);
            if let Some(previous) = &pair.previous {
                (
                    raw.client_secret_previous,
                    raw.client_secret_previous_file,
                    raw.client_secret_previous_env,
                ) = forms(previous);
            }
            match auth {
                ClientAuth::Post(_) => raw::ClientAuthMethod::ClientSecretPost,
                _ => raw::ClientAuthMethod::ClientSecretBasic,
            }
        }
        ClientAuth::Assertion(Assertion::File(file)) => {
            raw.assertion_file = Some(text(file));
            raw::ClientAuthMethod::PrivateKeyJwt
        }
        ClientAuth::Assertion(Assertion::Signed(key)) => {
            (raw.private_key, raw.private_key_file, raw.private_key_env) = forms(&key.key);
            raw.private_key_algorithm = Some(format!("{:?}", key.algorithm));
            raw.private_key_id.clone_from(&key.key_id);
            raw.assertion_audience.clone_from(&key.audience);
            raw::ClientAuthMethod::PrivateKeyJwt
        }
        ClientAuth::MutualTls(own) => {
            raw.tls = Some(identity(own));
            raw::ClientAuthMethod::TlsClientAuth
        }
    };
    raw.client_auth = Some(method);
}
