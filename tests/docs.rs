//! Pages that list what the program has must list all of it, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use itwin_auth_proxy::{
    config::{Sources, load},
    handbook,
};

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

#[test]
fn the_page_of_codes_is_what_the_program_writes() {
    assert!(
        read("docs/troubleshooting.md") == handbook::markdown(),
        "cargo run -- schema --troubleshooting > docs/troubleshooting.md"
    );
}

#[test]
fn every_code_and_page_that_the_documents_link_to_is_there() {
    let mut count = 0;
    for path in pages() {
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            let (page, anchor) = link.split_once('#').unwrap_or((link, ""));
            if !is_page(Path::new(page)) || page.contains("://") {
                continue;
            }
            let page = path.parent().unwrap().join(page);
            let text = fs::read_to_string(&page).unwrap_or_else(|_| panic!("{path:?}: {link}"));
            count += 1;
            let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
            let mut anchors = headings.map(|heading| anchored(heading.trim_start_matches('#')));
            let found = anchor.is_empty() || anchors.any(|one| one == anchor);
            assert!(found, "{path:?}: {link}");
        }
    }
    assert!(count > 30);
}

#[test]
fn every_code_of_the_admin_listener_is_explained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() || path.ends_with("tests.rs") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        // texts between quotes; one that has a quote in it only shifts which
        for word in source.split('"').filter(|word| is_camel_case(word)) {
            assert!(handbook::Code::find(word).is_some(), "{path:?}: {word}");
            count += 1;
        }
    }
    assert!(count > 8);
}

fn is_camel_case(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_alphanumeric())
        && word.chars().filter(char::is_ascii_uppercase).count() > 1
        && word.chars().any(|c| c.is_ascii_lowercase())
}

/// The pages of `docs/`, and README.md.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(root.join("docs")).unwrap();
    let pages = entries.map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = pages.filter(|path| is_page(path)).collect();
    pages.push(root.join("README.md"));
    pages
}

fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "md")
}

/// A heading as a forge makes an anchor of it.
fn anchored(heading: &str) -> String {
    let kept = heading.trim().chars();
    let kept = kept.filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn what_is_made_of_the_list_of_metrics_is_what_the_program_has() {
    use itwin_auth_proxy::metrics::{alerts, dashboard, reference};
    for (path, made, flag) in [
        ("docs/metrics.md", reference::markdown(), "metrics"),
        (
            "deploy/observability/dashboard.json",
            dashboard::json(),
            "dashboard",
        ),
        ("deploy/observability/alerts.yaml", alerts::yaml(), "alerts"),
    ] {
        assert!(
            read(path) == made,
            "run `cargo run -- schema --{flag} > {path}`"
        );
    }
}

#[test]
fn keys_that_errors_name_are_keys_of_the_configuration() {
    let reference = read("docs/configuration.md");
    let mut count = 0;
    for text in [handbook::markdown(), read("src/proxy/failure.rs")] {
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
