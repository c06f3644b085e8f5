//! Authorization responses: what a browser brings back, or what somebody made it bring.
//!
//! RFC 6749 section 4.1.2, RFC 9207, OpenID Connect Core sections 3.1.2.5 and 3.2.2.5. The reader is
//! total, and takes one meaning only: a parameter twice, a code beside an error, tokens where a code
//! was asked for are refused. What it returns is believed by nobody before `state` was found among
//! the sign-ins that this browser began, and [`AuthorizationResponse::check_issuer`] was asked.

use std::borrow::Cow;

use url::form_urlencoded;

use crate::{
    clock::Moment,
    config::Flow,
    oauth::{
        SignInMetadata,
        token_endpoint::Fragment,
        types::{Issued, clean},
    },
    secret::Secret,
};

/// A response, read.
#[derive(Debug, Clone)]
pub struct AuthorizationResponse {
    pub state: String,
    /// Who says that it is answering (RFC 9207).
    pub issuer: Option<String>,
    pub answer: Answer,
}

/// What the provider answers.
#[derive(Debug, Clone)]
pub enum Answer {
    Code(Secret),
    /// Those of [`Flow::Implicit`]; there is an ID token among them.
    Tokens(Box<Issued>),
    Refused(Refused),
}

/// An error (RFC 6749 section 4.1.2.1), cleaned: printable ASCII without anything that is markup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub error: String,
    pub description: Option<String>,
}

/// What an error asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedKind {
    /// The person said no.
    Denied,
    /// The provider has to show a page, and was told not to (`prompt=none`).
    NeedsPerson,
    /// Later, it may work.
    Unavailable,
    /// The client or its request must be changed.
    Request,
}

impl Refused {
    pub fn kind(&self) -> RefusedKind {
        match self.error.as_str() {
            "access_denied" => RefusedKind::Denied,
            // OpenID Connect Core section 3.1.2.6
            "login_required"
            | "interaction_required"
            | "consent_required"
            | "account_selection_required" => RefusedKind::NeedsPerson,
            "server_error" | "temporarily_unavailable" => RefusedKind::Unavailable,
            _ => RefusedKind::Request,
        }
    }
}

/// A response that means nothing, or more than one thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    #[error("the authorization response is larger than {LARGEST} bytes")]
    TooLarge,
    #[error("the authorization response has a parameter twice (RFC 6749 section 3.1)")]
    Repeated,
    #[error("the authorization response has no `state`")]
    NoState,
    #[error("the authorization response has a `{parameter}` that none has")]
    Malformed { parameter: &'static str },
    #[error("the authorization response has neither what was asked for nor an error")]
    Nothing,
    #[error("the authorization response has a `{parameter}` beside what was asked for")]
    Unasked { parameter: &'static str },
    #[error("the authorization response does not say who answers, as the metadata promise (`iss`)")]
    NoIssuer,
    #[error("the authorization response is from another issuer, {found}")]
    ForeignIssuer { found: String },
}

/// Tokens in a form have some kilobytes each.
const LARGEST: usize = 64 * 1024;
const MOST_PARAMETERS: usize = 64;
/// Ours have 32 characters.
const LONGEST_STATE: usize = 512;
const LONGEST_CODE: usize = 8 * 1024;

impl AuthorizationResponse {
    /// Whether it is this provider that answers, so that no code of one goes to another (RFC 9207
    /// section 2.4, RFC 9700 section 4.4).
    ///
    /// # Errors
    /// When it says that it is another; or says nothing, although the metadata promise it and no ID
    /// token says it in its place.
    pub fn check_issuer(&self, metadata: &SignInMetadata) -> Result<(), ResponseError> {
        match &self.issuer {
            Some(name) if metadata.is_named(name) => Ok(()),
            Some(name) => Err(ResponseError::ForeignIssuer {
                found: harmless(name),
            }),
            None => match self.answer {
                // the ID token has it, and is checked (RFC 9207 section 2.4)
                Answer::Tokens(_) => Ok(()),
                _ if metadata.says_issuer => Err(ResponseError::NoIssuer),
                _ => Ok(()),
            },
        }
    }
}

/// Reads a query or a form, of a flow that was asked for, at `now`.
///
/// # Errors
/// When it is no response of such a flow.
pub fn read_response(
    form: &[u8],
    flow: Flow,
    now: Moment,
) -> Result<AuthorizationResponse, ResponseError> {
    let parameters = Parameters::read(form)?;
    let state = parameters.get("state").ok_or(ResponseError::NoState)?;
    if state.len() > LONGEST_STATE || !is_visible(state) {
        return Err(ResponseError::Malformed { parameter: "state" });
    }
    Ok(AuthorizationResponse {
        state: state.to_owned(),
        issuer: parameters.get("iss").map(str::to_owned),
        answer: parameters.answer(flow, now)?,
    })
}

struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    fn read(form: &'a [u8]) -> Result<Self, ResponseError> {
        if form.len() > LARGEST {
            return Err(ResponseError::TooLarge);
        }
        let all: Vec<_> = form_urlencoded::parse(form)
            .take(MOST_PARAMETERS + 1)
            .collect();
        if all.len() > MOST_PARAMETERS {
            return Err(ResponseError::TooLarge);
        }
        let mut names: Vec<&str> = all.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(ResponseError::Repeated);
        }
        Ok(Self(all))
    }

    /// One without a value is not there (RFC 6749 section 3.1).
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &**value).filter(|v| !v.is_empty())
    }

    fn answer(&self, flow: Flow, now: Moment) -> Result<Answer, ResponseError> {
        let (asked, unasked): (_, &[_]) = match flow {
            Flow::Code => (["code"].as_slice(), &["access_token", "id_token"]),
            Flow::Implicit => (["access_token", "id_token"].as_slice(), &["code"]),
        };
        self.none_of(unasked)?;
        if let Some(error) = self.get("error") {
            self.none_of(asked)?;
            let description = self.get("error_description");
            return Ok(Answer::Refused(Refused {
                error: harmless(error),
                description: description.map(harmless),
            }));
        }
        match flow {
            Flow::Code => {
                let code = self.get("code").ok_or(ResponseError::Nothing)?;
                if code.len() > LONGEST_CODE || !is_visible(code) {
                    return Err(ResponseError::Malformed { parameter: "code" });
                }
                Ok(Answer::Code(Secret::new(code)))
            }
            Flow::Implicit => {
                let access_token = self.get("access_token").ok_or(ResponseError::Nothing)?;
                let id_token = self.get("id_token").ok_or(ResponseError::Nothing)?;
                let fragment = Fragment {
                    access_token,
                    token_type: self.get("token_type"),
                    expires_in: self.get("expires_in"),
                    scope: self.get("scope"),
                    id_token: Secret::new(id_token),
                };
                let issued = fragment.read(now);
                let issued = issued.map_err(|parameter| ResponseError::Malformed { parameter })?;
                Ok(Answer::Tokens(Box::new(issued)))
            }
        }
    }

    fn none_of(&self, names: &[&'static str]) -> Result<(), ResponseError> {
        let found = names.iter().find(|name| self.get(name).is_some());
        found.map_or(Ok(()), |parameter| {
            Err(ResponseError::Unasked { parameter })
        })
    }
}

/// RFC 6749 appendix A.5 and A.11.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|octet| matches!(octet, 0x20..=0x7e))
}

/// Cleaned, and without what would be markup on a page that forgets to escape it.
fn harmless(text: &str) -> String {
    clean(text).replace(['<', '>', '"', '\'', '&', '`'], "?")
}
