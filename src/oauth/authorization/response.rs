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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{clock::Clock, config::ClientAuth, oauth::discovery::read_sign_in};

    fn read(form: &str, flow: Flow) -> Result<AuthorizationResponse, ResponseError> {
        let now = Clock::for_tests(Duration::from_secs(1_700_000_000)).now();
        read_response(form.as_bytes(), flow, now)
    }

    fn refused(form: &str) -> Refused {
        match read(form, Flow::Code).unwrap().answer {
            Answer::Refused(refused) => refused,
            other => panic!("{other:?}"),
        }
    }

    fn metadata(says_issuer: bool) -> SignInMetadata {
        let document = serde_json::json!({
            "issuer": "https://ims.example",
            "authorization_endpoint": "https://ims.example/a",
            "token_endpoint": "https://ims.example/t",
            "authorization_response_iss_parameter_supported": says_issuer,
        });
        let issuer = "https://ims.example".parse().unwrap();
        let also = ["https://imsoidc.example".parse().unwrap()];
        read_sign_in(
            document.to_string().as_bytes(),
            &issuer,
            &also,
            &ClientAuth::None,
        )
        .unwrap()
    }

    #[test]
    fn a_code_comes_with_the_state_of_its_request() {
        let form =
            "code=a%2Bb+c&state=s-1&session_state=x.y&scope=openid&iss=https%3A%2F%2Fims.example";
        let response = read(form, Flow::Code).unwrap();
        assert_eq!(response.state, "s-1");
        assert_eq!(response.issuer.as_deref(), Some("https://ims.example"));
        assert!(matches!(response.answer, Answer::Code(code) if code.matches(b"a+b c")));
    }

    #[test]
    fn tokens_come_in_a_form() {
        let form =
            "access_token=ey.a&token_type=bearer&expires_in=3600&scope=a+b&id_token=ey.i&state=s";
        let Answer::Tokens(issued) = read(form, Flow::Implicit).unwrap().answer else {
            panic!("no tokens");
        };
        assert_eq!(issued.header, "Bearer ey.a");
        assert_eq!(issued.life, Duration::from_secs(3600));
        assert_eq!(
            issued.scopes,
            Some(crate::config::ScopeSet::new(["a", "b"]))
        );
        assert!(issued.id_token.unwrap().matches(b"ey.i") && issued.refresh.is_none());
        assert!(issued.header.is_sensitive());
    }

    #[test]
    fn what_means_nothing_or_two_things_is_refused() {
        let malformed = |parameter| ResponseError::Malformed { parameter };
        let unasked = |parameter| ResponseError::Unasked { parameter };
        let (repeated, none) = (ResponseError::Repeated, ResponseError::Nothing);
        for (form, because) in [
            ("", ResponseError::NoState),
            ("code=a", ResponseError::NoState),
            ("code=a&state=", ResponseError::NoState),
            ("error=access_denied", ResponseError::NoState),
            ("state=s", none.clone()),
            ("state=s&code=", none.clone()),
            ("state=s&error=&code", none.clone()),
            ("state=s&error_description=x", none.clone()),
            ("code=a&code=b&state=s", repeated.clone()),
            ("code=a&code=a&state=s", repeated.clone()),
            ("code=a&c%6fde=b&state=s", repeated.clone()),
            ("code=a&code=&state=s", repeated.clone()),
            ("code=a&state=s&state=t", repeated.clone()),
            ("code=a&state=s&iss=a&iss=b", repeated.clone()),
            ("code=a&state=s&x=1&x=2", repeated.clone()),
            ("code=a&error=access_denied&state=s", unasked("code")),
            ("code=a&state=s&access_token=b", unasked("access_token")),
            ("code=a&state=s&id_token=b", unasked("id_token")),
            ("access_token=a&id_token=b&state=s", unasked("access_token")),
            ("code=a%0d%0aSet-Cookie:+x&state=s", malformed("code")),
            ("code=%ff&state=s", malformed("code")),
            ("code=a&state=%00", malformed("state")),
            ("code=a&state=%C3%A4", malformed("state")),
        ] {
            assert_eq!(read(form, Flow::Code).unwrap_err(), because, "{form}");
        }
        for (form, because) in [
            ("state=s&code=a", unasked("code")),
            ("state=s&access_token=a", none.clone()),
            ("state=s&id_token=a", none),
            ("state=s&access_token=a&id_token=b&code=c", unasked("code")),
            (
                "state=s&access_token=a&id_token=b&error=x",
                unasked("access_token"),
            ),
            ("state=s&id_token=b&error=x", unasked("id_token")),
            (
                "state=s&access_token=a%0a&id_token=b",
                malformed("access_token"),
            ),
            (
                "state=s&access_token=a&id_token=b&token_type=DPoP",
                malformed("token_type"),
            ),
            ("state=s&access_token=a&access_token=a&id_token=b", repeated),
        ] {
            assert_eq!(read(form, Flow::Implicit).unwrap_err(), because, "{form}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_read() {
        let most: Vec<_> = (0..MOST_PARAMETERS).map(|n| format!("p{n}=1&")).collect();
        let most = most.concat();
        for form in [
            format!("code=a&state=s&x={}", "x".repeat(LARGEST)),
            format!("{most}code=a&state=s"),
        ] {
            assert_eq!(
                read(&form, Flow::Code).unwrap_err(),
                ResponseError::TooLarge
            );
        }
        for (form, parameter) in [
            (
                format!("code={}&state=s", "c".repeat(LONGEST_CODE + 1)),
                "code",
            ),
            (
                format!("code=c&state={}", "s".repeat(LONGEST_STATE + 1)),
                "state",
            ),
        ] {
            let error = read(&form, Flow::Code).unwrap_err();
            assert_eq!(error, ResponseError::Malformed { parameter });
        }
    }

    #[test]
    fn an_error_says_what_it_asks_for_and_nothing_that_a_page_could_run() {
        for (error, kind) in [
            ("access_denied", RefusedKind::Denied),
            ("login_required", RefusedKind::NeedsPerson),
            ("interaction_required", RefusedKind::NeedsPerson),
            ("consent_required", RefusedKind::NeedsPerson),
            ("account_selection_required", RefusedKind::NeedsPerson),
            ("temporarily_unavailable", RefusedKind::Unavailable),
            ("server_error", RefusedKind::Unavailable),
            ("invalid_scope", RefusedKind::Request),
            ("ACCESS_DENIED", RefusedKind::Request),
        ] {
            assert_eq!(
                refused(&format!("state=s&error={error}")).kind(),
                kind,
                "{error}"
            );
        }
        let hostile = refused(
            "state=s&error=%3Cb%3E&error_uri=javascript:alert(1)&error_description=\
             %3Cscript%3Ealert(%22x%22)%3C/script%3E%0d%0a%1b[31m%26lt;%E2%80%AEevil",
        );
        assert_eq!(hostile.error, "?b?");
        assert_eq!(
            hostile.description.as_deref(),
            Some("?script?alert(?x?)?/script????[31m?lt;?evil")
        );
        let long = refused(&format!(
            "state=s&error=x&error_description={}",
            "d".repeat(9000)
        ));
        assert!(long.description.unwrap().len() <= 203);
    }

    #[test]
    fn who_answers_must_be_who_was_asked() {
        let foreign = |found: &str| {
            let found = found.to_owned();
            Err(ResponseError::ForeignIssuer { found })
        };
        for (iss, says_issuer, outcome) in [
            ("https://ims.example", true, Ok(())),
            ("https://ims.example", false, Ok(())),
            ("https://ims.example/", true, Ok(())),
            ("https://imsoidc.example", true, Ok(())),
            ("", true, Err(ResponseError::NoIssuer)),
            ("", false, Ok(())),
            (
                "https://evil.example",
                true,
                foreign("https://evil.example"),
            ),
            (
                "https://evil.example",
                false,
                foreign("https://evil.example"),
            ),
            (
                "https://ims.example.evil.example",
                true,
                foreign("https://ims.example.evil.example"),
            ),
            ("<img src=x>", true, foreign("?img src=x?")),
        ] {
            for answer in ["code=a", "error=access_denied"] {
                let form = form_urlencoded::Serializer::new(format!("{answer}&state=s"))
                    .append_pair("iss", iss)
                    .finish();
                let response = read(&form, Flow::Code).unwrap();
                let checked = response.check_issuer(&metadata(says_issuer));
                assert_eq!(checked, outcome, "{form} {says_issuer}");
            }
        }
    }

    #[test]
    fn no_log_shows_what_came() {
        let code = read("code=canary&state=s", Flow::Code);
        let tokens = "access_token=canary&id_token=canary&state=s";
        let tokens = read(tokens, Flow::Implicit);
        let shown = format!("{code:?} {tokens:?}");
        assert!(!shown.contains("canary"), "{shown}");
    }

    fn any_form() -> impl Strategy<Value = Vec<(String, String)>> {
        let name = "code|state|error|error_description|iss|access_token|id_token|expires_in|token_type|[a-z]{1,2}";
        prop::collection::vec((name, "[ -~]{0,6}|.{0,3}"), 0..6)
    }

    proptest! {
        #[test]
        fn any_octets_are_a_response_or_not(form in any::<Vec<u8>>()) {
            let now = Clock::for_tests(Duration::ZERO).now();
            let _ = read_response(&form, Flow::Code, now);
            let _ = read_response(&form, Flow::Implicit, now);
        }

        #[test]
        fn a_response_that_is_taken_says_one_thing_only(pairs in any_form()) {
            let form = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(&pairs)
                .finish();
            let values = |name: &str| -> Vec<&str> {
                pairs.iter().filter(|(n, _)| n == name).map(|(_, v)| &**v).collect()
            };
            for flow in [Flow::Code, Flow::Implicit] {
                let Ok(response) = read(&form, flow) else {
                    continue;
                };
                prop_assert_eq!(values("state"), [response.state.as_str()]);
                let (code, error) = (values("code").concat(), values("error").concat());
                let tokens = values("access_token").concat() + &values("id_token").concat();
                match response.answer {
                    Answer::Code(taken) => {
                        prop_assert!(taken.matches(code.as_bytes()) && !code.is_empty());
                        prop_assert!(error.is_empty() && tokens.is_empty());
                    }
                    Answer::Tokens(_) => prop_assert!(error.is_empty() && code.is_empty()),
                    Answer::Refused(refused) => {
                        prop_assert!(code.is_empty() && tokens.is_empty() && !error.is_empty());
                        let shown = refused.error + &refused.description.unwrap_or_default();
                        prop_assert!(shown.bytes().all(|b| matches!(b, b' '..=b'~') && !b"<>\"'&`".contains(&b)));
                    }
                }
            }
        }
    }
}
