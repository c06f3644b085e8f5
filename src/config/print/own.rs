//! Endpoints of our own, as they could have been written.

use super::{
    super::{
        Authority, Discovered, NamedIssuer, TokenRequests, UrlDiscovery, Whereto,
        raw::{self, Words},
    },
    admit, duration, list,
};

pub(super) fn authority(authority: &Authority) -> raw::Authority {
    raw::Authority {
        provider: Some(authority.credential.provider.name.to_string()),
        credential: Some(authority.credential.name.to_string()),
        path: Some(rooted(&authority.prefix)),
        hosts: list(authority.hosts.iter()),
        issuer: Some(match authority.issuer {
            NamedIssuer::Provider => raw::NamedIssuer::Provider,
            NamedIssuer::Here => raw::NamedIssuer::Here,
        }),
        admit: Some(admit(&authority.admit)),
        min_remaining: Some(duration(authority.min_remaining)),
    }
}

pub(super) fn url_discovery(discovery: &UrlDiscovery) -> raw::UrlDiscovery {
    let urls = discovery.urls.values();
    raw::UrlDiscovery {
        path: Some(rooted(&discovery.path)),
        hosts: list(discovery.hosts.iter()),
        urls: urls
            .filter_map(|one| Some((one.key.clone(), url(one)?)))
            .collect(),
        admit: Some(admit(&discovery.admit)),
    }
}

/// Nothing for one that nobody can write.
fn url(found: &Discovered) -> Option<raw::DiscoveredUrl> {
    if found.anywhere == Some(Whereto::Authority) {
        return None;
    }
    let regions = found.regions.iter();
    Some(raw::DiscoveredUrl {
        url: found.anywhere.as_ref().map(whereto),
        regions: regions
            .map(|(number, place)| (number.to_string(), whereto(place)))
            .collect(),
    })
}

fn whereto(place: &Whereto) -> String {
    match place {
        Whereto::Url(url) => url.to_string(),
        Whereto::Here(path) => rooted(path),
        Whereto::Authority => String::new(),
    }
}

pub(super) fn token_requests(requests: &TokenRequests) -> raw::TokenRequests {
    let names = requests.credentials.iter();
    raw::TokenRequests {
        path: Some(requests.path.clone()),
        hosts: list(requests.hosts.iter()),
        credentials: Some(Words(names.map(|one| one.name.to_string()).collect())),
        header: Some(requests.header.clone()),
        admit: Some(admit(&requests.admit)),
        min_remaining: Some(duration(requests.min_remaining)),
    }
}

fn rooted(path: &str) -> String {
    if path.is_empty() {
        "/".to_owned()
    } else {
        path.to_owned()
    }
}
