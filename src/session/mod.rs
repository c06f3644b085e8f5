//! People who are signed in with a browser: who they are, until when, and whose token goes with
//! their requests. The browser never has a token that it can read.
//!
//! A [`Realm`] is one configured session as it runs. It says who a request is from ([`Realm::who`]), and
//! answers what has to do with signing in and out ([`Realm::visited`], [`Realm::challenge`]). A [`Session`]
//! is one person's; memory has the newest, cookies or files what survives.

mod answer;
pub mod asked;
mod callback;
pub mod codec;
pub mod cookie;
pub mod cors;
mod count;
mod directory;
mod endpoints;
mod live;
pub mod pages;
mod provider;
pub mod rate;
mod realm;
mod remembered;
pub mod return_to;
mod service;
mod sign_in;
mod sign_out;
mod state;

pub use self::{
    cookie::{strip_ours, strip_set_by_others},
    endpoints::{Endpoint, Visit, Wanted},
    live::{Ended, Id, Session},
    realm::{Present, Realm, Trace, Who},
    service::{SessionError, Sessions, Stands},
    state::Facts,
};
