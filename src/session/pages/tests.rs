use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tempfile::TempDir;

use super::*;
use crate::handbook::Help;

const LOGIN: &str = "/.itwin-auth/login?return_to=%2Fapp%3Fa%3Db%26c";

fn sign_in(why: Needed) -> SignIn<'static> {
    let (session, login) = ("web", LOGIN);
    SignIn {
        why,
        session,
        login,
    }
}

fn error<'a>(
    detail: Option<&'a str>,
    ways: &'a [(&'a str, &'a str)],
    reference: &'a Reference,
) -> ErrorPage<'a> {
    ErrorPage {
        session: "web",
        title: "The sign-in was refused",
        text: "Nobody is signed in.",
        detail,
        ways,
        code: Code::SignInFailed,
        reference,
    }
}

fn all(pages: &Pages) -> Vec<(&'static str, Response<Bytes>)> {
    let (session, login) = ("web", LOGIN);
    let (action, stay) = ("/.itwin-auth/logout", "/");
    vec![
        ("sign-in", pages.sign_in(&sign_in(Needed::Start))),
        ("unsent", pages.sign_in(&sign_in(Needed::Unsent))),
        ("frame", pages.sign_in(&sign_in(Needed::Frame))),
        (
            "sign-out",
            pages.sign_out(&SignOut {
                session,
                action,
                stay,
            }),
        ),
        (
            "signed-out",
            pages.signed_out(&SignedOut { session, login }),
        ),
        (
            "error",
            pages.error(
                StatusCode::BAD_REQUEST,
                &error(
                    Some("access_denied: the user said no"),
                    &[("Try again", LOGIN)],
                    &Reference::default(),
                ),
            ),
        ),
        (
            "plain-error",
            pages.error(
                StatusCode::BAD_GATEWAY,
                &error(None, &[], &Reference::default()),
            ),
        ),
    ]
}

fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

fn policy(response: &Response<Bytes>) -> &str {
    response.headers()["content-security-policy"]
        .to_str()
        .unwrap()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let from = text.find(start).unwrap() + start.len();
    &text[from..from + text[from..].find(end).unwrap()]
}

#[test]
fn every_page_is_small_titled_in_a_language_and_without_scripts() {
    let pages = Pages::new(None).unwrap();
    for (name, response) in all(&pages) {
        let page = text(&response);
        assert!(page.starts_with("<!doctype html>"), "{name}");
        assert!(page.contains("<html lang=\"en\">"), "{name}");
        assert!(page.contains("name=\"viewport\""), "{name}");
        let title = between(page, "<title>", "</title>");
        assert!(title.len() > 5, "{name}: {title}");
        assert_eq!(between(page, "<h1>", "</h1>"), title, "{name}");
        assert_eq!(page.matches("<h1").count(), 1, "{name}");
        assert_eq!(page.matches("<main>").count(), 1, "{name}");
        for never in [
            "<script", " style=", " onclick", "http://", "https://", "{{", "{%",
        ] {
            assert!(!page.contains(never), "{name}: {never}");
        }
        assert!(page.len() < 4_096, "{name}: {}", page.len());
    }
}

#[test]
fn every_page_has_a_policy_that_lets_in_its_own_style_only() {
    let pages = Pages::new(None).unwrap();
    for (name, response) in all(&pages) {
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "same-origin");
        let style = between(text(&response), "<style>", "</style>");
        let hash = STANDARD.encode(digest(&SHA256, style.as_bytes()));
        let policy = policy(&response);
        let start = format!("default-src 'none'; style-src 'sha256-{hash}'; ");
        assert!(policy.starts_with(&start), "{name}: {policy}");
        for must in ["base-uri 'none'", "form-action ", "frame-ancestors "] {
            assert!(policy.contains(must), "{name}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{name}: {policy}");
        let frames = between(&format!("{policy};"), "frame-ancestors ", ";").to_owned();
        let expected = if name == "frame" { "'self'" } else { "'none'" };
        assert_eq!(frames, expected, "{name}");
        let forms = if name == "sign-out" {
            "'self' https:"
        } else {
            "'none'"
        };
        assert!(policy.contains(&format!("form-action {forms}")), "{name}");
    }
}

#[test]
fn what_others_wrote_is_escaped_and_cut() {
    let pages = Pages::new(None).unwrap();
    let html = "<script>alert(1)</script><img src=x onerror='a()'>\"&\u{202e}\u{1b}[31m";
    let hostile = ErrorPage {
        title: html,
        text: html,
        session: html,
        code: Code::SignInFailed,
        reference: &Reference {
            request_id: html.into(),
            help: Help::At("https://help.example/\"><script>".into()),
        },
        detail: Some(html),
        ways: &[(html, html)],
    };
    let response = pages.error(StatusCode::BAD_REQUEST, &hostile);
    let page = text(&response);
    for never in ["<script", "<img", "onerror='", "\u{1b}[31m\n<", "&\u{202e}"] {
        assert!(
            !between(page, "<blockquote>", "</blockquote>").contains(never),
            "{never}"
        );
    }
    assert!(
        !page.contains("<script") && !page.contains("<img"),
        "{page}"
    );
    assert!(!page.contains("onerror='"), "{page}");
    assert!(page.contains("&lt;script&gt;"), "{page}");
    // an attribute cannot be left
    let href = between(page, "href=\"&lt;", ">");
    assert_eq!(href.matches('"').count(), 1, "{href}");
    let login = SignIn {
        login: "\"><b>",
        ..sign_in(Needed::Start)
    };
    assert!(!text(&pages.sign_in(&login)).contains("<b>"));

    let long = "x".repeat(100_000);
    let response = pages.error(
        StatusCode::BAD_REQUEST,
        &error(Some(&long), &[], &Reference::default()),
    );
    assert!(text(&response).len() < 6_000);
    assert!(text(&response).contains("x…</blockquote>"));
}

#[test]
fn each_page_says_what_can_be_done() {
    let pages = Pages::new(None).unwrap();
    let href = "href=\"&#x2f;.itwin-auth&#x2f;login?return_to=%2Fapp%3Fa%3Db%26c\"";
    for why in [Needed::Start, Needed::Unsent, Needed::Frame] {
        let response = pages.sign_in(&sign_in(why));
        assert_eq!(response.status(), 401);
        assert!(text(&response).contains(href), "{}", text(&response));
        let tab = text(&response).contains("target=\"_blank\" rel=\"noopener\"");
        assert_eq!(tab, why == Needed::Frame);
    }
    let ways = [("Try again", LOGIN), ("Start", "/")];
    let response = pages.error(
        StatusCode::BAD_GATEWAY,
        &error(
            None,
            &ways,
            &Reference {
                request_id: "0123456789abcdef".into(),
                help: Help::Program,
            },
        ),
    );
    assert_eq!(response.status(), 502);
    let page = text(&response);
    assert!(page.contains("Try again") && page.contains("0123456789abcdef"));
    assert!(page.contains("<code>SignInFailed</code>)"), "{page}");
    assert_eq!(page.matches("class=\"first\"").count(), 1);
    assert!(!page.contains("<blockquote>"));
}

/// Relative luminance and contrast (WCAG 2.2).
fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |colour: &str| {
        let channel = |at: usize| {
            let value = u8::from_str_radix(&colour[at..at + 2], 16).unwrap();
            let value = f64::from(value) / 255.0;
            if value <= 0.040_45 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    };
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn text_can_be_read_in_light_and_dark() {
    let style = include_str!("templates/style.css");
    let (light, dark) = style.split_once("prefers-color-scheme: dark").unwrap();
    for (mode, style) in [("light", light), ("dark", dark)] {
        let colour = |name: &str| between(style, &format!("  --{name}: "), ";");
        for (text, on, least) in [
            ("text", "card", 4.5),
            ("text", "back", 4.5),
            ("aside", "card", 4.5),
            ("link", "card", 4.5),
            ("on-first", "first", 4.5),
            ("first", "card", 3.0),
            ("focus", "card", 3.0),
            ("focus", "first", 1.0),
        ] {
            let contrast = contrast(colour(text), colour(on));
            assert!(contrast >= least, "{mode}: {text} on {on}: {contrast:.2}");
        }
    }
    assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 1e-9);
    assert!(style.contains(":focus-visible { outline: 3px"));
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn a_folder_replaces_the_pages_that_it_has() {
    let folder = folder(&[
        (
            "signed-out.html",
            "<!doctype html><html lang=de><title>Ab</title><style>p{color:red}</style><p>Abgemeldet von {{ session }}",
        ),
        ("style.css", "p { color: green }"),
    ]);
    // as Kubernetes mounts it
    std::fs::create_dir(folder.path().join("..2026_data")).unwrap();
    let pages = Pages::new(Some(folder.path())).unwrap();
    let (session, login) = ("<web>", LOGIN);
    let response = pages.signed_out(&SignedOut { session, login });
    assert!(text(&response).ends_with("Abgemeldet von &lt;web&gt;"));
    let hash = STANDARD.encode(digest(&SHA256, b"p{color:red}"));
    assert!(policy(&response).contains(&format!("style-src 'sha256-{hash}';")));
    let ours = pages.sign_in(&sign_in(Needed::Start));
    assert!(text(&ours).contains("<style>p { color: green }</style>"));
}

#[test]
fn all_that_is_wrong_with_a_folder_is_told_at_once() {
    let large = "x".repeat(300 * 1024);
    let folder = folder(&[
        ("signin.html", "x"),
        ("sign-in.html", "{% if %}"),
        ("sign-out.html", "{{ nothing.there }}"),
        (
            "signed-out.html",
            "<script src=x></script><p style='color:red'>",
        ),
        ("error.html", &large),
        ("style.css", "</style><b>"),
    ]);
    std::fs::write(folder.path().join("layout.html"), b"\xff\xfe").unwrap();
    let problems = Pages::new(Some(folder.path())).unwrap_err();
    let told: Vec<_> = problems.0.iter().map(ToString::to_string).collect();
    for start in [
        "signin.html: is no template of ours: they are layout.html, sign-in.html",
        "sign-in.html: syntax error",
        "sign-out.html: undefined value",
        "signed-out.html: has `<script`, which the policy forbids",
        "signed-out.html: has `style=`",
        "error.html: has 307200 bytes; 262144 are allowed",
        "layout.html: cannot be read",
        "style.css: ends the element",
    ] {
        let count = told
            .iter()
            .filter(|problem| problem.starts_with(start))
            .count();
        assert_eq!(count, 1, "{start}: {told:#?}");
    }
    assert_eq!(told.len(), 8, "{told:#?}");
    let missing = Pages::new(Some(&folder.path().join("missing"))).unwrap_err();
    assert!(missing.to_string().contains("missing cannot be read"));
}
