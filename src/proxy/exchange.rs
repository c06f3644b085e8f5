//! Another token in place of the one that a caller showed (RFC 8693).

use std::time::Duration;

use http::HeaderValue;

use super::{
    Proxy,
    attempt::Exchanged,
    failure::Failure,
    outgoing::Outgoing,
    permit::Permit,
    record::{CredentialUse, Record},
};

/// How long a request waits for it.
const WAIT: Duration = Duration::from_secs(15);
/// How long the token of a caller is good for at least that was just admitted by its provider's
/// word, which did not say.
const UNSAID: Duration = Duration::from_secs(60);

impl Proxy {
    /// Sends the request with the other token.
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
        let token = self.in_exchange(permit, outgoing, record).await?;
        self.exchange(permit, outgoing, Some(&token), record, None)
            .await
    }

    /// The value of `Authorization` for the service.
    async fn in_exchange(
        &self,
        permit: &Permit,
        outgoing: &Outgoing,
        record: &mut Record,
    ) -> Result<HeaderValue, Failure> {
        let route = permit.route();
        let (Some(exchanger), Some(subject), Some(verified)) =
            (&route.exchanger, &outgoing.exchanged, permit.verified())
        else {
            return Err(Failure::Panicked); // the three are there together
        };
        let now = self.observer.clock.now();
        let left = verified.claims.expires_in(now).unwrap_or(UNSAID);
        record.credential_used = CredentialUse::Injected;
        let result = exchanger.get(subject, now.plus(left), WAIT).await;
        let waited = self.observer.clock.mono();
        record.token_wait = Some(waited.saturating_duration_since(now.mono));
        result.map_err(|source| Failure::Token {
            credential: source.credential.to_string(),
            source,
        })
    }
}
