"""What servers and files of others answer costs what its bytes allow: Redis, S3, and indexes in HDF5 files.

Each reader is given inputs of one, two and four times a size; its calls, memory and time are counted.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import msgpack
import pytest
from xxhash import xxh3_64_intdigest

import laila
from laila.codec import encode
from laila.errors import LailaError, PoolError
from laila.pool.hdf5.layout import decode_blocks
from laila.pool.redis import RedisPool
from laila.pool.redis.layout import MARK, Record, number_of
from laila.pool.s3 import S3Pool
from laila.pool.s3.names import parse_name
from laila.pool.s3.replies import read_reply
from servers.costs import Cost, assert_linear, cost_of

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
STEP = 20_000

# -- what is read where it stands ---------------------------------------------------------------------------


def block(body: bytes) -> bytes:
    return struct.pack("<QQ", len(body), xxh3_64_intdigest(body)) + body


def error_text(n: int, piece: str) -> Exception:
    return RuntimeError("Error performing GET http://h/b: status code: 400 " + piece * (n // len(piece)))


READERS: dict[str, Callable[[int], Callable[[], object]]] = {}


def reader(make: Callable[[int], Callable[[], object]]) -> Callable[[int], Callable[[], object]]:
    READERS[make.__name__] = make
    return make


def hdf5(body: bytes) -> Callable[[], object]:
    return partial(decode_blocks, block(body), "file")


def of_rows(row: object, n: int) -> bytes:
    packed: bytes = msgpack.packb([row] * (n // len(msgpack.packb(row))))
    return packed


def hdf5_of(row: object, n: int) -> Callable[[], object]:
    return hdf5(of_rows(row, n))


for name, row in {
    "rows": (KEY, 1, 2),
    "long_keys": ("k" * 500, 1, 2, ((1, 2, True),) * 8),
    "deleted": (None,),
    "numbers": 2**63,
    "empty": (),
    "maps": {},
    "nested": ((((((),),),),),),
}.items():
    READERS[f"hdf5_{name}"] = partial(hdf5_of, row)


@reader
def hdf5_announces_rows(n: int) -> Callable[[], object]:
    return hdf5(b"\xdd\xff\xff\xff\xff" * (n // 5))


@reader
def hdf5_is_deep(n: int) -> Callable[[], object]:
    return hdf5(b"\x91" * n)


@reader
def hdf5_has_many_blocks(n: int) -> Callable[[], object]:
    return partial(decode_blocks, block(b"\x90") * (n // 17), "file")


@reader
def hdf5_block_of_no_end(n: int) -> Callable[[], object]:
    return partial(decode_blocks, struct.pack("<QQ", 2**64 - 1, 0) + bytes(n), "file")


@reader
def redis_record(n: int) -> Callable[[], object]:
    return partial(Record.parse, KEY, MARK + b"9" * n)


@reader
def redis_record_of_spaces(n: int) -> Callable[[], object]:
    return partial(Record.parse, KEY, MARK + b" 1" * (n // 2))


@reader
def redis_number(n: int) -> Callable[[], object]:
    return partial(number_of, b"999" + b"9" * n)


def s3_error(piece: str, n: int) -> Callable[[], object]:
    return partial(read_reply, error_text(n, piece), "b")


for name, piece in {
    "code": "<Code>",
    "spaces": "<Code> " + " " * 100,
    "message": "<Message>" + "x" * 1990,
    "entities": "<Message>" + "&amp;" * 300 + "</Message>",
    "status": "status code: 40",
    "delete": "DeleteObjects request failed for key x: y (code: ",
    "debug": "\n\nDebug source:",
    "performing": "Error performing A ",
    "lines": "\n",
}.items():
    READERS[f"s3_error_{name}"] = partial(s3_error, piece)


@reader
def s3_name(n: int) -> Callable[[], object]:
    return partial(parse_name, "x/" * (n // 2))


@reader
def s3_name_of_percents(n: int) -> Callable[[], object]:
    return partial(parse_name, "%" * n)


def quietly(work: Callable[[], object]) -> None:
    with suppress(LailaError):
        work()


@pytest.mark.parametrize("name", READERS)
def test_cost_of_what_a_server_or_file_says(name: str) -> None:
    one, two, four = (cost_of(partial(quietly, READERS[name](n * STEP))) for n in (1, 2, 4))
    assert_linear(one, two, four, name)
    assert four.nbytes < 100 * 4 * STEP + 2**20  # an empty dict has 64 for a byte


# -- what answers over a connection -------------------------------------------------------------------------


@contextmanager
def answering(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """A server that answers whatever it is asked, as long as somebody asks; gives its port."""

    def serve(one: socket.socket) -> None:
        with suppress(OSError), one:
            while asked := one.recv(2**16):
                one.sendall(answer(asked))

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def everything(pool: laila.Pool, most: int = 99) -> None:
    """All that a pool asks a server for, or the first ``most`` of that."""
    asked: list[Callable[[], Any]] = [
        lambda: pool.load([KEY]),
        lambda: pool.exists(KEY),
        lambda: pool.history([KEY]),
        lambda: list(pool.keys()),
        lambda: pool.heads_here([KEY]),
        lambda: pool.delete([KEY]),
    ]
    for ask in asked[:most]:
        quietly(ask)


REDIS: dict[str, Callable[[int], bytes]] = {
    "a value": lambda n: b"$%d\r\n%b\r\n" % (n, b"x" * n),
    "an error": lambda n: b"-ERR " + b"x" * n + b"\r\n",
    "an error of many words": lambda n: b"-" + b"NOAUTH WRONGPASS " * (n // 16) + b"\r\n",
    "a line": lambda n: b"+" + b"x" * n + b"\r\n",
    "many values": lambda n: b"*%d\r\n" % (n // 16) + b":1\r\n" * (n // 16),
    "arrays in arrays": lambda n: b"*1\r\n" * 200 + b"*%d\r\n" % (n // 5) + b"$-1\r\n" * (n // 5),
    "a large number": lambda n: b":" + b"9" * min(n, 4000) + b"\r\n",
    "what it does not have": lambda n: b"$3000000000\r\n" + b"x" * n,
    "no answer": lambda n: b"x" * n + b"\r\n",
}


def always(answer: bytes) -> Callable[[bytes], bytes]:
    return lambda asked: answer


def after_opening(answer: bytes) -> Callable[[bytes], bytes]:
    """Let a pool be opened first, and answer to all that it does then."""
    return lambda asked: b"+OK\r\n" if b"CLIENT" in asked or b"EXISTS\r\n$8\r\n" in asked else answer


WAITED_FOR = {"what it does not have", "no answer"}  # until the time is up


@pytest.mark.parametrize("what", REDIS)
def test_cost_of_what_a_redis_server_answers(what: str) -> None:
    costs: list[Cost] = []
    for n in (1, 2, 4):
        with answering(after_opening(REDIS[what](n * STEP))) as port:
            seconds = 0.5 if what in WAITED_FOR else 30.0
            pool = RedisPool(f"redis://127.0.0.1:{port}/0", timeout=seconds, retry_for=0.0)
            costs.append(cost_of(partial(everything, pool, 1 if what in WAITED_FOR else 99)))
            pool.close()
    assert_linear(costs[0], costs[1], costs[2], what)
    assert costs[2].nbytes < 100 * 4 * STEP + 16 * 2**20


@pytest.mark.parametrize("answer", [b"$2\r\nxx\r\n", b"*2\r\n:1\r\n:1\r\n", b"*1\r\n$1\r\n1\r\n", b"+OK\r\n"])
def test_an_answer_of_another_kind_is_an_error_of_the_pool(answer: bytes) -> None:
    with answering(after_opening(answer)) as port:
        pool = RedisPool(f"redis://127.0.0.1:{port}/0", timeout=30.0, retry_for=0.0)
        for ask in (
            lambda: pool.exists(KEY),
            lambda: pool.delete([KEY]),
            lambda: pool.store_here([encode([1], key=KEY)]),
        ):
            with pytest.raises(PoolError, match="what runs there"):
                ask()
        pool.close()


def http(status: int, body: bytes, **headers: str) -> bytes:
    lines = {"Content-Length": str(len(body)), "Content-Type": "application/xml", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body


S3: dict[str, Callable[[int], bytes]] = {
    "an error": lambda n: http(403, b"<Error><Code>AccessDenied</Code>" + b"<Message>x" * (n // 10)),
    "no XML": lambda n: http(400, b"<" * n),
    "an object": lambda n: http(200, b"x" * n, ETag='"x"', Last_Modified="Mon, 30 Nov 2026 19:00:00 GMT"),
    "a list": lambda n: http(200, b"<ListBucketResult>" + b"<Contents><Key>x</Key></Contents>" * (n // 33)),
    "one in another": lambda n: http(200, b"<a>" * (n // 3)),
}


@pytest.mark.parametrize("what", S3)
def test_cost_of_what_an_s3_service_answers(what: str) -> None:
    costs: list[Cost] = []
    for n in (1, 2, 4):
        with answering(always(S3[what](n * STEP))) as port:
            pool = S3Pool(
                "bucket",
                endpoint_url=f"http://127.0.0.1:{port}",
                access_key_id="id",
                secret_access_key="secret",
                region_name="us-east-1",
                deadline=1.0,
                timeout=1.0,
            )
            costs.append(cost_of(partial(everything, pool)))
            pool.close()
    assert_linear(costs[0], costs[1], costs[2], what)
    assert costs[2].nbytes < 64 * 4 * STEP + 16 * 2**20
