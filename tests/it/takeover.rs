//! Taking the place of a service: its name leads to us, and we show a certificate for it.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::Arc,
};

use itwin_auth_proxy::{clock::Clock, tls::authority::Authority as Opener};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    certificates::Authority,
    client::Client,
    dns, idp,
    origin::{self, Connection, Origin},
    proxy::{self, Builder, Proxy},
    wait, wire,
};

const HOST: &str = "api.bentley.com";

/// An authority of an interception, in files.
struct Opening {
    directory: TempDir,
}

impl Opening {
    fn new(hosts: &[&str]) -> Self {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let lifetime = std::time::Duration::from_secs(24 * 3600);
        let made = Opener::new(&hosts, Clock::system().now(), lifetime).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.crt"), made.certificate).unwrap();
        fs::write(directory.path().join("ca.key"), made.key.expose()).unwrap();
        Self { directory }
    }

    fn file(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    fn config(&self, hosts: &[&str]) -> Value {
        json!({"certificate": self.file("ca.crt"), "key": self.file("ca.key"), "hosts": hosts})
    }

    /// A caller that was told to trust it.
    fn caller(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_file(self.file("ca.crt")).unwrap();
        roots.add(own).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// In the place of `hosts`.
fn taking(builder: Builder, opening: &Opening, hosts: &[&str]) -> Builder {
    builder.with("interception", opening.config(hosts)).with(
        "listeners",
        json!([{"bind": "127.0.0.1:0", "tls": {"minted": true}}]),
    )
}

/// TLS as somebody whose name for the service leads to us.
fn call(
    proxy: &Proxy,
    name: &str,
    config: Arc<ClientConfig>,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = ClientConnection::new(config, name).unwrap();
    let mut stream = wire::tcp(proxy.address);
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(tls, stream))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

fn hello(mut connection: Connection) {
    while let Some(request) = connection.request() {
        let host = request.field("host").unwrap();
        let link = format!("Location: https://{host}/next\r\n");
        connection.send(origin::answer("201 Created", &link, "hello"));
    }
}

/// The real service, under its real name, at an address that the system's resolver does not know.
struct Real {
    origin: Origin,
    authority: Authority,
}

impl Real {
    fn new() -> Self {
        let authority = Authority::new();
        let server = authority.issue(HOST).server(&["http/1.1"]);
        Self {
            origin: origin::serving_tls(server, hello),
            authority,
        }
    }

    fn builder(&self, found: &Value) -> Builder {
        let port = self.origin.address.port();
        let mut tls = json!({"extra_ca": self.authority.file()});
        for (key, value) in found.as_object().unwrap() {
            tls[key] = value.clone();
        }
        proxy::to_url(&format!("https://{HOST}:{port}")).route("upstream.tls", tls)
    }
}

#[test]
fn an_agent_that_calls_the_service_by_name_is_served_by_us_and_the_service_is_found_elsewhere() {
    let opening = Opening::new(&[HOST]);
    let real = Real::new();
    let idp = idp::issuing();
    let server = dns::saying(vec![vec![Ipv4Addr::LOCALHOST.into()]]);
    let pinned = json!({"addresses": real.origin.address.to_string()});
    for found in [pinned, json!({"name_servers": server.address.to_string()})] {
        let proxy = taking(real.builder(&found).injecting(&idp), &opening, &[HOST]).start();
        let tls = call(&proxy, HOST, opening.caller(&["http/1.1"])).unwrap();
        let answer = Client::over(tls).send(get("/imodels")).answer();
        answer.is_the_upstreams(201);
        let request = real.origin.requests().pop().unwrap();
        let token = request.field("authorization").unwrap();
        assert!(token.starts_with("Bearer token-"), "{token}");
        assert!(request.field("host").unwrap().starts_with(HOST));
        // links that lead to the service lead to us, as its name does
        assert_eq!(
            answer.field("location"),
            Some("https://api.bentley.com/next")
        );
    }
}

#[test]
fn an_upstream_whose_name_leads_back_to_us_is_refused_and_no_request_goes_round() {
    let free = || {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().port()
    };
    for bind in ["127.0.0.1", "0.0.0.0"] {
        let (opening, port) = (Opening::new(&[HOST]), free());
        let ours = format!("127.0.0.1:{port}");
        let proxy = proxy::to_url(&format!("https://{HOST}:{port}"))
            // as if the machine had been told to trust us, and a name server had been told to lead here
            .route(
                "upstream.tls",
                json!({"extra_ca": opening.file("ca.crt"), "addresses": ours}),
            )
            .route("admit", "anyone")
            .with("interception", opening.config(&[HOST]))
            .with(
                "listeners",
                json!([{"bind": format!("{bind}:{port}"), "tls": {"minted": true}}]),
            )
            .start();
        let mut stream = wire::tcp(ours.parse().unwrap());
        let name = ServerName::try_from(HOST).unwrap();
        let mut tls = ClientConnection::new(opening.caller(&["http/1.1"]), name).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).unwrap();
        }
        let tls = StreamOwned::new(tls, stream);
        let mut caller = Client::over(tls);
        let answer = caller.send(get("/imodels")).answer();
        answer.is_refused(502, "UpstreamIsThisProxy");
        // the connection to ourselves may have been accepted before it was given up
        wait::until("only the caller's own is open", || proxy.open() == 1);
    }
}

#[test]
fn each_name_has_its_certificate_and_http_2_is_spoken() {
    let hosts = ["api.bentley.com", "*.example.com"];
    let opening = Opening::new(&hosts);
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = taking(proxy::to(&origin), &opening, &hosts).start();
    for name in ["api.bentley.com", "a.example.com", "B.c.EXAMPLE.com"] {
        let tls = call(&proxy, name, opening.caller(&["h2", "http/1.1"])).unwrap();
        assert_eq!(tls.conn.alpn_protocol(), Some(&b"h2"[..]), "{name}");
    }
}

#[test]
fn a_name_that_is_not_opened_or_none_is_told_so_in_the_handshake() {
    let opening = Opening::new(&[HOST]);
    let origin = origin::answering([] as [String; 0]);
    let proxy = taking(proxy::to(&origin), &opening, &[HOST]).start();
    for name in ["ims.bentley.com", "x.api.bentley.com", "127.0.0.1"] {
        let error = call(&proxy, name, opening.caller(&[])).unwrap_err();
        let cause = error
            .get_ref()
            .and_then(|e| e.downcast_ref::<rustls::Error>());
        let told = rustls::Error::AlertReceived(AlertDescription::UnrecognisedName);
        assert_eq!(cause, Some(&told), "{name}: {error:?}");
    }
    assert!(call(&proxy, HOST, opening.caller(&[])).is_ok());
}

#[test]
fn a_name_with_a_final_dot_is_the_same_name() {
    let opening = Opening::new(&[HOST]);
    let origin = origin::answering([] as [String; 0]);
    let proxy = taking(proxy::to(&origin), &opening, &[HOST]).start();
    for (name, answer) in [("api.bentley.com.", 22), ("ims.bentley.com.", 21)] {
        // clients that are well made leave the dot out
        let whole = name.replace(".com.", ".comx");
        let server = ServerName::try_from(whole.clone()).unwrap();
        let mut tls = ClientConnection::new(opening.caller(&[]), server).unwrap();
        let mut hello = Vec::new();
        tls.write_tls(&mut hello).unwrap();
        let mut windows = hello.windows(whole.len());
        let at = windows.position(|found| found == whole.as_bytes()).unwrap();
        hello[at..at + name.len()].copy_from_slice(name.as_bytes());
        let mut stream = wire::tcp(proxy.address);
        stream.write_all(&hello).unwrap();
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(first, [answer], "{name}");
    }
}

/// A record of a handshake.
fn record(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[22, 3, 1][..], &length, content].concat()
}

/// A `ClientHello` whose extension `server_name` has these bytes.
fn client_hello(server_name: &[u8]) -> Vec<u8> {
    let two = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
    let mut extensions = Vec::new();
    let mut extension = |number: [u8; 2], content: &[u8]| {
        extensions.extend(number);
        extensions.extend(two(content.len()));
        extensions.extend(content);
    };
    extension([0, 0], server_name);
    extension([0, 10], &[0, 2, 0, 29]);
    extension([0, 13], &[0, 2, 4, 3]);
    extension([0, 43], &[2, 3, 4]);
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2, 0x13, 1, 1, 0]);
    body.extend(two(extensions.len()));
    body.extend(extensions);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1][..], &length[1..], &body].concat()
}

fn in_records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(record).collect()
}

/// The list in the extension: one `host_name`.
fn one_name(name: &[u8]) -> Vec<u8> {
    let two = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
    [&two(name.len() + 3)[..], &[0], &two(name.len()), name].concat()
}

#[test]
fn forged_names_fragments_and_64_kb_end_one_connection_and_no_more() {
    let hosts = ["*.example.com"];
    let opening = Opening::new(&hosts);
    let origin = origin::answering([origin::ok("hello")]);
    let builder = taking(proxy::to(&origin), &opening, &hosts);
    let proxy = builder.with("limits.header_timeout", "1s").start();
    let long = [vec![b'a'; 65_000], b".example.com".to_vec()].concat();
    let label = [b'a'; 64];
    let hostile: Vec<Vec<u8>> = vec![
        vec![],
        vec![0, 0],
        vec![255, 255],
        one_name(b""),
        one_name(b"a.example.com\0.evil.test"),
        one_name(b"..example.com"),
        one_name(b"*.example.com"),
        one_name(b"a.example.com."),
        one_name(b"\xff\xfe.example.com"),
        one_name(b"../../etc.example.com"),
        one_name(&[&label[..], b".example.com"].concat()),
        one_name(&[b"a.".repeat(200), b"example.com".to_vec()].concat()),
        [one_name(b"a.example.com"), one_name(b"b.example.com")].concat(),
        // two names of the same kind in one list
        [
            &[0, 32][..],
            &[0, 0, 13],
            b"a.example.com",
            &[0, 0, 13],
            b"b.example.com",
        ]
        .concat(),
        one_name(&long),
    ];
    for name in hostile {
        for size in [16_384, 1, 7] {
            if size < 16 && name.len() > 1000 {
                continue;
            }
            let mut stream = wire::tcp(proxy.address);
            let _ = stream.write_all(&in_records(&client_hello(&name), size));
            // an alert and the end, the end alone, or nothing more until the handshake's time is up
            let mut answer = Vec::new();
            match stream.read_to_end(&mut answer) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
            }
            assert!(answer.is_empty() || answer[0] == 21, "{name:?} {answer:?}");
        }
    }
    // in pieces, but good
    let name = ServerName::try_from("a.example.com").unwrap();
    let mut tls = ClientConnection::new(opening.caller(&[]), name).unwrap();
    let mut whole = Vec::new();
    tls.write_tls(&mut whole).unwrap();
    let mut stream = wire::tcp(proxy.address);
    for byte in in_records(&whole[5..], 5) {
        stream.write_all(&[byte]).unwrap();
    }
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).unwrap();
    }
}

#[test]
fn a_client_that_hangs_in_the_client_hello_is_given_up() {
    let opening = Opening::new(&[HOST]);
    let origin = origin::answering([] as [String; 0]);
    let builder = taking(proxy::to(&origin), &opening, &[HOST]);
    let proxy = builder.with("limits.header_timeout", "300ms").start();
    let mut stream = wire::tcp(proxy.address);
    let hello = record(&client_hello(&one_name(HOST.as_bytes())));
    stream.write_all(&hello[..hello.len() - 1]).unwrap();
    let mut answer = Vec::new();
    // the end, within the time that a read may take
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.is_empty());
}

#[test]
fn a_thousand_connections_at_once_to_a_thousand_hosts_are_served() {
    let hosts = ["*.example.com"];
    let opening = Opening::new(&hosts);
    let origin = origin::answering([] as [String; 0]);
    let proxy = taking(proxy::to(&origin), &opening, &hosts).start();
    let caller = opening.caller(&[]);
    let mut waiting: Vec<(ClientConnection, TcpStream)> = (0..1000)
        .map(|n| {
            let name = ServerName::try_from(format!("host-{n}.example.com")).unwrap();
            let mut tls = ClientConnection::new(Arc::clone(&caller), name).unwrap();
            let mut stream = wire::tcp(proxy.address);
            // the ClientHello alone: all wait at once
            tls.write_tls(&mut stream).unwrap();
            (tls, stream)
        })
        .collect();
    for (tls, stream) in &mut waiting {
        while tls.is_handshaking() {
            tls.complete_io(stream).unwrap();
        }
    }
    assert!(proxy.open() >= 1000, "{}", proxy.open());
}
