//! How a client proves who it is: what is given must fit together, and keys must sign.

use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::{
    super::{
        Assertion, ClientAuth, SecretSource, SigningKey,
        path::Path,
        raw::{self, ClientAuthMethod, GrantType},
    },
    Check,
    files::Forms,
};

/// What is given to prove it with.
struct Proofs<'a> {
    secret: Forms<'a>,
    previous: Forms<'a>,
    key: Forms<'a>,
    /// The key of each that is given, and what it is for.
    given: Vec<(&'static str, ClientAuthMethod)>,
}

impl<'a> Proofs<'a> {
    fn of(raw: &'a raw::Credential) -> Self {
        let secret = Forms {
            key: "client_secret",
            value: raw.client_secret.as_ref(),
            file: raw.client_secret_file.as_ref(),
            env: raw.client_secret_env.as_ref(),
        };
        let previous = Forms {
            key: "client_secret_previous",
            value: raw.client_secret_previous.as_ref(),
            file: raw.client_secret_previous_file.as_ref(),
            env: raw.client_secret_previous_env.as_ref(),
        };
        let key = Forms {
            key: "private_key",
            value: raw.private_key.as_ref(),
            file: raw.private_key_file.as_ref(),
            env: raw.private_key_env.as_ref(),
        };
        let given = [
            (
                "client_secret",
                secret.given(),
                ClientAuthMethod::ClientSecretBasic,
            ),
            ("private_key", key.given(), ClientAuthMethod::PrivateKeyJwt),
            (
                "assertion_file",
                raw.assertion_file.is_some(),
                ClientAuthMethod::PrivateKeyJwt,
            ),
            ("tls", raw.tls.is_some(), ClientAuthMethod::TlsClientAuth),
        ]
        .into_iter()
        .filter(|(_, given, _)| *given)
        .map(|(name, _, method)| (name, method))
        .collect();
        Self {
            secret,
            previous,
            key,
            given,
        }
    }
}

impl Check<'_> {
    /// How the client proves who it is.
    pub(super) fn client_auth(&mut self, path: &Path, raw: &raw::Credential) -> Option<ClientAuth> {
        let proofs = Proofs::of(raw);
        if proofs.previous.given() && !proofs.secret.given() {
            self.missing(
                path,
                "client_secret_previous is given without client_secret",
                "the previous secret is tried after the current one",
            );
        }
        let (secret, previous) = (proofs.secret, proofs.previous);
        match self.auth_method(path, raw, &proofs)? {
            ClientAuthMethod::None => Some(ClientAuth::None),
            ClientAuthMethod::ClientSecretBasic => self
                .secret_pair(path, secret, previous)
                .map(ClientAuth::Basic),
            ClientAuthMethod::ClientSecretPost => self
                .secret_pair(path, secret, previous)
                .map(ClientAuth::Post),
            ClientAuthMethod::TlsClientAuth => {
                let identity = self.identity(&path.key("tls"), raw.tls.as_ref()?)?;
                Some(ClientAuth::MutualTls(identity))
            }
            ClientAuthMethod::PrivateKeyJwt => {
                if let Some(file) = &raw.assertion_file {
                    let file = self.readable(&path.key("assertion_file"), file)?;
                    return Some(ClientAuth::Assertion(Assertion::File(file)));
                }
                let key = self.secret(path, proofs.key)?;
                self.signing_key(path, raw, key)
                    .map(|key| ClientAuth::Assertion(Assertion::Signed(key)))
            }
        }
    }

    /// The method that is asked for, or that fits what is given.
    fn auth_method(
        &mut self,
        path: &Path,
        raw: &raw::Credential,
        proofs: &Proofs<'_>,
    ) -> Option<ClientAuthMethod> {
        use ClientAuthMethod as Method;
        let at = path.key("client_auth");
        let public_by_default = matches!(
            raw.grant,
            Some(GrantType::Password | GrantType::RefreshToken | GrantType::AuthorizationCode)
        );
        // RFC 7521 section 4.2: the assertion may be all that is shown, but hardly anybody means it
        let may_be_public = matches!(
            raw.grant,
            Some(GrantType::SamlBearer | GrantType::JwtBearer)
        );
        match (raw.client_auth, proofs.given.as_slice()) {
            (_, [first, second, ..]) => {
                let text = format!("{} and {} are both given", first.0, second.0);
                self.error(
                    path,
                    text,
                    "the client proves who it is in one way: keep one of them",
                );
                None
            }
            (Some(Method::ClientSecretPost), [(_, Method::ClientSecretBasic)]) => {
                Some(Method::ClientSecretPost)
            }
            (Some(wanted), [(name, fitting)]) if wanted != *fitting => {
                let text = format!("is {}, but {name} is given", wanted.name());
                self.error(
                    &at,
                    text,
                    format!("leave client_auth out, it is {} by itself", fitting.name()),
                );
                None
            }
            (_, [(_, fitting)]) => Some(*fitting),
            (None | Some(Method::None), []) if public_by_default => Some(Method::None),
            (Some(Method::None), []) if may_be_public => Some(Method::None),
            (Some(Method::None), []) => {
                self.error(
                    &at,
                    "a public client cannot use client_credentials (RFC 6749 section 4.4)",
                    "give the client a secret or a key",
                );
                None
            }
            (Some(wanted), []) => {
                self.missing(
                    path,
                    format!("{} needs {}", wanted.name(), needs(wanted)),
                    "",
                );
                None
            }
            (None, []) => {
                self.missing(
                    path,
                    "nothing says how the client proves who it is",
                    "give client_secret_file, client_secret_env or client_secret; or private_key_file, assertion_file or tls",
                );
                None
            }
        }
    }

    fn signing_key(
        &mut self,
        path: &Path,
        raw: &raw::Credential,
        key: SecretSource,
    ) -> Option<SigningKey> {
        let algorithm_path = path.key("private_key_algorithm");
        let candidates = match raw.private_key_algorithm.as_deref() {
            None => vec![
                Algorithm::RS256,
                Algorithm::ES256,
                Algorithm::ES384,
                Algorithm::EdDSA,
            ],
            Some(name) => {
                let known = name.parse().ok().filter(|algorithm| {
                    !matches!(
                        algorithm,
                        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512
                    )
                });
                let Some(algorithm) = known else {
                    self.error(
                        &algorithm_path,
                        "is not an algorithm for private keys",
                        "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA are",
                    );
                    return None;
                };
                vec![algorithm]
            }
        };
        let pem = key.read().ok()?;
        let fitting = candidates
            .iter()
            .copied()
            .find(|algorithm| can_sign(pem.expose().as_bytes(), *algorithm));
        let Some(algorithm) = fitting else {
            if raw.private_key_algorithm.is_some() {
                self.error(
                    &algorithm_path,
                    "does not fit the private key",
                    "leave it out to use what fits",
                );
            } else {
                self.error(&path.key("private_key_file"), "is not a private key in PEM that can sign", "RSA, ECDSA (P-256, P-384) and Ed25519 keys can; an encrypted key must be decrypted first");
            }
            return None;
        };
        Some(SigningKey {
            key,
            algorithm,
            key_id: raw.private_key_id.clone(),
            audience: raw.assertion_audience.clone(),
        })
    }
}

fn needs(method: ClientAuthMethod) -> &'static str {
    match method {
        ClientAuthMethod::ClientSecretBasic | ClientAuthMethod::ClientSecretPost => {
            "client_secret_file, client_secret_env or client_secret"
        }
        ClientAuthMethod::PrivateKeyJwt => {
            "private_key_file, private_key_env, private_key or assertion_file"
        }
        ClientAuthMethod::TlsClientAuth => "tls with a certificate and its key",
        ClientAuthMethod::None => "nothing",
    }
}

/// Whether this key signs with this algorithm: tried, because kinds of keys differ within PEM.
fn can_sign(pem: &[u8], algorithm: Algorithm) -> bool {
    let key = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
        _ => EncodingKey::from_rsa_pem(pem),
    };
    key.and_then(|key| jsonwebtoken::encode(&Header::new(algorithm), &serde_json::json!({}), &key))
        .is_ok()
}
