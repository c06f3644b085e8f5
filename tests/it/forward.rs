//! Callers that know a forward proxy: absolute form and CONNECT.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::support::{
    certificates::Authority,
    client::Client,
    dns, http2,
    idp::{self, Idp},
    origin::{self, Origin},
    proxy::{self, Builder, Proxy},
    wait::{self, Gate},
    wire,
};

/// A forward listener, and a route to `origin` for `api.test`.
fn forwarding(origin: &Origin, idp: &Idp, listener: &Value) -> Builder {
    let mut whole = json!({"bind": "127.0.0.1:0", "mode": "forward"});
    let keys = whole.as_object_mut().unwrap();
    keys.extend(listener.as_object().unwrap().clone());
    proxy::to(origin)
        .injecting(idp)
        .route("hosts", "api.test")
        .with("listeners", json!([whole]))
}

/// A host of this machine is reached, at this port.
fn reaching(origin: &Origin) -> Value {
    json!({"hosts": ["127.0.0.1"], "ports": [port(origin)], "networks": ["127.0.0.0/8"]})
}

fn port(origin: &Origin) -> u16 {
    origin.url().rsplit(':').next().unwrap().parse().unwrap()
}

fn absolute(url: &str, fields: &str) -> String {
    format!("GET {url} HTTP/1.1\r\nHost: whatever.test\r\n{fields}\r\n")
}

/// The answer to CONNECT, and the connection after it.
fn connect(proxy: &Proxy, authority: &str, fields: &str) -> (u16, Client) {
    let mut client = proxy.connect();
    client.send(format!(
        "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n"
    ));
    let answer = client.head();
    (answer.status(), client)
}

fn refused(proxy: &Proxy, authority: &str, status: u16, code: &str) {
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: x\r\n\r\n");
    proxy.send(request).is_refused(status, code);
}

#[test]
fn a_host_that_a_route_names_gets_a_token_whatever_the_scheme() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let proxy = forwarding(&origin, &idp, &json!({})).start();
    for url in [
        "http://api.test/imodels?a=%2F&$top=1",
        "https://api.test/imodels?a=%2F&$top=1",
        "https://API.TEST:443/imodels?a=%2F&$top=1",
        "http://api.test:80/imodels?a=%2F&$top=1",
    ] {
        proxy.send(absolute(url, "")).is_the_upstreams(200);
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.start_line(), "GET /imodels?a=%2F&$top=1 HTTP/1.1");
        assert_eq!(
            request.field("host"),
            Some(&origin.url()["http://".len()..])
        );
        let token = request.field("authorization").unwrap();
        assert!(token.starts_with("Bearer "), "{token}");
    }
}

#[test]
fn a_route_without_hosts_is_for_its_upstream_only() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let proxy = proxy::to(&origin)
        .injecting(&idp)
        .with(
            "listeners",
            json!([{"bind": "127.0.0.1:0", "mode": "forward"}]),
        )
        .start();
    proxy
        .send(absolute(&format!("{}/x", origin.url()), ""))
        .is_the_upstreams(200);
    for url in [
        "http://evil.test/x",
        "https://evil.test/x",
        "http://127.0.0.1:1/x",
    ] {
        proxy
            .send(absolute(url, ""))
            .is_refused(403, "HostNotAllowed");
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_host_that_only_the_listener_names_passes_untouched() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let proxy = forwarding(&origin, &idp, &reaching(&origin)).start();
    let url = format!("{}/c/blob?sig=a%2Fb%2B&se=1", origin.url());
    let own = "Authorization: SharedAccessSignature sr=x\r\nX-Api-Key: theirs\r\n";
    proxy.send(absolute(&url, own)).is_the_upstreams(200);
    proxy.send(absolute(&url, "")).is_the_upstreams(200);
    let requests = origin.requests();
    assert_eq!(
        requests[0].start_line(),
        "GET /c/blob?sig=a%2Fb%2B&se=1 HTTP/1.1"
    );
    assert_eq!(
        requests[0].field("host"),
        Some(&origin.url()["http://".len()..])
    );
    assert_eq!(
        requests[0].field("authorization"),
        Some("SharedAccessSignature sr=x")
    );
    assert_eq!(requests[1].field("authorization"), None);
    proxy
        .send(absolute("http://127.0.0.1:9/", ""))
        .is_refused(403, "PortNotAllowed");
}

#[test]
fn what_only_this_machine_reaches_is_not_reached_for_callers() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let port = port(&origin);
    let any = json!({"hosts": ["*"], "ports": [port, 80]});
    let proxy = forwarding(&origin, &idp, &any).start();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::]",
        "127.1",
        "2130706433",
        "0x7f.1",
    ] {
        for authority in [format!("{host}:{port}"), format!("{host}:80")] {
            refused(&proxy, &authority, 403, "AddressNotAllowed");
            proxy
                .send(absolute(&format!("http://{authority}/"), ""))
                .is_refused(403, "AddressNotAllowed");
        }
    }
    for host in [
        "169.254.169.254",
        "10.0.0.1",
        "[fd00:ec2::254]",
        "100.100.100.200",
    ] {
        refused(&proxy, &format!("{host}:80"), 403, "AddressNotAllowed");
    }
    let own = proxy.address.port();
    refused(&proxy, &format!("127.0.0.1:{own}"), 403, "PortNotAllowed");
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_tunnel_passes_bytes_both_ways_and_nothing_of_ours() {
    let origin = origin::serving(|mut connection| {
        let said = connection.exactly(11);
        assert_eq!(said, b"\x16\x03\x01raw\0\xffhey");
        connection.send(b"\x15server\0");
        connection.finish();
        assert_eq!(connection.until_closed(), b"more");
    });
    let idp = idp::issuing();
    let proxy = forwarding(&origin, &idp, &reaching(&origin)).start();
    let authority = format!("127.0.0.1:{}", port(&origin));
    let mut client = proxy.connect();
    // what a caller sends with its request is the tunnel's as well
    let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    client.send([head.as_bytes(), b"\x16\x03\x01raw"].concat());
    let answer = client.head();
    assert_eq!(answer.status(), 200, "{}", answer.head);
    for field in ["content-length", "transfer-encoding"] {
        assert_eq!(answer.field(field), None, "RFC 9110 section 9.3.6");
    }
    client.send(b"\0\xffhey");
    assert_eq!(client.until_closed(), b"\x15server\0");
    client.send(b"more").finish();
}

#[test]
fn a_tunnel_that_cannot_be_is_refused_with_the_reason() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let gone = origin::nobody();
    let reach =
        json!({"hosts": ["127.0.0.1"], "ports": [gone.port()], "networks": ["127.0.0.0/8"]});
    let proxy = forwarding(&origin, &idp, &reach).start();
    refused(&proxy, &gone.to_string(), 502, "UpstreamUnreachable");
    refused(&proxy, "elsewhere.test:443", 403, "HostNotAllowed");
    refused(&proxy, "api.test:443", 403, "HostNotOpened");
    for odd in [
        "127.0.0.1",
        "127.0.0.1:0",
        "user@127.0.0.1:80",
        "http://127.0.0.1:80/",
        "127.0.0.1:80/x",
    ] {
        let (status, _) = connect(&proxy, odd, "");
        assert_eq!(status, 400, "{odd}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn who_may_use_the_proxy_shows_a_name_and_a_password_that_go_no_further() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let mut listener = reaching(&origin);
    listener["admit"] =
        json!([{"proxy_user": {"name": "agent", "password": "a long enough one:"}}]);
    let proxy = forwarding(&origin, &idp, &listener).start();
    // agent:a long enough one:
    let good = "Proxy-Authorization: basic YWdlbnQ6YSBsb25nIGVub3VnaCBvbmU6\r\n";
    let url = "http://api.test/";
    for bad in [
        "",
        "Proxy-Authorization: Basic YWdlbnQ6\r\n",
        "Proxy-Authorization: Basic YWdlbnQ\r\n",
        "Proxy-Authorization: Basic ****\r\n",
        "Proxy-Authorization: Bearer YWdlbnQ6YSBsb25nIGVub3VnaCBvbmU6\r\n",
        "Authorization: Basic YWdlbnQ6YSBsb25nIGVub3VnaCBvbmU6\r\n",
        &format!("{good}{good}"),
    ] {
        let answer = proxy.send(absolute(url, bad));
        answer.is_refused(407, "ProxyAuthenticationRequired");
        let challenge = answer.field("proxy-authenticate").unwrap();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
        let authority = format!("127.0.0.1:{}", port(&origin));
        assert_eq!(connect(&proxy, &authority, bad).0, 407);
    }
    assert!(origin.requests().is_empty());
    proxy.send(absolute(url, good)).is_the_upstreams(200);
    proxy
        .send(absolute(&format!("{}/", origin.url()), good))
        .is_the_upstreams(200);
    for request in origin.requests() {
        assert_eq!(request.field("proxy-authorization"), None);
    }
    let authority = format!("127.0.0.1:{}", port(&origin));
    assert_eq!(connect(&proxy, &authority, good).0, 200);
}

#[test]
fn a_page_of_another_site_gets_no_token_through_its_browsers_proxy() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let proxy = forwarding(&origin, &idp, &json!({})).start();
    for fields in [
        "Origin: https://evil.test\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
    ] {
        proxy
            .send(absolute("https://api.test/", fields))
            .is_refused(403, "NotAdmitted");
    }
}

#[test]
fn programs_are_told_which_hosts_to_ask_for_here() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let listener = json!({"hosts": ["*.blob.core.windows.net", "store.test"]});
    let proxy = forwarding(&origin, &idp, &listener).start();
    let answer = proxy.get("/proxy.pac");
    assert_eq!(
        answer.field("content-type"),
        Some("application/x-ns-proxy-autoconfig")
    );
    let text = answer.text();
    for line in [
        "if (host === \"api.test\") return through;",
        "if (dnsDomainIs(host, \".blob.core.windows.net\")) return through;",
        "if (host === \"store.test\") return through;",
        "return \"DIRECT\";",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let answer = proxy.get("/imodels");
    answer.is_refused(400, "NotAbsolute");
    // where agents of generation 1.x look whether there is a proxy
    assert_eq!(proxy.get("/").status(), 200);
}

#[test]
fn links_point_where_the_caller_asked() {
    let idp = idp::issuing();
    let origin = origin::serving(|mut connection| {
        while let Some(request) = connection.request() {
            let host = request.field("host").unwrap().to_owned();
            let body = format!("{{\"_links\":{{\"next\":{{\"href\":\"http://{host}/2\"}}}}}}");
            connection.send(origin::json(&body));
        }
    });
    let proxy = forwarding(&origin, &idp, &json!({})).start();
    for scheme in ["http", "https"] {
        let answer = proxy.send(absolute(&format!("{scheme}://api.test/1"), ""));
        let next = answer.json()["_links"]["next"]["href"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(next, format!("{scheme}://api.test/2"));
    }
}

#[test]
fn a_name_that_changes_its_answer_gains_nothing() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let here: IpAddr = "127.0.0.1".parse().unwrap();
    let elsewhere: IpAddr = "127.0.0.2".parse().unwrap();
    // now what may be reached, then what may not, then both
    let names = dns::saying(vec![vec![here], vec![elsewhere], vec![elsewhere, here]]);
    let mut listener = reaching(&origin);
    listener["hosts"] = json!(["rebinds.test"]);
    listener["networks"] = json!(["127.0.0.1/32"]);
    listener["name_servers"] = json!([names.address.to_string()]);
    let proxy = forwarding(&origin, &idp, &listener).start();
    let authority = format!("rebinds.test:{}", port(&origin));
    assert_eq!(connect(&proxy, &authority, "").0, 200);
    refused(&proxy, &authority, 403, "AddressNotAllowed");
    assert_eq!(connect(&proxy, &authority, "").0, 200);
    assert!(names.asked() >= 3);
}

#[test]
fn a_stream_of_http2_may_be_a_tunnel() {
    let origin = origin::serving(|mut connection| {
        let said = connection.exactly(5);
        connection.send([said, b" back".to_vec()].concat());
    });
    let idp = idp::issuing();
    let proxy = forwarding(&origin, &idp, &reaching(&origin)).start();
    let client = http2::Client::connect(proxy.address);
    let authority = format!("127.0.0.1:{}", port(&origin));
    assert_eq!(client.tunnel(&authority, b"hello", 10), b"hello back");
}

#[test]
fn a_tunnel_counts_as_a_connection_and_ends_with_the_proxy() {
    let cut = Gate::default();
    let seen = cut.clone();
    let origin = origin::serving(move |mut connection| {
        connection.until_closed();
        seen.open();
    });
    let idp = idp::issuing();
    let proxy = forwarding(&origin, &idp, &reaching(&origin)).start();
    let authority = format!("127.0.0.1:{}", port(&origin));
    let (first, mut second) = (
        connect(&proxy, &authority, ""),
        connect(&proxy, &authority, ""),
    );
    wait::until("two connections are counted", || proxy.open() == 2);
    drop(first);
    cut.pass();
    wait::until("one connection is counted", || proxy.open() == 1);
    drop(proxy);
    assert!(second.1.until_closed().is_empty());
}

#[test]
fn a_host_without_a_route_is_asked_over_tls_as_its_caller_would() {
    let authority = Authority::new();
    let server = authority.issue("127.0.0.1").server(&["http/1.1"]);
    let origin = origin::serving_tls(server, |mut connection| {
        connection.request();
    });
    let idp = idp::issuing();
    let proxy = forwarding(&origin, &idp, &reaching(&origin)).start();
    // the system does not know the authority: what a caller sends in the clear to us goes no further
    let url = format!("https://127.0.0.1:{}/x", port(&origin));
    let answer = proxy.send(absolute(&url, "Authorization: Bearer theirs\r\n"));
    answer.is_refused(502, "UpstreamTls");
    assert!(origin.requests().is_empty());
}

#[test]
fn what_passed_through_a_tunnel_is_counted_when_it_ends() {
    let origin = origin::serving(|mut connection| {
        assert_eq!(connection.exactly(5), b"hello");
        connection.send(b"and back");
        connection.finish();
    });
    let idp = idp::issuing();
    let proxy = forwarding(&origin, &idp, &reaching(&origin))
        .with("admin.bind", "127.0.0.1:0")
        .start();
    let (status, mut client) = connect(&proxy, &format!("127.0.0.1:{}", port(&origin)), "");
    assert_eq!(status, 200);
    let metrics = || proxy.admin("/metrics").text().to_owned();
    assert!(metrics().contains("itwin_auth_proxy_tunnels 1"));
    client.send(b"hello");
    assert_eq!(client.until_closed(), b"and back");
    client.finish();
    wait::until("the tunnel has ended", || {
        metrics().contains("itwin_auth_proxy_tunnels 0")
    });
    let text = metrics();
    for line in [
        "itwin_auth_proxy_tunnel_bytes_total{direction=\"received\"} 5",
        "itwin_auth_proxy_tunnel_bytes_total{direction=\"sent\"} 8",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn the_way_to_the_proxy_may_be_tls_itself() {
    let origin = origin::serving(|mut connection| {
        assert_eq!(connection.exactly(5), b"hello");
        connection.send(b"and back");
        connection.finish();
    });
    let (idp, authority) = (idp::issuing(), Authority::new());
    let own = authority.issue("localhost");
    let mut listener = reaching(&origin);
    listener["tls"] = json!({"certificate": own.certificate, "key": own.key});
    let proxy = forwarding(&origin, &idp, &listener).start();
    let to = format!("127.0.0.1:{}", port(&origin));
    let tls = wire::tls(proxy.address, authority.client(None, &["http/1.1"])).unwrap();
    let mut client = Client::over(tls);
    client.send(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n"));
    assert_eq!(client.head().status(), 200);
    client.send(b"hello");
    assert_eq!(client.until_closed(), b"and back");
}

#[test]
fn the_proxys_own_listeners_are_never_reached_through_it() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let free = || {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().port()
    };
    let (forward, reverse, admin) = (free(), free(), free());
    let ports = [forward, reverse, admin];
    let proxy = proxy::to(&origin)
        .injecting(&idp)
        .route("hosts", "api.test")
        .with("admin.bind", format!("127.0.0.1:{admin}"))
        .with(
            "listeners",
            json!([
                {"bind": format!("127.0.0.1:{forward}"), "mode": "forward", "hosts": ["*"],
                 "networks": ["127.0.0.0/8"], "ports": ports},
                {"bind": format!("0.0.0.0:{reverse}"), "mode": "forward", "admit": [{"networks": ["127.0.0.0/8"]}]},
            ]),
        )
        .start();
    for port in ports {
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
            let authority = format!("{host}:{port}");
            refused(&proxy, &authority, 502, "UpstreamIsThisProxy");
            proxy
                .send(absolute(&format!("http://{authority}/status"), ""))
                .is_refused(502, "UpstreamIsThisProxy");
        }
    }
    refused(
        &proxy,
        &format!("127.0.0.2:{reverse}"),
        502,
        "UpstreamIsThisProxy",
    );
}

#[test]
fn tunnels_of_one_http2_connection_are_as_many_as_connections_may_be() {
    let origin = origin::serving(|mut connection| {
        connection.until_closed();
    });
    let idp = idp::issuing();
    let proxy = forwarding(&origin, &idp, &reaching(&origin))
        .with("limits.connections", 3)
        .start();
    let client = http2::Client::connect(proxy.address);
    let authority = format!("127.0.0.1:{}", port(&origin));
    let tunnels: Vec<http2::Tunnel> = (0..3)
        .map(|_| client.connected(&authority).unwrap())
        .collect();
    assert_eq!(client.connected(&authority).unwrap_err(), 503);
    drop(tunnels);
    wait::until("a tunnel may be had again", || {
        client.connected(&authority).is_ok()
    });
}

#[test]
fn the_pac_file_of_a_listener_with_tls_is_there_for_http2_and_says_https() {
    let origin = origin::answering([origin::ok("hello")]);
    let (idp, authority) = (idp::issuing(), Authority::new());
    let own = authority.issue("proxy.test");
    let listener = json!({
        "tls": {"certificate": own.certificate, "key": own.key},
        "admit": [{"networks": ["10.9.9.9/32"]}],
    });
    let proxy = forwarding(&origin, &idp, &listener).start();
    let stream = std::net::TcpStream::connect(proxy.address).unwrap();
    let config = authority.client(None, &["h2"]);
    let client = http2::Client::over_tls(stream, "proxy.test", config);
    let port = proxy.address.port();
    for host in ["proxy.test", "127.0.0.1", "localhost"] {
        let here = format!("https://{host}:{port}");
        let pac = client.send(http2::get(&format!("{here}/proxy.pac")));
        assert_eq!(pac.status, 200, "{host}");
        let text = String::from_utf8(pac.bytes().to_vec()).unwrap();
        let expected = format!("through = \"HTTPS {host}:{port}\";");
        assert!(text.contains(&expected), "{text}");
        assert_eq!(client.send(http2::get(&format!("{here}/"))).status, 200);
    }
    for others in ["https://proxy.test/proxy.pac", "https://other.test:1/"] {
        assert_eq!(client.send(http2::get(others)).status, 403, "{others}");
    }
}

#[test]
fn an_agent_that_asks_for_our_own_endpoints_through_us_is_answered_as_without() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let proxy = forwarding(&origin, &idp, &reaching(&origin))
        .with("authorities", json!([{}]))
        .start();
    let port = proxy.address.port();
    let form = "grant_type=client_credentials";
    let asked = |url: &str, fields: &str| {
        proxy.send(format!(
            "POST {url} HTTP/1.1\r\nHost: whatever.test\r\n{fields}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        ))
    };
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{port}/authority/connect/token");
        let answer = asked(&url, "");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let token = answer.json()["access_token"].to_string();
        assert!(token.starts_with("\"token-"), "{token}");
        let page = asked(&url, "Origin: http://evil.test\r\n");
        assert_eq!(page.status(), 403);
    }
    // nothing else is reached so, and another port is another's
    for url in [
        format!("http://127.0.0.1:{port}/imodels"),
        "http://127.0.0.1:1/authority/connect/token".to_owned(),
        format!("http://evil.test:{port}/authority/connect/token"),
    ] {
        assert_eq!(asked(&url, "").status(), 403, "{url}");
    }
    assert!(origin.requests().is_empty());
}
