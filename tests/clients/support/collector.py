"""A collector for tests: what it is sent, decoded by the official package, a line of JSON each.

It prints its port first. A line on its input that is a number is the status of its answers from then on.
"""

import gzip
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

KINDS = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}
answers = {"status": 200}
lock = threading.Lock()


def tell(what):
    with lock:
        print(json.dumps(what), flush=True)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        message = KINDS[self.path]()
        message.ParseFromString(body)
        unknown = message.ByteSize() != len(body)
        status = answers["status"]
        tell({
            "path": self.path,
            "status": status,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "reencodes": not unknown and message.SerializeToString() is not None,
            "message": MessageToDict(message),
        })
        answer = b"" if status != 200 else ExportTraceServiceResponse().SerializeToString()
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
tell({"port": server.server_port})
for line in sys.stdin:
    answers["status"] = int(line)
