//! The proof that a route's policy admitted a request.
//!
//! A token and a socket are handed out against a permit only, and only this file makes one, from an
//! admission that only `admit` makes: a request that was not admitted cannot be given either.

use std::sync::Arc;

use http::HeaderValue;

use super::{
    admit::{Admission, Admitted},
    plan::Route,
};
use crate::{caller::Caller, verify::Verified};

/// A request may use this route.
#[derive(Debug)]
pub(super) struct Permit {
    route: Arc<Route>,
    caller: Caller,
    verified: Option<Arc<Verified>>,
    nonce: Option<HeaderValue>,
}

impl Permit {
    pub(super) fn grant(route: &Arc<Route>, admission: Admission) -> Self {
        let Admitted {
            caller,
            verified,
            nonce,
        } = admission.into_parts();
        Self {
            route: Arc::clone(route),
            caller,
            verified,
            nonce,
        }
    }

    pub(super) fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The token that admitted the caller, if one did.
    pub(super) fn verified(&self) -> Option<&Arc<Verified>> {
        self.verified.as_ref()
    }

    /// For the caller's next proof.
    pub(super) fn nonce(&self) -> Option<&HeaderValue> {
        self.nonce.as_ref()
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }
}
