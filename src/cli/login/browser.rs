//! Opens the person's browser, where there is one.
//!
//! The address goes to one program as one argument, never through a shell. `BROWSER` says which
//! program, as other tools read it: several with `:` between them, `%s` where the address goes.

use std::{
    io,
    process::{Command, Stdio},
};

use url::Url;

use crate::config::source::Desktop;

/// Whether there is something to open the address with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Browser {
    /// Programs with their arguments, tried in order.
    Found(Vec<Vec<String>>),
    /// None that could show a page.
    None,
}

/// Where the address goes in `BROWSER`.
const ADDRESS: &str = "%s";

impl Browser {
    pub(in crate::cli) fn of(desktop: &Desktop) -> Self {
        let words = |command: &str| -> Vec<String> {
            command.split_whitespace().map(str::to_owned).collect()
        };
        if let Some(chosen) = &desktop.browser {
            let all = chosen.split(':').map(words);
            return Self::Found(all.filter(|words| !words.is_empty()).collect());
        }
        if cfg!(target_os = "macos") {
            return Self::Found(vec![words("open")]);
        }
        // without a display, xdg-open may start one that takes over the terminal
        if desktop.display {
            Self::Found(["xdg-open", "gio open", "wslview"].map(words).into())
        } else {
            Self::None
        }
    }

    /// Opens it, and says whether a program was started.
    pub(in crate::cli) fn open(&self, address: &Url) -> io::Result<()> {
        let Self::Found(programs) = self else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut failed = io::ErrorKind::NotFound.into();
        for program in programs {
            match start(program, address) {
                Ok(()) => return Ok(()),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

fn start(program: &[String], address: &Url) -> io::Result<()> {
    use std::os::unix::process::CommandExt;

    let words = with_address(program, address);
    let (name, arguments) = words.split_first().ok_or(io::ErrorKind::NotFound)?;
    let mut command = Command::new(name);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C in this terminal is not for it
        .process_group(0);
    let mut child = command.spawn()?;
    std::thread::spawn(move || child.wait());
    Ok(())
}

fn with_address(program: &[String], address: &Url) -> Vec<String> {
    let named = program.iter().any(|word| word.contains(ADDRESS));
    let words = program
        .iter()
        .map(|word| word.replace(ADDRESS, address.as_str()));
    let end = (!named).then(|| address.as_str().to_owned());
    words.chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_are_those_of_the_environment() {
        let desktop = |browser: Option<&str>, display| Desktop {
            browser: browser.map(str::to_owned),
            display,
        };
        let found = |commands: &[&[&str]]| {
            let words = |command: &&[&str]| command.iter().map(|w| (*w).to_owned()).collect();
            Browser::Found(commands.iter().map(words).collect())
        };
        for (desktop, expected) in [
            (desktop(Some("firefox"), false), found(&[&["firefox"]])),
            (
                desktop(Some("a --new %s:b"), true),
                found(&[&["a", "--new", "%s"], &["b"]]),
            ),
        ] {
            assert_eq!(Browser::of(&desktop), expected);
        }
        if cfg!(target_os = "linux") {
            assert_eq!(Browser::of(&desktop(None, false)), Browser::None);
        }
    }

    #[test]
    fn the_address_is_one_word_whatever_is_in_it() {
        let address: Url = "https://a.example/?x=$(id)%20;y&z='".parse().unwrap();
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let shown = address.as_str();
        assert_eq!(with_address(&words("a"), &address), ["a", shown]);
        assert_eq!(
            with_address(&words("a --x=%s -y"), &address),
            ["a", &format!("--x={shown}"), "-y"]
        );
    }
}
