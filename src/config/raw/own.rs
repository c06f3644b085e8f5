//! Endpoints of our own that stand in for what old software asks itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Admit, Words};

/// An authorization server that this proxy stands in for: software that fetches its tokens itself
/// is pointed here. `client_credentials`, whatever client and secret are sent with it, is answered
/// with a token of the credential; all else is passed on to the provider.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Authority {
    /// The provider that is stood in for. Default: that of the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) provider: Option<String>,
    /// Whose tokens are handed out. Default: the only credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) credential: Option<String>,
    /// Where it begins. `/` puts it at the root of its hosts.
    #[schemars(extend("default" = "/authority"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) path: Option<String>,
    /// Hosts that it answers for, as in routes. With the provider's own, such as `ims.bentley.com`,
    /// it also answers at the paths that the provider's metadata name. Default: any host that no
    /// route names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) hosts: Option<Words>,
    /// The `issuer` that its metadata name: `provider` as the tokens have it, which who checks
    /// tokens by these metadata compares; or `here`, for a client that refuses metadata of another
    /// address than the issuer's.
    #[schemars(extend("default" = "provider"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) issuer: Option<NamedIssuer>,
    /// Who may use it, as in routes, but without `bearer`. Whoever may is given the service's
    /// token. Default: `local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) admit: Option<Admit>,
    /// A token that is handed out lives so long yet, or half its life if that is less: clients
    /// fetch another one up to 10 minutes before the end.
    #[schemars(extend("default" = "15m"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) min_remaining: Option<String>,
}

/// The `issuer` in metadata of ours.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum NamedIssuer {
    /// The provider's.
    Provider,
    /// The address that the caller used.
    Here,
}

/// The URL discovery service ("Buddi") that clients of generation 1.x ask where services are.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct UrlDiscovery {
    /// Where it is: `imjs_buddi_url` is this proxy's address with this path.
    #[schemars(extend("default" = "/WebService"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) path: Option<String>,
    /// Hosts that it answers for, as in routes: with `buddi.bentley.com`, inside an interception of
    /// it, its URLs are those that clients know without a proxy. Default: any host that no route
    /// names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) hosts: Option<Words>,
    /// URLs by the service's key, whatever its case, such as
    /// `{iModelHubApi: https://api.example/imodelhub}`; others than the defaults. A path such as
    /// `/imodelhub` is taken at the address that the caller used.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::config) urls: BTreeMap<String, DiscoveredUrl>,
    /// Who may use it, as in routes, but without `bearer`. Default: `local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) admit: Option<Admit>,
}

/// The URL of a service, or one for each region.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"], "x-short" = "url"))]
pub(in crate::config) struct DiscoveredUrl {
    /// In every region that has none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) url: Option<String>,
    /// By the region's number: 0 is production, 102 is QA, 103 is development.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::config) regions: BTreeMap<String, String>,
}

/// A token for the asking, for scripts and SDKs on this machine: `GET /token?credential=agent`.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TokenRequests {
    /// Where it is asked for.
    #[schemars(extend("default" = "/token"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) path: Option<String>,
    /// Hosts that it answers for, as in routes. Default: any host that no route names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) hosts: Option<Words>,
    /// Credentials whose tokens are handed out. Default: the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) credentials: Option<Words>,
    /// A header that the request must carry, with any value: a page in a browser cannot send it.
    #[schemars(extend("default" = "X-Itwin-Token-Request"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) header: Option<String>,
    /// Who may ask, as in routes, but without `bearer`. Default: `local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) admit: Option<Admit>,
    /// A token that is handed out lives so long yet, or half its life if that is less.
    #[schemars(extend("default" = "15m"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) min_remaining: Option<String>,
}
