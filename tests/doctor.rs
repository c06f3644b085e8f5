//! The command `doctor`, as somebody sees it whose proxy does not do what it should.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
};

use itwin_auth_proxy::sandbox::{Sandbox, SandboxConfig};
use serde_json::Value;
use tempfile::TempDir;

/// A sandbox, and a configuration for it in a directory of its own.
struct Patient {
    sandbox: Sandbox,
    directory: TempDir,
}

/// What `doctor --json` said.
struct Diagnosis {
    code: i32,
    answer: Value,
}

impl Patient {
    async fn new() -> Self {
        let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
        let patient = Self {
            directory: tempfile::tempdir().unwrap(),
            sandbox,
        };
        patient.secret(patient.sandbox.client_secret());
        patient.configure("scopes: itwin-platform", "");
        patient
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn secret(&self, secret: &str) {
        fs::write(self.path("secret"), secret).unwrap();
        self.mode(0o600);
    }

    fn mode(&self, mode: u32) {
        fs::set_permissions(self.path("secret"), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn configure(&self, credential: &str, more: &str) {
        let (sandbox, secret) = (&self.sandbox, self.path("secret"));
        let text = format!(
            "
providers: {{sandbox: {{issuer: '{}'}}}}
credentials: {{agent: {{client_id: '{}', client_secret_file: '{}', {credential}}}}}
listeners: ['127.0.0.1:0']
routes: [{{inject: agent, upstream: '{}'}}]
admin: none
{more}
",
            sandbox.issuer(),
            sandbox.client_id(),
            secret.display(),
            sandbox.hub()
        );
        fs::write(self.path("proxy.yaml"), text).unwrap();
    }

    fn command(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_itwin-auth-proxy"))
            .arg("doctor")
            .args(arguments)
            .arg("--config")
            .arg(self.path("proxy.yaml"))
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text)
    }

    fn doctor(&self) -> Diagnosis {
        self.doctor_with(&[])
    }

    fn doctor_with(&self, environment: &[(&str, &str)]) -> Diagnosis {
        let (code, text) = self.command(&["--json"], environment);
        let answer = serde_json::from_str(&text).unwrap();
        Diagnosis { code, answer }
    }
}

impl Diagnosis {
    fn findings(&self, check: &str) -> Vec<&Value> {
        let all = self.answer["findings"].as_array().unwrap();
        all.iter().filter(|one| one["check"] == check).collect()
    }

    /// The first finding of this kind with this verdict says `part`, and how to mend it.
    fn says(&self, check: &str, verdict: &str, part: &str) {
        let of_kind = self.findings(check);
        let found = of_kind.iter().find(|one| one["verdict"] == verdict);
        let found = found.unwrap_or_else(|| panic!("{check} {verdict}: {:#}", self.answer));
        let text = found.to_string();
        assert!(text.contains(part), "{part}: {text}");
        assert_eq!(found["remedy"].is_null(), verdict == "ok", "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_one_is_told_line_by_line_and_with_what_was_called() {
    let patient = Patient::new().await;
    let diagnosis = patient.doctor();
    assert_eq!(diagnosis.answer["verdict"], "ok", "{:#}", diagnosis.answer);
    assert_eq!(diagnosis.code, 0);
    diagnosis.says("configuration", "ok", "it can run");
    diagnosis.says("files", "ok", "mode 0600");
    diagnosis.says("listeners", "ok", "for this machine only");
    diagnosis.says("environment", "ok", "none");
    diagnosis.says("clock", "ok", "the same time");
    diagnosis.says("metadata", "ok", "token endpoint http");
    diagnosis.says("token", "ok", "valid for 3");
    diagnosis.says("scopes", "ok", "all that were asked for");
    diagnosis.says("upstream", "ok", "reached");
    diagnosis.says("call", "ok", "/itwins?$top=1 as agent");
    let again = patient.doctor();
    let order = |diagnosis: &Diagnosis| -> Vec<String> {
        let all = diagnosis.answer["findings"].as_array().unwrap();
        all.iter().map(|one| one["what"].to_string()).collect()
    };
    assert_eq!(order(&diagnosis), order(&again), "always in the same order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_told_from_a_provider_that_is_down_and_both_from_an_upstream_that_is() {
    let patient = Patient::new().await;
    patient.secret("wrong");
    let diagnosis = patient.doctor();
    assert_eq!(diagnosis.code, 1);
    diagnosis.says("token", "failure", "invalid_client");
    diagnosis.says("metadata", "ok", "token endpoint");
    diagnosis.says("upstream", "ok", "reached");
    assert!(diagnosis.findings("call").is_empty(), "there is no token");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = nobody.local_addr().unwrap();
    drop(nobody);
    let whole = fs::read_to_string(patient.path("proxy.yaml")).unwrap();
    let down = whole.replace(patient.sandbox.issuer(), &format!("http://{gone}"));
    fs::write(patient.path("proxy.yaml"), down).unwrap();
    let diagnosis = patient.doctor();
    diagnosis.says("connect", "failure", "connection to provider sandbox");
    diagnosis.says("token", "failure", "no connection");
    diagnosis.says("upstream", "ok", "reached");

    patient.secret(patient.sandbox.client_secret());
    let down = whole.replace(patient.sandbox.hub(), &format!("http://{gone}"));
    fs::write(patient.path("proxy.yaml"), down).unwrap();
    let diagnosis = patient.doctor();
    diagnosis.says("connect", "failure", "connection to upstream http");
    diagnosis.says("token", "ok", "valid for");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dangerous_but_works_is_a_warning() {
    let patient = Patient::new().await;
    patient.mode(0o644);
    let diagnosis = patient.doctor_with(&[("HTTP_PROXY", "http://proxy.example.com:3128")]);
    assert_eq!(diagnosis.code, 0, "{:#}", diagnosis.answer);
    assert_eq!(diagnosis.answer["verdict"], "warning");
    diagnosis.says("configuration", "warning", "can read the secret file");
    assert!(diagnosis.findings("files").is_empty(), "it is told once");
    diagnosis.says("environment", "warning", "HTTP_PROXY");
    let spared = [
        ("HTTP_PROXY", "http://proxy.example.com:3128"),
        ("NO_PROXY", "127.0.0.1,localhost"),
    ];
    let diagnosis = patient.doctor_with(&spared);
    diagnosis.says(
        "environment",
        "ok",
        "leave this machine's own addresses alone",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_lines_and_a_remedy_below_what_is_wrong() {
    let patient = Patient::new().await;
    patient.secret("wrong");
    let (code, text) = patient.command(&[], &[]);
    assert_eq!(code, 1);
    for part in [
        "ok       configuration: it can run",
        "failure  token for credential agent",
        "\n         → compare client id, secret and scopes",
        " 1 is a failure",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\x1b'), "no colours where nobody sees them");
    let (code, text) = patient.command(&["--offline"], &[]);
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("token for"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_told_with_all_its_problems() {
    let patient = Patient::new().await;
    patient.configure("scopes: itwin-platform", "nonsense: true");
    let diagnosis = patient.doctor();
    assert_eq!(diagnosis.code, 78);
    diagnosis.says("configuration", "failure", "nonsense");
    diagnosis.says("environment", "ok", "none");
}

/// The proxy, running; ended when the test is.
struct Proxy {
    child: Child,
    lines: BufReader<ChildStderr>,
}

impl Proxy {
    fn start(patient: &Patient) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_itwin-auth-proxy"))
            .arg("run")
            .arg("--config")
            .arg(patient.path("proxy.yaml"))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Self { child, lines }
    }

    /// The first line of the log with this message from here on.
    fn line(&mut self, message: &str) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "no {message}");
            match serde_json::from_str::<Value>(&line) {
                Ok(fields) if fields["message"] == message => return fields,
                _ => {}
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_runs_is_asked_what_it_does_and_what_changed_since() {
    let patient = Patient::new().await;
    let whole = fs::read_to_string(patient.path("proxy.yaml")).unwrap();
    let with_admin = whole.replace("admin: none", "admin: 127.0.0.1:0\nlog: {format: json}");
    fs::write(patient.path("proxy.yaml"), with_admin).unwrap();
    let diagnosis = patient.doctor();
    diagnosis.says("process", "warning", "none answers");

    let mut proxy = Proxy::start(&patient);
    let admin = proxy.line("admin listening")["address"]
        .as_str()
        .unwrap()
        .to_owned();
    proxy.line("token fetched");
    let ask = || {
        let (code, text) = patient.command(&["--json", "--admin", &admin], &[]);
        let answer = serde_json::from_str(&text).unwrap();
        Diagnosis { code, answer }
    };
    let diagnosis = ask();
    assert_eq!(diagnosis.code, 0, "{:#}", diagnosis.answer);
    diagnosis.says("process", "ok", "and is ready");
    diagnosis.says("credential", "ok", "fresh");
    assert!(diagnosis.findings("rotation").is_empty());

    let client = patient.sandbox.client_id().to_owned();
    let secrets = vec![
        "another".to_owned(),
        patient.sandbox.client_secret().to_owned(),
    ];
    patient.sandbox.set_client_secrets(&client, secrets);
    patient.secret("another");
    let told = proxy.line("changed files were taken over");
    assert_eq!(told["of"], "credential agent");
    assert_eq!(told["what"], "client_secret");
    ask().says("rotation", "ok", "client_secret of credential agent");
}
