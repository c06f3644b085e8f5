//! A provider that is asked about tokens (RFC 7662) and says what it was told to say.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    issuer,
    message::Message,
    origin::{self, Origin, Request},
    wait::Gate,
};

/// A running provider.
#[derive(Debug)]
pub(crate) struct Authority {
    origin: Origin,
    script: Arc<Mutex<Script>>,
}

#[derive(Debug)]
struct Script {
    said: HashMap<String, String>,
    secrets: HashSet<String>,
    /// Instead of any answer.
    fault: Option<String>,
    gate: Option<Gate>,
}

/// Knows an API `api` with the secret `canary-secret`, and no token yet.
pub(crate) fn knowing() -> Authority {
    let script = Arc::new(Mutex::new(Script {
        said: HashMap::new(),
        secrets: HashSet::from([String::from("canary-secret")]),
        fault: None,
        gate: None,
    }));
    let told = Arc::clone(&script);
    let origin = origin::serving(move |mut connection| {
        while let Some(request) = connection.request() {
            let gate = told.lock().unwrap().gate.clone();
            if let (Some(gate), true) = (gate, is_question(&request.message)) {
                gate.pass();
            }
            let answer = told.lock().unwrap().answer(&request.message);
            match answer {
                Some(answer) => connection.send(answer),
                None => return,
            }
        }
    });
    Authority { origin, script }
}

fn is_question(request: &Message) -> bool {
    request.request() == "POST /introspect"
}

impl Script {
    fn answer(&self, request: &Message) -> Option<String> {
        let host = request.field("host").unwrap_or_default();
        if !is_question(request) {
            let metadata = json!({
                "issuer": format!("http://{host}"),
                "token_endpoint": format!("http://{host}/token"),
                "introspection_endpoint": format!("http://{host}/introspect"),
                "jwks_uri": format!("http://{host}/keys"),
            });
            return Some(match request.request() {
                "GET /.well-known/openid-configuration" => origin::json(&metadata.to_string()),
                "GET /keys" => origin::json(r#"{"keys":[]}"#),
                _ => origin::answer("404 Not Found", "", ""),
            });
        }
        if let Some(fault) = &self.fault {
            return (!fault.is_empty()).then(|| fault.clone());
        }
        let known = |secret: &String| {
            let pair = STANDARD.encode(format!("api:{secret}"));
            request.field("authorization") == Some(&format!("Basic {pair}"))
        };
        if !self.secrets.iter().any(known) {
            return Some(origin::answer("401 Unauthorized", "", ""));
        }
        let inactive = String::from(r#"{"active":false}"#);
        let said = self.said.get(&token(request)).unwrap_or(&inactive);
        Some(origin::json(said))
    }
}

/// What was asked about.
fn token(request: &Message) -> String {
    let form: HashMap<_, _> = url::form_urlencoded::parse(&request.body)
        .into_owned()
        .collect();
    assert_eq!(form["token_type_hint"], "access_token");
    form["token"].clone()
}

impl Authority {
    pub(crate) fn url(&self) -> String {
        self.origin.url()
    }

    /// What is said of a good token, changed; `null` takes a member away.
    pub(crate) fn says_of(&self, token: &str, changes: &Value) {
        let now = issuer::now();
        let mut said = json!({
            "active": true,
            "iss": self.url(),
            "sub": "ann",
            "client_id": "webapp-1",
            "aud": "api",
            "scope": "itwin-platform email",
            "exp": now + 3600,
        });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(said.as_object_mut().unwrap().remove(name)),
                value => said[name] = value.clone(),
            }
        }
        self.says(token, &said.to_string());
    }

    /// These very bytes.
    pub(crate) fn says(&self, token: &str, said: &str) {
        let mut script = self.script.lock().unwrap();
        script.said.insert(token.to_owned(), said.to_owned());
    }

    /// Answers every question so from now on; nothing means that the connection is closed.
    pub(crate) fn fails(&self, answer: &str) {
        self.script.lock().unwrap().fault = Some(answer.to_owned());
    }

    pub(crate) fn recovers(&self) {
        self.script.lock().unwrap().fault = None;
    }

    /// The API's only secret from now on.
    pub(crate) fn secret_is(&self, secret: &str) {
        self.script.lock().unwrap().secrets = HashSet::from([secret.to_owned()]);
    }

    /// Answers when the gate is open.
    pub(crate) fn waits_for(&self, gate: &Gate) {
        self.script.lock().unwrap().gate = Some(gate.clone());
    }

    pub(crate) fn questions(&self) -> Vec<Request> {
        let mut requests = self.origin.requests();
        requests.retain(|request| is_question(&request.message));
        requests
    }
}
