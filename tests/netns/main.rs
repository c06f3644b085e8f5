//! Connections that the kernel redirects, in network namespaces that the tests make and remove.
//! Nothing outside of them is touched.
//!
//! They need Linux and root. Where that cannot be had, `ITWIN_TESTS_WITHOUT_NETNS=1` passes them
//! over, and each says so.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::time::Duration;

#[path = "../it/support/certificates.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod certificates;
mod server;
mod space;
#[path = "../it/support/wait.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod wait;
mod world;

mod beginnings;
mod doctor;
mod passing;
mod redirected;
mod rules;

const DEADLINE: Duration = Duration::from_secs(20);
