//! Which endpoint of ours would answer, by the configuration alone: for `explain`.

use super::{super::target::canonical, Target, authority, guarded::matcher};
use crate::config::{Admit, Config};

/// An endpoint that stands in for a service.
#[derive(Debug)]
pub struct StandIn<'c> {
    pub admit: &'c Admit,
    pub hosts: &'c [String],
    pub answers: String,
}

pub(in crate::proxy) fn stand_in<'c>(
    config: &'c Config,
    target: &Target<'_>,
) -> Option<StandIn<'c>> {
    let path = canonical(&target.path)?;
    let asked = |hosts: &[String]| matcher(hosts).matches(&http::Method::GET, &target.host, "/");
    let routes = config.routes.iter().map(|route| &route.matches.hosts);
    let mut with_hosts = routes.filter(|hosts| !hosts.is_empty());
    let unnamed = !with_hosts.any(|hosts| asked(hosts));
    let for_it = |hosts: &[String]| match hosts {
        [] => unnamed,
        hosts => asked(hosts),
    };
    let own = &config.own;
    for one in &own.authorities {
        let usual = authority::usual(&one.prefix, &path);
        if let Some(what) = usual.filter(|_| for_it(&one.hosts)) {
            return Some(StandIn {
                admit: &one.admit,
                hosts: &one.hosts,
                answers: format!(
                    "the proxy itself, in the place of {}: {what}",
                    one.credential.provider.issuer
                ),
            });
        }
    }
    if let Some(one) = own.url_discovery.as_ref().filter(|one| for_it(&one.hosts)) {
        let below = path.strip_prefix(one.path.as_str()).unwrap_or_default();
        if below.trim_end_matches('/').eq_ignore_ascii_case("/geturl") {
            let keys: Vec<&str> = one.urls.values().map(|one| one.key.as_str()).collect();
            let text = format!("the proxy itself: the URLs of {}", keys.join(", "));
            return Some(StandIn {
                admit: &one.admit,
                hosts: &one.hosts,
                answers: text,
            });
        }
    }
    let requests = own.token_requests.as_ref().filter(|_| unnamed)?;
    (requests.path == *path).then(|| {
        let names: Vec<&str> = requests.credentials.iter().map(|one| &*one.name).collect();
        let text = format!(
            "the proxy itself: a token of {}, to who sends the header {}",
            names.join(" or "),
            requests.header
        );
        StandIn {
            admit: &requests.admit,
            hosts: &[],
            answers: text,
        }
    })
}
