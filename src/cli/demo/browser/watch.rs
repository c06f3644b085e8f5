//! Tells what people do with the page, as the mock servers see it.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use super::super::{
    screen::{Screen, Seen},
    story::{many, seconds, unauthorized},
};
use crate::{
    clock::{Clock, Moment},
    sandbox::{Counts, Sandbox, TokenRequest},
};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(200);

/// What was told so far.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    sandbox: &'a Sandbox,
    clock: Clock,
    screen: &'a mut Screen,
    told: Counts,
    /// Requests for tokens that were told.
    requests: usize,
    /// When each person's last token came, by mail.
    since: BTreeMap<String, Moment>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(sandbox: &'a Sandbox, clock: Clock, screen: &'a mut Screen) -> Self {
        Self {
            sandbox,
            clock,
            screen,
            told: Counts::default(),
            requests: 0,
            since: BTreeMap::new(),
        }
    }

    /// For as long as it is polled.
    pub(super) async fn tell(&mut self) -> Infallible {
        loop {
            self.look();
            tokio::time::sleep(EVERY).await;
        }
    }

    fn look(&mut self) {
        let now = self.sandbox.counts();
        let told = std::mem::replace(&mut self.told, now.clone());
        if now.authorization_requests > told.authorization_requests {
            self.see("a browser was sent to the authorization server, to sign in".to_owned());
        }
        let requests = self.sandbox.token_requests();
        for request in requests.iter().skip(self.requests) {
            self.token(request, &now);
        }
        self.requests = requests.len();
        if told.hub_authorized == 0 && now.hub_authorized > 0 {
            self.see("the page calls, without a token; the hub sees that person’s".to_owned());
        }
        let rejected = unauthorized(&now) - unauthorized(&told);
        if rejected > 0 {
            let text = format!("the hub rejected {}", many(rejected, "call"));
            self.screen.observed(Seen::Otherwise, text);
        }
        if now.refresh_tokens_revoked > told.refresh_tokens_revoked {
            self.see("signed out: the refresh token was revoked".to_owned());
        }
        if now.logouts > told.logouts {
            self.see("signed out at the authorization server, too".to_owned());
        }
        let last = self.since.values().map(|moment| moment.mono).max();
        if let Some(last) = last {
            let age = self.clock.now().mono.saturating_duration_since(last);
            self.screen.progress(format_args!(
                "{} with a token · {} so far, the last {} s old",
                many(now.hub_authorized, "call"),
                many(now.hub_tokens, "token"),
                age.as_secs(),
            ));
        }
    }

    fn token(&mut self, request: &TokenRequest, counts: &Counts) {
        let mail = request.person.as_deref().unwrap_or_default();
        let known = |mail: &str| {
            self.sandbox
                .people()
                .iter()
                .find(|person| person.mail == mail)
        };
        let name = known(mail)
            .map_or("somebody", |person| &person.name)
            .to_owned();
        if request.result != "ok" {
            let text = format!("a token was refused: {}", request.result);
            self.screen.observed(Seen::Otherwise, text);
            return;
        }
        let now = self.clock.now();
        let before = self.since.insert(mail.to_owned(), now);
        match (request.grant_type.as_str(), before) {
            ("refresh_token", Some(before)) => self.see(format!(
                "{name}’s token was renewed after {}: {} so far, {} rejected",
                seconds(now.mono.saturating_duration_since(before.mono)),
                many(counts.hub_authorized, "call"),
                many(unauthorized(counts), "call"),
            )),
            _ => self.see(format!(
                "{name} signed in: the proxy fetched the token, the browser never had it"
            )),
        }
    }

    fn see(&mut self, text: String) {
        self.screen.observed(Seen::AsTold, text);
    }
}
