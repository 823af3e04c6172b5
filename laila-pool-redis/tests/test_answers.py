"""Answers that no server gives, and what they cost: read as they come, with a bound on what they announce."""

from __future__ import annotations

import socket
import threading
import tracemalloc
from typing import Any

import pytest
from redis import exceptions

import laila
from laila.errors import PoolError
from laila.pool.redis import RedisPool
from laila.pool.redis.answers import MOST_BYTES, AnswerParser

PIECE = 7  # bytes of a read: every answer is cut everywhere


class Wire:
    """A socket from which ``data`` comes, at most ``piece`` bytes at a time, and then nothing more."""

    def __init__(self, data: bytes, piece: int = 1 << 20) -> None:
        self._data = memoryview(data)
        self._piece = piece
        self.largest = 0
        self._sock = self  # it stands for the connection too

    def recv_into(self, room: memoryview) -> int:
        self.largest = max(self.largest, len(room))
        size = min(len(room), len(self._data), self._piece)
        room[:size] = self._data[:size]
        self._data = self._data[size:]
        return size

    def gettimeout(self) -> float:
        return 1.0

    def settimeout(self, seconds: float) -> None:
        pass


def parser_of(wire: Wire, read: int = 1 << 10) -> AnswerParser:
    parser = AnswerParser(read)
    parser.on_connect(wire)  # type: ignore[arg-type]
    return parser


ANSWERS: dict[bytes, Any] = {
    b"+OK\r\n": b"OK",
    b"+\r\n": b"",
    b":0\r\n": 0,
    b":-12\r\n": -12,
    b"$-1\r\n": None,
    b"$0\r\n\r\n": b"",
    b"$4\r\n\r\n\r\n\r\n": b"\r\n\r\n",
    b"*-1\r\n": None,
    b"*0\r\n": [],
    b"*3\r\n$1\r\na\r\n$-1\r\n:7\r\n": [b"a", None, 7],
    b"*2\r\n$1\r\n0\r\n*3\r\n$2\r\nxy\r\n*0\r\n$1\r\nz\r\n": [b"0", [b"xy", [], b"z"]],
    b"*2\r\n*1\r\n*1\r\n:1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n": [[[1]], [b"a", b"b"]],
    b"$300\r\n" + b"*2000000000\r\n" * 23 + b"x\r\n": b"*2000000000\r\n" * 23 + b"x",
    b"$100000\r\n" + b"y" * 100_000 + b"\r\n": b"y" * 100_000,
}


@pytest.mark.parametrize("piece", [1, PIECE, 1 << 20])
def test_every_kind_of_answer_is_read_however_it_is_cut(piece: int) -> None:
    wire = Wire(b"".join(ANSWERS) * 2, piece)
    parser = parser_of(wire)
    for expected in [*ANSWERS.values()] * 2:
        assert parser.read_response() == expected
    with pytest.raises(exceptions.ConnectionError):
        parser.read_response()


def test_an_error_is_one_of_redis_py_s() -> None:
    parser = parser_of(
        Wire(b"-NOSCRIPT none\r\n*2\r\n-ERR x\r\n:1\r\n-ERR max number of clients reached\r\n")
    )
    assert isinstance(parser.read_response(), exceptions.NoScriptError)
    first, second = parser.read_response()
    assert isinstance(first, exceptions.ResponseError)
    assert second == 1
    with pytest.raises(exceptions.ConnectionError):
        parser.read_response()


@pytest.mark.parametrize(
    "announced",
    [
        b"*2000000000\r\n",
        b"*1\r\n*2000000000\r\n",
        b"*2\r\n$1\r\n0\r\n*2000000000\r\n",
        b"*9000000\r\n" * 8,
        b"*1\r\n" * 2000,
        b"*-2\r\n",
        b"*99999999999999999999999\r\n",
        b"$3000000000\r\n",
        b"$-7\r\n",
        b"$1_0\r\n",
        b"$ 10\r\n",
        b":" + b"9" * 5000 + b"\r\n",
        b"+" + b"x" * 100_000,
        b"!5\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
    ids=lambda data: data[:14].decode().replace("\r\n", " "),
)
def test_what_no_server_answers_is_refused_before_room_is_made(announced: bytes) -> None:
    parser = parser_of(Wire(announced))
    tracemalloc.start()
    try:
        with pytest.raises(exceptions.InvalidResponse):
            parser.read_response()
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_room_is_made_for_what_comes_and_not_for_what_is_announced() -> None:
    wire = Wire(b"$%d\r\nabc" % (500 << 20))
    with pytest.raises(exceptions.ConnectionError, match="middle"):
        parser_of(wire).read_response()
    assert wire.largest <= 32 << 20
    size = 40 << 20
    assert parser_of(Wire(b"$%d\r\n" % size + b"x" * size + b"\r\n")).read_response() == b"x" * size


def test_one_answer_takes_no_more_than_its_bound() -> None:
    many = MOST_BYTES // 64
    parser = parser_of(Wire(b"*%d\r\n" % many + b"$1\r\na\r\n"))
    with pytest.raises(exceptions.InvalidResponse, match="bytes"):
        parser.read_response()
    with pytest.raises(exceptions.InvalidResponse):
        parser_of(Wire(b"*%d\r\n" % (many + 1))).read_response()


@pytest.mark.parametrize("answer", [b"*2000000000\r\n:1\r\n", b"*1\r\n" * 5000, b"+" + b"x" * 200_000])
def test_a_hostile_server_is_named_in_the_error(answer: bytes) -> None:
    def serve(one: socket.socket) -> None:
        with one:
            while asked := one.recv(2**16):
                opening = b"CLIENT" in asked or b"EXISTS\r\n$8\r\n" in asked
                one.sendall(b"+OK\r\n" if opening else answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=lambda: serve(listener.accept()[0]), daemon=True)
        accepting.start()
        port = listener.getsockname()[1]
        pool = RedisPool(f"redis://127.0.0.1:{port}/0", retry_for=0.0, timeout=5.0)
        with pool, pytest.raises(PoolError, match="no Redis server"):
            pool.load([laila.constant(1).global_id])
