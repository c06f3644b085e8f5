//! What somebody sees at a terminal, and what is packaged for one: colours, questions, manual pages.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use super::{Ended, run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_itwin-auth-proxy");

/// Runs a command at a terminal of its own with so many columns, where somebody types these lines.
pub(super) fn at_terminal(
    line: &str,
    environment: &[(&str, &str)],
    typed: &str,
    columns: u16,
) -> Ended {
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command"])
        .arg(format!("stty cols {columns}; {PROGRAM} {line}"))
        .arg("/dev/null")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(typed.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn colours_are_for_terminals_whose_reader_has_not_declined_them() {
    let is_coloured = |ended: &Ended| ended.out.contains('\u{1b}') || ended.err.contains('\u{1b}');
    for (line, code) in [
        ("explain Overloaded", 0),
        ("explain 503", 0),
        ("check --config /nowhere.yaml", 78),
        ("--help", 0),
    ] {
        let seen = at_terminal(line, &[], "", 100);
        assert_eq!(seen.code, code, "{}", seen.out);
        assert!(is_coloured(&seen), "{line}: {}", seen.out);
        let declined = at_terminal(line, &[("NO_COLOR", "1")], "", 100);
        assert!(!is_coloured(&declined), "{line}: {:?}", declined.out);
        let arguments: Vec<&str> = line.split(' ').collect();
        let piped = run(&arguments, &[("TERM", "xterm")]);
        assert!(!is_coloured(&piped), "{line}: {:?}", piped.out);
    }
}

#[test]
fn a_code_is_explained_and_one_that_is_nearly_right_is_offered() {
    let told = run(&["explain", "tokenunavailable"], &[]);
    assert_eq!(told.code, 0);
    assert!(
        told.out.starts_with("TokenUnavailable (503)"),
        "{}",
        told.out
    );
    assert!(told.out.contains("What to do:"), "{}", told.out);
    let told = run(&["explain", "503"], &[]);
    assert!(told.out.contains("Overloaded") && told.out.contains("KeysUnavailable"));
    let told = run(&["explain", "78"], &[]);
    assert!(told.out.contains("wrong configuration"), "{}", told.out);
    let told = run(&["explain", "TokenUnavailble"], &[]);
    assert_eq!(told.code, 1);
    assert!(
        told.err.contains("did you mean TokenUnavailable"),
        "{}",
        told.err
    );
    let told = run(&["explain", "get"], &[]);
    assert_eq!(told.code, 64);
    assert!(told.err.contains("a URL is missing"), "{}", told.err);
}

#[test]
fn init_asks_at_a_terminal_and_writes_what_was_answered() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.yaml");
    let typed = format!(
        "somewhere\nweb\nwebapp-1\n/run/x\nhttp://app.example.com\nhttps://app.example.com\n{}\n",
        file.display()
    );
    let ended = at_terminal("init", &[], &typed, 100);
    assert_eq!(ended.code, 0, "{}", ended.out);
    for part in [
        "somewhere is none of these",
        "Client identifier",
        "browsers keep no session otherwise",
        "check --config",
    ] {
        assert!(ended.out.contains(part), "{part}: {}", ended.out);
    }
    let written = fs::read_to_string(file).unwrap();
    assert!(written.contains("redirect URI      https://app.example.com/.itwin-auth/callback"));
    assert!(written.contains("client_id: webapp-1") && written.contains("0.0.0.0:8443"));
}

#[test]
fn init_asks_nothing_where_nobody_answers() {
    let written = run(&["init"], &[]);
    assert_eq!((written.code, written.err.as_str()), (0, ""));
    assert!(written.out.contains("for a service application"));
    // a kind that is named is enough also at a terminal
    let written = at_terminal("init desktop", &[], "", 100);
    assert!(
        written.out.contains("native-your-client-id"),
        "{}",
        written.out
    );
    let refused = run(
        &["init", "web", "--public-url", "http://app.example.com"],
        &[],
    );
    assert_eq!(refused.code, 64, "{}", refused.err);
}

#[test]
fn every_command_has_a_manual_page_that_its_readers_understand() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().display().to_string();
    assert_eq!(run(&["man", "--output", &place], &[]).code, 0);
    let help = run(&["--help"], &[]).out;
    let commands = help.split("Commands:\n").nth(1).unwrap();
    let commands = commands.split("\n\n").next().unwrap();
    let mut count = 0;
    for line in commands.lines() {
        let name = line
            .strip_prefix("  ")
            .filter(|name| !name.starts_with(' '));
        let Some(name) = name.and_then(|name| name.split(' ').next()) else {
            continue;
        };
        if name != "help" {
            let page = directory.path().join(format!("itwin-auth-proxy-{name}.1"));
            assert!(page.exists(), "{name}");
            count += 1;
        }
    }
    assert!(count > 15, "{help}");
    let pages = fs::read_dir(directory.path()).unwrap();
    let pages: Vec<_> = pages.map(|page| page.unwrap().path()).collect();
    assert!(pages.len() > count);
    let judged = Command::new("mandoc")
        .args(["-T", "lint", "-W", "error"])
        .args(&pages)
        .output()
        .unwrap();
    let judged = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert_eq!(judged, "");
    let page = fs::read_to_string(directory.path().join("itwin-auth-proxy.1")).unwrap();
    for part in [
        "EXAMPLES",
        "EXIT STATUS",
        "ENVIRONMENT",
        "itwin\\-auth\\-proxy\\-run",
    ] {
        assert!(page.contains(part), "{part}");
    }
}
