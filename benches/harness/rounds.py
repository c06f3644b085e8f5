"""Rounds in turns, and what they come to.

A figure's own value moves with the machine; its ratio to a neighbouring round moves less. So all ratios are
taken round by round, and their median is the result."""

import statistics
import sys
import time

import measure
from cases import GIB, REQUESTS

# Which figure the rounds of a case give, and how it is made.
FIGURES = {
    REQUESTS: lambda r: r["cpu"] / r["requests"] * 1e5,
    GIB: lambda r: r["cpu"] / r["bytes"] * 2**30 if "bytes" in r else None,
    "rps": lambda r: r["requests"] / r["seconds"],
    "p50_us": lambda r: r.get("p50_us"),
    "p99_us": lambda r: r.get("p99_us"),
    "p999_us": lambda r: r.get("p999_us"),
}


class Patience:
    """How long a run may wait for a quiet machine, and repeat what was disturbed, in all."""

    def __init__(self, seconds):
        self.left = seconds
        self.hurried = seconds == 0

    def wait(self):
        started = time.monotonic()
        measure.wait_until_quiet(min(10.0, self.left))
        self.left -= time.monotonic() - started


def metered(stage, proxy, work, seconds, patience):
    """One round; once more, up to twice, when others used the machine meanwhile."""
    for _ in range(3):
        patience.wait()
        with measure.Meter(proxy.pid, ours=[stage.backend.pid] if proxy.process is not stage.backend else []) as meter:
            result = work(stage, proxy, seconds)
        result |= {"cpu": meter.cpu, "noise": round(meter.noise, 3), "steal": round(meter.steal, 3)}
        if "bytes" in result:
            result["seconds"] = meter.seconds
        if patience.left <= 0 or meter.noise < 0.25 and meter.steal < 0.15:
            break
        patience.left -= meter.seconds
    return result


def in_turns(stage, contenders, count, seconds, patience):
    """`contenders`: name → (proxy, work). One that fails is left out from then on, and says why."""
    results = {name: [] for name in contenders}
    # A first round, of a second, fills pools and caches; a hurried run has no time for it.
    for number in range(0 if patience.hurried else -1, count):
        # Who goes first changes, so that a drift of the machine favours nobody.
        for name in list(contenders)[:: 1 if number % 2 == 0 else -1]:
            proxy, work = contenders[name]
            try:
                if number < 0:
                    work(stage, proxy, 1)
                else:
                    results[name].append(metered(stage, proxy, work, seconds, patience))
            except (RuntimeError, OSError) as error:
                complain(f"{name} is left out: {error}")
                contenders.pop(name), results.pop(name)
    return results


def complain(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def spread(values):
    return [min(values), max(values)]


def ratio(these, those, figure):
    """Median and spread of the ratio round by round, or None where either side has no such figure."""
    pairs = [(FIGURES[figure](a), FIGURES[figure](b)) for a, b in zip(these, those)]
    ratios = [a / b for a, b in pairs if a is not None and b]
    return (statistics.median(ratios), spread(ratios)) if ratios else None


# What every line of table.json has.
KEYS = ("case", "proxy", "workers", REQUESTS, "rps", "p50_us", "p99_us", "rss_kb", "ratio_nginx")


def entry(case, proxy, results, everybody, figure, **about):
    """One line of table.json."""
    line = dict.fromkeys(KEYS) | {"case": case, "proxy": proxy, **about, "figure": figure}
    for name, make in FIGURES.items():
        values = [value for value in map(make, results) if value is not None]
        line[name] = statistics.median(values) if values else None
        if name == figure:
            line["spread"] = spread(values)
    if line[GIB] is not None:
        # Requests of a tunnel or of large bodies are no measure.
        line[REQUESTS] = None
    for base, others in everybody.items():
        found = ratio(results, others, figure)
        if base != proxy and found:
            line[f"ratio_{base}"], line[f"ratio_{base}_spread"] = found
    if proxy == "nginx":
        line["ratio_nginx"] = 1.0
    line["rounds"] = len(results)
    line["noise"] = max(result["noise"] for result in results)
    return line


def plain(case, proxy, figure, values, everybody, **about):
    """One line of table.json for a figure that is measured as it is, not by the `Meter`."""
    line = dict.fromkeys(KEYS) | {"case": case, "proxy": proxy, **about, "figure": figure}
    line[figure], line["spread"] = statistics.median(values), spread(values)
    for base, others in everybody.items():
        ratios = [a / b for a, b in zip(values, others) if b]
        if base != proxy and ratios:
            line[f"ratio_{base}"], line[f"ratio_{base}_spread"] = statistics.median(ratios), spread(ratios)
    if proxy == "nginx":
        line["ratio_nginx"] = 1.0
    line["rounds"] = len(values)
    return line
