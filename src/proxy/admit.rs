//! Whether the route's rules admit the caller, and who the caller then is.
//!
//! A route without rules is for this machine: whoever can open a loopback port. A web page in a
//! browser on this machine can do that, too, so such a route also asks that the request names a
//! host of this machine and does not come from another site (DNS rebinding, cross-site requests).

mod key;

use std::{net::IpAddr, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, ORIGIN, REFERER},
};

pub use self::key::{Key, Shown};
use super::{
    bearer::{self, Bearer, Denied, Known, Tokens},
    bound::{self, Called},
    failure::{Failure, Host, Wants},
    person::{self, Challenged},
    target::Target,
};
use crate::{
    caller::{Caller, Vouched},
    config::AdmitRule,
    http::survey::{Field, Survey},
    net::{Conn, Names, Peer, Reach},
    session::{Present, Realm, Wanted, Who},
    verify::{KeyService, Verified},
};

/// A route's `admit`, prepared.
#[derive(Debug, Clone)]
pub enum Gate {
    /// Callers on this machine, asking for one of these hosts or for this machine.
    Local {
        hosts: Vec<String>,
    },
    Anyone,
    /// A browser has its machine's address, user and certificate; only a key or a token must have
    /// been given to a page, so nothing else admits one of another site.
    Rules {
        rules: Vec<Rule>,
        hosts: Vec<String>,
        /// Where people sign in whom none of the others admits.
        realm: Option<Realm>,
    },
}

#[derive(Debug, Clone)]
pub enum Rule {
    Networks(Vec<ipnet::IpNet>),
    Key(Arc<Key>),
    Certificate(Vec<String>),
    Uids(Vec<u32>),
    Bearer(Bearer),
}

/// A caller whom the route's rules admit. Made here only.
#[derive(Debug)]
pub struct Admission {
    caller: Caller,
    verified: Option<Arc<Verified>>,
    /// What the caller's next proof must carry (RFC 9449 section 8.2), where it would not know.
    nonce: Option<HeaderValue>,
    /// Who is signed in, if that is how the caller is known.
    present: Option<Present>,
}

/// An admission, taken apart.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) caller: Caller,
    /// The token that the caller is known by.
    pub(super) verified: Option<Arc<Verified>>,
    pub(super) nonce: Option<HeaderValue>,
    pub(super) present: Option<Present>,
}

impl Admission {
    fn of(caller: Caller) -> Self {
        Self {
            caller,
            verified: None,
            nonce: None,
            present: None,
        }
    }

    pub(super) fn into_parts(self) -> Admitted {
        let Self {
            caller,
            verified,
            nonce,
            present,
        } = self;
        Admitted {
            caller,
            verified,
            nonce,
            present,
        }
    }

    #[cfg(test)]
    fn into_caller(self) -> Caller {
        self.caller
    }
}

impl From<Known> for Admission {
    fn from(known: Known) -> Self {
        match known {
            Known::Stranger => Self::of(Caller::Stranger),
            Known::Holder { verified, nonce } => Self {
                caller: Caller::Bearer(Arc::clone(&verified.claims.holder)),
                verified: Some(verified),
                nonce,
                present: None,
            },
        }
    }
}

impl Gate {
    /// # Errors
    /// When no rule admits the caller.
    pub fn admit(
        &self,
        route: &str,
        target: &Target<'_>,
        headers: &HeaderMap,
        from: Site,
        tokens: &Tokens<'_>,
    ) -> Result<Admission, Denied> {
        let Called { conn, guest, .. } = tokens.called;
        let caller = match (self, guest) {
            (Self::Anyone, None) => Some(local_or_network(conn)),
            (Self::Anyone, Some(guest)) => Some(guest.caller.clone()),
            (Self::Local { .. }, Some(guest)) => {
                let inside = guest.vouched == Vouched::Yes && from != Site::Another;
                inside.then(|| guest.caller.clone())
            }
            (Self::Local { hosts }, None) => {
                let inside = !conn.mode.decides()
                    && conn.local == Reach::ThisMachine
                    && from != Site::Another;
                if inside && !is_called(&target.host, hosts) {
                    return Err(Denied::For(Failure::NotAdmitted {
                        route: route.to_owned(),
                        wants: Wants::ThisMachine(Host::new(&target.host)),
                    }));
                }
                inside.then_some(Caller::Local)
            }
            (Self::Rules { rules, hosts, .. }, _) => {
                let rebound = guest.is_none() && is_rebound(conn, target, hosts, from);
                let page = from == Site::Another || rebound;
                let mut open = rules
                    .iter()
                    .filter(|rule| !page || rule.is_its_own_to_show());
                let caller = open.find_map(|rule| rule.admits(headers, conn));
                let but_for_its_name = || {
                    let mut all = rules.iter();
                    from != Site::Another
                        && self.bearers().next().is_none()
                        && all.any(|rule| rule.admits(headers, conn).is_some())
                };
                if rebound && caller.is_none() && but_for_its_name() {
                    return Err(Denied::For(Failure::NotAdmitted {
                        route: route.to_owned(),
                        wants: Wants::KnownName(Host::new(&target.host)),
                    }));
                }
                caller
            }
        };
        let mut bearers = self.bearers().peekable();
        // a gateway that asks cannot pass on what a browser has to be told
        let realm = self
            .realm()
            .filter(|_| caller.is_none() && !conn.mode.decides());
        if let Some(realm) = realm
            && !(bearers.peek().is_some() && headers.contains_key(AUTHORIZATION))
        {
            return signed_in(realm, headers, tokens);
        }
        if let Some(caller) = caller {
            // nobody has checked it, and behind such a route it is taken for checked
            if bearers.peek().is_some() && bearer::is_in_query(tokens.query) {
                return Err(bearer::in_query(route, tokens).into());
            }
            return Ok(Admission::of(caller));
        }
        if bearers.peek().is_some() {
            return bearer::admit(&bearers, route, headers, tokens).map(Admission::from);
        }
        Err(Denied::For(Failure::NotAdmitted {
            route: route.to_owned(),
            wants: self.wants(),
        }))
    }

    /// Where people sign in whom it admits.
    fn realm(&self) -> Option<&Realm> {
        match self {
            Self::Rules { realm, .. } => realm.as_ref(),
            Self::Local { .. } | Self::Anyone => None,
        }
    }

    /// Whether it looks at callers' tokens.
    pub fn asks_for_tokens(&self) -> bool {
        self.bearers().next().is_some()
    }

    fn bearers(&self) -> impl Iterator<Item = &Bearer> + Clone {
        let rules = match self {
            Self::Rules { rules, .. } => rules.as_slice(),
            Self::Local { .. } | Self::Anyone => &[],
        };
        rules.iter().filter_map(|rule| match rule {
            Rule::Bearer(bearer) => Some(bearer),
            _ => None,
        })
    }

    fn wants(&self) -> Wants {
        match self {
            Self::Rules { rules, .. } if rules.iter().any(|rule| matches!(rule, Rule::Key(_))) => {
                Wants::Key
            }
            _ => Wants::Another,
        }
    }

    /// Keys whose files are read again now and then.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        let rules = match self {
            Self::Rules { rules, .. } => rules.as_slice(),
            Self::Local { .. } | Self::Anyone => &[],
        };
        rules.iter().filter_map(Rule::key)
    }
}

/// A person whose cookie is good, and whose request no page of another site made.
fn signed_in(realm: &Realm, headers: &HeaderMap, tokens: &Tokens<'_>) -> Result<Admission, Denied> {
    let challenged = |wanted| {
        Err(Denied::Challenged(Box::new(Challenged {
            realm: realm.clone(),
            wanted,
        })))
    };
    if realm.is_preflight(tokens.method, headers) {
        return challenged(Wanted::Preflight);
    }
    match realm.who(headers, tokens.now) {
        Who::Nobody(trace) => challenged(Wanted::SignIn(trace)),
        Who::Person(_) if !realm.allows(tokens.method, headers) => challenged(Wanted::SameSite),
        Who::Person(present) if present.wants_renewal(tokens.method, headers, tokens.now) => {
            challenged(Wanted::Renewal(present.id()))
        }
        Who::Person(present) => Ok(Admission {
            present: Some(present.clone()),
            ..Admission::of(person::caller(&present))
        }),
    }
}

impl Rule {
    pub fn new(rule: &AdmitRule, keys: &KeyService) -> Option<Self> {
        Some(match rule {
            AdmitRule::Networks(networks) => Self::Networks(networks.clone()),
            AdmitRule::Key(key) => {
                // checked when the configuration was read
                let header = HeaderName::from_bytes(key.header.as_bytes()).ok()?;
                Self::Key(Arc::new(Key::new(
                    key.name.clone(),
                    Shown::In(header),
                    key.secret.clone(),
                )))
            }
            AdmitRule::ProxyUser(user) => Self::Key(Arc::new(Key::new(
                user.name.clone(),
                Shown::AsProxyUser,
                user.password.clone(),
            ))),
            AdmitRule::Bearer { provider, rules } => Self::Bearer(Bearer {
                issuer: keys.issuer(provider),
                rules: Arc::clone(rules),
                algorithms: bound::algorithms(rules),
            }),
            // asked for by the gate
            AdmitRule::Session(_) => return None,
            AdmitRule::Certificate { names } => Self::Certificate(names.iter().cloned().collect()),
            AdmitRule::Uids(uids) => Self::Uids(uids.iter().copied().collect()),
        })
    }

    pub(super) fn key(&self) -> Option<&Arc<Key>> {
        match self {
            Self::Key(key) => Some(key),
            _ => None,
        }
    }

    /// Whom it admits; `None`: not this caller. Tokens are asked for when nothing else admits.
    pub(super) fn admits(&self, headers: &HeaderMap, conn: &Conn) -> Option<Caller> {
        if conn.mode.decides() && !self.is_its_own_to_show() {
            // the connection is the gateway's, not the caller's
            return None;
        }
        match (self, conn.peer) {
            (Self::Networks(networks), Peer::Tcp(peer)) => {
                let address = peer.ip().to_canonical();
                let inside = networks.iter().any(|network| network.contains(&address));
                inside.then_some(Caller::Network(address))
            }
            (Self::Key(key), _) => key.opens(headers).then(|| key.caller()),
            (Self::Certificate(wanted), _) => {
                let Names::Vouched(names) = &conn.security.certificate()?.names else {
                    return None;
                };
                let name = if wanted.is_empty() {
                    names.first()
                } else {
                    names.iter().find(|name| wanted.contains(name))
                };
                name.map(|name| Caller::Certificate(name.as_str().into()))
            }
            (Self::Uids(uids), Peer::Unix { uid: Some(uid) }) => {
                uids.contains(&uid).then_some(Caller::Uid(uid))
            }
            // tokens are asked for when nothing else admits
            (Self::Networks(_) | Self::Uids(_) | Self::Bearer(_), _) => None,
        }
    }

    /// A page must have been given it; the browser does not add it by itself.
    fn is_its_own_to_show(&self) -> bool {
        matches!(self, Self::Key(_) | Self::Bearer(_))
    }
}

fn local_or_network(conn: &Conn) -> Caller {
    if conn.mode.decides() {
        return Caller::Stranger; // it is not the one on the other end
    }
    match (conn.local, conn.peer) {
        (Reach::Others, Peer::Tcp(peer)) => Caller::Network(peer.ip().to_canonical()),
        _ => Caller::Local,
    }
}

/// Who may be a page whose name was pointed here: a caller on this machine that names another host,
/// or a page anywhere whose host is one that everybody can have in the DNS.
fn is_rebound(conn: &Conn, target: &Target<'_>, hosts: &[String], from: Site) -> bool {
    let host = &*target.host;
    let foreign = match conn.peer {
        _ if conn.mode.decides() => false,
        Peer::Tcp(peer) if peer.ip().to_canonical().is_loopback() => !is_this_machine(host),
        // a browser wants a certificate for the name
        Peer::Tcp(_) => from == Site::Claimed && !conn.security.is_tls() && is_public_name(host),
        Peer::Unix { .. } => false,
    };
    let named = |pattern: &String| match pattern.strip_prefix('*') {
        Some(below) => host.len() > below.len() && host.ends_with(below),
        None => pattern == host,
    };
    foreign && !hosts.iter().any(named)
}

/// Whether anybody could have a name like this and point it where they like. Names of one label are
/// those of containers and of a network of one's own, and so are these domains.
fn is_public_name(host: &str) -> bool {
    const PRIVATE: [&str; 4] = [".localhost", ".local", ".internal", ".svc"];
    host.contains('.')
        && host.parse::<IpAddr>().is_err()
        && !PRIVATE.iter().any(|domain| host.ends_with(domain))
}

/// Whether this is a name that no page of a browser on this machine can have: the machine's own, or one of
/// a route's.
pub(super) fn is_called(host: &str, hosts: &[String]) -> bool {
    is_this_machine(host) || hosts.iter().any(|its| its == host)
}

fn is_this_machine(host: &str) -> bool {
    // the two that nearly everybody says, without parsing
    host == "127.0.0.1"
        || host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Where a browser says that a request comes from; other programs say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// From here, or from no page at all.
    Same,
    /// From a page of the name that it names us by, whoever made that name lead here. What hands out
    /// tokens takes everybody for one: pages need not say that they are.
    Claimed,
    Another,
}

impl Site {
    pub fn of(target: &Target<'_>, headers: &HeaderMap, survey: Survey) -> Self {
        if survey.has(Field::Site) {
            Self::said(target, headers)
        } else {
            Self::Same
        }
    }

    fn said(target: &Target<'_>, headers: &HeaderMap) -> Self {
        let says = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
        let fetched = says("sec-fetch-site");
        if fetched.is_some_and(|site| site != b"same-origin" && site != b"none") {
            return Self::Another;
        }
        let origin = says(ORIGIN.as_str());
        if origin.is_some_and(|origin| !is_of(origin, target)) {
            return Self::Another;
        }
        if fetched.is_some() {
            // said only by pages that came over TLS, or from the browser's own machine
            return Self::Same;
        }
        match (origin, says(REFERER.as_str())) {
            (None, Some(page)) if page.starts_with(b"http") && !is_of(page, target) => {
                Self::Another
            }
            (Some(_), _) | (None, Some(_)) => Self::Claimed,
            (None, None) => Self::Same,
        }
    }
}

/// Whether an origin, or the URL of a page, is of the authority that a request is for. The port of
/// its scheme may be left out on either side.
fn is_of(url: &[u8], target: &Target<'_>) -> bool {
    let url = std::str::from_utf8(url).ok();
    let Some((scheme, rest)) = url.and_then(|url| url.split_once("://")) else {
        return false;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let default = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    let from = rest[..end].strip_suffix(default);
    let to = target.authority.strip_suffix(default);
    let (from, to) = (from.unwrap_or(&rest[..end]), to.unwrap_or(target.authority));
    from.eq_ignore_ascii_case(to)
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, num::NonZeroUsize, sync::LazyLock};

    use http::HeaderValue;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{
        clock::Clock,
        config::SecretSource,
        net::share::{Share, Spread},
        verify::{Proofs, Revoked, Verifier, Waited},
    };
    use crate::{config::SecretPair, secret::Secret};

    fn conn(peer: &str, local: Reach) -> Conn {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let mut threads = Share::of_threads(NonZeroUsize::MIN, Spread::ByUs);
        let (_, counted) = threads[0].take(|| unreachable!("there is one thread"));
        Conn {
            peer: Peer::Tcp(peer.parse().unwrap()),
            local,
            mode: crate::config::Mode::Reverse,
            listener: 0,
            end: None,
            inside: None,
            security: crate::net::Security::Plain,
            place: Arc::new(crate::net::Held::new(
                permit,
                counted,
                crate::shutdown::Shutdown::new(),
            )),
        }
    }

    fn target(authority: &'static str, host: &'static str) -> Target<'static> {
        Target {
            authority,
            host: Cow::Borrowed(host),
            path: Cow::Borrowed("/"),
        }
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect()
    }

    static REVOKED: LazyLock<Revoked> = LazyLock::new(Revoked::default);
    static NOTHING: LazyLock<Waited> = LazyLock::new(Waited::default);

    /// For gates that ask for no token.
    fn none() -> Verifier {
        let proofs = Proofs::new(&[7; 32], std::time::Duration::ZERO, Clock::system().now());
        Verifier::new(
            &[7; 32],
            Arc::new(proofs),
            crate::metrics::CacheMetrics::default(),
        )
        .unwrap()
    }

    static ROOT: LazyLock<http::Uri> = LazyLock::new(http::Uri::default);

    fn tokens<'p>(verifier: &'p Verifier, conn: &'p Conn) -> Tokens<'p> {
        Tokens {
            verifier,
            called: Called {
                conn,
                guest: None,
                authority: "",
                uri: &ROOT,
                trusted_proxies: &[],
                resource: None,
            },
            now: Clock::system().now(),
            method: &http::Method::GET,
            query: None,
            waited: &NOTHING,
            revoked: &REVOKED,
            metadata: None,
        }
    }

    #[test]
    fn a_web_page_cannot_use_a_local_route() {
        let gate = Gate::Local {
            hosts: vec!["api.test".into()],
        };
        let here = conn("127.0.0.1:5", Reach::ThisMachine);
        let admits = |target: &Target<'_>, fields: &[(&'static str, &'static str)]| {
            let headers = headers(fields);
            let from = Site::of(target, &headers, Survey::of(&headers));
            gate.admit("r", target, &headers, from, &tokens(&none(), &here))
                .is_ok()
        };
        let local = target("127.0.0.1:8080", "127.0.0.1");
        assert!(admits(&local, &[]));
        assert!(admits(&target("localhost:8080", "localhost"), &[]));
        assert!(admits(&target("api.test", "api.test"), &[]));
        assert!(admits(&local, &[("origin", "http://127.0.0.1:8080")]));
        assert!(
            !admits(&target("evil.test:8080", "evil.test"), &[]),
            "DNS rebinding"
        );
        assert!(!admits(&local, &[("origin", "https://evil.test")]));
        assert!(!admits(&local, &[("origin", "null")]));
        assert!(!admits(&local, &[("sec-fetch-site", "cross-site")]));
        assert!(!admits(&local, &[("referer", "https://evil.test/page")]));
        for (authority, origin) in [
            ("api.test:443", "https://api.test"),
            ("api.test:80", "http://api.test"),
            ("api.test", "https://api.test:443"),
        ] {
            let target = target(authority, "api.test");
            assert!(admits(&target, &[("origin", origin)]), "{authority}");
            let page = format!("{origin}/page").leak();
            assert!(admits(&target, &[("referer", page)]), "{authority}");
        }
        let other = target("api.test:80", "api.test");
        assert!(!admits(&other, &[("origin", "https://api.test")]));
        let elsewhere = conn("10.0.0.9:5", Reach::Others);
        assert!(
            gate.admit(
                "r",
                &local,
                &HeaderMap::new(),
                Site::Same,
                &tokens(&none(), &elsewhere)
            )
            .is_err()
        );
    }

    #[test]
    fn rules_name_the_caller_they_admit() {
        let secret = |text: &str| SecretSource::Value {
            secret: Secret::new(text),
            variable: None,
        };
        let pair = SecretPair {
            current: secret("new"),
            previous: Some(secret("old")),
        };
        let key = Key::new(
            "ci".into(),
            Shown::In(HeaderName::from_static("x-proxy-key")),
            pair,
        );
        let gate = Gate::Rules {
            realm: None,
            hosts: Vec::new(),
            rules: vec![
                Rule::Networks(vec!["10.1.0.0/16".parse().unwrap()]),
                Rule::Key(Arc::new(key)),
            ],
        };
        let admit = |peer: &str, fields: &[(&'static str, &'static str)]| {
            let conn = conn(peer, Reach::Others);
            let (target, headers) = (target("x", "x"), headers(fields));
            let from = Site::of(&target, &headers, Survey::of(&headers));
            gate.admit("r", &target, &headers, from, &tokens(&none(), &conn))
                .map(Admission::into_caller)
                .map_err(|denied| match denied {
                    Denied::For(failure) => failure.status().as_u16(),
                    Denied::Until(_) | Denied::Challenged(_) => 0,
                })
        };
        let inside: IpAddr = "10.1.2.3".parse().unwrap();
        assert_eq!(admit("10.1.2.3:9", &[]), Ok(Caller::Network(inside)));
        assert_eq!(
            admit("[::ffff:10.1.2.3]:9", &[]),
            Ok(Caller::Network(inside))
        );
        for key in ["new", "old"] {
            let caller = admit("10.2.2.3:9", &[("x-proxy-key", key)]);
            assert_eq!(caller, Ok(Caller::Key("ci".into())), "{key}");
        }
        assert_eq!(admit("10.2.2.3:9", &[("x-proxy-key", "bad")]), Err(401));
        assert_eq!(admit("10.2.2.3:9", &[]), Err(401));

        // a page of another site in a browser inside the network
        let page = ("sec-fetch-site", "cross-site");
        assert_eq!(admit("10.1.2.3:9", &[page]), Err(401));
        let keyed = admit("10.1.2.3:9", &[page, ("x-proxy-key", "new")]);
        assert_eq!(keyed, Ok(Caller::Key("ci".into())));
    }

    #[test]
    fn a_page_whose_name_was_pointed_here_has_its_browsers_address_for_nothing() {
        let gate = Gate::Rules {
            realm: None,
            hosts: vec!["proxy.corp.test".into(), "*.apps.test".into()],
            rules: vec![Rule::Networks(vec!["10.0.0.0/8".parse().unwrap()])],
        };
        let there = conn("10.0.0.9:5", Reach::Others);
        let admits = |authority: &'static str, from: &dyn Fn(&Target<'_>) -> Site| {
            let host = Cow::Borrowed(authority.strip_suffix(":9612").unwrap_or(authority));
            let target = Target {
                host,
                ..target(authority, "")
            };
            let admitted = gate.admit(
                "r",
                &target,
                &HeaderMap::new(),
                from(&target),
                &tokens(&none(), &there),
            );
            admitted.map(|_| ()).map_err(|denied| match denied {
                Denied::For(failure) => failure.to_string(),
                Denied::Until(_) | Denied::Challenged(_) => String::new(),
            })
        };
        let said = |fields: &[(&'static str, &'static str)]| {
            let headers = headers(fields);
            move |target: &Target<'_>| Site::of(target, &headers, Survey::of(&headers))
        };
        let program = said(&[]);
        let origin = said(&[("origin", "http://evil.test:9612")]);
        let link = said(&[("referer", "http://evil.test:9612/page")]);
        let over_tls = said(&[
            ("origin", "http://evil.test:9612"),
            ("sec-fetch-site", "same-origin"),
        ]);
        assert!(admits("evil.test:9612", &program).is_ok());
        assert!(admits("evil.test:9612", &over_tls).is_ok());
        for page in [&origin as &dyn Fn(&Target<'_>) -> Site, &link] {
            let refused = admits("evil.test:9612", page).unwrap_err();
            assert!(refused.contains("host"), "{refused}");
        }
        // what hands out tokens is asked as though by pages
        let page = |_: &Target<'_>| Site::Claimed;
        for refused in ["evil.test:9612", "proxy.tools:9612", "apps.test"] {
            assert!(admits(refused, &page).is_err(), "{refused}");
        }
        for known in [
            "10.0.0.5:9612",
            "localhost:9612",
            "proxy:9612",
            "proxy.tools.svc:9612",
            "proxy.tools.svc.cluster.local:9612",
            "host.docker.internal:9612",
            "proxy.corp.test:9612",
            "one.apps.test:9612",
        ] {
            assert!(admits(known, &page).is_ok(), "{known}");
        }
    }
}
