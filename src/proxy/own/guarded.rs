//! Endpoints that only those may use whom a gate admits, and what they are asked.

use std::{collections::BTreeSet, fmt, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;

use super::{Endpoint, Found, Visitor};
use crate::{
    caller::Caller,
    config::{Admit, Glob, Match, Name},
    handbook::Reference,
    http::{headers::Aliases, survey::Survey},
    net::Conn,
    proxy::{
        Proxy,
        admit::{Gate, Rule, Site},
        bearer::{Denied, Tokens},
        bound::Called,
        failure::{Failure, Wants},
        forward::Meant,
        forwarded,
        record::Record,
        route::Matcher,
        target::{Target, canonical},
    },
    tokens::TokenHandle,
    verify::{KeyService, Waited},
};

/// What answers at several paths.
pub(in crate::proxy) trait Service: fmt::Debug + Send + Sync {
    /// Whether a path is one of its own. Asked for every request that names one of its hosts.
    fn serves(&self, path: &str) -> bool;

    /// What a page of another site, in a browser of somebody who is admitted, may have.
    fn pages(&self) -> Pages;

    fn answer(&self, asked: Asked) -> BoxFuture<'static, Response<Bytes>>;

    /// Tokens that should be there before anybody asks.
    fn tokens(&self) -> Vec<TokenHandle>;
}

/// How pages of other sites are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Pages {
    Refused,
    /// The service decides by what they ask for.
    Judged,
    /// There is nothing that they may not have.
    Welcome,
}

/// A request from somebody who is admitted.
#[derive(Debug)]
pub(in crate::proxy) struct Asked {
    pub(in crate::proxy) request: Request<Incoming>,
    pub(in crate::proxy) reference: Reference,
    /// In canonical form.
    pub(in crate::proxy) path: String,
    /// `https://` and an authority, as the caller used them.
    pub(in crate::proxy) origin: String,
    pub(in crate::proxy) from: Site,
}

/// A service and who may use it.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct Guarded {
    name: Name,
    hosts: Hosts,
    gate: Gate,
    pub(in crate::proxy) service: Arc<dyn Service>,
}

#[derive(Debug, Clone)]
enum Hosts {
    These(Matcher),
    /// Those that no route names.
    Others,
}

impl Guarded {
    pub(super) fn new(
        name: &str,
        hosts: &[String],
        admit: &Admit,
        keys: &KeyService,
        service: Arc<dyn Service>,
    ) -> Self {
        let named = hosts.to_vec();
        let gate = match admit {
            Admit::Anyone => Gate::Anyone,
            Admit::Local => Gate::Local { hosts: named },
            Admit::Rules(rules) => Gate::Rules {
                rules: rules
                    .iter()
                    .filter_map(|rule| Rule::new(rule, keys))
                    .collect(),
                hosts: named,
                realm: None,
            },
        };
        Self {
            name: name.into(),
            hosts: if hosts.is_empty() {
                Hosts::Others
            } else {
                Hosts::These(matcher(hosts))
            },
            gate,
            service,
        }
    }

    pub(super) fn is_for(&self, target: &Target<'_>, named: &[Matcher]) -> bool {
        let here = match &self.hosts {
            Hosts::These(hosts) => hosts.matches(&Method::GET, &target.host, "/"),
            Hosts::Others => {
                let knows = |one: &Matcher| one.matches(&Method::GET, &target.host, "/");
                !named.iter().any(knows)
            }
        };
        here && canonical(&target.path).is_some_and(|path| self.service.serves(&path))
    }

    /// Whether it is for this host by its name.
    pub(super) fn is_for_named(&self, target: &Target<'_>) -> bool {
        matches!(self.hosts, Hosts::These(_)) && self.is_for(target, &[])
    }

    pub(in crate::proxy) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Who asks, and from where.
    ///
    /// # Errors
    /// When no rule admits the caller.
    fn admit(
        &self,
        target: &Target<'_>,
        headers: &HeaderMap,
        survey: Survey,
        tokens: &Tokens<'_>,
    ) -> Result<(Caller, Site), Failure> {
        let from = Site::of(target, headers, survey);
        let page = match (self.service.pages(), from) {
            (Pages::Refused, Site::Another) => Site::Another,
            (Pages::Refused | Pages::Judged, _) => Site::Claimed,
            (Pages::Welcome, _) => Site::Same,
        };
        let admitted = self.gate.admit(&self.name, target, headers, page, tokens);
        match admitted {
            Ok(admission) => Ok((admission.into_parts().caller, from)),
            Err(Denied::For(failure)) => Err(failure),
            // no rule here looks at tokens or cookies
            Err(Denied::Until(_) | Denied::Challenged(_)) => Err(Failure::NotAdmitted {
                route: self.name.to_string(),
                wants: Wants::Another,
            }),
        }
    }
}

/// An endpoint and what it is asked, but for the request itself.
pub(in crate::proxy) enum Asking {
    Open {
        endpoint: Arc<dyn Endpoint>,
        visitor: Visitor,
    },
    Guarded {
        service: Arc<dyn Service>,
        reference: Reference,
        path: String,
        origin: String,
        from: Site,
        /// Fields that carry keys for us: nothing behind this sees them.
        keys: Aliases,
    },
}

impl Asking {
    pub(in crate::proxy) fn answer(
        self,
        mut request: Request<Incoming>,
    ) -> BoxFuture<'static, Response<Bytes>> {
        match self {
            Self::Open { endpoint, visitor } => endpoint.answer(request, visitor),
            Self::Guarded {
                service,
                reference,
                path,
                origin,
                from,
                keys,
            } => {
                keys.strip(request.headers_mut());
                service.answer(Asked {
                    request,
                    reference,
                    path,
                    origin,
                    from,
                })
            }
        }
    }
}

impl Proxy {
    /// What an endpoint of ours is asked.
    ///
    /// # Errors
    /// When it is not for the caller.
    pub(in crate::proxy) fn asks(
        &self,
        found: Found<'_>,
        target: &Target<'_>,
        request: &Request<Incoming>,
        survey: Survey,
        (conn, meant): (&Conn, &Meant),
        record: &mut Record,
    ) -> Result<Asking, Failure> {
        let reference = self.reference(record);
        let guarded = match found {
            Found::Guarded(guarded) => guarded,
            Found::Open(endpoint) => {
                let endpoint = Arc::clone(endpoint);
                let peer = self.peer(request.headers(), conn);
                let visitor = Visitor { reference, peer };
                return Ok(Asking::Open { endpoint, visitor });
            }
        };
        let arrived = Called {
            conn,
            guest: meant.guest(),
            authority: target.authority,
            uri: request.uri(),
            trusted_proxies: &self.plan.trusted_proxies,
            resource: None,
        };
        let tokens = Tokens {
            verifier: &self.verifier,
            now: record.begun(),
            method: request.method(),
            called: arrived,
            query: request.uri().query(),
            waited: &Waited::default(),
            revoked: &self.plan.revoked,
            metadata: None,
        };
        let headers = request.headers();
        let (caller, from) = guarded.admit(target, headers, survey, &tokens)?;
        record.caller(&caller);
        let (scheme, authority) = forwarded::called(headers, &arrived);
        let path = canonical(&target.path).unwrap_or_default();
        Ok(Asking::Guarded {
            service: Arc::clone(&guarded.service),
            reference,
            path: path.into_owned(),
            origin: format!("{scheme}://{authority}"),
            from,
            keys: self.plan.own_fields.clone(),
        })
    }
}

/// Of hosts only.
pub(super) fn matcher(hosts: &[String]) -> Matcher {
    Matcher::new(&Match {
        hosts: hosts.to_vec(),
        path: Glob::default(),
        methods: BTreeSet::default(),
    })
}
