//! What the audit stream tells: a fixed list, so that nobody writes into it what it is not for.
//!
//! Names only: no token, no secret, no query, no body. Whoever notes an event says who did what to
//! what, and what came of it; number, time and the link to the line before are the stream's.

use std::fmt::Write as _;

use serde_json::Value;

use super::chain::put_text;
use crate::caller::Caller;

/// Something that an auditor may ask about later. Requests are counted elsewhere (per thread), for
/// there are too many of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A person signed in at a session of the configuration.
    SignedIn {
        /// The session's name.
        session: String,
        /// The subject, as the log names it.
        person: String,
    },
    /// A person's session ended.
    SignedOut {
        session: String,
        person: String,
        /// As the metric of ended sessions has it.
        cause: &'static str,
    },
    /// The configuration was read again.
    Reloaded {
        /// `file`, `signal` or `order`.
        cause: &'static str,
        /// `applied`, `unchanged` or `refused`.
        result: &'static str,
        /// Of the configuration that runs after it.
        generation: u64,
        /// A line each; no secret.
        difference: Vec<String>,
        /// What is wrong with it, a line each.
        problems: Vec<String>,
    },
    /// A secret, key or certificate was replaced by a new one, or could not be.
    SecretChanged {
        /// What uses it: `credential agent`, `listener 0.0.0.0:8443`, `provider ims` …
        of: String,
        /// `client_secret`, `certificate`, `client_certificate`, `assertion_key`, `ca` …
        what: &'static str,
        /// The file, or whatever it came from; never the secret.
        source: String,
        /// `applied`, or `refused`: the old one stays.
        result: &'static str,
    },
    /// Something was ordered at the admin listener, obeyed or not.
    Ordered {
        by: Steerer,
        /// The method and path: `POST /drain`.
        order: String,
        /// What it was about, if anything: a credential, a level. Not the body as it was sent.
        about: String,
        /// `obeyed`, `wrong`, `refused`, `unknown` or `forbidden`; `panicked`: a bug.
        result: &'static str,
    },
}

/// Who gave an order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Steerer {
    /// Over the Unix socket; as the kernel says.
    Uid(u32),
    /// With the admin key, from this address.
    Key(std::net::IpAddr),
    /// Without a key, from this address.
    Anyone(std::net::IpAddr),
    /// More of them than are told apart.
    Others,
}

impl Event {
    /// An order that was not permitted.
    pub(super) fn forbidden(by: Steerer, order: String) -> Self {
        Self::Ordered {
            by,
            order,
            about: String::new(),
            result: "forbidden",
        }
    }

    /// What the line says of it; begins with a comma.
    pub(super) fn fields(&self) -> String {
        let mut out = format!(",\"event\":\"{}\"", self.name());
        match self {
            Self::SignedIn { session, person } => {
                put_text(&mut out, "session", session);
                put_text(&mut out, "person", person);
            }
            Self::SignedOut {
                session,
                person,
                cause,
            } => {
                put_text(&mut out, "session", session);
                put_text(&mut out, "person", person);
                put_text(&mut out, "cause", cause);
            }
            Self::Reloaded {
                cause,
                result,
                generation,
                difference,
                problems,
            } => {
                put_text(&mut out, "cause", cause);
                put_text(&mut out, "result", result);
                let _ = write!(out, ",\"generation\":{generation}");
                put_list(&mut out, "difference", difference);
                put_list(&mut out, "problems", problems);
            }
            Self::SecretChanged {
                of,
                what,
                source,
                result,
            } => {
                put_text(&mut out, "of", of);
                put_text(&mut out, "what", what);
                put_text(&mut out, "source", source);
                put_text(&mut out, "result", result);
            }
            Self::Ordered {
                by,
                order,
                about,
                result,
            } => {
                match by {
                    Steerer::Uid(uid) => put_text(&mut out, "by", &format!("uid:{uid}")),
                    Steerer::Key(from) => put_text(&mut out, "by", &format!("key:{from}")),
                    Steerer::Anyone(from) => put_text(&mut out, "by", &format!("net:{from}")),
                    Steerer::Others => put_text(&mut out, "by", "others"),
                }
                put_text(&mut out, "order", order);
                if !about.is_empty() {
                    put_text(&mut out, "about", about);
                }
                put_text(&mut out, "result", result);
            }
        }
        out
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::SignedIn { .. } => "signed_in",
            Self::SignedOut { .. } => "signed_out",
            Self::Reloaded { .. } => "reloaded",
            Self::SecretChanged { .. } => "secret_changed",
            Self::Ordered { .. } => "ordered",
        }
    }
}

/// Who it was, where that is known.
pub(super) fn put_caller(out: &mut String, caller: Option<&Caller>) {
    if let Some(caller) = caller {
        put_text(out, "caller", &caller.to_string());
    }
}

/// The first lines of a list; a line of the stream must not become as long as a configuration.
fn put_list(out: &mut String, name: &str, list: &[String]) {
    if list.is_empty() {
        return;
    }
    let shown = list.iter().take(LISTED).map(|line| {
        let end = (0..=LONGEST.min(line.len()))
            .rev()
            .find(|at| line.is_char_boundary(*at));
        Value::from(&line[..end.unwrap_or_default()])
    });
    let shown = Value::Array(shown.collect());
    let _ = write!(out, ",\"{name}\":{shown}");
    if list.len() > LISTED {
        let _ = write!(out, ",\"{name}_left_out\":{}", list.len() - LISTED);
    }
}

/// Lines of a list that are written, and characters of each.
const LISTED: usize = 100;
const LONGEST: usize = 500;
