//! `POST /tokens/refresh`: another token for a credential now, whatever is thought of the one that is there.
//!
//! For whoever has changed rights or a secret at the provider and does not want to wait. The token that is
//! held is served until the new one is there, and after a failure: an order costs no request.

use std::{sync::Arc, time::UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, join_all};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{TokenHandle, TokenService};
use crate::health::{Disobeyed, Order};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    credential: String,
}

impl Order for TokenService {
    fn path(&self) -> &'static str {
        "/tokens/refresh"
    }

    fn obey(&self, body: Bytes) -> BoxFuture<'_, Result<Value, Disobeyed>> {
        async move {
            let wanted: Wanted = serde_json::from_slice(&body).map_err(|error| {
                let form = r#"send {"credential": "NAME"}"#;
                Disobeyed::Wrong(vec![format!("{form}: {error}")])
            })?;
            self.refresh(&wanted.credential).await
        }
        .boxed()
    }
}

impl TokenService {
    async fn refresh(&self, name: &str) -> Result<Value, Disobeyed> {
        let all = self.registry.all();
        let of = |shared: &Arc<_>| self.handle_of(Arc::clone(shared));
        let handles: Vec<TokenHandle> = all.iter().map(of).collect();
        let (wanted, others): (Vec<_>, Vec<_>) = handles
            .into_iter()
            .partition(|handle| *handle.credential().name == *name);
        if wanted.is_empty() {
            let mut known: Vec<_> = others
                .iter()
                .map(|one| one.credential().name.to_string())
                .collect();
            known.sort();
            known.dedup();
            let known = known.join(", ");
            return Err(Disobeyed::Unknown(vec![format!(
                "no token is kept for a credential {name}; there are tokens of: {known}"
            )]));
        }
        let renewed = wanted.iter().map(|handle| async move {
            let patience = handle.credential().patience();
            (handle.scopes().to_string(), handle.renew(patience).await)
        });
        let mut refreshed = Vec::new();
        let mut failed = Vec::new();
        let now = self.clock.now();
        for (scopes, result) in join_all(renewed).await {
            match result {
                Ok(ready) => {
                    let left = ready.expires().remaining(now);
                    let expires = UNIX_EPOCH + now.wall + left;
                    refreshed.push(json!({
                        "scopes": scopes,
                        "expires": humantime::format_rfc3339_seconds(expires).to_string(),
                        "remaining_seconds": left.as_secs(),
                    }));
                }
                Err(error) => failed.push(format!("{name} ({scopes}): {}", error.reason)),
            }
        }
        if failed.is_empty() {
            Ok(json!({ "credential": name, "refreshed": refreshed }))
        } else {
            Err(Disobeyed::Refused(failed))
        }
    }
}
