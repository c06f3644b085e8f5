//! What a person would do with the page, done by a browser without a screen.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::{
    super::{
        screen::{Screen, Seen},
        story::{many, seconds, unauthorized},
    },
    LIFETIME_ONCE, PREFIX,
    visitor::Visitor,
};
use crate::{clock::Clock, sandbox::Sandbox};

/// Between two calls of the page.
const PACE: Duration = Duration::from_millis(100);
/// Nothing is waited for longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that takes part.
pub(super) struct Story<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) visitor: Visitor,
    pub(super) clock: Clock,
    pub(super) page: Url,
    pub(super) screen: &'a mut Screen,
}

impl Story<'_> {
    pub(super) async fn tell(&mut self) {
        self.sign_in().await;
        if self.screen.otherwise() == 0 {
            self.pages().await;
            self.renewal().await;
            self.sign_out().await;
        }
        let counts = self.sandbox.counts();
        self.screen.line("");
        match self.screen.otherwise() {
            0 => self.screen.line(format_args!(
                "**All as told**: {} calls reached the hub with {}, none of which was in the browser. \
                 How to have that: docs/people.md",
                counts.hub_authorized,
                many(counts.hub_tokens, "token"),
            )),
            n => self.screen.line(format_args!(
                "**Not all went as told**: see the {n} marked ✗ above."
            )),
        }
    }

    async fn sign_in(&mut self) {
        self.screen.act("Somebody opens the page");
        let who = self.sandbox.people().first();
        let (mail, name) = who.map_or(("", ""), |person| (&*person.mail, &*person.name));
        self.sandbox.faults().visitor(mail);
        let opened = self.visitor.open(self.page.clone()).await;
        let ours = opened.redirects.iter();
        let ours = ours
            .filter(|url| url.origin() == self.page.origin())
            .count();
        let there = opened.call.ok() && opened.url == self.page;
        let text = format!(
            "to the authorization server and back: {}, {ours} of them by the proxy, then {}",
            many(opened.redirects.len() as u64, "redirect"),
            opened.call.status,
        );
        self.see(there && ours == 2, text);
        let session = self.ask(&format!("{PREFIX}/session")).await;
        let signed_in = session["signed_in"] == true && session["name"] == name;
        let hours = session["ends_in"].as_u64().unwrap_or(0).div_ceil(3600);
        let text = format!(
            "the page may know who is there, and until when: {}, {hours} h at most",
            session["name"].as_str().unwrap_or("nobody"),
        );
        self.see(signed_in && hours > 0, text);
    }

    async fn pages(&mut self) {
        self.screen.act("The page lists iModels, without a token");
        let first = self.ask("/itwins?$top=1").await;
        let itwin = first["iTwins"][0]["id"].as_str().unwrap_or_default();
        let mut next = Some(format!("/imodels?iTwinId={itwin}&$top=10"));
        let (mut pages, mut imodels, mut astray) = (0_u64, 0_u64, 0_u64);
        while let Some(address) = next.take().filter(|_| pages < 100) {
            let page = self.ask(&address).await;
            pages += 1;
            imodels += page["iModels"].as_array().map_or(0, |all| all.len() as u64);
            next = page["_links"]["next"]["href"].as_str().map(str::to_owned);
            let leads = next.as_deref().and_then(|next| next.parse::<Url>().ok());
            astray += u64::from(leads.is_some_and(|url| url.origin() != self.page.origin()));
        }
        let text = format!(
            "{} on {}, by links that stay on its origin",
            many(imodels, "iModel"),
            many(pages, "page")
        );
        self.see(imodels > 0 && pages > 1 && astray == 0, text);
        let counts = self.sandbox.counts();
        let text = format!(
            "the hub saw {} with {}",
            many(counts.hub_authorized, "call"),
            many(counts.hub_tokens, "token"),
        );
        self.see(
            counts.hub_authorized == pages + 1 && counts.hub_tokens == 1,
            text,
        );
        let text = format!(
            "nothing that the browser received holds one: {}",
            many(self.visitor.tokens().into(), "token")
        );
        self.see(self.visitor.tokens() == 0, text);
    }

    async fn renewal(&mut self) {
        self.screen.act("The token ends while the page is open");
        let began = self.clock.now();
        let url = self.at("/itwins?$top=1");
        let (mut calls, mut failed) = (0_u64, 0_u64);
        let renewed = loop {
            let call = self.visitor.fetch(&url).await;
            calls += 1;
            failed += u64::from(!call.ok());
            let counts = self.sandbox.counts();
            let past = self.clock.now().mono.saturating_duration_since(began.mono);
            self.screen.progress(format_args!(
                "{} · {} · {failed} failed",
                seconds(past),
                many(calls, "call")
            ));
            if past > LIFETIME_ONCE && counts.refreshes > 0 {
                break true;
            }
            if past > PATIENCE {
                break false;
            }
            tokio::time::sleep(PACE).await;
        };
        let counts = self.sandbox.counts();
        let text = format!(
            "{} in {}, {failed} failed, {} rejected by the hub",
            many(calls, "call"),
            seconds(self.clock.now().mono.saturating_duration_since(began.mono)),
            many(unauthorized(&counts), "call"),
        );
        self.see(failed == 0 && unauthorized(&counts) == 0, text);
        let text = format!(
            "the proxy renewed it: {} by refresh token, none shown twice",
            many(counts.refreshes, "token"),
        );
        self.see(renewed && counts.refresh_reuses == 0, text);
    }

    async fn sign_out(&mut self) {
        self.screen.act("They sign out");
        self.visitor
            .open(self.at(&format!("{PREFIX}/logout")))
            .await;
        let began = self.clock.now();
        // revoking does not hold up the answer
        let counts = loop {
            let counts = self.sandbox.counts();
            let past = self.clock.now().mono.saturating_duration_since(began.mono);
            if counts.refresh_tokens_revoked > 0 || past > PATIENCE {
                break counts;
            }
            tokio::time::sleep(PACE).await;
        };
        let text = format!(
            "at the authorization server, too: {} ended, {} revoked",
            many(counts.logouts, "session"),
            many(counts.refresh_tokens_revoked, "refresh token"),
        );
        self.see(
            counts.logouts == 1 && counts.refresh_tokens_revoked > 0,
            text,
        );
        let call = self.visitor.fetch(&self.at("/itwins?$top=1")).await;
        let code = call.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let text = format!("a call of the page after that: {} {code}", call.status);
        self.see(call.status == 401 && code == "SignInRequired", text);
    }

    async fn ask(&mut self, address: &str) -> Value {
        let url = self.at(address);
        self.visitor.fetch(&url).await.json()
    }

    fn at(&self, address: &str) -> Url {
        self.page
            .join(address)
            .unwrap_or_else(|_| self.page.clone())
    }

    fn see(&mut self, as_told: bool, text: String) {
        self.screen.observed(Seen::when(as_told), text);
    }
}
