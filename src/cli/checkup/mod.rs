//! What can be found out about a configuration and the world around it: each finding is ok, a
//! warning or a failure, and says how to mend it. `doctor` asks everything, `check --live` what
//! must be contacted.
//!
//! Checks run at the same time, each within a limit, and are told in the order in which they were
//! named, so that two runs can be compared. Nothing is changed by any of them; a token is asked for
//! as in earnest and thrown away.

mod call;
pub(super) mod files;
pub(super) mod listeners;
pub(super) mod process;
mod provider;
pub(super) mod rules;
mod sign_in;
mod token;
mod upstream;
mod way;

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    clock::Clock,
    config::Config,
    metrics::Metrics,
    shutdown::{Shutdown, Stage},
    tokens::TokenService,
    trace::Tracer,
};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// A word for the kind of check.
    pub(super) check: &'static str,
    /// What was looked at.
    pub(super) what: String,
    pub(super) verdict: Verdict,
    /// What was seen, or why it is not well.
    pub(super) seen: String,
    /// What to do about it.
    pub(super) remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Ok,
    /// It works, and may not for long, or not as it was meant.
    Warning,
    Failure,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }

    /// For a terminal.
    pub(super) fn colour(self) -> u8 {
        match self {
            Self::Ok => 32,
            Self::Warning => 33,
            Self::Failure => 31,
        }
    }
}

impl Finding {
    pub(super) fn ok(check: &'static str, what: &str, seen: impl Into<String>) -> Self {
        Self {
            check,
            what: what.to_owned(),
            verdict: Verdict::Ok,
            seen: seen.into(),
            remedy: None,
        }
    }

    pub(super) fn warning(
        check: &'static str,
        what: &str,
        seen: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Warning,
            remedy: Some(remedy.into()),
            ..Self::ok(check, what, seen)
        }
    }

    pub(super) fn failure(
        check: &'static str,
        what: &str,
        seen: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Failure,
            ..Self::warning(check, what, seen, remedy)
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "check": self.check,
            "what": self.what,
            "verdict": self.verdict.word(),
            "seen": self.seen,
            "remedy": self.remedy,
        })
    }

    /// One line, and one for what to do; `paint` colours the word of the verdict.
    pub(super) fn render(&self, paint: impl Fn(Verdict, &str) -> String) -> String {
        let word = format!("{:<8}", self.verdict.word());
        let mut text = format!(
            "{} {}: {}",
            paint(self.verdict, &word),
            self.what,
            self.seen
        );
        if let Some(remedy) = &self.remedy {
            text.push_str("\n         → ");
            text.push_str(remedy);
        }
        text
    }
}

/// Something to find out.
pub(super) struct Check<'a> {
    kind: &'static str,
    what: String,
    work: BoxFuture<'a, Vec<Finding>>,
}

impl<'a> Check<'a> {
    pub(super) fn new(
        kind: &'static str,
        what: impl Into<String>,
        work: impl Future<Output = Vec<Finding>> + Send + 'a,
    ) -> Self {
        Self {
            kind,
            what: what.into(),
            work: Box::pin(work),
        }
    }

    async fn bounded(self) -> Vec<Finding> {
        let late = |_| {
            let seen = format!("no answer within {} s", LIMIT.as_secs());
            let remedy = "see whether a firewall drops packets on the way";
            vec![Finding::failure(self.kind, &self.what, seen, remedy)]
        };
        timeout(LIMIT, self.work).await.unwrap_or_else(late)
    }
}

/// What is told while things are found out.
pub(super) enum Progress<'a> {
    /// This is waited for.
    Asking(&'a str),
    Found(&'a Finding),
}

/// Runs them all at the same time; the findings are told in the checks' order as they come.
pub(super) async fn run(checks: Vec<Check<'_>>, tell: impl Fn(Progress<'_>)) -> Vec<Finding> {
    let names: Vec<String> = checks.iter().map(|check| check.what.clone()).collect();
    let mut running = stream::iter(checks)
        .map(Check::bounded)
        .buffered(AT_ONCE)
        .boxed_local();
    let mut all = Vec::new();
    for name in &names {
        tell(Progress::Asking(name));
        let Some(found) = running.next().await else {
            break;
        };
        for finding in &found {
            tell(Progress::Found(finding));
        }
        all.extend(found);
    }
    all
}

/// What contacts others needs.
pub(super) struct Contacts {
    clock: Clock,
    shutdown: Shutdown,
    tokens: TokenService,
}

impl Contacts {
    /// On the current runtime.
    pub(super) fn new() -> Self {
        let (clock, shutdown) = (Clock::system(), Shutdown::new());
        // neither the store nor its tokens: what is asked here is whether new ones can be had
        let tokens = TokenService::start(
            clock.clone(),
            Arc::new(Metrics::new()),
            Tracer::off(),
            &shutdown,
            None,
            StdRng::from_os_rng(),
        );
        Self {
            clock,
            shutdown,
            tokens,
        }
    }

    /// All of `config` that can be contacted.
    pub(super) fn checks<'a>(&'a self, config: &'a Config) -> Vec<Check<'a>> {
        let mut checks = Vec::new();
        provider::checks(config, &self.clock, &mut checks);
        token::checks(config, &self.tokens, &self.clock, &mut checks);
        provider::questions(config, &self.clock, &mut checks);
        upstream::checks(config, &self.clock, &mut checks);
        call::checks(config, &self.tokens, &mut checks);
        checks
    }

    pub(super) async fn end(self) {
        self.shutdown.advance(Stage::Hard);
        self.shutdown.finished().await;
    }
}

/// How many are worst.
pub(super) fn count(findings: &[Finding], verdict: Verdict) -> usize {
    let counted = findings.iter().filter(|one| one.verdict == verdict);
    counted.count()
}

/// For one check; providers and upstreams have limits of their own within it.
const LIMIT: Duration = Duration::from_secs(60);

const AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn findings_come_in_the_order_of_the_checks_however_long_each_takes() {
        let after = |seconds: u64, what: &'static str| {
            Check::new("test", what, async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                vec![Finding::ok("test", what, "seen")]
            })
        };
        let clock = Clock::for_tests(Duration::ZERO);
        let checks = vec![after(9, "slow"), after(1, "fast"), after(5, "middle")];
        let found = run(checks, |_| {}).await;
        let names: Vec<_> = found.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(names, ["slow", "fast", "middle"]);
        assert_eq!(clock.now().unix_seconds(), 9, "at the same time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_does_not_end_is_a_failure_and_holds_up_nobody() {
        let checks = vec![
            Check::new("test", "stuck", std::future::pending()),
            Check::new("test", "fine", async {
                vec![Finding::ok("test", "fine", "seen")]
            }),
        ];
        let found = run(checks, |_| {}).await;
        assert_eq!(found[0].verdict, Verdict::Failure);
        assert_eq!(found[1].verdict, Verdict::Ok);
        assert_eq!(count(&found, Verdict::Failure), 1);
    }
}
