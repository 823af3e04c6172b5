"""A redirect takes nothing secret to another host, nor to another port of the same one."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from laila.errors import LailaError, SettingsError
from laila.pool.s3 import ObjectStoreError, S3Pool
from laila.testing.samples import make_blob, stored
from servers.certificates import certify_server

if TYPE_CHECKING:
    from pathlib import Path

    from servers.s3 import S3Server

CUSTOMER_KEY = "bXktdmVyeS1zZWNyZXQta2V5LW9mLTMyLWJ5dGVzISE="


class Handler(BaseHTTPRequestHandler):
    """Notes each request and sends it elsewhere, or answers with two bytes."""

    protocol_version = "HTTP/1.1"
    elsewhere: ClassVar[str] = ""
    status: ClassVar[int] = 307
    seen: ClassVar[list[str]]

    def do(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        type(self).seen.append(f"{self.command} {self.path}\n{self.headers}")
        self.send_response(self.status if self.elsewhere else 200)
        if self.elsewhere:
            self.send_header("Location", f"{self.elsewhere}/b/there")
        self.send_header("Content-Length", "0" if self.elsewhere else "2")
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT")
        self.end_headers()
        if not self.elsewhere and self.command != "HEAD":
            self.wfile.write(b"hi")

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = do

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serving(
    elsewhere: str = "", status: int = 307, tls: tuple[Path, Path] | None = None
) -> Iterator[tuple[int, list[str]]]:
    """A server, its port and what it was asked: it redirects to ``elsewhere``, if that is anything."""
    seen: list[str] = []
    kind = type("Handler", (Handler,), {"elsewhere": elsewhere, "status": status, "seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server.server_port, seen
        finally:
            server.shutdown()


def try_everything(pool: S3Pool) -> list[str]:
    """Make each kind of request; return what was said."""
    told: list[str] = []
    for ask in (
        lambda: pool["k"],
        lambda: pool.exists("k"),
        lambda: list(pool.keys()),
        lambda: pool._write("k", make_blob("k")),
        lambda: pool._create("k", make_blob("k")),
        lambda: pool._delete_objects(["k"]),
        lambda: pool.check(),
    ):
        try:
            ask()
        except LailaError as error:
            told.append(str(error))
    return told


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_redirect_takes_a_secret_along(monkeypatch: pytest.MonkeyPatch, host: str, status: int) -> None:
    monkeypatch.setenv("AWS_SSE_CUSTOMER_KEY_BASE64", CUSTOMER_KEY)
    with serving() as (stranger, leaked), serving(f"http://{host}:{stranger}", status) as (port, asked):
        url = f"http://127.0.0.1:{port}"
        with S3Pool("b", "K", "S", endpoint_url=url, session_token="hush", retries=0, timeout=5) as pool:
            told = try_everything(pool)
    assert any("hush" in request for request in asked)  # it was asked, and sent them on
    assert not leaked
    assert all("redirect" in said or "another region" in said for said in told[:3])


def test_without_a_token_no_other_host_is_asked() -> None:
    with serving() as (stranger, asked), serving(f"http://localhost:{stranger}") as (port, _):
        url = f"http://127.0.0.1:{port}"
        told = pytest.raises(ObjectStoreError, match="redirects to another host")
        with S3Pool("b", "K", "S", endpoint_url=url, timeout=5) as pool, told:
            pool["k"]
    assert not asked


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_redirect_from_tls(tmp_path: Path, scheme: str) -> None:
    """The same host, another port: plain http is refused there, and a certificate of somebody else."""
    (tmp_path / "other").mkdir()
    authority, *own = certify_server(tmp_path)
    _, *other = certify_server(tmp_path / "other")
    with (
        serving(tls=(other[0], other[1]) if scheme == "https" else None) as (stranger, leaked),
        serving(f"{scheme}://127.0.0.1:{stranger}", tls=(own[0], own[1])) as (port, asked),
    ):
        url = f"https://127.0.0.1:{port}"
        keys: dict[str, Any] = {"access_key_id": "K", "secret_access_key": "S", "session_token": "hush"}
        with S3Pool("b", **keys, endpoint_url=url, ca_bundle=authority, retries=0) as pool:
            try_everything(pool)
    assert asked
    assert not leaked


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_token_changes_nothing_else(
    monkeypatch: pytest.MonkeyPatch, server: S3Server, bucket: str, host: str
) -> None:
    """A real server takes requests in the form that proxies get. It knows no tokens: there is none here."""
    monkeypatch.setattr("laila.pool.s3.pool._bears_secrets", lambda credentials: True)
    options: dict[str, Any] = {**server.options(), "endpoint_url": f"http://{host}:{server.port}"}
    with S3Pool(bucket, **options) as pool:
        pool.check()
        pool["k"] = "text"
        assert stored(pool, "k") is not None
        assert list(pool.keys()) == ["k"]
        assert pool.delete("k")


def test_a_proxy_of_the_environment_is_no_place_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(SettingsError, match="NO_PROXY"):
        S3Pool("b", "K", "S", endpoint_url="https://s3.example.org", session_token="hush")
    S3Pool("b", "K", "S", endpoint_url="https://s3.example.org").close()
    S3Pool("b", "K", "S", session_token="hush").close()  # AWS redirects nowhere else
    monkeypatch.setenv("no_proxy", "example.org")
    S3Pool("b", "K", "S", endpoint_url="https://s3.example.org", session_token="hush").close()
