"""Servers are killed, frozen or restarted, lines cut: no wrong data, no hang, and the next call works."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import threading
import time
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import redis.connection

from laila.component.backend import checked_blob
from laila.contract import Blob, Buffer
from laila.errors import LailaError, PoolClosedError, PoolError
from servers.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from laila.pool.redis import RedisPool
    from servers.redis import RedisServer

    OpenPool = Callable[..., RedisPool]

KIB = 1024


def make(key: str, size: int = 100, seed: int = 0) -> Blob:
    content = Random(f"{key} {seed}").randbytes(size)
    return Blob(key, b"\x90%d" % seed, (Buffer(memoryview(content)),))


def read(pool: RedisPool, key: str) -> bytes | None:
    found = pool._read(key)
    return None if found is None else bytes(checked_blob(key, found))


def until(done: Callable[[], object], seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", server.port)) as started:
        yield started


@pytest.fixture
def far(proxy: Proxy, prefix: str, opened: OpenPool) -> RedisPool:
    """A pool whose line can be cut."""
    return opened(f"redis://127.0.0.1:{proxy.port}", prefix=prefix, piece_bytes=100 * KIB, timeout=30)


# -- the line is cut -----------------------------------------------------------------------------------------

MANY = [f"m{n}" for n in range(200)]
ACTIONS: dict[str, tuple[Callable[[RedisPool], Any], Any]] = {
    "read": (lambda pool: read(pool, "small"), bytes(make("small"))),
    "read large": (lambda pool: read(pool, "large"), bytes(make("large", 500 * KIB))),
    "read many": (
        lambda pool: [
            bytes(checked_blob(f"m{n}", one or b"")) for n, one in enumerate(pool._read_many(MANY))
        ],
        [bytes(make(key, 3000)) for key in MANY],
    ),
    "heads": (
        lambda pool: [getattr(head, "digest", None) for head in pool.heads_here(["small", "large"])],
        [make("small").digest, make("large", 500 * KIB).digest],
    ),
    "create": (lambda pool: pool._create("new", make("new")), True),
    "create many": (
        lambda pool: pool._create_many([("m1", make("m1")), ("n1", make("n1")), ("n2-7", make("n2-7"))]),
        [False, True, True],
    ),
    "create large": (lambda pool: pool._create("big", make("big", 500 * KIB)), True),
    "write": (lambda pool: pool._write("small", make("small")), None),
    "write large": (lambda pool: pool._write("large", make("large", 500 * KIB)), None),
    "delete": (lambda pool: pool._delete_many(["small", "large", "s-1"]), [True, True, True]),
    "newest": (lambda pool: pool._newest("s"), "s-2"),
    "evolutions": (lambda pool: pool._evolutions("s"), [1, 2]),
    "exists": (lambda pool: [pool._exists("small"), pool._exists("none")], [True, False]),
    "keys": (lambda pool: len(list(pool._keys())), 204),
    "empty": (lambda pool: pool._empty(), None),
}


def fill(pool: RedisPool) -> None:
    blobs = [make("small"), make("s-1"), make("s-2"), *(make(key, 3000) for key in MANY)]
    pool._write_many([(blob.key, blob) for blob in [*blobs, make("large", 500 * KIB)]])


@pytest.mark.parametrize("after", [0, 1, 7, 2000, 150 * KIB])
@pytest.mark.parametrize("name", ACTIONS)
def test_a_call_survives_a_cut_in_its_answer(far: RedisPool, proxy: Proxy, name: str, after: int) -> None:
    """At any place: the call is repeated, and its outcome is that of one call."""
    fill(far)
    action, expected = ACTIONS[name]
    proxy.cut_after = after
    assert action(far) == expected
    proxy.cut_after = None
    if "create" in name:
        assert action(far) in (False, [False, False, False])
        assert far._newest("n2") == ("n2-7" if "many" in name else None)
    if name == "delete":
        assert action(far) == [False, False, False]
        assert far._newest("s") == "s-2"
    if name == "empty":
        assert list(far._keys()) == []
    else:
        assert read(far, "m7") == bytes(make("m7", 3000))
    if "large" in name and name != "create large":
        assert read(far, "large") == bytes(make("large", 500 * KIB))


@pytest.mark.parametrize("name", ACTIONS)
def test_a_line_that_is_cut_for_good_is_an_error(
    far: RedisPool, proxy: Proxy, prefix: str, opened: OpenPool, name: str
) -> None:
    """Named, soon, and the next call after it works; where nothing was retried nothing is half done."""
    hasty = opened(f"redis://127.0.0.1:{proxy.port}", prefix=prefix, piece_bytes=100 * KIB, retry_for=0)
    fill(hasty)
    action, expected = ACTIONS[name]
    proxy.cut_after = 3
    with pytest.raises(PoolError, match="lost") as caught:
        action(hasty)
    assert caught.value.errno in {errno.ECONNRESET, errno.EPIPE}
    assert caught.value.pool == hasty.label
    assert caught.value.__cause__ is not None
    again = action(hasty)
    if name in {"create", "create many", "delete"}:
        # It had happened; only its answer was lost.
        assert not (again if isinstance(again, bool) else any(again))
    elif name == "create large":
        assert again is True  # the first pieces had not come through
    else:
        assert again == expected


def test_a_refused_connection_is_an_error_and_found_out_once(
    proxy: Proxy, prefix: str, opened: OpenPool
) -> None:
    pool = opened(f"redis://127.0.0.1:{proxy.port}", prefix=prefix, retry_for=2.0)
    pool._write("k", make("k"))
    proxy.refuse = True
    proxy.cut()
    began = time.monotonic()
    with pytest.raises(PoolError, match="cannot read k: the connection"):
        pool._read("k")
    assert time.monotonic() - began >= 2.0
    # A tier that is down must not hold up every call: the wait was paid.
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(PoolError):
            pool._read("k")
    assert time.monotonic() - began < 30  # if each of them had waited, 40 at least
    proxy.refuse = False
    assert read(pool, "k") == bytes(make("k"))
    proxy.cut()
    assert read(pool, "k") == bytes(make("k"))


def test_an_answer_that_comes_too_late_reaches_nobody(
    proxy: Proxy, prefix: str, opened: OpenPool, server: RedisServer
) -> None:
    # Seconds, so that on a busy machine those that are not held up come in time.
    pool = opened(f"redis://127.0.0.1:{proxy.port}", prefix=prefix, timeout=3, retry_for=0)
    blobs = [make(f"{n}", 50, n) for n in range(30)]
    pool._write_many([(blob.key, blob) for blob in blobs])
    for blob in blobs[:2]:
        proxy.stall = True
        with pytest.raises(PoolError, match="did not answer in time") as caught:
            pool._read(blob.key)
        assert caught.value.errno == errno.ETIMEDOUT
        proxy.stall = False
        for other in blobs:
            assert read(pool, other.key) == bytes(other)


@pytest.mark.parametrize("large", [False, True])
def test_a_call_that_is_interrupted_leaves_no_answer_behind(
    proxy: Proxy, prefix: str, opened: OpenPool, large: bool
) -> None:
    """Ctrl-C in the midst of an answer, as the task force that runs in the caller gets it."""
    pool = opened(f"redis://127.0.0.1:{proxy.port}", prefix=prefix)
    blobs = [make(f"{n}", 400 * KIB if large else 200 * KIB, n) for n in range(6)]
    pool._write_many([(blob.key, blob) for blob in blobs])
    proxy.delay = 0.01  # 16 KiB at a time: an answer takes at least 120 ms

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    def read_and_be_interrupted(key: str) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        pool._read(key)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for blob in blobs[:3]:
            assert pool._exists(blob.key)  # connects, which the interrupt should not hit
            with pytest.raises(KeyboardInterrupt):
                read_and_be_interrupted(blob.key)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    proxy.delay = 0
    for blob in blobs:
        assert read(pool, blob.key) == bytes(blob)


def test_what_is_in_an_idle_connection_reaches_nobody(pool: RedisPool) -> None:
    """An answer that somebody left there, whoever it was, is thrown away with its connection."""
    pool._write_many([(key, make(key)) for key in ("a", "b")])
    (connection,) = pool._connections._idle
    assert connection._sock is not None
    connection._sock.sendall(b"PING\r\n")
    assert select.select([connection._sock], [], [], 60)[0]
    assert read(pool, "a") == bytes(make("a"))
    assert read(pool, "b") == bytes(make("b"))


def test_a_timeout_is_for_a_silence(proxy: Proxy, prefix: str, opened: OpenPool) -> None:
    """Not for a whole call: this one takes longer than it."""
    pool = opened(f"redis://127.0.0.1:{proxy.port}", prefix=prefix, timeout=2.0)
    blob = make("k", 1024 * KIB)
    pool._write("k", blob)
    proxy.delay = 0.04  # for each 16 KiB
    began = time.monotonic()
    assert read(pool, "k") == bytes(blob)
    assert time.monotonic() - began > 2.0


# -- the server goes -----------------------------------------------------------------------------------------


def test_nothing_acknowledged_is_lost_by_kill(start: Callable[..., RedisServer], opened: OpenPool) -> None:
    """Batches from three threads, while the server is killed and started again, again and again."""
    server = start(aof=True)
    pool = opened(server.url, piece_bytes=100 * KIB, retry_for=100)
    over = threading.Event()
    failures: list[BaseException] = []
    acknowledged: list[list[Blob]] = [[], [], []]

    def write(who: int) -> None:
        chance = Random(who)
        turn = 0
        while not over.is_set():
            batch = [
                make(f"w{who}-{turn}", 300 * KIB if turn % 5 == 0 else 500),
                *(make(f"w{who} {turn} {n}", chance.randrange(10, 5000)) for n in range(40)),
            ]
            try:
                created = pool._create_many([(blob.key, blob) for blob in batch])
                # A try before, whose answer was lost, was ours: nobody else makes these.
                assert all(created), (turn, created)
            except BaseException as error:  # noqa: BLE001 - told by the main thread
                failures.append(error)
                return
            acknowledged[who] += batch
            turn += 1

    threads = [threading.Thread(target=write, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    chance = Random(5)
    for turn in range(1, 7):
        until(lambda turn=turn: failures or sum(map(len, acknowledged)) > 123 * turn)  # type: ignore[misc]
        time.sleep(0.1 * chance.random())
        server.kill()
        server.start()
    over.set()
    for thread in threads:
        thread.join(150)
    assert not failures, failures
    written = [blob for some in acknowledged for blob in some]
    assert len(written) > 500
    found = pool._read_many([blob.key for blob in written])
    lost = [
        blob.key
        for blob, one in zip(written, found, strict=True)
        if one is None or bytes(checked_blob(blob.key, one)) != bytes(blob)
    ]
    assert not lost
    assert set(pool._keys()) == {blob.key for blob in written}
    for who, some in enumerate(acknowledged):
        assert pool._evolutions(f"w{who}") == list(range(len(some) // 41))
        assert pool._newest(f"w{who}") == f"w{who}-{len(some) // 41 - 1}"


def test_a_listing_goes_on_after_a_restart(start: Callable[..., RedisServer], opened: OpenPool) -> None:
    """A cursor of the old process means nothing to the new one."""
    server = start(aof=True)
    pool = opened(server.url)
    keys = {f"{n}" for n in range(20_000)}
    pool._write_many([(key, make(key, 5)) for key in sorted(keys)])
    listing = pool._keys()
    listed = [next(listing) for _ in range(2500)]
    server.kill()
    server.start()
    listed += listing
    assert len(listed) == len(set(listed))
    assert set(listed) == keys


def test_a_server_that_loads_its_data_is_waited_for(
    start: Callable[..., RedisServer], opened: OpenPool
) -> None:
    """It answers that it is loading, a few times in what it takes to load 15 MB."""
    server = start(aof=True)
    pool, client = opened(server.url), server.client()
    pool._write_many([(f"{n}", make(f"{n}", 5000)) for n in range(3000)])
    client.bgrewriteaof()

    def rewritten() -> bool:
        info: Any = client.info("persistence")
        return not (info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"])

    until(rewritten)
    server.kill()
    server._settings["key-load-delay"] = 200  # microseconds a key
    found: list[bytes | None] = []
    reading = threading.Thread(target=lambda: found.append(read(pool, "77")))
    reading.start()
    server.start()
    reading.join(150)
    assert found == [bytes(make("77", 5000))]


def test_a_frozen_server_is_an_error(start: Callable[..., RedisServer], opened: OpenPool) -> None:
    server = start()
    pool = opened(server.url, timeout=2, retry_for=0, max_connections=2)
    pool._write("k", make("k"))
    server.freeze()
    errors: list[BaseException] = []

    def call() -> None:
        try:
            pool._read("k")
        except LailaError as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    server.thaw()
    assert len(errors) == 6
    # Those that found no free connection say so.
    assert {error.errno for error in errors if isinstance(error, PoolError)} <= {
        errno.ETIMEDOUT,
        errno.EAGAIN,
    }
    assert read(pool, "k") == bytes(make("k"))


def test_close_ends_the_calls_under_way(start: Callable[..., RedisServer], opened: OpenPool) -> None:
    server = start()
    pool = opened(server.url, timeout=250)
    pool._write("k", make("k"))
    server.freeze()
    outcomes: list[BaseException | None] = []

    def call() -> None:
        try:
            pool._read("k")
            outcomes.append(None)
        except PoolClosedError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(pool._connections._busy) == 4)
    pool.close()
    for thread in threads:
        thread.join(100)
    server.thaw()
    assert [type(one) for one in outcomes] == [PoolClosedError] * 4
    assert pool.label in str(outcomes[0])


def test_close_ends_a_call_that_is_just_connecting(
    start: Callable[..., RedisServer], opened: OpenPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There was no socket yet that close() might have shut down, and nobody will answer."""
    server = start()
    pool = opened(server.url, timeout=60)
    pool._connections._drop_idle()
    server.freeze()
    connecting, closed = threading.Event(), threading.Event()
    real: Any = redis.connection.Connection._connect

    def connect(self: Any) -> Any:
        made = real(self)
        connecting.set()
        closed.wait(100)
        return made

    monkeypatch.setattr(redis.connection.Connection, "_connect", connect)
    outcomes: list[BaseException] = []

    def call() -> None:
        try:
            pool._read("k")
        except PoolClosedError as error:
            outcomes.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert connecting.wait(100)
    pool.close()
    closed.set()
    thread.join(100)
    server.thaw()
    assert len(outcomes) == 1


def test_a_call_that_waits_for_the_server_ends_with_the_pool(
    start: Callable[..., RedisServer], opened: OpenPool
) -> None:
    server = start()
    pool = opened(server.url, retry_for=60)
    pool._write("k", make("k"))
    server.kill()
    outcomes: list[BaseException] = []

    def call() -> None:
        with contextlib.suppress(AssertionError), pytest.raises(PoolClosedError) as caught:
            pool._read("k")
        outcomes.append(caught.value)

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(0.3)
    assert thread.is_alive()
    pool.close()
    thread.join(100)
    assert len(outcomes) == 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_parent_and_child_have_connections_of_their_own(pool: RedisPool) -> None:
    blobs = [make(f"{n}", 200, n) for n in range(200)]
    pool._write_many([(blob.key, blob) for blob in blobs])
    children = []
    for _ in range(3):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                for turn in range(5):
                    for blob in blobs:
                        assert read(pool, blob.key) == bytes(blob)
                    assert pool._create(f"{os.getpid()} {turn}", make(f"{os.getpid()} {turn}"))
                pool.close()
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    for _ in range(5):
        for blob in blobs:
            assert read(pool, blob.key) == bytes(blob)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
    assert all(pool._exists(f"{pid} {turn}") for pid in children for turn in range(5))
