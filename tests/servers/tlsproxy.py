"""A proxy that ends TLS with a certificate of its own: somebody in the middle."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
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
                answers = threading.Thread(target=self._answer, args=(server, client), daemon=True)
                answers.start()
                threading.Thread(target=self._ask, args=(client, server, answers), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, answers: threading.Thread) -> None:
        _pass(client, server)
        # Shutting a TLS socket down takes the TLS away from who reads it: what is still answered comes first.
        answers.join(_LAST_WORDS)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        _pass(server, client)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

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


def _pass(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(65536):
            sink.sendall(block)
