"""An OTLP collector for tests: takes traces over HTTP and decodes them with OpenTelemetry's own protobuf classes."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

OK = (200, {"Content-Type": "application/x-protobuf"})


class Received(NamedTuple):
    """One span, its resource's attributes and the headers that it came with."""

    span: Span
    resource: dict[str, Any]
    headers: dict[str, str]

    @property
    def name(self) -> str:
        return str(self.span.name)

    @property
    def attributes(self) -> dict[str, Any]:
        return values(self.span.attributes)

    @property
    def trace_id(self) -> str:
        return bytes(self.span.trace_id).hex()


class Collector:
    """What arrived, in order. `answer` says for each request with which status and headers it is answered."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[Received] = []
        self.requests: list[str] = []
        self.answer: Callable[[], tuple[int, dict[str, str]]] = lambda: OK

    def named(self, name: str) -> list[Received]:
        return [one for one in list(self.received) if one.name == name]

    def below(self, root: Received) -> list[Received]:
        """The spans right below another, in order of their beginning."""
        found = [one for one in list(self.received) if one.span.parent_span_id == root.span.span_id]
        return sorted(found, key=lambda one: one.span.start_time_unix_nano)


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as plain values."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    """A collector on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.requests.append(self.path)
            status, headers = collector.answer()
            if status == 200:
                raw = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                sent = {name.lower(): value for name, value in self.headers.items()}
                for group in ExportTraceServiceRequest.FromString(raw).resource_spans:
                    resource = values(group.resource.attributes)
                    for scope in group.scope_spans:
                        collector.received += [Received(span, resource, sent) for span in scope.spans]
            self.send_response(status)
            for name, value in ({"Content-Length": "0"} | headers).items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing: what arrives is in `received`."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
