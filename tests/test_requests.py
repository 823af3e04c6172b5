"""What a verb asks of a server, counted on the wire before it. The tables of the page say these numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import laila
from kinds import Place
from laila.pool.redis import RedisPool
from laila.pool.s3 import S3Pool
from servers.recorder import Recorder
from servers.redis import RedisServer
from servers.s3 import S3Server

pytestmark = pytest.mark.usefixtures("policy")

PAGE = Path(__file__).parents[1] / "docs/explanation/what-a-billion-entries-cost.md"
HTTP = re.compile(rb"(GET|PUT|HEAD|POST|DELETE) /\S* HTTP/1\.1\r\n")


def of_s3(sent: bytes) -> Counter[str]:
    """The requests, by method."""
    return Counter(method.decode() for method in HTTP.findall(sent))


def of_redis(sent: bytes) -> Counter[str]:
    """The commands, by name."""
    found: Counter[str] = Counter()
    at = 0
    while at < len(sent):
        end = sent.index(b"\r\n", at)
        assert sent[at : at + 1] == b"*"
        words, at = int(sent[at + 1 : end]), end + 2
        for number in range(words):
            end = sent.index(b"\r\n", at)
            size = int(sent[at + 1 : end])
            if number == 0:
                found[sent[end + 2 : end + 2 + size].decode().upper()] += 1
            at = end + 2 + size + 2
    return found


def verbs(pool: laila.Pool) -> Iterator[tuple[str, Callable[[], object]]]:
    """Give each verb of the table and a call of it, in an order in which each finds what it needs."""
    one, many = laila.constant("one"), [laila.constant({"number": n}) for n in range(100)]
    leaves = [laila.constant(f"leaf {n}", by="content") for n in range(100)]
    run = laila.Manifest({"leaves": leaves}, nickname="run")
    again = laila.Manifest(
        {"leaves": [laila.constant(f"leaf {n}", by="content") for n in range(100)]}, nickname="again"
    )
    same = laila.constant("one", global_id=one.global_id)
    ids = [entry.global_id for entry in many]
    there: dict[str, Any] = {"pool_nickname": "counted"}
    yield "memorize one", lambda: laila.memorize(one, **there).wait()
    yield "memorize 100", lambda: laila.memorize(many, **there).wait()
    yield (
        "memorize one again",
        lambda: laila.memorize(same, **there).wait(),
    )
    yield "remember one", lambda: laila.remember(one.global_id, **there).wait()
    yield "remember 100", lambda: laila.remember(ids, **there).wait()
    yield "memorize a manifest and 100 leaves", lambda: run.memorize(**there).wait()
    yield "memorize a manifest that shares 100 leaves", lambda: again.memorize(**there).wait()
    yield "list 203 entries (`ls`)", lambda: laila.ls(pool)
    yield "count their bytes (`du`)", lambda: laila.du(pool).wait()
    yield "verify them", lambda: laila.verify(pool).wait()
    yield "collect (`gc`), nothing deleted", lambda: laila.gc(pool).wait()
    yield "forget one", lambda: laila.forget(one.global_id, **there).wait()
    yield "forget 100", lambda: laila.forget(ids, **there).wait()
    yield "forget a manifest that shares 100 leaves", lambda: again.forget(**there).wait()


def rows(pool: laila.Pool, wire: Recorder, count: Callable[[bytes], Counter[str]]) -> list[str]:
    """Return a row of the table for each verb."""
    laila.memory.extend(pool, pool_nickname="counted")
    warm = laila.constant("warm")  # it is connected, and the server has its scripts
    laila.memorize(warm, pool_nickname="counted").wait()
    laila.forget(warm, pool_nickname="counted").wait()
    found = []
    for name, call in verbs(pool):
        before = [len(part) for part in wire.sent]
        call()
        total: Counter[str] = Counter()
        for number, part in enumerate(wire.sent):
            total += count(bytes(part[before[number] if number < len(before) else 0 :]))
        for greeting in ("HELLO", "CLIENT", "AUTH", "SELECT", "PING", "INFO", "COMMAND"):
            total.pop(greeting, None)
        asked = ", ".join(f"{number} {what}" for what, number in sorted(total.items()))
        found.append(f"| {name} | {sum(total.values())} | {asked} |")
    return found


def test_the_page_says_what_s3_is_asked_for(s3_server: S3Server, s3_bucket: str, place: Place) -> None:
    with Recorder(int(s3_server.endpoint.rpartition(":")[2])) as wire:
        options: dict[str, Any] = {**s3_server.options(), "endpoint_url": f"http://127.0.0.1:{wire.port}"}
        with S3Pool(s3_bucket, prefix=place.prefix("counted"), **options) as pool:
            found = rows(pool, wire, of_s3)
    page = PAGE.read_text()
    assert not [row for row in found if row not in page], "\n".join(found)


def test_the_page_says_what_redis_is_asked_for(redis_server: RedisServer, place: Place) -> None:
    port = int(redis_server.url.rpartition(":")[2].partition("/")[0])
    prefix = place.prefix("counted")
    with Recorder(port) as wire, RedisPool(f"redis://127.0.0.1:{wire.port}/7", prefix=prefix) as pool:
        found = rows(pool, wire, of_redis)
    page = PAGE.read_text()
    assert not [row for row in found if row not in page], "\n".join(found)
