"""A server that is killed, a connection that is cut or stalls, an object that is replaced while it is read.

Never wrong data, never a hang, an error that names what happened where it cannot be mended, and a next call
that works.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

import laila
from laila.component.backend import checked_blob
from laila.errors import CorruptEntryError, LailaError
from laila.pool.s3 import ObjectStoreError, S3Pool, StalledError, UnreachableError
from laila.pool.s3.names import name_of
from laila.testing.samples import make_blob, stored, stored_many
from servers.faults import Fault, Faults
from servers.proxy import Proxy

if TYPE_CHECKING:
    from servers.s3 import S3Server

    OpenPool = Callable[..., S3Pool]

KIB, MIB = 1024, 1024 * 1024


def through(proxy: Proxy, open_pool: OpenPool, **options: object) -> S3Pool:
    return open_pool(endpoint_url=f"http://127.0.0.1:{proxy.port}", **options)


BATCHES: dict[str, Callable[[S3Pool, list[str]], object]] = {
    "write": lambda pool, keys: pool._write_many([(key, make_blob(key, 4000, 1)) for key in keys]),
    "create": lambda pool, keys: pool._create_many([(f"{key}+", make_blob(f"{key}+", 4000)) for key in keys]),
    "read": lambda pool, keys: pool._read_many(keys),
    "heads": lambda pool, keys: pool._read_heads(keys),
    "delete": lambda pool, keys: pool._delete_many(keys[::2]),
    "list": lambda pool, keys: list(pool._keys()),
}


@pytest.mark.parametrize("outage", ["short", "long"])
def test_a_server_that_is_killed_in_the_midst_of_batches(
    server: S3Server, open_pool: OpenPool, outage: str
) -> None:
    """A short absence is bridged; a long one is an error in every call. Nothing acknowledged is lost."""
    retries = 12 if outage == "short" else 1
    pool = open_pool(retries=retries, deadline=60.0, concurrency=8)
    keys = [f"k{number}" for number in range(60)]
    pool._write_many([(key, make_blob(key, 4000)) for key in keys])
    stop = threading.Event()
    done: Counter[str] = Counter()
    failures: list[BaseException] = []
    wrong: list[str] = []
    created: dict[str, bool] = {}

    def work(name: str) -> None:
        number = 0
        while not stop.is_set():
            try:
                if name == "read":
                    for key, found in zip(keys, pool._read_many(keys), strict=True):
                        if found is None or bytes(checked_blob(key, found)) != bytes(make_blob(key, 4000)):
                            wrong.append(key)
                else:
                    some = [f"new{number + one}" for one in range(10)]
                    for key, made in zip(
                        some, pool._create_many([(key, make_blob(key, 4000)) for key in some]), strict=True
                    ):
                        created[key] = made
                done[name] += 1
            except LailaError as error:
                failures.append(error)
                stop.wait(0.05)
            number += 10

    workers = [threading.Thread(target=work, args=(name,)) for name in ("read", "create")]
    for worker in workers:
        worker.start()
    while min(done["read"], done["create"]) < 2:
        time.sleep(0.01)
    server.kill()
    if outage == "long":
        while len(failures) < 4:
            time.sleep(0.01)
    server.start()
    before = done.copy()
    deadline = time.monotonic() + 200  # a gateway may take its time to come back
    while min(done["read"] - before["read"], done["create"] - before["create"]) < 2:
        assert time.monotonic() < deadline, (done, failures[-3:])
        time.sleep(0.01)
    stop.set()
    for worker in workers:
        worker.join(100)
        assert not worker.is_alive()
    assert not wrong
    for error in failures:
        assert isinstance(error, ObjectStoreError), error
        assert "bucket" in str(error)
    assert failures or outage == "short"
    assert [
        key for key, found in zip(created, stored_many(pool, list(created)), strict=True) if not found
    ] == []
    if outage == "short":
        assert not failures


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("after", [10, 700, 9000])
def test_a_connection_that_is_cut_in_the_midst_of_answers(
    proxy: Proxy, open_pool: OpenPool, batch: str, after: int
) -> None:
    """The batch is tried again, and does what it should, whatever of it had reached the server."""
    pool = through(proxy, open_pool, retries=5)
    keys = [f"k{number}" for number in range(12)]
    blobs = {key: make_blob(key, 4000) for key in keys}
    pool._write_many(list(blobs.items()))
    proxy.cut_after = after
    answer = BATCHES[batch](pool, keys)
    if batch == "read":
        assert isinstance(answer, list)
        assert [bytes(checked_blob(k, f)) for k, f in zip(keys, answer, strict=True)] == [
            *map(bytes, blobs.values())
        ]
    elif batch == "write":
        assert stored_many(pool, keys) == [bytes(make_blob(key, 4000, 1)) for key in keys]
    elif batch == "create":
        # A create whose answer was lost comes back as "there already"; laila then finds it to be the same.
        made = [f"{key}+" for key in keys]
        assert stored_many(pool, made) == [bytes(make_blob(key, 4000)) for key in made]
    elif batch == "delete":
        assert set(pool._keys()) == set(keys[1::2])
    elif batch == "list":
        assert answer == list(pool._keys())
    proxy.cut_after = None
    assert set(pool._keys()) >= set(keys[1::2])


def test_a_lost_answer_is_no_conflict(faults: Faults, open_pool: OpenPool) -> None:
    """The write was done, its answer lost: tried again it is found there, and is the same: no error."""
    pool = open_pool(endpoint_url=faults.url)
    pool["there"] = "x"
    faults.clear()
    faults.add(Fault("PUT", "", 500, times=1, served=True))
    entry, state = laila.constant({"a": 1}), laila.variable(1)
    with laila.DefaultPolicy(alpha_pool=pool) as policy:
        policy.central.memory.memorize(entry).wait(150)
        faults.add(Fault("PUT", "", 500, times=1, served=True))
        policy.central.memory.memorize(state).wait(150)
        assert [request.status for request in faults.requests if request.method == "PUT"] == [500, 412] * 2
        assert pool.history_here(state.global_id.rpartition("-")[0]) == [0]


def test_somebody_else_at_the_same_moment(faults: Faults, open_pool: OpenPool) -> None:
    """AWS answers 409 to a create beside another's that is not decided yet: it is tried again."""
    pool = open_pool(endpoint_url=faults.url)
    body = b"<Error><Code>ConditionalRequestConflict</Code></Error>"
    faults.add(Fault("PUT", "", 409, body, times=1))
    assert pool._create("k", make_blob("k")) is True


@pytest.mark.parametrize("batch", BATCHES)
def test_a_server_that_stalls(proxy: Proxy, open_pool: OpenPool, batch: str) -> None:
    """Each call ends with its own error in good time, and the next call works."""
    pool = through(proxy, open_pool, timeout=1.0, deadline=2.5, retries=99)
    keys = [f"k{number}" for number in range(40)]
    open_pool()._write_many([(key, make_blob(key, 4000)) for key in keys])
    proxy.stall = True
    start = time.monotonic()
    with pytest.raises(StalledError, match="no answer in time") as raised:
        BATCHES[batch](pool, keys)
    assert time.monotonic() - start < 60  # a hundred tries would take longer
    assert isinstance(raised.value, TimeoutError)
    proxy.stall = False
    assert stored(pool, keys[0]) is not None


def test_an_answer_that_stalls_half_way(proxy: Proxy, open_pool: OpenPool) -> None:
    """A body of which nothing more comes is given up, however large it was to be."""
    pool = through(proxy, open_pool, timeout=2.0, deadline=2.0, retries=0)
    pool._write("k", make_blob("k", 8 * MIB))
    proxy.delay = 0.005
    results: list[BaseException] = []

    def read() -> None:
        try:
            pool._read("k")
        except LailaError as error:
            results.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.3)
    assert reader.is_alive()  # on its way
    proxy.stall = True
    reader.join(100)
    assert not reader.is_alive()
    assert isinstance(results[0], (StalledError, UnreachableError)), results
    proxy.stall, proxy.delay = False, 0.0
    assert stored(pool, "k") == bytes(make_blob("k", 8 * MIB))


def test_a_slow_server_is_waited_for(proxy: Proxy, open_pool: OpenPool) -> None:
    """As long as something comes."""
    pool = through(proxy, open_pool, timeout=2.0, deadline=2.0, retries=0)
    blob = make_blob("k", MIB)
    pool._write("k", blob)
    proxy.delay = 0.05  # for each 16 KiB
    start = time.monotonic()
    assert stored(pool, "k") == bytes(blob)
    assert time.monotonic() - start > 2.0


@pytest.fixture
def parted(open_pool: OpenPool, monkeypatch: pytest.MonkeyPatch) -> S3Pool:
    """A pool that takes for large what is above 1 MiB, in parts of 256 KiB."""
    pool = open_pool()
    object.__setattr__(pool.settings, "part_bytes", 256 * KIB)
    pool._client._most = pool.settings.large_bytes
    return pool


_A_DATE = "Tue, 25 Nov 2025 12:00:00 GMT"


def test_a_large_blob_is_read_in_parts(parted: S3Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parallel, and byte for byte."""
    blob = make_blob("k", 5 * MIB + 17)
    assert parted._create("k", blob)
    asked: list[tuple[int, int]] = []
    real = parted._client.get_part

    def get_part(name: str, key: str | None, start: int, stop: int, *into: memoryview) -> object:
        asked.append((start, stop))
        return real(name, key, start, stop, *into)

    monkeypatch.setattr(parted._client, "get_part", get_part)
    assert stored(parted, "k") == bytes(blob)
    assert len(asked) == 21
    edges = sorted(asked)
    assert edges[0][0] == 0
    assert edges[-1][1] == blob.nbytes
    assert all(one[1] == two[0] for one, two in pairwise(edges))


def test_an_answer_that_is_longer_than_it_says(faults: Faults, open_pool: OpenPool) -> None:
    """Fills what it was asked to fill, with what was received."""
    pool = open_pool(endpoint_url=faults.url)
    body = bytes(range(1, 121))
    headers = {"Content-Range": "bytes 0-99/1000", "ETag": '"one"', "Last-Modified": _A_DATE}
    faults.add(Fault("GET", "large", 206, body, headers))
    into = bytearray(100)
    piece = pool._client.get_part("large", "large", 0, 100, memoryview(into))
    assert piece is not None
    assert bytes(piece.data or b"") == bytes(into) == body[:100]


def test_a_blob_that_is_replaced_while_it_is_read(
    parted: S3Pool, open_pool: OpenPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comes as the one or the other, never as a mix: a part of another version has the reader begin again."""
    versions = [make_blob("k", 3 * MIB, seed) for seed in range(3)]
    writer = open_pool()
    writer._write("k", versions[0])
    real = parted._client.get_part
    parts = 0
    lock = threading.Lock()

    def get_part(name: str, key: str | None, start: int, stop: int, *into: memoryview) -> object:
        nonlocal parts
        with lock:
            parts += 1
            if parts in (3, 16):
                writer._write("k", versions[1 if parts == 3 else 2])
        return real(name, key, start, stop, *into)

    monkeypatch.setattr(parted._client, "get_part", get_part)
    assert stored(parted, "k") == bytes(versions[2])
    # Replaced by something shorter, and deleted.
    parts = 15

    def shorter(name: str, key: str | None, start: int, stop: int, *into: memoryview) -> object:
        if start > 0:
            writer._write("k", make_blob("k", 10))
        return real(name, key, start, stop, *into)

    monkeypatch.setattr(parted._client, "get_part", shorter)
    assert stored(parted, "k") == bytes(make_blob("k", 10))
    writer._write("k", versions[0])

    def deleted(name: str, key: str | None, start: int, stop: int, *into: memoryview) -> object:
        if start > 0:
            writer._delete("k")
        return real(name, key, start, stop, *into)

    monkeypatch.setattr(parted._client, "get_part", deleted)
    assert parted._read("k") is None


def test_a_blob_that_is_replaced_all_the_time(
    parted: S3Pool, open_pool: OpenPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ends as an error, not as a loop."""
    writer = open_pool()
    writer._write("k", make_blob("k", 2 * MIB))
    monkeypatch.setattr("laila.pool.s3.objects._REPLACED", 3)
    real = parted._client.get_part
    seeds = iter(range(1, 1000))

    def get_part(name: str, key: str | None, start: int, stop: int, *into: memoryview) -> object:
        if start == 0:
            writer._write("k", make_blob("k", 2 * MIB, next(seeds)))
        return real(name, key, start, stop, *into)

    monkeypatch.setattr(parted._client, "get_part", get_part)
    with pytest.raises(ObjectStoreError, match="was replaced each of 3 times"):
        parted._read("k")


def test_an_upload_in_parts(faults: Faults, open_pool: OpenPool, prefix: str) -> None:
    """One part that fails is sent again; an upload that fails leaves no parts behind, and the old blob."""
    pool = open_pool(endpoint_url=faults.url, part_bytes=5 * MIB, retries=1)
    old, new = make_blob("k", 100), make_blob("k", 22 * MIB)
    pool._write("k", old)
    faults.clear()
    faults.add(Fault("PUT", "partNumber=2", 500))
    pool._write("k", new)
    parts = [request for request in faults.requests if "partNumber" in request.path]
    assert len(parts) == 6
    assert stored(pool, "k") == bytes(new)
    pool._write("k", old)
    faults.clear()
    faults.add(Fault("PUT", "partNumber=3", 500, times=9))
    with pytest.raises(ObjectStoreError, match="write k"):
        pool._write("k", new)
    assert [request.method for request in faults.requests if request.method == "DELETE"] == ["DELETE"]
    assert stored(pool, "k") == bytes(old)


def test_a_large_create_is_one_conditional_request(faults: Faults, open_pool: OpenPool) -> None:
    """An upload in parts cannot be conditional everywhere: a constant of any size is created in one."""
    pool = open_pool(endpoint_url=faults.url, part_bytes=5 * MIB)
    first, second = make_blob("k", 22 * MIB), make_blob("k", 21 * MIB, 1)
    faults.clear()
    assert pool._create("k", first) is True
    assert pool._create("k", second) is False
    assert [(each.method, each.headers.get("if-none-match")) for each in faults.requests] == [
        ("PUT", "*")
    ] * 2
    assert stored(pool, "k") == bytes(first)


def test_no_version_no_parts(faults: Faults, open_pool: OpenPool, server: S3Server) -> None:
    """A service that gives no ETag is read in one request: nothing would tell a mix of two versions."""
    pool = open_pool()
    blob = make_blob("k", 2 * MIB)
    pool._write("k", blob)
    object.__setattr__(pool.settings, "part_bytes", 256 * KIB)
    pool._client._most = pool.settings.large_bytes
    real_get, real_part = pool._client.get, pool._client.get_part
    asked: list[tuple[int, int]] = []

    def get(name: str, key: str | None) -> object:
        piece = real_get(name, key)
        return None if piece is None else piece._replace(version=None)

    def get_part(name: str, key: str | None, start: int, stop: int, *into: memoryview) -> object:
        asked.append((start, stop))
        piece = real_part(name, key, start, stop, *into)
        return None if piece is None else piece._replace(version=None)

    pool._client.get, pool._client.get_part = get, get_part  # type: ignore[method-assign,assignment]
    assert stored(pool, "k") == bytes(blob)
    assert asked == [(0, blob.nbytes)]


def test_what_claims_to_be_huge_is_not_made_room_for(open_pool: OpenPool, pool: S3Pool) -> None:
    pool._write("k", make_blob("k", 70_000))
    pool._client._most = 1000
    pool.max_blob_bytes = 10_000  # type: ignore[misc]  # in place of 5 GiB
    with pytest.raises(ObjectStoreError, match="no blob has more than"):
        pool._read("k")


def test_an_object_that_is_no_blob_is_damage(
    server: S3Server, pool: S3Pool, shared_bucket: str, prefix: str
) -> None:
    """Cut short, empty, or something else under a name of ours."""
    cut = bytes(make_blob("k", 70_000))[:-1]
    for body in (b"", b"x", b"x" * 5000, cut, bytes(make_blob("other"))):
        assert server.request("PUT", f"/{shared_bucket}/{prefix}/{name_of('k')}", body=body).status == 200
        with pytest.raises(CorruptEntryError):
            pool["k"]
        assert pool.exists("k")
        if body != cut:
            with pytest.raises(CorruptEntryError):
                pool.read_head("k")
    assert pool.delete(["k"]) == [True]
