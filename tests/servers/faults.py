"""An HTTP server on loopback that passes requests on to a real one, notes them, and answers some by itself.

For the answers that a real server cannot be made to give: 503 Slow Down, a lost region, a 403 in mid-batch.
"""

from __future__ import annotations

import http.client
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


@dataclass
class Request:
    """One request that came by."""

    method: str
    path: str
    """With the query."""
    headers: dict[str, str]
    """Names in lower case."""
    status: int = 0
    """What was answered."""


@dataclass
class Fault:
    """Answers the next ``times`` requests of ``method`` whose path contains ``part``."""

    method: str
    part: str
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    after: int = 0
    """How many are passed on before."""
    served: bool = False
    """Whether the real server gets the request all the same: done, and answered as failed."""


class Faults:
    """Stands before the HTTP server at ``target`` (host and port) until closed. Thread-safe."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.requests: list[Request] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30
            wbufsize = 64 * 1024  # head and body in one packet

            def log_message(self, format: str, *args: object) -> None:
                """Keep quiet."""

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def _any(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers)
                body = self.rfile.read(int(headers.get("content-length", "0")))
                fault = outer._take(request)
                if fault is None:
                    answer = _forward(target, request, body)
                else:
                    if fault.served:
                        _forward(target, request, body)
                    answer = (fault.status, fault.headers, fault.body)
                request.status = answer[0]
                self._answer(*answer)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                        self.send_header(name, value)
                length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
                self.send_header("Content-Length", length)
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="faults", daemon=True).start()

    def add(self, *faults: Fault) -> None:
        """Answer so from now on; the first that fits is taken."""
        with self._lock:
            self._faults += faults

    def clear(self) -> None:
        """Pass everything on again, and forget what came by."""
        with self._lock:
            self._faults.clear()
            self.requests.clear()

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            for fault in self._faults:
                if fault.times and fault.method == request.method and fault.part in request.path:
                    if fault.after:
                        fault.after -= 1
                        break
                    fault.times -= 1
                    return fault
        return None


def _forward(target: tuple[str, int], request: Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send ``request`` on as it is (its Host is part of its signature)."""
    connection = http.client.HTTPConnection(*target, timeout=30)
    try:
        connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name not in {"connection", "expect"}:
                connection.putheader(name, value)
        connection.endheaders(body or None)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()
