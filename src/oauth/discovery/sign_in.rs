//! What a provider's metadata say for people who sign in: OpenID Connect Discovery 1.0 section 3,
//! RFC 8414 section 2, RFC 8628 section 4, RFC 9126 section 5, RFC 9207 section 3.
//!
//! An endpoint that a sign-in cannot do without is an error where it is asked for; one that it can
//! do without, and that must not be used, is left out and named. The endpoints are those of the
//! client that asks: one with a certificate has others (RFC 8705 section 5).

use serde::Deserialize;
use url::Url;

use super::{DiscoveryError, EndpointError, check_issuer, endpoint, fetch_text, same};
use crate::{config::ClientAuth, http::client::HttpClient};

/// A provider's metadata, checked, as far as signing in and out goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInMetadata {
    /// As the document writes it.
    pub issuer: String,
    /// Other names of the provider, by its operator's word.
    also: Vec<String>,
    host: String,
    authorization: Result<Url, EndpointError>,
    pub token_endpoint: Url,
    device_authorization: Result<Url, EndpointError>,
    /// RFC 9126.
    pub pushed: Option<Url>,
    /// It takes no other requests.
    pub requires_pushed: bool,
    /// OpenID Connect RP-Initiated Logout 1.0.
    pub end_session: Option<Url>,
    /// RFC 7009.
    pub revocation: Option<Url>,
    /// It says in authorization responses who it is (RFC 9207).
    pub says_issuer: bool,
    /// Endpoints that are named but must not be used, and why.
    pub left_out: Vec<(&'static str, EndpointError)>,
}

impl SignInMetadata {
    /// Where browsers are sent.
    ///
    /// # Errors
    /// When there is none: a provider for devices only, or for software only.
    pub fn authorization_endpoint(&self) -> Result<&Url, DiscoveryError> {
        self.needed("authorization endpoint", &self.authorization)
    }

    /// RFC 8628.
    ///
    /// # Errors
    /// When the provider has no sign-in for devices.
    pub fn device_authorization(&self) -> Result<&Url, DiscoveryError> {
        let endpoint = &self.device_authorization;
        self.needed("device authorization endpoint", endpoint)
    }

    fn needed<'a>(
        &self,
        what: &'static str,
        endpoint: &'a Result<Url, EndpointError>,
    ) -> Result<&'a Url, DiscoveryError> {
        endpoint.as_ref().map_err(|why| DiscoveryError::SignIn {
            host: self.host.clone(),
            what,
            why: *why,
        })
    }

    /// Whether this is a name of the provider: to the character, but for one `/` at the end.
    pub fn is_named(&self, name: &str) -> bool {
        let also = self.also.iter().map(String::as_str);
        std::iter::once(&*self.issuer)
            .chain(also)
            .any(|known| same(known, name))
    }
}

/// As it is written. Unknown members are of no interest.
#[derive(Debug, Deserialize)]
struct Document {
    issuer: String,
    #[serde(flatten)]
    endpoints: Endpoints,
    #[serde(default)]
    mtls_endpoint_aliases: Endpoints,
    #[serde(default)]
    require_pushed_authorization_requests: bool,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Endpoints {
    #[serde(rename = "authorization_endpoint")]
    authorization: Option<String>,
    #[serde(rename = "token_endpoint")]
    token: Option<String>,
    #[serde(rename = "pushed_authorization_request_endpoint")]
    pushed: Option<String>,
    #[serde(rename = "end_session_endpoint")]
    end_session: Option<String>,
    #[serde(rename = "revocation_endpoint")]
    revocation: Option<String>,
    #[serde(rename = "device_authorization_endpoint")]
    device: Option<String>,
}

impl Endpoints {
    /// Those that a client with a certificate asks instead; browsers have none of ours.
    fn or(self, other: Self) -> Self {
        Self {
            authorization: other.authorization,
            end_session: other.end_session,
            token: self.token.or(other.token),
            pushed: self.pushed.or(other.pushed),
            revocation: self.revocation.or(other.revocation),
            device: self.device.or(other.device),
        }
    }
}

/// Fetches and checks the metadata of `issuer`, for a client that proves itself by `auth`. `also`:
/// other names that the document and tokens may give.
///
/// # Errors
/// When there is no document, or none that can be believed, or it names no token endpoint, or it
/// wants requests to be pushed and does not say where.
pub async fn discover_sign_in(
    http: &HttpClient,
    issuer: &Url,
    also: &[Url],
    auth: &ClientAuth,
) -> Result<SignInMetadata, DiscoveryError> {
    let text = fetch_text(http, issuer).await?;
    read(&text, issuer, also, auth)
}

pub(in crate::oauth) fn read(
    text: &[u8],
    issuer: &Url,
    also: &[Url],
    auth: &ClientAuth,
) -> Result<SignInMetadata, DiscoveryError> {
    let host = issuer.host_str().unwrap_or_default().to_owned();
    let Ok(document) = serde_json::from_slice::<Document>(text) else {
        return Err(DiscoveryError::Unreadable { host });
    };
    check_issuer(&document.issuer, issuer, also)?;
    let named = match auth {
        ClientAuth::MutualTls(_) => document.mtls_endpoint_aliases.or(document.endpoints),
        _ => document.endpoints,
    };
    let checked = |written: &Option<String>| endpoint(written.as_deref(), issuer);
    let mut left_out = Vec::new();
    let mut usable = |what, written: &Option<String>| match checked(written) {
        Ok(url) => Some(url),
        Err(why) => {
            if written.is_some() {
                left_out.push((what, why));
            }
            None
        }
    };
    let pushed = usable("pushed_authorization_request_endpoint", &named.pushed);
    let end_session = usable("end_session_endpoint", &named.end_session);
    let revocation = usable("revocation_endpoint", &named.revocation);
    let needed = |what, why| DiscoveryError::SignIn {
        host: host.clone(),
        what,
        why,
    };
    let requires_pushed = document.require_pushed_authorization_requests;
    if requires_pushed && pushed.is_none() {
        let why = checked(&named.pushed)
            .err()
            .unwrap_or(EndpointError::Missing);
        return Err(needed("endpoint for pushed requests", why));
    }
    let token_endpoint = checked(&named.token).map_err(|why| needed("token endpoint", why))?;
    Ok(SignInMetadata {
        authorization: checked(&named.authorization),
        device_authorization: checked(&named.device),
        token_endpoint,
        pushed,
        requires_pushed,
        end_session,
        revocation,
        says_issuer: document.authorization_response_iss_parameter_supported,
        left_out,
        issuer: document.issuer,
        also: std::iter::once(issuer)
            .chain(also)
            .map(Url::to_string)
            .collect(),
        host,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::Identity;

    /// As `IdentityServer` and `PingFederate` write it.
    fn document(changes: &Value) -> Value {
        let mut document = json!({
            "issuer": "https://ims.example",
            "authorization_endpoint": "https://ims.example/connect/authorize",
            "token_endpoint": "https://ims.example/connect/token",
            "end_session_endpoint": "https://ims.example/connect/endsession",
            "revocation_endpoint": "https://ims.example/connect/revocation",
        });
        for (name, value) in changes.as_object().unwrap() {
            document[name] = value.clone();
        }
        document
    }

    fn read_as(auth: &ClientAuth, changes: &Value) -> Result<SignInMetadata, DiscoveryError> {
        let issuer = "https://ims.example".parse().unwrap();
        let also = ["https://imsoidc.example".parse().unwrap()];
        let text = document(changes).to_string();
        read(text.as_bytes(), &issuer, &also, auth)
    }

    fn read_with(changes: &Value) -> Result<SignInMetadata, DiscoveryError> {
        read_as(&ClientAuth::None, changes)
    }

    fn text(url: Option<&Url>) -> &str {
        url.map(Url::as_str).unwrap_or_default()
    }

    #[test]
    fn a_provider_says_where_people_sign_in_and_out() {
        let metadata = read_with(&json!({})).unwrap();
        assert_eq!(
            metadata.authorization_endpoint().unwrap().as_str(),
            "https://ims.example/connect/authorize"
        );
        assert_eq!(
            text(metadata.end_session.as_ref()),
            "https://ims.example/connect/endsession"
        );
        assert_eq!(metadata.pushed, None);
        assert!(!metadata.says_issuer && metadata.left_out.is_empty());
        for name in ["https://ims.example", "https://ims.example/"] {
            assert!(metadata.is_named(name), "{name}");
        }
        assert!(metadata.is_named("https://imsoidc.example"));
        for name in ["", "https://ims.example//", "https://IMS.example", "ims"] {
            assert!(!metadata.is_named(name), "{name}");
        }
    }

    #[test]
    fn what_a_sign_in_cannot_do_without_is_an_error_that_names_it() {
        for (changes, named) in [
            (json!({"token_endpoint": null}), "no token endpoint"),
            (
                json!({"token_endpoint": "http://ims.example/t"}),
                "no token endpoint",
            ),
            (
                json!({"require_pushed_authorization_requests": true}),
                "no endpoint for pushed requests",
            ),
            (json!({"issuer": "https://evil.example"}), "another issuer"),
            (json!({"issuer": null}), "cannot be read"),
        ] {
            let error = read_with(&changes).unwrap_err().to_string();
            assert!(error.contains(named), "{changes}: {error}");
        }
        for written in [
            json!(null),
            json!("/connect/authorize"),
            json!("http://ims.example/connect/authorize"),
            json!("https://ims.example/connect/authorize#x"),
            json!("https://u@ims.example/connect/authorize"),
            json!("javascript:alert(1)"),
        ] {
            let metadata = read_with(&json!({"authorization_endpoint": written})).unwrap();
            let error = metadata.authorization_endpoint().unwrap_err().to_string();
            assert!(
                error.contains("no authorization endpoint"),
                "{written}: {error}"
            );
        }
        let metadata = read_with(&json!({})).unwrap();
        let error = metadata.device_authorization().unwrap_err().to_string();
        assert!(
            error.contains("no device authorization endpoint"),
            "{error}"
        );
    }

    #[test]
    fn what_must_not_be_used_is_left_out_and_named() {
        let metadata = read_with(&json!({
            "revocation_endpoint": "http://ims.example/r",
            "end_session_endpoint": "ftp://ims.example/",
        }));
        let metadata = metadata.unwrap();
        assert_eq!((metadata.revocation, metadata.end_session), (None, None));
        assert_eq!(
            metadata.left_out,
            [
                ("end_session_endpoint", EndpointError::NotSecure),
                ("revocation_endpoint", EndpointError::Downgrade),
            ]
        );
    }

    #[test]
    fn a_client_with_a_certificate_has_endpoints_of_its_own() {
        let changes = json!({
            "pushed_authorization_request_endpoint": "https://ims.example/par",
            "device_authorization_endpoint": "https://ims.example/device",
            "mtls_endpoint_aliases": {
                "token_endpoint": "https://mtls.ims.example/token",
                "pushed_authorization_request_endpoint": "https://mtls.ims.example/par",
                "authorization_endpoint": "https://mtls.ims.example/no",
            },
        });
        let path = PathBuf::from("/etc/key.pem");
        let identity = Identity {
            certificate: path.clone(),
            key: path,
        };
        let shown = |metadata: &SignInMetadata| {
            format!(
                "{} {} {} {} {}",
                metadata.token_endpoint,
                text(metadata.pushed.as_ref()),
                metadata.device_authorization().unwrap(),
                text(metadata.revocation.as_ref()),
                metadata.authorization_endpoint().unwrap(),
            )
        };
        let with = read_as(&ClientAuth::MutualTls(identity), &changes).unwrap();
        assert_eq!(
            shown(&with),
            "https://mtls.ims.example/token https://mtls.ims.example/par \
             https://ims.example/device https://ims.example/connect/revocation \
             https://ims.example/connect/authorize"
        );
        let without = read_with(&changes).unwrap();
        assert!(!shown(&without).contains("mtls"));
    }
}
