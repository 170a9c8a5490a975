"""A receiver of events as a process of its own: it writes down what it gets, and misbehaves as it is told.

Run as `python receiver.py PORT FOLDER [CERTIFICATE KEY]`. `FOLDER/mode` is read at each request: `ok`, `hang`, `drip`
(a byte of the answer now and then), `flood` (an answer without an end), `redirect`, or a status such as `500` or `429`
(with a Retry-After).
`FOLDER/got.jsonl` has each request with the mode it met, written before the answer."""

from __future__ import annotations

import http.server
import json
import ssl
import sys
import threading
import time
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path
    writing = threading.Lock()  # a long line is written in pieces

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        mode = (self.folder / "mode").read_text().strip()
        got = {"mode": mode, "path": self.path, "headers": dict(self.headers.items()), "body": body.decode()}
        with self.writing, (self.folder / "got.jsonl").open("a") as file:
            file.write(json.dumps(got) + "\n")
        if mode == "hang":
            time.sleep(600)
        elif mode == "drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                self.wfile.write(b"X")
                time.sleep(0.05)
        elif mode == "flood":
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
            while True:
                self.wfile.write(b"x" * 65536)
        elif mode == "redirect":
            self.answer(302, {"location": "http://127.0.0.1:1/elsewhere"})
        elif mode == "429":
            self.answer(429, {"retry-after": "1"})
        else:
            self.answer(204 if mode == "ok" else int(mode), {})

    def answer(self, status: int, fields: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[2])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    server.daemon_threads = True
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[3:])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
