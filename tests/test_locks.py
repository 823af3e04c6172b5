"""Every lock of laila's, the rule that it keeps, and what happens to a call that interrupts its holder.

`laila.locks` has the two rules: short (the mutex) and long (`long_lock()`). A lock made in another way is
listed here with the reason why nobody can wait for ever because of it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import laila
from laila.locks import check_free, check_may_use, check_may_wait, long_lock, mutex, serve_others
from workspace import ROOT

KINDS = {"Lock", "RLock", "allocate_lock", "Condition", "Semaphore", "BoundedSemaphore"}

# By file: how many there are, and why they keep neither of the two rules.
OTHERS = {
    "laila-core/src/laila/locks.py": (2, "the mutex, and what long_lock() makes"),
    "laila-core/src/laila/futures/future.py": (1, "the gate of one waiting thread: nobody else takes it"),
    "laila-core/src/laila/threads.py": (1, "the end of one start, which nobody else waits for"),
    "laila-core/src/laila/leasing/lease.py": (
        1,
        "of one lease: its borrower and the thread that renews it take turns, and may wait for a peer",
    ),
    "laila-core/src/laila/codec/visiting.py": (
        2,
        "reentrant, of looking at a payload; no task is waited for",
    ),
    "laila-core/src/laila/component/component.py": (1, "of closing, which checks first that it may wait"),
    "laila-core/src/laila/contract/protocol.py": (1, "of starting and stopping, by those who set up"),
    "laila-taskforce-threads/src/laila/taskforce/threads/workers.py": (1, "the gate of one idle worker"),
    "laila-taskforce-processes/src/laila/taskforce/processes/worker_pool.py": (
        1,
        "of forks while a worker is started: reentrant, and nothing else is taken under it",
    ),
    "laila-pool-s3/src/laila/pool/s3/helper_pool.py": (2, "conditions over a long lock"),
}


def locks_made() -> Counter[str]:
    """How many locks each file makes by itself."""
    found: Counter[str] = Counter()
    for path in ROOT.glob("laila-*/src/**/*.py"):
        name = path.relative_to(ROOT).as_posix()
        if "/testing/" in name:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                made = getattr(node.func, "attr", getattr(node.func, "id", ""))
                found[name] += made in KINDS
    return +found


def test_every_lock_keeps_a_rule() -> None:
    for name, count in locks_made().items():
        known = OTHERS.get(name) or next(
            (v for k, v in OTHERS.items() if k.endswith("/") and k in name), None
        )
        assert known, f"{name} makes a lock: use laila.locks, or say here why not"
        assert known[0] in {None, count}, f"{name} makes {count} locks; {known[0]} are known: {known[1]}"


# ------------------------------------------------------------------------------------------------ the rules


def test_who_is_inside_may_not_wait() -> None:
    with mutex:
        for use in (
            check_may_use,
            check_may_wait,
            laila.terminate,
            lambda: laila.memorize(laila.constant(1)),
            lambda: laila.command.submit(int),
            lambda: laila.Future().wait(5),
        ):
            with pytest.raises(laila.errors.ReentryError, match="signal handler"):
                use()
    lock = long_lock()
    task = laila.command.submit(lambda: __import__("time").sleep(0.2))
    with lock:
        check_may_use()
        for wait in (check_may_wait, lambda: check_free(lock), task.wait, laila.terminate):
            with pytest.raises(laila.errors.ReentryError):
                wait()
        with pytest.raises(laila.errors.FutureTimeoutError):
            laila.Future().wait(0.01)  # what another thread settles
    task.wait()
    laila.memorize(laila.constant(1)).wait()
    laila.terminate()


def run(code: str, *arguments: str, seconds: float = 200) -> subprocess.CompletedProcess[str]:
    """Run a program that says where it hangs."""
    begin = f"import faulthandler\nfaulthandler.dump_traceback_later({seconds - 15}, exit=True)\n"
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", begin + textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


WORK = {
    "submit": "laila.command.submit(int)",
    "submit and wait": "laila.command.submit(int).wait()",
    "memorize": "laila.memorize(laila.constant(n))",
    "memorize a batch": "laila.memorize([laila.constant((n, i)) for i in range(20)]).wait()",
    "remember": "laila.remember(first).data",
    "a variable": "laila.memorize(state.evolve(data=n)).wait()",
    "a guarantee": "with laila.guarantee: laila.memorize(laila.constant(n))",
}


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "file:{tmp}/f?durable=process",
        "hdf5:{tmp}/h.h5?durable=process",
        "sqlite:{tmp}/s.db?durable=process",
    ],
)
def test_a_signal_each_millisecond_that_saves_something(url: str, tmp_path: object) -> None:
    """A handler that memorizes and waits ends or raises, wherever it comes."""
    program = f"""
    import signal, sys, time
    import laila
    laila.alpha_pool = laila.tiers("memory://?max_bytes=100000", {url.format(tmp=tmp_path)!r})
    first = laila.memorize(laila.constant(0)).result
    state = laila.variable(0)
    laila.memorize(state).wait()
    saved = refused = inside = 0

    def save(signum, frame):
        global saved, refused, inside
        if inside:
            return
        inside = 1
        try:
            laila.memorize(laila.constant(time.time_ns())).wait()
            saved += 1
        except laila.errors.ReentryError:
            refused += 1
        finally:
            inside = 0

    signal.signal(signal.SIGALRM, save)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    n = 0
    end = time.monotonic() + 1.5
    work = {list(WORK.values())!r}
    while time.monotonic() < end or saved <= 20:
        n += 1
        exec(work[n % len(work)])
    signal.setitimer(signal.ITIMER_REAL, 0)
    laila.terminate()
    print("ended")
    """
    done = run(program)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr[-3000:]


@pytest.mark.parametrize("error", ["RuntimeError", "KeyError", "laila.errors.ReentryError", "Stop"])
def test_what_a_handler_raises_arrives_and_later_tasks_run(error: str) -> None:
    """It comes in the midst of the start of a thread, mostly: no such start may stay half done."""
    program = f"""
    import random, signal
    import laila
    from laila.taskforce.threads import PythonThreadPoolTaskForce

    class Stop(BaseException):
        pass

    raised = 0

    def stop(signum, frame):
        global raised
        raised += 1
        raise {error}("stop")

    laila.command.submit(int).wait()
    signal.signal(signal.SIGALRM, stop)
    rng = random.Random(3)
    caught = 0
    for n in range(300):
        force = PythonThreadPoolTaskForce(2)
        force.start()
        before = raised
        try:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0001, 0.0006))
            while raised == before:
                force.submit(int)
        except {error}:
            caught += 1
        while raised == before:
            pass
        assert force.submit(lambda n=n: n).wait(20) == n
        force.shutdown()
    print(raised - caught)
    """
    done = run(program)
    # Where a handler comes in the midst of a callback of a weak reference, Python itself drops what it
    # raises, and says so.
    dropped = done.stderr.count("Exception ignored in: ")
    assert (done.returncode, done.stdout) == (0, f"{dropped}\n"), done.stderr
    assert done.stderr.count("Traceback") == dropped, done.stderr
    assert dropped < 5, done.stderr


REMOTE = """
import faulthandler, gc, os, signal, sys, time
import laila

pool, kind, secret, mode = sys.argv[1:]
force = None
if kind == "peer":
    laila.communication.add_connection(laila.DefaultTCPIPProtocol(listen=False))
    memory = laila.peers[laila.add_peer(pool, secret)].central.memory
else:
    laila.alpha_pool = laila.tiers("memory://?max_bytes=100000", pool)
    memory = laila.memory
    if kind == "processes":
        from laila.taskforce import ProcessTaskForce
        force = laila.command.add_taskforce(ProcessTaskForce(workers=2))
first = memory.memorize(laila.constant(0)).wait()
laila.command.submit(int, taskforce_id=force).wait()
ended = refused = inside = 0

def save(*_):
    global ended, refused, inside
    if inside:
        return
    inside = 1
    try:
        what = time.time_ns() // 1000 % 3
        if what == 0:
            memory.memorize(laila.constant(time.time_ns())).wait()
        elif what == 1:
            memory.remember(first).wait()
        else:
            laila.command.submit(int, taskforce_id=force).wait()
        ended += 1
    except laila.errors.ReentryError:
        refused += 1
    finally:
        inside = 0

class Session:
    def __init__(self):
        self.me = self
    __del__ = save

if mode == "signals":
    signal.signal(signal.SIGALRM, save)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
else:
    gc.set_threshold(20)
end = time.monotonic() + 1
n = 0
while time.monotonic() < end or ended <= 5:
    n += 1
    if mode != "signals":
        Session()
    if n % 3 == 0:
        memory.memorize([laila.constant((n, i)) for i in range(9)]).wait()
    elif n % 3 == 1:
        memory.remember(first).wait()
    else:
        laila.command.submit([int] * 3, taskforce_id=force).wait()
signal.setitimer(signal.ITIMER_REAL, 0)
gc.set_threshold(700)
laila.terminate()
print("ended")
"""


@pytest.mark.parametrize("mode", ["signals", "destructors"])
@pytest.mark.parametrize("kind", ["redis", "s3", "peer", "processes"])
def test_what_servers_peers_and_processes_hold(
    kind: str, mode: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verbs in a signal handler or a destructor end or raise, also while connections are made and used."""
    pool, secret = f"file:{tmp_path}/store?durable=process", "a secret of 22 characters or more"
    if kind == "redis":
        pool = f"{request.getfixturevalue('redis_server').url}?prefix=locks-{mode}"
    elif kind == "s3":
        pool = f"s3://{request.getfixturevalue('s3_bucket')}/locks-{mode}"
        for name, value in request.getfixturevalue("s3_server").variables().items():
            monkeypatch.setenv(name, value)
    elif kind == "peer":
        protocol = laila.DefaultTCPIPProtocol(peer_secret_key=secret, port=0)
        laila.communication.add_connection(protocol)
        pool = str(protocol.uri)
    try:
        done = run(REMOTE, pool, kind, secret, mode)
    finally:
        laila.terminate()
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr[-3000:]


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "file:{tmp}/f?durable=process",
        "hdf5:{tmp}/h.h5?durable=process",
        "sqlite:{tmp}/s.db?durable=process",
    ],
)
def test_a_handler_that_interrupts_a_first_use(url: str, tmp_path: Path) -> None:
    """What laila imports at first use is half there then; another thread that needs it would wait for it."""
    program = f"""
    import signal
    import laila
    laila.alpha_pool = {url.format(tmp=tmp_path)!r}
    entries = [laila.constant(n, nickname=f"n{{n}}") for n in range(3)]
    saved = refused = inside = 0

    def save(signum, frame):
        global saved, refused, inside
        if inside:
            return
        inside = 1
        try:
            laila.memorize(entries[:2]).wait()
            laila.command.submit(int).wait()
            assert laila.remember(nickname="n0").data == 0
            saved += 1
        except laila.errors.LailaError:
            refused += 1
        finally:
            inside = 0

    signal.signal(signal.SIGALRM, save)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    import numpy
    laila.memorize([entries[2], laila.constant({{"a": [numpy.arange(9)], "b": (1, 2.5)}})]).wait()
    n = 0
    while n < 20 or not saved:
        n += 1
        laila.command.submit([int] * 3).wait()
        assert laila.remember(nickname="n2").data == 2
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("ended")
    """
    done = run(program)
    # Before 3.11.8 and 3.12.2, an import in a handler that interrupts an import broke importlib (gh-106176).
    for _ in range(4):
        if not re.search(r"_bootstrap>\", line \d+, in acquire\nKeyError", done.stderr):
            break
        done = run(program)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr[-3000:]


def test_a_module_that_uses_laila_where_it_begins(tmp_path: Path) -> None:
    """It is imported by laila itself, to build an object of its class."""
    (tmp_path / "its_own.py").write_text(
        "import laila\nclass Thing: pass\nlaila.memorize(laila.constant(1, nickname='begun')).wait()\n"
        "laila.command.submit(int).wait()\n"
    )
    make = "import its_own\nlaila.memorize(laila.constant(its_own.Thing(), nickname='thing')).wait()\n"
    take = (
        "print(type(laila.remember(nickname='thing').data).__name__, laila.remember(nickname='begun').data)"
    )
    begin = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport laila\n"
    begin += f"laila.alpha_pool = 'file:{tmp_path}/store'\n"
    assert run(begin + make).returncode == 0
    done = run(begin + take)
    assert done.stdout == "Thing 1\n", done.stderr[-3000:]


def test_nothing_is_waited_for_in_a_thread_that_serves_others() -> None:
    def serve() -> str:
        serve_others()
        assert laila.memorize(laila.constant(1)).wait()  # in memory: it is there
        with pytest.raises(laila.errors.ReentryError, match="a thread of laila's own"):
            laila.Future().wait(5)
        return "ended"

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(serve).result() == "ended"
    laila.terminate()


def test_destructors_that_save_something(tmp_path: object) -> None:
    """Wherever the collector runs them, in whichever thread."""
    program = f"""
    import gc, time
    import laila
    laila.alpha_pool = "hdf5:{tmp_path}/h.h5?durable=process"
    laila.memorize(laila.constant(0)).wait()
    ended = 0

    class Session:
        def __init__(self):
            self.me = self

        def __del__(self):
            global ended
            try:
                laila.memorize(laila.constant(time.time_ns())).wait()
            except laila.errors.LailaError:
                pass
            ended += 1

    gc.set_threshold(20)
    # A destructor waits behind what the loop has queued, and the collector runs no other one meanwhile.
    while ended <= 20:
        for _ in range(50):
            Session()
            last = laila.memorize(laila.constant(time.time_ns()))
        last.wait()
    gc.set_threshold(700)
    print("ended")
    """
    done = run(program)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr[-3000:]


def test_a_handler_that_closes_everything() -> None:
    """terminate() in a handler returns or raises; what it interrupted is told by an error."""
    program = """
    import random, signal, time
    import laila
    laila.command.submit(int).wait()  # all is imported
    laila.terminate()
    rng = random.Random(1)
    closed = told = 0

    def stop(signum, frame):
        global closed
        laila.terminate()
        closed += 1

    signal.signal(signal.SIGALRM, stop)
    end = time.monotonic() + 1.5
    while time.monotonic() < end or closed <= 20:
        # Again and again: an error of a handler that interrupts a destructor is lost.
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.001, 0.01), 0.05)
        try:
            while True:
                laila.command.submit(int)
        except laila.errors.LailaError:
            told += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("ended")
    """
    done = run(program)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr[-3000:]


def test_a_worker_whose_start_was_broken_off_is_not_waited_for() -> None:
    """A handler may raise after the worker is listed and before its thread starts."""
    program = """
    import laila
    from laila.taskforce.threads.workers import _Worker
    laila.command.submit(int).wait()
    pool = laila.command.alpha_taskforce._worker_pool
    pool.workers.add(_Worker(pool, "never started"))
    print("ended")
    """
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def test_a_task_that_closes_everything_does_not_wait_for_itself() -> None:
    program = """
    import laila, threading
    task = laila.command.submit(laila.terminate)
    laila.terminate()
    threads = [threading.Thread(target=laila.terminate) for _ in range(3)]
    for thread in threads: thread.start()
    laila.command.submit(laila.terminate)
    for thread in threads: thread.join()
    print("ended")
    """
    done = run(program)
    assert done.stdout == "ended\n", done.stderr[-3000:]
