//! What each route would make of a token, without a request.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::{SeedableRng, rngs::StdRng};

use crate::{
    clock::Clock,
    config::{Admit, AdmitRule, Config, Provider},
    health::Readiness,
    metrics::Metrics,
    shutdown::{Shutdown, Stage},
    trace::Tracer,
    verify::{Finding, KeyService, Verdict as Judged, examine},
};

/// One way in which one route could take the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    pub route: String,
    /// The issuer whose token it would have to be.
    pub issuer: String,
    pub findings: Vec<Finding>,
}

impl Examined {
    pub fn passes(&self) -> bool {
        let bad = |finding: &Finding| matches!(finding.verdict, Judged::Bad(_));
        !self.findings.iter().any(bad)
    }
}

/// Asks the providers for their keys, and each bearer rule about the token. The second list says
/// which providers' keys could not be had, and why.
pub async fn examine_token(
    config: &Config,
    token: &str,
) -> (Vec<Examined>, Vec<(String, Arc<str>)>) {
    let (clock, shutdown) = (Clock::system(), Shutdown::new());
    let mut rng = StdRng::from_os_rng();
    let (metrics, readiness) = (Arc::new(Metrics::new()), Readiness::new());
    let service = KeyService::start(
        config,
        &clock,
        &metrics,
        &Tracer::off(),
        &shutdown,
        &readiness,
        &mut rng,
    );
    let rules = config.routes.iter().flat_map(|route| {
        let rules = match &route.admit {
            Admit::Rules(rules) => rules.as_slice(),
            Admit::Local | Admit::Anyone => &[],
        };
        rules.iter().filter_map(move |rule| match rule {
            AdmitRule::Bearer { provider, rules } => Some((route, provider, rules)),
            _ => None,
        })
    });
    let rules: Vec<_> = rules.collect();
    let mut troubles = BTreeMap::new();
    let providers: BTreeMap<_, &Arc<Provider>> = rules
        .iter()
        .map(|(_, provider, _)| (&provider.name, *provider))
        .collect();
    for provider in providers.into_values() {
        // one exchange for the metadata, one for the keys
        let limit = provider
            .timeouts
            .total
            .saturating_add(Duration::from_secs(1));
        if let Err(why) = service.issuer(provider).first_keys(limit).await {
            troubles.insert(provider.name.to_string(), why);
        }
    }
    let revoked = service.revoked();
    if let Some(path) = &config.revocation.file
        && let Err(error) = revoked.read_file(path.clone()).await
    {
        tracing::error!(path = %path.display(), %error, "revoked tokens not read");
    }
    let mut all = Vec::with_capacity(rules.len());
    for (route, provider, rules) in rules {
        let issuer = service.issuer(provider);
        all.push(Examined {
            route: route.name.to_string(),
            issuer: provider.issuer.as_str().trim_end_matches('/').to_owned(),
            findings: examine(&issuer, rules, revoked, token, clock.now()).await,
        });
    }
    shutdown.advance(Stage::Hard);
    shutdown.finished().await;
    (all, troubles.into_iter().collect())
}
