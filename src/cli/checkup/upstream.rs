//! Upstreams: the way there, and whether anything answers. `/` is asked for without any token:
//! whatever comes, it was reached.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;

use super::{
    Check, Finding,
    way::{self, Further, To},
};
use crate::{
    cli::output::chain,
    clock::Clock,
    config::{Config, Upstream, UpstreamProtocol},
    http::client::{ClientError, HttpClient},
};

pub(super) fn checks<'a>(config: &'a Config, clock: &'a Clock, checks: &mut Vec<Check<'a>>) {
    let mut seen: Vec<&Arc<Upstream>> = Vec::new();
    let upstreams = config.routes.iter();
    for upstream in upstreams.filter_map(|route| route.upstream.as_ref()) {
        if seen.contains(&upstream) {
            continue;
        }
        seen.push(upstream);
        let what = format!("upstream {}", upstream.origin);
        checks.push(Check::new("upstream", what, examine(upstream, clock)));
    }
}

async fn examine(upstream: &Upstream, clock: &Clock) -> Vec<Finding> {
    let whom = format!("upstream {}", upstream.origin);
    let Ok(uri) = format!("{}/", upstream.origin).parse() else {
        return Vec::new();
    };
    let alpn: &[&[u8]] = match upstream.protocol {
        UpstreamProtocol::Auto => &[b"h2", b"http/1.1"],
        UpstreamProtocol::Http1 => &[b"http/1.1"],
        UpstreamProtocol::Http2 => &[b"h2"],
    };
    let to = To {
        whom,
        uri,
        tls: &upstream.tls,
        alpn,
        limit: upstream.connect_timeout,
    };
    let (mut found, further) = way::go(&to, clock).await;
    if further == Further::No {
        return found;
    }
    found.push(match ask(upstream).await {
        Ok(seen) => Finding::ok("upstream", &to.whom, seen),
        Err(why) => {
            let remedy = "see whether that service runs, and speaks the protocol of the route's \
                          upstream";
            Finding::failure("upstream", &to.whom, why, remedy)
        }
    });
    found
}

async fn ask(upstream: &Upstream) -> Result<String, String> {
    let limit = upstream.connect_timeout + ANSWER_LIMIT;
    let client =
        HttpClient::new(&upstream.tls, upstream.connect_timeout, limit).map_err(|e| chain(&e))?;
    let request = Request::head(format!("{}/", upstream.origin))
        .body(Bytes::new())
        .map_err(|e| e.to_string())?;
    match client.send(request).await {
        Ok(answer) => Ok(format!("reached, answered {}", answer.status())),
        // this asks in HTTP/1.1, which such a server need not understand
        Err(ClientError::Protocol { .. }) if upstream.protocol == UpstreamProtocol::Http2 => {
            Ok("reached".into())
        }
        Err(error) => Err(chain(&error)),
    }
}

/// How long an upstream may take to answer anything.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(15);
