//! Standard output and standard error, for commands.

use std::io::{self, IsTerminal, Write};

use crate::config::{Rendering, source};

/// Writes a line to standard output. A reader that has gone away is no failure.
pub(super) fn say(text: impl AsRef<str>) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}", text.as_ref());
    let _ = out.flush();
}

/// Writes a text that ends its own lines to standard output.
pub(super) fn pour(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Writes a line to standard error.
pub(super) fn complain(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Writes to standard error without ending the line.
pub(super) fn hint(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes());
    let _ = err.flush();
}

/// Colours on standard error where a person reads it who has not declined them.
pub(super) fn rendering() -> Rendering {
    colours(&io::stderr())
}

/// The same for another stream.
pub(super) fn colours(stream: &impl IsTerminal) -> Rendering {
    if stream.is_terminal() && !source::no_color() {
        Rendering::Coloured
    } else {
        Rendering::Plain
    }
}

/// How a word stands out on standard output, where a person reads it who has not declined that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Bold,
    Green,
}

/// The text, so; as it is where nobody sees colours.
pub(super) fn styled(style: Style, text: &str) -> String {
    let code = match style {
        Style::Bold => 1,
        Style::Green => 32,
    };
    painted(code, text, colours(&io::stdout()))
}

/// A text in a colour (ECMA-48), where colours are wanted.
pub(super) fn painted(colour: u8, text: &str, rendering: Rendering) -> String {
    match rendering {
        Rendering::Plain => text.to_owned(),
        Rendering::Coloured => format!("\x1b[{colour}m{text}\x1b[0m"),
    }
}

/// The words of a text in lines of so many columns.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else {
            continue;
        };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// How many columns standard output has: those of the terminal, and no end of them elsewhere, where
/// programs look for lines.
pub(super) fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let columns = size.map(|size| usize::from(size.ws_col));
    columns.filter(|columns| *columns > 0).unwrap_or(usize::MAX)
}

/// `1 route`, `2 routes`.
pub(super) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// An error and its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn wrapping_loses_no_word(text in "[a-zü]{1,30}( [a-zü]{1,30}){0,20}", width in 1usize..90) {
            let lines = wrapped(&text, width);
            prop_assert_eq!(lines.join(" "), text);
            for line in lines {
                prop_assert!(line.chars().count() <= width || !line.contains(' '));
            }
        }
    }
}
