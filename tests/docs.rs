//! Pages that list what the program has must list all of it, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use itwin_auth_proxy::config::{Sources, load};

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

/// Every error's code and status, as `src/proxy/failure.rs` and those beside it have them: `(status, "Code", "…`.
fn errors() -> BTreeMap<String, String> {
    let files = [
        "src/proxy/failure.rs",
        "src/proxy/failure/connect.rs",
        "src/proxy/failure/unpassed.rs",
        "src/proxy/failure/wants.rs",
        "src/session/answer.rs",
    ];
    let source: String = files.map(read).concat().split_whitespace().collect();
    source
        .split('(')
        .filter_map(|piece| {
            let (status, rest) = piece.split_once(",\"")?;
            let (code, rest) = rest.split_once("\",\"")?;
            let status = match status.strip_prefix("StatusCode::") {
                Some("FORBIDDEN") => "403",
                Some("BAD_GATEWAY") => "502",
                Some("GATEWAY_TIMEOUT") => "504",
                Some("SERVICE_UNAVAILABLE") => "503",
                Some("BAD_REQUEST") => "400",
                Some("UNAUTHORIZED") => "401",
                Some("CONFLICT") => "409",
                Some("TOO_MANY_REQUESTS") => "429",
                Some("INTERNAL_SERVER_ERROR") => "500",
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
        "docs/errors.md on the left, the code on the right"
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

#[test]
fn the_readmes_configuration_is_good() {
    let readme = read("README.md");
    let yaml = readme.split("```yaml\n").nth(1).unwrap();
    let yaml = yaml.split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = pair.signing_key.serialize_pem();
    for (name, text) in [
        ("itwin", "a secret that nobody guesses"),
        ("callers", "a key that nobody guesses"),
        ("token-store", "another that nobody guesses"),
        ("reports.pem", &key),
        ("tls.key", &key),
        ("tls.crt", &pair.cert.pem()),
    ] {
        fs::write(at(name), text).unwrap();
    }
    let mut yaml = yaml.to_owned();
    for place in [
        "/run/secrets",
        "/etc/itwin-auth-proxy",
        "/var/lib/itwin-auth-proxy",
    ] {
        assert!(yaml.contains(place), "{place}");
        yaml = yaml.replace(place, &folder.path().display().to_string());
    }
    let loaded = load(Sources::yaml(&yaml)).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.config.routes.len(), 2);
}

#[test]
fn the_pages_about_callers_tokens_have_good_configurations() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("delegation-secret"), "a secret").unwrap();
    let folder = folder.path().display().to_string();
    for (page, routes) in [("docs/validate.md", 2), ("README.md", 1)] {
        let text = read(page).replace("/run/secrets", &folder);
        let blocks = text.split("```yaml\n").skip(1);
        let blocks = blocks.map(|block| block.split("```").next().unwrap());
        let mut count = 0;
        for yaml in blocks.filter(|yaml| yaml.contains("bearer:")) {
            let loaded = load(Sources::yaml(yaml)).unwrap_or_else(|p| panic!("{page}: {p}"));
            assert!(!loaded.config.routes.is_empty());
            count += 1;
        }
        assert_eq!(count, routes, "{page}");
    }
}

#[test]
fn the_pages_about_people_have_good_configurations() {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    for (name, text) in [
        ("itwin", "a secret that nobody guesses"),
        ("cookie-key", "a key for cookies that nobody guesses"),
        ("tls.key", &pair.signing_key.serialize_pem()),
        ("tls.crt", &pair.cert.pem()),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    for (page, wanted) in [("docs/people.md", 2), ("README.md", 1)] {
        let text = read(page);
        let blocks = text.split("```yaml\n").skip(1);
        let blocks = blocks.map(|block| block.split("```").next().unwrap());
        let people = |yaml: &&str| yaml.contains("sessions:") || yaml.contains("redirect:");
        let mut count = 0;
        for yaml in blocks.filter(people) {
            let mut yaml = yaml
                .replace("webapp-…", "webapp-x")
                .replace("native-…", "native-x");
            for place in ["/run/secrets", "/run/tls"] {
                yaml = yaml.replace(place, &folder.path().display().to_string());
            }
            let home = folder.path().to_str().unwrap();
            let sources = Sources::yaml(&yaml).with_variables([("XDG_STATE_HOME", home)]);
            let loaded = load(sources).unwrap_or_else(|p| panic!("{page}: {yaml}\n{p}"));
            assert_eq!(
                loaded.warnings.iter().count(),
                0,
                "{yaml}\n{}",
                loaded.warnings
            );
            count += 1;
        }
        assert_eq!(count, wanted, "{page}");
    }
}

#[test]
fn the_page_about_software_with_its_own_tokens_has_good_configurations() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "a secret that nobody guesses").unwrap();
    let text = read("docs/authority.md");
    let blocks = text.split("```yaml\n").skip(1);
    let blocks: Vec<&str> = blocks.map(|b| b.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 3);
    for yaml in blocks {
        let yaml = yaml.replace("/run/secrets/itwin", &secret.path().display().to_string());
        let loaded = load(Sources::yaml(&yaml)).unwrap_or_else(|p| panic!("{yaml}\n{p}"));
        assert_eq!(loaded.warnings.iter().count(), 0, "{yaml}");
    }
}

#[test]
fn the_readme_names_every_variable_of_the_short_form() {
    let variables = |page: &str| -> BTreeSet<String> {
        rows(&read(page))
            .flat_map(|cells| {
                let names = cells[0].split("`, `");
                names.map(str::to_owned).collect::<Vec<_>>()
            })
            .filter(|name| name.starts_with("ITWIN_"))
            .collect()
    };
    assert_eq!(variables("README.md"), variables("docs/configuration.md"));
}
