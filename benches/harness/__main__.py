"""Compares proxies, or two builds of ours. See benches/run and benches/compare, which prepare what it needs."""

import argparse
import os
import signal
import sys
import time

import measure
import peers
import singular
import table
from cases import ALL, CASES
from rounds import Patience, complain, entry, in_turns, plain
from stage import Stage

SINGULAR = {
    "idle": "memory of the idle process",
    "idle-connections": "memory of 10,000 idle connections",
    "idle-closed": "memory after they closed",
    "syscalls": "system calls, 1 KB, HTTP/1.1 keep-alive",
    "disturbed": "4,000 requests a second while tokens are renewed, metrics scraped, certificates changed",
    "disturbed-tail": "the same, the slowest 0.1 %",
    "start": "start to ready, the token fetched",
    "size": "size of the program",
}
AIMS = {
    "idle": {"": 12}, "idle-connections": {"": 8}, "syscalls": {"": 4.2}, "paced-p50": {"+nginx": 15},
}


def builders(options):
    """Name → how to start it."""
    if options.command == "compare":
        return {name: peers.ours(program, name) for name, program in (("old", options.old), ("new", options.new))}
    return {
        peers.OURS: peers.ours(options.program), "nginx": peers.nginx, "haproxy": peers.haproxy,
        "envoy": peers.envoy, "envoy-cached": peers.envoy_cached, "injection": peers.injection(options.program),
        "bare": peers.bare, "direct": peers.direct,
    }


def wanted(case, options, logs):
    """Who takes part in a case, besides ourselves; None leaves the case out."""
    if options.only and case.name not in options.only:
        return None
    if not logs and (options.quick or not case.quiet_too):
        return None
    if options.command == "compare":
        return () if case.quick is not None or not options.quick else None
    return case.quick if options.quick else case.peers


def under_load(stage, options, known, subjects):
    """All cases, those of the same settings on the same processes."""
    lines = []
    everything = [peers.Settings(workers, logs) for workers in (1, 2) for logs in (True, False)]
    for settings in (*everything, peers.Settings(work="bearer"), peers.Settings(work="forward")):
        cases = [case for case in CASES if (case.workers, case.does) == (settings.workers, settings.work)]
        cases = [(case, wanted(case, options, settings.logs)) for case in cases]
        cases = [(case, others) for case, others in cases if others is not None]
        names = [name for name in known if any(name in (*subjects, *others) for _, others in cases)]
        running = {}
        if cases and settings.work == "bearer":
            stage.tokens()
        for name in names:
            try:
                running[name] = known[name](stage, settings)
            except (RuntimeError, OSError) as error:
                complain(f"{name} is left out: {error}")
        for case, others in cases if running.keys() >= set(subjects) else ():
            lines += one_case(stage, options, case, {n: p for n, p in running.items() if n in (*subjects, *others)}, subjects, settings)
        for proxy in running.values():
            if proxy.process is not stage.backend:
                stage.stop(proxy.process)
    return lines


def one_case(stage, options, case, running, subjects, settings):
    say(f"{case.name}, {settings.workers} worker{'s' * (settings.workers > 1)}, log {'on' if settings.logs else 'off'}")
    stage.place(settings.workers)
    contenders = {name: (proxy, case.work) for name, proxy in running.items()}
    for name, work in case.variants.items():
        contenders[name] = (running[subjects[-1]], work)
    results = in_turns(stage, contenders, options.rounds, options.seconds or case.seconds, options.patience)
    about = {"workers": settings.workers, "logs": "on" if settings.logs else "off"}
    memory = {name: round(measure.memory_bytes(proxy.pid) / 1024) for name, (proxy, _) in contenders.items()}
    lines = [
        entry(case.name, name, rounds, results, case.figure, **about) | {"rss_kb": memory[name]}
        for name, rounds in results.items()
    ]
    # A fixed rate shows in how long it takes, too.
    if any("p999_us" in rounds[0] for rounds in results.values()):
        for name, rounds in results.items():
            lines += [entry(f"{case.name}-{figure}", name, rounds, results, f"{figure}_us", **about) for figure in ("p50", "p99")]
    return lines


def alone(stage, options, known, subjects):
    """The cases that are no matter of load."""
    lines = []
    without = {name: build for name, build in known.items() if name in (*subjects, *ALL)}
    few = {name: build for name, build in without.items() if name in (*subjects, "nginx")} if options.quick else without

    def chosen(name):
        return not options.only or name in options.only

    if chosen("idle"):
        say("memory of idle connections")
        lines += singular.idle(stage, few)
    if chosen("syscalls") and options.command == "run":
        say("system calls")
        lines += singular.system_calls(stage, few)
    if options.command == "run" and not options.quick:
        if chosen("disturbed"):
            say("renewals, scrapes and new certificates")
            lines += singular.disturbed(stage, options.program, options)
        if chosen("start"):
            say("start")
            lines += singular.start(stage, known[peers.OURS])
    if options.command == "compare":
        sizes = {name: [os.path.getsize(getattr(options, name)) / 1e6] for name in ("old", "new")}
        lines += [plain("size", name, "size_mb", sizes[name], sizes, workers=None, logs="on") for name in sizes]
    return lines


def say(text):
    print(f"… {text}", file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(prog="benches/run")
    parser.add_argument("--tool", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--out", required=True, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True)
    names = ", ".join([*(case.name for case in CASES), *(name for name in SINGULAR if name != "size")])
    for name in ("run", "compare"):
        command = commands.add_parser(name, prog=f"benches/{name}")
        command.add_argument("--quick", action="store_true", help="three rounds of a second, the most important cases")
        command.add_argument("--rounds", type=int, help="rounds of each proxy in each case")
        command.add_argument("--seconds", type=int, help="seconds of each round")
        command.add_argument("--only", help=f"cases, separated by commas: {names}")
    commands.choices["run"].add_argument("--program", required=True, help="a program that is already built")
    commands.choices["compare"].add_argument("old")
    commands.choices["compare"].add_argument("new")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else None)
    options.patience = Patience(0 if options.quick else 900)
    options.only = options.only and options.only.split(",")
    unknown = set(options.only or ()) - set(names.split(", "))
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))} (there are {names})")
    return options


def main():
    options = arguments()
    # However it ends, nothing that was started stays.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    known = builders(options)
    run = options.command == "run"
    subjects = (peers.OURS,) if run else ("old", "new")
    stage = Stage(os.path.join(options.out, "stage"), options.tool)
    try:
        lines = under_load(stage, options, known, subjects) + alone(stage, options, known, subjects)
    finally:
        stage.stop()
    titles = {case.name: case.title for case in CASES} | SINGULAR
    titles |= {f"paced-{figure}": f"{titles['paced']}, how long" for figure in ("p50", "p99")}
    aims = {case.name: case.aims for case in CASES} | AIMS if run else {}
    bases = ("nginx", "haproxy", "envoy") if run else ("old",)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    text = "\n".join([
        table.about(), f"{options.rounds} rounds in turns; medians, in brackets the lowest and highest ratio of the rounds. "
        f"Took {minutes} min {seconds} s.", "", table.markdown(lines, titles, aims, subjects[-1], bases),
    ])
    table.save(options.out, "table" if run else "compare", lines, text)
    print(text)


if __name__ == "__main__":
    main()
