//! The configuration that runs, as those who ask see it: what it is, since when, and what came of the
//! last attempt to have another.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Uri};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Verdict, explain, generation::Generation};
use crate::{
    clock::{Clock, Deadline, Moment},
    config::{Name, Problem, Provider, Sources, print},
    health::{Document, Question, Report},
    metrics::Metrics,
    rotation::Rotations,
    tokens::TokenService,
};

/// Who asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The file has changed.
    File,
    /// SIGHUP.
    Signal,
    /// Somebody, at the admin listener.
    Order,
    /// It was refused, and what it needs may be there now.
    Again,
}

impl Cause {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Signal => "signal",
            Self::Order => "order",
            Self::Again => "again",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// What has changed.
    Applied(Vec<String>),
    /// It is what runs already.
    Unchanged,
    /// All that is wrong with it.
    Refused(Vec<Fault>),
}

impl Outcome {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused(_) => "refused",
        }
    }

    pub(super) fn difference(&self) -> &[String] {
        match self {
            Self::Applied(difference) => difference,
            Self::Unchanged | Self::Refused(_) => &[],
        }
    }

    pub(super) fn faults(&self) -> &[Fault] {
        match self {
            Self::Refused(faults) => faults,
            Self::Applied(_) | Self::Unchanged => &[],
        }
    }

    /// Whether the same text may be taken later.
    pub(super) fn mends(&self) -> Mends {
        match self {
            Self::Refused(faults) if faults.iter().all(|one| one.mends != Mends::Never) => {
                Mends::PerhapsByTime
            }
            Self::Refused(_) | Self::Applied(_) | Self::Unchanged => Mends::Never,
        }
    }
}

/// Whether a fault may be gone though nobody edits the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mends {
    /// A file may come, an address may be let go.
    PerhapsByTime,
    Never,
}

/// Why a configuration is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub path: String,
    pub origin: Option<String>,
    pub text: String,
    pub hint: Option<String>,
    pub mends: Mends,
}

impl Fault {
    pub(super) fn of(text: String, hint: Option<String>) -> Self {
        Self {
            path: String::new(),
            origin: None,
            text,
            hint,
            mends: Mends::PerhapsByTime,
        }
    }

    pub(super) fn line(&self) -> String {
        let mut line = String::new();
        if let Some(origin) = &self.origin {
            line.push_str(origin);
            line.push_str(": ");
        }
        if !self.path.is_empty() {
            line.push_str(&self.path);
            line.push_str(": ");
        }
        line.push_str(&self.text);
        if let Some(hint) = &self.hint {
            line.push_str(" (");
            line.push_str(hint);
            line.push(')');
        }
        line
    }

    fn to_json(&self) -> Value {
        json!({ "path": self.path, "origin": self.origin, "message": self.text, "hint": self.hint })
    }
}

impl From<&Problem> for Fault {
    fn from(problem: &Problem) -> Self {
        Self {
            path: problem.path.clone(),
            origin: problem.origin.as_ref().map(ToString::to_string),
            text: problem.text.clone(),
            hint: problem.hint.clone(),
            mends: Mends::PerhapsByTime,
        }
    }
}

/// An attempt that is over.
#[derive(Debug, Clone)]
pub(super) struct Last {
    pub(super) at: Moment,
    pub(super) cause: Cause,
    pub(super) outcome: Outcome,
    /// When it was tried again with the same end.
    pub(super) tried_again: Option<Moment>,
    /// It will be tried again.
    pub(super) next_try: Option<Deadline>,
}

impl Last {
    fn to_json(&self, now: Moment) -> Value {
        let next = self.next_try.filter(|next| !next.passed(now));
        json!({
            "at": self.at.rfc3339(),
            "cause": self.cause.word(),
            "result": self.outcome.word(),
            "difference": self.outcome.difference(),
            "problems": self.outcome.faults().iter().map(Fault::to_json).collect::<Vec<_>>(),
            "tried_again": self.tried_again.map(Moment::rfc3339),
            "next_try_in_seconds": next.map(|next| next.remaining(now).as_secs()),
        })
    }
}

/// How far an attempt is that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Reading,
    Making,
    /// All is made, but for tokens that calls would wait for.
    FirstTokens,
}

impl Doing {
    fn words(self) -> &'static str {
        match self {
            Self::Reading => "being read",
            Self::Making => "being made",
            Self::FirstTokens => "waiting for first tokens",
        }
    }
}

/// An attempt under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub(super) since: Moment,
    pub(super) cause: Cause,
    pub(super) doing: Doing,
}

impl Pending {
    fn to_json(self) -> Value {
        let (since, cause) = (self.since.rfc3339(), self.cause.word());
        json!({ "since": since, "cause": cause, "doing": self.doing.words() })
    }
}

/// The configuration that runs, and what came of the last attempt to have another.
pub(super) struct Present {
    pub(super) generation: ArcSwap<Generation>,
    pub(super) last: Mutex<Option<Last>>,
    pub(super) pending: Mutex<Option<Pending>>,
    pub(super) sources: Option<Sources>,
    clock: Clock,
}

impl Present {
    pub(super) fn new(first: Generation, sources: Option<Sources>, clock: Clock) -> Self {
        Self {
            generation: ArcSwap::from_pointee(first),
            last: Mutex::default(),
            pending: Mutex::default(),
            sources,
            clock,
        }
    }

    /// What is being done of the attempt under way.
    pub(super) fn does(&self, doing: Doing) {
        if let Some(pending) = &mut *self.pending.lock() {
            pending.doing = doing;
        }
    }
}

impl std::fmt::Debug for Present {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Present").finish_non_exhaustive()
    }
}

impl Report for Present {
    fn name(&self) -> &'static str {
        "configuration"
    }

    fn report(&self) -> Value {
        let now = self.generation.load();
        let file = self.sources.as_ref().and_then(Sources::file);
        let last = self.last.lock().clone();
        let at = self.clock.now();
        let pending = *self.pending.lock();
        json!({
            "generation": now.number,
            "applied": now.applied.rfc3339(),
            "sources": file.map(|file| file.display().to_string()).into_iter().collect::<Vec<_>>(),
            "last_reload": last.map(|last| last.to_json(at)),
            "pending_reload": pending.map(Pending::to_json),
        })
    }
}

/// Providers, and how their clocks differ from ours.
pub(super) struct Providers {
    pub(super) present: Arc<Present>,
    pub(super) metrics: Arc<Metrics>,
}

impl Report for Providers {
    fn name(&self) -> &'static str {
        "providers"
    }

    fn report(&self) -> Value {
        let now = self.present.generation.load();
        let describe = |(name, provider): (&Name, &Arc<Provider>)| {
            json!({
                "name": &**name,
                "issuer": provider.issuer.as_str(),
                // theirs less ours, as far as their answers say
                "clock_offset_seconds": self.metrics.clock_offset(name),
            })
        };
        now.config.providers.iter().map(describe).collect()
    }
}

/// The program's tokens, and when what they are had with was changed last.
pub(super) struct Credentials {
    pub(super) tokens: TokenService,
    pub(super) rotations: Rotations,
}

impl Report for Credentials {
    fn name(&self) -> &'static str {
        self.tokens.name()
    }

    fn report(&self) -> Value {
        let mut report = self.tokens.report();
        for token in report.as_array_mut().into_iter().flatten() {
            let name = token["credential"].as_str().unwrap_or_default();
            let changed = self.rotations.changed(&format!("credential {name}"));
            token["secret_changed"] = changed.map(Moment::rfc3339).into();
        }
        report
    }
}

/// The keys of providers.
pub(super) struct Keys(pub(super) Arc<Present>);

impl Report for Keys {
    fn name(&self) -> &'static str {
        self.0.generation.load().keys.name()
    }

    fn report(&self) -> Value {
        self.0.generation.load().keys.report()
    }
}

/// Who is signed in.
pub(super) struct People(pub(super) Arc<Present>);

impl Report for People {
    fn name(&self) -> &'static str {
        self.0.generation.load().sessions.name()
    }

    fn report(&self) -> Value {
        self.0.generation.load().sessions.report()
    }
}

/// The keys that we sign with.
pub(super) struct SigningKeys(pub(super) Arc<Present>);

impl Document for SigningKeys {
    fn path(&self) -> &'static str {
        "/jwks.json"
    }

    fn text(&self) -> Option<Bytes> {
        self.0.generation.load().signer.as_ref()?.text()
    }
}

/// `GET /configuration`: what holds, defaults included, without secrets.
pub(super) struct Configuration(pub(super) Arc<Present>);

impl Question for Configuration {
    fn path(&self) -> &'static str {
        "/configuration"
    }

    fn answer(&self, _: &str) -> Result<Value, Vec<String>> {
        let now = self.0.generation.load_full();
        let mut answer = self.0.report();
        answer["configuration"] = print::value(&now.config);
        Ok(answer)
    }
}

/// `GET /explain?method=GET&url=…`: what the configuration that runs makes of a call.
pub(super) struct Explained(pub(super) Arc<Present>);

impl Question for Explained {
    fn path(&self) -> &'static str {
        "/explain"
    }

    fn answer(&self, query: &str) -> Result<Value, Vec<String>> {
        let (mut method, mut url) = (None, None);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "method" => method = Some(value.into_owned()),
                "url" => url = Some(value.into_owned()),
                other => {
                    return Err(vec![format!(
                        "{other} is not asked for: give method and url"
                    )]);
                }
            }
        }
        let mut faults = Vec::new();
        let method = method
            .unwrap_or_else(|| "GET".to_owned())
            .to_ascii_uppercase();
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| faults.push(format!("{method} is not a method")));
        let url = url.ok_or_else(|| faults.push("url is missing".to_owned()));
        let url = url.and_then(|url| {
            let parsed = url.parse::<Uri>();
            parsed.map_err(|error| faults.push(format!("url is not a URL: {error}")))
        });
        let (Ok(method), Ok(url)) = (method, url) else {
            return Err(faults);
        };
        let now = self.0.generation.load_full();
        let explanation = explain(&now.config, &method, &url);
        let lines = explanation.lines.into_iter();
        let lines = lines.map(|(name, text)| json!({ "name": name, "text": text }));
        Ok(json!({
            "generation": now.number,
            "served": explanation.verdict == Verdict::Served,
            "lines": lines.collect::<Vec<_>>(),
        }))
    }
}
