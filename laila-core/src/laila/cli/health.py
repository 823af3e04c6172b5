"""HealthServer: answers ``/health`` and ``/metrics`` of a served policy by HTTP, at this machine alone.

Plain HTTP without a secret. So it listens at the loopback address, tells numbers and names of pools, and
reads nothing that is stored. A name other than that address is refused: a page in a browser could bear it.
The text is Prometheus' exposition format, version 0.0.4.
"""

from __future__ import annotations

from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from socket import SHUT_RDWR
from threading import Thread, Timer
from time import time
from typing import TYPE_CHECKING

from laila.errors import SettingsError
from laila.showing import escaped
from laila.threads import NO_THREAD, start_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from laila.policy import DefaultPolicy

__all__ = ["HealthServer", "metrics"]

_SECONDS = 5.0  # for one request: requests are answered one after the other
_COUNTERS = {
    "hits": "entries that were asked for and were there",
    "misses": "entries that were asked for and were not there",
    "fills": "copies that a cache kept",
    "failures": "entries that skipped the tier, because it failed",
}


class HealthServer:
    """A server for one policy. Use it as a context. Its thread answers one request at a time."""

    def __init__(self, policy: DefaultPolicy, port: int) -> None:
        """Listen at 127.0.0.1; port 0 takes a free one. Raises :class:`SettingsError` where that fails."""
        try:
            self._server = _Server(policy, port)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "it is no port"
            raise SettingsError(
                f"cannot answer /health at 127.0.0.1:{port}: {reason}", option="health-port"
            ) from error
        self._thread = Thread(target=self._server.serve_forever, name="laila-health", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens, such as ``http://127.0.0.1:9100``."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        if not start_thread(self._thread):
            self._server.server_close()
            raise SettingsError(NO_THREAD, option="health-port")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(HTTPServer):
    def __init__(self, policy: DefaultPolicy, port: int) -> None:
        self.policy = policy
        self.began = time()
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that goes away is no error of the node."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "laila"
    sys_version = ""

    def setup(self) -> None:
        """End the request after some seconds, also where bytes trickle in: the next client waits."""
        super().setup()
        self._deadline = Timer(_SECONDS, self._cut)
        self._deadline.daemon = True
        self._deadline.start()

    def finish(self) -> None:
        """The request is over."""
        self._deadline.cancel()
        super().finish()

    def _cut(self) -> None:
        with suppress(OSError):  # it went by itself
            self.connection.shutdown(SHUT_RDWR)

    def do_GET(self) -> None:
        """Answer ``/health`` and ``/metrics``."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in {"127.0.0.1", "localhost"}:
            self._answer(403, "text/plain", "ask at 127.0.0.1\n")
        elif self.path == "/health":
            closed = self.server.policy.closed
            self._answer(503 if closed else 200, "text/plain", "closing\n" if closed else "ok\n")
        elif self.path == "/metrics":
            text = "".join(f"{line}\n" for line in metrics(self.server.policy, self.server.began))
            self._answer(200, "text/plain; version=0.0.4; charset=utf-8", text)
        else:
            self._answer(404, "text/plain", "there are /health and /metrics\n")

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log no request: a scrape comes every few seconds."""


def metrics(policy: DefaultPolicy, began: float) -> Iterator[str]:
    """Give the lines of the metrics of a policy. Asks no backend.

    Args:
        policy: The policy.
        began: When it began to serve, in seconds since 1970-01-01 UTC.
    """
    from laila.futures import future_bank

    tiers = {id(tier): tier for pool in policy.central.memory.router.pools.values() for tier in pool.chain()}
    for name, text in _COUNTERS.items():
        yield f"# HELP laila_pool_{name}_total {text}"
        yield f"# TYPE laila_pool_{name}_total counter"
        for tier in tiers.values():
            label = f'{{pool="{_label(tier.label)}",class="{type(tier).__name__}",id="{tier.uuid[:8]}"}}'
            yield f"laila_pool_{name}_total{label} {getattr(tier, name)}"
    gauges = {
        "laila_futures": ("futures that are pending, or kept for their result", len(future_bank)),
        "laila_peers": ("peers that are connected", len(policy.central.communication.peers)),
        "laila_start_time_seconds": ("when the policy began to serve, since 1970-01-01 UTC", round(began, 3)),
    }
    for name, (text, value) in gauges.items():
        yield f"# HELP {name} {text}"
        yield f"# TYPE {name} gauge"
        yield f"{name} {value}"


def _label(text: str) -> str:
    """A label's value, without what ends it."""
    return escaped(text, 200).replace("\\", "\\\\").replace('"', '\\"')
