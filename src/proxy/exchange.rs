//! Another token in place of the one that a caller showed (RFC 8693, RFC 7523).

use std::time::Duration;

use http::StatusCode;

use super::{
    Proxy,
    attempt::Exchanged,
    failure::Failure,
    outgoing::{Outgoing, Subject},
    permit::Permit,
    record::Record,
    rejected::say_why,
};
use crate::{
    secret::Secret,
    telemetry::Replayed,
    tokens::{ErrorKind, TokenError},
};

/// How long a request waits for it, unless the route says.
const WAIT: Duration = Duration::from_secs(15);
/// How long the token of a caller is good for at least that was just admitted by its provider's
/// word, which did not say.
const UNSAID: Duration = Duration::from_secs(60);

impl Proxy {
    /// Sends the request with the other token; with a new one, once more and once, if the service
    /// answers 401.
    ///
    /// # Errors
    /// When the caller's token is not exchanged, or not in time: never does the caller's own go on.
    /// When there is no connection or no answer.
    pub(super) async fn send_in_exchange(
        &self,
        permit: &Permit,
        outgoing: &mut Outgoing,
        record: &mut Record,
    ) -> Result<Exchanged, Failure> {
        let (Some(exchanger), Some(subject)) =
            (&permit.route().exchanger, outgoing.exchanged.take())
        else {
            return Err(Failure::Panicked); // both are there together
        };
        let inject = permit.route().config.inject.as_ref();
        let wait = inject.map_or(WAIT, |inject| inject.wait);
        let now = self.observer.clock.now();
        let (subject, ends) = match subject {
            Subject::Shown(token) => {
                let verified = permit.verified();
                let left = verified.and_then(|verified| verified.claims.expires_in(now));
                (token, now.plus(left.unwrap_or(UNSAID)))
            }
            Subject::Persons(handle) => {
                let ready = handle.get(Duration::ZERO, wait).await.map_err(failure)?;
                (Secret::new(ready.text()), ready.expires())
            }
        };
        let waiting = record.waits();
        let token = exchanger.get(&subject, ends, wait).await;
        let waited = self.observer.clock.mono();
        record.token_wait = Some(waited.saturating_duration_since(now.mono));
        if let Some(exchange) = &permit.route().config.exchange {
            record.waited(waiting, &exchange.name, token.as_ref().err());
        }
        let token = token.inspect_err(|_| record.has_no_token());
        let token = token.map_err(failure)?;
        record.injects(&token, Duration::ZERO, self.observer.clock.now());
        let mut first = self
            .exchange(permit, outgoing, Some(token.header()), record, None)
            .await?;
        if first.response.status() != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        let fresh = exchanger.replace(&token, &subject, ends, wait).await;
        let reason = match fresh {
            Err(error) => {
                tracing::warn!(
                    route = %permit.route().config.name,
                    %error,
                    "401 for a token that a caller's was exchanged for"
                );
                "the exchanged token could not be replaced"
            }
            Ok(fresh) if fresh.header() == token.header() => {
                "the provider gives the same token in exchange again"
            }
            Ok(fresh) if outgoing.payload.can_be_sent() => {
                drop(first);
                record.replayed(Replayed::NewToken);
                return self
                    .exchange(permit, outgoing, Some(fresh.header()), record, None)
                    .await;
            }
            Ok(_) => "the token was replaced, but the body was too large to be sent again",
        };
        say_why(&mut first.response, reason);
        Ok(first)
    }
}

fn failure(source: TokenError) -> Failure {
    let credential = source.credential.to_string();
    match source.kind {
        ErrorKind::SubjectRefused => Failure::NotExchanged { credential, source },
        _ => Failure::Token { credential, source },
    }
}
