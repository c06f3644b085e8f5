//! `itwin-auth-proxy ca`, as somebody at a terminal sees it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

/// What a finished command left.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

fn ca(directory: &Path, arguments: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_itwin-auth-proxy"))
        .arg("ca")
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .output()
        .unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn check(directory: &Path) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_itwin-auth-proxy"))
        .args(["check", "--config", "proxy.yaml"])
        .current_dir(directory)
        .env_clear()
        .output()
        .unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

const CONFIGURATION: &str = "\
credentials: {agent: {client_id: a, client_secret: b}}
interception: {certificate: tls/ca.crt, key: tls/ca.key, hosts: [api.bentley.com, '*.example.com']}
";

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_authority_for_named_hosts_is_two_files_and_the_key_is_private() {
    let directory = tempfile::tempdir().unwrap();
    let hosts = "api.bentley.com,*.example.com";
    let made = ca(
        directory.path(),
        &["init", "--hosts", hosts, "--out", "tls"],
    );
    assert_eq!(made.code, 0, "{}", made.err);
    assert_eq!(made.out, "");
    for part in [
        "an authority for api.bentley.com, example.com, and names below",
        "interception: { certificate: ",
        "hosts: [api.bentley.com, \"*.example.com\"] }",
        "ca export --for node",
    ] {
        assert!(made.err.contains(part), "{part}\n{}", made.err);
    }
    let at = |name: &str| directory.path().join("tls").join(name);
    assert_eq!(mode(&at("ca.key")), 0o600);
    assert_eq!(mode(&at("ca.crt")) & 0o444, 0o444);
    assert!(
        !fs::read_to_string(at("ca.crt"))
            .unwrap()
            .contains("PRIVATE")
    );

    let shown = ca(directory.path(), &["show", "tls/ca.crt"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    for part in [
        "O=itwin-auth-proxy, CN=itwin-auth-proxy ",
        "824 more days",
        "signs for    api.bentley.com, example.com, and names below",
        "certificates of servers only",
    ] {
        assert!(shown.out.contains(part), "{part}\n{}", shown.out);
    }
}

#[test]
fn nothing_is_overwritten_unless_it_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let init = ["init", "--hosts", "api.bentley.com"];
    for there in ["ca.key", "ca.crt"] {
        fs::write(at(there), "mine").unwrap();
        let refused = ca(directory.path(), &init);
        assert_eq!(refused.code, 73);
        assert!(
            refused.err.contains("hint: --keep") && refused.err.contains("--force"),
            "{}",
            refused.err
        );
        assert_eq!(fs::read_to_string(at(there)).unwrap(), "mine");
        fs::remove_file(at(there)).unwrap();
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            0,
            "{there}"
        );
    }
    // a link that somebody else laid is not followed
    symlink("/nowhere/key", at("ca.key")).unwrap();
    assert_eq!(ca(directory.path(), &init).code, 73);
    fs::remove_file(at("ca.key")).unwrap();

    fs::write(at("ca.key"), "old").unwrap();
    fs::write(at("ca.crt"), "old").unwrap();
    fs::set_permissions(at("ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let forced = [&init[..], &["--force"]].concat();
    assert_eq!(ca(directory.path(), &forced).code, 0);
    assert_eq!(mode(&at("ca.key")), 0o600);
    assert_eq!(ca(directory.path(), &["show", "ca.crt"]).code, 0);
}

#[test]
fn what_is_run_at_every_start_makes_an_authority_once() {
    let directory = tempfile::tempdir().unwrap();
    let files = || ["ca.key", "ca.crt"].map(|name| fs::read(directory.path().join(name)).ok());
    let keep = ["init", "--hosts", "api.bentley.com", "--keep"];
    assert_eq!(ca(directory.path(), &keep).code, 0);
    let made = files();
    assert!(made.iter().all(Option::is_some));
    assert_eq!(ca(directory.path(), &keep).code, 0);
    assert_eq!(files(), made);

    // half of one is not an authority, and not to be lost
    fs::remove_file(directory.path().join("ca.crt")).unwrap();
    assert_eq!(ca(directory.path(), &keep).code, 73);
    assert_eq!(files(), [made[0].clone(), None]);
}

#[test]
fn a_configuration_says_what_its_authority_is_to_be_and_what_is_wrong_with_it() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("proxy.yaml"), CONFIGURATION).unwrap();
    let before = check(directory.path());
    assert_eq!(before.code, 78);
    let hint = "itwin-auth-proxy ca init --config proxy.yaml makes an authority";
    assert!(before.err.contains(hint), "{}", before.err);
    assert!(
        before.err.contains("tls/ca.crt is not there"),
        "{}",
        before.err
    );

    let made = ca(directory.path(), &["init", "--config", "proxy.yaml"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let good = check(directory.path());
    assert_eq!(good.code, 0, "{}", good.err);
    let shown = ca(directory.path(), &["show", "--config", "proxy.yaml"]);
    assert!(
        shown.out.contains("api.bentley.com, example.com"),
        "{}",
        shown.out
    );

    let more = CONFIGURATION.replace("api.bentley.com", "api.bentley.com, ims.bentley.com");
    fs::write(directory.path().join("proxy.yaml"), more).unwrap();
    let after = check(directory.path());
    assert_eq!(after.code, 78);
    assert!(
        after.err.contains("may not sign for ims.bentley.com"),
        "{}",
        after.err
    );
    let remade = ca(
        directory.path(),
        &["init", "--config", "proxy.yaml", "--force"],
    );
    assert_eq!(remade.code, 0, "{}", remade.err);
    assert_eq!(check(directory.path()).code, 0);
}

#[test]
fn what_cannot_be_made_or_shown_says_why() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("no.crt"), "nothing").unwrap();
    fs::write(directory.path().join("empty.yaml"), "workers: 1\n").unwrap();
    let one = rcgen::generate_simple_self_signed(["api.bentley.com".to_owned()]).unwrap();
    fs::write(directory.path().join("leaf.crt"), one.cert.pem()).unwrap();
    for (arguments, code, said) in [
        (&["init"][..], 64, "for which hosts?"),
        (&["init", "--config", "empty.yaml"], 64, "for which hosts?"),
        (
            &["init", "--hosts", "10.0.0.1"],
            64,
            "only connections to names",
        ),
        (&["init", "--hosts", "https://a/"], 64, "not a host"),
        (
            &["init", "--hosts", "a", "--lifetime", "1h"],
            64,
            "from one day",
        ),
        (&["show", "no.crt"], 1, "holds no certificate"),
        (&["show", "none.crt"], 1, "cannot read none.crt"),
        (&["show"], 64, "name the certificate"),
        (&["export", "leaf.crt"], 1, "is no authority"),
    ] {
        let ended = ca(directory.path(), arguments);
        assert_eq!(ended.code, code, "{arguments:?} {}", ended.err);
        assert!(ended.err.contains(said), "{arguments:?}\n{}", ended.err);
        assert_eq!(ended.out, "");
    }
    let shown = ca(directory.path(), &["show", "leaf.crt"]);
    assert_eq!(shown.code, 1);
    assert!(shown.out.contains("this is no authority"), "{}", shown.out);
}

#[test]
fn what_is_handed_out_is_the_certificate_or_a_recipe_and_never_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let made = ca(directory.path(), &["init", "--hosts", "api.bentley.com"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let pem = ca(directory.path(), &["export", "ca.crt"]);
    let file = fs::read_to_string(directory.path().join("ca.crt")).unwrap();
    assert_eq!(pem.out, file);
    for (software, command) in [
        ("node", "export NODE_EXTRA_CA_CERTS="),
        ("java", "keytool -importcert -noprompt"),
        ("dotnet", "export SSL_CERT_FILE="),
        ("python", "REQUESTS_CA_BUNDLE="),
        ("curl", "export CURL_CA_BUNDLE="),
        ("debian", "update-ca-certificates\n"),
        ("windows", "certutil -addstore Root"),
    ] {
        let recipe = ca(directory.path(), &["export", "--for", software, "ca.crt"]);
        assert_eq!(recipe.code, 0, "{software} {}", recipe.err);
        assert!(recipe.out.contains(command), "{}", recipe.out);
        let path = directory.path().canonicalize().unwrap().join("ca.crt");
        assert!(
            recipe.out.contains(path.to_str().unwrap()),
            "{}",
            recipe.out
        );
        assert!(!recipe.out.contains('{'), "{}", recipe.out);
    }
    // whoever is handed a key by mistake must not find it printed
    assert_eq!(ca(directory.path(), &["export", "ca.key"]).code, 1);
}
