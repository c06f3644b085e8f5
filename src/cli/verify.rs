//! `itwin-auth-proxy verify [TOKEN]`: which routes would take a token, and why others would not.

use std::io::{self, IsTerminal, Read};

use clap::Args;
use serde_json::json;

use super::{Configuration, Exit, block_on, complain, say};
use crate::{
    app::{self, Examined},
    verify::{Finding, LONGEST, Verdict},
};

/// Say which routes would take an access token, and why others would not, claim by claim.
///
/// The providers are asked for their keys, and about tokens that are no JWTs. The token is not
/// printed. Exit code 1 when no route takes it.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    /// The token, with or without `Bearer`; `-`, or none, reads it from standard input, where no
    /// other user of the machine and no shell history sees it.
    token: Option<String>,
    /// Look at this route only.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let config = arguments.configuration.load()?.config;
    let token = match arguments.token.as_deref() {
        None | Some("-") => read()?,
        Some(token) => token.to_owned(),
    };
    let token = bare(&token);
    if token.is_empty() {
        complain("error: there is no token: give it as an argument, or on standard input");
        return Ok(Exit::Usage);
    }
    if let Some(name) = &arguments.route
        && !config.routes.iter().any(|route| *route.name == **name)
    {
        complain(format!("error: no route is called {}", name.escape_debug()));
        return Ok(Exit::Usage);
    }
    let (mut all, troubles) = block_on(app::examine_token(&config, token))?;
    for (provider, why) in &troubles {
        complain(format!("warning: no keys of provider {provider}: {why}"));
    }
    if let Some(name) = &arguments.route {
        all.retain(|examined| examined.route == *name);
    }
    if all.is_empty() {
        complain("error: no route asks for access tokens: add admit: {bearer: …} to one");
        return Ok(Exit::Usage);
    }
    if arguments.json {
        let all: Vec<_> = all.iter().map(to_json).collect();
        say(json!(all).to_string());
    } else {
        all.iter().for_each(show);
    }
    let passes = all.iter().any(Examined::passes);
    Ok(if passes { Exit::Ok } else { Exit::No })
}

/// Of standard input, as much as a token may have.
fn read() -> Result<String, Exit> {
    if io::stdin().is_terminal() {
        complain("Paste the token, then press Enter and Ctrl-D:");
    }
    let mut text = String::new();
    // some for the scheme and for line ends
    let most = LONGEST as u64 + 1024;
    match io::stdin().lock().take(most).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => {
            complain(format!("error: standard input cannot be read: {error}"));
            Err(Exit::Usage)
        }
    }
}

/// Without what stands before a token in a header.
fn bare(text: &str) -> &str {
    let text = text.trim();
    let text = match text.split_once(':') {
        Some((name, value)) if name.eq_ignore_ascii_case("authorization") => value.trim_start(),
        _ => text,
    };
    match text.split_once(' ') {
        Some((scheme, token)) if ["bearer", "dpop"].contains(&&*scheme.to_ascii_lowercase()) => {
            token.trim_start()
        }
        _ => text,
    }
}

fn show(examined: &Examined) {
    let verdict = if examined.passes() {
        "would pass"
    } else {
        "would be refused"
    };
    let (route, issuer) = (&examined.route, &examined.issuer);
    say(format!("route {route}, tokens of {issuer}: {verdict}"));
    let width = examined
        .findings
        .iter()
        .map(|finding| finding.what.len())
        .max();
    let width = width.unwrap_or_default();
    for Finding {
        what,
        found,
        verdict,
    } in &examined.findings
    {
        let (mark, reason) = match verdict {
            Verdict::Good => ("ok", None),
            Verdict::Told => ("-", None),
            Verdict::Bad(reason) => ("no", Some(reason.as_str())),
        };
        let text = match reason {
            Some(reason) if found.is_empty() => reason.to_owned(),
            Some(reason) => format!("{found}: {reason}"),
            None => found.clone(),
        };
        say(format!("  {mark:2}  {what:width$}  {text}"));
    }
}

fn to_json(examined: &Examined) -> serde_json::Value {
    let finding = |finding: &Finding| {
        let (verdict, reason) = match &finding.verdict {
            Verdict::Good => ("ok", None),
            Verdict::Told => ("told", None),
            Verdict::Bad(reason) => ("no", Some(reason)),
        };
        json!({"what": finding.what, "found": finding.found, "verdict": verdict, "reason": reason})
    };
    json!({
        "route": examined.route,
        "issuer": examined.issuer,
        "passes": examined.passes(),
        "findings": examined.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_as_it_is_copied() {
        for text in [
            "a.b.c",
            " a.b.c\n",
            "Bearer a.b.c",
            "bearer  a.b.c",
            "DPoP a.b.c",
            "Authorization: Bearer a.b.c\r\n",
            "authorization:Bearer a.b.c",
        ] {
            assert_eq!(bare(text), "a.b.c", "{text:?}");
        }
        assert_eq!(bare("  \n"), "");
    }
}
