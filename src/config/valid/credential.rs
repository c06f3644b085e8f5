//! Credentials: client, grant and scopes fit together.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::{
        Credential, Flow, Grant, Name, PLACEHOLDERS, Provider, ScopeSet, SecretSource,
        path::Path,
        problem::did_you_mean,
        raw::{self, GrantType},
    },
    Check,
    assertion::in_order,
    files::Forms,
    login::default_scopes,
    provider::{BENTLEY_SCOPE, Providers, preset_of},
};

/// Scopes that ask about a person.
const OIDC_SCOPES: [&str; 7] = [
    "openid",
    "profile",
    "email",
    "address",
    "phone",
    "organization",
    "offline_access",
];

/// RFC 8693 section 3.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Parameters that the program itself sends.
const RESERVED: [&str; 13] = [
    "grant_type",
    "assertion",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "scope",
    "username",
    "password",
    "refresh_token",
    "subject_token",
    "subject_token_type",
    "requested_token_type",
];

impl Check<'_> {
    pub(super) fn credentials(
        &mut self,
        written: &BTreeMap<String, raw::Credential>,
        providers: &Providers,
    ) -> BTreeMap<Name, Arc<Credential>> {
        let mut all = BTreeMap::new();
        for name in written.keys() {
            self.name(&Path::root().key("credentials").key(name), name);
        }
        let (order, round) = in_order(written);
        self.in_a_circle(&round);
        let named = order
            .into_iter()
            .filter_map(|name| written.get_key_value(name));
        for (name, raw) in named {
            let path = Path::root().key("credentials").key(name);
            if let Some(credential) = self.credential(&path, name, raw, providers, &all) {
                all.insert(Name::from(name.as_str()), Arc::new(credential));
            }
        }
        all
    }

    fn credential(
        &mut self,
        path: &Path,
        name: &str,
        raw: &raw::Credential,
        providers: &Providers,
        others: &BTreeMap<Name, Arc<Credential>>,
    ) -> Option<Credential> {
        let provider =
            self.provider_called(&path.key("provider"), raw.provider.as_deref(), providers);
        let client_id = self.client_id(path, raw.client_id.as_ref());
        let grant = self.grant(path, raw, provider.as_deref(), others);
        let auth = self.client_auth(path, raw);
        let scopes = self.credential_scopes(path, raw, provider.as_deref());
        for key in raw
            .parameters
            .keys()
            .filter(|key| RESERVED.contains(&key.as_str()))
        {
            self.error(
                &path.key("parameters").key(key),
                "is sent by the program itself",
                "it has a key of its own beside parameters",
            );
        }
        Some(Credential {
            name: name.into(),
            provider: provider?,
            client_id: client_id?,
            auth: auth?,
            grant: grant?,
            scopes,
            extra: raw.parameters.clone(),
        })
    }

    pub(super) fn client_id(&mut self, above: &Path, written: Option<&String>) -> Option<String> {
        let good = |id: &&String| !id.is_empty() && id.chars().all(|c| matches!(c, ' '..='~'));
        let found = written.filter(good);
        if written.is_some() && found.is_none() {
            self.error(
                &above.key("client_id"),
                "must be printable ASCII and not empty (RFC 6749 appendix A.1)",
                "",
            );
        }
        if let Some(left) = found.filter(|id| PLACEHOLDERS.contains(&id.as_str())) {
            self.error(
                &above.key("client_id"),
                format!("'{left}' is what init wrote to be filled in"),
                "write the identifier that the application got when it was registered at https://developer.bentley.com",
            );
        }
        found.cloned()
    }

    pub(super) fn provider_called(
        &mut self,
        path: &Path,
        written: Option<&str>,
        providers: &Providers,
    ) -> Option<Arc<Provider>> {
        let Some(name) = written.or(providers.default_name()) else {
            self.missing(
                path,
                "must be given, because several providers are declared",
                "",
            );
            return None;
        };
        let provider = providers.get(name).cloned();
        if provider.is_none() && !providers.names().any(|known| known == name) {
            let hint = did_you_mean(name, providers.names()).unwrap_or_else(|| {
                format!(
                    "known: {}",
                    providers.names().collect::<Vec<_>>().join(", ")
                )
            });
            self.error(
                path,
                format!("no provider is called '{}'", name.escape_debug()),
                hint,
            );
        }
        provider
    }

    /// Keys that are for other grants than the one that is written.
    fn of_other_grants(&mut self, path: &Path, raw: &raw::Credential, kind: GrantType) {
        let other_grant = "has no effect with this grant";
        let from_file = kind == GrantType::SamlBearer && raw.assertion.is_some();
        let has_user = matches!(kind, GrantType::Password | GrantType::SamlBearer) && !from_file;
        if !has_user && (raw.username.is_some() || password(raw).given()) {
            let key = if raw.username.is_some() {
                "username"
            } else {
                "password"
            };
            if from_file {
                let text = "has no effect with an assertion from a file";
                self.error(&path.key(key), text, "keep one of them");
            } else {
                self.error(&path.key(key), other_grant, "did you mean grant: password?");
            }
        }
        if kind != GrantType::SamlBearer && (raw.sts.is_some() || raw.dialect.is_some()) {
            let key = if raw.sts.is_some() { "sts" } else { "dialect" };
            let hint = "did you mean grant: saml_bearer?";
            self.error(&path.key(key), other_grant, hint);
        }
        if !matches!(kind, GrantType::SamlBearer | GrantType::JwtBearer) && raw.assertion.is_some()
        {
            self.error(
                &path.key("assertion"),
                other_grant,
                "did you mean grant: jwt_bearer, or assertion_file?",
            );
        }
        if kind != GrantType::RefreshToken
            && (raw.refresh_token_file.is_some() || raw.redirect.is_some())
        {
            let from_file = raw.refresh_token_file.is_some();
            let key = if from_file {
                "refresh_token_file"
            } else {
                "redirect"
            };
            self.error(
                &path.key(key),
                other_grant,
                "did you mean grant: refresh_token?",
            );
        }
        if kind != GrantType::AuthorizationCode && raw.flow.is_some() {
            let hint = "did you mean grant: authorization_code?";
            self.error(&path.key("flow"), other_grant, hint);
        }
        if kind != GrantType::TokenExchange && raw.subject_token_type.is_some() {
            self.error(
                &path.key("subject_token_type"),
                other_grant,
                "did you mean grant: token_exchange?",
            );
        }
    }

    fn grant(
        &mut self,
        path: &Path,
        raw: &raw::Credential,
        provider: Option<&Provider>,
        others: &BTreeMap<Name, Arc<Credential>>,
    ) -> Option<Grant> {
        let kind = raw.grant.unwrap_or(GrantType::ClientCredentials);
        self.of_other_grants(path, raw, kind);
        match kind {
            GrantType::JwtBearer => self.jwt_bearer(path, raw, others),
            GrantType::SamlBearer => {
                let user = match raw.assertion {
                    Some(_) => None,
                    None => self.user(path, raw, "saml_bearer"),
                };
                self.saml_bearer(path, raw, provider, user)
            }
            GrantType::TokenExchange => Some(Grant::TokenExchange {
                subject_token_type: raw
                    .subject_token_type
                    .clone()
                    .unwrap_or_else(|| ACCESS_TOKEN.to_owned()),
            }),
            GrantType::AuthorizationCode => Some(Grant::AuthorizationCode {
                flow: match raw.flow {
                    None | Some(raw::Flow::Code) => Flow::Code,
                    Some(raw::Flow::Implicit) => Flow::Implicit,
                },
            }),
            GrantType::ClientCredentials => Some(Grant::ClientCredentials),
            GrantType::Password => {
                let (username, password) = self.user(path, raw, "password")?;
                Some(Grant::Password { username, password })
            }
            GrantType::RefreshToken => self.refresh_token(path, raw, provider),
        }
    }

    /// Name and password, which `grant` needs.
    fn user(
        &mut self,
        path: &Path,
        raw: &raw::Credential,
        grant: &str,
    ) -> Option<(String, SecretSource)> {
        if raw.username.is_none() {
            let text = format!("is missing: the grant {grant} needs it");
            self.missing(&path.key("username"), text, "");
        }
        let password = password(raw);
        if !password.given() {
            self.missing(
                &path.key("password"),
                format!("is missing: the grant {grant} needs it"),
                "give password_file, password_env or password",
            );
        }
        let password = self.secret(path, password);
        raw.username.clone().zip(password)
    }

    fn credential_scopes(
        &mut self,
        path: &Path,
        raw: &raw::Credential,
        provider: Option<&Provider>,
    ) -> ScopeSet {
        let kind = raw.grant.unwrap_or(GrantType::ClientCredentials);
        let Some(words) = &raw.scopes else {
            let bentley = provider.is_some_and(|provider| preset_of(provider).is_some());
            let kept = raw.refresh_token_file.is_none();
            return match kind {
                GrantType::AuthorizationCode => {
                    let offline =
                        (raw.flow != Some(raw::Flow::Implicit)).then_some("offline_access");
                    let person = ["openid", "profile", "email"].into_iter().chain(offline);
                    ScopeSet::new(person.chain(bentley.then_some(BENTLEY_SCOPE)))
                }
                GrantType::RefreshToken if kept => ScopeSet::new(default_scopes(bentley)),
                GrantType::RefreshToken => ScopeSet::default(),
                _ => ScopeSet::new(bentley.then_some(BENTLEY_SCOPE)),
            };
        };
        let for_person = kind != GrantType::ClientCredentials;
        self.scopes(&path.key("scopes"), &words.0, for_person)
    }

    /// Scopes, each a token of RFC 6749 section 3.3 that the grant can ask for.
    pub(super) fn scopes(&mut self, path: &Path, words: &[String], for_person: bool) -> ScopeSet {
        for (n, item) in words.iter().enumerate() {
            let path = path.index(n);
            for scope in item.split_ascii_whitespace() {
                if !scope
                    .chars()
                    .all(|c| matches!(c, '!' | '#'..='[' | ']'..='~'))
                {
                    self.error(
                        &path,
                        format!(
                            "'{}' is not a scope (RFC 6749 section 3.3)",
                            scope.escape_debug()
                        ),
                        "a scope is printable ASCII without quotes and backslashes",
                    );
                } else if OIDC_SCOPES.contains(&scope) && !for_person {
                    self.error(
                        &path,
                        format!("'{scope}' cannot be asked for with the grant client_credentials: it asks about a person who signs in, and nobody does"),
                        format!("leave it out; {BENTLEY_SCOPE} is what a service at Bentley needs"),
                    );
                }
            }
        }
        ScopeSet::new(words)
    }
}

fn password(raw: &raw::Credential) -> Forms<'_> {
    Forms {
        key: "password",
        value: raw.password.as_ref(),
        file: raw.password_file.as_ref(),
        env: raw.password_env.as_ref(),
    }
}
