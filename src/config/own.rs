//! Endpoints of our own that stand in for what old software asks itself.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use url::Url;

use super::{Admit, Credential, Name};

/// An authorization server that we stand in for: the provider of the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// In logs: `authority`, or with a number behind it.
    pub name: Name,
    /// Whose tokens are handed out.
    pub credential: Arc<Credential>,
    /// Before all paths; empty at the root, without a slash at the end.
    pub prefix: String,
    /// As in routes; none: any that no route names.
    pub hosts: Vec<String>,
    pub issuer: NamedIssuer,
    pub admit: Admit,
    pub min_remaining: Duration,
}

/// The `issuer` in metadata of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedIssuer {
    Provider,
    /// The address that the caller used.
    Here,
}

/// The URL discovery service that we stand in for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlDiscovery {
    /// Without a slash at the end.
    pub path: String,
    /// As in routes; none: any that no route names.
    pub hosts: Vec<String>,
    /// By the key in lower case.
    pub urls: BTreeMap<String, Discovered>,
    pub admit: Admit,
}

/// Where a service is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// As it was written.
    pub key: String,
    /// In every region that has none of its own.
    pub anywhere: Option<Whereto>,
    pub regions: BTreeMap<u32, Whereto>,
}

/// A URL that a caller is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereto {
    Url(Url),
    /// A path at the address that the caller used.
    Here(String),
    /// The first authority that we stand in for, at the address that the caller used.
    Authority,
}

/// Tokens for the asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequests {
    pub path: String,
    /// Empty: any that no route names.
    pub hosts: Vec<String>,
    /// One at least.
    pub credentials: Vec<Arc<Credential>>,
    /// In lower case; must be there, with any value.
    pub header: String,
    pub admit: Admit,
    pub min_remaining: Duration,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnEndpoints {
    pub authorities: Vec<Authority>,
    pub url_discovery: Option<UrlDiscovery>,
    pub token_requests: Option<TokenRequests>,
}

impl OwnEndpoints {
    /// Who may use each.
    pub fn admits(&self) -> impl Iterator<Item = &Admit> {
        let authorities = self.authorities.iter().map(|one| &one.admit);
        let discovery = self.url_discovery.iter().map(|one| &one.admit);
        let requests = self.token_requests.iter().map(|one| &one.admit);
        authorities.chain(discovery).chain(requests)
    }
}
