//! Where routes go.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, uri::Authority};

use super::PlanError;
use crate::{
    config::{self, ClientTls, Forwarded, Origin, Upstream, UpstreamProtocol},
    proxy::upstream::{self, UpstreamError},
};

/// Where a route goes.
pub(super) struct Placed {
    /// Which of the plan's upstreams.
    pub(super) upstream: usize,
    pub(super) to: Arc<Upstream>,
    pub(super) authority: Authority,
    pub(super) host: HeaderValue,
}

impl Placed {
    /// Routes with the same upstream, in every respect, share one of `upstreams`.
    ///
    /// # Errors
    /// When its certificates cannot be read or its name cannot be used.
    pub(super) fn new(
        route: &config::Route,
        upstreams: &mut Vec<Arc<upstream::Target>>,
    ) -> Result<Self, PlanError> {
        let to = route.upstream.clone().unwrap_or_else(nowhere);
        let upstream = place(upstreams, &to).map_err(|source| {
            let route = route.name.to_string();
            PlanError::Upstream { route, source }
        })?;
        let invalid = || PlanError::Authority {
            route: route.name.to_string(),
            origin: to.origin.to_string(),
        };
        let authority: Authority = to.origin.authority().parse().map_err(|_| invalid())?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| invalid())?;
        Ok(Self {
            upstream,
            to,
            authority,
            host,
        })
    }
}

/// Of a route that is only decided about: a name that never resolves (RFC 6761 section 6.4).
pub(super) fn nowhere() -> Arc<Upstream> {
    Arc::new(Upstream {
        origin: Origin {
            https: true,
            host: "nowhere.invalid".to_owned(),
            port: 443,
        },
        protocol: UpstreamProtocol::Http1,
        tls: ClientTls::default(),
        connect_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
        idle_connections: 0,
        preserve_host: false,
        forwarded: Forwarded::Silent,
    })
}

/// Routes with the same upstream, in every respect, share connections.
fn place(
    all: &mut Vec<Arc<upstream::Target>>,
    wanted: &Arc<Upstream>,
) -> Result<usize, UpstreamError> {
    if let Some(found) = all.iter().position(|target| target.upstream == *wanted) {
        return Ok(found);
    }
    all.push(Arc::new(upstream::Target::new(Arc::clone(wanted))?));
    Ok(all.len() - 1)
}
