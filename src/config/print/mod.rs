//! The effective configuration as YAML, without secrets.
//!
//! It goes the way back: from values to what could have been written, so that what is shown is what
//! holds, defaults included, and can be read again. A secret that came from a file or a variable is
//! shown as that; one that was written in the file itself as `(set)`, which is refused when read.

mod bearer;
pub mod block;
mod clients;
mod identity;
mod own;
mod session;
mod telemetry;

use std::{path::Path, time::Duration};

use self::block::block;
pub use self::block::scalar;
use self::clients::{credential, provider};
use super::{
    ActsFor, Admit, AdmitRule, AuditStream, Bind, ClientCertificates, ClientTls, Config, Forwarded,
    Gateway, Identity, Inject, Interception, Limits, LinkRewriting, Listener, LogFormat, Mode,
    PresentedAuthorization, ProxyUser, RedirectedBy, Revocation, Route, ScopeSet, SecretSource,
    ServerTls, SharedKey, Upstream, UpstreamProtocol,
    raw::{self, SecretText, Texts, Words},
    valid::format_size,
};
use crate::{
    audit::{Every, Target},
    handbook::Help,
    secret::Secret,
};

/// The whole configuration.
pub fn yaml(config: &Config) -> String {
    let mut out = String::new();
    block(&value(config), 0, &mut out);
    out
}

/// The same, to be compared.
pub fn value(config: &Config) -> serde_json::Value {
    serde_json::to_value(raw(config)).unwrap_or_default()
}

fn raw(config: &Config) -> raw::Raw {
    let admin_key = config.admin_key.as_ref().map(forms).unwrap_or_default();
    raw::Raw {
        providers: config
            .providers
            .iter()
            .map(|(name, one)| (name.to_string(), provider(one)))
            .collect(),
        credentials: config
            .credentials
            .iter()
            .map(|(name, one)| (name.to_string(), credential(one)))
            .collect(),
        sessions: config
            .sessions
            .iter()
            .map(|(name, one)| (name.to_string(), session::session(one)))
            .collect(),
        listeners: config.listeners.iter().map(|one| listener(one)).collect(),
        routes: config.routes.iter().map(|one| route(one)).collect(),
        authorities: config.own.authorities.iter().map(own::authority).collect(),
        url_discovery: config.own.url_discovery.as_ref().map(own::url_discovery),
        token_requests: config.own.token_requests.as_ref().map(own::token_requests),
        signing: config.signing.as_ref().map(identity::signing),
        limits: Some(limits(&config.limits)),
        admin: Some(raw::Admin {
            bind: Some(
                config
                    .admin
                    .map_or_else(|| "none".into(), |admin| admin.to_string()),
            ),
            allow_remote: config
                .admin
                .map(|admin| !admin.ip().is_loopback())
                .filter(|remote| *remote),
            allow_quit: Some(config.admin_allow_quit),
            socket: config.admin_socket.as_ref().map(|socket| raw::AdminSocket {
                path: Some(text(&socket.path)),
                mode: Some(format!("{:04o}", socket.mode)),
                uids: (!socket.uids.is_empty()).then(|| socket.uids.clone()),
            }),
            key: admin_key.0,
            key_file: admin_key.1,
            key_env: admin_key.2,
        }),
        reload: Some(raw::Reload {
            watch: Some(config.reload_watch),
        }),
        errors: match &config.help {
            Help::Program => None,
            Help::At(page) => Some(raw::Errors {
                help: Some(page.to_string()),
            }),
        },
        log: Some(raw::Log {
            level: Some(config.log.level.clone()),
            format: Some(match config.log.format {
                LogFormat::Auto => raw::LogFormat::Auto,
                LogFormat::Human => raw::LogFormat::Human,
                LogFormat::Json => raw::LogFormat::Json,
            }),
            requests: Some(config.log.requests),
        }),
        telemetry: config.telemetry.as_ref().map(telemetry::telemetry),
        audit: config.audit.as_ref().map(audit),
        token_store: config.token_store.as_ref().map(|store| {
            let (key, key_file, key_env) = forms(&store.key);
            raw::TokenStore {
                path: Some(text(&store.path)),
                key,
                key_file,
                key_env,
            }
        }),
        workers: config
            .workers
            .and_then(|workers| u32::try_from(workers.get()).ok()),
        handover_socket: config.handover_socket.as_deref().map(text),
        trusted_proxies: list(config.trusted_proxies.iter()),
        revocation: revocation(&config.revocation),
        interception: config.interception.as_ref().map(interception),
    }
}

fn audit(audit: &AuditStream) -> raw::Audit {
    let (key, key_file, key_env) = audit.key.as_ref().map(forms).unwrap_or_default();
    let (file, stream) = match &audit.target {
        Target::File(file) => (Some(text(file)), None),
        Target::Stdout => (None, Some(raw::Stream::Stdout)),
        Target::Stderr => (None, Some(raw::Stream::Stderr)),
    };
    raw::Audit {
        file,
        stream,
        key,
        key_file,
        key_env,
        every: Some(match audit.every {
            Every::Request => "request".into(),
            Every::Interval(interval) => duration(interval),
        }),
    }
}

fn revocation(revocation: &Revocation) -> Option<raw::Revocation> {
    let Revocation { file, logout } = revocation;
    (file.is_some() || logout.is_some()).then(|| raw::Revocation {
        file: file.as_deref().map(text),
        backchannel_logout: logout.as_ref().map(|logout| raw::BackchannelLogout {
            path: Some(logout.path.clone()),
            provider: Some(logout.provider.name.to_string()),
            clients: list(logout.clients.iter()),
            keep: Some(duration(logout.keep)),
        }),
    })
}

fn interception(interception: &Interception) -> raw::Interception {
    raw::Interception {
        certificate: Some(text(&interception.authority.certificate)),
        key: Some(text(&interception.authority.key)),
        hosts: list(interception.hosts.iter()),
        leaf_lifetime: Some(duration(interception.leaf_lifetime)),
    }
}

fn listener(listener: &Listener) -> raw::Listener {
    let socket_mode = match listener.bind {
        Bind::Unix { mode, .. } => Some(format!("{mode:04o}")),
        Bind::Tcp(_) => None,
    };
    let passage = listener.passage.as_ref();
    raw::Listener {
        bind: Some(listener.bind.to_string()),
        mode: Some(match listener.mode {
            Mode::Reverse => "reverse".into(),
            Mode::Forward => "forward".into(),
            Mode::Transparent(_) => "transparent".into(),
            Mode::Decide(_) => "decide".into(),
        }),
        admit: passage.map(|passage| admit(&passage.admit)),
        hosts: passage.map(|passage| Words(passage.hosts.clone())),
        ports: passage.map(|passage| passage.ports.iter().copied().collect()),
        networks: passage.and_then(|passage| list(passage.networks.iter())),
        name_servers: passage.and_then(|passage| list(passage.name_servers.iter())),
        pac: passage
            .filter(|_| listener.mode == Mode::Forward)
            .map(|passage| passage.pac.clone()),
        redirected_by: match listener.mode {
            Mode::Transparent(RedirectedBy::Nat) => Some(raw::RedirectedBy::Nat),
            Mode::Transparent(RedirectedBy::Tproxy) => Some(raw::RedirectedBy::Tproxy),
            _ => None,
        },
        gateway: match listener.mode {
            Mode::Reverse | Mode::Forward | Mode::Transparent(_) => None,
            Mode::Decide(Gateway::Nginx) => Some(raw::GatewayName::Nginx),
            Mode::Decide(Gateway::IngressNginx) => Some(raw::GatewayName::IngressNginx),
            Mode::Decide(Gateway::Traefik) => Some(raw::GatewayName::Traefik),
            Mode::Decide(Gateway::Envoy) => Some(raw::GatewayName::Envoy),
        },
        socket_mode,
        tls: listener.tls.as_ref().map(server_tls),
    }
}

fn server_tls(tls: &ServerTls) -> raw::ServerTls {
    let own = match tls {
        ServerTls::Minted => {
            return raw::ServerTls {
                minted: Some(true),
                ..raw::ServerTls::default()
            };
        }
        ServerTls::Own(own) => own,
    };
    let (mode, ca) = match &own.clients {
        ClientCertificates::None => (raw::ClientsMode::None, None),
        ClientCertificates::Optional { ca } => (raw::ClientsMode::Optional, Some(ca)),
        ClientCertificates::Required { ca } => (raw::ClientsMode::Required, Some(ca)),
        ClientCertificates::Any => (raw::ClientsMode::Any, None),
    };
    raw::ServerTls {
        certificate: Some(text(&own.identity.certificate)),
        key: Some(text(&own.identity.key)),
        client_ca: ca.map(|ca| text(ca)),
        client_certificates: Some(mode),
        minted: None,
    }
}

fn route(route: &Route) -> raw::Route {
    raw::Route {
        name: Some(route.name.to_string()),
        hosts: list(route.matches.hosts.iter()),
        path: Some(route.matches.path.to_string()),
        methods: list(route.matches.methods.iter()),
        admit: Some(admit(&route.admit)),
        resource: route.resource.as_ref().map(ToString::to_string),
        inject: route.inject.as_ref().map(inject),
        identity: route
            .identity
            .as_ref()
            .map(|identity| identity::written(identity, route.exchange.as_deref())),
        upstream: route.upstream.as_deref().map(upstream),
        links: Some(match &route.links {
            LinkRewriting::Off => raw::Links {
                rewrite: Some(false),
                public: None,
            },
            LinkRewriting::On { public } => raw::Links {
                rewrite: Some(true),
                public: public.as_ref().map(ToString::to_string),
            },
        }),
        refuse_login_pages: Some(route.refuse_login_pages),
        timeouts: Some(raw::Timeouts {
            response: Some(duration(route.timeouts.response)),
            idle: Some(duration(route.timeouts.idle)),
            total: Some(route.timeouts.total.map_or_else(|| "none".into(), duration)),
        }),
        replay: Some(raw::Replay {
            memory: Some(format_size(route.replay.memory_bytes)),
            total: Some(format_size(route.replay.total_bytes)),
        }),
    }
}

fn admit(admit: &Admit) -> raw::Admit {
    let rules = match admit {
        Admit::Local => return raw::Admit::Word(raw::AdmitWord::Local),
        Admit::Anyone => return raw::Admit::Word(raw::AdmitWord::Anyone),
        Admit::Rules(rules) => rules,
    };
    let rule = |rule: &AdmitRule| {
        let mut raw = raw::AdmitRule::default();
        match rule {
            AdmitRule::Networks(networks) => raw.networks = list(networks.iter()),
            AdmitRule::Key(key) => raw.key = Some(shared_key(key)),
            AdmitRule::Bearer { provider, rules } => {
                raw.bearer = Some(bearer::written(&provider.name, rules));
            }
            AdmitRule::Session(session) => raw.session = Some(session.name.to_string()),
            AdmitRule::Certificate { names } => {
                raw.certificate = Some(raw::CertificateRule {
                    names: list(names.iter()),
                });
            }
            AdmitRule::Uids(uids) => raw.uids = Some(uids.iter().copied().collect()),
            AdmitRule::ProxyUser(user) => raw.proxy_user = Some(proxy_user(user)),
        }
        raw
    };
    raw::Admit::Rules(rules.iter().map(rule).collect())
}

fn shared_key(key: &SharedKey) -> raw::KeyRule {
    let (secret, secret_file, secret_env) = forms(&key.secret.current);
    let previous = key.secret.previous.as_ref().map(forms).unwrap_or_default();
    raw::KeyRule {
        name: Some(key.name.to_string()),
        header: Some(key.header.clone()),
        secret,
        secret_file,
        secret_env,
        secret_previous: previous.0,
        secret_previous_file: previous.1,
        secret_previous_env: previous.2,
    }
}

fn proxy_user(user: &ProxyUser) -> raw::ProxyUser {
    let (password, password_file, password_env) = forms(&user.password.current);
    let previous = user.password.previous.as_ref();
    let previous = previous.map(forms).unwrap_or_default();
    raw::ProxyUser {
        name: Some(user.name.to_string()),
        password,
        password_file,
        password_env,
        password_previous: previous.0,
        password_previous_file: previous.1,
        password_previous_env: previous.2,
    }
}

fn inject(inject: &Inject) -> raw::Inject {
    let presented = |presented| {
        Some(match presented {
            PresentedAuthorization::Replace => raw::Presented::Replace,
            PresentedAuthorization::Keep => raw::Presented::Keep,
            PresentedAuthorization::Refuse => raw::Presented::Refuse,
        })
    };
    if inject.acts_for == ActsFor::Caller {
        return raw::Inject {
            credential: Some(inject.credential.name.to_string()),
            on_behalf_of: Some(raw::OnBehalfOf::Caller),
            scopes: Some(scopes(&inject.scopes)),
            wait: Some(duration(inject.wait)),
            ..raw::Inject::default()
        };
    }
    raw::Inject {
        credential: Some(inject.credential.name.to_string()),
        on_behalf_of: None,
        scopes: Some(scopes(&inject.scopes)),
        min_remaining: Some(duration(inject.min_remaining)),
        presented_bearer: presented(inject.presented_bearer),
        presented_other: presented(inject.presented_other),
        placeholders: Some(Words(inject.placeholders.iter().cloned().collect())),
        wait: Some(duration(inject.wait)),
    }
}

fn upstream(upstream: &Upstream) -> raw::Upstream {
    raw::Upstream {
        url: Some(upstream.origin.to_string()),
        protocol: Some(match upstream.protocol {
            UpstreamProtocol::Auto => raw::Protocol::Auto,
            UpstreamProtocol::Http1 => raw::Protocol::Http1,
            UpstreamProtocol::Http2 => raw::Protocol::Http2,
        }),
        tls: client_tls(&upstream.tls),
        connect_timeout: Some(duration(upstream.connect_timeout)),
        idle_timeout: Some(duration(upstream.idle_timeout)),
        idle_connections: count(upstream.idle_connections),
        preserve_host: Some(upstream.preserve_host),
        forwarded: Some(upstream.forwarded == Forwarded::Told),
    }
}

fn limits(limits: &Limits) -> raw::Limits {
    raw::Limits {
        header_size: Some(format_size(limits.header_bytes as u64)),
        header_count: count(limits.header_count),
        body_size: Some(
            limits
                .body_bytes
                .map_or_else(|| "unlimited".into(), format_size),
        ),
        connections: count(limits.connections),
        requests: count(limits.requests),
        header_timeout: Some(duration(limits.header_timeout)),
        idle_timeout: Some(duration(limits.idle_timeout)),
        http2_streams: Some(limits.http2_streams),
        drain_delay: Some(duration(limits.drain_delay)),
        drain_timeout: Some(duration(limits.drain_timeout)),
    }
}

fn client_tls(tls: &ClientTls) -> Option<raw::ClientTls> {
    (*tls != ClientTls::default()).then(|| raw::ClientTls {
        extra_ca: Some(Texts(tls.extra_ca.iter().map(|file| text(file)).collect()))
            .filter(|files| !files.0.is_empty()),
        identity: tls.identity.as_ref().map(identity),
        server_name: tls.server_name.clone(),
        addresses: list(tls.addresses.iter()),
        name_servers: list(tls.name_servers.iter()),
    })
}

fn identity(identity: &Identity) -> raw::Identity {
    raw::Identity {
        certificate: Some(text(&identity.certificate)),
        key: Some(text(&identity.key)),
    }
}

/// A secret in its three forms: written, file, variable.
fn forms(source: &SecretSource) -> (Option<SecretText>, Option<String>, Option<String>) {
    match source {
        SecretSource::File(path) => (None, Some(text(path)), None),
        SecretSource::Value {
            variable: Some(name),
            ..
        } => (None, None, Some(name.clone())),
        // what is put in here is shown as "(set)", whatever it is
        SecretSource::Value { variable: None, .. } => {
            (Some(SecretText(Secret::new(""))), None, None)
        }
    }
}

fn scopes(scopes: &ScopeSet) -> Words {
    Words(scopes.iter().map(str::to_owned).collect())
}

fn list<T: ToString>(items: impl Iterator<Item = T>) -> Option<Words> {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    (!items.is_empty()).then_some(Words(items))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn count(number: usize) -> Option<u32> {
    u32::try_from(number).ok()
}
