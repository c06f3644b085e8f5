//! The house rules that a compiler does not know: who may import whom, who may look inside a
//! secret, how long a file may be.
//!
//! `ARCHITECTURE.md` says why. A rule that stands in the way is changed here, in its own commit, with
//! its reason; it is never worked around.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A floor may import those of its row, the ground, and itself.
const FLOORS: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("net", &["config"]),
    // not net: it takes streams, not sockets
    ("tls", &["config"]),
    ("http", &["config", "net", "tls"]),
    // not tokens: no state, no cache
    ("oauth", &["config", "http"]),
    ("tokens", &["config", "oauth"]),
    // not tokens: what we fetch and what we are shown have nothing to do with each other
    ("verify", &["config", "oauth"]),
    // not proxy: it answers browsers, and knows nothing of routes
    ("session", &["config", "http", "oauth", "tokens", "verify"]),
    // not oauth: the proxy asks for a token, it does not speak the protocol
    (
        "proxy",
        &[
            "config", "net", "tls", "http", "tokens", "verify", "session",
        ],
    ),
    // neither tokens nor oauth: a listener cannot see a token
    ("listen", &["config", "net", "tls", "http", "proxy"]),
    // no component: it is given what they have counted and traced
    ("otlp", &["config", "http"]),
    // no component: they report to it through a trait on the ground
    ("admin", &["config", "net", "tls", "http"]),
    // neither oauth nor tokens: the mock provider must not share our bugs
    ("sandbox", &["net", "http"]),
    // none of the proxy: it writes a configuration down, and never acts by it
    ("injector", &["config", "net", "tls", "http"]),
    (
        "app",
        &[
            "config", "net", "tls", "http", "oauth", "tokens", "verify", "session", "proxy",
            "listen", "admin", "injector", "otlp",
        ],
    ),
    // neither proxy nor listen: commands start the program, they are no part of a request
    (
        "cli",
        &[
            "app", "config", "tls", "http", "tokens", "verify", "oauth", "sandbox", "injector",
        ],
    ),
];

/// What everybody may import, and what imports nothing but itself and crates.
const GROUND: &[&str] = &[
    "secret",
    "clock",
    "caller",
    "atomic",
    "trouble",
    "backoff",
    "shutdown",
    "health",
    "sealed",
    "notify",
    "confine",
    "handbook",
    "pulse",
    "metrics",
    "telemetry",
    "audit",
    "trace",
    "rotation",
];

/// Lines of a file without its tests.
const LINES: usize = 500;

/// What only the named files may write, and why. A folder names all files in it.
const RESERVED: &[Reserved] = &[
    Reserved {
        what: ".expose()",
        rule: "only code that sends, seals, signs or compares a secret looks inside it",
        files: &[
            ("src/secret.rs", "defines it"),
            (
                "src/config/valid",
                "measures its length, tries whether it can sign",
            ),
            ("src/oauth", "sends it to the provider, or signs with it"),
            ("src/cli/asking.rs", "sends the admin key"),
            ("src/otlp/send.rs", "sends what the collector wants to know"),
            (
                "src/cli/login",
                "checks an ID token, reads what a browser brings back",
            ),
            ("src/sealed.rs", "seals files with it"),
            ("src/audit/chain.rs", "signs lines of the audit stream"),
            (
                "src/session",
                "seals it into cookies and files, or sends it to the provider",
            ),
            ("src/tls/issued.rs", "signs with it, or serves with it"),
            (
                "src/injector",
                "shows its token to the API server, and keeps the webhook's key there",
            ),
            ("src/tokens/store", "stores a token"),
            (
                "src/tokens/kept",
                "keeps a person's refresh token in the keyring or a sealed file",
            ),
            (
                "src/atomic.rs",
                "writes a rotated refresh token or a new authority's key to its file",
            ),
        ],
    },
    Reserved {
        what: "unsafe",
        rule: "no unsafe code outside these files",
        files: &[("src/main.rs", "names the allocator's settings")],
    },
    Reserved {
        what: "env::var",
        rule: "the environment is read in one place; everybody else is given a configuration",
        files: &[("src/config/source.rs", "is that place")],
    },
    Reserved {
        what: "process::exit",
        rule: "the program ends by returning from main, so that nothing is cut off",
        files: &[],
    },
];

struct Reserved {
    what: &'static str,
    rule: &'static str,
    files: &'static [(&'static str, &'static str)],
}

#[test]
fn a_floor_imports_only_what_stands_below_it() {
    let mut problems = String::new();
    let allowed: BTreeMap<_, _> = FLOORS.iter().copied().collect();
    for source in sources() {
        let Some(floor) = source.floor() else {
            continue; // lib.rs and main.rs
        };
        let below = match allowed.get(floor) {
            Some(below) => *below,
            None if GROUND.contains(&floor) => &[],
            None => {
                let _ = writeln!(
                    problems,
                    "{}: `{floor}` is on no floor: give it one",
                    source.path
                );
                continue;
            }
        };
        for (line, import) in imports(&source) {
            let known = import == floor || below.contains(&import.as_str());
            if !known && !GROUND.contains(&import.as_str()) {
                let _ = writeln!(
                    problems,
                    "{}:{line}: `{floor}` may not import `{import}`, only {below:?} and the ground",
                    source.path
                );
            }
        }
    }
    report(&problems);
}

#[test]
fn a_file_is_short_enough_to_be_read_at_once() {
    let mut problems = String::new();
    for source in sources() {
        let lines = source.code.lines().count();
        if lines > LINES {
            let path = &source.path;
            let _ = writeln!(
                problems,
                "{path}: {lines} lines without tests, {LINES} are allowed"
            );
        }
    }
    report(&problems);
}

#[test]
fn a_file_says_first_what_it_is_for() {
    let mut problems = String::new();
    for source in sources() {
        if !source.text.starts_with("//!") {
            let _ = writeln!(problems, "{}: no module documentation", source.path);
        }
    }
    report(&problems);
}

#[test]
fn what_is_dangerous_stands_only_where_it_is_expected() {
    let mut problems = String::new();
    for source in sources() {
        for reserved in RESERVED {
            let may = reserved.files.iter().any(|(file, _)| {
                let rest = source.path.strip_prefix(file);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
            let found = source.code.lines().enumerate();
            for (at, _) in found.filter(|(_, line)| !may && mentions(line, reserved.what)) {
                let (path, line, what) = (&source.path, at + 1, reserved.what);
                let _ = writeln!(problems, "{path}:{line}: `{what}`: {}", reserved.rule);
            }
        }
    }
    report(&problems);
}

#[test]
fn no_crate_is_built_in_that_deny_toml_refuses() {
    // not Cargo.lock: it also names what optional features of others would need
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--target=all", "--edges=normal,build"])
        .args(["--prefix=none", "--format={p}"])
        .current_dir(root())
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("\nrustls v"), "cargo tree was not understood");
    let refusals = fs::read_to_string(root().join("deny.toml")).unwrap();
    let names = refusals
        .lines()
        .filter_map(|line| line.trim().strip_prefix("{ name = \"")?.split('"').next());
    let mut problems = String::new();
    let mut count = 0;
    for name in names {
        count += 1;
        if tree.contains(&format!("\n{name} v")) {
            let _ = writeln!(problems, "`{name}`: deny.toml says why not");
        }
    }
    assert!(count > 3, "deny.toml was not understood");
    report(&problems);
}

#[test]
fn text_is_about_the_program_alone() {
    // Paths of one machine, and work left undone: the first helps nobody, the second belongs in an
    // issue.
    let words = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
    ];
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "docs", "deploy", "helm"] {
        walk(&root().join(folder), &mut files);
    }
    for file in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "Cargo.toml",
        "deny.toml",
        "Dockerfile",
    ] {
        files.push(root().join(file));
    }
    let mut problems = String::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue; // not text, or not there
        };
        for (at, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| mentions(line, word)) {
                let _ = writeln!(problems, "{}:{}: `{word}`", relative(&file), at + 1);
            }
        }
    }
    report(&problems);
}

#[test]
fn the_rules_find_what_they_look_for() {
    let text = "//! doc with crate::tokens and unsafe\nuse crate::{\n    config::{A, clock::B},\n    proxy,\n};\n\
                /* crate::tokens /* */ */ const X: &str = r#\"crate::tokens \" unsafe\"#; // crate::tokens\n\
                fn f<'a>(c: char) { c == '\"'; super::super::oauth::x(); super::own(); $crate::tls::y!(); }\n\
                #[cfg(test)]\n#[allow(x)]\nmod tests {\n    use crate::tokens;\n    fn g() { '{'; \"}\"; }\n}\nfn h() { crate::net::z() }";
    let source = Source::new("src/http/links/json.rs".into(), text.into());
    let found: BTreeSet<_> = imports(&source)
        .into_iter()
        .map(|(line, name)| format!("{name}:{line}"))
        .collect();
    let expected = ["config:3", "proxy:4", "tls:7", "net:14"];
    assert_eq!(found, expected.map(String::from).into());
    let deeper = Source::new("src/http/links.rs".into(), text.into());
    assert!(imports(&deeper).iter().any(|(_, name)| name == "oauth"));
    assert!(!source.code.contains("unsafe"));
    assert!(mentions("x unsafe {", "unsafe") && !mentions("unsafe_code", "unsafe"));
}

fn report(problems: &str) {
    assert!(
        problems.is_empty(),
        "\n{problems}(the rules stand in tests/architecture.rs)"
    );
}

/// Whether `word` stands in `line`, not as part of a longer name.
fn mentions(line: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let starts_inside = part(word.chars().next()) && part(line[..at].chars().next_back());
        let ends_inside =
            part(word.chars().next_back()) && part(line[at + word.len()..].chars().next());
        !starts_inside && !ends_inside
    })
}

struct Source {
    /// From the root of the project, with `/`.
    path: String,
    text: String,
    /// The text without comments, strings and tests; lines are where they were, up to the tests.
    code: String,
}

impl Source {
    fn new(path: String, text: String) -> Self {
        let code = without_tests(&blanked(&text));
        Self { path, text, code }
    }

    /// The modules that the file stands in, from the top.
    fn modules(&self) -> Vec<&str> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inner.split('/').filter(|name| *name != "mod").collect()
    }

    fn floor(&self) -> Option<&str> {
        let top = *self.modules().first()?;
        (top != "lib" && top != "main").then_some(top)
    }
}

/// All source files but those of tests.
fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    walk(&root().join("src"), &mut files);
    let test = |path: &Path| {
        path.iter()
            .any(|part| part == "tests" || part == "tests.rs")
    };
    let sources: Vec<_> = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .filter(|path| !test(path.strip_prefix(root()).unwrap()))
        .map(|path| Source::new(relative(&path), fs::read_to_string(&path).unwrap()))
        .collect();
    assert!(sources.len() > 10, "the sources were not found");
    sources
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        // installed packages and Python's caches are not ours
        let others = ["node_modules", "site-packages", "__pycache__"];
        let foreign = others.iter().any(|name| path.ends_with(name));
        if entry.file_type().unwrap().is_dir() {
            if !foreign {
                walk(&path, files);
            }
        } else {
            files.push(path);
        }
    }
}

/// The top-level modules that a source names, with their lines: after `crate::`, in a group or
/// not, and after as many `super::` as lead to the top.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let tokens = tokens(&source.code);
    let depth = source.modules().len();
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let mut next = at + 1;
        let mut at_top = tokens[at].1 == "crate";
        if tokens[at].1 == "super" {
            let mut supers = 1;
            while tokens.get(next).is_some_and(|t| t.1 == "::")
                && tokens.get(next + 1).is_some_and(|t| t.1 == "super")
            {
                supers += 1;
                next += 2;
            }
            at_top = supers >= depth;
        }
        at = next;
        if !at_top || tokens.get(at).is_none_or(|t| t.1 != "::") {
            continue;
        }
        at += 1;
        match tokens.get(at) {
            Some((_, "{")) => group(&tokens, &mut at, &mut found),
            Some((line, name)) => found.push((*line, (*name).to_owned())),
            None => {}
        }
    }
    found
}

/// The first names of the paths in a group; `at` stands on its brace, and behind it afterwards.
fn group(tokens: &[(usize, &str)], at: &mut usize, found: &mut Vec<(usize, String)>) {
    let mut depth = 0;
    let mut first = true;
    while let Some((line, token)) = tokens.get(*at) {
        *at += 1;
        match *token {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => first = true,
            name if depth == 1 && first => {
                found.push((*line, name.to_owned()));
                first = false;
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// Names, `::` and single characters, with the line each stands on.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(c) = rest.chars().next() {
            let name = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let length = match name {
                0 if rest.starts_with("::") => 2,
                0 => c.len_utf8(),
                length => length,
            };
            tokens.push((number + 1, &rest[..length]));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// `text` with comments and the insides of strings and characters as spaces.
fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at).unwrap_or(at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        }
        while at < end.min(chars.len()) {
            out.push(if chars[at] == '\n' { '\n' } else { ' ' });
            at += 1;
        }
    }
    out
}

/// Where the comment, string or character that starts at `at` ends, if one does.
fn literal_end(chars: &[char], at: usize) -> Option<usize> {
    let is = |at: usize, text: &str| {
        text.chars()
            .enumerate()
            .all(|(i, c)| chars.get(at + i) == Some(&c))
    };
    let find = |from: usize, text: &str| (from..chars.len()).find(|at| is(*at, text));
    let part_of_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if is(at, "//") {
        return Some(find(at, "\n").unwrap_or(chars.len()));
    }
    if is(at, "/*") {
        let (mut depth, mut end) = (1, at + 2);
        while depth > 0 && end < chars.len() {
            let step = if is(end, "/*") {
                1
            } else if is(end, "*/") {
                -1
            } else {
                0
            };
            depth += step;
            end += if step == 0 { 1 } else { 2 };
        }
        return Some(end);
    }
    if (chars[at] == 'r' || is(at, "br")) && !part_of_name {
        let from = at + if chars[at] == 'b' { 2 } else { 1 };
        let hashes = chars[from..].iter().take_while(|c| **c == '#').count();
        if chars.get(from + hashes) == Some(&'"') {
            let close: String = std::iter::once('"')
                .chain(std::iter::repeat_n('#', hashes))
                .collect();
            return Some(
                find(from + hashes + 1, &close).map_or(chars.len(), |end| end + close.len()),
            );
        }
    }
    if chars[at] == '"' {
        let mut end = at + 1;
        while end < chars.len() && chars[end] != '"' {
            end += if chars[end] == '\\' { 2 } else { 1 };
        }
        return Some(end + 1);
    }
    // a character, not a lifetime
    if chars[at] == '\'' && (chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'')) {
        return Some(
            find(at + 3, "'")
                .filter(|_| chars[at + 1] == '\\')
                .map_or(at + 3, |end| end + 1),
        );
    }
    None
}

/// Blanked code without the items under `#[cfg(test)]`; a file ends where only tests followed.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        let item = &rest[at..];
        let mut depth = 0;
        let end = item.char_indices().skip(MARK.len()).find_map(|(at, c)| {
            match c {
                '{' | '[' | '(' => depth += 1,
                '}' | ']' | ')' => depth -= 1,
                _ => {}
            }
            (depth == 0 && matches!(c, '}' | ';')).then_some(at + 1)
        });
        let (item, after) = item.split_at(end.unwrap_or(item.len()));
        if !after.trim().is_empty() {
            out.extend(item.chars().filter(|c| *c == '\n'));
        }
        rest = after;
    }
    out.push_str(rest.trim_end());
    out
}
