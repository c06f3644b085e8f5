use std::{collections::BTreeMap, convert::Infallible};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::*;
use crate::{config::injector::ApiServer, health::Readiness, metrics::Metrics, shutdown::Shutdown};

const DAY: Duration = Duration::from_secs(24 * 3600);
const SECRET: &str = "/api/v1/namespaces/itwin/secrets/injector-tls";
const WEBHOOK: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/injector";

/// An API server with versions of objects, and nothing else.
struct Objects {
    may_create: bool,
    all: BTreeMap<String, Value>,
    version: u64,
    writes: usize,
    versions_asked: usize,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            may_create: true,
            all: BTreeMap::new(),
            version: 0,
            writes: 0,
            versions_asked: 0,
        }
    }
}

impl Objects {
    fn put(&mut self, path: &str, mut object: Value) -> (StatusCode, Value) {
        self.version += 1;
        self.writes += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.all.insert(path.to_owned(), object.clone());
        (StatusCode::OK, object)
    }

    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let conflict = (
            StatusCode::CONFLICT,
            json!({ "message": "the object has been modified" }),
        );
        let there = self.all.get(path).cloned();
        match (method.as_str(), there) {
            ("GET", _) if path == "/version" => {
                self.versions_asked += 1;
                (StatusCode::OK, json!({ "major": "1", "minor": "28+" }))
            }
            ("GET", Some(object)) => (StatusCode::OK, object),
            ("POST", _) if !self.may_create => {
                (StatusCode::FORBIDDEN, json!({ "message": "forbidden" }))
            }
            ("POST", _) => {
                let name = body["metadata"]["name"].as_str().unwrap();
                let path = format!("{path}/{name}");
                if self.all.contains_key(&path) {
                    return conflict;
                }
                self.put(&path, body.clone())
            }
            ("PUT", Some(object)) => {
                if body["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
                    return conflict;
                }
                self.put(path, body.clone())
            }
            ("PATCH", Some(mut object)) => {
                let before = object["metadata"]["resourceVersion"].clone();
                let change: json_patch::Patch = serde_json::from_value(body.clone()).unwrap();
                json_patch::patch(&mut object, &change).unwrap();
                if object["metadata"]["resourceVersion"] != before {
                    return conflict;
                }
                self.put(path, object)
            }
            _ => (StatusCode::NOT_FOUND, json!({ "message": "not found" })),
        }
    }
}

/// The API server over TLS, and what it takes to reach it.
struct Cluster {
    objects: Arc<Mutex<Objects>>,
    api: Api,
    clock: Clock,
    _files: tempfile::TempDir,
    _stop: Shutdown,
}

impl Cluster {
    async fn start() -> Self {
        let clock = Clock::for_tests(Clock::system().now().wall);
        let issued = Issued::new(&["localhost".to_owned()], clock.now(), DAY).unwrap();
        let files = tempfile::tempdir().unwrap();
        let (ca_file, token_file) = (files.path().join("ca.crt"), files.path().join("token"));
        std::fs::write(&ca_file, &issued.authority).unwrap();
        std::fs::write(&token_file, "the-token\n").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let objects = Arc::new(Mutex::new(Objects::default()));
        objects.lock().put(
            WEBHOOK,
            json!({ "webhooks": [
                { "name": "a", "clientConfig": { "service": { "name": "injector" } } },
                { "name": "b", "clientConfig": { "service": { "name": "injector" }, "caBundle": "" } },
            ] }),
        );
        objects.lock().writes = 0;
        let stop = Shutdown::new();
        let acceptor = tokio_rustls::TlsAcceptor::from(issued.server_config().unwrap());
        let (shared, inner) = (Arc::clone(&objects), stop.clone());
        stop.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, objects) = (acceptor.clone(), Arc::clone(&shared));
                inner.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let objects = Arc::clone(&objects);
                        async move { Ok::<_, Infallible>(serve(&objects, request).await) }
                    });
                    let connection = http1::Builder::new();
                    let _ = connection
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        let server = ApiServer::At {
            url: format!("https://localhost:{port}/").parse().unwrap(),
            token_file,
            ca_file,
        };
        Self {
            objects,
            api: Api::new(server),
            clock,
            _files: files,
            _stop: stop,
        }
    }

    fn keeper(&self) -> Keeper {
        Keeper {
            api: self.api.clone(),
            names: Managed {
                secret: "injector-tls".into(),
                namespace: "itwin".into(),
                service: "injector".into(),
                webhook: "injector".into(),
            },
            clock: self.clock.clone(),
            metrics: Metrics::new().injector(),
            serving: Mutex::default(),
        }
    }

    /// The certificates that API servers trust for each webhook.
    fn trusted(&self) -> Vec<Vec<String>> {
        let objects = self.objects.lock();
        let webhooks = objects.all[WEBHOOK]["webhooks"].as_array().unwrap().iter();
        let bundle = |webhook: &Value| {
            let coded = webhook["clientConfig"]["caBundle"].as_str().unwrap();
            let text = String::from_utf8(STANDARD.decode(coded).unwrap()).unwrap();
            pems(&text, Clock::for_tests(Duration::ZERO).now())
        };
        webhooks.map(bundle).collect()
    }
}

async fn serve(objects: &Mutex<Objects>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let authorized = head.headers["authorization"] == "Bearer the-token";
    let (status, answer) = if authorized {
        objects.lock().answer(&head.method, head.uri.path(), &body)
    } else {
        (
            StatusCode::UNAUTHORIZED,
            json!({ "message": "Unauthorized" }),
        )
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
    *response.status_mut() = status;
    response
}

#[tokio::test]
async fn replicas_that_start_together_serve_one_certificate() {
    for empty_secret in [false, true] {
        let cluster = Cluster::start().await;
        if empty_secret {
            // as a chart makes it, so that nobody may create Secrets
            let object = json!({ "metadata": { "name": "injector-tls", "labels": { "a": "b" } }, "type": "Opaque" });
            cluster.objects.lock().put(SECRET, object);
        }
        let (one, two) = (cluster.keeper(), cluster.keeper());
        let (first, second) = tokio::join!(one.round(), two.round());
        for outcome in [&first, &second] {
            if let Err(error) = outcome {
                assert!(
                    matches!(error, KeepError::Api(ApiError::Conflict { .. })),
                    "{error}"
                );
            }
        }
        let (first, second) = (one.round().await.unwrap(), two.round().await.unwrap());
        assert_eq!(first.issued.certificate, second.issued.certificate);
        let authority = first.authorities.concat();
        assert_eq!(cluster.trusted(), [[authority.clone()], [authority]]);
        if empty_secret {
            let objects = cluster.objects.lock();
            assert_eq!(
                objects.all[SECRET]["metadata"]["labels"]["a"], "b",
                "what is not ours stays"
            );
        }
    }
}

#[tokio::test]
async fn what_is_right_is_not_written_again() {
    let cluster = Cluster::start().await;
    let keeper = cluster.keeper();
    keeper.round().await.unwrap();
    let writes = cluster.objects.lock().writes;
    keeper.round().await.unwrap();
    assert_eq!(cluster.objects.lock().writes, writes);
    // a chart that is installed again takes the authority away
    let mut object = cluster.objects.lock().all[WEBHOOK].clone();
    object["webhooks"][0]["clientConfig"]["caBundle"] = json!("");
    cluster.objects.lock().put(WEBHOOK, object);
    keeper.round().await.unwrap();
    assert_eq!(cluster.trusted()[0].len(), 1);
}

#[tokio::test]
async fn a_new_certificate_comes_in_time_and_the_old_authority_is_trusted_until_its_end() {
    let cluster = Cluster::start().await;
    let keeper = cluster.keeper();
    let old = keeper.round().await.unwrap();
    let days = |count: u32| i64::try_from((DAY * count).as_millis()).unwrap();
    cluster.clock.jump(days(59));
    assert_eq!(
        keeper.round().await.unwrap().issued.certificate,
        old.issued.certificate
    );
    cluster.clock.jump(days(2));
    let new = keeper.round().await.unwrap();
    assert_ne!(new.issued.certificate, old.issued.certificate);
    let both = vec![new.issued.authority.clone(), old.issued.authority.clone()];
    assert_eq!(cluster.trusted(), [both.clone(), both]);
    cluster.clock.jump(days(30));
    let later = keeper.round().await.unwrap();
    assert_eq!(later.issued.certificate, new.issued.certificate);
    assert_eq!(
        cluster.trusted()[0],
        [new.issued.authority],
        "the old one has ended"
    );
}

#[tokio::test]
async fn a_secret_with_nonsense_in_it_is_replaced() {
    let cluster = Cluster::start().await;
    let other = Issued::new(
        &["other.itwin.svc".to_owned()],
        cluster.clock.now(),
        90 * DAY,
    )
    .unwrap();
    for data in [
        json!({ "tls.crt": "!", "tls.key": "", "ca.crt": 1 }),
        json!({ "tls.crt": STANDARD.encode("no certificate"), "tls.key": "", "ca.crt": "" }),
        json!({ "tls.crt": STANDARD.encode(&other.certificate), "tls.key": STANDARD.encode(other.key.expose()),
                "ca.crt": STANDARD.encode(&other.authority) }),
    ] {
        cluster.objects.lock().put(SECRET, json!({ "data": data }));
        let kept = cluster.keeper().round().await.unwrap();
        let hosts = cluster.keeper().hosts();
        let now = cluster.clock.now();
        assert!(kept.issued.is_accepted(&hosts, &kept.authorities, now));
    }
}

fn secret_of(issued: &Issued, authority: &str) -> Value {
    json!({ "data": {
        "tls.crt": STANDARD.encode(&issued.certificate),
        "tls.key": STANDARD.encode(issued.key.expose()),
        "ca.crt": STANDARD.encode(authority),
    } })
}

#[tokio::test]
async fn a_certificate_that_no_api_server_accepts_is_replaced() {
    let cluster = Cluster::start().await;
    let hosts = cluster.keeper().hosts();
    let now = cluster.clock.now();
    let one = Issued::new(&hosts, now, 90 * DAY).unwrap();
    let other = Issued::new(&hosts, now, 90 * DAY).unwrap();
    let ahead = Clock::for_tests(now.wall + 2 * DAY);
    let early = Issued::new(&hosts, ahead.now(), 90 * DAY).unwrap();
    for (secret, what) in [
        (secret_of(&one, &other.authority), "of another authority"),
        (secret_of(&early, &early.authority), "not valid yet"),
    ] {
        cluster.objects.lock().put(SECRET, secret.clone());
        let kept = cluster.keeper().round().await.unwrap();
        assert!(
            kept.issued.is_accepted(&hosts, &kept.authorities, now),
            "{what}"
        );
        assert_ne!(
            STANDARD.encode(&kept.issued.certificate),
            secret["data"]["tls.crt"],
            "{what}"
        );
    }
    cluster
        .objects
        .lock()
        .put(SECRET, secret_of(&one, &one.authority));
    let kept = cluster.keeper().round().await.unwrap();
    assert_eq!(kept.issued.certificate, one.certificate, "a good one stays");
}

#[tokio::test]
async fn what_replicas_serve_is_trusted_after_the_secret_was_emptied() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.keeper(), cluster.keeper());
    let old = one.round().await.unwrap();
    *two.serving.lock() = Some(old.issued.authority.clone());
    cluster.objects.lock().put(SECRET, json!({ "data": {} }));
    let new = one.round().await.unwrap();
    assert_ne!(new.issued.certificate, old.issued.certificate);
    let both = vec![new.issued.authority.clone(), old.issued.authority.clone()];
    assert_eq!(cluster.trusted(), [both.clone(), both.clone()]);
    // the configuration was applied again, too: who serves the old one knows
    let mut object = cluster.objects.lock().all[WEBHOOK].clone();
    for at in 0..2 {
        object["webhooks"][at]["clientConfig"]["caBundle"] = json!("");
    }
    cluster.objects.lock().put(WEBHOOK, object);
    two.round().await.unwrap();
    assert_eq!(cluster.trusted(), [both.clone(), both]);
    let writes = cluster.objects.lock().writes;
    one.round().await.unwrap();
    assert_eq!(cluster.objects.lock().writes, writes, "replicas agree");
}

#[tokio::test]
async fn a_secret_that_may_not_be_made_is_named_with_the_remedy() {
    let cluster = Cluster::start().await;
    cluster.objects.lock().may_create = false;
    let error = cluster.keeper().round().await.unwrap_err();
    assert!(
        error.to_string().contains("injector-tls is gone"),
        "{error}"
    );
    assert!(error.to_string().contains("apply the chart"), "{error}");
}

#[tokio::test]
async fn while_the_api_is_away_what_is_served_stays() {
    let cluster = Cluster::start().await;
    cluster.objects.lock().all.remove(WEBHOOK);
    let keeper = cluster.keeper();
    let metrics = keeper.metrics.clone();
    let (served, mut current) = watch::channel(keeper.provisional().unwrap());
    let readiness = Readiness::new();
    readiness.started();
    let waiting = readiness.wait_for("the certificate");
    let stop = Shutdown::new();
    let rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    stop.spawn(keeper.keep(served, waiting, rng));
    while metrics.certificate_failures.get() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!current.has_changed().unwrap());
    assert_eq!(readiness.waiting(), ["the certificate"]);
    cluster
        .objects
        .lock()
        .put(WEBHOOK, json!({ "webhooks": [{ "clientConfig": {} }] }));
    // the second attempt comes by itself
    current.changed().await.unwrap();
    while !readiness.waiting().is_empty() {
        tokio::task::yield_now().await;
    }
    stop.advance(crate::shutdown::Stage::Hard);
}

#[tokio::test]
async fn the_form_of_sidecars_follows_the_clusters_version() {
    use crate::injector::{Form, version};

    let cluster = Cluster::start().await;
    let (form, mut known) = watch::channel(Form::Native);
    let readiness = Readiness::new();
    readiness.started();
    let waiting = readiness.wait_for("the version");
    let stop = Shutdown::new();
    let rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    stop.spawn(version::follow(cluster.api.clone(), form, waiting, rng));
    known.changed().await.unwrap();
    assert_eq!(*known.borrow(), Form::Container);
    assert_eq!(cluster.objects.lock().versions_asked, 1);
    stop.advance(crate::shutdown::Stage::Hard);
}
