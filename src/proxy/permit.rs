//! The proof that a route's policy admitted a request.
//!
//! A token and a socket are handed out against a permit only, and only this file makes one, from an
//! admission that only `admit` makes: a request that was not admitted cannot be given either.

use std::{net::IpAddr, sync::Arc};

use http::HeaderValue;

use super::{
    admit::{Admission, Admitted},
    person::Person,
    plan::Route,
};
use crate::{caller::Caller, tokens::TokenHandle, verify::Verified};

/// A request may use this route.
#[derive(Debug)]
pub(super) struct Permit {
    route: Arc<Route>,
    caller: Caller,
    verified: Option<Arc<Verified>>,
    nonce: Option<HeaderValue>,
    person: Option<Person>,
}

impl Permit {
    /// `peer`: where the request comes from.
    pub(super) fn grant(
        route: &Arc<Route>,
        admission: Admission,
        peer: impl FnOnce() -> IpAddr,
    ) -> Self {
        let Admitted {
            caller,
            verified,
            nonce,
            present,
        } = admission.into_parts();
        Self {
            person: present.map(|present| Person::new(present, route, peer())),
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

    /// Who is signed in, if that is how the caller is known.
    pub(super) fn person(&self) -> Option<&Person> {
        self.person.as_ref()
    }

    /// Where the token comes from that goes with the request.
    pub(super) fn token(&self) -> Option<&TokenHandle> {
        let own = self
            .person
            .as_ref()
            .and_then(|person| person.token.as_ref());
        own.or(self.route.token.as_ref())
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }
}
