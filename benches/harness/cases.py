"""What is measured: the load, who takes part, and what is aimed at."""

from dataclasses import dataclass, field

import load

MB = 1 << 20
REQUESTS, GIB = "cpu_s_per_100k", "cpu_s_per_gib"
ALL = ("nginx", "haproxy", "envoy")


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    work: object
    # The peers in a full run, and in a quick one; None leaves the case out of it.
    peers: tuple = ALL
    quick: tuple | None = None
    # What the ratios are taken of.
    figure: str = REQUESTS
    # At most this many times a peer's figure; with a plus before its name, at most so much above it.
    aims: dict = field(default_factory=dict)
    workers: int = 1
    # What the proxies do, see peers.Settings.
    does: str = "inject"
    # Measured with the request log off as well.
    quiet_too: bool = False
    # Other loads on our own process, measured in turns with the first.
    variants: dict = field(default_factory=dict)
    # Seconds a round, of a full run.
    seconds: int = 3


CASES = [
    Case("h1", "1 KB, HTTP/1.1 keep-alive, 64 connections", load.keep_alive(),
         peers=(*ALL, "bare", "direct"), quick=(*ALL, "bare"), aims={"nginx": 0.95, "haproxy": 0.95, "+bare": 0.15}, quiet_too=True),
    Case("tls", "1 KB, TLS 1.3, HTTP/1.1 keep-alive, 64 connections", load.keep_alive(tls=True),
         quick=("nginx", "haproxy"), aims={"nginx": 0.75}, quiet_too=True),
    Case("h2", "1 KB, HTTP/2 over TLS, 8 × 16 streams", load.http2(),
         quick=("nginx", "haproxy"), aims={"nginx": 0.75}, quiet_too=True),
    Case("h1-two", "1 KB, HTTP/1.1 keep-alive, two workers, unpinned", load.keep_alive(),
         aims={"nginx": 0.95}, workers=2, quiet_too=True),
    Case("tls-two", "1 KB, TLS 1.3, two workers, unpinned", load.keep_alive(tls=True), workers=2),
    Case("new-tcp", "a new TCP connection each", load.connections("tcp"),
         quick=("nginx",), aims={"nginx": 0.90}, quiet_too=True),
    Case("new-tls", "a new TLS connection each, full handshake", load.connections("full"),
         quick=("nginx",), aims={"nginx": 0.60}, quiet_too=True),
    Case("resumed-tls", "a new TLS connection each, resumed", load.connections("resumed"), aims={"nginx": 0.60}, quiet_too=True),
    Case("down-1m", "1 MB bodies down, 8 connections", load.down(MB, 8),
         quick=("nginx", "haproxy"), figure=GIB, aims={"nginx": 0.35}),
    Case("down-100m", "100 MB bodies down, 2 connections", load.down(100 * MB, 2),
         figure=GIB, aims={"nginx": 0.40}),
    Case("up-1m", "1 MB bodies up, 8 connections", load.bulk("up", MB, 8), figure=GIB),
    Case("up-100m", "100 MB bodies up, 2 connections", load.bulk("up", 100 * MB, 2), figure=GIB),
    Case("tls-down-1m", "1 MB bodies down over TLS, 8 connections", load.down(MB, 8, tls=True),
         figure=GIB, aims={"nginx": 0.72}),
    Case("tunnel", "a tunnel after `Upgrade`, 4 connections, both ways", load.bulk("tunnel", 16 * MB, 4),
         quick=("haproxy",), figure=GIB, aims={"haproxy": 1.0}),
    Case("connect", "a tunnel by CONNECT (haproxy: mode tcp), 4 connections, both ways", load.connect(16 * MB, 4),
         peers=("haproxy",), figure=GIB, aims={"haproxy": 1.0}, does="forward"),
    Case("opened", "1 KB in connections that CONNECT opened, 64 connections", load.opened("opened.bench"),
         peers=(), variants={"terminated": load.opened(None)}, aims={"terminated": 1.3}, does="forward"),
    Case("paced", "1 KB, 4,000 requests a second", load.paced(),
         peers=(*ALL, "direct"), quick=("nginx", "envoy", "direct"), aims={"nginx": 1.05, "envoy": 0.5}, seconds=6, quiet_too=True),
    Case("links", "a page of JSON, links pointed back (nginx: sub_filter)", load.keep_alive("/links"), peers=("nginx",)),
    # The same bytes once as JSON, which is searched for links, once as what it does not look into.
    Case("page", "a page of JSON without links, searched", load.keep_alive("/page"),
         peers=("nginx",), variants={"passed-on": load.keep_alive("/bytes")}, aims={"passed-on": 1.05}),
    # Ten thousand tokens in turn are more than ours keeps, and Envoy is told to keep none.
    Case("jwt-first", "a caller's token (RS256), first sight", load.keep_alive(tokens=10_000),
         peers=("haproxy", "envoy"), aims={"envoy": 0.35}, does="bearer"),
    Case("jwt-repeated", "a caller's token (RS256), repeated", load.keep_alive(tokens=1),
         peers=("haproxy", "envoy", "envoy-cached", "injection"), aims={"injection": 1.05}, does="bearer"),
]
