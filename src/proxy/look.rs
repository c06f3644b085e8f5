//! The route that a request would take, or the endpoint of ours that answers it.

use http::Request;

use super::{
    admit, check,
    failure::{Failure, Host, Wants},
    own::{self, StandIn},
    route::Matcher,
    target::{self, PathMatters, Target},
};
use crate::{
    config::{self, Admit, Config},
    http::survey::Survey,
};

/// What [`look`] finds.
#[derive(Debug)]
pub enum Looked<'c> {
    Own(StandIn<'c>),
    Route(&'c crate::config::Route),
    Refused { code: &'static str, reason: String },
}

/// Why a route refuses callers that name this host, wherever they are: its code and the reason. A
/// listener that is a forward proxy's names others, and is not meant.
pub fn refuses_name(route: &config::Route, authority: &str) -> Option<(&'static str, String)> {
    let host = target::host(authority);
    let own = route.upstream.iter().map(|to| to.origin.host.clone());
    let hosts: Vec<String> = route.matches.hosts.iter().cloned().chain(own).collect();
    if route.admit != Admit::Local || admit::is_called(&host, &hosts) {
        return None;
    }
    let failure = Failure::NotAdmitted {
        route: route.name.to_string(),
        wants: Wants::ThisMachine(Host::new(&host)),
    };
    Some((failure.code().name(), failure.to_string()))
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
