//! An authorization request, checked (RFC 6749 section 4.1.1, RFC 7636, `OpenID` Connect Core 3.1.2).
//!
//! Nothing is sent to an address before it is known to be the client's: until then what is wrong is
//! shown on a page.

use super::super::{
    clients::{Client, Clients},
    idp::{Form, OAuthError},
    token::{OFFLINE, split},
};
use super::registration::Implicit;

/// What is asked for, by whom, and how it is answered.
#[derive(Debug, Clone)]
pub(in crate::sandbox) struct Ask {
    pub(super) client: Client,
    pub(super) back: Back,
    pub(super) flow: Flow,
    pub(super) scopes: Vec<String>,
    pub(super) nonce: Option<String>,
    /// S256.
    pub(super) challenge: Option<String>,
    pub(super) prompts: Vec<Prompt>,
    pub(super) login_hint: Option<String>,
    pub(super) id_token_hint: Option<String>,
    pub(super) max_age: Option<u64>,
}

/// Where the answer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Back {
    pub(super) redirect_uri: String,
    pub(super) mode: Mode,
    pub(super) state: Option<String>,
}

/// `response_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// `code`.
    Code,
    /// `id_token token`.
    Tokens,
}

/// `response_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Query,
    Fragment,
    FormPost,
}

/// `prompt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prompt {
    None,
    Login,
    Consent,
    SelectAccount,
}

/// Why a request is not served.
#[derive(Debug)]
pub(super) enum Bad {
    /// It is not known where to say so.
    Here(String),
    /// The client is told.
    There(Back, OAuthError),
}

impl Ask {
    pub(super) fn wants(&self, prompt: Prompt) -> bool {
        self.prompts.contains(&prompt)
    }

    /// Checks `form`, the parameters of the request or those that were pushed.
    pub(super) fn read(form: &Form, clients: &Clients) -> Result<Self, Bad> {
        let here = |text: &str| Bad::Here(text.to_owned());
        let id = form.get("client_id");
        let id = id.ok_or_else(|| here("client_id is missing"))?;
        let client = clients
            .known(id)
            .map_err(|_| Bad::Here(format!("there is no client {id}")))?;
        let uri = form.get("redirect_uri");
        let uri = uri.ok_or_else(|| here("redirect_uri is missing"))?;
        if !client.registration.may_return_to(uri) {
            return Err(Bad::Here(format!(
                "{uri} is not registered as a redirect URI of {id}"
            )));
        }
        let (flow, flow_error) = match flow(form.get("response_type"), &client) {
            Ok(flow) => (flow, None),
            Err(error) => (Flow::Code, Some(error)),
        };
        let (mode, mode_error) = match mode(form.get("response_mode"), flow) {
            Ok(mode) => (mode, None),
            Err(error) => (Mode::Fragment, Some(error)),
        };
        let back = Back {
            redirect_uri: uri.to_owned(),
            mode,
            state: form.get("state").map(str::to_owned),
        };
        let checked = match flow_error.or(mode_error) {
            Some(error) => Err(error),
            None => Self::check(form, client, back.clone(), flow),
        };
        checked.map_err(|error| Bad::There(back, error))
    }

    fn check(form: &Form, client: Client, back: Back, flow: Flow) -> Result<Self, OAuthError> {
        if form.get("request").is_some() {
            return Err(OAuthError::new("request_not_supported", "no objects"));
        }
        if form.get("request_uri").is_some() {
            return Err(OAuthError::new("request_uri_not_supported", "only ours"));
        }
        let scopes = split(form.get("scope").unwrap_or_default());
        let allowed = &client.scopes;
        let foreign = |scope: &String| !(allowed.is_empty() || allowed.contains(scope));
        if scopes.is_empty() || scopes.iter().any(foreign) {
            let text = "no scope, or one that is not for this client";
            return Err(OAuthError::new("invalid_scope", text));
        }
        let openid = scopes.iter().any(|scope| scope == "openid");
        if flow == Flow::Tokens {
            if !openid || scopes.iter().any(|scope| scope == OFFLINE) {
                let text = "tokens are given with openid, and without offline_access";
                return Err(OAuthError::new("invalid_scope", text));
            }
            if form.get("nonce").is_none() {
                return Err(OAuthError::request("nonce is missing"));
            }
        }
        let max_age = form.get("max_age").map(str::parse).transpose();
        Ok(Self {
            challenge: challenge(form, &client, flow)?,
            client,
            back,
            flow,
            scopes,
            nonce: form.get("nonce").map(str::to_owned),
            prompts: prompts(form.get("prompt"))?,
            login_hint: form.get("login_hint").map(str::to_owned),
            id_token_hint: form.get("id_token_hint").map(str::to_owned),
            max_age: max_age.map_err(|_| OAuthError::request("max_age is no number"))?,
        })
    }
}

fn flow(asked: Option<&str>, client: &Client) -> Result<Flow, OAuthError> {
    let asked = asked.ok_or_else(|| OAuthError::request("response_type is missing"))?;
    let mut kinds = split(asked);
    kinds.sort_unstable();
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let flow = match kinds[..] {
        ["code"] => Flow::Code,
        ["id_token", "token"] => Flow::Tokens,
        _ => {
            let text = "code and id_token token are offered";
            return Err(OAuthError::new("unsupported_response_type", text));
        }
    };
    match (client.registration.implicit, flow) {
        (Implicit::No, Flow::Code) | (Implicit::Only, Flow::Tokens) => Ok(flow),
        _ => {
            let text = "this client is registered for another response_type";
            Err(OAuthError::new("unauthorized_client", text))
        }
    }
}

fn mode(asked: Option<&str>, flow: Flow) -> Result<Mode, OAuthError> {
    match (asked, flow) {
        (None | Some("query"), Flow::Code) => Ok(Mode::Query),
        (None, Flow::Tokens) | (Some("fragment"), _) => Ok(Mode::Fragment),
        (Some("form_post"), _) => Ok(Mode::FormPost),
        (Some("query"), Flow::Tokens) => Err(OAuthError::request("no tokens in a query")),
        (Some(_), _) => Err(OAuthError::request("response_mode is not known")),
    }
}

fn challenge(form: &Form, client: &Client, flow: Flow) -> Result<Option<String>, OAuthError> {
    let challenge = form.get("code_challenge");
    let method = form.get("code_challenge_method");
    let public = client.secrets.is_empty();
    match (challenge, method) {
        _ if flow == Flow::Tokens => Ok(None),
        (None, None) if !public => Ok(None),
        (None, _) => Err(OAuthError::request("code challenge required")),
        (Some(challenge), Some("S256")) if is_sha256(challenge) => Ok(Some(challenge.to_owned())),
        (Some(_), Some("S256")) => Err(OAuthError::request("code_challenge is no hash")),
        (Some(_), _) => Err(OAuthError::request("code_challenge_method is not S256")),
    }
}

/// 32 bytes in base64url.
fn is_sha256(text: &str) -> bool {
    let is_one = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.len() == 43 && text.bytes().all(is_one)
}

fn prompts(asked: Option<&str>) -> Result<Vec<Prompt>, OAuthError> {
    let prompts = asked.unwrap_or_default().split_ascii_whitespace();
    let prompts = prompts.map(|prompt| match prompt {
        "none" => Ok(Prompt::None),
        "login" => Ok(Prompt::Login),
        "consent" => Ok(Prompt::Consent),
        "select_account" => Ok(Prompt::SelectAccount),
        _ => Err(OAuthError::request("prompt is not known")),
    });
    let prompts: Vec<Prompt> = prompts.collect::<Result<_, _>>()?;
    if prompts.len() > 1 && prompts.contains(&Prompt::None) {
        return Err(OAuthError::request("prompt=none goes alone"));
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sandbox::people::Registration;

    fn clients() -> Clients {
        let public = Client {
            registration: Registration {
                redirect_uris: vec!["http://127.0.0.1/cb".into()],
                ..Registration::default()
            },
            secrets: Vec::new(),
            ..Client::with_secret("public", "")
        };
        let mut old = public.clone();
        old.id = "old".into();
        old.registration.implicit = Implicit::Only;
        Clients::new(vec![public, old], [String::new(), String::new()])
    }

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn read(query: &str) -> Result<Ask, Bad> {
        Ask::read(&Form::parse(query.as_bytes()).unwrap(), &clients())
    }

    #[test]
    fn what_is_wrong_is_said_to_the_client_once_its_address_is_known() {
        let uri = "redirect_uri=http://127.0.0.1:9/cb";
        let code = format!(
            "client_id=public&{uri}&response_type=code&code_challenge={CHALLENGE}&code_challenge_method=S256&scope=openid"
        );
        let old = format!("client_id=old&{uri}&response_type=id_token+token&scope=openid&nonce=n");
        for (query, error) in [
            (code.clone(), "ok"),
            (old.clone(), "ok"),
            (old.replace("id_token+token", "token+id_token"), "ok"),
            (code.replace("=public", "=nobody"), "page"),
            (code.replace("client_id=public", ""), "page"),
            (code.replace("/cb", "/else"), "page"),
            (code.replace(uri, ""), "page"),
            (code.replace("response_type=code", ""), "invalid_request"),
            (
                code.replace("=code&", "=code+id_token&"),
                "unsupported_response_type",
            ),
            (
                code.replace("=code&", "=id_token+token&"),
                "unauthorized_client",
            ),
            (old.replace("id_token+token", "code"), "unauthorized_client"),
            (code.replace("=S256", "=plain"), "invalid_request"),
            (
                code.replace("&code_challenge_method=S256", ""),
                "invalid_request",
            ),
            (code.replace(CHALLENGE, "short"), "invalid_request"),
            (
                code.replace(
                    &format!("code_challenge={CHALLENGE}&code_challenge_method=S256"),
                    "",
                ),
                "invalid_request",
            ),
            (code.replace("scope=openid", ""), "invalid_scope"),
            (old.replace("=openid", "=profile"), "invalid_scope"),
            (
                old.replace("=openid", "=openid+offline_access"),
                "invalid_scope",
            ),
            (old.replace("&nonce=n", ""), "invalid_request"),
            (format!("{old}&response_mode=query"), "invalid_request"),
            (format!("{code}&response_mode=pigeon"), "invalid_request"),
            (format!("{code}&prompt=none+login"), "invalid_request"),
            (format!("{code}&prompt=create"), "invalid_request"),
            (format!("{code}&prompt=login+consent"), "ok"),
            (format!("{code}&max_age=soon"), "invalid_request"),
            (format!("{code}&request=e30"), "request_not_supported"),
            (
                format!("{code}&request_uri=https://a.example"),
                "request_uri_not_supported",
            ),
        ] {
            let got = match read(&query) {
                Ok(_) => "ok".to_owned(),
                Err(Bad::Here(_)) => "page".to_owned(),
                Err(Bad::There(back, error)) => {
                    assert_eq!(back.redirect_uri, "http://127.0.0.1:9/cb");
                    error.error
                }
            };
            assert_eq!(got, error, "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_request_is_answered_at_an_address_that_is_not_registered(
            client in "(public|old|x)?",
            uri in "(http|https)?(://)?(127\\.0\\.0\\.1|localhost|evil\\.example|@)?(:[0-9]{1,3})?[/\\\\]?(cb|cb\\?x|.{0,3})",
            rest in "(response_type|prompt|scope|nonce|max_age|response_mode)=[a-z_ ]{0,12}",
        ) {
            let uri: String = url::form_urlencoded::byte_serialize(uri.as_bytes()).collect();
            let query = format!("client_id={client}&redirect_uri={uri}&{rest}");
            if let Ok(form) = Form::parse(query.as_bytes())
                && let Err(Bad::There(Back { redirect_uri, .. }, _)) = Ask::read(&form, &clients())
            {
                let there = url::Url::parse(&redirect_uri).unwrap();
                prop_assert_eq!(there.host_str(), Some("127.0.0.1"));
                prop_assert_eq!(there.path(), "/cb");
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(form) = Form::parse(&bytes) {
                let _ = Ask::read(&form, &clients());
            }
        }
    }
}
