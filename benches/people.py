"""What a signed-in person's request costs more than one with the service's token.

    python3 benches/people.py PROGRAM [--rounds N] [--seconds S]

One process serves both routes in front of nginx on this machine: /service injects a client's token,
/person admits by a session's cookie and injects that person's. Each round measures both, in turns, by
the CPU time of the process; the median of the differences is what counts. Prints a Markdown table.
"""

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "harness"))
import measure  # noqa: E402

REDIRECTS = (301, 302, 303, 307)
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}


def start(*command):
    # the sandbox ends with its standard input
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def ask(origin, path, headers=None, method="GET", body=None):
    place = urllib.parse.urlsplit(origin)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=10)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    answer.read()
    return answer


def sign_in(proxy, public, path):
    """The session's cookies, as a browser would have them."""
    jar = {}
    origin, answer = proxy, None
    for _ in range(12):
        ours = origin == proxy
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items()), **NAVIGATION} if ours else NAVIGATION
        answer = ask(origin, path, headers)
        if ours:
            for line in answer.headers.get_all("set-cookie") or []:
                name, value = line.split(";")[0].split("=", 1)
                jar.pop(name, None) if "Max-Age=0" in line else jar.update({name: value})
        if answer.status not in REDIRECTS:
            return jar if answer.status == 200 else sys.exit(f"the sign-in ended with {answer.status}")
        there = urllib.parse.urljoin(public if ours else origin, answer.headers["location"])
        if ours and answer.headers["location"].startswith("/"):
            there = public + answer.headers["location"]
        parts = urllib.parse.urlsplit(there)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        origin = proxy if there.startswith(public) else f"{parts.scheme}://{parts.netloc}"
    sys.exit("redirected without end")


def wait_for(origin):
    for _ in range(200):
        try:
            return ask(origin, "/")
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{origin} does not answer")


def free_port():
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def load(url, seconds, cookie=None):
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c32", f"-d{seconds}s", url]
    if cookie:
        command[-1:-1] = ["-H", f"Cookie: {cookie}"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in told:
        sys.exit(told)
    return int(told.split(" requests in ")[0].split()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=int, default=1)
    options = parser.parse_args()
    folder = tempfile.TemporaryDirectory()
    at = lambda name: os.path.join(folder.name, name)  # noqa: E731
    backend, port = free_port(), free_port()
    with open(at("nginx.conf"), "w") as file:
        file.write(f"""worker_processes 1; daemon off; pid {at('nginx.pid')}; error_log /dev/null;
events {{ worker_connections 1024; }}
http {{ access_log off; client_body_temp_path {at('b')}; proxy_temp_path {at('p')}; fastcgi_temp_path {at('f')}; uwsgi_temp_path {at('u')}; scgi_temp_path {at('s')};
  keepalive_requests 1000000; server {{ listen 127.0.0.1:{backend}; location / {{ return 200 "{'x' * 1024}"; }} }} }}
""")
    running = []
    try:
        running.append(start("taskset", "-c", "1", "nginx", "-c", at("nginx.conf")))
        sandbox = start(options.program, "sandbox", "--json")
        running.append(sandbox)
        told = json.loads(sandbox.stdout.readline())
        issuer = told["issuer"]
        ask(issuer, "/__faults", {"Content-Type": "application/json"}, "POST", json.dumps({"visitor": "ada@sandbox.example"}))
        public = f"http://localhost:{port}"
        upstream = f"http://127.0.0.1:{backend}"
        scopes = ["openid", "profile", "email", "offline_access", "itwin-platform"]
        config = {
            "providers": {"idp": {"issuer": issuer}},
            "credentials": {
                "service": {"client_id": "service-sandbox", "client_secret": "sandbox-secret", "scopes": ["itwin-platform"]},
                "web": {"grant": "authorization_code", "client_id": "webapp-sandbox", "client_secret": "sandbox-secret", "scopes": scopes},
            },
            "sessions": {"web": {"credential": "web", "public_url": public, "key": "a key for cookies that has 32 characters"}},
            "listeners": [{"bind": f"127.0.0.1:{port}"}],
            "routes": [
                {"path": "/service", "inject": "service", "upstream": upstream, "links": False},
                {"path": "/person", "admit": {"session": "web"}, "inject": "web", "upstream": upstream, "links": False},
            ],
            "admin": {"bind": "none"},
            "workers": 1,
        }
        with open(at("config.yaml"), "w") as file:
            json.dump(config, file)
        program = start("taskset", "-c", "0", options.program, "run", "--no-confine", "--config", at("config.yaml"))
        running.append(program)
        proxy = f"http://127.0.0.1:{port}"
        wait_for(proxy)
        cookies = sign_in(proxy, public, "/person")
        cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
        url = lambda path: f"http://localhost:{port}{path}"  # noqa: E731
        costs = {"service": [], "person": []}
        for each in range(options.rounds + 1):
            for name, sent in (("service", None), ("person", cookie)):
                before = measure.cpu_seconds(program.pid)
                count = load(url(f"/{name}"), options.seconds, sent)
                cost = (measure.cpu_seconds(program.pid) - before) / count * 1e6
                if each > 0:  # the first is for warming up
                    costs[name].append(cost)
        more = [person - service for person, service in zip(costs["person"], costs["service"])]
        print("| request | CPU, µs (median of", options.rounds, "rounds) |")
        print("| --- | --- |")
        print(f"| with the service's token | {statistics.median(costs['service']):.2f} |")
        print(f"| of a signed-in person, cookies of {len(cookie)} bytes | {statistics.median(costs['person']):.2f} |")
        print(f"| the difference, round by round | {statistics.median(more):.2f} ({min(more):.2f} to {max(more):.2f}) |")
    finally:
        for one in reversed(running):
            one.send_signal(signal.SIGTERM)
        for one in running:
            one.wait(timeout=10)


if __name__ == "__main__":
    main()
