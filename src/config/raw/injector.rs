//! What can be written in the injector's own file, apart from the proxy's configuration.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Identity, Words};

/// The configuration of `itwin-auth-proxy inject`.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Injector {
    /// Where the API server's questions are answered, with TLS. Default: `0.0.0.0:8443`.
    #[schemars(extend("default" = "0.0.0.0:8443"))]
    pub(in crate::config) bind: Option<String>,
    /// Probes, metrics and status. Default: `0.0.0.0:9901`, because probes come from the node.
    #[schemars(extend("default" = "0.0.0.0:9901"))]
    pub(in crate::config) admin: Option<String>,
    /// The image of the sidecar; it is this program's.
    #[schemars(required)]
    pub(in crate::config) image: Option<String>,
    /// `Always`, `IfNotPresent` or `Never`. Default: the cluster's choice.
    pub(in crate::config) pull_policy: Option<PullPolicy>,
    /// The webhook's own certificate.
    #[schemars(required)]
    pub(in crate::config) certificate: Option<Certificate>,
    /// Whether sidecars are init containers that keep running (Kubernetes 1.29 and newer): `auto`
    /// asks the API server for its version.
    #[schemars(extend("default" = "auto"))]
    pub(in crate::config) native_sidecars: Option<NativeSidecars>,
    /// The API server. Default: the one that this program's pod belongs to.
    pub(in crate::config) api_server: Option<ApiServer>,
    /// What holds for pods that do not say otherwise.
    pub(in crate::config) defaults: Option<Defaults>,
    /// What is logged, as in the proxy's configuration.
    pub(in crate::config) log: Option<super::Log>,
}

/// When the image is pulled.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::config) enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// Whether the cluster knows init containers that keep running.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum NativeSidecars {
    /// The API server's version tells: 1.29 and newer.
    Auto,
    /// It does.
    Always,
    /// It does not.
    Never,
}

/// One of two ways to a certificate.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Certificate {
    /// Files that somebody else renews, such as cert-manager; they are followed.
    pub(in crate::config) files: Option<Identity>,
    /// Made and renewed by the injector itself, through the Kubernetes API.
    pub(in crate::config) managed: Option<Managed>,
}

/// A certificate of our own.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Managed {
    /// The Secret that keeps it, for all replicas.
    #[schemars(required)]
    pub(in crate::config) secret: Option<String>,
    /// The namespace of the Secret and of the Service.
    #[schemars(required)]
    pub(in crate::config) namespace: Option<String>,
    /// The Service by which the API server reaches the injector; the certificate is for its name.
    #[schemars(required)]
    pub(in crate::config) service: Option<String>,
    /// The `MutatingWebhookConfiguration` that is told of the authority (`caBundle`).
    #[schemars(required)]
    pub(in crate::config) webhook: Option<String>,
}

/// An API server, for an injector outside of the cluster.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ApiServer {
    /// Its URL.
    #[schemars(required)]
    pub(in crate::config) url: Option<String>,
    /// A file with the token that we show it; read again for every request.
    #[schemars(required)]
    pub(in crate::config) token_file: Option<String>,
    /// A PEM file with its authority.
    #[schemars(required)]
    pub(in crate::config) ca_file: Option<String>,
}

/// What holds for pods that do not say otherwise.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Defaults {
    /// The Secret, in the pod's namespace, with the keys `client-id` and `client-secret`.
    pub(in crate::config) credential_secret: Option<String>,
    /// What tokens are asked to be good for.
    pub(in crate::config) scopes: Option<Words>,
    /// Where calls go. Default: the environment's API.
    pub(in crate::config) upstream: Option<String>,
    /// `production` or `qa`.
    pub(in crate::config) environment: Option<String>,
    /// `reverse`, `forward` or `transparent`.
    pub(in crate::config) mode: Option<String>,
    /// The port that agents call.
    #[schemars(extend("default" = 8080), range(min = 1024, max = 65_535))]
    pub(in crate::config) port: Option<u32>,
    /// The port of the sidecar's own admin listener, on the pod's loopback.
    #[schemars(extend("default" = 9901), range(min = 1024, max = 65_535))]
    pub(in crate::config) admin_port: Option<u32>,
    /// Hosts that are reached without the proxy where the mode sets `HTTPS_PROXY`.
    pub(in crate::config) no_proxy: Option<Words>,
    /// Variables of agents that get the address to call, besides `ITWIN_AUTH_PROXY_URL`.
    pub(in crate::config) url_variables: Option<Words>,
    /// Whether transparent mode redirects IPv6 too; the pods must have it then.
    #[schemars(extend("default" = false))]
    pub(in crate::config) ipv6: Option<bool>,
    /// What the sidecar is given and may use.
    pub(in crate::config) resources: Option<Resources>,
}

/// Requests and limits of the sidecar.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Resources {
    pub(in crate::config) requests: Option<Amounts>,
    pub(in crate::config) limits: Option<Amounts>,
}

/// CPU and memory, as Kubernetes writes them.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Amounts {
    /// Such as `10m` or `0.5`.
    pub(in crate::config) cpu: Option<String>,
    /// Such as `32Mi`.
    pub(in crate::config) memory: Option<String>,
}
