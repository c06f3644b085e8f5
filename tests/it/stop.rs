//! How the program ends, and what it takes from the system when it starts.

use std::{fs, net::TcpStream, process::Command, thread};

use serde_json::{Value, json};

use crate::support::{
    client::Client,
    origin,
    origin::Origin,
    program,
    proxy::{get, workers},
    wait::{self, Gate},
    wire,
};

fn config(origin: &Origin) -> Value {
    json!({
        "listeners": [{"bind": "127.0.0.1:0"}],
        "routes": [{"upstream": {"url": origin.url()}}],
        "admin": {"bind": "none"},
        "limits": {"drain_delay": "0s", "drain_timeout": "60s"},
        "log": {"format": "json"},
        "workers": workers(),
    })
}

#[test]
fn what_is_under_way_at_sigterm_is_finished_and_nobody_new_is_taken() {
    let gate = Gate::default();
    let origin = origin::serving({
        let gate = gate.clone();
        move |mut connection| {
            while connection.request().is_some() {
                gate.pass();
                connection.send(origin::ok("in time"));
            }
        }
    });
    let program = program::run(&config(&origin));
    let address = program.address("listening");
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        client.send(get("/"));
    }
    origin.wait_for(8);
    program.terminate();
    wait::until("a connection is refused", || {
        TcpStream::connect(address).is_err()
    });
    gate.open();
    for client in &mut clients {
        assert_eq!(client.answer().text(), "in time");
    }
    let (code, log) = program.ended();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn callers_that_never_pause_lose_no_request_at_a_stop() {
    let origin = origin::answering([origin::ok("hello")]);
    let program = program::run(&config(&origin));
    let address = program.address("listening");
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                loop {
                    let answer = client.send(get("/")).answer();
                    answer.is_the_upstreams(200);
                    if answer.field("connection") == Some("close") {
                        return;
                    }
                }
            });
        }
        origin.wait_for(200);
        program.terminate();
    });
    let (code, log) = program.ended();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_unix_socket_is_gone_when_the_program_has_ended() {
    let origin = origin::answering([origin::ok("hello")]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let mut config = config(&origin);
    config["listeners"] = json!([{"bind": format!("unix:{}", path.display())}]);
    let program = program::run(&config);
    program.line("listening");
    let mut client = Client::over(wire::unix(&path));
    client.send(get("/")).answer().is_the_upstreams(200);
    assert_eq!(program.end().0, Some(0));
    assert!(!path.exists());

    // what has taken its place meanwhile is not ours
    let program = program::run(&config);
    program.line("listening");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another's").unwrap();
    assert_eq!(program.end().0, Some(0));
    assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
}

#[test]
fn as_many_files_are_opened_as_the_system_allows() {
    let origin = origin::answering([origin::ok("hello")]);
    let program = program::run_after("ulimit -S -n 64", &config(&origin));
    let address = program.address("listening");
    let mut clients: Vec<_> = (0..80).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        client.send(get("/")).answer().is_the_upstreams(200);
    }
    drop(clients);
    program.end();

    let program = program::run_after("ulimit -n 256", &config(&origin));
    let warning = program.line("the limit of open files is below what limits.connections may need");
    assert_eq!(
        (&warning["level"], &warning["files"]),
        (&json!("warn"), &json!(256))
    );
}

#[test]
fn a_script_waits_for_the_proxy_takes_it_out_of_service_and_ends_it() {
    let origin = origin::answering([origin::ok("here")]);
    let mut config = config(&origin);
    config["admin"] = json!({"bind": "127.0.0.1:0", "allow_quit": true});
    let program = program::run(&config);
    let admin = program.address("admin listening").to_string();
    let told = |command: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_itwin-auth-proxy"))
            .args(command)
            .args(["--admin", &admin])
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(told(&["wait"]), (Some(0), String::new()));
    assert_eq!(told(&["drain"]), (Some(0), String::new()));
    let (code, said) = told(&["wait", "--timeout", "1"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("it waits for shutting down"), "{said}");
    let mut client = Client::connect(program.address("listening"));
    client.send(get("/"));
    assert_eq!(client.answer().text(), "here", "still served");
    drop(client);
    assert_eq!(told(&["quit"]), (Some(0), String::new()));
    let (code, log) = program.ended();
    assert_eq!(code, Some(0), "{log}");
    let (code, said) = told(&["quit"]);
    assert_eq!(code, Some(69), "{said}");
}

#[test]
fn nobody_ends_a_proxy_that_does_not_allow_it() {
    let origin = origin::answering([origin::ok("here")]);
    let mut config = config(&origin);
    config["admin"] = json!({"bind": "127.0.0.1:0"});
    let program = program::run(&config);
    let output = Command::new(env!("CARGO_BIN_EXE_itwin-auth-proxy"))
        .args([
            "quit",
            "--admin",
            &program.address("admin listening").to_string(),
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(77));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("admin.allow_quit"), "{said}");
    assert_eq!(program.end().0, Some(0));
}
