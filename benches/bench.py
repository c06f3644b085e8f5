"""Runs the cases in turns (nginx, ours, nginx, ours …) and prints what they cost. See benches/run."""

import argparse
import json
import os
import statistics
import subprocess
import sys

import load
import measure
from stage import JSON_PATH, KILOBYTE_PATH, LARGE, LARGE_PATH, UPLOAD_PATH, Stage

NAMES = ("nginx", "itwin-auth-proxy")

# name: what is asked, of which proxies' settings, by which load
SMALL = {
    "h1": ("1 KB over HTTP/1.1 keep-alive", {}, lambda p, c, s: load.wrk(f"http://127.0.0.1:{p.port}{KILOBYTE_PATH}", c, 64, s)),
    "h2": ("1 KB over HTTP/2, 8 × 16 streams", {}, lambda p, c, s: load.h2load(f"http://127.0.0.1:{p.h2_port}{KILOBYTE_PATH}", c, 8, 16, s)),
    "tls": ("1 KB over TLS 1.3, HTTP/1.1 keep-alive", {}, lambda p, c, s: load.wrk(f"https://127.0.0.1:{p.tls_port}{KILOBYTE_PATH}", c, 64, s)),
    "h2tls": ("1 KB over TLS 1.3, HTTP/2, 8 × 16 streams", {}, lambda p, c, s: load.h2load(f"https://127.0.0.1:{p.tls_port}{KILOBYTE_PATH}", c, 8, 16, s)),
    "log": ("1 KB over HTTP/1.1, a log line for each request", {"logs": True}, lambda p, c, s: load.wrk(f"http://127.0.0.1:{p.port}{KILOBYTE_PATH}", c, 64, s)),
    "links": ("a page of 20 iModels, links pointed back (nginx: sub_filter)", {"links": True}, lambda p, c, s: load.wrk(f"http://127.0.0.1:{p.port}{JSON_PATH}", c, 64, s)),
}
LARGE_BODIES = {
    "down": ("100 MB down", lambda p: load.download(p.port, LARGE_PATH, LARGE)),
    "up": ("100 MB up", lambda p: load.upload(p.port, UPLOAD_PATH, LARGE)),
}
OTHERS = ("latency", "idle", "start", "gigabyte")


def starts(stage, **settings):
    """Both proxies, ready and seen to put the token in."""
    proxies = {"nginx": stage.start_nginx(**settings), "itwin-auth-proxy": stage.start_ours(**settings)}
    for proxy in proxies.values():
        stage.check(proxy)
    return proxies


def metered(stage, options, proxy, work):
    """One round; once more, up to twice, when others used the machine meanwhile."""
    for _ in range(1 if options.quick else 3):
        measure.wait_until_quiet(patience=1.0 if options.quick else 20.0)
        with measure.Meter(proxy.pid, ours=[stage.backend.pid]) as meter:
            result = work(proxy) or {}
        result |= {"cpu": meter.cpu, "seconds": meter.seconds, "noise": meter.noise, "steal": meter.steal}
        if meter.noise < 0.25 and meter.steal < 0.15:
            break
    return result


def rounds(stage, options, proxies, work, per):
    """Rounds in turns. `per` makes the figure of a round; answers medians and their ratio."""
    all_rounds = {name: [] for name in proxies}
    for number in range(options.rounds):
        # Who goes first changes, so that a drift of the machine favours nobody.
        for name in list(proxies)[:: 1 if number % 2 == 0 else -1]:
            result = metered(stage, options, proxies[name], work)
            result["figure"] = per(result)
            all_rounds[name].append(result)
    ratios = [ours["figure"] / other["figure"] for ours, other in zip(all_rounds[NAMES[1]], all_rounds[NAMES[0]])]
    return {
        "figures": {name: statistics.median(r["figure"] for r in results) for name, results in all_rounds.items()},
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "rounds": all_rounds,
    }


def small_case(stage, options, name):
    title, settings, work = SMALL[name]
    proxies = starts(stage, **settings)
    for proxy in proxies.values():
        work(proxy, stage.load_cpu, 1)
    row = rounds(
        stage, options, proxies,
        lambda proxy: work(proxy, stage.load_cpu, options.seconds),
        lambda result: result["cpu"] / result["requests"] * 1e5,
    )
    stop(stage, proxies)
    return {"case": name, "title": title, "unit": "CPU s per 100,000 requests", **row}


def large_case(stage, options, name):
    title, work = LARGE_BODIES[name]
    proxies = starts(stage)

    def several(proxy):
        with load.pinned(stage.load_cpu):
            for _ in range(options.bodies):
                work(proxy)

    for proxy in proxies.values():
        work(proxy)
    row = rounds(stage, options, proxies, several, lambda r: r["cpu"] / (options.bodies * LARGE) * 1e9)
    stop(stage, proxies)
    return {"case": name, "title": title, "unit": "CPU s per GB", **row}


def latency_case(stage, options):
    """One caller, one request after the other: what a proxy adds when nobody is in its way."""
    proxies = starts(stage)
    added = {name: [] for name in proxies}
    percentiles = {name: [] for name in ("direct", *proxies)}
    url = "http://127.0.0.1:{}" + KILOBYTE_PATH
    for _ in range(options.rounds):
        measure.wait_until_quiet()
        direct = load.wrk(url.format(stage.backend_port), stage.load_cpu, 1, options.seconds)
        percentiles["direct"].append(direct)
        for name, proxy in proxies.items():
            through = load.wrk(url.format(proxy.port), stage.load_cpu, 1, options.seconds)
            percentiles[name].append(through)
            added[name].append(through["p50_us"] - direct["p50_us"])
    stop(stage, proxies)
    figures = {name: statistics.median(values) for name, values in added.items()}
    return {
        "case": "latency", "title": "added latency, median, one caller", "unit": "µs", "figures": figures,
        "ratio": figures[NAMES[1]] / figures[NAMES[0]], "rounds": percentiles,
        "p99_us": {name: statistics.median(r["p99_us"] for r in results) for name, results in percentiles.items()},
    }


def idle_case(stage, _options):
    """Memory before and with 1,000 callers that keep their connection and say nothing."""
    proxies = starts(stage)
    before, figures = {}, {}
    for name, proxy in proxies.items():
        before[name] = measure.memory_bytes(proxy.pid)
        peers = load.idle_connections(proxy.port, KILOBYTE_PATH, 1000)
        figures[name] = measure.memory_bytes(proxy.pid) / 1e6
        for peer in peers:
            peer.close()
    stop(stage, proxies)
    return [
        {"case": "memory", "title": "memory when idle", "unit": "MB", "figures": {n: b / 1e6 for n, b in before.items()},
         "ratio": before[NAMES[1]] / before[NAMES[0]]},
        {"case": "idle", "title": "memory with 1,000 idle connections", "unit": "MB", "figures": figures,
         "ratio": figures[NAMES[1]] / figures[NAMES[0]]},
    ]


def start_case(stage, options):
    """From the start of the program to ready, its token fetched; then 1,000 first requests at once."""
    times = []
    for _ in range(max(5, options.rounds)):
        measure.wait_until_quiet()
        proxy = stage.start_ours()
        times.append(proxy.ready_seconds * 1e3)
        stage.stop(proxy)
    before = stage.token_endpoint.requests
    proxy = stage.start_ours()
    load.first_requests(proxy.port, KILOBYTE_PATH, 1000)
    fetched = stage.token_endpoint.requests - before
    stage.stop(proxy)
    return [
        {"case": "start", "title": "start to ready", "unit": "ms", "figures": {NAMES[1]: statistics.median(times)}},
        {"case": "first", "title": "token requests for 1,000 first requests at once", "unit": "",
         "figures": {NAMES[1]: fetched}},
    ]


def gigabyte_case(stage, _options):
    """The most memory held while ten bodies of 100 MB pass each way."""
    proxies = starts(stage)
    figures = {}
    for name, proxy in proxies.items():
        most = 0
        for _ in range(10):
            load.download(proxy.port, LARGE_PATH, LARGE)
            load.upload(proxy.port, UPLOAD_PATH, LARGE)
            most = max(most, measure.memory_bytes(proxy.pid))
        figures[name] = most / 1e6
    stop(stage, proxies)
    return {"case": "gigabyte", "title": "memory after 1 GB down and up", "unit": "MB", "figures": figures,
            "ratio": figures[NAMES[1]] / figures[NAMES[0]]}


def stop(stage, proxies):
    for proxy in proxies.values():
        stage.stop(proxy)


def table(rows, about):
    """Markdown."""
    lines = [about, "", "| | unit | nginx | itwin-auth-proxy | ratio |", "| --- | --- | ---: | ---: | ---: |"]
    for row in rows:
        figures = [f"{row['figures'][name]:.3g}" if name in row["figures"] else "–" for name in NAMES]
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
        if "ratio_range" in row:
            ratio += " ({:.2f}–{:.2f})".format(*row["ratio_range"])
        lines.append(f"| {row['title']} | {row['unit']} | {figures[0]} | {figures[1]} | {ratio} |")
    return "\n".join(lines)


def describe():
    """The machine, in general terms."""
    with open("/proc/cpuinfo") as file:
        models = {line.split(":")[1].strip() for line in file if line.startswith("model name")}
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True,
                           env={"PATH": os.environ["PATH"] + ":/usr/sbin"}).stderr.strip().split("/")[-1]
    return f"{os.cpu_count()} CPUs ({', '.join(models) or 'unknown'}), Linux {os.uname().release.split('-')[0]}, nginx {nginx}, one worker each."


def main():
    parser = argparse.ArgumentParser(prog="benches/run")
    parser.add_argument("--program", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    parser.add_argument("--rounds", type=int, help="rounds of each proxy in each case")
    parser.add_argument("--only", help="cases, separated by commas: " + ", ".join([*SMALL, *LARGE_BODIES, *OTHERS]))
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 7)
    options.seconds = 2 if options.quick else 4
    options.bodies = 3 if options.quick else 10
    wanted = options.only.split(",") if options.only else [*SMALL, *LARGE_BODIES, *OTHERS]
    unknown = set(wanted) - {*SMALL, *LARGE_BODIES, *OTHERS}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        parser.error("two CPUs are needed: one for the proxy, one for load and backend")

    others = {"latency": latency_case, "idle": idle_case, "start": start_case, "gigabyte": gigabyte_case}
    stage = Stage(options.program, os.path.join(options.out, "stage"), cpus[0], cpus[1])
    rows = []
    try:
        for name in wanted:
            print(f"… {name}", file=sys.stderr, flush=True)
            if name in SMALL:
                got = small_case(stage, options, name)
            elif name in LARGE_BODIES:
                got = large_case(stage, options, name)
            else:
                got = others[name](stage, options)
            rows += got if isinstance(got, list) else [got]
    finally:
        stage.stop()
    about = describe()
    with open(os.path.join(options.out, "table.json"), "w") as file:
        json.dump({"machine": about, "rounds": options.rounds, "rows": rows}, file, indent=1)
    print(table(rows, about))


if __name__ == "__main__":
    main()
