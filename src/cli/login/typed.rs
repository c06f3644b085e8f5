//! For a browser on another machine: the person brings the address back by hand.
//!
//! The browser ends on a page that it cannot load, because the redirect leads to a machine where
//! nobody listens; but its address line has the answer.

use std::{io, thread};

use tokio::sync::mpsc;
use url::Url;

use crate::{cli::output::complain, secret::Secret};

/// Longer lines are no address.
const LONGEST_LINE: usize = 64 * 1024;

/// Lines that the person enters, until standard input ends.
pub(super) fn lines() -> mpsc::Receiver<Secret> {
    let (sender, lines) = mpsc::channel(1);
    // a task would keep the program from ending until the next line
    thread::spawn(move || {
        for line in io::stdin().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(Secret::new(line)).is_err() {
                return;
            }
        }
    });
    lines
}

/// The answer in what was entered, as a query; says what is wrong with anything else.
pub(super) fn answer(line: &str, redirect: &Url, state: &str) -> Option<Secret> {
    let line = line.trim().trim_matches(['"', '\'', '<', '>']);
    if line.is_empty() || line.len() > LONGEST_LINE {
        return None;
    }
    if let Ok(url) = Url::parse(line)
        && url.has_host()
    {
        let same = url.origin() == redirect.origin() && url.path() == redirect.path();
        return match url.query() {
            Some(query) if same => Some(Secret::new(query)),
            _ => {
                complain(format!(
                    "That is not the last address, which begins with {redirect}? and is shown when the browser \
                     cannot load the page."
                ));
                None
            }
        };
    }
    let query = line.trim_start_matches('?');
    if query.starts_with("code=") || query.contains("&code=") || query.contains("error=") {
        return Some(Secret::new(query));
    }
    // a code alone: it is of no use without the verifier, which only this process has
    let looks_like_one = line.bytes().all(|b| b.is_ascii_graphic()) && line.len() >= 8;
    if looks_like_one {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("code", line)
            .append_pair("state", state)
            .finish();
        return Some(Secret::new(query));
    }
    complain("That is neither an address nor a code.");
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_a_query_and_a_code_are_answers() {
        let redirect: Url = "http://localhost:3000/signin-callback".parse().unwrap();
        for (line, expected) in [
            (
                "http://localhost:3000/signin-callback?code=a&state=s",
                Some("code=a&state=s"),
            ),
            (
                "  <http://localhost:3000/signin-callback?code=a&state=s>\r",
                Some("code=a&state=s"),
            ),
            ("?code=a&state=s", Some("code=a&state=s")),
            ("code=a&state=s", Some("code=a&state=s")),
            ("state=s&code=a", Some("state=s&code=a")),
            (
                "error=access_denied&state=s",
                Some("error=access_denied&state=s"),
            ),
            ("Q29kZV+w/Xo=", Some("code=Q29kZV%2Bw%2FXo%3D&state=STATE")),
            ("", None),
            ("   ", None),
            ("short", None),
            ("two words of it", None),
            ("http://localhost:3000/signin-callback", None),
            ("http://localhost:3000/other?code=a", None),
            ("https://idp.example/login?code=a", None),
        ] {
            let found = answer(line, &redirect, "STATE");
            assert_eq!(found.as_ref().map(Secret::expose), expected, "{line}");
        }
    }
}
