//! The story that the demonstration tells, act by act.
//!
//! Every line with a mark states something that was observed: in an answer that the agent got, or in
//! the counts of the mock servers. What was otherwise than the story has it is shown as such.

use std::{io, time::Duration};

use futures_util::future::join_all;

use super::{
    agent::{Agent, Tally},
    guard,
    screen::{Screen, Seen},
};
use crate::{
    clock::{Clock, Moment},
    sandbox::{Counts, Door, Sandbox},
};

/// How long a token lives in the story: short enough to watch one expire.
pub(super) const LIFETIME: Duration = Duration::from_secs(8);
/// In the last act, where a token is to expire soon.
const SHORT_LIFETIME: Duration = Duration::from_secs(2);
/// How long the authorization server is away in the act that no call may notice.
const ABSENCE: Duration = Duration::from_secs(5);
/// Between two calls of the agent.
const PACE: Duration = Duration::from_millis(100);
/// Nothing is waited for longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Calls at once in the first act.
const TOGETHER: usize = 20;
/// iModels on a page.
const TOP: usize = 5;

/// Everything that takes part.
pub(super) struct Story<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) agent: Agent,
    pub(super) clock: Clock,
    /// Where the agent thinks that iModelHub is.
    pub(super) proxy: String,
    pub(super) screen: &'a mut Screen,
}

impl Story<'_> {
    /// Tells all of it.
    pub(super) async fn tell(&mut self) -> io::Result<()> {
        let began = self.clock.now();
        self.first_calls().await;
        if self.screen.otherwise() == 0 {
            // where the first call fails there is no story
            self.pages().await;
            self.download().await;
            self.rejected().await;
            self.expiry().await;
            self.absence().await?;
            self.long_absence().await?;
        }
        let counts = self.sandbox.counts();
        let (hub, tokens) = (counts.hub_authorized, counts.tokens_issued);
        if self.screen.otherwise() == 0 {
            guard::show(self.sandbox, &self.agent, self.screen).await;
        }
        let seconds = self.since(began).as_secs();
        self.screen.line("");
        match self.screen.otherwise() {
            0 => self.screen.line(format_args!(
                "**All as told**, in {seconds} s: {hub} calls of the agent reached the hub with {tokens} tokens, \
                 of which it knew none."
            )),
            n => self.screen.line(format_args!(
                "**Not all went as told**: see the {n} marked ✗ above."
            )),
        }
        Ok(())
    }

    async fn first_calls(&mut self) {
        self.screen
            .act("Twenty calls at once, before there is a token");
        let url = self.first_page();
        let calls = join_all((0..TOGETHER).map(|_| self.agent.get(&url))).await;
        let good = calls.iter().filter(|call| call.ok()).count();
        let asked = self.sandbox.counts().token_requests;
        self.see(good == TOGETHER, format!("{good} calls answered with 200"));
        let text = format!("{} asked for, by the proxy", many(asked, "token"));
        self.see(asked == 1, text);
    }

    async fn pages(&mut self) {
        self.screen
            .act("Page after page, by the links in the answers");
        let mut url = Some(self.first_page());
        let (mut pages, mut imodels, mut failed, mut astray) = (0_u64, 0, 0, 0_u64);
        while let Some(page) = url.take() {
            let call = self.agent.get(&page).await;
            let body = call.json();
            pages += 1;
            failed += u32::from(!call.ok());
            imodels += body["iModels"].as_array().map_or(0, Vec::len);
            if let Some(next) = body["_links"]["next"]["href"].as_str() {
                astray += u64::from(!self.leads_to_proxy(next));
                url = Some(next.to_owned()).filter(|_| pages < 100);
            }
        }
        let text = format!("{imodels} iModels on {}", many(pages, "page"));
        self.see(failed == 0 && pages > 1, text);
        let text = match astray {
            0 => "each link to the next page led back to the proxy".to_owned(),
            n => format!("{} led past the proxy", many(n, "link")),
        };
        self.see(astray == 0 && pages > 1, text);
    }

    async fn download(&mut self) {
        self.screen
            .act("A file from storage, by the link in the answer");
        let list = self.agent.get(&self.first_page()).await.json();
        let id = list["iModels"][0]["id"].as_str().unwrap_or_default();
        let url = format!("{}/imodels/{id}/changesets/1", self.proxy);
        let answer = self.agent.get(&url).await.json();
        let set = &answer["changeset"];
        let link = set["_links"]["download"]["href"]
            .as_str()
            .unwrap_or_default();
        let before = self.sandbox.counts();
        let file = self.agent.get(link).await;
        let after = self.sandbox.counts();
        let untouched = link.starts_with(self.sandbox.storage())
            && file.ok()
            && after.storage_bad_signature == before.storage_bad_signature;
        let text = if untouched {
            "the link was passed on to the byte: storage found its signature good"
        } else {
            "storage did not take the link"
        };
        self.see(untouched, text.to_owned());
        let whole = set["fileSize"].as_u64() == Some(file.body.len() as u64);
        let text = format!(
            "{} bytes came from there, and {} went there",
            file.body.len(),
            many(after.storage_with_authorization, "token"),
        );
        self.see(whole && after.storage_with_authorization == 0, text);
    }

    async fn rejected(&mut self) {
        self.screen.act("The hub rejects a token before its time");
        let before = self.sandbox.counts();
        self.sandbox.faults().revoke_tokens();
        let call = self.agent.get(&self.first_page()).await;
        let after = self.sandbox.counts();
        let refused = unauthorized(&after) - unauthorized(&before);
        let text = format!("the hub answered 401, the agent got {}", call.status);
        self.see(refused == 1 && call.ok(), text);
        let asked = after.token_requests - before.token_requests;
        let text = format!(
            "{} asked for, and the call was sent again",
            many(asked, "token")
        );
        self.see(
            asked == 1 && after.hub_requests - before.hub_requests == 2,
            text,
        );
    }

    async fn expiry(&mut self) {
        let seconds = LIFETIME.as_secs();
        self.screen.act("Tokens expire, and calls go on");
        let before = self.sandbox.counts();
        let (began, mut tally) = (self.clock.now(), Tally::default());
        // goes on until a new token has just come, so that the next act begins with it
        let mut issued = before.tokens_issued;
        let renewed = loop {
            self.call(&mut tally, began).await;
            let now = self.sandbox.counts().tokens_issued;
            if self.since(began) > LIFETIME && now > issued {
                break true;
            }
            issued = now;
            if self.since(began) > PATIENCE {
                break false;
            }
        };
        let after = self.sandbox.counts();
        self.none_failed(tally, began);
        let text = format!(
            "the hub saw {}, each good for {seconds} s, and rejected {}",
            many(after.hub_tokens - before.hub_tokens + 1, "token"),
            many(unauthorized(&after) - unauthorized(&before), "call"),
        );
        let rejected = unauthorized(&after) != unauthorized(&before);
        self.see(renewed && !rejected, text);
    }

    async fn absence(&mut self) -> io::Result<()> {
        self.screen
            .act("The authorization server goes away, and comes back");
        self.sandbox.faults().idp_door(Door::Refuse)?;
        let discovery = format!("{}/.well-known/openid-configuration", self.sandbox.issuer());
        let gone = self.agent.get(&discovery).await.status == 0;
        let before = self.sandbox.counts();
        let (began, mut tally) = (self.clock.now(), Tally::default());
        while self.since(began) < ABSENCE {
            self.call(&mut tally, began).await;
        }
        let after = self.sandbox.counts();
        let away = gone && after.token_requests == before.token_requests;
        self.see(
            away,
            format!("away for {} s: it refuses connections", ABSENCE.as_secs()),
        );
        self.none_failed(tally, began);

        self.sandbox.faults().idp_door(Door::Open)?;
        let (back, mut tally) = (self.clock.now(), Tally::default());
        let renewed = loop {
            self.call(&mut tally, back).await;
            // one that is on its way would not be there when the next act has all revoked
            if self.sandbox.counts().hub_tokens > after.hub_tokens {
                break true;
            }
            if self.since(back) > PATIENCE {
                break false;
            }
        };
        let after = seconds(self.since(back));
        let text = if renewed {
            format!(
                "back: a new token after {after}, {} failed",
                many(tally.failed.into(), "call")
            )
        } else {
            format!("back: no new token within {after}")
        };
        self.see(renewed && tally.failed == 0, text);
        Ok(())
    }

    async fn long_absence(&mut self) -> io::Result<()> {
        self.screen
            .act("It stays away for longer than a token lives");
        let faults = self.sandbox.faults();
        faults.token_lifetime(SHORT_LIFETIME);
        faults.revoke_tokens();
        let short = self.agent.get(&self.first_page()).await;
        faults.idp_door(Door::Refuse)?;
        faults.token_lifetime(LIFETIME);
        let (before, began) = (self.sandbox.counts(), self.clock.now());
        let mut good = u64::from(short.ok());
        let refusal = loop {
            let call = self.agent.get(&self.first_page()).await;
            if !call.ok() || self.since(began) > PATIENCE {
                break call;
            }
            good += 1;
            self.screen.progress(format_args!(
                "{} · {good} calls",
                seconds(self.since(began))
            ));
            tokio::time::sleep(PACE).await;
        };
        let after = self.sandbox.counts();
        let error = &refusal.json()["error"];
        let wait = refusal
            .header("retry-after")
            .and_then(|value| value.parse::<u64>().ok());
        let text = format!(
            "after {} the agent got {}, Retry-After {}: {}",
            many(good, "good call"),
            refusal.status,
            wait.map_or("missing".to_owned(), |seconds| format!("{seconds} s")),
            error["message"].as_str().unwrap_or("(no message)"),
        );
        let clear = refusal.status == 503 && wait.is_some() && error["message"].is_string();
        self.see(clear && good > 1, text);
        let sent = unauthorized(&after) - unauthorized(&before);
        self.see(
            sent == 0,
            format!("{} with an expired token", many(sent, "call")),
        );

        self.sandbox.faults().idp_door(Door::Open)?;
        let back = self.clock.now();
        let served = loop {
            if self.agent.get(&self.first_page()).await.ok() {
                break true;
            }
            if self.since(back) > PATIENCE {
                break false;
            }
            self.screen.progress(seconds(self.since(back)));
            tokio::time::sleep(PACE).await;
        };
        let after = seconds(self.since(back));
        let text = if served {
            format!("back: calls are answered again after {after}")
        } else {
            format!("back: no call was answered within {after}")
        };
        self.see(served, text);
        Ok(())
    }

    /// One more call of a series, then a pause.
    async fn call(&mut self, tally: &mut Tally, began: Moment) {
        let call = self.agent.get(&self.first_page()).await;
        tally.add(&call);
        self.screen.progress(format_args!(
            "{} · {} calls · {} failed · {} so far",
            seconds(self.since(began)),
            tally.calls,
            tally.failed,
            many(self.sandbox.counts().tokens_issued, "token"),
        ));
        tokio::time::sleep(PACE).await;
    }

    fn none_failed(&mut self, tally: Tally, began: Moment) {
        let text = format!(
            "{} calls in {}, {} failed, the slowest took {} ms",
            tally.calls,
            seconds(self.since(began)),
            tally.failed,
            tally.slowest.as_millis(),
        );
        self.see(tally.failed == 0 && tally.calls > 0, text);
    }

    fn see(&mut self, as_told: bool, text: String) {
        self.screen.observed(Seen::when(as_told), text);
    }

    fn since(&self, began: Moment) -> Duration {
        self.clock.now().mono.saturating_duration_since(began.mono)
    }

    fn first_page(&self) -> String {
        let itwin = self.sandbox.itwin_id();
        format!("{}/imodels?iTwinId={itwin}&$top={TOP}", self.proxy)
    }

    fn leads_to_proxy(&self, link: &str) -> bool {
        link.strip_prefix(&self.proxy)
            .is_some_and(|rest| rest.starts_with('/'))
    }
}

pub(super) fn unauthorized(counts: &Counts) -> u64 {
    counts.hub_answers.get(&401).copied().unwrap_or(0)
}

pub(super) fn many(number: u64, what: &str) -> String {
    match number {
        0 => format!("no {what}"),
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
