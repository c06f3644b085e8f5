//! A provider with a script: its token endpoint gives `token-1`, `token-2` and so on.

use super::{
    message::Message,
    origin::{self, Origin, Request},
    wait::Gate,
};

/// A running provider.
#[derive(Debug)]
pub(crate) struct Idp {
    origin: Origin,
}

/// Gives a new token for every request.
pub(crate) fn issuing() -> Idp {
    answering(|number, _| token(number))
}

/// Gives tokens when the gate is open.
pub(crate) fn behind(gate: &Gate) -> Idp {
    let gate = gate.clone();
    answering(move |number, _| {
        gate.pass();
        token(number)
    })
}

/// Answers the token request `number`, counted from 1, with these bytes.
pub(crate) fn answering(answer: impl Fn(usize, &Message) -> String + Send + Sync + 'static) -> Idp {
    let origin = origin::serving(move |mut connection| {
        while let Some(request) = connection.request() {
            connection.send(answer(request.number + 1, &request));
        }
    });
    Idp { origin }
}

/// The answer with `token-N`.
pub(crate) fn token(number: usize) -> String {
    origin::json(&format!(
        r#"{{"access_token":"token-{number}","token_type":"Bearer","expires_in":3600}}"#
    ))
}

impl Idp {
    pub(crate) fn url(&self) -> String {
        self.origin.url()
    }

    /// The token requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.origin.requests()
    }

    /// Waits until so many have arrived.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Request> {
        self.origin.wait_for(count)
    }
}
