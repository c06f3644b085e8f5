//! The proof that a route's policy admitted a request.
//!
//! A token and a socket are handed out against a permit only, and only this file makes one, from an
//! admission that only `admit` makes: a request that was not admitted cannot be given either.

use std::sync::Arc;

use super::{admit::Admission, plan::Route};
use crate::caller::Caller;

/// A request may use this route.
#[derive(Debug)]
pub(super) struct Permit {
    route: Arc<Route>,
    caller: Caller,
}

impl Permit {
    pub(super) fn grant(route: &Arc<Route>, admission: Admission) -> Self {
        Self {
            route: Arc::clone(route),
            caller: admission.into_caller(),
        }
    }

    pub(super) fn route(&self) -> &Arc<Route> {
        &self.route
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }
}
