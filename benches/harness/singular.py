"""What is not a matter of load: memory of idle connections, system calls, a start, renewals meanwhile."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request

import load
import measure
import peers
from rounds import complain, entry, in_turns, plain

MB = 1e6


def each(stage, builders, settings, work):
    """`work` on a fresh process of each proxy, one after the other: name → what it answered."""
    found = {}
    for name, build in builders.items():
        proxy = None
        try:
            proxy = build(stage, settings)
            found[name] = work(proxy)
        except (RuntimeError, OSError) as error:
            complain(f"{name} is left out: {error}")
        finally:
            if proxy and proxy.process is not stage.backend:
                stage.stop(proxy.process)
    return found


def idle(stage, builders, count=10_000):
    """Memory of the idle process, of idle connections, and after they were closed."""

    def work(proxy):
        time.sleep(0.5)
        before = measure.memory_bytes(proxy.pid)
        with load.Idle(stage, proxy, count):
            time.sleep(1.5)
            during = measure.memory_bytes(proxy.pid)
        time.sleep(2.5)
        return before, during, measure.memory_bytes(proxy.pid)

    found = each(stage, builders, peers.Settings(), work)
    rows = []
    for case, figure, value in (
        ("idle", "idle_mb", lambda f: f[0] / MB),
        ("idle-connections", "kb_per_connection", lambda f: (f[1] - f[0]) / 1e3 / count),
        ("idle-closed", "after_mb", lambda f: f[2] / MB),
    ):
        everybody = {name: [value(f)] for name, f in found.items()}
        for name, f in found.items():
            line = plain(case, name, figure, everybody[name], everybody, workers=1, logs="on")
            line["rss_kb"] = round(f[1 if case == "idle-connections" else 0 if case == "idle" else 2] / 1024)
            rows.append(line)
    return rows


def system_calls(stage, builders, connections=32, each_asks=200):
    """System calls a request, counted by strace on connections that are open; what else the proxy does counts."""

    def work(proxy):
        report = stage.path(f"strace-{proxy.name}")
        attach = [argument for pid in measure.family(proxy.pid) for argument in ("-p", str(pid))]
        with load.Idle(stage, proxy, connections, each_asks) as callers:
            tracer = subprocess.Popen(["strace", "-c", "-f", "-o", report, *attach], stderr=subprocess.PIPE, text=True)
            if "attached" not in tracer.stderr.readline():
                raise RuntimeError("strace may not attach here")
            # It says so of each process before it attaches to its threads.
            time.sleep(0.5)
            callers.ask()
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=10)
        with open(report) as file:
            calls = {name: int(count) for count, name in re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", file.read(), re.M)}
        calls.pop("total", None)
        return {name: count / connections / each_asks for name, count in calls.items()}

    found = each(stage, builders, peers.Settings(), work)
    everybody = {name: [sum(calls.values())] for name, calls in found.items()}
    rows = []
    for name, calls in found.items():
        line = plain("syscalls", name, "calls_per_request", everybody[name], everybody, workers=1, logs="on")
        often = sorted(((count, call) for call, count in calls.items() if count > 0.005), reverse=True)
        line["calls"] = {call: round(count, 3) for count, call in often}
        rows.append(line)
    return rows


def start(stage, build, count=7):
    """From the start of the program to ready, its token fetched."""
    times = []
    for _ in range(count):
        proxy = build(stage, peers.Settings())
        times.append(proxy.ready_seconds * 1e3)
        stage.stop(proxy.process)
    return [plain("start", peers.OURS, "ready_ms", times, {}, workers=1, logs="on")]


class Disturbance:
    """Ten scrapes of `admin` a second, and a certificate that is written anew each second."""

    def __init__(self, stage, admin, path):
        self.stage, self.url, self.over = stage, f"http://127.0.0.1:{admin}{path}", threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        number = 0
        while not self.over.wait(0.1):
            urllib.request.urlopen(self.url, timeout=5).read()
            number += 1
            if number % 10 == 0:
                for name in (self.stage.certificate, self.stage.key):
                    shutil.copy(name, self.stage.path(f"own-{os.path.basename(name)}"))

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def disturbed(stage, program, options):
    """4,000 requests a second while the token is renewed every few seconds, metrics are scraped and certificates
    change, in turns with the same without. Without, the backend is scraped: the load's CPU has the same to do."""
    settings = peers.Settings()
    alone = peers.ours(program, "undisturbed")(stage, settings)
    busy = peers.ours(program, "disturbed", restless=True)(stage, settings)
    drive = load.paced()

    def while_scraped(admin, path):
        def work(stage, proxy, seconds):
            with Disturbance(stage, admin, path):
                return drive(stage, proxy, seconds)
        return work

    before = stage.token_endpoint.requests
    contenders = {
        "undisturbed": (alone, while_scraped(stage.backend_port, "/page")),
        peers.OURS: (busy, while_scraped(busy.admin, "/metrics")),
    }
    results = in_turns(stage, contenders, options.rounds, options.seconds or 6, options.patience)
    renewals = stage.token_endpoint.requests - before
    if renewals < 2 * options.rounds:
        complain(f"only {renewals} renewals: this measured nothing")
    rows = []
    for case, figure in (("disturbed", "p50_us"), ("disturbed-tail", "p999_us")):
        for name, rounds in results.items():
            rows.append(entry(case, name, rounds, results, figure, workers=1, logs="on") | {"renewals": renewals})
    for proxy in (alone, busy):
        stage.stop(proxy.process)
    return rows
