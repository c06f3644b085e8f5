//! Endpoints of our own that stand in for what old software asks itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use url::Url;

use super::{
    super::{
        Admit, AdmitRule, Authority, Bind, Credential, Discovered, Listener, Mode, NamedIssuer,
        OwnEndpoints, TokenRequests, UrlDiscovery, Whereto,
        path::Path,
        problem::shown,
        raw::{self, Raw},
    },
    Check, Purpose,
    admit::TAKEN,
    provider::{PRESETS, Providers, preset_of},
    route::{Credentials, Numbered},
    scalar::{HOUR, MINUTE},
};

const DEFAULT_HEADER: &str = "X-Itwin-Token-Request";

/// Where the successors of the services are on `api.bentley.com`, as clients of generation 2.19
/// have it.
const SUCCESSORS: [(&str, &str); 5] = [
    ("iModelHubApi", "/imodelhub"),
    ("CONNECTEDContextService.URL", "/contextregistry"),
    ("RealityDataServices", "/contextshare"),
    ("ProductSettingsService.RP", "/productsettings"),
    ("ProjectShare.Url", "/projectshare"),
];

impl Check<'_> {
    pub(super) fn own_endpoints(
        &mut self,
        raw: &Raw,
        credentials: &Credentials,
        providers: &Providers,
        listeners: &[Listener],
        routes: &[Numbered],
    ) -> OwnEndpoints {
        let root = Path::root();
        let mut authorities: Vec<Authority> = Vec::new();
        for (n, written) in raw.authorities.iter().enumerate() {
            let path = root.key("authorities").index(n);
            let name = if n == 0 {
                "authority".to_owned()
            } else {
                format!("authority-{}", n + 1)
            };
            let found = self.authority(&path, &name, written, credentials, providers);
            let Some(found) = found else { continue };
            let clash = |other: &&Authority| {
                let apart = |host: &String| !other.hosts.contains(host);
                let named = !other.hosts.is_empty() || !found.hosts.is_empty();
                other.prefix == found.prefix && !(named && found.hosts.iter().all(apart))
            };
            if authorities.iter().any(|other| clash(&other)) {
                let hint = "give it another path, or other hosts";
                self.error(&path, "another authority has the same place", hint);
            }
            self.may_be_used(&path, &found.admit, listeners, Lends::Token);
            self.sign_in_is_served(&path, &found, routes);
            authorities.push(found);
        }
        let url_discovery = raw.url_discovery.as_ref().and_then(|written| {
            let path = root.key("url_discovery");
            let found = self.url_discovery(&path, written, providers, &authorities)?;
            self.may_be_used(&path, &found.admit, listeners, Lends::Nothing);
            Some(found)
        });
        let token_requests = raw.token_requests.as_ref().and_then(|written| {
            let path = root.key("token_requests");
            let found = self.token_requests(&path, written, credentials, providers)?;
            self.may_be_used(&path, &found.admit, listeners, Lends::Token);
            Some(found)
        });
        OwnEndpoints {
            authorities,
            url_discovery,
            token_requests,
        }
    }

    fn authority(
        &mut self,
        path: &Path,
        name: &str,
        raw: &raw::Authority,
        credentials: &Credentials,
        providers: &Providers,
    ) -> Option<Authority> {
        let at = path.key("credential");
        let credential = self.handed_out(&at, raw.credential.as_deref(), credentials);
        if let (Some(written), Some(credential)) = (raw.provider.as_deref(), &credential) {
            let at = path.key("provider");
            let provider = self.provider_called(&at, Some(written), providers);
            if provider.is_some_and(|provider| provider.name != credential.provider.name) {
                let text = format!(
                    "the credential {} gets its tokens from {}",
                    credential.name, credential.provider.name
                );
                self.error(&at, text, "name that provider, or leave it out");
            }
        }
        let prefix = self.plain_path(&path.key("path"), raw.path.as_deref(), "/authority");
        let hosts = self.each(&path.key("hosts"), raw.hosts.as_ref(), Self::host);
        let admit = self.own_admit(path, raw.admit.as_ref(), providers);
        let min_remaining = self.remaining(path, raw.min_remaining.as_deref());
        Some(Authority {
            name: name.into(),
            credential: credential?,
            prefix: prefix?,
            hosts: hosts?,
            issuer: match raw.issuer {
                None | Some(raw::NamedIssuer::Provider) => NamedIssuer::Provider,
                Some(raw::NamedIssuer::Here) => NamedIssuer::Here,
            },
            admit: admit?,
            min_remaining,
        })
    }

    fn url_discovery(
        &mut self,
        path: &Path,
        raw: &raw::UrlDiscovery,
        providers: &Providers,
        authorities: &[Authority],
    ) -> Option<UrlDiscovery> {
        let at = path.key("path");
        let place = self.plain_path(&at, raw.path.as_deref(), "/WebService");
        let hosts = self.each(&path.key("hosts"), raw.hosts.as_ref(), Self::host);
        let mut urls = BTreeMap::new();
        let mut known = |key: &str, place: Option<Whereto>| {
            let found = Discovered {
                key: key.to_owned(),
                anywhere: place,
                ..Discovered::default()
            };
            if found.anywhere.is_some() {
                urls.insert(key.to_ascii_lowercase(), found);
            }
        };
        let first = authorities.first().map(|one| &one.credential.provider);
        let preset = first.and_then(|provider| preset_of(provider));
        let preset = preset.unwrap_or(&PRESETS[0]);
        let url = |text: &str| Url::parse(text).ok().map(Whereto::Url);
        // in the real one's place, the address that the caller used leads nowhere else
        let in_its_place = raw.hosts.is_some();
        for (key, here) in SUCCESSORS {
            let place = if in_its_place {
                url(&format!("{}{here}", preset.upstream))
            } else {
                Some(Whereto::Here(here.to_owned()))
            };
            known(key, place);
        }
        let authority = match first {
            Some(provider) if in_its_place => url(provider.issuer.as_str()),
            Some(_) => Some(Whereto::Authority),
            None => None,
        };
        known("IMSOpenID", authority);
        known("Mobile.ImsStsAuth", url(preset.sts));
        known("ActiveSTSDelegationServiceUrl", url(preset.delegation));
        let mut written = BTreeSet::new();
        for (key, raw) in &raw.urls {
            let at = path.key("urls").key(key);
            let lower = key.to_ascii_lowercase();
            if !written.insert(lower.clone()) {
                self.error(&at, "is there in another spelling as well", "");
            }
            let mut found = Discovered {
                key: key.clone(),
                ..Discovered::default()
            };
            found.anywhere = raw.url.as_deref().and_then(|url| self.place_at(&at, url));
            for (region, url) in &raw.regions {
                let at = at.key("regions").key(region);
                let Ok(number) = region.parse() else {
                    let text = format!("{} is not the number of a region", shown(&at, region));
                    self.error(&at, text, "0 is production, 102 is QA, 103 is development");
                    continue;
                };
                let place = self.place_at(&at, url);
                found.regions.extend(place.map(|place| (number, place)));
            }
            if raw.url.is_none() && raw.regions.is_empty() {
                self.missing(&at, "has no URL", "");
            }
            urls.insert(lower, found);
        }
        let admit = self.own_admit(path, raw.admit.as_ref(), providers);
        Some(UrlDiscovery {
            path: place?,
            hosts: hosts?,
            urls,
            admit: admit?,
        })
    }

    /// Clients take a slash at the end away.
    fn place_at(&mut self, path: &Path, written: &str) -> Option<Whereto> {
        if written.starts_with('/') {
            return self.plain_path(path, Some(written), "/").map(Whereto::Here);
        }
        self.url(path, written).map(Whereto::Url)
    }

    fn token_requests(
        &mut self,
        path: &Path,
        raw: &raw::TokenRequests,
        credentials: &Credentials,
        providers: &Providers,
    ) -> Option<TokenRequests> {
        let at = path.key("path");
        let place = self.plain_path(&at, raw.path.as_deref(), "/token");
        if place.as_deref() == Some("") {
            self.error(&at, "is the root of everything", "write it as in /token");
        }
        let hosts = self.each(&path.key("hosts"), raw.hosts.as_ref(), Self::host);
        let at = path.key("credentials");
        let named: Option<Vec<Arc<Credential>>> = match &raw.credentials {
            None => self.handed_out(&at, None, credentials).map(|one| vec![one]),
            Some(words) if words.0.is_empty() => {
                self.missing(&at, "names none", "");
                None
            }
            Some(words) => {
                let words = words.0.iter().enumerate();
                let named: Vec<_> = words
                    .map(|(n, name)| self.handed_out(&at.index(n), Some(name), credentials))
                    .collect();
                named.into_iter().collect()
            }
        };
        let at = path.key("header");
        let header = raw.header.as_deref().unwrap_or(DEFAULT_HEADER);
        let header = header.to_ascii_lowercase();
        if http::HeaderName::from_bytes(header.as_bytes()).is_err() {
            let text = format!("{} is not a header's name", shown(&at, &header));
            self.error(&at, text, "");
        } else if TAKEN.contains(&header.as_str()) || is_sent_by_pages(&header) {
            self.error(
                &at,
                format!("a page in a browser may send {header} without asking"),
                format!("use a header of its own, such as {DEFAULT_HEADER}"),
            );
        }
        let admit = self.own_admit(path, raw.admit.as_ref(), providers);
        let min_remaining = self.remaining(path, raw.min_remaining.as_deref());
        Some(TokenRequests {
            path: place?,
            hosts: hosts?,
            credentials: named?,
            header,
            admit: admit?,
            min_remaining,
        })
    }

    /// A credential whose tokens are one for all.
    fn handed_out(
        &mut self,
        path: &Path,
        name: Option<&str>,
        credentials: &Credentials,
    ) -> Option<Arc<Credential>> {
        let found = if let Some(name) = name {
            self.credential_called(path, name, credentials)
        } else {
            let common =
                |one: &&Arc<Credential>| !one.grant.exchanges() && one.grant.flow().is_none();
            let mut all = credentials.values().filter(common);
            if let (Some(only), None) = (all.next(), all.next()) {
                Some(Arc::clone(only))
            } else {
                let hint = "name the credential whose tokens are handed out";
                let text = "must be given: there is not one credential only";
                self.missing(path, text, hint);
                None
            }
        };
        if found.as_ref().is_some_and(|one| one.grant.exchanges()) {
            let text = "exchanges callers' tokens, and has none of its own to hand out";
            self.error(path, text, "");
            return None;
        }
        if found.as_ref().is_some_and(|one| one.grant.flow().is_some()) {
            let text = "signs people in: nobody has its token but they";
            self.error(path, text, "a route with admit: {session: …} injects it");
            return None;
        }
        found
    }

    fn remaining(&mut self, path: &Path, written: Option<&str>) -> Duration {
        let at = path.key("min_remaining");
        self.duration(&at, written, 15 * MINUTE, Duration::ZERO..=HOUR)
    }

    /// A path that servers cannot read differently, without a slash at its end.
    pub(super) fn plain_path(
        &mut self,
        path: &Path,
        written: Option<&str>,
        default: &str,
    ) -> Option<String> {
        let written = written.unwrap_or(default);
        let plain =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_' | b'~');
        let dots = |segment: &str| matches!(segment, "." | "..");
        let odd = !written.starts_with('/') || written.contains("//");
        if odd || written.split('/').any(dots) || !written.bytes().all(plain) {
            self.error(
                path,
                format!("{} is not a plain path", shown(path, written)),
                format!("write it as in {default}"),
            );
            return None;
        }
        Some(written.trim_end_matches('/').to_owned())
    }

    fn own_admit(
        &mut self,
        path: &Path,
        raw: Option<&raw::Admit>,
        providers: &Providers,
    ) -> Option<Admit> {
        let path = path.key("admit");
        let admit = self.admit(&path, raw, Admit::Local, providers)?;
        let Admit::Rules(rules) = &admit else {
            return Some(admit);
        };
        if let Some(session) = rules.iter().position(AdmitRule::is_session) {
            let text = "people who sign in with a browser do not ask here";
            self.error(&path.index(session), text, "write it on a route");
            return None;
        }
        let Some(bearer) = rules.iter().position(AdmitRule::is_bearer) else {
            return Some(admit);
        };
        let hint = "use a key, a certificate, networks or uids";
        self.error(
            &path.index(bearer),
            "a caller's own token is not asked for here",
            hint,
        );
        None
    }

    fn may_be_used(&mut self, path: &Path, admit: &Admit, listeners: &[Listener], lends: Lends) {
        if self.purpose == Purpose::OnlyDecides {
            let hint = "add a listener that is no gateway's";
            self.error(path, "has no effect: every listener only decides", hint);
            return;
        }
        if listeners.is_empty() || self.problems.touches(&Path::root().key("listeners")) {
            return;
        }
        let serves = |listener: &&Listener| !matches!(listener.mode, Mode::Decide(_));
        let mut serving = listeners.iter().filter(serves);
        let at = path.key("admit");
        if matches!(admit, Admit::Local) {
            if !serving.any(|listener| listener.bind.is_local()) {
                self.missing(
                    &at,
                    "admits nobody: every listener can be reached by others than this machine",
                    "add a listener on 127.0.0.1 or a Unix socket, or say in admit who else may",
                );
            }
            return;
        }
        self.can_be_admitted(&at, listeners, admit);
        let remote = serving.find(|listener| !listener.bind.is_local());
        if let (Some(listener), Lends::Token) = (remote, lends) {
            let way = match (&listener.bind, &listener.tls) {
                (Bind::Tcp(_), None) => ", unencrypted",
                _ => "",
            };
            self.warn(
                &at,
                format!(
                    "the service's token itself is handed to others than this machine by {}{way}",
                    listener.bind
                ),
                "a route that injects lends it without showing it; if it must be handed out, say with admit to whom",
            );
        }
    }

    /// Where it takes the provider's place, all else of that host comes here as well.
    fn sign_in_is_served(&mut self, path: &Path, authority: &Authority, routes: &[Numbered]) {
        let issuer = &authority.credential.provider.issuer;
        let host = issuer.host_str().unwrap_or_default().to_owned();
        let served = |one: &Numbered| {
            let hosts = &one.route.matches.hosts;
            one.route.inject.is_none() && hosts.contains(&host)
        };
        if authority.hosts.contains(&host) && !routes.iter().any(served) {
            let origin = issuer.origin().ascii_serialization();
            self.warn(
                &path.key("hosts"),
                format!(
                    "no route serves the rest of {host}: who signs in there through this proxy gets no page"
                ),
                format!("add a route {{hosts: {host}, upstream: '{origin}'}}"),
            );
        }
    }
}

/// What an endpoint lets out of our hands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lends {
    Nothing,
    Token,
}

/// Fields that a page may set on a request to another site without a preflight (Fetch, CORS-safelisted
/// request-header), and those that every browser sends by itself.
fn is_sent_by_pages(header: &str) -> bool {
    let safelisted = [
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "content-language",
        "dnt",
        "origin",
        "pragma",
        "priority",
        "range",
        "referer",
        "user-agent",
        "viewport-width",
        "width",
        "save-data",
        "dpr",
    ];
    header.starts_with("sec-") || header.starts_with("proxy-") || safelisted.contains(&header)
}

#[cfg(test)]
mod tests {
    use crate::config::{self, Config, Loaded, Severity, Sources, Whereto, print};

    const BASE: &str =
        "credentials:\n  agent: {client_id: x, client_secret: a-long-enough-secret, scopes: a}\n";

    fn load(more: &str) -> Result<Loaded, Vec<String>> {
        config::load(Sources::yaml(&format!("{BASE}{more}"))).map_err(|problems| {
            let told = |p: &config::Problem| format!("{} | {}", p.path, p.text);
            problems.iter().map(told).collect()
        })
    }

    fn good(more: &str) -> Config {
        load(more)
            .unwrap_or_else(|problems| panic!("{problems:#?}"))
            .config
    }

    #[test]
    fn what_is_not_said_is_what_is_meant() {
        let config = good("authorities: [{}]\nurl_discovery: {}\ntoken_requests: {}\n");
        let [authority] = config.own.authorities.as_slice() else {
            panic!("one authority");
        };
        assert_eq!(&*authority.credential.name, "agent");
        assert_eq!(authority.prefix, "/authority");
        assert_eq!(authority.min_remaining.as_secs(), 900);
        let shim = config.own.url_discovery.as_ref().unwrap();
        assert_eq!(shim.path, "/WebService");
        assert_eq!(shim.urls["imsopenid"].anywhere, Some(Whereto::Authority));
        let here = Some(Whereto::Here("/imodelhub".into()));
        assert_eq!(shim.urls["imodelhubapi"].anywhere, here);
        let requests = config.own.token_requests.as_ref().unwrap();
        assert_eq!(requests.header, "x-itwin-token-request");
        assert_eq!(requests.credentials.len(), 1);
        // and written out it is the same
        let written = print::yaml(&config).replace("(set)", "a-long-enough-secret");
        let again = config::load(Sources::yaml(&written));
        let again = again.unwrap_or_else(|problems| panic!("{written}\n{problems}"));
        assert_eq!(print::yaml(&again.config), print::yaml(&config));
    }

    #[test]
    fn urls_differ_by_region_and_replace_the_defaults() {
        let config = good(
            "url_discovery:\n  urls:\n    IMODELHUBAPI: {url: https://p.example/hub/, regions: {102: /qa}}\n    x.y: https://x.example\n",
        );
        let urls = &config.own.url_discovery.as_ref().unwrap().urls;
        let hub = &urls["imodelhubapi"];
        assert_eq!(hub.regions[&102], Whereto::Here("/qa".into()));
        assert!(matches!(&hub.anywhere, Some(Whereto::Url(url)) if url.path() == "/hub/"));
        assert!(urls.contains_key("x.y") && urls.contains_key("realitydataservices"));
        let place = "authorities: [{}]\nurl_discovery: {hosts: buddi.bentley.com}\n";
        let urls = &good(place).own.url_discovery.unwrap().urls;
        let at = |key: &str| match &urls[key].anywhere {
            Some(Whereto::Url(url)) => url.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(at("imodelhubapi"), "https://api.bentley.com/imodelhub");
        assert_eq!(at("imsopenid"), "https://ims.bentley.com/");
        let urls = &config.own.url_discovery.as_ref().unwrap().urls;
        // there is no authority to send anybody to
        assert!(!urls.contains_key("imsopenid"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let two = "  other: {client_id: y, client_secret: a-long-enough-secret}\nroutes: [{upstream: 'http://127.0.0.1:1'}]\n";
        for (written, expected) in [
            (
                "authorities: [{credential: nobody}]\n",
                "authorities[0].credential | no credential is called 'nobody'",
            ),
            (
                "authorities: [{provider: bentley-qa}]\n",
                "authorities[0].provider | the credential agent gets its tokens from bentley",
            ),
            (
                "authorities: [{path: /a/../b}]\n",
                "authorities[0].path | '/a/../b' is not a plain path",
            ),
            (
                "authorities: [{}, {}]\n",
                "authorities[1] | another authority has the same place",
            ),
            (
                "authorities: [{admit: {bearer: {audiences: x}}}]\n",
                "authorities[0].admit | a caller's own token is not asked for here",
            ),
            (
                "listeners: ['0.0.0.0:1']\nroutes: []\ntoken_requests: {}\n",
                "token_requests.admit | admits nobody: every listener can be reached by others than this machine",
            ),
            (
                "token_requests: {header: Accept}\n",
                "token_requests.header | a page in a browser may send accept without asking",
            ),
            (
                "token_requests: {path: /}\n",
                "token_requests.path | is the root of everything",
            ),
            (
                "url_discovery: {urls: {x: {regions: {qa: https://x}}}}\n",
                "url_discovery.urls.x.regions.qa | 'qa' is not the number of a region",
            ),
            (
                "url_discovery: {urls: {a: https://x, A: https://y}}\n",
                "url_discovery.urls.a | is there in another spelling as well",
            ),
            (
                "listeners: [{bind: '127.0.0.1:1', mode: decide, gateway: nginx}]\nauthorities: [{}]\n",
                "authorities[0] | has no effect: every listener only decides",
            ),
            (
                &format!("{two}token_requests: {{}}\n"),
                "token_requests.credentials | must be given: there is not one credential only",
            ),
        ] {
            let problems = load(written).err().unwrap_or_default();
            assert!(
                problems.iter().any(|one| one == expected),
                "{written}{problems:#?}"
            );
        }
    }

    #[test]
    fn a_token_that_leaves_this_machine_is_worth_a_warning() {
        let warnings = |more: &str| {
            let loaded = load(more).unwrap_or_else(|problems| panic!("{problems:#?}"));
            let all = loaded.warnings;
            let all = all.iter().filter(|one| one.severity == Severity::Warning);
            all.map(|one| one.path.clone()).collect::<Vec<_>>()
        };
        let wide = "listeners: ['0.0.0.0:1']\nroutes: []\n";
        let admit = "admit: {networks: 10.0.0.0/8}";
        let authority = format!("{wide}authorities: [{{{admit}}}]\n");
        assert_eq!(warnings(&authority), ["authorities[0].admit"]);
        let shim = format!("{wide}url_discovery: {{{admit}}}\n");
        assert_eq!(warnings(&shim), [""; 0]);
        let local = format!("routes: []\ntoken_requests: {{{admit}}}\n");
        assert_eq!(warnings(&local), [""; 0]);
        // who takes the provider's place gets its sign-in pages as well
        let place = "authorities: [{path: /, hosts: ims.bentley.com}]\n";
        assert_eq!(warnings(place), ["authorities[0].hosts"]);
        let rest = "routes: [{hosts: ims.bentley.com, upstream: 'https://ims.bentley.com'}]\n";
        assert_eq!(warnings(&format!("{place}{rest}")), [""; 0]);
    }
}
