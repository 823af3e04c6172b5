"""Pools in child processes: every pool, every way to start a child, opened before or in the child."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import laila
from laila.contract import Renewed, after_fork
from servers.redis import RedisServer
from servers.s3 import S3Server

ROOT = Path(__file__).parents[1]

SCRIPT = """
import multiprocessing, os, sys, threading, warnings
import laila
warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: that is what this is about

URL, METHOD, WHEN = sys.argv[1:4]

ready = False

def setup():
    if "|" in URL:
        laila.tiers(*URL.split("|"), pool_nickname="data")
    else:
        laila.memory.extend(URL, pool_nickname="data")

def keep(name, value):
    laila.memorize(laila.constant(value, nickname=name), pool_nickname="data").wait(60)

def get(name):
    return laila.remember(nickname=name, pool_nickname="data").data

def child(n):
    global ready
    if WHEN == "after" and not ready:
        setup()
        ready = True
    shared = not (URL == "memory://" and METHOD in ("forkserver", "spawn"))
    if shared and not (URL == "memory://" and WHEN == "after"):
        assert get("parent") == [1, 2, 3]
    keep(f"child {n}", {"n": n, "big": bytes(300_000)})
    assert get(f"child {n}")["n"] == n
    names = [f"many {n} {i}" for i in range(20)]
    entries = [laila.constant(i, nickname=name) for i, name in enumerate(names)]
    laila.memorize(entries, pool_nickname="data").wait(60)
    found = laila.remember(nickname=names, pool_nickname="data").wait(60)
    assert [entry.data for entry in found] == list(range(20))
    return n

if WHEN == "before":
    setup()  # in each child of forkserver and spawn, too, as a script's own lines are

def by_fork():
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            child(0)
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            if METHOD == "fork and sys.exit":
                sys.exit(code)
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def main():
    if WHEN == "before":
        keep("parent", [1, 2, 3])
        for i in range(40):
            keep(f"early {i}", i)
    stop = threading.Event()
    def busy():
        n = 0
        while not stop.is_set():
            keep(f"busy {n}", n)
            get(f"busy {n}")
            n += 1
    beside = [threading.Thread(target=busy) for _ in range(2)] if METHOD == "fork beside requests" else []
    for thread in beside:
        thread.start()
    try:
        if METHOD == "fork in a thread":
            failures = []
            def run():
                try:
                    by_fork()
                except BaseException as error:
                    failures.append(error)
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
            assert not failures
        elif METHOD.startswith("fork "):
            for _ in range(4 if beside else 1):
                by_fork()
        else:
            with multiprocessing.get_context(METHOD).Pool(2) as pool:
                assert pool.map(child, range(4)) == [0, 1, 2, 3]
                pool.close()
                pool.join()
    finally:
        stop.set()
        for thread in beside:
            thread.join()
    if WHEN == "before":
        assert get("parent") == [1, 2, 3]
        if URL != "memory://":
            assert get("child 0")["n"] == 0
    print("end")

if __name__ == "__main__":
    main()
"""

METHODS = ("fork", "forkserver", "spawn", "fork in a thread", "fork and sys.exit", "fork beside requests")
KINDS = (
    "memory",
    "files",
    "hdf5",
    "redis",
    "private redis",
    "s3",
    "sqlite",
    "memory, files",
    "memory, s3",
    "redis, s3",
)
CASES = [
    *(("s3", method) for method in METHODS),
    *((kind, "fork beside requests") for kind in KINDS if kind != "s3"),
    *((kind, "spawn") for kind in ("hdf5", "redis, s3")),
    *((kind, "fork") for kind in ("hdf5", "private redis")),
]


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """The URL of a pool of a kind; its server runs."""

    def make(kind: str) -> str:
        if ", " in kind:
            return "|".join(map(make, kind.split(", ")))
        if kind == "redis":
            redis: RedisServer = request.getfixturevalue("redis_server")
            return f"{redis.url}?prefix=forks{abs(hash(request.node.nodeid))}"
        if kind == "s3":
            return f"s3://{request.getfixturevalue('s3_bucket')}/forks{abs(hash(request.node.nodeid)):x}"
        return {
            "memory": "memory://",
            "files": f"file:{tmp_path}/files",
            "hdf5": f"hdf5:{tmp_path}/pool.h5",
            "private redis": f"redis://?path={tmp_path}/redis",
            "sqlite": f"sqlite:{tmp_path}/pool.db",
        }[kind]

    return make


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "method"), CASES)
def test_a_pool_in_children(
    kind: str, method: str, url: Callable[[str], str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """They read what the parent wrote, and write; the parent goes on."""
    server: S3Server | None = request.getfixturevalue("s3_server") if "s3" in kind else None
    (tmp_path / "script.py").write_text(SCRIPT)
    for when in ("before", "after"):
        if when == "after" and method.startswith("fork "):
            continue  # nothing of a pool is there to be forked
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "script.py", url(kind), method, when],
            cwd=tmp_path,
            env={**os.environ, **(server.variables() if server is not None else {})},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "end\n"), (when, done.stderr)
        assert done.stderr == "", when


def in_a_child(check: Callable[[], object]) -> int:
    """The exit code of a forked child in which something is true, or not."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads, which other tests began
def test_equal_objects_are_renewed_each() -> None:
    """Two pools of one nickname are equal; each that lives is renewed once, and none in the parent."""
    seen: list[int] = []
    renewed: Renewed[laila.MemoryPool] = Renewed(lambda pool: seen.append(id(pool)))
    first, second, gone = (laila.MemoryPool(nickname="equal") for _ in range(3))
    for pool in (first, first, second, gone):
        renewed.add(pool)
    assert len(list(renewed)) == 3
    del pool, gone
    alive = sorted(map(id, (first, second)))
    assert in_a_child(lambda: sorted(seen) == alive) == 0
    assert seen == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_functions_are_called_in_order() -> None:
    calls: list[str] = []
    after_fork(lambda: calls.append("first"))
    after_fork(lambda: calls.append("second"))
    assert in_a_child(lambda: calls == ["first", "second"]) == 0
    assert calls == []


def test_one_module_registers_what_a_child_renews() -> None:
    """Others use it. A pool of workers and SQLite's connections must do something before the fork, too."""
    sources = ROOT.glob("laila-*/src/**/*.py")
    callers = {path.name for path in sources if "register_at_fork" in path.read_text()}
    assert callers == {"database.py", "forks.py", "worker_pool.py"}
