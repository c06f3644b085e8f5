//! The token service as its users see it: handles on one side, a provider on the other. Time is
//! tokio's paused clock; the provider is a script, or a socket on loopback (`providers`).

mod assertions;
mod failures;
mod flights;
mod life;
mod people;
mod providers;
mod rejected;
mod restart;
mod shown;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::{BoxFuture, FutureExt};
use http::HeaderValue;
use parking_lot::Mutex;
use rand::SeedableRng;

use super::{
    cell::Class,
    source::{Failure, Fingerprint, Granted, INVALID_GRANT, SecretInUse, Shown},
    *,
};
use crate::{
    config::{
        ClientAuth, ClientTls, Endpoints, Grant, JwtSource, Name, Provider, ProviderKeys,
        ProviderTimeouts, RefreshSource, SecretPair, SecretSource,
    },
    secret::Secret,
    trace::Tracer,
};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
/// What requests are configured to wait.
pub(super) const WAIT: Duration = Duration::from_secs(20);
pub(super) const ANY: Duration = Duration::ZERO;

pub(super) fn credential() -> Credential {
    Credential {
        name: "agent".into(),
        provider: Arc::new(Provider {
            name: "bentley".into(),
            issuer: "https://ims.example".parse().unwrap(),
            endpoints: Endpoints::Discover { also: Vec::new() },
            tls: ClientTls::default(),
            timeouts: ProviderTimeouts {
                connect: Duration::from_secs(5),
                total: Duration::from_secs(10),
            },
            keys: ProviderKeys::default(),
            introspection: None,
        }),
        client_id: "service-1".into(),
        auth: ClientAuth::Basic(SecretPair {
            current: value("s3cret"),
            previous: None,
        }),
        grant: Grant::ClientCredentials,
        scopes: ScopeSet::new(["itwin-platform"]),
        extra: BTreeMap::new(),
    }
}

pub(super) fn value(secret: &str) -> SecretSource {
    SecretSource::Value {
        secret: Secret::new(secret),
        variable: None,
    }
}

/// A credential whose assertion is the token of `other`.
pub(super) fn showing(name: &str, other: &Arc<Credential>) -> Arc<Credential> {
    let mut credential = credential();
    credential.name = name.into();
    credential.grant = Grant::JwtBearer {
        assertion: JwtSource::Credential(Arc::clone(other)),
    };
    Arc::new(credential)
}

/// What the provider does with one request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Token(Duration),
    Fail(Class),
    /// The grant.
    Refuse,
    Busy(Duration),
    Hang,
    Panic,
}

type Rule = Box<dyn FnMut(Moment) -> Answer + Send>;

/// A provider that follows a rule; every answer takes 20 ms.
pub(super) struct Script {
    clock: Clock,
    rule: Mutex<Rule>,
    pub(super) fetches: AtomicUsize,
    /// The credential of each, and the token that it showed.
    pub(super) shown: Mutex<Vec<(Name, Option<String>)>>,
    pub(super) at_once: AtomicUsize,
    pub(super) most_at_once: AtomicUsize,
    pub(super) fingerprint: Mutex<Fingerprint>,
    pub(super) missing: Mutex<ScopeSet>,
    pub(super) secret: Mutex<SecretInUse>,
    /// What comes with a token: the number of the fetch is put behind it.
    pub(super) rotated: Mutex<Option<&'static str>>,
}

impl Source for Arc<Script> {
    fn fetch(
        &self,
        credential: Arc<Credential>,
        _: ScopeSet,
        shown: Shown,
    ) -> BoxFuture<'static, Result<Granted, Failure>> {
        let script = self.clone();
        let shown = match shown {
            Shown::Nothing => None,
            Shown::Token(token) | Shown::RefreshToken(token) => Some(token.expose().to_owned()),
        };
        script.shown.lock().push((credential.name.clone(), shown));
        async move {
            let number = script.fetches.fetch_add(1, Ordering::SeqCst) + 1;
            let at_once = script.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            script.most_at_once.fetch_max(at_once, Ordering::SeqCst);
            let since = script.clock.now();
            let answer = (script.rule.lock())(since);
            let fingerprint = Some(*script.fingerprint.lock());
            tokio::time::sleep(Duration::from_millis(20)).await;
            if matches!(answer, Answer::Hang) {
                std::future::pending::<()>().await;
            }
            script.at_once.fetch_sub(1, Ordering::SeqCst);
            let failed = |class, retry_after| Failure {
                class,
                label: "transient",
                reason: "the provider ims.example answered 503".into(),
                detail: "detail".into(),
                retry_after,
                fingerprint,
            };
            match answer {
                Answer::Token(life) => Ok(Granted {
                    header: HeaderValue::from_str(&format!("Bearer t{number}")).unwrap(),
                    since,
                    life,
                    refresh: script
                        .rotated
                        .lock()
                        .map(|name| Secret::new(format!("{name}{number}"))),
                    missing: script.missing.lock().clone(),
                    secret: *script.secret.lock(),
                }),
                Answer::Fail(class) => Err(failed(class, None)),
                Answer::Refuse => Err(Failure {
                    label: INVALID_GRANT,
                    ..failed(Class::Fatal, None)
                }),
                Answer::Busy(wait) => Err(failed(Class::Transient, Some(wait))),
                Answer::Hang | Answer::Panic => panic!("as the script says"),
            }
        }
        .boxed()
    }

    fn fingerprint(&self, _: Arc<Credential>) -> BoxFuture<'static, Fingerprint> {
        let now = *self.fingerprint.lock();
        std::future::ready(now).boxed()
    }
}

/// A service with a scripted provider.
pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) script: Arc<Script>,
    pub(super) service: TokenService,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: Shutdown,
}

impl World {
    pub(super) fn new(rule: impl FnMut(Moment) -> Answer + Send + 'static) -> Self {
        Self::with_store(
            rule,
            Clock::for_tests(Duration::from_secs(1_700_000_000)),
            None,
        )
    }

    pub(super) fn with_store(
        rule: impl FnMut(Moment) -> Answer + Send + 'static,
        clock: Clock,
        store: Option<&Path>,
    ) -> Self {
        let script = Arc::new(Script {
            clock: clock.clone(),
            rule: Mutex::new(Box::new(rule)),
            fetches: AtomicUsize::new(0),
            shown: Mutex::default(),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            fingerprint: Mutex::new([0; 32]),
            missing: Mutex::default(),
            secret: Mutex::new(SecretInUse::Current),
            rotated: Mutex::default(),
        });
        let (metrics, stop) = (Arc::new(Metrics::new()), Shutdown::new());
        let store = store.map(|path| TokenStore {
            path: path.to_owned(),
            key: value("the key of the store"),
        });
        let service = TokenService::start_with(
            Arc::new(script.clone()),
            Providers::new(clock.clone(), Arc::default(), stop.clone()),
            clock.clone(),
            (metrics.clone(), Tracer::off()),
            &stop,
            store.as_ref(),
            StdRng::seed_from_u64(7),
        );
        Self {
            clock,
            script,
            service,
            metrics,
            stop,
        }
    }

    pub(super) fn handle(&self) -> TokenHandle {
        let credential = Arc::new(credential());
        self.service.handle(&credential, &credential.scopes)
    }

    pub(super) fn rule(&self, rule: impl FnMut(Moment) -> Answer + Send + 'static) {
        *self.script.rule.lock() = Box::new(rule);
    }

    pub(super) fn fetches(&self) -> usize {
        self.script.fetches.load(Ordering::SeqCst)
    }

    /// Calls once a second for `time`, as a busy proxy does; every call must get a token that is
    /// valid at that moment.
    pub(super) async fn calls_for(&self, handle: &TokenHandle, time: Duration) {
        let end = self.clock.now().plus(time);
        while !end.passed(self.clock.now()) {
            let ready = handle.get(ANY, WAIT).await.expect("no call fails");
            assert!(
                !ready.expires().passed(self.clock.now()),
                "served an expired token"
            );
            sleep(SECOND).await;
        }
    }
}

/// The text behind `Bearer `.
pub(super) fn text(ready: &Ready) -> &str {
    ready
        .header()
        .to_str()
        .unwrap()
        .strip_prefix("Bearer ")
        .unwrap()
}
