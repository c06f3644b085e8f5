//! The route that a request would take, or the endpoint of ours that answers it.

use http::Request;

use super::{
    check,
    failure::Failure,
    own::{self, StandIn},
    route::Matcher,
    target::{PathMatters, Target},
};
use crate::{config::Config, http::survey::Survey};

/// What [`look`] finds.
#[derive(Debug)]
pub enum Looked<'c> {
    Own(StandIn<'c>),
    Route(&'c crate::config::Route),
    Refused { code: &'static str, reason: String },
}

/// The route that a request would take, without sending it.
pub fn look<'c, B>(config: &'c Config, request: &Request<B>) -> Looked<'c> {
    let prepared = || {
        config
            .routes
            .iter()
            .map(|route| (route, Matcher::new(&route.matches)))
    };
    let matters = if prepared().any(|(_, matcher)| matcher.depends_on_path()) {
        PathMatters::Yes
    } else {
        PathMatters::No
    };
    let survey = Survey::of(request.headers());
    let found = check::size(survey, request.uri(), &config.limits)
        .and_then(|()| check::method(request.method()))
        .and_then(|()| Target::read(request, matters))
        .and_then(|target| {
            if let Some(own) = own::stand_in(config, &target) {
                return Ok(Looked::Own(own));
            }
            prepared()
                .find(|(_, m)| m.matches(request.method(), &target.host, &target.path))
                .map(|(route, _)| Looked::Route(route))
                .ok_or(Failure::NoRoute)
        });
    match found {
        Ok(looked) => looked,
        Err(failure) => Looked::Refused {
            code: failure.code().name(),
            reason: failure.to_string(),
        },
    }
}
