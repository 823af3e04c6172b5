"""A client for peers in as few lines as the wire page promises: JSON, hashlib, hmac and a WebSocket."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import struct
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

LIMITS = {
    "max_message_bytes": 2**30,
    "max_json_bytes": 2**24,
    "max_in_flight": 1024,
    "max_streams": 32,
    "window_bytes": 2**20,
}
CHUNK = 256 * 1024


class Plain:
    """One connection; :meth:`call` sends a request and waits for its answer."""

    def __init__(self, uri: str, secret: str | None, **options: Any) -> None:
        self._opened = ExitStack()
        self.socket: ClientConnection = self._opened.enter_context(
            connect(
                uri,
                compression=None,
                max_size=2**21,
                proxy=None,
                **{"open_timeout": 60, "ping_timeout": 60, **options},
            )
        )
        self.number = 10
        self.stream = 0
        self.role = ""
        if secret is not None:
            self.shake_hands(secret)

    def shake_hands(self, secret: str) -> None:
        """Prove that this side knows the secret, and have the other side prove it too."""
        nonce = secrets.token_bytes(32)
        self.send({"id": 1, "method": "laila.hello", "params": {"versions": [1], "nonce": nonce.hex()}})
        challenge = self.receive()["result"]
        salt = bytes.fromhex(challenge["salt"])
        key = hashlib.scrypt(secret.encode(), salt=salt, n=2**15, r=8, p=1, maxmem=2**26, dklen=32)
        said = [
            b"laila peers",
            str(challenge["version"]).encode(),
            b"1",
            nonce,
            bytes.fromhex(challenge["nonce"]),
            salt,
            b"",  # this side is no policy
            challenge["policy"].encode(),
            b"",
            bytes.fromhex(challenge["identity"]),
            b"",  # no TLS
        ]
        transcript = b"".join(struct.pack(">I", len(part)) + part for part in said)
        proof = hmac.digest(key, b"client\0" + transcript, "sha256")
        self.send(
            {"id": 2, "method": "laila.authenticate", "params": {"proof": proof.hex(), "limits": LIMITS}}
        )
        welcome = self.receive()
        if "error" in welcome:
            raise PermissionError(welcome["error"]["message"])
        result = welcome["result"]
        more = result["role"].encode() + b"\0" + result["instance"].encode()
        expected = hmac.digest(key, b"server\0" + transcript + more, "sha256")
        assert hmac.compare_digest(bytes.fromhex(result["proof"]), expected)
        self.role = result["role"]

    def send(self, message: dict[str, Any]) -> None:
        """Send a message."""
        self.socket.send(json.dumps({"jsonrpc": "2.0", **message}))

    def receive(self, timeout: float = 60) -> dict[str, Any]:
        """Return the next message that is text."""
        message = self.socket.recv(timeout)
        assert isinstance(message, str)
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def call(
        self, method: str, params: Any = None, blobs: list[bytes] | None = None
    ) -> tuple[Any, list[bytes]]:
        """Call a method; return its result, and the blobs beside it. Raises RuntimeError for an error."""
        self.number += 1
        request: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        if blobs:
            self.stream += 1
            request["laila"] = {"stream": self.stream, "sizes": [len(blob) for blob in blobs]}
        self.send(request)
        data = b"".join(blobs or [])
        for start in range(0, len(data), CHUNK):  # small ones: no credit is waited for
            piece = data[start : start + CHUNK]
            last = start + CHUNK >= len(data)
            self.socket.send(struct.pack(">BBHQ", 1, int(last), 0, self.stream) + piece)
        return self.answer(self.number)

    def answer(self, number: int) -> tuple[Any, list[bytes]]:
        """Wait for the answer to a call."""
        while (answer := self.receive()).get("id") != number or "method" in answer:
            pass
        if "error" in answer:
            raise RuntimeError(json.dumps(answer["error"]))
        found: list[bytes] = []
        if "laila" in answer:
            stream, data = answer["laila"]["stream"], b""
            taken, last = 0, False
            while not last:
                message = self.socket.recv(10)
                if isinstance(message, str):
                    continue
                kind, flags, zero, number = struct.unpack(">BBHQ", message[:12])
                assert (kind, zero, number) == (1, 0, stream)
                data += message[12:]
                last = flags == 1
                if not last and len(data) - taken >= LIMITS["window_bytes"] // 2:
                    more = len(data) - taken
                    taken = len(data)
                    self.send({"method": "laila.credit", "params": {"stream": stream, "bytes": more}})
            for size in answer["laila"]["sizes"]:
                found.append(data[:size])
                data = data[size:]
        return answer["result"], found

    def close(self) -> None:
        """End the connection."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
