//! SAML assertions: against the sandbox, which plays the security token service.

use std::fs;

use super::*;
use crate::{
    config::{SamlDialect, SamlSource, Sts},
    metrics::text,
    oauth::sts,
    sandbox::{Counts, IdpEndpoint, IdpFault, Sandbox, SandboxConfig, Times},
};

struct Fixture {
    sandbox: Sandbox,
    metrics: Arc<Metrics>,
    providers: Providers,
    clock: Clock,
    credential: Credential,
    stop: Shutdown,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.advance(crate::shutdown::Stage::Hard);
    }
}

impl Fixture {
    async fn new() -> Self {
        let clock = Clock::for_tests(Clock::system().now().wall);
        let config = SandboxConfig {
            clock: clock.clone(),
            ..SandboxConfig::default()
        };
        let sandbox = Sandbox::start(config).await.unwrap();
        let mut credential = credential();
        let mut provider = (*credential.provider).clone();
        provider.issuer = sandbox.issuer().parse().unwrap();
        credential.provider = Arc::new(provider);
        credential.client_id = sandbox.client_id().into();
        credential.auth = ClientAuth::Basic(SecretPair {
            current: value(sandbox.client_secret()),
            previous: None,
        });
        let stop = Shutdown::new();
        let metrics = Arc::new(Metrics::new());
        let mut fixture = Self {
            providers: Providers::new(clock.clone(), Arc::clone(&metrics), stop.clone()),
            metrics,
            sandbox,
            clock,
            credential,
            stop,
        };
        fixture.sign_in(|_| {});
        fixture
    }

    /// The grant, with `change` made to the STS.
    fn sign_in(&mut self, change: impl FnOnce(&mut Sts)) {
        let (url, delegation) = self.sandbox.sts();
        let (username, password) = self.sandbox.user().unwrap();
        let mut sts = Sts {
            url: url.parse().unwrap(),
            delegation: Some(delegation.parse().unwrap()),
            applies_to: "https://connect-wsg20.example/?a=1&b=2".into(),
            device_id: "backend".into(),
            app_id: "imodeljs service".into(),
            lifetime: 7 * 24 * HOUR,
            username: username.into(),
            password: value(password),
        };
        change(&mut sts);
        self.credential.grant = Grant::SamlBearer {
            assertion: SamlSource::Sts(Box::new(sts)),
            dialect: SamlDialect::Bentley,
        };
    }

    async fn fetch(&self) -> Result<Granted, Failure> {
        let (credential, scopes) = (self.credential.clone(), self.credential.scopes.clone());
        let fetch = self
            .providers
            .fetch(Arc::new(credential), scopes, Shown::Nothing);
        fetch.await
    }

    /// Sign-ins, delegations and token requests so far.
    fn asked(&self) -> (u64, u64, u64) {
        let Counts {
            sts_requests,
            delegation_requests,
            token_requests,
            ..
        } = self.sandbox.counts();
        (sts_requests, delegation_requests, token_requests)
    }

    fn breaks(&self, at: IdpEndpoint, status: u16) {
        let fault = IdpFault::Status {
            status,
            retry_after: Some(7),
        };
        self.sandbox.faults().idp(at, fault, Times::Next(1));
    }
}

#[tokio::test]
async fn a_service_user_gets_a_token_and_the_password_is_sent_once() {
    let fixture = Fixture::new().await;
    let granted = fixture.fetch().await.unwrap();
    assert!(granted.life > 59 * MINUTE);
    assert_eq!(fixture.asked(), (1, 1, 1));
    let request = fixture.sandbox.token_requests().remove(0);
    assert_eq!(
        (&*request.grant_type, request.client_auth, &*request.scope),
        (
            "urn:ietf:params:oauth:grant-type:saml-token",
            "client_secret_basic",
            "itwin-platform"
        )
    );
    for _ in 0..3 {
        fixture.fetch().await.unwrap();
    }
    assert_eq!(fixture.asked(), (1, 4, 4), "the assertion is kept");
    let counted = text::open_metrics(&fixture.metrics.scrape(fixture.clock.now()));
    for line in [
        "itwin_auth_proxy_cache_requests_total{cache=\"assertions\",result=\"hit\"} 3",
        "itwin_auth_proxy_cache_requests_total{cache=\"assertions\",result=\"miss\"} 1",
        "itwin_auth_proxy_cache_entries{cache=\"assertions\"} 1",
        // a sign-in and four delegations
        "itwin_auth_proxy_provider_exchanges_total{provider=\"bentley sts\",result=\"2xx\"} 5",
    ] {
        assert!(
            counted.lines().any(|one| one == line),
            "{line} in\n{counted}"
        );
    }
}

#[tokio::test]
async fn an_assertion_is_not_used_past_its_end() {
    let mut fixture = Fixture::new().await;
    fixture.sign_in(|sts| sts.lifetime = 20 * MINUTE);
    fixture.fetch().await.unwrap();
    fixture.clock.jump(18 * 60_000);
    fixture.fetch().await.unwrap();
    assert_eq!(fixture.asked(), (1, 2, 2));
    fixture.clock.jump(90_000);
    fixture.fetch().await.unwrap();
    assert_eq!(fixture.asked(), (2, 3, 3));
}

#[tokio::test]
async fn a_kept_assertion_that_is_refused_is_replaced() {
    let mut fixture = Fixture::new().await;
    fixture.fetch().await.unwrap();
    fixture.sandbox.revoke_assertions();
    fixture.fetch().await.unwrap();
    assert_eq!(fixture.asked(), (2, 3, 2), "by the delegation service");

    // without one, by the token endpoint
    fixture.sign_in(|sts| sts.delegation = None);
    if let Grant::SamlBearer { dialect, .. } = &mut fixture.credential.grant {
        *dialect = SamlDialect::Rfc7522;
    }
    fixture.fetch().await.unwrap();
    fixture.sandbox.revoke_assertions();
    fixture.fetch().await.unwrap();
    assert_eq!(fixture.asked(), (4, 3, 5));
}

#[tokio::test]
async fn a_new_assertion_that_is_refused_costs_no_second_sign_in() {
    let fixture = Fixture::new().await;
    let refuse = IdpFault::OAuthError {
        error: "invalid_grant".into(),
    };
    let faults = fixture.sandbox.faults();
    faults.idp(IdpEndpoint::Token, refuse, Times::Always);
    for round in 1..=3 {
        let failure = fixture.fetch().await.unwrap_err();
        assert_eq!(
            (failure.class, failure.label),
            (Class::Fatal, "invalid_grant")
        );
        assert_eq!(fixture.asked(), (1, round, round));
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_and_is_not_tried_again_soon() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    fs::write(&path, "wrong").unwrap();
    let mut fixture = Fixture::new().await;
    let (_, right) = fixture.sandbox.user().unwrap();
    let right = right.to_owned();
    fixture.sign_in(|sts| sts.password = SecretSource::File(path.clone()));
    let failure = fixture.fetch().await.unwrap_err();
    assert_eq!(failure.class, Class::InvalidGrant);
    assert_eq!(
        &*failure.reason,
        "the STS 127.0.0.1 refuses the user name or the password (401)"
    );
    assert_eq!(fixture.asked(), (1, 0, 0));
    // another content is another fingerprint, which is what the worker looks for
    let look = || {
        let credential = Arc::new(fixture.credential.clone());
        fixture.providers.fingerprint(credential)
    };
    assert_eq!(failure.fingerprint, Some(look().await));
    fs::write(&path, &right).unwrap();
    assert_ne!(failure.fingerprint, Some(look().await));
    fixture.fetch().await.unwrap();
    // a password that was changed is shown, whatever assertion is kept
    fs::write(&path, "wrong again").unwrap();
    assert_eq!(
        fixture.fetch().await.unwrap_err().class,
        Class::InvalidGrant
    );
}

#[tokio::test]
async fn what_goes_wrong_at_each_step_has_a_reason_of_its_own() {
    let rows = [
        (
            IdpEndpoint::Sts,
            503,
            Class::Transient,
            "the STS 127.0.0.1 answered 503",
        ),
        (
            IdpEndpoint::Sts,
            429,
            Class::Transient,
            "the STS 127.0.0.1 answered 429",
        ),
        (
            IdpEndpoint::Sts,
            404,
            Class::Fatal,
            "the STS 127.0.0.1 answered 404",
        ),
        (
            IdpEndpoint::Delegation,
            500,
            Class::Transient,
            "the delegation service 127.0.0.1 answered 500",
        ),
        (
            IdpEndpoint::Delegation,
            401,
            Class::Fatal,
            "the delegation service 127.0.0.1 refuses the assertion of the STS (401)",
        ),
        (
            IdpEndpoint::Token,
            502,
            Class::Transient,
            "the provider 127.0.0.1 answered 502",
        ),
    ];
    for (at, status, class, reason) in rows {
        let fixture = Fixture::new().await;
        fixture.breaks(at, status);
        let failure = fixture.fetch().await.unwrap_err();
        assert_eq!((failure.class, &*failure.reason), (class, reason));
        let wait = (status != 401).then_some(7 * SECOND);
        assert_eq!(failure.retry_after, wait, "{reason}");
        fixture.fetch().await.unwrap();
    }
    for (fault, reason) in [
        (
            IdpFault::EmptyBody,
            "the answer of the STS 127.0.0.1 is not a JSON object",
        ),
        (
            IdpFault::NotJson,
            "the answer of the STS 127.0.0.1 is not a JSON object",
        ),
        (
            IdpFault::Reset,
            "the STS: the exchange with 127.0.0.1 broke off",
        ),
    ] {
        let fixture = Fixture::new().await;
        let faults = fixture.sandbox.faults();
        faults.idp(IdpEndpoint::Sts, fault, Times::Next(1));
        let failure = fixture.fetch().await.unwrap_err();
        assert_eq!(
            (failure.class, &*failure.reason),
            (Class::Transient, reason)
        );
    }
}

#[tokio::test]
async fn an_assertion_from_a_file_is_shown_as_the_rfc_has_it_and_read_every_time() {
    let mut fixture = Fixture::new().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("assertion");
    fs::write(&path, "<not-one/>").unwrap();
    let Grant::SamlBearer {
        assertion: SamlSource::Sts(from),
        ..
    } = fixture.credential.grant.clone()
    else {
        panic!("another grant");
    };
    fixture.credential.grant = Grant::SamlBearer {
        assertion: SamlSource::File(path.clone()),
        dialect: SamlDialect::Rfc7522,
    };
    let failure = fixture.fetch().await.unwrap_err();
    assert_eq!(failure.label, "secret");
    assert!(
        failure.detail.contains("no SAML assertion"),
        "{}",
        failure.detail
    );

    let http = crate::oauth::HttpClient::new(&ClientTls::default(), SECOND, 5 * SECOND).unwrap();
    let password = from.password.read().unwrap();
    let issued = sts::sign_in(&http, &from, &password, fixture.clock.now())
        .await
        .unwrap();
    let life = issued.life.unwrap(); // by a clock that shows whole seconds
    assert!(
        life > 6 * 24 * HOUR && life <= 7 * 24 * HOUR + SECOND,
        "{life:?}"
    );
    fs::write(&path, issued.assertion.xml_for_tests()).unwrap();
    fixture.fetch().await.unwrap();
    let request = fixture.sandbox.token_requests().pop().unwrap();
    assert_eq!(
        request.grant_type,
        "urn:ietf:params:oauth:grant-type:saml2-bearer"
    );

    fixture.sandbox.revoke_assertions();
    let failure = fixture.fetch().await.unwrap_err();
    assert_eq!(failure.class, Class::InvalidGrant);
}

#[tokio::test]
async fn a_jwt_from_a_file_is_an_assertion_too() {
    let mut fixture = Fixture::new().await;
    let user = fixture.fetch().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwt");
    let jwt = user
        .header
        .to_str()
        .unwrap()
        .strip_prefix("Bearer ")
        .unwrap();
    fs::write(&path, jwt).unwrap();
    fixture.credential.grant = Grant::JwtBearer {
        assertion: JwtSource::File(path.clone()),
    };
    fixture.credential.scopes = ScopeSet::new(["imodels:read"]);
    fixture.fetch().await.unwrap();
    let request = fixture.sandbox.token_requests().pop().unwrap();
    assert_eq!(
        (&*request.grant_type, &*request.scope),
        (
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "imodels:read"
        )
    );
    fs::write(&path, "not.one.ofours").unwrap();
    assert_eq!(
        fixture.fetch().await.unwrap_err().class,
        Class::InvalidGrant
    );
}
