//! The webhook's listener: HTTPS, `POST /mutate`.
//!
//! Bounded in every direction, because whoever reaches it may ask: connections ([`Places`]), the
//! bytes of questions and answers ([`Bodies`]), the life of a connection. Answers are made one after
//! the other, apart from what reads and writes, which goes on meanwhile; nothing is waited for then,
//! so that an answer is there before the API server's own patience ends (`timeoutSeconds`, at least a
//! second).

use std::{
    convert::Infallible,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    body::{Answer, Bodies, BodyError, Held},
    fault::short,
    places::{Place, Places},
    review::{self, Admission, ReviewError},
    sidecar::Form,
};
use crate::{
    config::injector::InjectionSettings,
    http::serve::Protocol,
    metrics::{AdmissionLabels, InjectorMetrics},
    shutdown::{Shutdown, Stage},
    tls::reload::Current,
};

/// API servers are few, and share connections among requests.
const ALL: u32 = 256;
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Who connects has a question.
const FIRST: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(120);
/// A connection is asked to end after this time, and cut [`GRACE`] later.
const LIFETIME: Duration = Duration::from_secs(600);
const GRACE: Duration = Duration::from_secs(10);
/// For what has been sent already on a connection on which nothing was asked yet.
const LAST: Duration = Duration::from_secs(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const HEADER_MAX_BYTES: u32 = 16 * 1024;
const STREAMS: u32 = 8;
/// Of a pod's problems in the log.
const LONGEST_LINE: usize = 4096;
/// Whoever reaches the port can fail: of so many failures one is told.
const LOG_EVERY: u64 = 20;

/// What answers questions.
#[derive(Debug)]
pub struct Webhook {
    pub settings: InjectionSettings,
    /// As the cluster is known to run sidecars now.
    pub form: watch::Receiver<Form>,
    pub metrics: InjectorMetrics,
}

/// Serves until a soft stop, and returns when connections have finished what was under way.
pub async fn serve(listener: TcpListener, tls: Current, webhook: Webhook, stop: Shutdown) {
    Serving::new(webhook, ALL).serve(listener, tls, stop).await;
}

/// What all connections share.
struct Serving {
    webhook: Webhook,
    places: Arc<Places>,
    bodies: Bodies,
    /// Answers are made one at a time: each may take many times what its question does.
    turn: Arc<Semaphore>,
    failures: AtomicU64,
}

impl Serving {
    fn new(webhook: Webhook, connections: u32) -> Arc<Self> {
        let places = Places::new(connections);
        Arc::new(Self {
            webhook,
            bodies: Bodies::new(Arc::clone(&places)),
            places,
            turn: Arc::new(Semaphore::new(1)),
            failures: AtomicU64::new(0),
        })
    }

    async fn serve(self: Arc<Self>, listener: TcpListener, tls: Current, stop: Shutdown) {
        loop {
            let accepted = async {
                let accepted = listener.accept().await;
                match accepted {
                    Ok((stream, _)) => Ok((stream, self.places.take().await)),
                    Err(error) => Err(error),
                }
            };
            let accepted = tokio::select! {
                accepted = accepted => accepted,
                () = stop.reached(Stage::Soft) => break,
            };
            match accepted {
                Ok((stream, place)) => {
                    let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
                    let connection =
                        Arc::clone(&self).connection(stream, acceptor, place, stop.clone());
                    stop.spawn(connection);
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "webhook: accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // who waits for us to accept would wait for all the others
        drop(listener);
        self.places.empty().await;
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        place: Arc<Place>,
        stop: Shutdown,
    ) {
        let stream = tokio::select! {
            accepted = timeout(HANDSHAKE, acceptor.accept(stream)) => accepted,
            () = place.is_wanted() => return,
        };
        match stream {
            Ok(Ok(stream)) => self.http(stream, place, stop).await,
            Ok(Err(error)) => self.no_tls(&error),
            Err(_) => {}
        }
    }

    fn no_tls(&self, error: &io::Error) {
        let invalid = error.kind() == io::ErrorKind::InvalidData;
        let error = error as &dyn std::error::Error;
        if !invalid {
            // somebody looks whether the port is open
            tracing::debug!(error, "webhook: no TLS connection");
            return;
        }
        // such as of an API server that does not trust the certificate
        self.webhook.metrics.tls_failures.inc();
        if let Some(failures) = self.seldom() {
            tracing::warn!(error, failures, "webhook: no TLS connection");
        }
    }

    /// How many failures there were, if it is to be told.
    fn seldom(&self) -> Option<u64> {
        let before = self.failures.fetch_add(1, Ordering::Relaxed);
        before.is_multiple_of(LOG_EVERY).then_some(before + 1)
    }

    async fn http(
        self: Arc<Self>,
        stream: TlsStream<TcpStream>,
        place: Arc<Place>,
        stop: Shutdown,
    ) {
        let protocol = Protocol::of_alpn(stream.get_ref().1.alpn_protocol());
        let asking = Arc::clone(&place);
        let service = service_fn(move |request| {
            let serving = Arc::clone(&self);
            let busy = asking.busy();
            async move {
                let answer = serving.ask(request).await;
                drop(busy);
                Ok::<_, Infallible>(answer)
            }
        });
        let io = TokioIo::new(stream);
        // how a connection ends is its peer's business
        macro_rules! drive {
            ($connection:expr) => {{
                let mut connection = pin!($connection);
                tokio::select! {
                    _ = connection.as_mut() => return,
                    () = place.is_wanted() => return,
                    () = without_question(&place) => return,
                    () = sleep(LIFETIME) => {}
                    () = stop.reached(Stage::Soft) => {}
                }
                connection.as_mut().graceful_shutdown();
                // hyper waits for the first question of a connection
                let grace = if place.has_asked() { GRACE } else { LAST };
                let _ = timeout(grace, connection).await;
            }};
        }
        if protocol == Protocol::Http2 {
            drive!(
                http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(STREAMS)
                    .max_header_list_size(HEADER_MAX_BYTES)
                    .initial_stream_window_size(64 * 1024)
                    .initial_connection_window_size(128 * 1024)
                    .keep_alive_interval(IDLE)
                    .serve_connection(io, service)
            );
        } else {
            drive!(
                http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(IDLE)
                    .max_headers(64)
                    .max_buf_size(HEADER_MAX_BYTES as usize)
                    .serve_connection(io, service)
            );
        }
    }

    async fn ask(self: Arc<Self>, request: Request<Incoming>) -> Response<Answer> {
        if request.uri().path() != "/mutate" {
            return refuse(StatusCode::NOT_FOUND, "there is /mutate");
        }
        if request.method() != Method::POST {
            let mut answer = refuse(StatusCode::METHOD_NOT_ALLOWED, "POST an AdmissionReview");
            let post = HeaderValue::from_static("POST");
            answer.headers_mut().insert(header::ALLOW, post);
            return answer;
        }
        let body = match self.bodies.read(request.into_body()).await {
            Ok(body) => body,
            Err(error) => {
                let status = match error {
                    BodyError::Large => StatusCode::PAYLOAD_TOO_LARGE,
                    BodyError::BrokenOff => StatusCode::BAD_REQUEST,
                    BodyError::Late => StatusCode::REQUEST_TIMEOUT,
                };
                return refuse(status, &error.to_string());
            }
        };
        match Arc::clone(&self).decide(body).await {
            Ok(text) => match self.bodies.answer(Bytes::from(text)).await {
                Ok(answer) => json_answer(StatusCode::OK, answer),
                Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "too much is under way"),
            },
            Err(refusal) => refusal,
        }
    }

    /// Apart from the threads that serve connections: probes are answered meanwhile.
    async fn decide(self: Arc<Self>, body: Held) -> Result<String, Response<Answer>> {
        let broken = || refuse(StatusCode::INTERNAL_SERVER_ERROR, "no answer could be made");
        // the semaphore is never closed
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|_| broken())?;
        let decided = tokio::task::spawn_blocking(move || {
            let decided = self.webhook.answer(&body.bytes);
            let decided = decided.inspect_err(|error| {
                if let Some(failures) = self.seldom() {
                    let error = error as &dyn std::error::Error;
                    tracing::warn!(error, failures, "webhook: no question");
                }
            });
            // the next one finds this thread free, and what it has allocated
            (decided, turn)
        });
        match decided.await.map(|(decided, _turn)| decided) {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(error)) => Err(refuse(StatusCode::BAD_REQUEST, &error.to_string())),
            Err(_) => Err(broken()),
        }
    }
}

/// Ends when a connection that should have asked has not.
async fn without_question(place: &Place) {
    sleep(FIRST).await;
    if place.has_asked() {
        std::future::pending::<()>().await;
    }
}

impl Webhook {
    fn answer(&self, body: &[u8]) -> Result<String, ReviewError> {
        let form = *self.form.borrow();
        let answer = review::answer(body, &self.settings, form).inspect_err(|_| {
            self.count("invalid");
        })?;
        let result = answer.result.name();
        self.count(result);
        match answer.result {
            Admission::Untouched => {
                tracing::debug!(pod = answer.pod, result, "admission");
            }
            Admission::Refused => {
                let problems = short(&answer.faults.join("; "), LONGEST_LINE);
                tracing::warn!(pod = answer.pod, result, problems, "admission");
            }
            Admission::Injected | Admission::Again => {
                tracing::info!(pod = answer.pod, result, "admission");
            }
        }
        Ok(answer.body.to_string())
    }

    fn count(&self, result: &'static str) {
        let labels = AdmissionLabels { result };
        self.metrics.admissions.get_or_create(&labels).inc();
    }
}

/// In the shape of all our errors.
fn refuse(status: StatusCode, message: &str) -> Response<Answer> {
    let code = status
        .canonical_reason()
        .unwrap_or_default()
        .replace(' ', "");
    let body = json!({ "error": { "code": code, "message": message } });
    json_answer(status, Answer::short(body.to_string()))
}

fn json_answer(status: StatusCode, body: Answer) -> Response<Answer> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        clock::Clock,
        config::ClientTls,
        http::client::HttpClient,
        injector::{body::BODY_MAX_BYTES, tests::settings},
        metrics::Metrics,
        tls::issued::Issued,
    };

    const SECOND: Duration = Duration::from_secs(1);

    struct Served {
        base: String,
        client: HttpClient,
        metrics: InjectorMetrics,
        stop: Shutdown,
        serving: tokio::task::JoinHandle<Option<()>>,
        ca: tempfile::NamedTempFile,
    }

    async fn start() -> Served {
        start_with(ALL).await
    }

    async fn start_with(connections: u32) -> Served {
        let now = Clock::system().now();
        let issued = Issued::new(&["localhost".to_owned()], now, 3600 * SECOND).unwrap();
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), &issued.authority).unwrap();
        let tls = ClientTls {
            extra_ca: vec![ca.path().to_owned()],
            ..ClientTls::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let metrics = Metrics::new().injector();
        let webhook = Webhook {
            settings: settings(),
            form: watch::channel(Form::Native).1,
            metrics: metrics.clone(),
        };
        let stop = Shutdown::new();
        let (_, current) = watch::channel(issued.server_config().unwrap());
        let serving = Serving::new(webhook, connections).serve(listener, current, stop.clone());
        let serving = stop.spawn(serving);
        Served {
            serving,
            base: format!("https://localhost:{port}"),
            client: HttpClient::new(&tls, 5 * SECOND, 10 * SECOND).unwrap(),
            metrics,
            stop,
            ca,
        }
    }

    impl Served {
        async fn send(&self, method: Method, path: &str, body: &[u8]) -> (u16, Value) {
            let request = Request::builder()
                .method(method)
                .uri(format!("{}{path}", self.base))
                .body(Bytes::copy_from_slice(body))
                .unwrap();
            let answer = self.client.send(request).await.unwrap();
            let json = serde_json::from_slice(answer.body()).unwrap();
            (answer.status().as_u16(), json)
        }

        async fn connect(&self, protocol: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
            let address = self.base.replace("https://localhost", "127.0.0.1");
            let tls = ClientTls {
                extra_ca: vec![self.ca.path().to_owned()],
                ..ClientTls::default()
            };
            let config = crate::tls::client::client_config(&tls, &[protocol]).unwrap();
            let tcp = TcpStream::connect(address).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(config);
            let name = "localhost".try_into().unwrap();
            connector.connect(name, tcp).await.unwrap()
        }

        fn counted(&self, result: &'static str) -> u64 {
            let labels = AdmissionLabels { result };
            self.metrics.admissions.get_or_create(&labels).get()
        }
    }

    #[tokio::test]
    async fn an_api_server_is_answered_over_tls() {
        let served = start().await;
        let review = include_bytes!("golden/deployment-1.25/review.json");
        // as the API server writes its patience into the URL
        let (status, answer) = served
            .send(Method::POST, "/mutate?timeout=10s", review)
            .await;
        assert_eq!(
            (status, &answer["response"]["allowed"]),
            (200, &json!(true))
        );
        assert_eq!(
            answer["response"]["uid"],
            "705ab4f5-6393-11e8-b7cc-42010a800002"
        );
        assert!(answer["response"]["patch"].is_string());
        assert_eq!(served.counted("injected"), 1);
        served.stop.advance(Stage::Hard);
    }

    #[tokio::test]
    async fn a_stop_waits_for_the_answer_under_way_and_takes_no_new_one() {
        let served = start().await;
        let port = served.base.rsplit(':').next().unwrap().to_owned();
        let mut stream = served.connect(b"http/1.1").await;
        let review = include_bytes!("golden/deployment-1.25/review.json");
        let (first, rest) = review.split_at(100);
        let length = review.len();
        let head = format!(
            "POST /mutate HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        // it is read when the server asks for the body
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).await.unwrap();
        assert!(interim.starts_with(b"HTTP/1.1 100 "));
        stream.write_all(first).await.unwrap();
        served.stop.advance(Stage::Soft);
        stream.write_all(rest).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        // the end of the connection is the server's
        let _ = stream.read_to_end(&mut answer).await;
        assert!(
            answer.starts_with(b"HTTP/1.1 200 OK"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        drop(stream);
        let ended = timeout(5 * SECOND, served.serving).await.unwrap();
        assert_eq!(ended.unwrap(), Some(()));
        let refused = TcpStream::connect(format!("127.0.0.1:{port}")).await;
        assert!(refused.is_err());
        served.stop.advance(Stage::Hard);
    }

    #[tokio::test]
    async fn connections_that_ask_nothing_keep_nobody_out() {
        let served = start_with(3).await;
        let mut silent = Vec::new();
        for protocol in [&b"http/1.1"[..], b"h2", b"http/1.1"] {
            silent.push(served.connect(protocol).await);
        }
        let review = include_bytes!("golden/deployment-1.25/review.json");
        let (status, _) = served.send(Method::POST, "/mutate", review).await;
        assert_eq!(status, 200);
        let mut rest = Vec::new();
        let first = timeout(5 * SECOND, silent[0].read_to_end(&mut rest)).await;
        assert!(first.is_ok(), "the first gave way");
        served.stop.advance(Stage::Soft);
        let ended = timeout(5 * SECOND, served.serving).await.unwrap();
        assert_eq!(ended.unwrap(), Some(()), "a stop waits for none of them");
        served.stop.advance(Stage::Hard);
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_a_place() {
        let served = start_with(1).await;
        let mut busy = served.connect(b"http/1.1").await;
        let head =
            "POST /mutate HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
        busy.write_all(head.as_bytes()).await.unwrap();
        busy.read_exact(&mut [0; 25]).await.unwrap();
        let address = served.base.replace("https://localhost", "127.0.0.1");
        let mut waiting = TcpStream::connect(&address).await.unwrap();
        served.stop.advance(Stage::Soft);
        let ended = timeout(SECOND, waiting.read(&mut [0; 1])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
        drop(busy);
        assert!(timeout(5 * SECOND, served.serving).await.is_ok());
        served.stop.advance(Stage::Hard);
    }

    #[tokio::test]
    async fn of_failing_handshakes_one_in_many_is_told_and_all_are_counted() {
        let served = start().await;
        let address = served.base.replace("https://localhost", "127.0.0.1");
        for _ in 0..3 {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            // until the server has ended it
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        assert_eq!(served.metrics.tls_failures.get(), 3);
        served.stop.advance(Stage::Hard);
    }

    #[tokio::test]
    async fn what_is_no_question_is_refused_with_the_reason() {
        let served = start().await;
        let large = vec![b' '; BODY_MAX_BYTES + 1];
        for (method, path, body, status, why) in [
            (Method::POST, "/other", &b"{}"[..], 404, "there is /mutate"),
            (Method::GET, "/mutate", b"", 405, "POST an AdmissionReview"),
            (Method::POST, "/mutate", b"[", 400, "not JSON"),
            (Method::POST, "/mutate", b"{}", 400, "no AdmissionReview"),
            (Method::POST, "/mutate", &large, 413, "3 MiB"),
        ] {
            let (got, answer) = served.send(method, path, body).await;
            assert_eq!(got, status, "{answer}");
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(message.contains(why), "{message}");
        }
        assert_eq!(served.counted("invalid"), 2);
        served.stop.advance(Stage::Hard);
    }
}
