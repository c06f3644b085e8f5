//! What is wrong, and what changed, in words: the first thing that somebody who looks wants to know.
//!
//! Made of the same JSON that `/status` shows, so that page, terminal and programs are told the
//! same. What a part does not report is not guessed; each finding names its subject and what mends it.

mod collector;
mod refused;
#[cfg(test)]
mod tests;
mod why;

use std::time::{Duration, SystemTime};

use self::why::Why;
use serde_json::{Value, json};

use super::page::words::{host, span};

/// A clock that is off by more makes others take our tokens and assertions for stale.
const CLOCK_OFF: f64 = 60.0;
/// For so long a change is told.
const LATELY: Duration = Duration::from_secs(900);
/// For so long a refused request says something about now.
const RECENT: Duration = Duration::from_secs(30);

/// How bad it is; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Requests fail.
    Failure,
    /// They will, or something does not work as configured.
    Warning,
    /// Nothing is wrong: it changed.
    Notice,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// What kind it is, for programs: it stays the same when words change.
    pub(super) kind: &'static str,
    /// A part and its name: `credential agent`.
    pub(super) about: String,
    /// A few words.
    pub(super) title: String,
    pub(super) says: String,
    pub(super) remedy: String,
    /// For how long; zero, where that does not matter.
    ago: Duration,
}

impl From<Finding> for Value {
    fn from(finding: Finding) -> Self {
        let Finding {
            level,
            kind,
            about,
            title,
            says,
            remedy,
            ago: _,
        } = finding;
        json!({
            "level": level.word(),
            "kind": kind,
            "about": about,
            "title": title,
            "says": says,
            "remedy": remedy,
        })
    }
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// All there are, the worst first.
pub(super) fn findings(status: &Value, now: SystemTime) -> Vec<Finding> {
    let mut all = Vec::new();
    each(status, "tokens", |token| credential(token, &mut all));
    each(status, "keys", |keys| key_set(keys, now, &mut all));
    each(status, "providers", |one| provider(one, now, &mut all));
    each(status, "sessions", |one| session(one, &mut all));
    each(status, "rotations", |one| rotation(one, now, &mut all));
    upstreams(status, now, &mut all);
    each(status, "routes", |route| refused::token(route, &mut all));
    collector::telemetry(&status["telemetry"], &mut all);
    configuration(&status["configuration"], now, &mut all);
    log(&status["log"], &mut all);
    audit(&status["audit"], &mut all);
    // behind what it waits for
    readiness(status, &mut all);
    all.sort_by_key(|finding| (finding.level, finding.ago));
    all.dedup();
    all
}

fn each(status: &Value, key: &str, f: impl FnMut(&Value)) {
    status[key].as_array().into_iter().flatten().for_each(f);
}

fn readiness(status: &Value, all: &mut Vec<Finding>) {
    let waiting = texts(&status["waiting_for"]);
    if waiting.iter().any(|what| what == "shutting down") {
        all.push(Finding {
            level: Level::Warning,
            kind: "draining",
            about: "program".into(),
            title: "This process is on its way out".into(),
            says: "It still serves calls, and tells balancers to send no more: it was drained, or is stopping.".into(),
            remedy: "Nothing, if that was wanted.".into(),
            ago: Duration::ZERO,
        });
        return;
    }
    if !waiting.is_empty() {
        all.push(Finding {
            level: Level::Failure,
            kind: "not_ready",
            about: "program".into(),
            title: "Not ready".into(),
            says: format!(
                "It waits for {}; balancers are told to send no calls.",
                waiting.join(", ")
            ),
            remedy: "Nothing here: it goes on as soon as that is there.".into(),
            ago: Duration::ZERO,
        });
    }
}

fn credential(token: &Value, all: &mut Vec<Finding>) {
    let Some(name) = token["credential"].as_str() else {
        return;
    };
    let about = format!("credential {name}");
    let failure = &token["last_failure"];
    let failing = token["failures_since_success"].as_u64().unwrap_or(0) > 0;
    let message = failure["message"].as_str().or(token["last_error"].as_str());
    let remaining = token["remaining_seconds"]
        .as_f64()
        .or(token["ends_in_seconds"].as_f64());
    if let (true, Some(message)) = (failing, message) {
        let class = failure["class"].as_str().unwrap_or_default();
        let issuer = token["provider"].as_str().map(host);
        let why = Why::of(class, message);
        let (level, effect, left) = if let Some(left) = remaining {
            let left = format!("The token that is there is good for {} more.", span(left));
            (Level::Warning, "cannot be renewed", left)
        } else {
            let left = "Calls that need it are answered 503 until there is one.".into();
            (Level::Failure, "is missing", left)
        };
        all.push(Finding {
            level,
            kind: why.kind(),
            about: about.clone(),
            title: format!("The token of “{name}” {effect}: {}", why.words()),
            says: format!("{}. {left}", capital(message)),
            remedy: why.remedy_of(name, issuer.as_deref().unwrap_or("the provider")),
            ago: Duration::ZERO,
        });
    }
    if token["secret"] == "previous" {
        all.push(Finding {
            level: Level::Warning,
            kind: "secret_previous",
            about: about.clone(),
            title: format!("“{name}” works with its previous secret"),
            says: "The provider does not take the current one.".into(),
            remedy: "Look whether the new secret is known to the provider yet, and written down without a mistake.".into(),
            ago: Duration::ZERO,
        });
    }
}

fn key_set(keys: &Value, now: SystemTime, all: &mut Vec<Finding>) {
    if let Some(name) = keys["provider"].as_str() {
        keys_changed(keys, name, now, all);
    }
    let (Some(name), Some(error)) = (keys["provider"].as_str(), keys["last_error"].as_str()) else {
        return;
    };
    let some = keys["keys"].as_array().is_some_and(|keys| !keys.is_empty());
    let (level, effect) = if some {
        (Level::Warning, "Those that are known stay in use.")
    } else {
        (
            Level::Failure,
            "Callers' tokens cannot be checked: they are answered 503.",
        )
    };
    all.push(Finding {
        level,
        kind: "keys_unavailable",
        about: format!("provider {name}"),
        title: format!("The keys of “{name}” cannot be had"),
        says: format!("{}. {effect}", capital(error)),
        remedy: Why::Unreachable.remedy(name),
        ago: Duration::ZERO,
    });
}

fn provider(provider: &Value, now: SystemTime, all: &mut Vec<Finding>) {
    let Some(name) = provider["name"].as_str() else {
        return;
    };
    if let Some(offset) = provider["clock_offset_seconds"].as_f64()
        && offset.abs() > CLOCK_OFF
    {
        // theirs minus ours
        let way = if offset > 0.0 { "behind" } else { "ahead of" };
        let off = span(offset.abs());
        all.push(Finding {
            level: Level::Warning,
            kind: "clock_wrong",
            about: format!("provider {name}"),
            title: format!("The clock of this machine is {off} {way} that of “{name}”"),
            says: "Tokens seem to begin and end at the wrong time, here or there.".into(),
            remedy: "Have this machine's clock set (timedatectl set-ntp true), or that of the provider if it is yours.".into(),
            ago: Duration::ZERO,
        });
    }
    keys_changed(provider, name, now, all);
}

fn keys_changed(of: &Value, name: &str, now: SystemTime, all: &mut Vec<Finding>) {
    let Some(ago) = lately(&of["keys_changed"], now) else {
        return;
    };
    let keys = of["keys"].as_array().into_iter().flatten();
    let names: Vec<_> = keys
        .filter_map(|key| key["kid"].as_str().or(key.as_str()))
        .collect();
    let names = if names.is_empty() {
        String::new()
    } else {
        format!(" They are now {}.", names.join(", "))
    };
    all.push(Finding {
        level: Level::Notice,
        kind: "keys_changed",
        about: format!("provider {name}"),
        title: format!("“{name}” changed its keys {} ago", span(ago.as_secs_f64())),
        says: format!("The new ones are in use.{names}"),
        remedy: "Nothing.".into(),
        ago,
    });
}

/// A file that was read again while the program runs.
fn rotation(rotation: &Value, now: SystemTime, all: &mut Vec<Finding>) {
    let text = |key: &str| rotation[key].as_str().unwrap_or("?");
    let (what, of) = (text("what"), text("of"));
    if rotation["result"] == "refused" {
        all.push(Finding {
            level: Level::Warning,
            kind: "rotation_refused",
            about: of.to_owned(),
            title: format!("The new {what} of {of} cannot be used"),
            says: format!("{}. The old one stays in use.", capital(text("error"))),
            remedy: "Mend the file: it is taken over when it can be used.".into(),
            ago: Duration::ZERO,
        });
    } else if let Some(ago) = lately(&rotation["at"], now) {
        all.push(Finding {
            level: Level::Notice,
            kind: "rotated",
            about: of.to_owned(),
            title: format!("The {what} of {of} changed {} ago", span(ago.as_secs_f64())),
            says: "It was read again, and is in use.".into(),
            remedy: "Nothing, if it was meant to.".into(),
            ago,
        });
    }
}

fn session(session: &Value, all: &mut Vec<Finding>) {
    let (Some(name), Some(error)) = (session["session"].as_str(), session["last_error"].as_str())
    else {
        return;
    };
    let known = session["provider_known"] == true;
    let issuer = session["provider"]
        .as_str()
        .map_or_else(|| "the provider".into(), host);
    all.push(Finding {
        level: if known {
            Level::Warning
        } else {
            Level::Failure
        },
        kind: "sign_in_unavailable",
        about: format!("session {name}"),
        title: format!("Signing in at “{name}” may not work"),
        says: format!("{}.", capital(error)),
        remedy: Why::Unreachable.remedy(&issuer),
        ago: Duration::ZERO,
    });
}

/// An upstream that does not answer is seen by what was refused lately for its sake.
fn upstreams(status: &Value, now: SystemTime, all: &mut Vec<Finding>) {
    let mut told: Vec<&str> = Vec::new();
    let recent = status["refusals"]["recent"].as_array();
    for refusal in recent.into_iter().flatten() {
        let code = refusal["code"].as_str().unwrap_or_default();
        let route = refusal["route"].as_str().unwrap_or("?");
        let fresh = since(&refusal["at"], now).is_some_and(|ago| ago < RECENT);
        if !fresh || !code.starts_with("Upstream") || told.contains(&route) {
            continue;
        }
        told.push(route);
        let of_route = status["routes"].as_array().into_iter().flatten();
        let mut of_route = of_route.filter(|one| one["name"] == route);
        let upstream = of_route.find_map(|one| one["upstream"].as_str());
        let upstream = upstream.map_or_else(|| "the upstream".into(), host);
        let reason = refusal["reason"].as_str().unwrap_or(code);
        all.push(Finding {
            level: Level::Failure,
            kind: "upstream_down",
            about: format!("route {route}"),
            title: format!("Calls of “{route}” get no answer from {upstream}"),
            says: format!("{code}: {reason}"),
            remedy: format!("Look whether {upstream} is up and can be reached from here: itwin-auth-proxy doctor tries. The tokens are not the cause."),
            ago: Duration::ZERO,
        });
    }
}

fn configuration(configuration: &Value, now: SystemTime, all: &mut Vec<Finding>) {
    let reload = &configuration["last_reload"];
    let result = reload["result"].as_str().unwrap_or_default();
    let cause = match reload["cause"].as_str() {
        Some("file") => "a change of the file",
        Some("signal") => "a signal",
        Some("order") => "an order",
        Some("again") => "another try",
        other => other.unwrap_or("?"),
    };
    let about = String::from("configuration");
    if result == "refused" {
        let problems = reload["problems"].as_array().map_or(0, Vec::len);
        let first = &reload["problems"][0];
        let path = first["path"].as_str().unwrap_or_default();
        let message = first["message"]
            .as_str()
            .or(first.as_str())
            .unwrap_or_default();
        let more = match problems {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let colon = if path.is_empty() { "" } else { ": " };
        all.push(Finding {
            level: Level::Warning,
            kind: "reload_refused",
            about,
            title: "The configuration as it is written was not taken".into(),
            says: format!("The one before goes on. {path}{colon}{message}{more}."),
            remedy: "Mend the file: it is read again at once. What it needs and does not find is looked for again by itself. itwin-auth-proxy check shows every problem and its place.".into(),
            ago: Duration::ZERO,
        });
    } else if result == "applied"
        && let Some(ago) = lately(&reload["at"], now)
    {
        let difference = texts(&reload["difference"]);
        let difference = if difference.is_empty() {
            String::new()
        } else {
            format!(" {}.", difference.join("; "))
        };
        all.push(Finding {
            level: Level::Notice,
            kind: "reload_applied",
            about,
            title: format!(
                "A new configuration was applied {} ago",
                span(ago.as_secs_f64())
            ),
            says: format!("After {cause}.{difference}"),
            remedy: "Nothing, if it was meant to.".into(),
            ago,
        });
    }
}

fn log(log: &Value, all: &mut Vec<Finding>) {
    let dropped = log["dropped"].as_u64().unwrap_or(0);
    if dropped > 0 {
        all.push(Finding {
            level: Level::Notice,
            kind: "log_dropped",
            about: "log".into(),
            title: format!("{dropped} lines of the log were dropped"),
            says: "They came faster than they could be written.".into(),
            remedy: "Log less (itwin-auth-proxy log warn), or write where it is faster.".into(),
            ago: Duration::ZERO,
        });
    }
}

fn audit(audit: &Value, all: &mut Vec<Finding>) {
    let (title, says, remedy) = match audit["state"].as_str() {
        Some("failing") => (
            "The audit stream cannot be written",
            "The log says why.",
            "Make room where it is written, or give the program the right to write there: it goes on by itself.",
        ),
        Some("blocked") => (
            "The audit stream hangs",
            "What it is written to takes nothing.",
            "Look at the disk, or at the program that reads the stream: it goes on by itself.",
        ),
        Some("dead") => (
            "The audit stream has ended",
            "The thread that writes it has ended by a bug.",
            "Restart the program, and please report the lines of the log around it.",
        ),
        _ => return,
    };
    let (waiting, lost) = (&audit["waiting"], &audit["lost"]);
    all.push(Finding {
        level: Level::Failure,
        kind: "audit_failing",
        about: "audit".into(),
        title: title.into(),
        says: format!("{says} Lines that wait: {waiting}; events for which there was no room: {lost}. Calls are served."),
        remedy: remedy.into(),
        ago: Duration::ZERO,
    });
}

fn texts(list: &Value) -> Vec<String> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// As it begins a sentence.
fn capital(text: &str) -> String {
    let mut letters = text.trim_end_matches('.').chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// How long ago, if it was lately.
fn lately(at: &Value, now: SystemTime) -> Option<Duration> {
    since(at, now).filter(|ago| *ago < LATELY)
}

fn since(at: &Value, now: SystemTime) -> Option<Duration> {
    let at = humantime::parse_rfc3339_weak(at.as_str()?).ok()?;
    // what is to come has not been
    now.duration_since(at).ok()
}
