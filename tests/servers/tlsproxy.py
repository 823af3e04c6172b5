"""A proxy that ends TLS with a certificate of its own: somebody in the middle."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from types import TracebackType
from typing import Self

_LAST_WORDS = 2.0


class TLSProxy:
    """Passes what it decrypts on to a TLS port on loopback, whose certificate it does not look at."""

    def __init__(self, port: int, files: tuple[str, str]) -> None:
        self._target = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*files)
        self._trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._trusting.check_hostname = False
        self._trusting.verify_mode = ssl.CERT_NONE
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                client = self._context.wrap_socket(plain, server_side=True)
                server = self._trusting.wrap_socket(socket.create_connection(("127.0.0.1", self._target)))
                self._open += [client, server]
                threading.Thread(target=_pass_on, args=(client, server), daemon=True).start()

    def close(self) -> None:
        """End it."""
        for one in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _pass_on(client: ssl.SSLSocket, server: ssl.SSLSocket) -> None:
    """Pass on both ways until one side ends; in one thread: two may not use a TLS connection at a time."""
    with contextlib.suppress(OSError, ValueError):  # closed by the test
        client.setblocking(False)
        server.setblocking(False)
        while (asking := _pass(client, server)) and _pass(server, client):
            select.select([client, server], [], [])
        # Shutting a TLS socket down takes the TLS away from who reads it: what is still answered comes first.
        until = time.monotonic() + (0 if asking else _LAST_WORDS)
        while _pass(server, client) and (left := until - time.monotonic()) > 0:
            select.select([server], [], [], left)
    for one in (client, server):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _pass(source: ssl.SSLSocket, sink: ssl.SSLSocket) -> bool:
    """Pass on what there is; whether more may come."""
    while True:
        try:
            block = source.recv(65536)
        except ssl.SSLWantReadError:
            return True
        except OSError:
            return False
        if not block:
            return False
        sink.setblocking(True)
        sink.sendall(block)
        sink.setblocking(False)
