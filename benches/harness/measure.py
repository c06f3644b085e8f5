"""What a process cost, read from /proc: CPU to the nanosecond, memory, and who else was busy."""

import glob
import os
import time

TICKS = os.sysconf("SC_CLK_TCK")


def family(pid):
    """A process and all below it."""
    pids = [pid]
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(path) as file:
                for child in file.read().split():
                    pids += family(int(child))
        except OSError:
            pass
    return pids


def cpu_seconds(pid):
    """CPU time of a process and all below it, every thread, from the scheduler's own counters."""
    total = 0
    for member in family(pid):
        for path in glob.glob(f"/proc/{member}/task/*/schedstat"):
            try:
                with open(path) as file:
                    total += int(file.read().split()[0])
            except OSError:
                pass
    return total / 1e9


def memory_bytes(pid):
    """Resident memory of a process and all below it, pages that several share counted once."""
    total = 0
    for member in family(pid):
        try:
            with open(f"/proc/{member}/smaps_rollup") as file:
                for line in file:
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        except OSError:
            pass
    return total


def machine_seconds():
    """CPU time that everybody used, and time that the hypervisor gave to others."""
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:]]
    user, nice, system, _idle, _wait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq) / TICKS, steal / TICKS


def wait_until_quiet(patience, limit=0.15):
    """Waits until others use little CPU; gives up after `patience` seconds, the round says so."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        before, _ = machine_seconds()
        time.sleep(0.3)
        after, _ = machine_seconds()
        if (after - before) / 0.3 < limit:
            return


class Meter:
    """CPU of `pid` over a block, and what others used meanwhile (`noise`, in CPUs)."""

    def __init__(self, pid, ours=()):
        self.pid = pid
        self.ours = ours

    def __enter__(self):
        self._cpu = cpu_seconds(self.pid)
        self._ours = sum(cpu_seconds(pid) for pid in self.ours)
        self._machine, self._steal = machine_seconds()
        self._children = sum(os.times()[2:4])
        self._self = sum(os.times()[:2])
        self._time = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self._time
        self.cpu = cpu_seconds(self.pid) - self._cpu
        times = os.times()
        known = (
            self.cpu
            + sum(cpu_seconds(pid) for pid in self.ours) - self._ours
            + sum(times[2:4]) - self._children
            + sum(times[:2]) - self._self
        )
        machine, steal = machine_seconds()
        self.noise = max(0.0, machine - self._machine - known) / self.seconds
        self.steal = (steal - self._steal) / self.seconds
