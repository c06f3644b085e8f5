//! Runs of the program, as their lines tell them: each begins with `begun`, which names it, and ends with
//! `ended`, unless it is killed.
//!
//! In a file the chain goes on from run to run, and says by itself that nothing is missing between two. In
//! a stream each run has a chain of its own: then the names tell whether one is there twice, and a missing
//! end leaves a doubt.

use std::collections::HashSet;

use super::{
    chain::{Head, Line},
    verify::Place,
};

/// What was seen of them.
#[derive(Debug, Default)]
pub(super) struct Runs {
    names: HashSet<String>,
    now: Option<Run>,
}

/// The one whose lines come.
#[derive(Debug)]
struct Run {
    begun: Place,
    last: Head,
    ended: bool,
    /// The id of the key that it writes with.
    key: Option<String>,
}

/// One begins.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) stream: bool,
    /// Its name, if it has begun before.
    pub(super) repeated: Option<String>,
    /// Where the one before began, if it has not ended, and its last line.
    pub(super) unfinished: Option<(Place, Head)>,
}

impl Runs {
    /// Takes the next line; what begins with it.
    pub(super) fn line(&mut self, place: &Place, line: &Line) -> Option<Begun> {
        let event = &line.event;
        if event["event"] != "begun" {
            // what the next run says before its beginning is none of this one's
            if let Some(run) = &mut self.now
                && line.seq > run.last.seq
            {
                run.last = line.head();
                run.ended |= event["event"] == "ended";
            }
            return None;
        }
        let text = |name: &str| event[name].as_str().map(str::to_owned);
        let before = self.now.replace(Run {
            begun: place.clone(),
            last: line.head(),
            ended: false,
            key: text("key"),
        });
        let unfinished = before.filter(|run| !run.ended);
        Some(Begun {
            stream: matches!(event["to"].as_str(), Some("stdout" | "stderr")),
            // earlier versions gave them no name
            repeated: text("run").filter(|run| !self.names.insert(run.clone())),
            unfinished: unfinished.map(|run| (run.begun, run.last)),
        })
    }

    /// The key that the run of now names.
    pub(super) fn key(&self) -> Option<&str> {
        self.now.as_ref()?.key.as_deref()
    }

    /// Whether the last one has not ended in order.
    pub(super) fn goes_on(&self) -> bool {
        self.now.as_ref().is_some_and(|run| !run.ended)
    }
}
