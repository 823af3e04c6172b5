"""Requests that no client of laila's sends: from a page in a browser, smuggled, cut, or no HTTP at all."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

import laila

if TYPE_CHECKING:
    from collections.abc import Iterator

UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n"
)
GET = "GET / HTTP/1.1\r\nHost: x\r\n"
REFUSED = {
    "a page of a name that leads here": f"GET / HTTP/1.1\r\nHost: e\r\nOrigin: http://e\r\n{UPGRADE}\r\n",
    "a page of this very address": f"{GET}Origin: http://127.0.0.1:8765\r\n{UPGRADE}\r\n",
    "a sandboxed page": f"{GET}Origin: null\r\n{UPGRADE}\r\n",
    "an empty origin": f"{GET}Origin:\r\n{UPGRADE}\r\n",
    "two origins": f"{GET}Origin: http://a\r\nOrigin: http://b\r\n{UPGRADE}\r\n",
    "a request in a body": f"{GET}Content-Length: 30\r\n{UPGRADE}\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a body in chunks": f"{GET}Transfer-Encoding: chunked\r\n{UPGRADE}\r\n0\r\n\r\n",
    "another method": f"POST / HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n",
    "another version": f"GET / HTTP/1.0\r\nHost: x\r\n{UPGRADE}\r\n",
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a long line": "GET /" + "a" * 100_000 + " HTTP/1.1\r\n\r\n",
    "many headers": "GET / HTTP/1.1\r\n" + "a: b\r\n" * 5000 + "\r\n",
    "no carriage returns": "GET / HTTP/1.1\nHost: x\n\n",
    "zeros": "\0" * 100 + "\r\n\r\n",
}


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    policy = laila.DefaultPolicy()
    protocol = laila.DefaultTCPIPProtocol(host="127.0.0.1", port=0, peer_secret_key="a secret of some length")
    policy.central.communication.add_connection(protocol)
    yield "127.0.0.1", int(str(protocol.uri).rpartition(":")[2])
    policy.close()


def answer(address: tuple[str, int], request: str) -> bytes:
    """What is answered until the other side closes, or says nothing more."""
    answered = b""
    with socket.create_connection(address, timeout=30) as line:
        with suppress(OSError):
            line.sendall(request.encode())
        with suppress(OSError):
            while b"\r\n\r\n" not in answered and (data := line.recv(4096)):
                answered += data
    return answered


def test_a_client_of_another_kind_may_speak(address: tuple[str, int]) -> None:
    assert answer(address, f"{GET}{UPGRADE}\r\n").startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_odd_is_not_let_in(what: str, address: tuple[str, int]) -> None:
    assert b" 101 " not in answer(address, REFUSED[what])
    assert answer(address, f"{GET}{UPGRADE}\r\n").startswith(b"HTTP/1.1 101 ")  # others are served
