//! A security token service that speaks JSON, as Bentley IMS has one: an assertion for a user's name
//! and password, and another one for that.
//!
//! Bodies and header fields are those of `ImsActiveSecureTokenClient` and
//! `ImsDelegationSecureTokenClient` of iModel.js 0.x and 1.x.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    saml::{SamlAssertion, SamlError},
    token_endpoint::retry_after,
    types::Class,
};
use crate::{
    clock::Moment,
    config::Sts,
    http::client::{ClientError, HttpClient},
    secret::Secret,
};

/// Whom the request went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Name and password become an assertion.
    SignIn,
    /// That assertion becomes another.
    Delegation,
}

/// No assertion.
#[derive(Debug, thiserror::Error)]
pub enum StsError {
    #[error("{step}: {source}")]
    Client { step: Step, source: ClientError },
    /// 401 or 403.
    #[error("{step} {host} refuses {} ({})", .step.shown(), .status.as_u16())]
    Refused {
        step: Step,
        host: String,
        status: StatusCode,
    },
    #[error("{step} {host} answered {}", .status.as_u16())]
    Status {
        step: Step,
        host: String,
        status: StatusCode,
        retry_after: Option<Duration>,
    },
    #[error("the answer of {step} {host} {what}")]
    Unusable {
        step: Step,
        host: String,
        what: &'static str,
    },
}

/// An assertion that was issued just now.
#[derive(Debug, Clone)]
pub struct IssuedAssertion {
    pub assertion: SamlAssertion,
    /// From the moment the request was sent; by the service's clock where it tells the time.
    pub life: Option<Duration>,
}

/// `RequestSecurityToken`, as the STS wants it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SignIn<'a> {
    applies_to: &'a str,
    device_id: &'a str,
    app_id: &'a str,
    /// Minutes.
    lifetime: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Delegation<'a> {
    act_as: &'a str,
    applies_to: &'a str,
    applies_to_bootstrap_token: &'a str,
    device_id: &'a str,
    app_id: &'a str,
    lifetime: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    requested_security_token: Option<String>,
}

/// What the old clients ask for; the token endpoint sees it at once.
const DELEGATED_MINUTES: u64 = 60;

/// An assertion for the user of `sts`, asked for at `now`.
///
/// # Errors
/// When there is none.
pub async fn sign_in(
    http: &HttpClient,
    sts: &Sts,
    password: &Secret,
    now: Moment,
) -> Result<IssuedAssertion, StsError> {
    let pair = Zeroizing::new(format!("{}:{}", sts.username, password.expose()));
    let authorization = format!("Basic {}", STANDARD.encode(pair.as_bytes()));
    let body = SignIn {
        applies_to: &sts.applies_to,
        device_id: &sts.device_id,
        app_id: &sts.app_id,
        lifetime: sts.lifetime.as_secs().div_ceil(60),
    };
    let host = sts.url.host_str().unwrap_or_default();
    let to = Service {
        step: Step::SignIn,
        host,
        url: sts.url.as_str(),
    };
    to.ask(http, &authorization, &body, now).await
}

/// Another assertion for `first`, from the service at `url`, asked for at `now`.
///
/// # Errors
/// When there is none.
pub async fn delegate(
    http: &HttpClient,
    sts: &Sts,
    url: &url::Url,
    first: &SamlAssertion,
    now: Moment,
) -> Result<IssuedAssertion, StsError> {
    let host = url.host_str().unwrap_or_default();
    let to = Service {
        step: Step::Delegation,
        host,
        url: url.as_str(),
    };
    // the certificate's Base64 once more in Base64: so it is read there
    let Some(certificate) = &first.certificate else {
        let sts = Service {
            step: Step::SignIn,
            host: sts.url.host_str().unwrap_or_default(),
            url: "",
        };
        return Err(sts.unusable("holds an assertion without a certificate"));
    };
    let authorization = format!("X509 access_token={}", STANDARD.encode(certificate));
    let body = Delegation {
        act_as: first.xml().expose(),
        applies_to: &sts.applies_to,
        applies_to_bootstrap_token: &sts.applies_to,
        device_id: &sts.device_id,
        app_id: &sts.app_id,
        lifetime: DELEGATED_MINUTES,
    };
    to.ask(http, &authorization, &body, now).await
}

/// One of the two services.
struct Service<'a> {
    step: Step,
    host: &'a str,
    url: &'a str,
}

impl Service<'_> {
    async fn ask(
        &self,
        http: &HttpClient,
        authorization: &str,
        body: &impl Serialize,
        now: Moment,
    ) -> Result<IssuedAssertion, StsError> {
        let step = self.step;
        let client = |source| StsError::Client { step, source };
        let body = serde_json::to_vec(body).map_err(|_| client(ClientError::Url))?;
        let request = Request::post(self.url)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, authorization)
            .body(Bytes::from(body))
            .map_err(|_| client(ClientError::Url))?;
        let response = http.send(request).await.map_err(client)?;
        self.read(&response, now)
    }

    fn read(&self, response: &Response<Bytes>, sent: Moment) -> Result<IssuedAssertion, StsError> {
        let (step, host, status) = (self.step, self.host.to_owned(), response.status());
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(StsError::Refused { step, host, status });
        }
        let date = response.headers().get(DATE);
        let date = date
            .and_then(|text| httpdate::parse_http_date(text.to_str().ok()?).ok())
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
            .unwrap_or(sent.wall);
        if !status.is_success() {
            return Err(StsError::Status {
                step,
                host,
                status,
                retry_after: retry_after(response.headers(), date),
            });
        }
        // the errors would quote the answer
        let answer: Answer = serde_json::from_slice(response.body())
            .map_err(|_| self.unusable("is not a JSON object"))?;
        let token = answer
            .requested_security_token
            .filter(|token| !token.is_empty())
            .ok_or_else(|| self.unusable("holds no RequestedSecurityToken"))?;
        let assertion = SamlAssertion::read(&token).map_err(|error| {
            self.unusable(match error {
                SamlError::NotXml => "holds a RequestedSecurityToken that is not XML",
                SamlError::NoAssertion => "holds a RequestedSecurityToken that is no assertion",
            })
        })?;
        let life = assertion.ends.map(|ends| ends.saturating_sub(date));
        Ok(IssuedAssertion { assertion, life })
    }

    fn unusable(&self, what: &'static str) -> StsError {
        StsError::Unusable {
            step: self.step,
            host: self.host.to_owned(),
            what,
        }
    }
}

impl Step {
    fn shown(self) -> &'static str {
        match self {
            Self::SignIn => "the user name or the password",
            Self::Delegation => "the assertion of the STS",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SignIn => "the STS",
            Self::Delegation => "the delegation service",
        })
    }
}

impl StsError {
    /// What it means for the next attempt.
    pub fn class(&self) -> Class {
        match self {
            // as a wrong password at a token endpoint: more attempts would lock the account
            Self::Refused {
                step: Step::SignIn, ..
            } => Class::InvalidGrant,
            Self::Refused { .. } => Class::Fatal,
            Self::Status { status, .. } => match status.as_u16() {
                408 | 425 | 429 | 500.. => Class::Transient,
                _ => Class::Fatal,
            },
            Self::Client { .. } | Self::Unusable { .. } => Class::Transient,
        }
    }

    /// A word for metrics.
    pub fn label(&self) -> &'static str {
        match (self, self.class()) {
            (_, Class::Fatal) => "fatal",
            (_, Class::InvalidGrant) => "invalid_grant",
            (Self::Client { source, .. }, _) => match source.class() {
                "too_large" => "parse",
                class => class,
            },
            (Self::Unusable { .. }, _) => "parse",
            (Self::Status { .. } | Self::Refused { .. }, _) => "http",
        }
    }

    /// Whether an assertion was refused, so that a new one may help.
    pub fn refuses_the_assertion(&self) -> bool {
        let at = |step: &Step| *step == Step::Delegation;
        match self {
            Self::Refused { step, .. } => at(step),
            Self::Status { step, status, .. } => at(step) && status.is_client_error(),
            Self::Client { .. } | Self::Unusable { .. } => false,
        }
    }

    /// How long the service asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
