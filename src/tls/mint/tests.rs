//! What callers see of minted certificates: real handshakes, with webpki as the judge.

use std::{fs, os::unix::fs::PermissionsExt};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore,
    ServerConnection, SupportedProtocolVersion,
    client::Resumption,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{PrivateKeyDer, ServerName, UnixTime, pem::PemObject};

use super::*;
use crate::{config::Identity, tls::authority::Authority};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An authority in files, and a clock.
struct Setting {
    _directory: tempfile::TempDir,
    interception: Interception,
    clock: Clock,
}

impl Setting {
    /// For these hosts, opened and permitted, with an authority that lives so long.
    fn new(hosts: &[&str], lifetime: Duration) -> Self {
        let clock = Clock::system();
        let wall = clock.now().wall;
        let clock = Clock::for_tests(wall);
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let made = Authority::new(&hosts, clock.now(), lifetime).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let authority = Identity {
            certificate: directory.path().join("ca.crt"),
            key: directory.path().join("ca.key"),
        };
        fs::write(&authority.certificate, &made.certificate).unwrap();
        fs::write(&authority.key, made.key.expose()).unwrap();
        fs::set_permissions(&authority.key, fs::Permissions::from_mode(0o600)).unwrap();
        Self {
            _directory: directory,
            interception: Interception {
                authority,
                hosts,
                leaf_lifetime: DAY,
            },
            clock,
        }
    }

    fn mint(&self) -> Mint {
        Mint::load(&self.interception, self.clock.clone()).unwrap()
    }

    /// A caller that trusts the authority.
    fn caller(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_file(&self.interception.authority.certificate);
        roots.add(own.unwrap()).unwrap();
        let mut caller = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        caller.time_provider = Arc::new(At(self.clock.clone()));
        caller
    }
}

/// The caller's clock is ours.
#[derive(Debug)]
struct At(Clock);

impl rustls::time_provider::TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.now().wall))
    }
}

/// A handshake in memory: both ends, or what the caller says of it.
fn shake(
    caller: &Arc<ClientConfig>,
    name: &str,
    server: Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(caller), name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..4 {
        bytes.clear();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        let failed = server.process_new_packets();
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets()?;
        failed?;
    }
    assert!(!client.is_handshaking());
    Ok((client, server))
}

fn leaf(client: &ClientConnection) -> CertificateDer<'static> {
    client.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn a_caller_that_trusts_the_authority_believes_us_in_either_version_and_resumes() {
    let setting = Setting::new(&["api.bentley.com"], DAY);
    let mint = setting.mint();
    for (version, number) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let mut caller = setting.caller(version);
        caller.resumption = Resumption::in_memory_sessions(8);
        caller.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let caller = Arc::new(caller);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let config = mint.server_config("api.bentley.com").unwrap();
            let (client, _) = shake(&caller, "api.bentley.com", config).unwrap();
            assert_eq!(client.protocol_version(), Some(number));
            assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
            assert_eq!(client.handshake_kind(), Some(kind), "{number:?}");
        }
    }
}

#[test]
fn a_leaf_says_its_host_alone_and_lives_a_day_by_default() {
    let setting = Setting::new(&["*.example.com"], 30 * DAY);
    let mint = setting.mint();
    let caller = Arc::new(setting.caller(&TLS13));
    let config = mint.server_config("a.b.example.com").unwrap();
    let (client, _) = shake(&caller, "a.b.example.com", config).unwrap();
    let leaf = leaf(&client);
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let only = x509_parser::extensions::GeneralName::DNSName("a.b.example.com");
    assert_eq!(names.value.general_names, [only]);
    let now = i64::try_from(setting.clock.now().unix_seconds()).unwrap();
    let validity = leaf.validity();
    assert!((now - 301..=now - 299).contains(&validity.not_before.timestamp()));
    assert!((now + 86_398..=now + 86_400).contains(&validity.not_after.timestamp()));
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth && !usage.any);
    assert!(!leaf.is_ca());
    let known = leaf.extensions().iter();
    assert!(
        known
            .map(|e| e.oid.to_id_string())
            .any(|id| id == "2.5.29.35"),
        "authority key id"
    );
    assert!(leaf.raw_serial().len() >= 15, "{:?}", leaf.raw_serial());
}

#[test]
fn nothing_is_made_for_a_host_that_is_not_opened() {
    let setting = Setting::new(&["api.bentley.com", "*.example.com"], DAY);
    let mint = setting.mint();
    for host in [
        "ims.bentley.com",
        "example.com",
        "127.0.0.1",
        "",
        "a..example.com",
        "ü.example.com",
    ] {
        assert!(mint.server_config(host).is_err(), "{host}");
    }
    // for another name it is good to nobody
    let caller = Arc::new(setting.caller(&TLS13));
    let config = mint.server_config("api.bentley.com").unwrap();
    assert!(shake(&caller, "a.example.com", config).is_err());
}

#[test]
fn software_that_trusts_the_authority_trusts_it_for_the_named_hosts_only() {
    let permitted = Setting::new(&["api.bentley.com"], DAY);
    // what somebody could do who has the key: open more than the authority was made for
    let mut stolen = permitted.interception.clone();
    stolen.hosts = vec!["api.bentley.com".into(), "bank.example".into()];
    let mint = Mint::load(&stolen, permitted.clock.clone()).unwrap();
    let caller = Arc::new(permitted.caller(&TLS13));
    let config = mint.server_config("api.bentley.com").unwrap();
    assert!(shake(&caller, "api.bentley.com", config).is_ok());
    let config = mint.server_config("bank.example").unwrap();
    let refused = shake(&caller, "bank.example", config).unwrap_err();
    let rustls::Error::InvalidCertificate(why) = refused else {
        panic!("{refused}");
    };
    assert!(
        format!("{why:?}").contains("NameConstraintViolation"),
        "{why:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_leaf_is_kept_and_replaced_before_it_ends() {
    let setting = Setting::new(&["api.bentley.com"], 30 * DAY);
    let mint = setting.mint();
    let get = || mint.server_config("api.bentley.com").unwrap();
    let first = get();
    assert!(Arc::ptr_eq(&first, &get()));
    tokio::time::advance(DAY / 2).await;
    assert!(Arc::ptr_eq(&first, &get()));
    tokio::time::advance(DAY / 4).await;
    let second = get();
    assert!(!Arc::ptr_eq(&first, &second), "18 h old");
    // a laptop that slept: the monotonic clock stood still
    setting.clock.jump(24 * 3600 * 1000);
    assert!(!Arc::ptr_eq(&second, &get()));
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_served_after_a_clock_that_was_ahead_is_put_right() {
    let setting = Setting::new(&["api.bentley.com"], 30 * DAY);
    let mint = setting.mint();
    let caller = Arc::new(setting.caller(&TLS13));
    let serve = || {
        let config = mint.server_config("api.bentley.com").unwrap();
        shake(&caller, "api.bentley.com", Arc::clone(&config)).map(|_| config)
    };
    setting.clock.jump(12 * 3600 * 1000);
    let ahead = serve().unwrap();
    setting.clock.jump(-12 * 3600 * 1000);
    let right = serve().unwrap();
    assert!(!Arc::ptr_eq(&ahead, &right));
    // a second or so, as NTP corrects it: the leaf is good all the same
    setting.clock.jump(-1000);
    assert!(Arc::ptr_eq(&right, &serve().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn no_leaf_outlives_the_authority() {
    let setting = Setting::new(&["api.bentley.com"], DAY / 2);
    let mint = setting.mint();
    let caller = Arc::new(setting.caller(&TLS13));
    let get = || mint.server_config("api.bentley.com");
    let (client, _) = shake(&caller, "api.bentley.com", get().unwrap()).unwrap();
    let leaf = leaf(&client);
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    let end = setting.clock.now().wall + DAY / 2;
    assert_eq!(
        leaf.validity().not_after.timestamp().unsigned_abs(),
        end.as_secs()
    );
    tokio::time::advance(DAY / 2).await;
    let error = get().unwrap_err();
    assert!(error.to_string().contains("has ended"), "{error}");
}

#[test]
fn any_number_of_new_hosts_fills_no_memory_and_leaves_alone_what_is_used() {
    let setting = Setting::new(&["*.example.com", "api.bentley.com"], DAY);
    let mint = setting.mint();
    let first = mint.server_config("api.bentley.com").unwrap();
    for n in 0..3 * KEPT {
        mint.server_config(&format!("host-{n}.example.com"))
            .unwrap();
        mint.server_config("api.bentley.com").unwrap();
    }
    let press = mint.0.press.load();
    press.kept.run_pending_tasks();
    assert!(press.kept.entry_count() <= KEPT);
    let still = mint.server_config("api.bentley.com").unwrap();
    assert!(Arc::ptr_eq(&first, &still));
}

#[test]
fn a_host_of_the_longest_kind_has_a_leaf_too() {
    let setting = Setting::new(&["*.example.com"], DAY);
    let mint = setting.mint();
    let caller = Arc::new(setting.caller(&TLS12));
    let label = "a".repeat(60);
    let host = format!("{label}.{label}.{label}.{}.example.com", "b".repeat(58));
    assert_eq!(host.len(), 253);
    let config = mint.server_config(&host).unwrap();
    assert!(shake(&caller, &host, config).is_ok());
    let longer = format!("{label}.{host}");
    assert!(mint.server_config(&longer).is_err());
}

#[test]
fn authorities_of_other_makes_work_or_are_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Identity {
        certificate: directory.path().join("ca.crt"),
        key: directory.path().join("ca.key"),
    };
    let interception = Interception {
        authority: authority.clone(),
        hosts: vec!["api.bentley.com".into()],
        leaf_lifetime: DAY,
    };
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    for algorithm in [
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        fs::write(
            &authority.certificate,
            params.self_signed(&key).unwrap().pem(),
        )
        .unwrap();
        fs::write(&authority.key, key.serialize_pem()).unwrap();
        let mint = Mint::load(&interception, Clock::system()).unwrap();
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_file(&authority.certificate).unwrap();
        roots.add(own).unwrap();
        let caller = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = mint.server_config("api.bentley.com").unwrap();
        assert!(shake(&Arc::new(caller), "api.bentley.com", config).is_ok());
        assert!(PrivateKeyDer::from_pem_file(&authority.key).is_ok());
    }
    fs::write(&authority.key, "no key").unwrap();
    assert!(Mint::load(&interception, Clock::system()).is_err());
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_is_replaced_signs_from_then_on_and_a_bad_one_does_not() {
    let setting = Setting::new(&["api.bentley.com"], 30 * DAY);
    let old = Arc::new(setting.caller(&TLS13));
    let (mint, task) = follow(
        &setting.interception,
        setting.clock.clone(),
        &SharedCache::default(),
    )
    .unwrap();
    let stop = crate::shutdown::Shutdown::new();
    stop.spawn(task);
    let get = || mint.server_config("api.bentley.com").unwrap();
    let host = "api.bentley.com";

    let files = &setting.interception.authority;
    fs::write(&files.key, "no key").unwrap();
    tokio::time::sleep(EVERY * 2).await;
    assert!(shake(&old, host, get()).is_ok());

    let hosts = [host.to_owned()];
    let made = Authority::new(&hosts, setting.clock.now(), DAY).unwrap();
    fs::write(&files.certificate, &made.certificate).unwrap();
    fs::write(&files.key, made.key.expose()).unwrap();
    tokio::time::sleep(EVERY * 2).await;
    let old = Arc::new(ClientConfig::clone(&old));
    assert!(shake(&Arc::new(setting.caller(&TLS13)), host, get()).is_ok());
    let mut stranger = ClientConfig::clone(&old);
    stranger.resumption = Resumption::disabled();
    assert!(shake(&Arc::new(stranger), host, get()).is_err());
    stop.advance(crate::shutdown::Stage::Hard);
}
