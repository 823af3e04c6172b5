"""Threads that come and go, forks, interrupts, and programs that end while requests are under way."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pytest

from laila.errors import LailaError, PoolClosedError
from laila.pool.s3 import S3Pool
from laila.pool.s3.helper_pool import HelperPool
from laila.testing.samples import make_blob, stored
from servers.proxy import Proxy

if TYPE_CHECKING:
    from servers.s3 import S3Server

    OpenPool = Callable[..., S3Pool]


# -- the helper pool ----------------------------------------------------------------------------------------


def test_a_helper_pool_answers_in_order() -> None:
    def work(number: int) -> int:
        time.sleep(0.001 * (number % 3))
        return number * number

    assert HelperPool(8, "helper_pool").map(work, range(50)) == [number * number for number in range(50)]
    assert HelperPool(8, "helper_pool").map(work, []) == []


def ended(helper_pool: HelperPool, threads: Iterable[threading.Thread]) -> bool:
    """Whether helpers of ``helper pool`` end within some seconds, and it knows it."""
    for thread in threads:
        thread.join(150)
    return not any(thread.is_alive() for thread in threads) and helper_pool.threads() == []


def test_a_helper_pool_keeps_its_helpers_between_calls() -> None:
    """All of them work where each item takes long, never more; the next call starts no other."""
    helper_pool = HelperPool(8, "helper_pool")
    workers: set[int] = set()
    everyone = threading.Barrier(8)

    def work(number: int) -> None:
        workers.add(threading.get_ident())
        if number < 8:
            everyone.wait(150)

    helper_pool.map(work, range(40))
    helpers = set(helper_pool.threads())
    assert workers == {helper.ident for helper in helpers} | {threading.get_ident()}
    assert len(workers) == 8
    with pytest.raises(ZeroDivisionError):
        helper_pool.map(lambda number: 1 // number, range(20))
    for _ in range(50):
        helper_pool.map(work, range(40))
    assert set(helper_pool.threads()) == helpers
    assert len(workers) == 8
    assert (helper_pool._free, helper_pool._idle) == (7, 7)
    helper_pool.close()
    assert ended(helper_pool, helpers)
    assert helper_pool.map(lambda number: (number, threading.get_ident()), range(20)) == [
        (number, threading.get_ident()) for number in range(20)
    ]


def test_helpers_leave_when_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a helper pool that nobody closes; later ones come when there is."""
    monkeypatch.setattr("laila.pool.s3.helper_pool._IDLE_SECONDS", 0.05)
    helper_pool = HelperPool(8, "helper_pool")
    for _ in range(2):
        helper_pool.map(lambda _: time.sleep(0.01), range(20))
        assert ended(helper_pool, helper_pool.threads())
        assert (helper_pool._free, helper_pool._idle) == (7, 0)


def test_helpers_hold_on_to_nothing() -> None:
    """What an idle one has worked on can be freed."""

    class Item:
        pass

    helper_pool = HelperPool(4, "helper_pool")
    items = [Item() for _ in range(20)]
    seen = [weakref.ref(item) for item in items]
    helper_pool.map(lambda item: time.sleep(0.001), items)
    del items
    gc.collect()
    assert len(helper_pool.threads()) == 3
    assert [one() for one in seen] == [None] * 20
    helper_pool.close()


def test_a_helper_hides_no_failure() -> None:
    """Not even one that is no Exception, such as a panic of the client library; the helpers stay usable."""

    class Panic(BaseException):
        pass

    helper_pool = HelperPool(2, "helper_pool")
    both = threading.Barrier(2)

    def work(number: int) -> None:
        both.wait(150)
        if threading.current_thread() is not threading.main_thread():
            raise Panic

    for _ in range(2):
        with pytest.raises(Panic):
            helper_pool.map(work, range(2))
    assert (helper_pool._free, helper_pool._idle) == (1, 1)
    helper_pool.close()


def test_the_first_error_ends_the_rest() -> None:
    """What is under way ends, nothing more is begun, the error of the first item is raised."""
    done: list[int] = []

    def work(number: int) -> None:
        if number in (2, 3):
            raise ValueError(number)
        time.sleep(0.01)
        done.append(number)

    with pytest.raises(ValueError, match="2"):
        HelperPool(4, "helper_pool").map(work, range(1000))
    assert len(done) < 50


def test_a_pool_in_a_pool_never_waits_for_itself() -> None:
    """Whoever asks does the work itself where no helper is free, however deep."""
    helper_pool = HelperPool(3, "helper_pool")

    def nest(depth: int) -> int:
        return 1 if depth == 0 else sum(helper_pool.map(nest, [depth - 1] * 4))

    results: list[list[int]] = []
    callers = [
        threading.Thread(target=lambda: results.append(helper_pool.map(nest, [4] * 4))) for _ in range(6)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert results == [[256] * 4] * 6
    assert helper_pool._free == 2


def test_a_helper_pool_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, as at the end of the interpreter, the caller does all of it."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    helper_pool = HelperPool(8, "helper_pool")
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert helper_pool.map(lambda number: number, range(20)) == [*range(20)]
    assert helper_pool._free == 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_helper_pool_in_a_forked_child() -> None:
    """Begins anew: it waits neither for the parent's helpers nor for a lock that one of them held."""
    program = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", POOL_AND_FORK],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (program.stdout, program.returncode) == ("4\n4\nended 0\n", 0), program.stderr


POOL_AND_FORK = """
import os, signal, threading
from laila.pool.s3.helper_pool import HelperPool

helper_pool = HelperPool(4, "helper_pool")

def workers():
    everyone = threading.Barrier(4)
    return len({*helper_pool.map(lambda _: (everyone.wait(150), threading.get_ident())[1], range(4))})

print(workers(), flush=True)
with helper_pool._lock:  # as a helper may
    pid = os.fork()
if pid == 0:
    signal.alarm(30)
    threading.Thread(target=lambda: print(workers(), flush=True)).start()
else:
    print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


# -- processes -------------------------------------------------------------------------------------------


def run(server: S3Server, code: str, *arguments: str) -> subprocess.Popen[str]:
    """Run a program that finds the server by its variables."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **server.variables()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


FORK = """
import multiprocessing, os, sys, time
from laila.pool.s3 import S3Pool
from laila.errors import PoolError

def child(pool, opened_before):
    for use in (lambda: pool["k"], lambda: S3Pool(sys.argv[1], prefix=sys.argv[2])["k"]):
        try:
            use()
        except PoolError as error:
            print(error, flush=True)
        else:
            print("read", flush=True)
    pool.close()

pool = S3Pool(sys.argv[1], prefix=sys.argv[2])
if sys.argv[3] == "used":
    pool["k"] = "text"
    pool._read_many(["k"] * 40)
pid = os.fork()
if pid == 0:
    child(pool, True)
    sys.stdout.flush()
    sys.exit(0)
deadline = time.monotonic() + 100
while not (done := os.waitpid(pid, os.WNOHANG))[0]:
    if time.monotonic() > deadline:
        os.kill(pid, 9)
        print("hung")
    time.sleep(0.01)
print("child ended", os.waitstatus_to_exitcode(done[1]))
print(len(bytes(pool["k"])) > 0)
pool.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("state", ["used", "fresh"])
def test_a_forked_child(server: S3Server, shared_bucket: str, prefix: str, pool: S3Pool, state: str) -> None:
    """Uses the pool, and ends, whether or not the parent has made requests."""
    pool["k"] = "text"
    program = run(server, FORK, shared_bucket, prefix, state)
    output, errors = program.communicate(timeout=150)
    assert output.split("\n")[:4] == ["read", "read", "child ended 0", "True"], (output, errors)
    assert program.returncode == 0


EXIT = """
import sys, threading, laila
from laila.pool.s3 import S3Pool

laila.alpha_pool = laila.memory.extend(S3Pool(sys.argv[1], prefix=sys.argv[2]))
entries = [laila.constant({"number": n}, nickname=f"e{n}") for n in range(300)]
laila.memorize(entries)  # nobody waits for it
print("end", flush=True)
"""


def test_what_is_queued_is_written_before_the_end(
    server: S3Server, shared_bucket: str, prefix: str, pool: S3Pool
) -> None:
    """A program that ends with writes under way ends by itself, with all of them done."""
    program = run(server, EXIT, shared_bucket, prefix)
    output, errors = program.communicate(timeout=150)
    assert (output, program.returncode) == ("end\n", 0), errors
    assert not errors
    assert len(list(pool.keys())) == 300


INTERRUPT = """
import sys, time
from laila.pool.s3 import S3Pool

pool = S3Pool(sys.argv[1], prefix=sys.argv[2], endpoint_url=sys.argv[3], timeout=3.0, deadline=6.0)
print("ready", flush=True)
try:
    while True:
        pool._read_many([f"k{number}" for number in range(40)])
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("stalled", [False, True])
def test_an_interrupt(
    server: S3Server, proxy: Proxy, shared_bucket: str, prefix: str, pool: S3Pool, stalled: bool
) -> None:
    """Ctrl-C ends a batch when the requests under way end, and the program then ends by itself."""
    program = run(server, INTERRUPT, shared_bucket, prefix, f"http://127.0.0.1:{proxy.port}")
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    while proxy.connections < 2:
        time.sleep(0.01)
    proxy.stall = stalled
    time.sleep(0.2)
    start = time.monotonic()
    program.send_signal(signal.SIGINT)
    output, errors = program.communicate(timeout=150)
    assert time.monotonic() - start < 100
    assert "interrupted" in output, errors
    assert program.returncode == 0


def test_closing_beside_calls(pool: S3Pool) -> None:
    """Each of them ends: done, or told that the pool was closed."""
    pool._write_many([(f"k{number}", make_blob(f"k{number}", 2000)) for number in range(40)])
    keys = [f"k{number}" for number in range(40)]
    outcomes: list[object] = []

    def read() -> None:
        try:
            for _ in range(1000):
                pool._read_many(keys)
        except LailaError as error:
            outcomes.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    time.sleep(0.2)
    pool.close()
    for reader in readers:
        reader.join(100)
        assert not reader.is_alive()
    assert [type(outcome) for outcome in outcomes] == [PoolClosedError] * 4


def test_a_pool_that_is_forgotten_is_freed(server: S3Server, shared_bucket: str) -> None:
    """Neither threads nor the library hold on to it."""
    pool = S3Pool(shared_bucket, **server.options())  # type: ignore[arg-type]  # text
    pool._read_many([f"k{number}" for number in range(10)])
    seen = weakref.ref(pool)
    del pool
    gc.collect()
    assert seen() is None


def test_tasks_that_wait_for_tasks_do_not_wait_for_threads(open_pool: OpenPool) -> None:
    """Many tasks of the default task force, each with a batch: no deadlock, however few workers there are."""
    import laila

    pool = open_pool(concurrency=4)
    with laila.DefaultPolicy(alpha_pool=pool) as policy:
        memory, command = policy.central.memory, policy.central.command

        def task(number: int) -> int:
            entries = [laila.constant(one, nickname=f"t{number}-{one}") for one in range(10)]
            ids = memory.memorize(entries).wait(60)
            return sum(entry.data for entry in memory.remember(ids).wait(60))

        futures = command.submit([lambda number=number: task(number) for number in range(30)])  # type: ignore[misc]
        assert futures.wait(100) == [45] * 30
    assert stored(open_pool(), "none") is None
