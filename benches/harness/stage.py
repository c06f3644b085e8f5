"""What stands around the proxies: certificate, token endpoint, backend, and the processes themselves."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time

# As long as a real access token of a user; every proxy sends the same.
TOKEN = "eyJhbGciOiJSUzI1NiJ9." + "a" * 1600 + "." + "b" * 342


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class TokenEndpoint:
    """Answers every token request with the same token, and counts them; that of `/short` lives six seconds. Keys
    that callers' tokens are checked with are under `/jwks`."""

    def __init__(self, jwks):
        endpoint = self
        self.requests = 0
        self.keys = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                endpoint.requests += 1
                self.rfile.read(int(self.headers.get("content-length", 0)))
                life = 6 if self.path == "/short" else 86400
                self.answer(json.dumps({"access_token": TOKEN, "token_type": "Bearer", "expires_in": life}).encode())

            def do_GET(self):
                endpoint.keys += 1
                with open(jwks, "rb") as file:
                    self.answer(file.read())

            def answer(self, body):
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()


class Process:
    """A server of ours: pinned to a CPU unless that is None, its output in a file, stopped with the stage."""

    def __init__(self, name, command, home, cpu):
        self.name = name
        self.log = os.path.join(home, f"{name}.log")
        pin = [] if cpu is None else ["taskset", "-c", str(cpu)]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*pin, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"PATH": os.environ["PATH"]}, cwd=home,
            )
        self.pid = self.process.pid

    def running(self):
        return self.process.poll() is None

    def stop(self):
        if self.running():
            self.process.terminate()
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def wait_for_port(port, process, deadline=15.0):
    end = time.monotonic() + deadline
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return
        except OSError:
            if not process.running() or time.monotonic() > end:
                raise RuntimeError(f"{process.name} did not start, see {process.log}") from None
            time.sleep(0.01)


class Stage:
    """The backend on one CPU with the load; the proxies that are started get the other."""

    def __init__(self, home, tool):
        self.home = os.path.abspath(home)
        self.tool = os.path.abspath(tool)
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            raise SystemExit("two CPUs are needed: one for the proxy, one for load and backend")
        self.proxy_cpu, self.load_cpu = cpus[0], cpus[1]
        self.processes = []
        shutil.rmtree(self.home, ignore_errors=True)
        os.makedirs(self.home)
        self.certificate, self.key = self._made(
            "certificate", "/CN=localhost", "subjectAltName=IP:127.0.0.1", "basicConstraints=critical,CA:FALSE")
        self.authority = self._made(
            "authority", "/CN=bench", "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign",
            "nameConstraints=critical,permitted;DNS:opened.bench")
        self.token_endpoint = TokenEndpoint(self.path("jwks.json"))
        self.issuer = self.token_endpoint.url
        self.backend = self.start("backend", [self.tool, "backend"], self.load_cpu)
        self.backend_port = self.port_of(self.backend)
        # Whatever this program does itself happens beside the load.
        os.sched_setaffinity(0, {self.load_cpu})

    def path(self, *names):
        return os.path.join(self.home, *names)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def start(self, name, command, cpu):
        process = Process(name, command, self.home, cpu)
        self.processes.append(process)
        return process

    def place(self, workers):
        """Where a proxy and the load run: on a CPU each, or wherever the kernel puts them."""
        self.loads_on = self.load_cpu if workers == 1 else None
        everywhere = {self.proxy_cpu, self.load_cpu}
        os.sched_setaffinity(self.backend.pid, {self.load_cpu} if workers == 1 else everywhere)
        return self.proxy_cpu if workers == 1 else None

    def tokens(self, count=10_000):
        """So many tokens of callers, all of the same key; made when they are first asked for."""
        if not os.path.exists(self.path("tokens")):
            subprocess.run([self.tool, "keys", self.home, self.issuer, str(count)], check=True, stdout=subprocess.DEVNULL)
        with open(self.path("tokens")) as file:
            return file.read().split()

    def stop(self, process=None):
        for one in [process] if process else reversed(self.processes):
            one.stop()
        self.processes = [one for one in self.processes if process and one is not process]

    def _made(self, name, subject, *extensions):
        certificate, key = self.path(f"{name}.pem"), self.path(f"{name}.key")
        added = [word for extension in extensions for word in ("-addext", extension)]
        config = self.write("openssl.cnf", "[req]\ndistinguished_name=none\n[none]\n")
        subprocess.run(
            ["openssl", "req", "-x509", "-config", config, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "2", "-subj", subject, *added, "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )
        return certificate, key

    @staticmethod
    def port_of(process):
        """The first line of what it prints."""
        end = time.monotonic() + 10
        while time.monotonic() < end and process.running():
            with open(process.log) as file:
                line = file.readline()
            if line.endswith("\n"):
                return int(line)
            time.sleep(0.01)
        raise RuntimeError(f"{process.name} did not start, see {process.log}")
