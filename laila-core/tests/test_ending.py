"""The end of a policy and of the program: failures are told, and nothing is taken that is forgotten."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import laila
from laila.contract import Pool
from laila.ending import check_new_use
from laila.errors import PolicyClosedError, PoolError
from laila.futures.failure import tell_failures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from laila.contract import Blob

FAILING = """
import laila
from laila.contract import Pool

class Full(Pool):
    def _read(self, key): return None
    def _write(self, key, blob): raise laila.errors.PoolError("the disk is full", pool="full")
    def _delete(self, key): return False
    def _exists(self, key): return False
    def _keys(self): return iter(())
    def _empty(self): pass

laila.alpha_pool = Full()
"""
WRITES = {
    "one": "laila.memorize(laila.constant(1))",
    "kept": "kept = laila.memorize(laila.constant(1))",
    "list": "laila.memorize([laila.constant(1), laila.constant(2)])",
    "manifest": "laila.Manifest({'a': laila.constant(1)}).memorize()",
    "task": "laila.command.submit(lambda: laila.memorize(laila.constant(1)).result)",
    "inline": "from laila.taskforce import InlineTaskForce\n"
    "laila.command.alpha_taskforce = InlineTaskForce()\nlaila.memorize(laila.constant(1))",
    "a cycle": "class Owner: pass\nowner = Owner(); owner.me = owner\n"
    "owner.future = laila.memorize(laila.constant(1))\ndel owner",
    "async": "import asyncio\nasync def main(): laila.memorize(laila.constant(1))\nasyncio.run(main())",
    "a child": "import multiprocessing\n"
    "def work(): laila.memorize(laila.constant(1))\n"
    "child = multiprocessing.get_context('fork').Process(target=work)\nchild.start(); child.join()",
}


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own."""
    from os import environ

    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**environ, **environment},
    )


class Full(Pool):
    """Fails to write."""

    def _read(self, key: str) -> None:
        return None

    def _write(self, key: str, blob: Blob) -> None:
        raise PoolError("the disk is full", pool="full")

    def _delete(self, key: str) -> bool:
        return False

    def _exists(self, key: str) -> bool:
        return False

    def _keys(self) -> Iterator[str]:
        return iter(())

    def _empty(self) -> None:
        pass


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """Each test leaves no policy, and no failure that was not told of."""
    yield
    with suppress(Exception):  # what a test failed on purpose
        laila.terminate()


# --------------------------------------------------------------------------------------- failures nobody saw


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_the_last_failing_write_of_a_program_is_told_once(write: str) -> None:
    done = run(FAILING + write)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("nobody looked") == 1
    assert "the disk is full" in done.stderr


@pytest.mark.parametrize("write", [WRITES[name] for name in WRITES if name != "a child"])
def test_terminate_raises_the_first(write: str) -> None:
    """Whether it was logged already, because its future went, or not."""
    done = run(FAILING + write + "\nlaila.terminate()\nprint('not reached')")
    assert done.returncode == 1
    assert "PoolError: the disk is full" in done.stderr.splitlines()[-1] or "ManifestError" in done.stderr
    assert done.stdout == ""


def test_a_strict_program_ends_with_status_1() -> None:
    code = FAILING + WRITES["one"] + "\nimport atexit\natexit.register(print, 'handlers run')"
    done = run(code, LAILA_STRICT="1")
    assert (done.returncode, done.stdout) == (1, "handlers run\n")
    assert run(code, LAILA_STRICT="0").returncode == 0
    looked = "\nprint(type(laila.runtime.exception(laila.memorize(laila.constant(1)))).__name__)"
    done = run(FAILING + looked, LAILA_STRICT="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "PoolError\n", "")


@pytest.mark.parametrize(
    ("leaving", "status"), [("3", 3), ("0", 1), ("None", 1), ("'why'", 1)], ids=["3", "0", "none", "text"]
)
def test_a_strict_program_keeps_the_status_that_it_gives(leaving: str, status: int) -> None:
    code = FAILING + WRITES["one"] + f"\nimport sys\nsys.exit({leaving})"
    assert run(code, LAILA_STRICT="1").returncode == status
    caught = "\nimport sys\ntry:\n    sys.exit(3)\nexcept SystemExit as error:\n    print(error.code)"
    done = run(FAILING + WRITES["one"] + caught, LAILA_STRICT="1")
    assert (done.returncode, done.stdout) == (1, "3\n")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_strict_process_of_multiprocessing_ends_with_status_1(method: str, tmp_path: Path) -> None:
    """Unless it ends with another already."""
    program = f"""
import multiprocessing
import sys


def child(status):
    {FAILING.strip().replace(chr(10), chr(10) + "    ")}
    {WRITES["one"].strip()}
    if status is not None:
        sys.exit(status)


if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    processes = [context.Process(target=child, args=(status,)) for status in (None, 0, 3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print([process.exitcode for process in processes])
"""
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py")],
        env={**os.environ, "LAILA_STRICT": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[1, 1, 3]\n"), done.stderr


def test_terminate_logs_the_others_and_closes_everything(caplog: pytest.LogCaptureFixture) -> None:
    laila.alpha_pool = Full()
    kept = [laila.memorize(laila.constant(n)) for n in range(3)]
    policy = laila.active_policy
    with caplog.at_level(logging.ERROR), pytest.raises(PoolError, match="full") as caught:
        laila.terminate()
    assert policy.closed
    assert len(caplog.records) == 2
    assert caught.value is laila.runtime.exception(kept[0])
    caplog.clear()
    laila.terminate()  # never twice
    del kept
    assert caplog.records == []


def test_what_ended_a_task_does_not_end_the_program() -> None:
    laila.command.submit(lambda: sys.exit(3))
    with pytest.raises(laila.errors.TaskForceError, match="SystemExit"):
        laila.terminate()


def test_a_forked_child_does_not_tell_what_failed_in_its_parent() -> None:
    done = run(
        FAILING
        + """
import os, sys
kept = laila.memorize(laila.constant(1))
while not kept.error():
    pass
if not (child := os.fork()):
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
"""
    )
    assert done.stderr.count("nobody looked") == 1


# ------------------------------------------------------------------------------------------ after terminate()


def test_the_flow_that_ended_the_policy_begins_anew() -> None:
    laila.memorize(laila.constant(1, nickname="old")).wait()
    laila.terminate()
    laila.memorize(laila.constant(2, nickname="new")).wait()
    assert laila.remember(nickname="new").data == 2
    assert laila.remember(nickname="old", missing_ok=True).result is None


def test_a_thread_that_goes_on_is_told(tmp_path: Path) -> None:
    """It never stores in what is forgotten, before and after others begin anew; until a pool is named."""
    laila.alpha_pool = laila.memory.extend(f"file:{tmp_path}/store")
    go, step = threading.Semaphore(0), threading.Semaphore(0)
    told: list[object] = []

    def work() -> None:
        for n in range(4):
            go.acquire()
            try:
                laila.memorize(laila.constant(n, nickname=f"n{n}")).wait()
                told.append("stored")
            except PolicyClosedError as error:
                told.append(error)
            step.release()

    def once() -> None:
        go.release()
        step.acquire()

    thread = threading.Thread(target=work)
    thread.start()
    once()
    laila.terminate()
    once()
    laila.memorize(laila.constant("elsewhere")).wait()
    once()
    laila.alpha_pool = laila.memory.extend(f"file:{tmp_path}/store")
    once()
    thread.join()
    assert told[0] == told[3] == "stored"
    assert isinstance(told[1], PolicyClosedError)
    assert isinstance(told[2], PolicyClosedError)
    assert "laila.alpha_pool = " in str(told[1])
    found = laila.remember(nickname=[f"n{n}" for n in range(4)], missing_ok=True, scope="ENTRY").result
    assert [entry and entry.data for entry in found] == [0, None, None, 3]


def test_a_new_thread_may_use_a_new_policy() -> None:
    laila.memorize(laila.constant(1)).wait()
    laila.terminate()
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(laila.memorize(laila.constant(2)).wait()))
    thread.start()
    thread.join()
    assert len(found) == 1


def test_a_new_thread_is_told_until_the_main_flow_goes_on(tmp_path: Path) -> None:
    """A server's next request must not be stored in a policy that forgets it."""

    def in_a_thread() -> object:
        found: list[object] = []

        def work() -> None:
            try:
                found.append(laila.memorize(laila.constant(1)).wait())
            except PolicyClosedError as error:
                found.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return found[0]

    laila.alpha_pool = laila.memory.extend(f"file:{tmp_path}/store")
    assert isinstance(in_a_thread(), str)
    laila.terminate()
    assert isinstance(in_a_thread(), PolicyClosedError)
    laila.memorize(laila.constant(2)).wait()
    assert isinstance(in_a_thread(), str)


def test_a_task_or_thread_that_ended_the_policy_is_told(tmp_path: Path) -> None:
    def end_and_go_on() -> None:
        laila.terminate()
        laila.memorize(laila.constant(1)).wait()

    laila.alpha_pool = laila.memory.extend(f"file:{tmp_path}/store")
    with pytest.raises(PolicyClosedError):
        laila.command.submit(end_and_go_on).wait(60)
    laila.alpha_pool = laila.memory.extend(f"file:{tmp_path}/store")
    with ThreadPoolExecutor(1) as pool, pytest.raises(PolicyClosedError):
        pool.submit(end_and_go_on).result()


def test_other_coroutines_are_told() -> None:
    """terminate() in one task of an event loop, as a handler of the loop for a signal calls it."""

    async def goes_on(ended: asyncio.Event) -> None:
        await laila.memorize(laila.constant(1))
        await ended.wait()
        check_new_use()

    async def main() -> None:
        ended = asyncio.Event()
        task = asyncio.create_task(goes_on(ended))
        await asyncio.sleep(0.01)

        async def end() -> None:
            laila.terminate()

        await asyncio.create_task(end())
        ended.set()
        await task

    with pytest.raises(PolicyClosedError):
        asyncio.run(main())


# ------------------------------------------------------------------------------------------ the program's end

SAVE = """
import atexit, sys
path = sys.argv[-1] if len(sys.argv) > 1 else {path!r}

def save():
    import laila
    try:
        laila.memorize(laila.constant("last words", nickname="last")).wait(150)
        print("saved", laila.remember(nickname="first").data)
    except BaseException as error:
        print("told:", type(error).__name__)
"""


@pytest.mark.parametrize("url", ["file:{path}", "hdf5:{path}.h5"])
def test_an_exit_handler_that_is_older_than_laila_stores(url: str, tmp_path: Path) -> None:
    url = url.format(path=tmp_path / "store")
    done = run(
        SAVE.format(path="")
        + f"""
atexit.register(save)
import laila
laila.tiers("memory://", {url!r}, pool_nickname="both")
laila.alpha_pool = laila.memory.router.nicknames["both"]
laila.memorize(laila.constant(1, nickname="first")).wait()
"""
    )
    assert (done.stdout, done.stderr) == ("saved 1\n", "")
    laila.alpha_pool = laila.memory.extend(url)
    assert laila.remember(nickname="last").data == "last words"


def test_an_exit_handler_after_terminate_is_told(tmp_path: Path) -> None:
    done = run(
        SAVE.format(path="")
        + f"""
atexit.register(save)
import laila
laila.alpha_pool = "file:{tmp_path}/store"
laila.memorize(laila.constant(1, nickname="first")).wait()
laila.terminate()
"""
    )
    assert (done.stdout, done.stderr) == ("told: PolicyClosedError\n", "")


def test_what_was_in_memory_is_there_for_an_exit_handler() -> None:
    done = run(
        SAVE.format(path="") + "atexit.register(save)\nimport laila\n"
        "laila.memorize(laila.constant(1, nickname='first')).wait()\n"
    )
    assert (done.stdout, done.stderr) == ("saved 1\n", "")


def test_a_destructor_at_the_very_end_is_told(tmp_path: Path) -> None:
    """Its write is neither lost in silence nor does it wait for ever."""
    done = run(
        f"""
import os
import laila

class Session:
    def __del__(self, write=os.write):
        try:
            laila.memorize(laila.constant("late")).wait(5)
        except BaseException as error:
            write(1, type(error).__name__.encode())
        else:
            write(1, b"stored")

laila.alpha_pool = "file:{tmp_path}/store"
laila.memorize(laila.constant(1)).wait()
session = Session()
"""
    )
    assert done.returncode == 0
    assert done.stdout in {"PolicyClosedError", "TypeError", "AttributeError"}


def test_a_daemon_thread_that_runs_into_the_end_loses_nothing(tmp_path: Path) -> None:
    """What it was told is stored, is stored."""
    done = run(
        f"""
import atexit, os, threading, time
atexit.register(time.sleep, 0.3)  # older than laila's: runs after it
import laila

laila.alpha_pool = "file:{tmp_path}/store"

def work():
    n = 0
    while True:
        n += 1
        try:
            laila.memorize(laila.constant(n, nickname=f"n{{n}}")).wait()
        except laila.errors.LailaError:
            time.sleep(0.01)
        else:
            os.write(1, b"%d " % n)

threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
"""
    )
    told = [int(number) for number in done.stdout.split()]
    assert told
    laila.alpha_pool = laila.memory.extend(f"file:{tmp_path}/store")
    found = laila.remember(nickname=[f"n{n}" for n in told], scope="ENTRY", missing_ok=True).result
    assert None not in found


DESTRUCTOR = """
class Late:
    def __del__(self):
        for use in (
            lambda: laila.memorize(laila.constant(1)),
            lambda: laila.remember(nickname="x"),
            lambda: laila.command.submit(print),
            lambda: laila.alpha_pool,
            lambda: laila.history(nickname="x"),
        ):
            try:
                print(use())
            except RuntimeError as error:
                print(type(error).__name__, "the program ends" in str(error))

late = Late()
"""


def test_a_destructor_at_the_very_end_is_told_that_the_program_ends() -> None:
    """Where modules can no longer be imported, whether laila was used before or not."""
    done = run("import laila" + DESTRUCTOR)
    assert done.stdout.splitlines() == ["RuntimeError True"] * 5, done.stderr
    done = run("import laila\nlaila.memorize(laila.constant(1)).wait()" + DESTRUCTOR)
    assert done.stdout.splitlines() == ["PolicyClosedError True"] * 5, done.stderr


def test_a_failure_that_is_collected_within_ast_parse_is_told_later(caplog: pytest.LogCaptureFixture) -> None:
    """The text of a traceback needs ast.parse, too, which Python 3.11 cannot do twice at a time."""
    future = laila.command.submit(lambda: 1 // 0)
    while not future._is_settled():
        pass
    holder = [future]
    del future
    exec("clear()", {"__name__": "ast", "clear": holder.clear})  # as if the collector ran there
    assert "nobody looked" not in caplog.text
    tell_failures()
    assert "nobody looked" in caplog.text
