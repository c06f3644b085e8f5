//! The pages of the mock authorization server: small, readable without style, usable by keyboard.
//!
//! There is no script but the line that sends a `form_post`. The Content-Security-Policy names no
//! `form-action`: browsers hold the redirect after a form against it, and that one leads to the
//! client.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS},
};

use super::super::{answer, server::Body};
use super::{Account, Person, authorize::Interaction, response::escaped};

const STYLE: &str = ":root{color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif}\
    body{margin:0;padding:4vh 1rem;background:light-dark(#eef1f5,#14181d);color:light-dark(#1b1f24,#e8ebef)}\
    main{max-width:27rem;margin:auto;padding:1.5rem 2rem 2rem;border-radius:.75rem;\
    background:light-dark(#fff,#1e242b);box-shadow:0 1px 6px #0003}\
    h1{font-size:1.4rem;margin:.2rem 0 .8rem}.mock{font-size:.85rem;color:light-dark(#8a4b00,#f2b866);margin:0}\
    label{display:block;font-weight:600;margin-top:.9rem}\
    input{box-sizing:border-box;width:100%;font:inherit;padding:.5rem .6rem;border:1px solid #7b8794;border-radius:.4rem;\
    background:light-dark(#fff,#14181d);color:inherit}\
    button{font:inherit;font-weight:600;width:100%;margin-top:.8rem;padding:.6rem;border:1px solid #0b5cad;border-radius:.4rem;\
    background:#0b5cad;color:#fff;cursor:pointer}\
    button.other{background:transparent;color:inherit;border-color:#7b8794}\
    :focus-visible{outline:3px solid light-dark(#d97706,#fbbf24);outline-offset:2px}\
    .wrong{border-left:.3rem solid #c2261d;padding:.3rem .8rem;margin:.8rem 0}\
    .hint{font-size:.9rem;margin:1.2rem 0 0;padding-top:.8rem;border-top:1px solid #7b879480}\
    code{font-size:.95em;overflow-wrap:anywhere}iframe{display:none}small{font-weight:400}";

/// The line that sends the form.
const SEND: &str = "document.forms[0].submit()";

/// Where a page may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framed {
    Never,
    /// The answer to a hidden request.
    Anywhere,
}

/// Asks for a name and a password.
pub(super) fn sign_in(
    interaction: &Interaction,
    id: &str,
    people: &[Person],
    wrong: Option<&str>,
) -> Response<Body> {
    let hint = interaction.ask.login_hint.as_deref().unwrap_or_default();
    let (mail_focus, word_focus) = match hint {
        "" => (" autofocus", ""),
        _ => ("", " autofocus"),
    };
    let known: Vec<String> = people
        .iter()
        .map(|person| {
            let (mail, word) = (escaped(&person.mail), escaped(&person.password));
            format!("<br><code>{mail}</code> with <code>{word}</code>")
        })
        .collect();
    let known = known.concat();
    let wrong = wrong.map_or_else(String::new, |text| {
        format!("<p class=\"wrong\" role=\"alert\">{}</p>", escaped(text))
    });
    page(
        StatusCode::OK,
        "Sign in",
        &format!(
            "<p>to go on to <b>{client}</b></p>{wrong}\
             <form method=\"post\" action=\"/interaction/{id}/login\">\
             <label for=\"login\">Mail address</label>\
             <input id=\"login\" name=\"login\" type=\"email\" autocomplete=\"username\" required value=\"{hint}\"{mail_focus}>\
             <label for=\"password\">Password</label>\
             <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required{word_focus}>\
             <button>Sign in</button></form>{cancel}\
             <p class=\"hint\">Nobody here is real. These can sign in:{known}</p>",
            client = escaped(interaction.client_name()),
            hint = escaped(hint),
            cancel = cancel(id),
        ),
    )
}

/// Asks which of those who are signed in goes on.
pub(super) fn choose(interaction: &Interaction, id: &str, accounts: &[Account]) -> Response<Body> {
    let buttons: Vec<String> = accounts
        .iter()
        .rev()
        .map(|account| {
            let (name, mail) = (escaped(&account.person.name), escaped(&account.person.mail));
            format!("<button name=\"login\" value=\"{mail}\">{name} <small>{mail}</small></button>")
        })
        .collect();
    let buttons = buttons.concat();
    page(
        StatusCode::OK,
        "Choose an account",
        &format!(
            "<p>to go on to <b>{client}</b></p>\
             <form method=\"post\" action=\"/interaction/{id}/select\">{buttons}\
             <button class=\"other\" name=\"login\" value=\"\">Another account</button></form>{cancel}",
            client = escaped(interaction.client_name()),
            cancel = cancel(id),
        ),
    )
}

/// Asks whether the client may.
pub(super) fn consent(interaction: &Interaction, id: &str, person: &Person) -> Response<Body> {
    let scopes: Vec<String> = interaction
        .ask
        .scopes
        .iter()
        .map(|scope| {
            let means = match scope.as_str() {
                "openid" => "know who you are",
                "profile" => "see your name",
                "email" => "see your mail address",
                "offline_access" => "go on while you are away",
                "itwin-platform" => "use the iTwin platform in your name",
                _ => "use this",
            };
            format!(
                "<li>{means} <small>(<code>{}</code>)</small></li>",
                escaped(scope)
            )
        })
        .collect();
    let scopes = scopes.concat();
    page(
        StatusCode::OK,
        "Is this all right?",
        &format!(
            "<p><b>{client}</b> asks <b>{name}</b> (<code>{mail}</code>) for permission to</p><ul>{scopes}</ul>\
             <form method=\"post\" action=\"/interaction/{id}/consent\">\
             <button name=\"decision\" value=\"allow\">Allow</button>\
             <button class=\"other\" name=\"decision\" value=\"deny\">Deny</button></form>",
            client = escaped(interaction.client_name()),
            name = escaped(&person.name),
            mail = escaped(&person.mail),
        ),
    )
}

fn cancel(id: &str) -> String {
    format!(
        "<form method=\"post\" action=\"/interaction/{id}/cancel\">\
         <button class=\"other\">Cancel</button></form>"
    )
}

/// Asks for the code that a device shows.
pub(super) fn device(code: &str, wrong: Option<&str>) -> Response<Body> {
    let wrong = wrong.map_or_else(String::new, |text| {
        format!("<p class=\"wrong\" role=\"alert\">{}</p>", escaped(text))
    });
    page(
        StatusCode::OK,
        "Connect a device",
        &format!(
            "<p>Enter the code that the program or device shows.</p>{wrong}\
             <form method=\"post\" action=\"/device\"><label for=\"user_code\">Code</label>\
             <input id=\"user_code\" name=\"user_code\" required autofocus autocomplete=\"off\" \
             autocapitalize=\"characters\" spellcheck=\"false\" value=\"{}\">\
             <button>Continue</button></form>",
            escaped(code)
        ),
    )
}

/// Asks whether to sign out.
pub(super) fn sign_out(fields: &[(&str, &str)]) -> Response<Body> {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| hidden(name, value))
        .collect();
    let fields = fields.concat();
    page(
        StatusCode::OK,
        "Sign out?",
        &format!(
            "<p>Here, and at every application that you signed in to with this account.</p>\
             <form method=\"post\" action=\"/connect/endsession\">{fields}\
             <button>Sign out</button></form>"
        ),
    )
}

/// Says that the session has ended, and lets a browser tell the clients by frames.
pub(super) fn signed_out(frames: &[String], next: Option<&str>, note: &str) -> Response<Body> {
    let list: Vec<String> = frames
        .iter()
        .map(|uri| format!("<iframe title=\"\" src=\"{}\"></iframe>", escaped(uri)))
        .collect();
    let list = list.concat();
    // without a script nobody knows when the frames are there
    let refresh = next.map_or_else(String::new, |next| {
        format!(
            "<meta http-equiv=\"refresh\" content=\"2;url={}\">",
            escaped(next)
        )
    });
    let link = next.map_or_else(String::new, |next| {
        format!("<p><a href=\"{}\">Go on</a></p>", escaped(next))
    });
    let mut response = page(
        StatusCode::OK,
        "You are signed out",
        &format!("{refresh}<p>{}</p>{link}{list}", escaped(note)),
    );
    let origins: Vec<String> = frames
        .iter()
        .filter_map(|uri| url::Url::parse(uri).ok())
        .map(|uri| uri.origin().ascii_serialization())
        .collect();
    if !origins.is_empty() {
        policy(
            &mut response,
            &format!("; frame-src {}", origins.join(" ")),
            Framed::Never,
        );
    }
    response
}

/// Says something and ends.
pub(super) fn says(title: &str, text: &str) -> Response<Body> {
    page(StatusCode::OK, title, &format!("<p>{}</p>", escaped(text)))
}

/// Says what is wrong with a request whose sender cannot be told otherwise.
pub(super) fn error(text: &str) -> Response<Body> {
    let text = format!("<p class=\"wrong\">{}</p>", escaped(text));
    page(StatusCode::BAD_REQUEST, "This request is not served", &text)
}

/// Sends `parameters` to `action`.
pub(super) fn form_post(action: &str, parameters: &[(&str, String)]) -> Response<Body> {
    let fields: Vec<String> = parameters
        .iter()
        .map(|(name, value)| hidden(name, value))
        .collect();
    let fields = fields.concat();
    let mut response = page(
        StatusCode::OK,
        "One moment",
        &format!(
            "<form method=\"post\" action=\"{}\">{fields}<noscript><button>Go on</button></noscript></form>\
             <script>{SEND}</script>",
            escaped(action)
        ),
    );
    let script = format!("; script-src '{}'", hash(SEND));
    policy(&mut response, &script, Framed::Anywhere);
    response
}

fn hidden(name: &str, value: &str) -> String {
    let (name, value) = (escaped(name), escaped(value));
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">")
}

fn page(status: StatusCode, title: &str, body: &str) -> Response<Body> {
    let html = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} - sandbox</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style></head>\
         <body><main><p class=\"mock\">Sandbox: a mock provider for trying and testing</p>\
         <h1>{title}</h1>{body}</main></body></html>"
    );
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response = answer::no_store(answer::bytes(status, kind, html));
    policy(&mut response, "", Framed::Never);
    response
}

fn policy(response: &mut Response<Body>, more: &str, framed: Framed) {
    let ancestors = match framed {
        Framed::Never => "; frame-ancestors 'none'",
        Framed::Anywhere => "",
    };
    let policy = format!(
        "default-src 'none'; style-src '{}'; img-src data:; base-uri 'none'{ancestors}{more}",
        hash(STYLE)
    );
    let headers = response.headers_mut();
    headers.remove(X_FRAME_OPTIONS);
    if framed == Framed::Never {
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
}

/// How a policy names an inline style or script.
fn hash(text: &str) -> String {
    format!(
        "sha256-{}",
        STANDARD.encode(digest(&SHA256, text.as_bytes()))
    )
}
