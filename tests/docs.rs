//! Pages that list what the program has must list all of it, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::{collections::BTreeMap, fs, path::Path};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The cells of the rows of a page's tables, without backticks.
fn rows(page: &str) -> impl Iterator<Item = Vec<String>> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|row| {
            let cells = row.split(" | ");
            cells
                .map(|cell| cell.trim_matches('`').to_owned())
                .collect()
        })
}

/// Every error's code and status, as `src/proxy/failure.rs` has them: `(status, "Code", "…`.
fn errors() -> BTreeMap<String, String> {
    let source: String = read("src/proxy/failure.rs").split_whitespace().collect();
    source
        .split('(')
        .filter_map(|piece| {
            let (status, rest) = piece.split_once(",\"")?;
            let (code, rest) = rest.split_once("\",\"")?;
            let status = match status.strip_prefix("StatusCode::") {
                Some("BAD_GATEWAY") => "502",
                Some("GATEWAY_TIMEOUT") => "504",
                Some("SERVICE_UNAVAILABLE") => "503",
                Some(other) => panic!("give this test the number of {other}"),
                None => status,
            };
            let is_error = status.parse::<u16>().is_ok() && !rest.is_empty();
            is_error.then(|| (code.to_owned(), status.to_owned()))
        })
        .collect()
}

#[test]
fn every_error_of_the_proxys_own_is_explained() {
    let errors = errors();
    assert!(
        errors.len() > 20,
        "failure.rs was not understood: {errors:?}"
    );
    let page: BTreeMap<_, _> = rows(&read("docs/errors.md"))
        .filter(|cells| cells[1].parse::<u16>().is_ok())
        .map(|cells| (cells[0].clone(), cells[1].clone()))
        .collect();
    assert_eq!(
        page, errors,
        "docs/errors.md on the left, src/proxy/failure.rs on the right"
    );
}

#[test]
fn keys_that_errors_name_are_keys_of_the_configuration() {
    let reference = read("docs/configuration.md");
    let mut count = 0;
    for text in [read("docs/errors.md"), read("src/proxy/failure.rs")] {
        for (at, _) in text.match_indices("limits.") {
            let key: String = text[at + "limits.".len()..]
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            assert!(reference.contains(&key), "`limits.{key}` is no key");
            count += 1;
        }
    }
    assert!(count > 3);
}
