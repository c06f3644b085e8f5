//! The clients and the people that a sandbox knows unless it is told otherwise.

use super::{
    Client, PASSWORD,
    people::{Consent, Implicit, Person, Registration},
};

/// A service with a secret first, then what signs people in.
pub(super) fn clients() -> Vec<Client> {
    let ours = |name: &str| Registration {
        name: name.to_owned(),
        redirect_uris: on_this_machine(&["/.itwin-auth/callback", "/signin-callback"]),
        post_logout_redirect_uris: on_this_machine(&["/", "/.itwin-auth/signed-out"]),
        ..Registration::default()
    };
    let with_secret = |id: &str, registration| Client {
        registration,
        ..Client::with_secret(id, "sandbox-secret")
    };
    vec![
        Client::with_secret("service-sandbox", "sandbox-secret"),
        with_secret("webapp-sandbox", ours("Example web application")),
        Client::public("spa-sandbox", ours("Example single-page application")),
        Client::public(
            "native-sandbox",
            Registration {
                redirect_uris: on_this_machine(&["/", "/callback", "/signin-callback"]),
                ..ours("Example desktop application")
            },
        ),
        Client::public(
            "legacy-sandbox",
            Registration {
                implicit: Implicit::Only,
                consent: Consent::Given,
                ..ours("Example application of former days")
            },
        ),
    ]
}

/// Three, who share a password.
pub(super) fn people() -> Vec<Person> {
    let people = [
        ("ada", "Ada Byron"),
        ("emil", "Emil Mörsch"),
        ("sunniva", "Sunniva Ødegård"),
    ];
    let person = |(short, name): (&str, &str)| Person {
        mail: format!("{short}@sandbox.example"),
        name: name.to_owned(),
        password: PASSWORD.to_owned(),
    };
    people.map(person).into()
}

/// These paths at port 8080, and by the rule for this machine at any other.
fn on_this_machine(paths: &[&str]) -> Vec<String> {
    let hosts = ["localhost", "127.0.0.1", "[::1]"];
    let of_path = |path: &&str| hosts.map(|host| format!("http://{host}:8080{path}"));
    paths.iter().flat_map(of_path).collect()
}
