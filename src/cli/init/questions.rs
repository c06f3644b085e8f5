//! Questions to a person at a terminal: asked on standard error, so that standard output can go to a
//! file; an empty answer takes what is offered, a wrong one is asked again, and the end of input ends
//! it all.

use std::io::{self, BufRead, IsTerminal};

use super::super::{Exit, complain, output};

/// Somebody who can be asked.
pub(super) struct Questions<R = io::StdinLock<'static>> {
    answers: R,
}

impl Questions {
    /// `None` where nobody would see a question or could answer it.
    pub(super) fn at_terminal() -> Option<Self> {
        let answers = io::stdin();
        let both = answers.is_terminal() && io::stderr().is_terminal();
        both.then(|| Self {
            answers: answers.lock(),
        })
    }
}

impl<R: BufRead> Questions<R> {
    /// Whether what goes to standard output would only be seen, and kept nowhere.
    #[expect(clippy::unused_self, reason = "only somebody who was asked sees it")]
    pub(super) fn shows_output(&self) -> bool {
        io::stdout().is_terminal()
    }

    pub(super) fn ask<T>(
        &mut self,
        question: &str,
        default: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Exit> {
        loop {
            output::hint(&format!("{question} [{default}]: "));
            let answer = self.line()?;
            let answer = if answer.is_empty() { default } else { &answer };
            match read(answer) {
                Ok(answer) => return Ok(answer),
                Err(fault) => complain(fault),
            }
        }
    }

    /// One of several, each with its name and what it is; the first is offered.
    pub(super) fn choose<T: Copy>(
        &mut self,
        question: &str,
        choices: &[(T, String, String)],
    ) -> Result<T, Exit> {
        complain(question);
        for (at, (_, name, what)) in choices.iter().enumerate() {
            complain(format!("  {}  {name:9} {what}", at + 1));
        }
        self.ask("Number or name", "1", |answer| {
            let by_number = answer.parse::<usize>().ok();
            let by_number = by_number.and_then(|number| choices.get(number.checked_sub(1)?));
            let by_name = || {
                let mut all = choices.iter();
                all.find(|(_, name, _)| name.eq_ignore_ascii_case(answer))
            };
            let found = by_number.or_else(by_name).map(|(choice, _, _)| *choice);
            found.ok_or_else(|| format!("{answer} is none of these"))
        })
    }

    fn line(&mut self) -> Result<String, Exit> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(1..) => Ok(line.trim().to_owned()),
            Ok(0) => {
                complain("\nnothing is written");
                Err(Exit::Interrupted)
            }
            Err(error) => {
                complain(format!("\nerror: no answer can be read: {error}"));
                Err(Exit::Software)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(answers: &str) -> Questions<&[u8]> {
        Questions {
            answers: answers.as_bytes(),
        }
    }

    #[test]
    fn an_empty_answer_takes_what_is_offered_and_a_wrong_one_is_asked_again() {
        let choices = [
            (1, "service".to_owned(), String::new()),
            (2, "web".to_owned(), String::new()),
        ];
        for (answers, expected) in [
            ("\n", Ok(1)),
            ("2\n", Ok(2)),
            ("Web\n", Ok(2)),
            ("0\n3\nnone\nweb\n", Ok(2)),
            ("", Err(Exit::Interrupted)),
            ("9\n", Err(Exit::Interrupted)),
        ] {
            assert_eq!(
                asked(answers).choose("?", &choices),
                expected,
                "{answers:?}"
            );
        }
    }
}
