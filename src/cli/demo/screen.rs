//! What the demonstration shows: acts, and under each what was observed.
//!
//! Colour and moving lines on a terminal only; `NO_COLOR` is honoured.

use std::{
    fmt::Display,
    io::{self, IsTerminal},
};

use crate::{cli::output, config::source};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const CYAN: &str = "\x1b[36m";
const RESET: &str = "\x1b[0m";
/// Back to the beginning of a line that is empty then.
const CLEAR: &str = "\r\x1b[2K";

/// Whether something was as the story has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    AsTold,
    Otherwise,
}

impl Seen {
    pub(super) fn when(as_told: bool) -> Self {
        if as_told {
            Self::AsTold
        } else {
            Self::Otherwise
        }
    }
}

/// The terminal, or whatever stands in for it.
#[derive(Debug)]
pub(super) struct Screen {
    look: Look,
    acts: u32,
    otherwise: u32,
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// With escape sequences: colours, and lines that move.
    Lively,
    Plain,
}

impl Screen {
    pub(super) fn new() -> Self {
        let lively = io::stdout().is_terminal() && !source::no_color();
        Self {
            look: if lively { Look::Lively } else { Look::Plain },
            acts: 0,
            otherwise: 0,
        }
    }

    /// How many observations were not as the story has them.
    pub(super) fn otherwise(&self) -> u32 {
        self.otherwise
    }

    /// A line as it is; `**` around what is to stand out.
    pub(super) fn line(&self, text: impl Display) {
        let text = text.to_string();
        let mut parts = text.split("**");
        let mut out = parts.next().unwrap_or_default().to_owned();
        for (n, part) in parts.enumerate() {
            out.push_str(self.code(if n % 2 == 0 { BOLD } else { RESET }));
            out.push_str(part);
        }
        output::say(out);
    }

    pub(super) fn dim(&self, text: impl Display) {
        output::say(format!("{}{text}{}", self.code(DIM), self.code(RESET)));
    }

    /// Begins the next act.
    pub(super) fn act(&mut self, title: &str) {
        self.acts += 1;
        let [cyan, bold, reset] = [CYAN, BOLD, RESET].map(|code| self.code(code));
        output::say(format!(
            "\n{cyan}{}{reset}  {bold}{title}{reset}",
            self.acts
        ));
    }

    /// An observation.
    pub(super) fn observed(&mut self, seen: Seen, text: impl Display) {
        let (colour, mark) = match seen {
            Seen::AsTold => (GREEN, "✓"),
            Seen::Otherwise => {
                self.otherwise += 1;
                (RED, "✗")
            }
        };
        let [clear, colour, reset] = [CLEAR, colour, RESET].map(|code| self.code(code));
        output::say(format!("{clear}   {colour}{mark}{reset} {text}"));
    }

    /// A line that the next one replaces. Nothing where lines cannot be replaced.
    pub(super) fn progress(&self, text: impl Display) {
        if self.look == Look::Lively {
            output::pour(&format!("{CLEAR}   {DIM}{text}{RESET}"));
        }
    }

    fn code(&self, code: &'static str) -> &'static str {
        match self.look {
            Look::Lively => code,
            Look::Plain => "",
        }
    }
}
