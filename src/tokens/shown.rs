//! Tokens that are asked for with another credential's token (RFC 7523 section 2.1).
//!
//! That token is had first, outside of the queue: who waits for another fetch must not take its
//! place. A token that the provider refuses as an assertion is replaced once, as one that an
//! upstream rejects is.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::{
    cell::{Class, Urgency},
    entry::Entry,
    handle::{Ready, TokenHandle},
    queue::Queues,
    source::{Failure, INVALID_GRANT, Shown},
    worker::{Report, lane},
};
use crate::shutdown::Shutdown;

/// For the other token. It has a worker of its own behind it that gives up earlier.
const WAIT: Duration = Duration::from_secs(60);
/// Enough to arrive, and to be looked at.
const MIN_REMAINING: Duration = Duration::from_secs(60);

/// The other credential's token, for the fetch that is under way.
#[derive(Debug, Default)]
pub(super) enum Evidence {
    #[default]
    None,
    First(Ready),
    /// The first one was refused.
    Replaced(Ready),
}

/// Queues the fetch of this key, or goes for the token that it shows first.
pub(super) fn begin(
    number: u64,
    entry: &Entry,
    urgency: Urgency,
    queues: &mut Queues,
    reports: &UnboundedSender<Report>,
    shutdown: &Shutdown,
) {
    let Some(other) = entry.shared.shown.clone() else {
        return queues.push(number, lane(&entry.shared), urgency);
    };
    let reports = reports.clone();
    shutdown.spawn(async move {
        let found = match other.get(MIN_REMAINING, WAIT).await {
            Ok(ready) => Ok(Evidence::First(ready)),
            Err(error) => Err(missing(&other, &error.reason)),
        };
        // the worker is gone only when everything ends
        let _ = reports.send(Report::Shown(number, found));
    });
}

/// Goes for another token in place of one that was refused, if it is worth it; gives the failure
/// back if not.
pub(super) fn again(
    number: u64,
    entry: &mut Entry,
    failure: Failure,
    reports: &UnboundedSender<Report>,
    shutdown: &Shutdown,
) -> Option<Failure> {
    let refused = failure.label == INVALID_GRANT;
    match (std::mem::take(&mut entry.evidence), &entry.shared.shown) {
        (Evidence::First(shown), Some(other)) if refused => {
            let (other, reports) = (other.clone(), reports.clone());
            shutdown.spawn(async move {
                let found = match other.replace(&shown, WAIT).await {
                    Ok(ready) => Ok(Evidence::Replaced(ready)),
                    Err(_) => Err(failure),
                };
                let _ = reports.send(Report::Shown(number, found));
            });
            None
        }
        _ => Some(failure),
    }
}

impl Evidence {
    pub(super) fn shown(&self) -> Shown {
        match self {
            Self::None => Shown::Nothing,
            Self::First(ready) | Self::Replaced(ready) => {
                ready.token().map_or(Shown::Nothing, Shown::Token)
            }
        }
    }
}

/// Slow: the other one was tried twice where that made sense.
fn missing(other: &TokenHandle, reason: &str) -> Failure {
    let name = &other.credential().name;
    let reason = format!("its assertion is the token of `{name}`, and there is none: {reason}");
    Failure {
        class: Class::Slow,
        label: "assertion",
        reason: reason.as_str().into(),
        detail: reason,
        retry_after: None,
        fingerprint: None,
    }
}
