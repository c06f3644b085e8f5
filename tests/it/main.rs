//! The proxy as its users meet it: between a caller and an origin, both of which see bytes.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it expects"
)]

mod support;

mod authorization;
mod bearer;
mod bound;
mod ca;
mod decide;
mod early_answers;
mod exchange;
mod fields;
mod forward;
mod framing;
mod hostile_issuers;
mod hosts;
mod http2;
mod identity;
mod intercept;
mod introspection;
mod limits;
mod links;
mod listeners;
mod local_callers;
mod login_pages;
mod messages;
mod metrics;
mod own;
mod paths;
mod people;
mod reload;
mod reload_under_way;
mod replay;
mod retry;
mod revocation;
mod secrets;
mod smuggling_http2;
mod stand_in;
mod status;
mod steering;
mod stop;
mod succession;
mod takeover;
mod threads;
mod timeouts;
mod token_requests;
mod tokens;
mod traces;
mod upgrade;
mod upstream_tls;
mod wsg;
