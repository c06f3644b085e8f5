//! Tokens that the provider gave, and the service does not take.

use std::time::Duration;

use serde_json::Value;

use super::{Finding, Level};
use crate::admin::page::words::host;

/// Fewer say nothing: a caller may have asked for what the token's owner may not see.
const FEW: u64 = 5;

/// Most of the last minute's calls of a route were answered 401 or 403, though our token went with them.
pub(super) fn token(route: &Value, all: &mut Vec<Finding>) {
    let lately = &route["lately"];
    let number = |key: &str| lately[key].as_u64().unwrap_or(0);
    let (requests, unknown, forbidden) = (
        number("requests"),
        number("token_refused_401"),
        number("token_refused_403"),
    );
    let refused = unknown + forbidden;
    let Some(name) = route["name"].as_str() else {
        return;
    };
    if refused < FEW || refused * 2 < requests {
        return;
    }
    let service = route["upstream"]
        .as_str()
        .map_or_else(|| "the service".into(), host);
    let whose = route["inject"].as_str().map_or_else(
        || "our token".into(),
        |name| format!("the token of “{name}”"),
    );
    let (status, remedy) = if unknown >= forbidden {
        (
            401,
            format!(
                "Compare the token's scopes and audience with what {service} asks for, and its provider with the one that {service} trusts: itwin-auth-proxy doctor shows what is granted."
            ),
        )
    } else {
        (
            403,
            format!(
                "{service} knows who it is: give the client what it needs there (on the iTwin platform, make it a member of the iTwin), or ask for the scopes that are missing."
            ),
        )
    };
    all.push(Finding {
        level: Level::Failure,
        kind: "token_refused",
        about: format!("route {name}"),
        title: format!("{service} answers {status} though {whose} goes with the call"),
        says: format!(
            "So it was with {refused} of {requests} calls of “{name}” in the last minute. The provider gave the token, and it has not ended."
        ),
        remedy,
        ago: Duration::ZERO,
    });
}
