//! How the authorization endpoint answers a client: in a query, a fragment, or a form that a page
//! sends (OAuth 2.0 Form Post Response Mode), with `iss` (RFC 9207), and wrong where it was told so.

use std::fmt::Write;

use http::{HeaderValue, Response, StatusCode, header::LOCATION};

use super::super::{
    answer,
    faults::{Point, SignInFault},
    idp::{FOREIGN_ISSUER, Idp, OAuthError},
    server::Body,
};
use super::{
    pages,
    request::{Back, Mode},
};

/// What nobody may take for markup.
const HTML: &str = "<b>bad</b><script>document.title='owned'</script><img src=x onerror=alert(1)>\
    \"'&amp;\u{202e}";

impl Idp {
    /// Sends the browser back with `parameters`.
    pub(super) fn back(&self, back: &Back, parameters: Vec<(&str, String)>) -> Response<Body> {
        self.journal.count(|counts| counts.authorizations += 1);
        let mut all = parameters;
        if let Some(state) = &back.state {
            all.push(("state", state.clone()));
        }
        all.push(("iss", self.issuer.clone()));
        if let Some(fault) = self.faults.strike_sign_in(Point::Response) {
            self.spoil(&fault, &mut all);
        }
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(&all);
        let form = form.finish();
        let to = match back.mode {
            Mode::FormPost => return pages::form_post(&back.redirect_uri, &all),
            Mode::Query if back.redirect_uri.contains('?') => {
                format!("{}&{form}", back.redirect_uri)
            }
            Mode::Query => format!("{}?{form}", back.redirect_uri),
            Mode::Fragment => format!("{}#{form}", back.redirect_uri),
        };
        see_other(&to)
    }

    /// An error response (RFC 6749 section 4.1.2.1).
    pub(super) fn refuse(&self, back: &Back, error: &OAuthError) -> Response<Body> {
        self.journal.count(|counts| {
            let refused = &mut counts.authorization_errors;
            *refused.entry(error.error.clone()).or_default() += 1;
        });
        let parameters = vec![
            ("error", error.error.clone()),
            ("error_description", error.description.clone()),
        ];
        self.back(back, parameters)
    }

    fn spoil(&self, fault: &SignInFault, all: &mut Vec<(&str, String)>) {
        let mut set = |name: &str, value: String| {
            for (_, old) in all.iter_mut().filter(|(key, _)| *key == name) {
                old.clone_from(&value);
            }
        };
        match fault {
            SignInFault::WrongState => set("state", "somebody-elses".to_owned()),
            SignInFault::MissingState => all.retain(|(key, _)| *key != "state"),
            SignInFault::ForeignIss => set("iss", FOREIGN_ISSUER.to_owned()),
            SignInFault::MissingIss => all.retain(|(key, _)| *key != "iss"),
            SignInFault::ReplayedCode => {
                if let Some(code) = self.desk.lock().earlier_code.clone() {
                    set("code", code);
                }
            }
            SignInFault::Duplicate { name } => {
                let again = all.iter().find(|(key, _)| key == name).cloned();
                all.extend(again);
            }
            SignInFault::HtmlInError => {
                all.retain(|(key, _)| ["state", "iss"].contains(key));
                all.push(("error", "server_error".to_owned()));
                all.push(("error_description", HTML.to_owned()));
                all.push(("error_uri", "javascript:alert(1)".to_owned()));
            }
            SignInFault::Refuse { error } => {
                all.retain(|(key, _)| ["state", "iss"].contains(key));
                all.push(("error", error.clone()));
                all.push(("error_description", "as the sandbox was told".to_owned()));
            }
            _ => {}
        }
    }
}

/// After a form was sent, too, the browser asks with GET.
pub(super) fn see_other(to: &str) -> Response<Body> {
    let mut response = answer::no_store(answer::empty(StatusCode::SEE_OTHER));
    match HeaderValue::from_str(to) {
        Ok(to) => {
            response.headers_mut().insert(LOCATION, to);
            response
        }
        Err(_) => pages::error("the address to return to cannot be written"),
    }
}

/// `text` where HTML takes it for text, quoted attributes included.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' | '>' | '&' | '"' | '\'' => {
                // writing to a String cannot fail
                let _ = write!(safe, "&#{};", u32::from(character));
            }
            _ => safe.push(character),
        }
    }
    safe
}
