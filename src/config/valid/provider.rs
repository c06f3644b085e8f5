//! Providers and what is known of Bentley's.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};

use url::Url;

use super::{
    super::{
        Admit, AdmitRule, ClientTls, Credential, Endpoints, Name, Origin, Provider, ProviderKeys,
        ProviderTimeouts, Route, path::Path, raw,
    },
    Check,
    introspection::Metadata,
    route::Numbered,
    scalar::{MILLISECOND, MINUTE, SECOND},
};

/// A provider that is known without being declared.
pub(in crate::config) struct Preset {
    pub(in crate::config) name: &'static str,
    pub(in crate::config) issuer: &'static str,
    /// The same server's second name.
    pub(in crate::config) also: &'static str,
    /// The API that its tokens are for.
    pub(in crate::config) upstream: &'static str,
    /// Gives SAML assertions for names and passwords.
    pub(in crate::config) sts: &'static str,
    /// Gives assertions for its assertions.
    pub(in crate::config) delegation: &'static str,
}

/// What SAML assertions at Bentley are for, unless somebody says otherwise.
pub(super) const BENTLEY_RELYING_PARTY: &str = "https://connect-wsg20.bentley.com";

/// Bentley IMS.
pub(in crate::config) const PRESETS: [Preset; 2] = [
    Preset {
        name: "bentley",
        issuer: "https://ims.bentley.com",
        also: "https://imsoidc.bentley.com",
        upstream: "https://api.bentley.com",
        sts: "https://ims.bentley.com/rest/ActiveSTSService/json/IssueEx",
        delegation: "https://ims.bentley.com/rest/DelegationSTSService",
    },
    Preset {
        name: "bentley-qa",
        issuer: "https://qa-ims.bentley.com",
        also: "https://qa-imsoidc.bentley.com",
        upstream: "https://qa-api.bentley.com",
        sts: "https://qa-ims.bentley.com/rest/ActiveSTSService/json/IssueEx",
        delegation: "https://qa-ims.bentley.com/rest/DelegationSTSService",
    },
];

/// What every client at Bentley is registered for.
pub(super) const BENTLEY_SCOPE: &str = "itwin-platform";

/// The preset that a provider is, by its issuer: under whatever name it was declared.
pub(super) fn preset_of(provider: &Provider) -> Option<&'static Preset> {
    let host = provider.issuer.host_str()?;
    PRESETS.iter().find(|preset| {
        [preset.issuer, preset.also]
            .iter()
            .any(|known| known.strip_prefix("https://") == Some(host))
    })
}

/// Providers by name: those declared, and the presets.
pub(super) struct Providers {
    all: BTreeMap<Name, Arc<Provider>>,
    declared: Vec<String>,
}

impl Providers {
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Provider>> {
        self.all.get(name)
    }

    /// The one that is meant when none is named.
    pub(super) fn default_name(&self) -> Option<&str> {
        match self.declared.as_slice() {
            [] => Some(PRESETS[0].name),
            [only] => Some(only),
            _ => None,
        }
    }

    /// Every name that may be written, also of those that are wrong.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let presets = PRESETS.iter().map(|preset| preset.name);
        self.declared.iter().map(String::as_str).chain(presets)
    }
}

/// Those providers that somebody declared or uses.
pub(super) fn used(
    providers: Providers,
    credentials: &BTreeMap<Name, Arc<Credential>>,
    routes: &[Numbered],
) -> BTreeMap<Name, Arc<Provider>> {
    let mut all = providers.all;
    all.retain(|name, _| {
        providers
            .declared
            .iter()
            .any(|declared| **declared == **name)
            || credentials.values().any(|c| c.provider.name == *name)
            || routes.iter().any(|one| asks_for_tokens(&one.route, name))
    });
    all
}

fn asks_for_tokens(route: &Route, of: &Name) -> bool {
    match &route.admit {
        Admit::Rules(rules) => rules
            .iter()
            .any(|rule| matches!(rule, AdmitRule::Bearer { provider, .. } if provider.name == *of)),
        Admit::Local | Admit::Anyone => false,
    }
}

impl Check<'_> {
    pub(super) fn providers(&mut self, written: &BTreeMap<String, raw::Provider>) -> Providers {
        let mut all = BTreeMap::new();
        for preset in &PRESETS {
            if let Ok(issuer) = Url::parse(preset.issuer) {
                let provider = self.preset(preset.name, issuer);
                all.insert(Name::from(preset.name), Arc::new(provider));
            }
        }
        for (name, raw) in written {
            let path = Path::root().key("providers").key(name);
            self.name(&path, name);
            if let Some(provider) = self.provider(&path, name, raw) {
                all.insert(Name::from(name.as_str()), Arc::new(provider));
            }
        }
        Providers {
            all,
            declared: written.keys().cloned().collect(),
        }
    }

    fn preset(&mut self, name: &str, issuer: Url) -> Provider {
        let endpoints = Endpoints::Discover {
            also: second_names(&issuer),
        };
        Provider {
            name: name.into(),
            issuer,
            endpoints,
            tls: ClientTls::default(),
            timeouts: self.provider_timeouts(&Path::root(), &raw::Provider::default()),
            keys: ProviderKeys::default(),
            introspection: None,
        }
    }

    fn provider(&mut self, path: &Path, name: &str, raw: &raw::Provider) -> Option<Provider> {
        let issuer_path = path.key("issuer");
        let known = PRESETS.iter().find(|preset| preset.name == name);
        let issuer = match (&raw.issuer, known) {
            (Some(issuer), _) => self.secure_url(&issuer_path, issuer),
            (None, Some(preset)) => Url::parse(preset.issuer).ok(),
            (None, None) => {
                let hint = "write the authorization server's URL, such as https://ims.bentley.com";
                self.missing(&issuer_path, "is missing", hint);
                None
            }
        };
        let issuer = issuer.map(without_trailing_slash);
        let token = raw
            .token_endpoint
            .as_ref()
            .map(|url| self.secure_url(&path.key("token_endpoint"), url));
        if token.is_some() && raw.also.is_some() {
            self.error(
                &path.key("also"),
                "has no effect with a token_endpoint, because nothing is discovered",
                "leave one of them out",
            );
        }
        let also_path = path.key("also");
        let also: Vec<Url> = raw
            .also
            .iter()
            .flat_map(|also| also.0.iter().enumerate())
            .filter_map(|(n, url)| self.secure_url(&also_path.index(n), url))
            .map(without_trailing_slash)
            .collect();
        let timeouts = self.provider_timeouts(path, raw);
        let keys = self.provider_keys(path, raw);
        let port = issuer.as_ref().and_then(Url::port_or_known_default);
        let tls = self.client_tls(&path.key("tls"), raw.tls.as_ref(), port.unwrap_or(443));
        let introspection = raw.introspection.as_ref().map(|written| {
            let path = path.key("introspection");
            let metadata = match token {
                Some(_) => Metadata::NotAsked,
                None => Metadata::Discovered,
            };
            self.introspection(&path, written, metadata)
        });
        let issuer = issuer?;
        let endpoints = match (token, &raw.also) {
            (Some(token), _) => Endpoints::Given { token: token? },
            (None, Some(_)) => Endpoints::Discover { also },
            (None, None) => Endpoints::Discover {
                also: second_names(&issuer),
            },
        };
        Some(Provider {
            name: name.into(),
            issuer,
            endpoints,
            tls,
            timeouts,
            keys,
            introspection: introspection.flatten(),
        })
    }

    fn provider_timeouts(&mut self, path: &Path, raw: &raw::Provider) -> ProviderTimeouts {
        let connect_path = path.key("connect_timeout");
        let connect = self.duration(
            &connect_path,
            raw.connect_timeout.as_deref(),
            5 * SECOND,
            10 * MILLISECOND..=MINUTE,
        );
        let total = self.duration(
            &path.key("timeout"),
            raw.timeout.as_deref(),
            15 * SECOND,
            10 * MILLISECOND..=2 * MINUTE,
        );
        if connect > total {
            let text = format!(
                "is longer than the whole exchange may take ({})",
                humantime::format_duration(total)
            );
            self.error(&connect_path, text, "make it shorter, or timeout longer");
        }
        ProviderTimeouts { connect, total }
    }

    /// TLS towards a server; `port` is for addresses that name none.
    pub(super) fn client_tls(
        &mut self,
        path: &Path,
        raw: Option<&raw::ClientTls>,
        port: u16,
    ) -> ClientTls {
        let Some(raw) = raw else {
            return ClientTls::default();
        };
        let ca_path = path.key("extra_ca");
        let extra_ca: Vec<PathBuf> = raw
            .extra_ca
            .iter()
            .flat_map(|files| files.0.iter().enumerate())
            .filter_map(|(n, file)| self.authorities(&ca_path.index(n), file))
            .collect();
        let identity = raw
            .identity
            .as_ref()
            .and_then(|identity| self.identity(&path.key("identity"), identity));
        let server_name = raw.server_name.clone().filter(|name| {
            let good = rustls_pki_types::ServerName::try_from(name.as_str()).is_ok();
            if !good {
                self.error(
                    &path.key("server_name"),
                    "is not a host's name",
                    "write it without scheme and port",
                );
            }
            good
        });
        let addresses = self.addresses(&path.key("addresses"), raw.addresses.as_ref(), port);
        let servers = raw.name_servers.as_ref();
        let name_servers = self.addresses(&path.key("name_servers"), servers, 53);
        ClientTls {
            extra_ca,
            identity,
            server_name,
            addresses,
            name_servers,
        }
    }

    pub(super) fn addresses(
        &mut self,
        path: &Path,
        raw: Option<&raw::Words>,
        port: u16,
    ) -> Vec<SocketAddr> {
        let words = raw.iter().flat_map(|words| words.0.iter().enumerate());
        words
            .filter_map(|(n, text)| {
                let with_port = text.parse::<SocketAddr>().ok();
                let parsed = with_port.or_else(|| Some(SocketAddr::new(text.parse().ok()?, port)));
                if parsed.is_none() {
                    let hint = "write 10.0.0.1, 10.0.0.1:443 or [fd00::1]:443";
                    self.error(&path.index(n), "is not an address", hint);
                }
                parsed
            })
            .collect()
    }

    /// Warns when a token of one Bentley environment would go to the other's API.
    pub(super) fn same_environment(&mut self, path: &Path, provider: &Provider, upstream: &Origin) {
        let Some(preset) = preset_of(provider) else {
            return;
        };
        let other = PRESETS
            .iter()
            .find(|other| other.name != preset.name && other.upstream == upstream.to_string());
        if let Some(other) = other {
            let text = format!(
                "a token of {} goes to the API of {}, which refuses it",
                preset.name, other.name
            );
            self.warn(
                path,
                text,
                format!("use {} with {}", preset.upstream, preset.name),
            );
        }
    }
}

/// The other names of Bentley's server, either way around.
fn second_names(issuer: &Url) -> Vec<Url> {
    let written = issuer.as_str().trim_end_matches('/');
    PRESETS
        .iter()
        .filter_map(|preset| match written {
            one if one == preset.issuer => Url::parse(preset.also).ok(),
            one if one == preset.also => Url::parse(preset.issuer).ok(),
            _ => None,
        })
        .collect()
}

/// Issuers are compared without it (RFC 8414 section 3.3).
fn without_trailing_slash(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    url
}
