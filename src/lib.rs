//! itwin-auth-proxy: gives software that knows nothing of OAuth valid access tokens for iTwin
//! services.
//!
//! **Floors**, from the ground up; each imports only what stands below it (`ARCHITECTURE.md` has
//! the table, `tests/architecture.rs` checks it):
//!
//! - ground: [`secret`], [`clock`], [`caller`], [`backoff`], [`trouble`], [`shutdown`], [`health`],
//!   [`notify`], [`pulse`], [`rotation`], [`confine`], [`metrics`], [`telemetry`], [`trace`], [`audit`], [`handbook`];
//! - [`config`], then [`net`] and [`tls`], then [`http`];
//! - [`oauth`] speaks the protocol; [`tokens`] keeps the tokens that we fetch fresh, [`verify`]
//!   checks those that callers show;
//! - [`injector`] gives pods a sidecar: a program of its own in the same binary;
//! - [`otlp`] sends traces and metrics on;
//! - `session` signs people in, and knows who is;
//! - `proxy` is the life of a request, `listen` accepts its connection;
//! - [`admin`] and [`sandbox`] are wings; `app` builds everything, `cli` is what a person types.
//!
//! **A request** stays on the thread that accepted it, and passes through `proxy` in an order that
//! one function states. **State** has one writer each, and snapshots for readers: tokens are written
//! by the worker in [`tokens`], read by every request without a lock.

pub mod admin;
pub mod app;
pub mod atomic;
pub mod audit;
pub mod backoff;
pub mod caller;
pub mod cli;
pub mod clock;
pub mod config;
pub mod confine;
pub mod handbook;
pub mod health;
pub mod http;
pub mod injector;
pub mod listen;
pub mod metrics;
pub mod net;
pub mod notify;
pub mod oauth;
pub mod otlp;
pub mod proxy;
pub mod pulse;
pub mod rotation;
pub mod sandbox;
pub mod sealed;
pub mod secret;
pub mod session;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
pub mod tokens;
pub mod trace;
pub mod trouble;
pub mod verify;
