"""A server of the tests that takes alerts (POST, as `json://` sends them) and pings (GET)."""

from __future__ import annotations

import http.server
import json
import threading
from typing import Any


class Channel(http.server.ThreadingHTTPServer):
    """Serves until it is left or the tests end. `works`: whether it takes messages, or says 503."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.messages: list[dict[str, Any]] = []
        self.pings = 0
        self.works = True
        super().__init__((address, 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Channel

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.works:
            self.server.messages.append(json.loads(body))
        self.send_response(200 if self.server.works else 503)
        self.end_headers()

    def do_GET(self) -> None:
        self.server.pings += 1
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass
