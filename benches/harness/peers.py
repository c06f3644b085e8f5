"""The proxies, configured to do the same work: the caller's Authorization replaced by one token, connections
to the backend kept, hop-by-hop header fields taken out, a log line a request (or none) in a file, buffered.

Each builder answers with a running `Proxy`, or raises with the reason why it could not be started."""

import glob
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field, replace

from stage import TOKEN, Process, free_port, wait_for_port

OURS = "itwin-auth-proxy"


@dataclass(frozen=True)
class Settings:
    """What all proxies of a case have in common."""

    workers: int = 1
    logs: bool = True
    # `inject` puts our token in, `bearer` checks the caller's and passes it on; `forward` injects, and passes
    # connections on.
    work: str = "inject"


@dataclass
class Proxy:
    name: str
    http: int = field(default_factory=free_port)
    tls: int = field(default_factory=free_port)
    # The same again for large plain bodies and tunnels, where a proxy has to be told to `splice`.
    bulk: int = 0
    # Where connections to any host are passed on, and whether by CONNECT.
    tcp: int = field(default_factory=free_port)
    by_connect: bool = False
    admin: int = 0
    process: Process = None
    ready_seconds: float = 0.0

    def __post_init__(self):
        self.bulk = self.bulk or self.http

    @property
    def pid(self):
        return self.process.pid


def direct(stage, _settings):
    """No proxy: what the backend alone costs."""
    proxy = Proxy("direct", http=stage.backend_port, tls=0)
    proxy.process = stage.backend
    return proxy


def bare(stage, settings):
    """A proxy on hyper that does nothing else, see benches/load/bare.rs: what a product adds is ours beside it."""
    proxy = Proxy("bare", tls=0)
    proxy.process = stage.start(
        "bare", [stage.tool, "bare", f"127.0.0.1:{stage.backend_port}", TOKEN], stage.place(settings.workers)
    )
    proxy.http = stage.port_of(proxy.process)
    check(stage, proxy, settings)
    return proxy


def nginx(stage, settings):
    proxy = Proxy("nginx")
    name = f"nginx-{proxy.http}"
    for folder in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
        os.makedirs(stage.path(name, folder))
    log = f"{stage.path('nginx-requests.log')} combined buffer=64k flush=1s" if settings.logs else "off"
    config = stage.write(f"{name}.conf", f"""
daemon off; worker_processes {settings.workers}; worker_rlimit_nofile 20000; pid {stage.path(name)}.pid; error_log stderr error;
events {{ worker_connections 14000; }}
http {{
  client_body_temp_path {name}/body; proxy_temp_path {name}/proxy; fastcgi_temp_path {name}/fastcgi;
  uwsgi_temp_path {name}/uwsgi; scgi_temp_path {name}/scgi;
  access_log {log}; keepalive_requests 1000000000; keepalive_timeout 300s; client_max_body_size 0;
  large_client_header_buffers 8 32k; http2_max_concurrent_streams 1000;
  ssl_certificate {stage.certificate}; ssl_certificate_key {stage.key}; ssl_protocols TLSv1.2 TLSv1.3;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream backend {{ server 127.0.0.1:{stage.backend_port}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{proxy.http} reuseport backlog=4096;
    listen 127.0.0.1:{proxy.tls} ssl http2 reuseport backlog=4096;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $proxy_host;
    proxy_set_header Authorization "Bearer {TOKEN}";
    proxy_request_buffering off; proxy_max_temp_file_size 0;
    location / {{ proxy_pass http://backend; }}
    location = /tunnel {{
      proxy_pass http://backend; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_set_header Authorization "Bearer {TOKEN}";
    }}
    location ~ ^/(links|page)$ {{
      proxy_pass http://backend;
      sub_filter_types application/json; sub_filter_once off;
      sub_filter "http://127.0.0.1:{stage.backend_port}" "http://$http_host";
    }}
  }}
}}
""")
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if not program:
        raise RuntimeError("nginx is not installed")
    return launched(stage, proxy, [program, "-p", stage.home, "-e", "stderr", "-c", config], settings)


def haproxy(stage, settings):
    proxy = Proxy("haproxy", bulk=free_port())
    with open(stage.path("haproxy.pem"), "w") as bundle:
        for name in (stage.certificate, stage.key):
            with open(name) as file:
                bundle.write(file.read())
    # It writes no files of its own; a ring in a mapped file is the cheapest that it can do.
    ring = f"""
ring requests
  format raw
  maxlen 4000
  size 1048576
  backing-file {stage.path(f'haproxy-requests-{proxy.http}.log')}
""" if settings.logs else ""
    log = "log ring@requests local0" if settings.logs else ""
    http_log = "option httplog\n  log global" if settings.logs else ""
    rules = f'http-request set-header Authorization "Bearer {TOKEN}"'
    if settings.work == "bearer":
        rules = f"""http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str RS256 }}
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_payload_query('$.iss') -m str {stage.issuer} }}
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_payload_query('$.aud') -m str api://bench }}
  http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(txn.alg,"{stage.path('jwt.pem')}") -m int 1 }}"""
    config = stage.write(f"haproxy-{proxy.http}.cfg", f"""
global
  nbthread {settings.workers}
  maxconn 11000
  no strict-limits
  # Room for the token also where a body fills the buffer.
  tune.maxrewrite 8192
  ssl-default-bind-options ssl-min-ver TLSv1.2
  {log}
{ring}
defaults
  mode http
  timeout client 300s
  timeout server 300s
  timeout tunnel 300s
  timeout connect 5s
  timeout http-keep-alive 300s
  {http_log}
frontend requests
  maxconn 11000
  bind 127.0.0.1:{proxy.http} backlog 4096
  bind 127.0.0.1:{proxy.tls} ssl crt {stage.path('haproxy.pem')} alpn h2,http/1.1 backlog 4096
  {rules}
  default_backend backend
frontend tcp
  mode tcp
  option splice-request
  option splice-response
  bind 127.0.0.1:{proxy.tcp} backlog 4096
  default_backend tcp
backend tcp
  mode tcp
  option splice-request
  option splice-response
  server one 127.0.0.1:{stage.backend_port}
frontend bulk
  option splice-request
  option splice-response
  bind 127.0.0.1:{proxy.bulk} backlog 4096
  {rules}
  default_backend bulk
backend backend
  http-reuse always
  server one 127.0.0.1:{stage.backend_port} pool-max-conn 1024
backend bulk
  option splice-request
  option splice-response
  http-reuse always
  server one 127.0.0.1:{stage.backend_port} pool-max-conn 1024
""")
    program = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
    if not program:
        raise RuntimeError("HAProxy is not installed")
    return launched(stage, proxy, [program, "-db", "-q", "-f", config], settings)


def envoy_cached(stage, settings):
    """With its cache of tokens."""
    return envoy(stage, settings, name="envoy-cached", cache={"jwt_cache_size": 20000, "jwt_max_token_size": 8192})


def envoy(stage, settings, name="envoy", cache=None):
    found = glob.glob(os.path.join(os.path.dirname(stage.home), "venv/lib/python3*/site-packages/envoy/_bin/envoy"))
    if not found:
        raise RuntimeError("Envoy is not installed")
    proxy = Proxy(name)
    kinds = "type.googleapis.com/envoy."

    def typed(name, kind, **values):
        return {"name": name, "typed_config": {"@type": kinds + kind, **values}}

    def address(port):
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    secret = stage.write("envoy-token.yaml", json.dumps({"resources": [{
        "@type": kinds + "extensions.transport_sockets.tls.v3.Secret", "name": "token",
        "generic_secret": {"secret": {"inline_string": f"Bearer {TOKEN}"}},
    }]}))
    first = typed(
        "envoy.filters.http.credential_injector", "extensions.filters.http.credential_injector.v3.CredentialInjector",
        overwrite=True,
        credential=typed(
            "envoy.http.injected_credentials.generic", "extensions.http.injected_credentials.generic.v3.Generic",
            header="Authorization",
            credential={"name": "token", "sds_config": {"path_config_source": {"path": secret}, "resource_api_version": "V3"}},
        ),
    )
    if settings.work == "bearer":
        provider = {"issuer": stage.issuer, "audiences": ["api://bench"], "forward": True,
                    "local_jwks": {"filename": stage.path("jwks.json")}}
        if cache:
            provider["jwt_cache_config"] = cache
        first = typed(
            "envoy.filters.http.jwt_authn", "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            providers={"idp": provider}, rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "idp"}}],
        )
    log = [typed("envoy.access_loggers.file", "extensions.access_loggers.file.v3.FileAccessLog",
                 path=stage.path("envoy-requests.log"))] if settings.logs else []
    manager = typed(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="requests", codec_type="AUTO", access_log=log,
        http2_protocol_options={"max_concurrent_streams": 1000}, upgrade_configs=[{"upgrade_type": "websocket"}],
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "0s"}}]}]},
        http_filters=[first, typed("envoy.filters.http.router", "extensions.filters.http.router.v3.Router")],
    )
    tls = typed(
        "tls", "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context={"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [
            {"certificate_chain": {"filename": stage.certificate}, "private_key": {"filename": stage.key}}]},
    )
    thresholds = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    config = stage.write(f"envoy-{proxy.http}.json", json.dumps({"static_resources": {
        "listeners": [
            {"name": "http", "address": address(proxy.http), "filter_chains": [{"filters": [manager]}]},
            {"name": "tls", "address": address(proxy.tls), "filter_chains": [{"filters": [manager], "transport_socket": tls}]},
        ],
        "clusters": [{
            "name": "backend", "type": "STATIC", "connect_timeout": "5s", "circuit_breakers": {"thresholds": [thresholds]},
            "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": address(stage.backend_port)}}]}]},
        }],
    }}))
    command = [found[0], "-c", config, "--concurrency", str(settings.workers), "--disable-hot-restart", "-l", "error",
               "--service-node", "bench", "--service-cluster", "bench"]
    return launched(stage, proxy, command, settings)


def ours(program, name=OURS, restless=False):
    """A builder for this program, everything on that is on by default. A restless one gets tokens of a few seconds
    and has a certificate of its own, which can change."""

    def build(stage, settings):
        proxy = Proxy(name, admin=free_port())
        endpoint = stage.token_endpoint.url
        # Short tokens are renewed when they age, not for every call.
        remaining = {"min_remaining": "1s"} if restless else {}
        route = {"inject": {"credential": "agent", **remaining}}
        if settings.work == "bearer":
            route = {"admit": [{"bearer": {"provider": "idp", "audiences": ["api://bench"]}}]}
        certificate, key = stage.certificate, stage.key
        if restless:
            certificate, key = (shutil.copy(file, stage.path(f"own-{os.path.basename(file)}")) for file in (certificate, key))
        named, forward = [], {}
        if settings.work == "forward":
            authority = dict(zip(("certificate", "key"), stage.authority))
            forward = {"interception": {**authority, "hosts": ["opened.bench"]}}
            named = [{**route, "hosts": ["opened.bench"], "upstream": f"http://127.0.0.1:{stage.backend_port}"}]
            proxy.by_connect = True
        listener = {"bind": f"127.0.0.1:{proxy.tcp}", "mode": "forward", "hosts": ["127.0.0.1"],
                    "ports": [443, stage.backend_port], "networks": ["127.0.0.0/8"]}
        config = stage.write(f"{name}-{proxy.http}.yaml", json.dumps({
            **forward,
            "workers": settings.workers,
            "providers": {"idp": {
                "issuer": stage.issuer, "token_endpoint": endpoint + ("/short" if restless else "/token"),
                **({"jwks_uri": endpoint + "/jwks"} if settings.work == "bearer" else {}),
            }},
            "credentials": {"agent": {"provider": "idp", "client_id": "bench", "client_secret": "bench"}},
            "listeners": [
                {"bind": f"127.0.0.1:{proxy.http}"},
                {"bind": f"127.0.0.1:{proxy.tls}", "tls": {"certificate": certificate, "key": key}},
                *([listener] if forward else []),
            ],
            "routes": [*named, {**route, "upstream": f"http://127.0.0.1:{stage.backend_port}"}],
            # Room for the 10,000 connections of a case, and those of the load before it.
            "limits": {"connections": 11000},
            "admin": f"127.0.0.1:{proxy.admin}",
            "log": {"requests": settings.logs},
        }))
        started = time.monotonic()
        proxy.process = stage.start(
            f"{name}-{proxy.http}", [os.path.abspath(program), "run", "--config", config], stage.place(settings.workers)
        )
        wait_until_ready(proxy)
        proxy.ready_seconds = time.monotonic() - started
        check(stage, proxy, settings)
        return proxy

    return build


def injection(program):
    """Ours once more, putting its token in, beside a case in which others are checked."""

    def build(stage, settings):
        return ours(program, "injection")(stage, replace(settings, work="inject"))

    return build


def launched(stage, proxy, command, settings):
    proxy.process = stage.start(f"{proxy.name}-{proxy.http}", command, stage.place(settings.workers))
    wait_for_port(proxy.http, proxy.process)
    check(stage, proxy, settings)
    return proxy


def wait_until_ready(proxy):
    end = time.monotonic() + 15
    while time.monotonic() < end and proxy.process.running():
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{proxy.admin}/ready", timeout=1).close()
            return
        except OSError:
            time.sleep(0.001)
    raise RuntimeError(f"{proxy.name} did not become ready, see {proxy.process.log}")


def check(stage, proxy, settings):
    """It does the work. Envoy listens before it is ready to."""
    end = time.monotonic() + 5
    while True:
        try:
            return at_work(stage, proxy, settings)
        except RuntimeError:
            if time.monotonic() > end or not proxy.process.running():
                raise
            time.sleep(0.05)


def at_work(stage, proxy, settings):
    """Exactly its token arrives, though the caller sent another; or good tokens pass and others do not."""
    if settings.work in ("inject", "forward"):
        expect(proxy, "Bearer dummy", 200, f"Bearer {TOKEN}")
        return
    good = stage.tokens()[0]
    flipped = good[:-20] + ("A" if good[-20] != "A" else "B") + good[-19:]
    expect(proxy, f"Bearer {good}", 200, f"Bearer {good}")
    expect(proxy, f"Bearer {flipped}", 401)
    expect(proxy, None, 401)


def expect(proxy, authorization, status, arrives=None):
    headers = {"Authorization": authorization} if authorization else {}
    request = urllib.request.Request(f"http://127.0.0.1:{proxy.http}/authorization", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            found, text = answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        found, text = error.code, ""
    if found != status or (arrives and text != arrives):
        raise RuntimeError(f"{proxy.name} does not do the work: {found}, {text[:80]!r} where {status} was due")
