//! The handbook as a page for browsers: no script, no other file, readable on a phone and in the dark.

use std::fmt::{self, Write as _};

use super::{Exit, PARTS, PROVIDER_ANSWERS, SYMPTOMS, plain};

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\"><meta charset=\"utf-8\"><title>Troubleshooting · itwin-auth-proxy</title>
<meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\">
<style>
body{font:1rem/1.5 system-ui,sans-serif;max-width:50rem;margin:0 auto;padding:1rem}
code{font-size:.9em;overflow-wrap:anywhere}
:target{outline:2px solid;outline-offset:.3rem}
dt{font-weight:600;margin-top:.6rem}dd{margin-left:1rem}
</style>
<main><h1>Troubleshooting</h1>
";

/// The page; a code's anchor is its name in lower case.
pub fn html() -> String {
    let mut out = String::from(HEAD);
    // a String takes everything
    let _ = write(&mut out);
    out
}

fn write(out: &mut String) -> fmt::Result {
    writeln!(out, "<h2>What you see</h2>")?;
    for symptom in SYMPTOMS {
        writeln!(out, "<h3>{}</h3><dl>", inline(symptom.seen))?;
        for (sign, remedy) in symptom.causes {
            writeln!(out, "<dt>{}<dd>{}", inline(sign), inline(remedy))?;
        }
        writeln!(out, "</dl>")?;
    }
    for part in PARTS {
        writeln!(out, "<h2>{}</h2>", inline(part.title))?;
        for code in part.codes {
            let (means, remedy) = (inline(code.means()), inline(code.remedy()));
            let statuses: Vec<String> = code.statuses().iter().map(u16::to_string).collect();
            let (anchor, statuses) = (code.anchor(), statuses.join(", "));
            writeln!(
                out,
                "<section id=\"{anchor}\"><h3>{code} {statuses}</h3><p>{means}<p><b>What to do:</b> {remedy}</section>"
            )?;
        }
    }
    writeln!(out, "<h2>What a provider answers</h2><dl>")?;
    for one in PROVIDER_ANSWERS {
        let (means, remedy) = (inline(one.means), inline(one.remedy));
        writeln!(out, "<dt><code>{}</code><dd>{means} {remedy}", one.name)?;
    }
    writeln!(out, "</dl><h2>Exit codes</h2><dl>")?;
    for exit in Exit::ALL {
        let (means, remedy) = exit.meaning();
        let (means, remedy) = (inline(means), inline(remedy));
        writeln!(out, "<dt>{}<dd>{means} {remedy}", exit.number())?;
    }
    writeln!(out, "</dl></main></html>")
}

/// A line of Markdown: escaped, with what stands between backticks as code.
fn inline(text: &str) -> String {
    let text = plain(text);
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let pieces = text.split('`').enumerate().map(|(at, piece)| {
        if at % 2 == 0 {
            piece.to_owned()
        } else {
            format!("<code>{piece}</code>")
        }
    });
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use super::{super::Code, *};

    #[test]
    fn every_code_has_a_place_on_the_page() {
        let page = html();
        for code in Code::all() {
            let place = format!("<section id=\"{}\">", code.anchor());
            assert_eq!(page.matches(&place).count(), 1, "{code}");
        }
        assert!(!page.contains('`') && !page.contains("<script"));
    }

    #[test]
    fn what_is_code_is_shown_as_code_and_nothing_is_markup() {
        assert_eq!(
            inline("send `a<b>` & [read](people.md)"),
            "send <code>a&lt;b></code> &amp; docs/people.md"
        );
    }
}
