//! The injector: a mutating admission webhook that gives pods that ask for it the proxy as a
//! sidecar.
//!
//! What it does to a pod is a pure function ([`patch`]); the rest is how the API server reaches it
//! ([`server`]) and trusts it ([`certificate`]). It reads no Secret of a pod and writes nothing to
//! the cluster but its own certificate. A pod that does not ask is never touched, and one that asks
//! for something impossible is refused with all the reasons at once.

mod agents;
mod annotations;
mod body;
pub mod certificate;
mod draft;
mod fault;
pub mod kube;
mod manifest;
pub mod patch;
mod places;
pub mod review;
pub mod server;
mod sidecar;
pub mod version;

pub use self::{
    annotations::NAMES, draft::Draft, fault::Faults, manifest::Manifest, sidecar::Form,
};

#[cfg(test)]
mod tests;
