"""Everything that runs during a measurement: token endpoint, backend, nginx and our program."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request

# As long as a real access token of a user; both proxies send the same.
TOKEN = "eyJhbGciOiJSUzI1NiJ9." + "a" * 1600 + "." + "b" * 342
KILOBYTE_PATH, JSON_PATH, LARGE_PATH, UPLOAD_PATH = "/1k", "/page.json", "/large", "/upload"
LARGE = 100 * 1000 * 1000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class TokenEndpoint:
    """Answers every token request with the same token, and counts them."""

    def __init__(self):
        endpoint = self
        self.requests = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                endpoint.requests += 1
                self.rfile.read(int(self.headers.get("content-length", 0)))
                body = json.dumps({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 86400}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Sink:
    """An HTTP/1.1 server that only swallows request bodies; nginx would answer before their end."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            peer, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        buffer = bytearray(1 << 20)
        try:
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = peer.recv(65536)
                    if not piece:
                        return
                    head += piece
                head, body = head.split(b"\r\n\r\n", 1)
                length = next(
                    int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
                )
                left = length - len(body)
                while left > 0:
                    got = peer.recv_into(buffer, min(left, len(buffer)))
                    if got == 0:
                        return
                    left -= got
                peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (OSError, StopIteration):
            pass
        finally:
            peer.close()


class Process:
    """A server of ours, pinned to a CPU, stopped with the stage."""

    def __init__(self, name, command, home, cpu, env=None):
        self.name = name
        self.log = open(os.path.join(home, f"{name}.log"), "wb")
        self.process = subprocess.Popen(
            ["taskset", "-c", str(cpu), *command],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            env={"PATH": os.environ["PATH"], **(env or {})},
        )
        self.pid = self.process.pid

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def wait_for_port(port, process, deadline=10.0):
    end = time.monotonic() + deadline
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return
        except OSError:
            if process.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{process.name} did not start, see {process.log.name}") from None
            time.sleep(0.01)


class Stage:
    """The backend on one CPU, the two proxies on the other."""

    def __init__(self, program, home, proxy_cpu, load_cpu):
        self.program = os.path.abspath(program)
        self.home = os.path.abspath(home)
        self.proxy_cpu, self.load_cpu = proxy_cpu, load_cpu
        self.processes = []
        shutil.rmtree(self.home, ignore_errors=True)
        os.makedirs(os.path.join(self.home, "files"))
        self._certificate()
        self.token_endpoint = TokenEndpoint()
        self.sink = Sink()
        self.backend_port = free_port()
        self._files()
        self.backend = self._nginx("backend", BACKEND, load_cpu, port=self.backend_port)
        wait_for_port(self.backend_port, self.backend)

    def path(self, *names):
        return os.path.join(self.home, *names)

    def _certificate(self):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", self.path("key.pem"), "-out", self.path("cert.pem")],
            check=True, capture_output=True,
        )

    def _files(self):
        with open(self.path("files", "1k"), "w") as file:
            file.write("x" * 1024)
        with open(self.path("files", "large"), "wb") as file:
            file.write(os.urandom(1 << 20) * (LARGE >> 20))
            file.write(b"x" * (LARGE - file.tell()))
        base = f"http://127.0.0.1:{self.backend_port}"
        page = {
            "iModels": [
                {
                    "id": f"5e19bee0-3aea-4355-a9f0-c6df9989ee{n:02}",
                    "displayName": f"Sun City Renewable-energy Plant {n}",
                    "_links": {
                        "creator": {"href": f"{base}/imodels/5e19bee0-3aea-4355-a9f0-c6df9989ee{n:02}/users/1"},
                        "namedVersions": {"href": f"{base}/imodels/5e19bee0-3aea-4355-a9f0-c6df9989ee{n:02}/namedversions"},
                        "changesets": {"href": f"{base}/imodels/5e19bee0-3aea-4355-a9f0-c6df9989ee{n:02}/changesets"},
                    },
                }
                for n in range(20)
            ],
            "_links": {"self": {"href": f"{base}/imodels?$skip=0"}, "prev": None, "next": {"href": f"{base}/imodels?$skip=20"}},
        }
        with open(self.path("files", "page.json"), "w") as file:
            json.dump(page, file)

    def _nginx(self, name, servers, cpu, **values):
        for folder in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
            os.makedirs(self.path("tmp", name, folder), exist_ok=True)
        values = {"home": self.home, "name": name, **values}
        text = NGINX + servers
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        with open(self.path(f"{name}.conf"), "w") as file:
            file.write(text)
        nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
        process = Process(name, [nginx, "-p", self.home, "-e", "stderr", "-c", self.path(f"{name}.conf")], self.home, cpu)
        self.processes.append(process)
        return process

    def start_nginx(self, logs=False, links=False):
        proxy = Proxy("nginx", free_port(), free_port(), free_port())
        proxy.process = self._nginx(
            f"nginx-{proxy.port}", PROXY, self.proxy_cpu,
            port=proxy.port, h2_port=proxy.h2_port, tls_port=proxy.tls_port, token=TOKEN,
            backend=self.backend_port, sink=self.sink.port,
            log=f"{self.path('nginx-access.log')} combined" if logs else "off",
            links=SUB_FILTER.replace("@backend@", str(self.backend_port)) if links else "",
        )
        wait_for_port(proxy.port, proxy.process)
        self._check(proxy)
        return proxy

    def start_ours(self, logs=False, links=False):
        proxy = Proxy("itwin-auth-proxy", free_port(), 0, free_port())
        proxy.h2_port, proxy.admin_port = proxy.port, free_port()
        config = {
            "workers": 1,
            "providers": {"idp": {"issuer": self.token_endpoint.url, "token_endpoint": f"{self.token_endpoint.url}/token"}},
            "credentials": {"agent": {"provider": "idp", "client_id": "bench", "client_secret": "bench"}},
            "listeners": [
                {"bind": f"127.0.0.1:{proxy.port}"},
                {"bind": f"127.0.0.1:{proxy.tls_port}", "tls": {"certificate": self.path("cert.pem"), "key": self.path("key.pem")}},
            ],
            "routes": [
                {"path": UPLOAD_PATH, "inject": "agent", "upstream": f"http://127.0.0.1:{self.sink.port}", "links": False},
                {"inject": "agent", "upstream": f"http://127.0.0.1:{self.backend_port}", "links": links},
            ],
            "admin": f"127.0.0.1:{proxy.admin_port}",
            "log": {"level": "info" if logs else "warn", "format": "json", "requests": logs},
        }
        file_name = self.path(f"ours-{proxy.port}.yaml")
        with open(file_name, "w") as file:
            json.dump(config, file)
        started = time.monotonic()
        proxy.process = Process(
            f"ours-{proxy.port}", [self.program, "run", "--config", file_name], self.home, self.proxy_cpu
        )
        self.processes.append(proxy.process)
        proxy.ready_seconds = self._wait_ready(proxy, started)
        return proxy

    def _wait_ready(self, proxy, started):
        while time.monotonic() < started + 10:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{proxy.admin_port}/ready", timeout=1) as answer:
                    if answer.status == 200:
                        return time.monotonic() - started
            except OSError:
                pass
            if proxy.process.process.poll() is not None:
                break
            time.sleep(0.001)
        raise RuntimeError(f"the program did not become ready, see {proxy.process.log.name}")

    def check(self, proxy):
        self._check(proxy)

    def _check(self, proxy):
        """The proxy does the work: exactly its token arrives, though the caller sent another."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{proxy.port}/authorization", headers={"Authorization": "Bearer dummy"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            got = answer.read().decode().strip()
        if got != f"Bearer {TOKEN}":
            raise RuntimeError(f"{proxy.name} did not put the token in: {got[:80]!r}")

    def stop(self, proxy=None):
        for process in [proxy.process] if proxy else reversed(self.processes):
            process.stop()
        self.processes = [process for process in self.processes if proxy and process is not proxy.process]


class Proxy:
    def __init__(self, name, port, h2_port, tls_port):
        self.name, self.port, self.h2_port, self.tls_port = name, port, h2_port, tls_port

    @property
    def pid(self):
        return self.process.pid


NGINX = """
daemon off; worker_processes 1; pid @home@/@name@.pid; error_log stderr warn;
events { worker_connections 8192; }
"""
TEMPORARY = """
  client_body_temp_path @home@/tmp/@name@/body; proxy_temp_path @home@/tmp/@name@/proxy;
  fastcgi_temp_path @home@/tmp/@name@/fastcgi; uwsgi_temp_path @home@/tmp/@name@/uwsgi; scgi_temp_path @home@/tmp/@name@/scgi;
"""
BACKEND = """
http {""" + TEMPORARY + """
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 600s;
  large_client_header_buffers 8 32k; types { application/json json; } default_type application/octet-stream;
  open_file_cache max=16;
  server {
    listen 127.0.0.1:@port@ backlog=4096; root @home@/files;
    location = /authorization { return 200 "$http_authorization\\n"; }
  }
}
"""
PROXY = """
http {""" + TEMPORARY + """
  access_log @log@; keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 0;
  large_client_header_buffers 8 32k; ssl_certificate @home@/cert.pem; ssl_certificate_key @home@/key.pem;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:10m; http2_max_requests 1000000000;
  upstream backend { server 127.0.0.1:@backend@; keepalive 256; keepalive_requests 1000000000; }
  upstream sink { server 127.0.0.1:@sink@; keepalive 16; }
  server {
    listen 127.0.0.1:@port@ backlog=4096; listen 127.0.0.1:@h2_port@ http2 backlog=4096;
    listen 127.0.0.1:@tls_port@ ssl http2 backlog=4096;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $proxy_host;
    proxy_set_header Authorization "Bearer @token@";
    proxy_request_buffering off; proxy_max_temp_file_size 0;
    @links@
    location = /upload { proxy_pass http://sink; }
    location / { proxy_pass http://backend; }
  }
}
"""
SUB_FILTER = """
    sub_filter_types application/json; sub_filter_once off; sub_filter "http://127.0.0.1:@backend@" "http://$http_host";
"""
