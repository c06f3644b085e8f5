//! `itwin-auth-proxy ca export`: the certificate, or what makes software trust it.
//!
//! A recipe is a shell script whose comments say what it does; those for Unix can be given to
//! `eval`. It changes nothing by being printed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use super::{Exit, Which, complain, output};
use crate::tls::authority::Described;

/// Print the authority's certificate (PEM), or the commands that make software trust it.
///
/// The private key is never printed.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print the commands for this software instead.
    #[arg(long = "for", value_enum, value_name = "SOFTWARE")]
    software: Option<Software>,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Software {
    /// Node.js, any version.
    Node,
    /// Java.
    Java,
    /// .NET on Linux (on Windows, see there).
    Dotnet,
    /// Python's `ssl` and `requests`.
    Python,
    /// curl.
    Curl,
    /// The store of Debian and Ubuntu.
    Debian,
    /// The store of Windows.
    Windows,
}

impl Software {
    fn recipe(self) -> &'static str {
        match self {
            Self::Node => include_str!("recipes/node.sh"),
            Self::Java => include_str!("recipes/java.sh"),
            Self::Dotnet => include_str!("recipes/dotnet.sh"),
            Self::Python => include_str!("recipes/python.sh"),
            Self::Curl => include_str!("recipes/curl.sh"),
            Self::Debian => include_str!("recipes/debian.sh"),
            Self::Windows => include_str!("recipes/windows.txt"),
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let file = arguments.which.certificate()?;
    // whoever is handed something else than an authority would look for the fault elsewhere
    let described = Described::read(&file).map_err(|error| {
        complain(format!("error: {}", output::chain(&error)));
        Exit::No
    })?;
    let file = full(&file);
    if !described.signs {
        complain(format!("error: {} is no authority", file.display()));
        return Err(Exit::No);
    }
    let Some(software) = arguments.software else {
        output::pour(&described.pem);
        return Ok(Exit::Ok);
    };
    let path = file.display().to_string();
    let text = software
        .recipe()
        .replace("{ca}", &quoted(&path))
        .replace("{name}", &described.common_name);
    output::pour(&text);
    Ok(Exit::Ok)
}

fn full(file: &Path) -> PathBuf {
    fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf())
}

/// For a POSIX shell, in quotes where it needs them.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_to_a_shell() {
        assert_eq!(quoted("/etc/x/ca.crt"), "/etc/x/ca.crt");
        assert_eq!(quoted("/a b/it's $(x).crt"), r"'/a b/it'\''s $(x).crt'");
    }
}
