"""Load: wrk and h2load for many small requests, plain sockets for large bodies and idle callers."""

import os
import re
import socket
import subprocess
import time

UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


def run(command, cpu):
    done = subprocess.run(["taskset", "-c", str(cpu), *command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def wrk(url, cpu, connections, seconds):
    """Keep-alive HTTP/1.1 as fast as it goes: requests done, and latency in microseconds."""
    text = run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url], cpu)
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"failed requests:\n{text}")
    percentile = {
        int(float(name)): float(value) * UNITS[unit]
        for name, value, unit in re.findall(r"^\s+([\d.]+)%\s+([\d.]+)(us|ms|s|m)$", text, re.M)
    }
    requests = int(re.search(r"(\d+) requests in", text)[1])
    return {"requests": requests, "p50_us": percentile[50], "p99_us": percentile[99]}


def h2load(url, cpu, connections, streams, seconds):
    """HTTP/2 as fast as it goes, with TLS for https and by prior knowledge for http."""
    text = run(
        ["h2load", "-t1", f"-c{connections}", f"-m{streams}", "-D", str(seconds), "--warm-up-time=0", url], cpu
    )
    codes = [int(count) for count in re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text).groups()]
    if sum(codes[1:]) > 0 or codes[0] == 0 or "Application protocol: h2" not in text:
        raise RuntimeError(f"failed requests:\n{text}")
    return {"requests": codes[0]}


class pinned:
    """This process on one CPU, for load that it makes itself."""

    def __init__(self, cpu):
        self.cpu = cpu

    def __enter__(self):
        self.before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.cpu})

    def __exit__(self, *_):
        os.sched_setaffinity(0, self.before)


def download(port, path, size):
    """Reads a body of `size` bytes, thrown away."""
    buffer = bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", port), 60) as peer:
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += peer.recv(65536)
        head, body = head.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        got = len(body)
        while got < size:
            count = peer.recv_into(buffer)
            if count == 0:
                raise RuntimeError(f"the body ended after {got} of {size} bytes")
            got += count


def upload(port, path, size):
    """Sends a body of `size` bytes."""
    block = bytes(1 << 20)
    with socket.create_connection(("127.0.0.1", port), 60) as peer:
        peer.sendall(f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {size}\r\n\r\n".encode())
        left = size
        while left > 0:
            left -= peer.send(block[:left] if left < len(block) else block)
        head = peer.recv(65536)
        if not head.startswith(b"HTTP/1.1 204"):
            raise RuntimeError(head.decode())


def idle_connections(port, path, count):
    """Opens connections that made one request each and then keep quiet; to be closed by the caller."""
    peers = []
    for _ in range(count):
        peer = socket.create_connection(("127.0.0.1", port), 10)
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        peers.append(peer)
        if not peer.recv(65536).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("a request failed")
    return peers


def first_requests(port, path, count):
    """`count` requests at once, each on its own connection; answers the seconds until the last."""
    peers = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(count)]
    began = time.monotonic()
    for peer in peers:
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
    for peer in peers:
        if not peer.recv(65536).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("a first request failed")
        peer.close()
    return time.monotonic() - began
