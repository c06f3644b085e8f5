//! The pages that people see of a session: sign-in needed, sign out?, signed out, and what went
//! wrong.
//!
//! Small, without scripts, under a policy that lets nothing in but their own style; whatever others
//! wrote is escaped. A folder of templates (`theme.rs`) replaces any of them.

mod theme;

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use minijinja::{Environment, Value, context};

pub use theme::{PagesError, PagesProblem};

use theme::{Files, Style};

use crate::handbook::{Code, Reference};

/// Of what others wrote.
const DETAIL: usize = 1_000;

/// Somebody has to sign in, and cannot be sent to do so at once.
#[derive(Debug, Clone, Copy)]
pub struct SignIn<'a> {
    pub why: Needed,
    /// Of the session in the configuration.
    pub session: &'a str,
    /// Where signing in begins.
    pub login: &'a str,
}

/// Why a person is asked rather than sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// Somebody is about to see a page.
    Start,
    /// A form was sent, which cannot be repeated.
    Unsent,
    /// It is a page inside a page.
    Frame,
}

/// Asks whether one wants to sign out: a link of another site may have led here.
#[derive(Debug, Clone, Copy)]
pub struct SignOut<'a> {
    pub session: &'a str,
    /// What is posted to.
    pub action: &'a str,
    /// Where one goes who does not want to.
    pub stay: &'a str,
}

/// The end.
#[derive(Debug, Clone, Copy)]
pub struct SignedOut<'a> {
    pub session: &'a str,
    pub login: &'a str,
}

/// What went wrong, and what can be done.
#[derive(Debug, Clone, Copy)]
pub struct ErrorPage<'a> {
    pub session: &'a str,
    pub title: &'a str,
    pub text: &'a str,
    /// What the provider wrote about it.
    pub detail: Option<&'a str>,
    /// What it is called, and where it leads; the first stands out.
    pub ways: &'a [(&'a str, &'a str)],
    pub code: Code,
    pub reference: &'a Reference,
}

/// All pages of a session.
#[derive(Debug)]
pub struct Pages {
    templates: Environment<'static>,
    /// Of the style of each template.
    styles: BTreeMap<&'static str, Style>,
}

impl Pages {
    /// Ours, or those in a folder where it has them.
    ///
    /// # Errors
    /// Everything that is wrong with the folder.
    pub fn new(folder: Option<&Path>) -> Result<Self, PagesError> {
        let mut problems = Vec::new();
        let files = match folder {
            Some(folder) => Files::read(folder, &mut problems),
            None => Files::default(),
        };
        let templates = files.templates(&mut problems);
        let mut styles = BTreeMap::new();
        for (name, value) in samples() {
            // one that was not read has been told already
            let Ok(template) = templates.get_template(name) else {
                continue;
            };
            let style: &mut Style = styles.entry(name).or_default();
            match template.render(value) {
                Ok(page) => style.of(&page, name, &mut problems),
                Err(error) => problems.push(PagesProblem::of(name, theme::said(&error))),
            }
        }
        if problems.is_empty() {
            Ok(Self { templates, styles })
        } else {
            problems.dedup();
            Err(PagesError(problems))
        }
    }

    pub fn sign_in(&self, page: &SignIn<'_>) -> Response<Bytes> {
        let frames = match page.why {
            // a page of the same origin may show it, or nobody would know what is missing
            Needed::Frame => "'self'",
            Needed::Start | Needed::Unsent => "'none'",
        };
        let policy = format!("form-action 'none'; frame-ancestors {frames}");
        self.page(StatusCode::UNAUTHORIZED, SIGN_IN, page.value(), &policy)
    }

    pub fn sign_out(&self, page: &SignOut<'_>) -> Response<Bytes> {
        // Chromium holds what a form's target redirects to against `form-action` too, and signing
        // out goes on at the provider, which may have several hosts
        let policy = "form-action 'self' https: http://localhost:* http://127.0.0.1:*; \
                      frame-ancestors 'none'";
        self.page(StatusCode::OK, SIGN_OUT, page.value(), policy)
    }

    pub fn signed_out(&self, page: &SignedOut<'_>) -> Response<Bytes> {
        self.page(StatusCode::OK, SIGNED_OUT, page.value(), NO_FORMS)
    }

    pub fn error(&self, status: StatusCode, page: &ErrorPage<'_>) -> Response<Bytes> {
        self.page(status, ERROR, page.value(), NO_FORMS)
    }

    fn page(
        &self,
        status: StatusCode,
        name: &'static str,
        value: Value,
        policy: &str,
    ) -> Response<Bytes> {
        let template = self.templates.get_template(name);
        let page = template.and_then(|template| template.render(value));
        // all were rendered at start: what fails now is a template that fails with some texts only
        let page = page.unwrap_or_else(|error| {
            tracing::error!(page = name, error = %theme::said(&error), "a page cannot be shown");
            "<!doctype html><html lang=en><title>Error</title><p>This page cannot be shown.".into()
        });
        let mut response = Response::new(Bytes::from(page));
        *response.status_mut() = status;
        let style = self.styles.get(name).map_or("'none'", Style::sources);
        let policy = format!(
            "default-src 'none'; style-src {style}; img-src 'self' data:; base-uri 'none'; {policy}"
        );
        fields(response.headers_mut(), &policy);
        response
    }
}

const SIGN_IN: &str = "sign-in.html";
const SIGN_OUT: &str = "sign-out.html";
const SIGNED_OUT: &str = "signed-out.html";
const ERROR: &str = "error.html";
const NO_FORMS: &str = "form-action 'none'; frame-ancestors 'none'";

/// Header fields of every page.
fn fields(headers: &mut HeaderMap, policy: &str) {
    let text = HeaderValue::from_static;
    headers.insert(CONTENT_TYPE, text("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, text("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, text("nosniff"));
    // `no-referrer` would make a form of ours say `Origin: null`
    headers.insert(REFERRER_POLICY, text("same-origin"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        text("same-origin"),
    );
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
}

impl SignIn<'_> {
    fn value(&self) -> Value {
        let why = match self.why {
            Needed::Start => "start",
            Needed::Unsent => "unsent",
            Needed::Frame => "frame",
        };
        context! { why, session => self.session, login => self.login }
    }
}

impl SignOut<'_> {
    fn value(&self) -> Value {
        context! { session => self.session, action => self.action, stay => self.stay }
    }
}

impl SignedOut<'_> {
    fn value(&self) -> Value {
        context! { session => self.session, login => self.login }
    }
}

impl ErrorPage<'_> {
    fn value(&self) -> Value {
        let ways = self.ways.iter();
        let ways = ways.map(|(label, href)| context! { label => *label, href => *href });
        context! {
            session => self.session,
            title => self.title,
            text => self.text,
            detail => self.detail.map(readable),
            ways => ways.collect::<Vec<_>>(),
            code => self.code.name(),
            help => self.reference.help.page(self.code),
            request_id => self.reference.request_id.as_str(),
        }
    }
}

/// What somebody else wrote, without what changes how the rest is read.
fn readable(text: &str) -> String {
    let odd = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let plain = text.chars().map(|c| if odd(c) { ' ' } else { c });
    let mut plain: String = plain.take(DETAIL + 1).collect();
    if plain.chars().count() > DETAIL {
        plain.pop();
        plain.push('…');
    }
    plain
}

/// Every page in every case, so that what is wrong with a template is known at start.
fn samples() -> Vec<(&'static str, Value)> {
    let (session, login) = ("web", "/.itwin-auth/login?return_to=%2F");
    let mut samples: Vec<_> = [Needed::Start, Needed::Unsent, Needed::Frame]
        .map(|why| {
            SignIn {
                why,
                session,
                login,
            }
            .value()
        })
        .map(|value| (SIGN_IN, value))
        .into();
    let (action, stay) = ("/.itwin-auth/logout", "/");
    let sign_out = SignOut {
        session,
        action,
        stay,
    };
    samples.push((SIGN_OUT, sign_out.value()));
    samples.push((SIGNED_OUT, SignedOut { session, login }.value()));
    let reference = Reference {
        request_id: "0123456789abcdef".into(),
        help: crate::handbook::Help::At("https://help.example/errors".into()),
    };
    let whole = ErrorPage {
        session,
        title: "The sign-in was refused",
        text: "The sign-in service did not let you in.",
        detail: Some("access_denied"),
        ways: &[("Try again", login), ("Start", "/")],
        code: Code::SignInFailed,
        reference: &reference,
    };
    let bare = ErrorPage {
        detail: None,
        ways: &[],
        ..whole
    };
    samples.extend([whole, bare].map(|page| (ERROR, page.value())));
    samples
}

#[cfg(test)]
mod tests;
