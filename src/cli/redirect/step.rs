//! Commands for the kernel's rules: shown as a script, or run.
//!
//! The script is what is done; whoever reads it has seen all of it. What can be asked of the kernel
//! without a program is.

use std::{
    fmt, io,
    io::Write,
    process::{self, Stdio},
};

use rustix::io::Errno;

use super::netlink::{Request, RequestError};

/// A program, what it is told, and what it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    program: String,
    words: Vec<String>,
    input: Option<String>,
    by: By,
}

/// What does it when it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    Program,
    /// The kernel, who is asked for what the program would ask for.
    Kernel(Request),
}

/// A command, and whether it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Run(Command),
    /// Unless the first succeeds.
    Unless(Command, Command),
    /// If the first succeeds.
    When(Command, Vec<Command>),
    /// There may be nothing for it to do.
    Try(Command),
}

/// What removes the rules of one program, where it is installed and has any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Removal {
    /// Succeeds where there are any.
    pub(super) found: Command,
    pub(super) steps: Vec<Step>,
}

/// What became of a removal.
#[derive(Debug)]
pub(super) enum Removed {
    Rules,
    Nothing,
    /// There is no such program, or nothing of the kind in the kernel.
    Missing(StepError),
    /// The program may not look.
    Unknown(StepError),
}

/// A step that cannot be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error("{program} is not installed")]
    Missing { program: String },
    #[error("{command} is not permitted: {said}")]
    NotPermitted { command: String, said: String },
    #[error("{command} failed: {said}")]
    Failed { command: String, said: String },
    #[error("{command} cannot be run")]
    Run { command: String, source: io::Error },
    #[error("this process may not make rules")]
    Forbidden { source: RequestError },
    #[error("this kernel cannot do it")]
    Unsupported { source: RequestError },
    #[error(transparent)]
    Refused(RequestError),
}

impl Command {
    /// Words without spaces in them.
    pub(super) fn new(program: &str, words: &str) -> Self {
        Self {
            program: program.into(),
            words: words.split(' ').map(str::to_owned).collect(),
            input: None,
            by: By::Program,
        }
    }

    /// Without the program, which would send this.
    pub(super) fn asking(self, request: Request) -> Self {
        let by = By::Kernel(request);
        Self { by, ..self }
    }

    pub(super) fn reading(self, input: String) -> Self {
        let input = Some(input);
        Self { input, ..self }
    }

    pub(super) fn program(&self) -> &str {
        &self.program
    }

    fn line(&self) -> String {
        format!("{} {}", self.program, self.words.join(" "))
    }

    fn run(&self) -> Result<(), StepError> {
        match &self.by {
            By::Program => self.run_program(),
            By::Kernel(request) => request.run().map_err(StepError::from),
        }
    }

    fn run_program(&self) -> Result<(), StepError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => StepError::Missing {
                program: self.program.clone(),
            },
            _ => StepError::Run {
                command: self.line(),
                source,
            },
        };
        let mut running = process::Command::new(&self.program)
            .args(&self.words)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let (Some(input), Some(mut stdin)) = (&self.input, running.stdin.take()) {
            // a program that does not read it says why
            let _ = stdin.write_all(input.as_bytes());
        }
        let ended = running.wait_with_output().map_err(failed)?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        let command = self.line();
        let refused = ["not permitted", "Permission denied"];
        Err(if refused.iter().any(|word| said.contains(word)) {
            StepError::NotPermitted { command, said }
        } else {
            StepError::Failed { command, said }
        })
    }
}

impl StepError {
    /// Whether the kernel lacks a part of what was asked for.
    pub(super) fn is_unsupported(&self) -> bool {
        match self {
            Self::Unsupported { .. } => true,
            Self::Refused(error) => error.errno() == Some(Errno::NOENT),
            _ => false,
        }
    }
}

impl From<RequestError> for StepError {
    fn from(source: RequestError) -> Self {
        match source.errno() {
            Some(Errno::PERM) => Self::Forbidden { source },
            Some(Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT) | None => {
                Self::Unsupported { source }
            }
            Some(_) => Self::Refused(source),
        }
    }
}

impl Step {
    /// # Errors
    /// When a command that is needed fails.
    pub(super) fn run(&self) -> Result<(), StepError> {
        match self {
            Self::Run(command) => command.run(),
            Self::Unless(done, command) => done.run().or_else(|_| command.run()),
            Self::When(found, commands) if found.run().is_ok() => {
                commands.iter().try_for_each(Command::run)
            }
            Self::Try(command) => {
                let _ = command.run();
                Ok(())
            }
            Self::When(..) => Ok(()),
        }
    }
}

impl Removal {
    pub(super) fn program(&self) -> &str {
        self.found.program()
    }

    /// # Errors
    /// When there are rules, and they cannot be removed.
    pub(super) fn run(&self) -> Result<Removed, StepError> {
        let removed = self.look();
        if matches!(removed, Removed::Rules) {
            self.steps.iter().try_for_each(Step::run)?;
        }
        Ok(removed)
    }

    /// What it would find, without removing anything.
    pub(super) fn look(&self) -> Removed {
        match self.found.run() {
            Ok(()) => Removed::Rules,
            Err(error @ (StepError::Missing { .. } | StepError::Unsupported { .. })) => {
                Removed::Missing(error)
            }
            Err(StepError::Failed { .. } | StepError::Refused(_)) => Removed::Nothing,
            Err(error) => Removed::Unknown(error),
        }
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "if {} >/dev/null 2>&1; then", self.found)?;
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        f.write_str("fi")
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())?;
        match &self.input {
            None => Ok(()),
            Some(input) => write!(f, " <<'END'\n{input}END"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(command) => write!(f, "{command}"),
            Self::Unless(done, command) => write!(f, "{done} 2>/dev/null || {command}"),
            Self::When(found, commands) => {
                writeln!(f, "if {found} >/dev/null 2>&1; then")?;
                for command in commands {
                    writeln!(f, "  {command}")?;
                }
                f.write_str("fi")
            }
            Self::Try(command) => write!(f, "{command} 2>/dev/null || true"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        // one word, whatever is in it
        Command {
            program: "sh".into(),
            words: vec!["-c".into(), script.into()],
            input: None,
            by: By::Program,
        }
    }

    #[test]
    fn a_step_is_run_where_it_is_needed() {
        let (yes, no) = (|| sh("true"), || sh("false"));
        for (step, expected) in [
            (Step::Run(yes()), true),
            (Step::Run(no()), false),
            (Step::Unless(yes(), no()), true),
            (Step::Unless(no(), yes()), true),
            (Step::Unless(no(), no()), false),
            (Step::When(no(), vec![no()]), true),
            (Step::When(yes(), vec![yes(), no()]), false),
            (Step::Try(no()), true),
            (Step::Try(Command::new("no-such-program", "x")), true),
            (
                Step::Run(sh("grep -q input").reading("some input\n".into())),
                true,
            ),
        ] {
            assert_eq!(step.run().is_ok(), expected, "{step}");
        }
    }

    #[test]
    fn a_failure_says_what_and_why() {
        let text = |command: Command| command.run().unwrap_err().to_string();
        assert_eq!(
            text(Command::new("no-such-program", "x")),
            "no-such-program is not installed"
        );
        assert_eq!(
            text(sh("echo no >&2; exit 1")),
            "sh -c echo no >&2; exit 1 failed: no"
        );
        let refused = sh("echo Operation not permitted >&2; exit 1").run();
        assert!(matches!(refused, Err(StepError::NotPermitted { .. })));
    }
}
