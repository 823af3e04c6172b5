"""A proxy that cuts, delays and corrupts what a server answers: at random, from a seed."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress
from typing import Self

__all__ = ["Liar"]

_BLOCK = 16384


class Liar:
    """A TCP proxy on loopback. ``rate`` is the share of blocks of an answer that something is done to."""

    def __init__(self, port: int, seed: int, rate: float) -> None:
        self.rate = rate
        self.told = 0
        self._target = ("127.0.0.1", port)
        self._chance = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._target) as server:
            asking = threading.Thread(target=self._pass, args=(client, server, False), daemon=True)
            asking.start()
            self._pass(server, client, True)
            asking.join()

    def _pass(self, source: socket.socket, sink: socket.socket, lies: bool) -> None:
        with suppress(OSError):
            while block := source.recv(_BLOCK):
                if lies and self._chance.random() < self.rate:
                    self.told += 1
                    block = self._changed(block)
                    if not block:
                        break
                sink.sendall(block)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _changed(self, block: bytes) -> bytes:
        """Return the block with a byte changed, late, repeated, or nothing: the connection is cut then."""
        kind = self._chance.choice(("cut", "change", "delay", "half"))
        if kind == "delay":
            time.sleep(0.05)
            return block
        if kind == "change":
            place = self._chance.randrange(len(block))
            return block[:place] + bytes([block[place] ^ 0x40]) + block[place + 1 :]
        return b"" if kind == "cut" else block[: len(block) // 2]
