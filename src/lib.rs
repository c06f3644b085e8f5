//! itwin-auth-proxy: gives software that knows nothing of OAuth valid access tokens for iTwin
//! services.

pub mod admin;
pub mod app;
pub mod backoff;
pub mod caller;
pub mod clock;
pub mod config;
pub mod health;
pub mod http;
pub mod listen;
pub mod metrics;
pub mod net;
pub mod proxy;
pub mod sandbox;
pub mod secret;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
pub mod tokens;
