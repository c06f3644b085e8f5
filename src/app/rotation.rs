//! Which files are followed while the program runs, and what is done when they hold something else.
//!
//! Secrets, keys and assertions are read whenever they are used, and certificates of listeners are
//! followed by `tls/reload.rs`: here it is told whether what they hold now can be used. What upstreams
//! are reached with is taken over here.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Weak},
};

use tokio::task::spawn_blocking;

use super::{Seams, present::Present};
use crate::{
    config::{
        Admit, AdmitRule, Assertion, ClientAuth, ClientCertificates, ClientTls, Config, Credential,
        Grant, Identity, JwtSource, Listener, SamlSource, SecretPair, SecretSource, ServerTls,
    },
    http::client::chain,
    proxy::UpstreamTarget,
    rotation::{Content, EVERY, Look, Rotations, Whose, content},
    tls::{self, client, server::server_config},
};

/// Some files of one use.
struct Followed {
    whose: Whose,
    files: Vec<PathBuf>,
    held: Box<dyn Fn() -> Content + Send>,
    /// Takes over what they hold.
    take: Box<dyn Fn() -> Result<(), String> + Send>,
}

/// Follows the files of the configuration that runs, whichever that is; what comes of it is told by the
/// answer.
pub(super) fn start(seams: &Seams, present: &Arc<Present>) -> Rotations {
    let rotations = Rotations::new(
        seams.clock.clone(),
        Arc::clone(&seams.metrics),
        seams.audit.clone(),
        seams.tracer.clone(),
    );
    let present = Arc::clone(present);
    seams.shutdown.spawn(follow(rotations.clone(), move || {
        let generation = present.generation.load();
        let upstreams = generation.plan.upstreams.clone();
        (Arc::clone(&generation.config), upstreams)
    }));
    rotations
}

/// Without end. `present` is the configuration that runs, and its upstreams.
async fn follow(
    rotations: Rotations,
    present: impl Fn() -> (Arc<Config>, Vec<Arc<UpstreamTarget>>) + Send,
) {
    let mut looks = Looks::new();
    // connections outlive a configuration, and so do the settings that they were made by
    let mut used: Vec<Weak<UpstreamTarget>> = Vec::new();
    loop {
        let (config, upstreams) = present();
        let rotations = rotations.clone();
        let known = |target: &Arc<UpstreamTarget>| {
            let mut used = used.iter();
            used.any(|one| std::ptr::eq(one.as_ptr(), Arc::as_ptr(target)))
        };
        let new: Vec<_> = upstreams.iter().filter(|one| !known(one)).collect();
        let new: Vec<_> = new.into_iter().map(Arc::downgrade).collect();
        used.extend(new);
        used.retain(|one| one.strong_count() > 0);
        let upstreams: Vec<_> = used.iter().filter_map(Weak::upgrade).collect();
        // it reads files
        let looked = spawn_blocking(move || look(&config, &upstreams, looks, &rotations));
        looks = looked.await.unwrap_or_default();
        tokio::time::sleep(EVERY).await;
    }
}

type Looks = BTreeMap<(Whose, Vec<PathBuf>), Look>;

fn look(
    config: &Config,
    upstreams: &[Arc<UpstreamTarget>],
    mut known: Looks,
    rotations: &Rotations,
) -> Looks {
    let mut looks = Looks::new();
    for one in all(config, upstreams) {
        let key = (one.whose, one.files);
        let now = (one.held)();
        // what is new in the configuration was read with it
        let mut look = known.remove(&key).unwrap_or_else(|| Look::new(now));
        if let Some(told) = look.at(now, one.take) {
            rotations.tell(&key.0, &key.1, told);
        }
        looks.insert(key, look);
    }
    looks
}

/// All that the configuration names.
fn all(config: &Config, upstreams: &[Arc<UpstreamTarget>]) -> Vec<Followed> {
    let mut list = List::default();
    for credential in config.credentials.values() {
        list.credential(credential);
    }
    for provider in config.providers.values() {
        let of = format!("provider {}", provider.name);
        if let Some(introspection) = &provider.introspection {
            list.client(&of, &introspection.auth);
        }
        if provider.issuer.scheme() == "https" {
            let tls = provider.tls.clone();
            list.towards(&of, &provider.tls, move || {
                let made = client::make(&tls, &[b"http/1.1"]);
                made.map(drop).map_err(|error| chain(&error))
            });
        }
    }
    let mut same: BTreeMap<(String, Vec<PathBuf>), Vec<Arc<UpstreamTarget>>> = BTreeMap::new();
    for target in upstreams {
        let upstream = &target.upstream;
        if upstream.origin.https {
            let key = (upstream.origin.to_string(), files(&upstream.tls));
            same.entry(key).or_default().push(Arc::clone(target));
        }
    }
    for ((origin, _), targets) in same {
        let Some(first) = targets.first() else {
            continue;
        };
        let tls = first.upstream.tls.clone();
        list.towards(&format!("upstream {origin}"), &tls, move || {
            let refreshed = targets.iter().map(|target| target.refresh());
            let refreshed = refreshed.fold(Ok(()), Result::and);
            refreshed.map_err(|error| chain(&error))
        });
    }
    for listener in &config.listeners {
        list.listener(listener);
    }
    if let Some(interception) = &config.interception {
        list.identity("interception", "authority", &interception.authority);
    }
    if let Some(key) = &config.admin_key {
        list.secret("admin", "key", key);
    }
    if let Some(signing) = &config.signing {
        for path in &signing.key_files {
            list.secret("signing", "key", &SecretSource::File(path.clone()));
        }
    }
    let routes = config.routes.iter().map(|route| &route.admit);
    let doors = config.listeners.iter();
    let doors = doors.filter_map(|listener| listener.passage.as_ref());
    let doors = doors.map(|passage| &passage.admit);
    for admit in routes.chain(doors).chain(config.own.admits()) {
        let rules = match admit {
            Admit::Rules(rules) => rules.as_slice(),
            Admit::Local | Admit::Anyone => &[],
        };
        for rule in rules {
            match rule {
                AdmitRule::Key(key) => list.pair(&format!("key {}", key.name), "key", &key.secret),
                AdmitRule::ProxyUser(user) => {
                    list.pair(&format!("user {}", user.name), "password", &user.password);
                }
                _ => {}
            }
        }
    }
    list.0
}

/// What says whom we trust there, and who we are.
fn files(tls: &ClientTls) -> Vec<PathBuf> {
    let own = tls.identity.iter();
    let own = own.flat_map(|identity| [&identity.certificate, &identity.key]);
    tls.extra_ca.iter().chain(own).cloned().collect()
}

#[derive(Default)]
struct List(Vec<Followed>);

impl List {
    fn files(
        &mut self,
        of: &str,
        what: &'static str,
        files: Vec<PathBuf>,
        take: impl Fn() -> Result<(), String> + Send + 'static,
    ) {
        let of = of.to_owned();
        let looked = files.clone();
        self.0.push(Followed {
            whose: Whose { of, what },
            files,
            held: Box::new(move || content(looked.iter().map(PathBuf::as_path))),
            take: Box::new(take),
        });
    }

    fn secret(&mut self, of: &str, what: &'static str, source: &SecretSource) {
        if let SecretSource::File(path) = source {
            let source = source.clone();
            self.files(of, what, vec![path.clone()], move || {
                source.read().map(drop).map_err(|error| chain(&error))
            });
        }
    }

    fn pair(&mut self, of: &str, what: &'static str, pair: &SecretPair) {
        self.secret(of, what, &pair.current);
        if let Some(previous) = &pair.previous {
            self.secret(of, "previous_secret", previous);
        }
    }

    fn identity(&mut self, of: &str, what: &'static str, identity: &Identity) {
        let files = [&identity.certificate, &identity.key].map(Clone::clone);
        let identity = identity.clone();
        self.files(of, what, files.into(), move || {
            tls::fits(&identity).map_err(|error| chain(&error))
        });
    }

    fn client(&mut self, of: &str, auth: &ClientAuth) {
        match auth {
            ClientAuth::None => {}
            ClientAuth::Basic(pair) | ClientAuth::Post(pair) => {
                self.pair(of, "client_secret", pair);
            }
            ClientAuth::Assertion(Assertion::Signed(key)) => {
                self.secret(of, "assertion_key", &key.key);
            }
            ClientAuth::Assertion(Assertion::File(path)) => {
                self.secret(of, "assertion", &SecretSource::File(path.clone()));
            }
            ClientAuth::MutualTls(identity) => self.identity(of, "client_certificate", identity),
        }
    }

    fn credential(&mut self, credential: &Credential) {
        let of = format!("credential {}", credential.name);
        self.client(&of, &credential.auth);
        match &credential.grant {
            Grant::Password { password, .. } => self.secret(&of, "password", password),
            Grant::JwtBearer {
                assertion: JwtSource::File(path),
            }
            | Grant::SamlBearer {
                assertion: SamlSource::File(path),
                ..
            } => self.secret(&of, "assertion", &SecretSource::File(path.clone())),
            Grant::SamlBearer {
                assertion: SamlSource::Sts(sts),
                ..
            } => self.secret(&of, "password", &sts.password),
            // we write refresh tokens ourselves
            Grant::RefreshToken { .. }
            | Grant::ClientCredentials
            | Grant::TokenExchange { .. }
            | Grant::JwtBearer { .. }
            | Grant::AuthorizationCode { .. } => {}
        }
    }

    fn listener(&mut self, listener: &Listener) {
        if let Some(ServerTls::Own(own)) = &listener.tls {
            let of = format!("listener {}", listener.bind);
            let ca = match &own.clients {
                ClientCertificates::None | ClientCertificates::Any => None,
                ClientCertificates::Optional { ca } | ClientCertificates::Required { ca } => {
                    Some(ca.clone())
                }
            };
            let files = [&own.identity.certificate, &own.identity.key];
            let files = files.into_iter().cloned().chain(ca).collect();
            let own = own.clone();
            self.files(&of, "certificate", files, move || {
                let made = server_config(&own);
                made.map(drop).map_err(|error| chain(&error))
            });
        }
    }

    /// The system's authorities are looked at as well.
    fn towards(
        &mut self,
        of: &str,
        tls: &ClientTls,
        take: impl Fn() -> Result<(), String> + Send + 'static,
    ) {
        let what = match &tls.identity {
            Some(_) => "client_certificate",
            None => "ca",
        };
        let held = tls.clone();
        self.0.push(Followed {
            whose: Whose {
                of: of.to_owned(),
                what,
            },
            files: files(tls),
            held: Box::new(move || client::held(&held)),
            take: Box::new(take),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

    use super::*;
    use crate::{
        audit::{Audit, Event},
        clock::Clock,
        config::{self, Sources},
        metrics::Metrics,
    };

    /// What was told since the last look: what, and what came of it.
    fn looked(
        config: &Config,
        looks: &mut Looks,
        rotations: &Rotations,
        captured: &crate::audit::Captured,
    ) -> Vec<(String, &'static str, &'static str)> {
        *looks = look(config, &[], std::mem::take(looks), rotations);
        let told = captured.take().into_iter().map(|event| match event {
            Event::SecretChanged {
                of, what, result, ..
            } => (of, what, result),
            other => panic!("{other:?}"),
        });
        told.collect()
    }

    /// As the kubelet does: a directory for each version, and a link that is moved at once.
    fn project(volume: &Path, version: u32, files: &[(&str, &str)]) {
        let directory = volume.join(format!("..{version}"));
        fs::create_dir(&directory).unwrap();
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
        }
        let (new, data) = (volume.join("..new"), volume.join("..data"));
        symlink(&directory, &new).unwrap();
        fs::rename(&new, &data).unwrap();
        for (name, _) in files {
            let _ = symlink(Path::new("..data").join(name), volume.join(name));
        }
    }

    #[test]
    fn secrets_that_are_swapped_with_a_link_are_told_once_and_unusable_ones_at_the_second_look() {
        let volume = tempfile::tempdir().unwrap();
        let at = |name: &str| volume.path().join(name).display().to_string();
        project(volume.path(), 1, &[("secret", "one"), ("jwt", "a.b.c")]);
        let text = format!(
            "
credentials:
  agent: {{client_id: x, client_secret_file: '{}'}}
  pod: {{client_id: y, assertion_file: '{}'}}
routes: [{{inject: agent, upstream: 'https://api.bentley.com'}}]
",
            at("secret"),
            at("jwt")
        );
        let config = config::load(Sources::yaml(&text)).unwrap().config;
        let clock = Clock::for_tests(Duration::from_secs(1_800_000_000));
        let (audit, captured) = Audit::captured(clock.clone());
        let rotations = Rotations::new(
            clock,
            Arc::new(Metrics::new()),
            audit,
            crate::trace::Tracer::off(),
        );
        let mut looks = Looks::new();
        let mut look = || looked(&config, &mut looks, &rotations, &captured);
        assert_eq!(look(), [], "what is there at the start is no news");
        assert_eq!(look(), []);
        project(volume.path(), 2, &[("secret", "two"), ("jwt", "a.b.c")]);
        let agent = || "credential agent".to_owned();
        assert_eq!(look(), [(agent(), "client_secret", "applied")]);
        project(volume.path(), 3, &[("secret", ""), ("jwt", "d.e.f")]);
        let pod = "credential pod".to_owned();
        assert_eq!(look(), [(pod, "assertion", "applied")]);
        assert_eq!(look(), [(agent(), "client_secret", "refused")]);
        assert_eq!(look(), []);
        project(volume.path(), 4, &[("secret", "three"), ("jwt", "d.e.f")]);
        assert_eq!(look(), [(agent(), "client_secret", "applied")]);
    }
}
