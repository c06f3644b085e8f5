//! `itwin-auth-proxy man`: manual pages, from the same definition as `--help`.

use std::{fs, io, path::PathBuf};

use clap::{Args, Command, CommandFactory, ValueHint};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::{Exit, FIRST_STEPS, complain, output};
use crate::handbook::plain;

/// Print the manual page, to be read by `man -l -`, or write one for each command.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Write the pages of all commands into this directory, which is made if need be.
    #[arg(long, short, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    output: Option<PathBuf>,
}

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "ITWIN_CONFIG",
        "The configuration file, where --config names none.",
    ),
    (
        "ITWIN_…",
        "Other variables that override the file; docs/configuration.md lists them.",
    ),
    (
        "NO_COLOR",
        "Where it is set and not empty, nothing is coloured.",
    ),
];

const FILES: &[(&str, &str)] = &[(
    "/etc/itwin-auth-proxy/config.yaml",
    "The configuration of the packaged service.",
)];

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let pages = pages();
    let done = pages.and_then(|pages| match &arguments.output {
        None => {
            let first = pages.first().map(|(_, text)| text.as_str());
            output::pour(first.unwrap_or_default());
            Ok(())
        }
        Some(directory) => {
            fs::create_dir_all(directory)?;
            pages
                .iter()
                .try_for_each(|(name, text)| fs::write(directory.join(name), text))
        }
    });
    done.map_err(|error| {
        complain(format!("error: the pages cannot be written: {error}"));
        Exit::CannotCreate
    })?;
    Ok(Exit::Ok)
}

/// Name and text of each page, the program's first.
fn pages() -> io::Result<Vec<(String, String)>> {
    let mut program = super::Arguments::command().disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    collect(&program, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, pages: &mut Vec<(String, String)>) -> io::Result<()> {
    let is_program = pages.is_empty();
    let man = Man::new(command.clone());
    let name = man.get_filename();
    let title = name.trim_end_matches(".1").to_uppercase();
    let source = concat!("itwin-auth-proxy ", env!("CARGO_PKG_VERSION"));
    let man = man.title(title).source(source).manual("itwin-auth-proxy");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut more = Roff::default();
    if is_program {
        examples(&mut more);
        listed(&mut more, "ENVIRONMENT", ENVIRONMENT.iter().copied());
        listed(&mut more, "FILES", FILES.iter().copied());
    }
    let exits: Vec<(String, String)> = Exit::ALL
        .iter()
        .map(|exit| (exit.number().to_string(), plain(exit.meaning().0)))
        .collect();
    let exits = exits
        .iter()
        .map(|(number, means)| (number.as_str(), means.as_str()));
    listed(&mut more, "EXIT STATUS", exits);
    if !is_program {
        more.control("SH", ["SEE ALSO"]);
        more.text([bold("itwin-auth-proxy"), roman("(1)")]);
    }
    more.to_writer(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    pages.push((name, text));
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .try_for_each(|command| collect(command, pages))
}

/// The first steps of `--help`, as they are.
fn examples(page: &mut Roff) {
    page.control("SH", ["EXAMPLES"]);
    page.control("nf", []);
    for line in FIRST_STEPS.lines().skip(1) {
        page.text([roman(line.trim())]);
    }
    page.control("fi", []);
}

fn listed<'a>(page: &mut Roff, title: &str, items: impl Iterator<Item = (&'a str, &'a str)>) {
    page.control("SH", [title]);
    for (name, meaning) in items {
        page.control("TP", []);
        page.text([bold(name)]);
        page.text([roman(meaning)]);
    }
}
