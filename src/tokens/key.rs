//! What makes two token requests the same.
//!
//! A [`Key`] holds every input that shapes the request, so that a token is never handed to a
//! request that would have been answered with another one. In memory keys are compared whole; the
//! store knows them by a digest over length-prefixed fields, so that no two keys read alike.

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::config::{
    Assertion, ClientAuth, Credential, Endpoints, Grant, JwtSource, SamlSource, ScopeSet,
};

/// All inputs of a token request but the secrets themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(Vec<(&'static str, String)>);

/// A key's name in the store.
pub(super) type KeyDigest = [u8; 32];

impl Key {
    pub(super) fn new(credential: &Credential, scopes: &ScopeSet) -> Self {
        let provider = &credential.provider;
        let mut fields = vec![
            ("credential", credential.name.to_string()),
            ("issuer", provider.issuer.to_string()),
            ("client_id", credential.client_id.clone()),
            ("grant", credential.grant.grant_type().to_owned()),
        ];
        if let Endpoints::Given { token } = &provider.endpoints {
            fields.push(("token_endpoint", token.to_string()));
        }
        let tls = &provider.tls;
        if let Some(name) = &tls.server_name {
            fields.push(("server_name", name.clone()));
        }
        for address in &tls.addresses {
            fields.push(("address", address.to_string()));
        }
        fields.push(("auth", auth(&credential.auth)));
        match &credential.grant {
            // tokens of an exchange and of a person belong to somebody: none is kept by this key
            Grant::ClientCredentials
            | Grant::TokenExchange { .. }
            | Grant::AuthorizationCode { .. } => {}
            Grant::Password { username, .. } => fields.push(("username", username.clone())),
            Grant::RefreshToken { .. } => {
                let place = super::rotation::watched(credential).unwrap_or_default();
                fields.push(("file", place.display().to_string()));
            }
            Grant::SamlBearer { assertion, dialect } => {
                fields.push(("dialect", format!("{dialect:?}")));
                saml(assertion, &mut fields);
            }
            Grant::JwtBearer { assertion } => fields.push(match assertion {
                JwtSource::Caller => ("token of", "the caller".to_owned()),
                JwtSource::File(file) => ("file", file.display().to_string()),
                JwtSource::Credential(other) => {
                    let digest = Self::new(other, &other.scopes).digest();
                    ("token of", URL_SAFE_NO_PAD.encode(digest))
                }
            }),
        }
        for scope in scopes.iter() {
            fields.push(("scope", scope.to_owned()));
        }
        for (name, value) in &credential.extra {
            fields.push(("extra", name.clone()));
            fields.push(("value", value.clone()));
        }
        Self(fields)
    }

    pub(super) fn digest(&self) -> KeyDigest {
        let mut context = Context::new(&SHA256);
        for text in self
            .0
            .iter()
            .flat_map(|(name, value)| [name, value.as_str()])
        {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        let mut digest = KeyDigest::default();
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

fn saml(assertion: &SamlSource, fields: &mut Vec<(&'static str, String)>) {
    match assertion {
        SamlSource::File(file) => fields.push(("file", file.display().to_string())),
        SamlSource::Sts(sts) => {
            let delegation = sts.delegation.as_ref().map(ToString::to_string);
            fields.extend([
                ("username", sts.username.clone()),
                ("sts", sts.url.to_string()),
                ("delegation", delegation.unwrap_or_default()),
                ("applies_to", sts.applies_to.clone()),
                ("device_id", sts.device_id.clone()),
                ("app_id", sts.app_id.clone()),
                ("lifetime", sts.lifetime.as_secs().to_string()),
            ]);
        }
    }
}

fn auth(auth: &ClientAuth) -> String {
    match auth {
        ClientAuth::None => "none".into(),
        ClientAuth::Basic(_) => "basic".into(),
        ClientAuth::Post(_) => "post".into(),
        ClientAuth::Assertion(Assertion::Signed(key)) => format!(
            "private_key_jwt {:?} {:?} {:?}",
            key.algorithm, key.key_id, key.audience
        ),
        ClientAuth::Assertion(Assertion::File(path)) => format!("assertion {}", path.display()),
        ClientAuth::MutualTls(identity) => format!("mtls {}", identity.certificate.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::RefreshSource, tokens::tests::credential};

    #[test]
    fn the_order_of_scopes_does_not_matter_but_every_scope_does() {
        let credential = credential();
        let key = |scopes: &str| Key::new(&credential, &ScopeSet::new([scopes]));
        assert_eq!(key("b a"), key("a b"));
        assert_eq!(key("b a").digest(), key("a b").digest());
        assert_ne!(key("a b").digest(), key("ab").digest());
        assert_ne!(key("a").digest(), key("a b").digest());
    }

    #[test]
    fn every_input_that_shapes_the_request_makes_another_key() {
        let scopes = ScopeSet::new(["a"]);
        let base = credential();
        let mut others = vec![base.clone(); 6];
        others[0].client_id = "other".into();
        others[1]
            .extra
            .insert("resource".into(), "https://a".into());
        others[2]
            .extra
            .insert("resource".into(), "https://b".into());
        others[3].grant = Grant::RefreshToken {
            from: RefreshSource::File("/run/token".into()),
        };
        others[4].auth = ClientAuth::None;
        let mut provider = (*base.provider).clone();
        provider.issuer = "https://other.example".parse().unwrap();
        others[5].provider = provider.into();
        let mut seen = std::collections::HashSet::from([Key::new(&base, &scopes).digest()]);
        for other in &others {
            assert!(seen.insert(Key::new(other, &scopes).digest()), "{other:?}");
        }
    }

    #[test]
    fn fields_that_run_into_each_other_stay_apart() {
        let mut one = credential();
        one.extra.insert("a".into(), "bc".into());
        let mut two = credential();
        two.extra.insert("ab".into(), "c".into());
        let scopes = ScopeSet::default();
        assert_ne!(
            Key::new(&one, &scopes).digest(),
            Key::new(&two, &scopes).digest()
        );
    }
}
