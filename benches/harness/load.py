"""Loads. Each takes the stage, a proxy and seconds, and answers with what was done."""

import json
import os
import re
import subprocess

UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


def run(command, cpu):
    pin = [] if cpu is None else ["taskset", "-c", str(cpu)]
    try:
        done = subprocess.run([*pin, *command], capture_output=True, text=True, timeout=90)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{' '.join(command)} does not end") from None
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def keep_alive(path="/1k", connections=64, tls=False, bulk=False, tokens=0):
    """HTTP/1.1 as fast as it goes (wrk); for bulk it is the bytes that count; with so many callers' tokens."""

    def load(stage, proxy, seconds):
        port = proxy.tls if tls else proxy.bulk if bulk else proxy.http
        url = f"http{'s' * tls}://127.0.0.1:{port}{path}"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
        if tokens:
            script = os.path.join(os.path.dirname(__file__), "../load/tokens.lua")
            command = ["env", f"TOKENS={stage.path('tokens')}", f"COUNT={tokens}", *command, "-s", script]
        text = run(command, stage.loads_on)
        if "Non-2xx" in text or "Socket errors" in text:
            raise RuntimeError(f"failed requests:\n{text}")
        percentile = {
            int(float(name)): float(value) * UNITS[unit]
            for name, value, unit in re.findall(r"^\s+([\d.]+)%\s+([\d.]+)(us|ms|s|m)$", text, re.M)
        }
        found = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m), ([\d.]+)([KMGT]?)B read", text)
        requests, time, unit, amount, prefix = found.groups()
        result = {"requests": int(requests), "seconds": float(time) * UNITS[unit] / 1e6}
        if bulk:
            return result | {"bytes": float(amount) * 1024 ** " KMGT".index(prefix or " ")}
        return result | {"p50_us": percentile.get(50), "p99_us": percentile.get(99)}

    return load


def http2(path="/1k", connections=8, streams=16):
    """HTTP/2 over TLS as fast as it goes (h2load)."""

    def load(stage, proxy, seconds):
        url = f"https://127.0.0.1:{proxy.tls}{path}"
        command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", "-D", str(seconds), "--warm-up-time=0", url]
        text = run(command, stage.loads_on)
        codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
        codes = [int(count) for count in codes.groups()]
        if sum(codes[1:]) > 0 or codes[0] == 0 or "Application protocol: h2" not in text:
            raise RuntimeError(f"failed requests:\n{text}")
        return {"requests": codes[0], "seconds": float(seconds)}

    return load


def connections(how, count=32):
    """A connection for each request: `tcp`, `full` or `resumed` TLS."""

    def load(stage, proxy, seconds):
        port = proxy.http if how == "tcp" else proxy.tls
        result = tool(stage, seconds, "connections", port, "/1k", how, stage.certificate, count, seconds)
        if how == "resumed" and result["resumed"] < 0.9 * result["requests"]:
            raise RuntimeError(f"only {result['resumed']} of {result['requests']} connections were resumed")
        return result

    return load


def down(size, connections, tls=False):
    return keep_alive(f"/body/{size}", connections, tls=tls, bulk=True)


def bulk(way, size, connections):
    """Bodies of `size` bytes `up`, or half each way in a `tunnel`."""

    def load(stage, proxy, seconds):
        return tool(stage, seconds, "bulk", proxy.bulk, way, size, connections, seconds)

    return load


def connect(size, connections):
    """Half of `size` bytes each way through a connection to the backend: by CONNECT, or a proxy's that knows only one."""

    def load(stage, proxy, seconds):
        way = f"connect=127.0.0.1:{stage.backend_port}" if proxy.by_connect else "tunnel"
        return tool(stage, seconds, "bulk", proxy.tcp, way, size, connections, seconds)

    return load


def opened(host, connections=64, path="/1k"):
    """1 KB over TLS on connections that are kept: to the proxy itself, or to `host` through its CONNECT."""

    def load(stage, proxy, seconds):
        port, certificate = (proxy.tcp, stage.authority[0]) if host else (proxy.tls, stage.certificate)
        return tool(stage, seconds, "opened", port, path, host or "-", certificate, connections, seconds)

    return load


def paced(rate=4000, connections=64):
    """Requests at a fixed rate, timed from when they were due."""

    def load(stage, proxy, seconds):
        return tool(stage, seconds, "paced", proxy.http, "/1k", rate, connections, seconds)

    return load


def tool(stage, seconds, command, port, *arguments):
    text = run([stage.tool, command, f"127.0.0.1:{port}", *map(str, arguments)], stage.loads_on)
    return {"seconds": float(seconds), **json.loads(text)}


class Idle:
    """Callers that have asked once and keep their connections, until the end of the block; `ask` lets each ask
    `requests` times more."""

    def __init__(self, stage, proxy, count, requests=0):
        self.command = ["taskset", "-c", str(stage.load_cpu), stage.tool, "idle", f"127.0.0.1:{proxy.http}", "/1k",
                        str(count), str(requests)]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self._wait_for("open")
        return self

    def ask(self):
        self.process.stdin.write("ask\n")
        self._wait_for("asked")

    def _wait_for(self, word):
        if self.process.stdout.readline() != f"{word}\n":
            raise RuntimeError(f"{' '.join(self.command)} failed")

    def __exit__(self, *_):
        # Whatever it waits for, this ends it.
        self.process.communicate()
