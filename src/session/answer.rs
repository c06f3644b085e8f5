//! What browsers and programs are answered by us: where to go, a page, or JSON.
//!
//! Every page says what happened and has a way on. What a provider wrote is shown as text, cleaned and
//! escaped; a program gets the shape that errors of iTwin services have.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_TYPE, LOCATION, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE,
        WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    },
};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    Realm,
    asked::{Asked, Effect, asked},
    endpoints::Visit,
    pages::{ErrorPage, Needed, SignIn, SignOut, SignedOut},
    return_to::ReturnTo,
    sign_in::{Lines, SignInError},
};
use crate::{handbook::Code, oauth::authorization::RefusedKind};

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why somebody gets no further.
pub(super) enum Problem<'a> {
    /// And where the person wanted to go.
    SignIn(&'a SignInError, &'a ReturnTo),
    TooMany {
        wait: Duration,
    },
    CrossSite,
    NotBegun,
}

/// What kind of answer a request can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// To another address.
    Redirect,
    Page,
    Json,
}

/// What is said of a problem.
struct Said {
    status: StatusCode,
    code: Code,
    title: &'static str,
    text: Cow<'static, str>,
    /// What the provider wrote.
    detail: Option<String>,
    way: Way,
}

/// What the page offers.
enum Way {
    SignIn(ReturnTo),
    Back,
}

pub(super) fn wants(visit: &Visit) -> Form {
    match asked(&visit.method, &visit.headers) {
        Asked::Navigation(Effect::Safe) => Form::Redirect,
        // a redirect would lose what was sent; a frame may not show the provider's page
        Asked::Navigation(Effect::Unsafe) | Asked::Frame => Form::Page,
        Asked::Script | Asked::WebSocket | Asked::Preflight | Asked::Other => Form::Json,
    }
}

pub(super) fn redirect(status: StatusCode, to: &str) -> Response<Bytes> {
    let mut response = plain(status);
    let headers = response.headers_mut();
    if let Ok(to) = HeaderValue::try_from(to) {
        headers.insert(LOCATION, to);
    }
    // the address that somebody comes from may say what only we need to know
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

pub(super) fn plain(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

/// Nothing, which a page of the provider's may hold in a frame.
pub(super) fn framed_by_anybody(status: StatusCode) -> Response<Bytes> {
    plain(status)
}

pub(super) fn json(status: StatusCode, document: &Value) -> Response<Bytes> {
    let mut response = Response::new(document.to_string().into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

pub(super) fn set_cookies(response: &mut Response<Bytes>, lines: Lines) {
    for line in lines {
        response.headers_mut().append(SET_COOKIE, line);
    }
}

/// Whether the person followed a link of ours, or typed the address.
pub(super) fn comes_from_us(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    match (sites.next(), sites.next()) {
        (Some(site), None) => matches!(site.as_bytes(), b"same-origin" | b"none"),
        _ => false,
    }
}

/// 401 for a program: it has to send the person to sign in.
pub(super) fn sign_in_required(realm: &Realm, visit: &Visit) -> Response<Bytes> {
    let login = realm.config().path("login");
    let mut response = error(
        StatusCode::UNAUTHORIZED,
        Code::SignInRequired,
        "Nobody is signed in, or the session has ended. Send the browser to the address in details to sign in.",
        visit,
        &[("SignIn", &login)],
    );
    let challenge = format!(
        "Session realm=\"{}\", sign_in=\"{login}\"",
        realm.config().name
    );
    if let Ok(challenge) = HeaderValue::try_from(challenge) {
        // RFC 9110 section 11.6.1
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// The page for what cannot be redirected.
pub(super) fn sign_in_needed(
    realm: &Realm,
    visit: &Visit,
    return_to: &ReturnTo,
) -> Response<Bytes> {
    // where something was to be changed, there is nothing to come back to
    let return_to = if visit.method.is_safe() {
        return_to
    } else {
        &ReturnTo::root()
    };
    let why = match asked(&visit.method, &visit.headers) {
        Asked::Navigation(Effect::Unsafe) => Needed::Unsent,
        Asked::Frame => Needed::Frame,
        _ => Needed::Start,
    };
    realm.0.pages.sign_in(&SignIn {
        why,
        session: &realm.config().name,
        login: &login(realm, return_to),
    })
}

pub(super) fn signed_out(realm: &Realm) -> Response<Bytes> {
    let login = login(realm, &ReturnTo::root());
    realm.0.pages.signed_out(&SignedOut {
        session: &realm.config().name,
        login: &login,
    })
}

/// Asks whether the person means it.
pub(super) fn sign_out_asked(realm: &Realm, visit: &Visit) -> Response<Bytes> {
    if visit.method == Method::POST || wants(visit) == Form::Json {
        return problem(realm, visit, &Problem::CrossSite);
    }
    let action = realm.config().path("logout");
    realm.0.pages.sign_out(&SignOut {
        session: &realm.config().name,
        action: &action,
        stay: "/",
    })
}

fn login(realm: &Realm, return_to: &ReturnTo) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("return_to", return_to.as_str());
    format!("{}?{}", realm.config().path("login"), query.finish())
}

/// An error in the shape of all others.
fn error(
    status: StatusCode,
    code: Code,
    message: &str,
    visit: &Visit,
    details: &[(&str, &str)],
) -> Response<Bytes> {
    let mut all = visit.reference.details(code).to_vec();
    let more = details.iter();
    all.extend(more.map(|(code, message)| json!({"code": code, "message": message})));
    let document = json!({"error": {"code": code.name(), "message": message, "details": all}});
    let mut response = json(status, &document);
    let kind = if status == StatusCode::SERVICE_UNAVAILABLE {
        "destination_unavailable"
    } else if status.is_server_error() {
        "proxy_internal_response"
    } else {
        "http_request_denied"
    };
    let said = format!(
        "itwin-auth-proxy; error={kind}; details=\"{code}; request {}\"",
        visit.reference.request_id
    );
    if let Ok(said) = HeaderValue::try_from(said) {
        let name = HeaderName::from_static("proxy-status");
        response.headers_mut().insert(name, said);
    }
    response
}

pub(super) fn problem(realm: &Realm, visit: &Visit, problem: &Problem<'_>) -> Response<Bytes> {
    let said = problem.said(realm);
    let mut response = if wants(visit) == Form::Json {
        error(said.status, said.code, &said.text, visit, &[])
    } else {
        let (label, href) = match &said.way {
            Way::SignIn(return_to) => ("Sign in", login(realm, return_to)),
            Way::Back => ("Go to the start page", "/".to_owned()),
        };
        realm.0.pages.error(
            said.status,
            &ErrorPage {
                session: &realm.config().name,
                title: said.title,
                text: &said.text,
                detail: said.detail.as_deref(),
                ways: &[(label, &href)],
                code: said.code,
                reference: &visit.reference,
            },
        )
    };
    if let Problem::TooMany { wait } = problem {
        let seconds = wait.as_secs().saturating_add(1);
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

impl Problem<'_> {
    fn said(&self, realm: &Realm) -> Said {
        match self {
            Self::TooMany { .. } => said(
                Code::TooManySignIns,
                "Too many sign-ins",
                "Too many sign-ins were begun from this address. Wait a minute, then try again.",
            ),
            Self::CrossSite => Said {
                way: Way::Back,
                ..said(
                    Code::CrossSite,
                    "Another site asked for this",
                    "A page of another site made this request with your session. It was not carried out. If you meant it, do it from the application itself.",
                )
            },
            Self::NotBegun => not_begun(realm),
            Self::SignIn(error, return_to) => Said {
                way: Way::SignIn((*return_to).clone()),
                ..of_sign_in(realm, error)
            },
        }
    }
}

fn said(code: Code, title: &'static str, text: &'static str) -> Said {
    Said {
        status: code.status(),
        code,
        title,
        text: Cow::Borrowed(text),
        detail: None,
        way: Way::SignIn(ReturnTo::root()),
    }
}

/// A browser that was sent away from another address than it is sent back to has no cookie here: that
/// address is named.
fn not_begun(realm: &Realm) -> Said {
    let mut said = said(
        Code::SignInNotBegun,
        "This sign-in is over",
        "This browser began no such sign-in, or has ended it: the page may have been loaded twice, or the sign-in took longer than ten minutes. Sign in again to go on.",
    );
    let here = realm.config().origin();
    said.text = format!(
        "{} If it happens again, open the application at {here} and nowhere else.",
        said.text
    )
    .into();
    said
}

fn of_sign_in(realm: &Realm, error: &SignInError) -> Said {
    match error {
        // told before
        SignInError::NoTransaction(_) | SignInError::TooMany(_) => not_begun(realm),
        SignInError::Push(error) if error.is_refusal() => Said {
            detail: Some(error.reason()),
            ..said(
                Code::SignInRefused,
                "The identity provider refused the sign-in",
                "Its answer is below. Tell whoever runs this application: its registration with the provider may have to be changed.",
            )
        },
        SignInError::Provider(_) | SignInError::Push(_) => said(
            Code::ProviderUnavailable,
            "Signing in is not possible at the moment",
            "The identity provider does not answer, or does not know this application. Try again in a moment; if that does not help, tell whoever runs this application the request number below.",
        ),
        SignInError::Refused {
            error,
            description,
            kind,
        } => {
            let words = description.as_deref().unwrap_or_default();
            let detail = format!("{error} {words}").trim().to_owned();
            let refused = match kind {
                RefusedKind::Denied => said(
                    Code::SignInDenied,
                    "You are not signed in",
                    "The sign-in was cancelled, or the access that this application asks for was refused. Nothing was shared. Sign in again if you want to go on.",
                ),
                RefusedKind::NeedsPerson => said(
                    Code::SignInRequired,
                    "Sign in again",
                    "The identity provider wants to ask you something before it signs you in.",
                ),
                RefusedKind::Unavailable => said(
                    Code::ProviderUnavailable,
                    "Signing in is not possible at the moment",
                    "The identity provider says that it cannot sign you in now. Try again in a moment.",
                ),
                RefusedKind::Request => said(
                    Code::SignInRefused,
                    "The identity provider refused the sign-in",
                    "Its answer is below. Tell whoever runs this application: its registration with the provider may have to be changed.",
                ),
            };
            Said {
                detail: Some(detail),
                ..refused
            }
        }
        SignInError::Cookie(_) => said(
            Code::SessionTooLarge,
            "The session cannot be kept",
            "What the identity provider gave does not fit into cookies. Tell whoever runs this application: store: directory, or memory, has room for it.",
        ),
        SignInError::AnotherPerson(_) => said(
            Code::AnotherPerson,
            "Somebody else is signed in at the provider",
            "The identity provider has another person's session than this application. Sign in again to go on as that person.",
        ),
        // anybody can make a browser bring this
        SignInError::Response(_) => Said {
            status: StatusCode::BAD_REQUEST,
            ..said(
                Code::SignInFailed,
                "The sign-in did not succeed",
                "This is not an answer of the identity provider to a sign-in of this browser, so nobody was signed in. Sign in again to go on.",
            )
        },
        SignInError::OtherFlow
        | SignInError::Exchange(_)
        | SignInError::NoIdToken
        | SignInError::IdToken(_) => said(
            Code::SignInFailed,
            "The sign-in did not succeed",
            "The identity provider's answer could not be believed, so nobody was signed in. Sign in again; if that does not help, tell whoever runs this application the request number below.",
        ),
    }
}
