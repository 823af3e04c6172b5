"""What is in the server, and how it gets there: names, pieces, the index of evolutions, chunks, ttl."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

import laila
from laila.component.backend import checked_blob
from laila.contract import Blob, Buffer
from laila.contract.pool import StoreOutcome
from laila.errors import CorruptEntryError, IdentityConflictError, PoolError
from laila.pool.redis import layout
from laila.pool.redis.store import INLINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from laila.pool.redis import RedisPool
    from servers.redis import RedisServer

    OpenPool = Callable[..., RedisPool]

STEM = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
MIB = 1 << 20


def make(key: str, size: int = 100, seed: int = 0, pieces: int = 1) -> Blob:
    """A blob of ``pieces`` buffers of ``size`` bytes each, or of a tree alone."""
    content = Random(seed).randbytes(size)
    if not pieces:
        return Blob(key, b"\x90" + content)
    return Blob(key, b"\x90%d" % seed, tuple(Buffer(memoryview(content)) for _ in range(pieces)))


def read(pool: RedisPool, key: str) -> bytes | None:
    found = pool._read(key)
    return None if found is None else bytes(checked_blob(key, found))


def names(client: redis.Redis, prefix: str) -> list[str]:
    """The names on the server that begin with a prefix."""
    return sorted(name.decode() for name in client.scan_iter(match=f"{prefix}*", count=1000))


def commands(client: redis.Redis) -> dict[str, int]:
    """How often each command was called since the last look."""
    stats: Any = client.info("commandstats")
    client.config_resetstat()
    return {name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()}


# -- names ---------------------------------------------------------------------------------------------------


def test_names_begin_with_the_prefix(pool: RedisPool, server: RedisServer, prefix: str) -> None:
    pool._write_many([(key, make(key)) for key in ("a", f"{STEM}-3")])
    client = server.client()
    expected = [f"{prefix}/e/{STEM}-3", f"{prefix}/e/a", f"{prefix}/i/{STEM}"]
    assert names(client, prefix) == expected
    assert client.get(f"{prefix}/e/a") == bytes(make("a"))
    assert client.zrange(f"{prefix}/i/{STEM}", 0, -1, withscores=True) == [(b"0013", 0.0)]


def test_pools_of_other_prefixes_do_not_meet(server: RedisServer, prefix: str, opened: OpenPool) -> None:
    # Each begins with the one before it, or looks like a part of its names.
    some = [f"{prefix}{end}" for end in ("", "x", ":e", ":e:e", ".", "%2F")]
    pools = [opened(server.url, prefix=one) for one in some]
    for one, pool in zip(some, pools, strict=True):
        pool._write_many([(key, make(key, seed=len(one))) for key in ("k", "e/k", "x/e/k")])
    for number, pool in enumerate(pools):
        assert sorted(pool._keys()) == ["e/k", "k", "x/e/k"]
        pool._empty()
        assert list(pool._keys()) == []
        assert all(len(list(other._keys())) == 3 for other in pools[number + 1 :])


def test_emptying_leaves_nothing_and_touches_nothing_else(
    pool: RedisPool, server: RedisServer, prefix: str, opened: OpenPool
) -> None:
    client = server.client()
    client.set(f"{prefix}", "not ours")
    client.set(f"{prefix}/x", "not ours either")
    small = opened(server.url, prefix=prefix, chunk_count=7)
    small._write_many([(f"{STEM}-{n}", make(f"{STEM}-{n}", 10)) for n in range(50)])
    small._write("large", make("large", 3 * MIB))
    small._empty()
    assert names(client, prefix) == [prefix, f"{prefix}/x"]


# -- evolutions ----------------------------------------------------------------------------------------------


def test_evolutions_are_exact_beyond_what_a_double_holds(pool: RedisPool) -> None:
    numbers = [0, 9, 10, 2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2, 10**19, 2**64, 10**400]
    for number in Random(1).sample(numbers, len(numbers)):
        assert pool._create(f"s-{number}", make(f"s-{number}"))
    assert pool._evolutions("s") == numbers
    while numbers:
        assert pool._newest("s") == f"s-{numbers[-1]}"
        assert pool._delete(f"s-{numbers.pop()}")
    assert pool._newest("s") is None
    assert pool._evolutions("s") == []


@pytest.mark.parametrize("key", ["s-01", "s--", "s-", "s-1.0", "s-٣", "s_1", "1", "s-1-"])
def test_what_only_looks_like_an_evolution_is_none(pool: RedisPool, key: str) -> None:
    pool._create(key, make(key))
    assert pool._evolutions("s") == []
    assert pool._newest("s") is None


def test_the_newest_of_many_is_one_round_trip(
    pool: RedisPool, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stems = [f"stem {n}" for n in range(300)]
    pool._create_many([(f"{stem}-{n}", make(f"{stem}-{n}", 5)) for stem in stems for n in (1, 12, 3)])
    client, run = server.client(), pool._connections.run
    trips = count()
    monkeypatch.setattr(pool._connections, "run", lambda build: (next(trips), run(build))[1])
    commands(client)
    assert pool.newest_here([*stems, "none"]) == [*(f"{stem}-12" for stem in stems), None]
    assert next(trips) == 1
    asked = commands(client)
    assert asked["evalsha"] == 301
    assert "scan" not in asked


def test_what_nicknames_and_leaves_cost(
    pool: RedisPool, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, trips = pool._connections.run, [0]

    def counted(build: Any) -> Any:
        trips[0] += 1
        return run(build)

    with laila.DefaultPolicy(alpha_pool=pool) as policy:
        memory = policy.central.memory
        memory.memorize(laila.constant("first")).wait(150)
        monkeypatch.setattr(pool._connections, "run", counted)

        def cost(*entries: laila.Entry) -> int:
            trips[0] = 0
            memory.memorize(list(entries)).wait(150)
            return trips[0]

        nameless = [laila.constant(n) for n in range(5)]
        alone = cost(*nameless)
        assert cost(*(laila.constant(n, nickname=f"c{n}") for n in range(5))) == alone + 1
        variable = laila.variable(0, nickname="v")
        assert cost(variable) == alone + 1
        assert cost(variable.evolve(data=1)) == alone
        # Leaves that others wrote are looked for before and after: somebody may have collected them.
        assert cost(laila.manifest({"all": [entry.global_id for entry in nameless]})) == alone + 2
        for taken in (laila.constant(1, nickname="v"), laila.variable(1, nickname="c1")):
            with pytest.raises(IdentityConflictError):
                cost(taken)
            assert trips[0] == 1


@pytest.mark.timeout(120)
def test_a_million_other_keys_cost_nothing(start: Callable[..., RedisServer], opened: OpenPool) -> None:
    server = start()
    pool, client = opened(server.url), server.client(socket_timeout=60)
    pool._create_many([(f"{STEM}-{n}", make(f"{STEM}-{n}")) for n in range(50)])
    numbers = iter(range(50, 10_000))

    def create() -> None:
        number = next(numbers)
        assert pool._create(f"{STEM}-{number}", make(f"{STEM}-{number}"))

    actions: dict[str, Callable[[], object]] = {
        "newest": lambda: pool._newest(STEM),
        "evolutions": lambda: pool._evolutions(STEM),
        "create": create,
        "read": lambda: pool._read(f"{STEM}-7"),
    }

    def measure() -> dict[str, float]:
        fastest = dict.fromkeys(actions, 9.0)
        for _ in range(60):
            for name, action in actions.items():
                began = time.perf_counter()
                action()
                fastest[name] = min(fastest[name], time.perf_counter() - began)
        return fastest

    few = measure()
    client.eval("for i = 1, 1000000 do redis.call('SET', 'laila/e/other' .. i, i) end", 0)
    assert client.dbsize() > 1_000_000
    commands(client)
    many = measure()
    asked = commands(client)
    assert not {"scan", "keys"} & asked.keys()
    # Looking at every key would take some 100 ms; each of these takes a fraction of one.
    assert all(many[name] < 5 * few[name] + 0.03 for name in actions), (few, many)


# -- large blobs ---------------------------------------------------------------------------------------------


@pytest.fixture
def cutting(server: RedisServer, prefix: str, opened: OpenPool) -> RedisPool:
    """A pool that keeps a blob in pieces of 100,000 bytes."""
    return opened(server.url, prefix=prefix, piece_bytes=100_000, chunk_bytes=250_000)


SHAPES = {
    "one buffer": (INLINE_BYTES + 1, 1),
    "of whole pieces": (400_000, 1),
    "many buffers": (30_001, 20),
    "all head": (1_000_000, 0),
    "a long head": (1, 300_000 // 64),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_large_blob_is_in_pieces(cutting: RedisPool, server: RedisServer, prefix: str, shape: str) -> None:
    size, pieces = SHAPES[shape]
    client, blob = server.client(), make("k", size, pieces=pieces)
    assert cutting._create("k", blob)
    assert not cutting._create("k", blob)
    first = names(client, f"{prefix}/p/")
    assert len(first) > 2
    sizes = [client.strlen(name) for name in sorted(first, key=lambda name: int(name.rpartition("/")[2]))]
    assert set(sizes[:-1]) == {100_000}
    assert all(client.ttl(name) == -1 for name in first)
    assert read(cutting, "k") == bytes(blob)
    head = cutting.read_head("k")
    assert head is not None
    assert head.digest == blob.digest
    assert cutting._sizes(["none", "k"]) == [None, blob.nbytes]
    # Replaced by another large one, then by a small one, then deleted: nothing is left behind.
    other = make("k", size, seed=1, pieces=pieces)
    cutting._write("k", other)
    assert read(cutting, "k") == bytes(other)
    assert not set(first) & set(names(client, f"{prefix}/p/"))
    cutting._write("k", make("k"))
    assert names(client, prefix) == [f"{prefix}/e/k"]
    cutting._write("k", other)
    assert cutting._delete("k")
    assert names(client, prefix) == []


def test_pieces_of_any_pool_are_read_by_any_other(
    cutting: RedisPool, server: RedisServer, prefix: str, opened: OpenPool
) -> None:
    blobs = [make(f"{n}", 700_000, n) for n in range(3)]
    cutting._write_many([(blob.key, blob) for blob in blobs])
    other = opened(server.url, prefix=prefix)
    found = other._read_many([*(blob.key for blob in blobs), "none"])
    assert [None if one is None else bytes(checked_blob(str(n), one)) for n, one in enumerate(found)] == [
        *map(bytes, blobs),
        None,
    ]


def test_a_reader_sees_all_or_nothing(cutting: RedisPool, server: RedisServer, prefix: str) -> None:
    """While one thread replaces and deletes a large blob, the others get one that was written, or none."""
    blobs = [make("k", 350_000, seed) for seed in range(4)]
    whole = {bytes(blob) for blob in blobs}
    over = threading.Event()
    seen: list[bytes | None] = []

    def look() -> None:
        while not over.is_set():
            seen.append(read(cutting, "k"))

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(80):
        cutting._write("k", blobs[turn % 4])
        if turn % 8 == 7:
            cutting._delete("k")
    over.set()
    for reader in readers:
        reader.join(150)
    found = [one for one in seen if one is not None]
    assert len(found) > 20
    assert set(found) <= whole
    assert names(server.client(), prefix) == []


WRITER = """
import sys
from laila.contract import Blob, Buffer
from laila.pool.redis import RedisPool, store

pool = RedisPool(sys.argv[1], prefix=sys.argv[2], piece_bytes=100_000)
real = pool._store.ask

def ask(commands):
    answers = real(commands)
    if commands[0].arguments[0] == b"SET" and commands[0].arguments[1].endswith(b"/6"):
        print("six", flush=True)
        sys.stdin.read()
    return answers

pool._store.ask = ask
pool._create("k", Blob("k", b"", (Buffer(memoryview(bytes(1_000_000))),)))
"""


def test_a_writer_that_is_killed_leaves_nothing_visible(
    cutting: RedisPool, server: RedisServer, prefix: str
) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, server.url, prefix], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"six\n"
    writer.kill()
    writer.communicate()
    client = server.client()
    left = names(client, prefix)
    assert len(left) == 7
    # What it has sent goes away by itself.
    assert all(0 < client.ttl(name) <= 600 for name in left)
    assert list(cutting._keys()) == []
    assert cutting._read("k") is None
    assert cutting._create("k", make("k"))


def test_pieces_that_go_away_while_others_are_sent_are_told(
    cutting: RedisPool, server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, real = server.client(), cutting._store.ask
    victims: list[bytes] = []

    def ask(commands: Any) -> list[Any]:
        answers = real(commands)
        if commands[0].arguments[0] == b"SET":
            victims.append(commands[0].arguments[1])
            client.delete(victims[0])  # as an eviction would
        return answers

    monkeypatch.setattr(cutting._store, "ask", ask)
    with pytest.raises(PoolError, match="maxmemory-policy"):
        cutting._create("k", make("k", 500_000))
    monkeypatch.undo()
    assert len(victims) == 5
    assert names(client, prefix) == []


def test_a_lost_piece_is_damage(cutting: RedisPool, server: RedisServer, prefix: str) -> None:
    client = server.client()
    cutting._write_many([(key, make(key, 500_000)) for key in ("good", "bad")])
    bad = layout.Record.parse("bad", client.get(f"{prefix}/e/bad"))  # type: ignore[arg-type]
    assert bad is not None
    client.delete(f"{prefix}/p/{bad.id}/3")
    found = cutting.load_here(["good", "bad", "good"])
    assert [isinstance(one, Blob) for one in found] == [True, False, True]
    assert isinstance(found[1], CorruptEntryError)
    client.set(f"{prefix}/e/bad", b"\x93LAILA/pieces of nothing\n")
    assert isinstance(cutting.load_here(["bad"])[0], CorruptEntryError)
    assert isinstance(cutting.heads_here(["bad"])[0], CorruptEntryError)
    # A record that claims what is not there: nothing is made as large as it says.
    client.set(f"{prefix}/e/bad", b"\x93LAILA/pieces %032d 999999999 %d\n" % (0, 10**17))
    assert isinstance(cutting.load_here(["bad"])[0], CorruptEntryError)
    assert cutting._delete("bad")


# -- round trips ---------------------------------------------------------------------------------------------


def test_batches_go_in_bounded_chunks(server: RedisServer, prefix: str, opened: OpenPool) -> None:
    client = server.client()
    pool = opened(server.url, prefix=prefix, chunk_count=40, chunk_bytes=100_000)
    blobs = [make(f"{n}", 1000, n) for n in range(200)]
    items = [(blob.key, blob) for blob in blobs]
    pool._create_many(items[:1])
    commands(client)
    assert pool._create_many(items) == [False, *[True] * 199]
    assert commands(client)["evalsha"] == 5  # 40 keys each
    found = pool._read_many([*(key for key, _ in items), "none"])
    assert [None if one is None else bytes(checked_blob(str(n), one)) for n, one in enumerate(found)] == [
        *map(bytes, blobs),
        None,
    ]
    assert commands(client)["mget"] == 6
    pool._write_many([(f"{n}", make(f"{n}", 20_000)) for n in range(20)])
    assert commands(client)["evalsha"] == 5  # 100,000 bytes each
    assert len(pool._read_many([f"{n}" for n in range(20)] * 5)) == 100
    assert commands(client)["mget"] > 3  # what was weighed limits the next ones
    assert pool._delete_many([key for key, _ in items] * 2) == [True] * 200 + [False] * 200
    assert commands(client)["evalsha"] == 10


def test_a_constant_again_is_read_and_not_sent(pool: RedisPool, server: RedisServer) -> None:
    client = server.client()

    def traffic() -> int:
        stats: Any = client.info("stats")
        return int(stats["total_net_input_bytes"]) + int(stats["total_net_output_bytes"])

    blobs = [make(f"{n}", 2 * MIB, n) for n in range(4)]
    assert pool.store_here(blobs) == [StoreOutcome.CREATED] * 4
    before = traffic()
    assert pool.store_here(blobs) == [StoreOutcome.SAME] * 4
    assert 8 * MIB < traffic() - before < 8 * MIB + 20_000
    many = [make(f"s{n}", 50_000, n) for n in range(50)]
    pool.store_here(many)
    before = traffic()
    heads = pool.heads_here([blob.key for blob in many])
    assert [getattr(head, "digest", None) for head in heads] == [blob.digest for blob in many]
    assert traffic() - before < 50 * 5000


def test_scripts_that_the_server_forgot_are_sent_again(pool: RedisPool, server: RedisServer) -> None:
    pool._create("s-1", make("s-1"))
    for _ in range(2):
        server.client().script_flush()
        assert pool._create("s-2", make("s-2"))
        server.client().script_flush()
        assert pool._newest("s") == "s-2"
        server.client().script_flush()
        assert pool._delete("s-2")


def test_every_key_is_listed_once_while_others_come_and_go(pool: RedisPool) -> None:
    """The server doubles its table again and again meanwhile, and SCAN gives some names twice."""
    stay = {f"stay {n}" for n in range(3000)}
    pool._write_many([(key, make(key, 5)) for key in stay])
    listed: list[str] = []
    for number, key in enumerate(pool._keys()):
        listed.append(key)
        if number % 100 == 0:
            pool._write_many([(key, make(key, 5)) for key in (f"come {number} {n}" for n in range(300))])
    assert len(listed) == len(set(listed))
    assert stay <= set(listed)


# -- time to live --------------------------------------------------------------------------------------------


def test_what_has_a_time_to_live_goes(server: RedisServer, prefix: str, opened: OpenPool) -> None:
    client = server.client()
    pool = opened(server.url, prefix=prefix, ttl=0.6, piece_bytes=100_000)
    pool._create_many([("small", make("small")), (f"{STEM}-1", make(f"{STEM}-1"))])
    pool._write("large", make("large", 300_000))
    assert all(0 < client.pttl(name) <= 600 for name in names(client, prefix))
    assert read(pool, "large") == bytes(make("large", 300_000))
    assert pool._newest(STEM) == f"{STEM}-1"
    _wait(lambda: names(client, prefix) == [])
    assert pool._read_many(["small", "large"]) == [None, None]
    assert pool._newest(STEM) is None
    assert pool._create("small", make("small"))


def test_an_index_does_not_outgrow_what_it_lists(server: RedisServer, prefix: str, opened: OpenPool) -> None:
    client = server.client()
    pool, lasting = opened(server.url, prefix=prefix, ttl=0.2), opened(server.url, prefix=prefix)
    for number in range(40):
        assert pool._create(f"s-{number}", make(f"s-{number}"))
    _wait(lambda: not client.exists(f"{prefix}/e/s-39"))
    assert pool._evolutions("s") == []
    # What expired is still in an index whose owner lives on; each new evolution weeds two of the old ones.
    assert lasting._create("s-100", make("s-100"))
    assert client.ttl(f"{prefix}/i/s") == -1
    client.zadd(f"{prefix}/i/s", {f"002{n}": 0 for n in range(40, 80)})
    for number in range(101, 131):
        assert pool._create(f"s-{number}", make(f"s-{number}"))
    assert client.zcard(f"{prefix}/i/s") <= 31 + 2
    assert lasting._newest("s") == "s-130"
    _wait(lambda: not client.exists(f"{prefix}/e/s-130"))
    # The one that lasts is found again, above it all that is gone.
    assert lasting._newest("s") == "s-100"
    assert lasting._evolutions("s") == [100]
    assert client.ttl(f"{prefix}/i/s") == -1


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 150
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- threads and forks ---------------------------------------------------------------------------------------


def test_more_threads_than_connections(server: RedisServer, prefix: str, opened: OpenPool) -> None:
    pool = opened(server.url, prefix=prefix, max_connections=3)
    before = len(server.client().client_list())
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(30):
            blob = make(f"{number}", 500, turn)
            pool._write(blob.key, blob)
            if read(pool, blob.key) != bytes(blob):
                wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert len(server.client().client_list()) - before <= 2  # one of the three was open before


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_listing_goes_on_in_a_forked_child(pool: RedisPool) -> None:
    keys = {f"{n}" for n in range(5000)}
    pool._write_many([(key, make(key, 5)) for key in keys])
    listing = pool._keys()
    first = [next(listing) for _ in range(10)]
    pid = os.fork()
    if not pid:
        try:
            os._exit(0 if {*first, *listing} == keys else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert {*first, *listing} == keys


def test_names_that_no_pool_wrote_hide_nothing(pool: RedisPool, server: RedisServer) -> None:
    pool._create("s-1", make("s-1"))
    client = server.client()
    for name in ("x" * 600, "", b"\xff\xfe"):
        base = pool._store.names._entry
        client.set(base + (name if isinstance(name, bytes) else name.encode()), b"?")
    assert list(pool.keys()) == ["s-1"]
    for member in (b"abc", b"001x", b"002007", b"999" + b"9" * 5000, b"\xff\xff\xff"):
        client.zadd(pool._store.names.index("t"), {member: 0.0})
        with pytest.raises(CorruptEntryError, match="same prefix"):
            pool.history_here("t")
        assert pool.newest_here(["t"]) == [None]  # the script looks for the entry
        client.delete(pool._store.names.index("t"))
