"""The results for people: one line a case and figure, ours first."""

import json
import os
import platform
import subprocess

UNITS = {
    "cpu_s_per_100k": "CPU s / 100,000 requests", "cpu_s_per_gib": "CPU s / GiB", "p50_us": "p50, µs", "p99_us": "p99, µs",
    "p999_us": "p99.9, µs", "rps": "requests / s", "idle_mb": "MB", "after_mb": "MB", "kb_per_connection": "KB each",
    "calls_per_request": "calls / request", "ready_ms": "ms", "size_mb": "MB",
}


def number(value):
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def markdown(lines, titles, aims, subject, bases):
    """`titles`: case → title; `aims`: case → what `Case.aims` holds, "" for the figure itself."""
    groups = {}
    for line in lines:
        groups.setdefault((line["case"], line["logs"], line["figure"]), {})[line["proxy"]] = line
    head = ["work", "log", "unit", subject, *bases, *(f"× {base}" for base in bases), "at most"]
    out = ["| " + " | ".join(head) + " |", "| --- | --- | --- |" + " ---: |" * (len(head) - 4) + " --- |"]
    for (case, logs, figure), found in groups.items():
        ours = found.get(subject)
        if ours is None:
            continue
        cells = [titles.get(case, case), logs, UNITS[figure], number(ours[figure])]
        cells += [number(found[base][figure]) if base in found else "–" for base in bases]
        for base in bases:
            ratio, spread = ours.get(f"ratio_{base}"), ours.get(f"ratio_{base}_spread")
            cells.append("–" if ratio is None else f"{ratio:.2f}" if spread[0] == spread[1] else
                         f"{ratio:.2f} ({spread[0]:.2f}–{spread[1]:.2f})")
        cells.append(verdict(found, subject, figure, aims.get(case, {})))
        out.append("| " + " | ".join(cells) + " |")
        for name, line in found.items():
            if name not in (subject, *bases):
                ratio = ours.get(f"ratio_{name}")
                beside = "" if ratio is None or name == "direct" else f"; {subject} × {name}: {ratio:.2f}"
                out.append(f"| – {name} | {logs} | {UNITS[figure]} | {number(line[figure])}{beside} |" + " |" * (len(head) - 4))
    return "\n".join(out)


def verdict(found, subject, figure, aims):
    """The aims, and whether they were reached."""
    words = []
    for base, most in aims.items():
        ours, peer = found[subject], found.get(base.lstrip("+"))
        if base.startswith("+") and peer:
            value, words_for = ours[figure] - peer[figure], f"{base[1:]} + {most:g}"
        elif base:
            value, words_for = ours.get(f"ratio_{base}"), f"{most:g} × {base}"
        else:
            value, words_for = ours[figure], f"{most:g}"
        if value is not None:
            words.append(("" if value <= most else "**missed** ") + words_for)
    return ", ".join(words)


def about():
    """The machine, in general terms, and the versions of what was measured."""
    with open("/proc/cpuinfo") as file:
        models = {line.split(":")[1].strip() for line in file if line.startswith("model name")}
    return (f"{os.cpu_count()} CPUs ({', '.join(sorted(models)) or platform.machine()}), "
            f"Linux {os.uname().release.split('-')[0]}; {', '.join(versions())}.")


def versions():
    path = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"}
    for name, command, cut in (("nginx", ["nginx", "-v"], "/"), ("HAProxy", ["haproxy", "-v"], "version ")):
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=path)
        except OSError:
            continue
        yield f"{name} {(done.stdout + done.stderr).split(cut)[1].split()[0].split('-')[0]}"


def save(folder, name, lines, text):
    with open(os.path.join(folder, f"{name}.json"), "w") as file:
        json.dump(lines, file, indent=1)
    with open(os.path.join(folder, f"{name}.md"), "w") as file:
        file.write(text + "\n")
