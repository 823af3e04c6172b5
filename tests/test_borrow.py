# ruff: noqa: PT012 - blocks that raise when they end are what these tests are about
"""Borrowed entries: one borrower at a time, the end of a lease, and what is stored then."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import laila
from laila.errors import (
    EntryNotFoundError,
    EvolutionConflictError,
    IdentityError,
    InvalidArgumentError,
    InvalidValueError,
    LeaseError,
    LeaseLostError,
    LeaseTimeoutError,
    NotSupportedError,
)
from laila.leasing import renewing
from laila.leasing.lease import Lease, Watch
from laila.leasing.records import free_record, make_record, parse_record
from laila.leasing.tables import LeaseFile, MemoryLeases
from laila.pool.memory import MemoryPool
from laila.testing.promises import in_threads, until

STORES = {
    "memory": "memory://",
    "files": "file:{tmp}/files?durable=process",
    "hdf5": "hdf5:{tmp}/h.h5?durable=process",
    "sqlite": "sqlite:{tmp}/s.db?durable=process",
}


def use(name: str, tmp_path: Path) -> str:
    """Make a pool of a kind the alpha pool, and return its URL."""
    url = STORES[name].format(tmp=tmp_path)
    laila.alpha_pool = laila.memory.extend(url)
    return url


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    laila.terminate()
    until(lambda: not _renewers(), lambda: "the thread that renews leases ends after the last one")


def _renewers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "laila-leases"]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return use(request.param, tmp_path)


def put(name: str, value: object = 0) -> Any:
    entry = laila.variable(value, nickname=name)
    laila.memorize(entry).wait()
    return entry


def newest(name: str) -> Any:
    return laila.remember(nickname=name).wait()


# -------------------------------------------------------------------------------------------- in one process


def test_a_clean_end_stores_what_evolved_and_an_exception_stores_nothing(store: str) -> None:
    put("a")
    put("b", 10)
    constant = laila.constant(5, nickname="c")
    laila.memorize(constant).wait()
    before = len(list(laila.alpha_pool.keys()))
    with laila.memory.borrow(["a", newest("b"), constant.global_id]) as entries:
        assert len(entries) == 3
        assert entries["a"] is entries[0]
        entries[0].evolve(data=1)
        entries[0].evolve(data=2)  # one evolution is stored, however often it evolved
        assert not entries.lost
        assert 0 < entries.seconds_left <= 30
        entries.check()
    assert (newest("a").data, newest("a").evolution, newest("b").evolution) == (2, 1, 0)
    with pytest.raises(ZeroDivisionError), laila.memory.borrow(["a", "b"]) as entries:
        entries["a"].evolve(data=3)
        raise ZeroDivisionError
    assert newest("a").data == 2
    with laila.memory.borrow("a", timeout=1) as entries:  # it was given back
        entries[0].evolve(data=4)
        first = entries.fences
    with laila.memory.borrow("a") as entries:
        assert list(entries.fences) == list(first)
        assert list(entries.fences.values()) > list(first.values())
    assert newest("a").data == 4
    assert len(list(laila.alpha_pool.keys())) == before + 2 == len(laila.alpha_pool)


def test_threads_lose_no_update(store: str) -> None:
    put("n")

    def work() -> None:
        for _ in range(8):
            with laila.memory.borrow(["n"]) as entries:
                entries[0].evolve(data=entries[0].data + 1)

    in_threads([work] * 4, "borrowers end")
    assert (newest("n").data, newest("n").evolution) == (32, 32)


def test_crossing_borrowers_never_wait_in_a_circle() -> None:
    names = ["x", "y", "z"]
    for name in names:
        put(name)

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(15):
            with laila.memory.borrow(rng.sample(names, 2), timeout=None) as entries:
                for entry in entries:
                    entry.evolve(data=entry.data + 1)

    in_threads([lambda seed=seed: work(seed) for seed in range(4)], "crossing borrowers end")  # type: ignore[misc]
    assert sum(newest(name).data for name in names) == 4 * 15 * 2


def test_a_borrower_waits_and_learns_who_has_it(store: str) -> None:
    entry = put("n")
    told: list[LeaseTimeoutError] = []

    def other() -> None:
        try:
            with laila.memory.borrow("n", timeout=0.02):
                pass
        except LeaseTimeoutError as error:
            told.append(error)

    with laila.memory.borrow("n") as entries:
        assert entries[0] is not None
        in_threads([other], "a borrower with a timeout ends")
        with pytest.raises(LeaseError, match="in this thread already") as caught, laila.memory.borrow(entry):
            pass
        assert not isinstance(caught.value, LeaseTimeoutError)
        (lent,) = _lent()
    (error,) = told
    assert isinstance(error, TimeoutError)
    assert (error.pid, error.host) == (lent.pid, lent.host) == (os.getpid(), lent.host)
    assert f"process {os.getpid()}" in str(error)
    assert _lent() == []


def _lent() -> list[Any]:
    from laila.leasing.listing import list_leases

    return list_leases(laila.alpha_pool.lease_table_here())


def test_what_cannot_be_borrowed_is_refused_and_given_back() -> None:
    put("n")
    wrong: list[tuple[type[Exception], Callable[[], Any]]] = [
        (InvalidArgumentError, lambda: laila.memory.borrow(5)),  # type: ignore[arg-type]
        (InvalidArgumentError, lambda: laila.memory.borrow([b"n"])),  # type: ignore[list-item]
        (IdentityError, lambda: laila.memory.borrow(["LAILA:nothing"])),
        (IdentityError, lambda: laila.memory.borrow([""])),
        (InvalidValueError, lambda: laila.memory.borrow("n", ttl=0)),
        (InvalidValueError, lambda: laila.memory.borrow("n", ttl=float("nan"))),
        (InvalidValueError, lambda: laila.memory.borrow("n", ttl=10**6)),
        (InvalidValueError, lambda: laila.memory.borrow("n", timeout=-1)),
        (InvalidValueError, lambda: laila.memory.borrow("n", timeout="1")),  # type: ignore[arg-type]
    ]
    for kind, call in wrong:
        with pytest.raises(kind):
            call()
    with pytest.raises(EntryNotFoundError), laila.memory.borrow(["n", "nothing"]):
        pass
    assert _lent() == []
    with laila.memory.borrow(["n", "nothing"], missing_ok=True) as entries:
        assert entries["nothing"] is None
        assert len(_lent()) == 2
    context = laila.memory.borrow([])
    with context as entries:
        assert list(entries) == []
    with pytest.raises(InvalidArgumentError, match="one `with`"), context:
        pass


def test_an_outsiders_evolution_is_kept_and_told() -> None:
    put("n")
    put("m")
    with pytest.raises(EvolutionConflictError), laila.memory.borrow(["m", "n"]) as entries:
        laila.memorize(newest("n").evolve(data="outsider")).wait()
        entries["n"].evolve(data="borrower")
        entries["m"].evolve(data="borrower")
    assert (newest("n").data, newest("m").data) == ("outsider", 0)
    assert _lent() == []


def test_a_payload_that_cannot_be_stored_stores_nothing() -> None:
    put("n")
    put("m")
    with pytest.raises(laila.errors.PayloadError), laila.memory.borrow(["m", "n"]) as entries:
        entries["m"].evolve(data=1)
        entries["n"].evolve(data=threading.Lock())
    assert newest("m").data == 0
    assert _lent() == []


def test_a_chain_lends_by_the_tier_that_decides(tmp_path: Path) -> None:
    laila.alpha_pool = laila.tiers("memory://", f"file:{tmp_path}/f?durable=process")
    cache, last = laila.alpha_pool.chain()
    put("n")
    assert newest("n").data == 0
    with laila.memory.borrow("n") as entries:
        assert (cache.lease_table_here().keys(), len(last.lease_table_here().keys())) == ([], 1)
        entries[0].evolve(data=1)
    assert newest("n").data == 1


def test_a_pool_without_a_table_says_so() -> None:
    class Network(MemoryPool):
        writers = "network"

        def _lease_table(self) -> None:
            return None

    laila.alpha_pool = Network()
    put("n")
    with pytest.raises(NotSupportedError, match="cannot lend"), laila.memory.borrow("n"):
        pass


# ------------------------------------------------------------------------------------------------------ time


def test_a_lease_that_is_not_renewed_is_over_for_its_holder_too(monkeypatch: pytest.MonkeyPatch) -> None:
    put("n")
    monkeypatch.setattr(renewing, "keep", lambda lease: None)
    with pytest.raises(LeaseLostError, match="ran out"), laila.memory.borrow("n", ttl=0.05) as entries:
        entries[0].evolve(data=1)
        until(lambda: entries.lost, lambda: "a lease that nobody renews is over")
        assert entries.seconds_left == 0
        with pytest.raises(LeaseLostError):
            entries.check()
    assert newest("n").data == 0


def test_a_late_holder_is_refused_by_the_pool(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the holder itself believes that the lease is its own."""
    put("n")
    monkeypatch.setattr(renewing, "keep", lambda lease: None)
    context = laila.memory.borrow("n", ttl=0.05)
    entries = context.__enter__()
    monkeypatch.undo()

    def other() -> None:
        with laila.memory.borrow("n") as theirs:
            theirs[0].evolve(data="theirs")

    in_threads([other], "the next borrower gets a lease that is over")
    monkeypatch.setattr(Lease, "lost", None)  # it was stopped between its look at the clock and its write
    entries[0].evolve(data="late")
    entries[0].evolve(data="later")
    with pytest.raises(LeaseLostError, match="another borrower"):
        context.__exit__(None, None, None)
    monkeypatch.undo()
    assert (newest("n").data, newest("n").evolution) == ("theirs", 1)
    assert _lent() == []


def test_one_thread_renews_all_leases_and_ends_with_the_last() -> None:
    for name in "ab":
        put(name)
    table = laila.alpha_pool.lease_table_here()
    with laila.memory.borrow("a", ttl=0.15) as first, laila.memory.borrow("b", ttl=0.15) as second:
        key = next(iter(first.fences))
        seen = {parse_record(table.read([key])[0])}
        (thread,) = _renewers()

        def renewed() -> bool:
            seen.add(parse_record(table.read([key])[0]))
            return len(seen) > 4

        until(renewed, lambda: "a lease is renewed again and again")
        assert _renewers() == [thread]
        assert not first.lost
        assert not second.lost
    until(lambda: not _renewers(), lambda: "the thread that renews leases ends")


class Unsteady(MemoryLeases):
    """A table whose server is away for a while, or loses answers."""

    down = loses = False

    def swap(self, changes: Any) -> list[bool]:
        if self.down:
            raise laila.errors.PoolError("the server is away", pool="p")
        done = super().swap(changes)
        return [False] * len(done) if self.loses else done


def test_a_server_that_is_away_or_loses_answers_costs_no_lease() -> None:
    table = Unsteady()
    lease = Lease(table, ["b", "a"], 30, "p")
    table.loses = True
    lease.acquire(5, lambda _: None)
    lease.renew()
    table.loses, table.down = False, True
    with pytest.raises(laila.errors.PoolError):
        lease.renew()
    assert lease.lost is None
    table.down = False
    lease.renew()
    assert [parse_record(data).token for data in table.read(["a", "b"])] == [lease.token] * 2  # type: ignore[union-attr]
    lease.release()
    assert all(parse_record(data).free for data in table.read(["a", "b"]))  # type: ignore[union-attr]


def test_keys_are_taken_in_order() -> None:
    """Who waits for a key holds none after it."""
    table = MemoryLeases()
    first, second = Lease(table, ["b"], 30, "p"), Lease(table, ["c", "b", "a"], 30, "p")
    first.acquire(1, lambda _: None)
    first._thread = 0  # another thread's
    with pytest.raises(LeaseTimeoutError):
        second.acquire(0.01, lambda _: None)
    assert sorted(second._records) == ["a"]
    first.release()
    second.acquire(1, lambda _: None)
    assert sorted(second._records) == ["a", "b", "c"]


def test_clocks_of_other_machines_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of another clock is over once it was watched for its ttl; its own times mean nothing here."""
    now = [1000.0]
    monkeypatch.setattr("laila.leasing.lease.boot_time", lambda: now[0])
    for until_there in (-1e12, 0.0, 1e12):
        data = make_record(b"a" * 32, 1, ttl=20, clock="theirs", until=until_there, since=0, host="h", pid=1)
        record, watch = parse_record(data), Watch()
        assert record is not None
        assert watch.left("k", data, record, "ours", 5.0) == 20
        now[0] += 15
        assert watch.left("k", data, record, "ours", 5.0) == 5
        renewed = data.replace(b'"since"', b'"Since"')
        assert watch.left("k", renewed, record, "ours", 5.0) == 20  # it was renewed meanwhile
        now[0] += 20
        assert watch.left("k", renewed, record, "ours", 5.0) <= 0
    # The same clock says at once that a holder has died. Set back, it keeps no lease for ever.
    data = make_record(b"a" * 32, 1, ttl=20, clock="ours", until=50.0, since=0, host="h", pid=1)
    record = parse_record(data)
    assert record is not None
    assert Watch().left("k", data, record, "ours", 50.0) <= 0
    assert Watch().left("k", data, record, "ours", -1e9) == 20


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"LAILA-LEASE 1 ",
        b"LAILA-LEASE 1 " + b"g" * 32 + b" {}",
        b"LAILA-LEASE 1 " + b"a" * 32 + b" {}",
        b"LAILA-LEASE 1 " + b"a" * 32 + b" " + b"[" * 3000,
        b"LAILA-LEASE 1 " + b"a" * 32 + b' {"fence": 1' + b" " * 5000 + b"}",
        b"LAILA-LEASE 1 " + b"a" * 32 + b' {"fence": "1"}',
        b"LAILA-LEASE 1 " + b"a" * 32 + b' {"fence": 1, "ttl": 1e999, "until": NaN, "pid": "x"}',
    ],
)
def test_what_no_laila_wrote_is_a_lease_that_ends(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("laila.leasing.lease.boot_time", lambda: now[0])
    record, watch = parse_record(data), Watch()
    assert record is not None
    assert watch.left("k", data, record, "c", 0.0) == 60
    now[0] = 61
    assert watch.left("k", data, record, "c", 0.0) < 0


def test_a_file_of_leases_is_private_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir(mode=0o750)
    table = LeaseFile(str(tmp_path / "t"), like=str(tmp_path / "pool"))
    assert (table.keys(), table.read(["k"])) == ([], [None])
    assert not (tmp_path / "t").exists()
    assert table.swap([("k", None, free_record(1))]) == [True]
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o640
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(laila.errors.PoolError):
        LeaseFile(str(tmp_path / "link")).swap([("k", None, b"r")])
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(laila.errors.PoolError, match="read_only"):
        LeaseFile(str(tmp_path / "t"), read_only=True).swap([("k", None, b"r")])
    (tmp_path / "other").write_bytes(b"no database" * 100)
    with pytest.raises(laila.errors.PoolError, match="may be deleted"):
        LeaseFile(str(tmp_path / "other")).read(["k"])


# ------------------------------------------------------------------------------------------------- processes


BORROWER = """
import sys
import laila

laila.alpha_pool = sys.argv[1]
for _ in range(int(sys.argv[2])):
    with laila.memory.borrow(["n"], timeout=None) as entries:
        entries[0].evolve(data=entries[0].data + 1)
"""

HOLDER = """
import sys
import laila
from laila.errors import LeaseLostError

laila.alpha_pool = sys.argv[1]
try:
    with laila.memory.borrow(["n"], ttl=float(sys.argv[2])) as entries:
        print("held", flush=True)
        entries[0].evolve(data="late")
        sys.stdin.readline()
except LeaseLostError:
    print("lost", flush=True)
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("name", ["files", "hdf5"])
def test_four_processes_lose_no_update(name: str, tmp_path: Path) -> None:
    use(name, tmp_path)
    put("n")
    children = []
    for _ in range(4):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                for _ in range(5):
                    with laila.memory.borrow(["n"]) as entries:
                        entries[0].evolve(data=entries[0].data + 1)
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert (newest("n").data, newest("n").evolution) == (20, 20)


@pytest.mark.long
@pytest.mark.parametrize("name", ["files", "hdf5"])
def test_four_processes_lose_no_update_in_many_turns(name: str, tmp_path: Path) -> None:
    url = use(name, tmp_path)
    put("n")
    processes = [start(BORROWER, url, 100) for _ in range(4)]
    for process in processes:
        process.communicate(timeout=300)
    assert [process.returncode for process in processes] == [0] * 4
    assert (newest("n").data, newest("n").evolution) == (400, 400)


def held(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"


def dead_and_stopped(url: str) -> None:
    """A holder that is killed, and then one that is stopped past its ttl and goes on."""
    put("n")
    killed, stopped = start(HOLDER, url, 0.3), start(HOLDER, url, 0.3)
    # Whichever is first; the other one waits for it.
    try:
        for first, second in [(killed, stopped)]:
            _hold_one(first, second)
    finally:
        for process in (killed, stopped):
            process.kill()
            process.communicate()


def _hold_one(killed: subprocess.Popen[str], stopped: subprocess.Popen[str]) -> None:
    import select

    assert killed.stdout is not None
    assert stopped.stdout is not None
    ready, _, _ = select.select([killed.stdout, stopped.stdout], [], [], 100)
    if ready == [stopped.stdout]:
        killed, stopped = stopped, killed
    held(killed)
    killed.kill()  # its lease ends, and the other one gets it
    held(stopped)
    os.kill(stopped.pid, signal.SIGSTOP)
    with laila.memory.borrow("n", timeout=100) as entries:
        assert entries[0] is not None
        assert entries[0].data == 0
        entries[0].evolve(data="theirs")
    os.kill(stopped.pid, signal.SIGCONT)
    output, _ = stopped.communicate("\n", timeout=100)
    assert output == "lost\n"
    assert (newest("n").data, newest("n").evolution) == ("theirs", 1)


def test_a_killed_holder_and_a_stopped_one_lose_their_lease(tmp_path: Path) -> None:
    url = use("files", tmp_path)
    dead_and_stopped(url)


@pytest.mark.long
def test_a_killed_holder_and_a_stopped_one_lose_their_lease_in_hdf5(tmp_path: Path) -> None:
    url = use("hdf5", tmp_path)
    dead_and_stopped(url)


def test_a_forked_child_gives_nothing_back(tmp_path: Path) -> None:
    use("files", tmp_path)
    put("n")
    with laila.memory.borrow("n") as entries:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                entries._leases[0].release()
                entries._leases[0].renew()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert len(_lent()) == 1
        entries[0].evolve(data=1)
    assert newest("n").data == 1


def test_the_command_lists_what_is_lent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from laila.cli.main import main

    url = use("files", tmp_path)
    put("n")
    assert main(["leases", url]) == 0
    assert capsys.readouterr().out == "0 leases\n"
    with laila.memory.borrow("n", ttl=100) as entries:
        assert main(["leases", url]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1] == "1 lease"
        assert str(os.getpid()) in lines[1]
        assert main(["leases", url, "--json"]) == 0
        (lease,) = map(json.loads, capsys.readouterr().out.splitlines())
        assert (lease["pid"], lease["ttl"]) == (os.getpid(), 100)
        assert {lease["key"]: lease["fence"]} == entries.fences
        assert 0 < lease["seconds_left"] <= 100


def test_leases_pickle_their_errors() -> None:
    import pickle

    error = LeaseTimeoutError("no", key="k", host="h", pid=1, since=time.time())
    again = pickle.loads(pickle.dumps(error))
    assert (again.key, again.host, again.pid, again.since) == ("k", "h", 1, error.since)
