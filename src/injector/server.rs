//! The webhook's listener: HTTPS, `POST /mutate`.
//!
//! Bounded in every direction: connections, a body's size and time, the life of a connection. The
//! answer itself is made without waiting for anything, so that it is always there before the API
//! server's own patience ends (`timeoutSeconds`, at least a second).

use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    fault::short,
    review::{self, Admission},
    sidecar::Form,
};
use crate::{
    config::injector::InjectionSettings,
    metrics::{AdmissionLabels, InjectorMetrics},
    shutdown::{Shutdown, Stage},
    tls::reload::Current,
};

/// etcd takes objects of 1.5 MB, and a review holds two at most.
const BODY_MAX_BYTES: usize = 3 << 20;
/// API servers are few, and share connections among requests.
const ALL: u32 = 256;
const HANDSHAKE: Duration = Duration::from_secs(5);
/// An API server waits 30 seconds at most; what has not come by then is of no use.
const BODY: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(120);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Of a pod's problems in the log.
const LONGEST_LINE: usize = 4096;

/// What answers questions.
#[derive(Debug)]
pub struct Webhook {
    pub settings: InjectionSettings,
    /// As the cluster is known to run sidecars now.
    pub form: watch::Receiver<Form>,
    pub metrics: InjectorMetrics,
}

/// Serves until a soft stop, and returns when connections have finished what was under way.
pub async fn serve(listener: TcpListener, tls: Current, webhook: Arc<Webhook>, stop: Shutdown) {
    let places = Arc::new(Semaphore::new(ALL as usize));
    loop {
        // the semaphore is never closed
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.reached(Stage::Soft) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let config = Arc::clone(&tls.borrow());
                let acceptor = TlsAcceptor::from(config);
                let connection = connection(stream, acceptor, Arc::clone(&webhook), stop.clone());
                stop.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "webhook: accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // each connection gives its place back when it has ended
    let _ = places.acquire_many(ALL).await;
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    webhook: Arc<Webhook>,
    stop: Shutdown,
) {
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let invalid = error.kind() == io::ErrorKind::InvalidData;
            let error = &error as &dyn std::error::Error;
            if invalid {
                // such as of an API server that does not trust the certificate
                tracing::warn!(error, "webhook: no TLS connection");
            } else {
                // somebody looks whether the port is open
                tracing::debug!(error, "webhook: no TLS connection");
            }
            return;
        }
        Err(_) => return,
    };
    let service = service_fn(move |request| {
        let webhook = Arc::clone(&webhook);
        async move { Ok::<_, Infallible>(webhook.serve(request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .keep_alive_interval(IDLE);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // how a connection ends is its peer's business
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.reached(Stage::Soft) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

impl Webhook {
    async fn serve(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != "/mutate" {
            return refuse(StatusCode::NOT_FOUND, "there is /mutate");
        }
        if request.method() != Method::POST {
            let mut answer = refuse(StatusCode::METHOD_NOT_ALLOWED, "POST an AdmissionReview");
            let post = HeaderValue::from_static("POST");
            answer.headers_mut().insert(header::ALLOW, post);
            return answer;
        }
        let body = Limited::new(request.into_body(), BODY_MAX_BYTES).collect();
        let body = match timeout(BODY, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let text = "an AdmissionReview has 3 MiB at most";
                return refuse(StatusCode::PAYLOAD_TOO_LARGE, text);
            }
            Ok(Err(_)) => return refuse(StatusCode::BAD_REQUEST, "the body broke off"),
            Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
        };
        self.answer(&body)
    }

    fn answer(&self, body: &[u8]) -> Response<Full<Bytes>> {
        let form = *self.form.borrow();
        let answer = match review::answer(body, &self.settings, form) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "webhook: no question"
                );
                self.count("invalid");
                return refuse(StatusCode::BAD_REQUEST, &error.to_string());
            }
        };
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
        json_answer(StatusCode::OK, answer.body.to_string())
    }
}

impl Webhook {
    fn count(&self, result: &'static str) {
        let labels = AdmissionLabels { result };
        self.metrics.admissions.get_or_create(&labels).inc();
    }
}

/// In the shape of all our errors.
fn refuse(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    let code = status
        .canonical_reason()
        .unwrap_or_default()
        .replace(' ', "");
    let body = json!({ "error": { "code": code, "message": message } });
    json_answer(status, body.to_string())
}

fn json_answer(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
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
        clock::Clock, config::ClientTls, http::client::HttpClient, injector::tests::settings,
        metrics::Metrics, tls::issued::Issued,
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
        let webhook = Arc::new(Webhook {
            settings: settings(),
            form: watch::channel(Form::Native).1,
            metrics: metrics.clone(),
        });
        let stop = Shutdown::new();
        let (_, current) = watch::channel(issued.server_config().unwrap());
        let serving = stop.spawn(serve(listener, current, webhook, stop.clone()));
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
        let tls = ClientTls {
            extra_ca: vec![served.ca.path().to_owned()],
            ..ClientTls::default()
        };
        let config = crate::tls::client::client_config(&tls, &[b"http/1.1"]).unwrap();
        let tcp = TcpStream::connect(format!("127.0.0.1:{port}"))
            .await
            .unwrap();
        let connector = tokio_rustls::TlsConnector::from(config);
        let name = "localhost".try_into().unwrap();
        let mut stream = connector.connect(name, tcp).await.unwrap();
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
