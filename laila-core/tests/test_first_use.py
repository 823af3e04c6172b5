"""What a first use gets wrong is told by an error that helps; what is set up twice is one store."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import laila
from laila.errors import GuaranteeError, ImmutableEntryError, InvalidArgumentError, SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def test_an_option_that_there_is_not_names_the_one_that_is_meant() -> None:
    with pytest.raises(TypeError, match="did you mean pool_nickname="):
        laila.memorize(laila.constant(1), pool="data")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="did you mean nickname="):
        laila.remember(name="data")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="did you mean missing_ok="):
        laila.forget("x", mising_ok=True)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="options are: pool_id"):
        laila.memorize(laila.constant(1), zzz=1)  # type: ignore[call-overload]


def test_assigning_to_data_says_how() -> None:
    with pytest.raises(ImmutableEntryError, match="make a new one"):
        laila.constant(1).data = 2
    with pytest.raises(InvalidArgumentError, match="evolve"):
        laila.variable(1).data = 2


def test_a_future_taken_for_its_result_says_how() -> None:
    future: Any = laila.memorize(laila.constant(1))
    with pytest.raises(TypeError, match=r"\.result"):
        future["key"]
    with pytest.raises(TypeError):
        list(future)


def test_the_wrong_guarantee_says_which() -> None:
    async def main() -> None:
        async with laila.guarantee:
            pass

    with pytest.raises(GuaranteeError, match="guarantee_async"):
        asyncio.run(main())


def test_a_wait_in_a_coroutine_is_warned_of() -> None:
    import time

    async def main() -> None:
        laila.command.submit(lambda: time.sleep(0.1)).wait()

    with pytest.warns(RuntimeWarning, match="await") as seen:
        asyncio.run(main())
    assert seen[0].filename == __file__


def test_a_cell_of_a_notebook_may_wait() -> None:
    """It runs inside the notebook's own loop, which waits for it."""
    import time

    space: dict[str, Any] = {"__name__": "IPython.core.interactiveshell", "laila": laila, "time": time}
    exec("async def run_cell(): laila.command.submit(lambda: time.sleep(0.1)).wait()", space)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(space["run_cell"]())


def test_what_is_set_up_twice_is_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    memory = laila.memory
    first = laila.tiers("memory://", "file:data", pool_nickname="twice")
    assert laila.tiers("memory://", "file:data", pool_nickname="twice") is first
    with pytest.raises(SettingsError, match="twice"):
        laila.tiers("memory://", "file:other", pool_nickname="twice")
    assert not (tmp_path / "other").exists()
    notes = memory.extend("file:notes", pool_nickname="notes")
    assert memory.extend("file:notes", pool_nickname="notes") is notes
    with pytest.raises(SettingsError, match="notes"):
        memory.extend("file:notes", pool_nickname="notes", transformations=["zlib"])
    laila.terminate()
    assert laila.tiers("memory://", "file:data", pool_nickname="twice") is not first


TRIO = """
import time, warnings
warnings.simplefilter("error")
import laila, trio

async def main():
    assert await laila.command.submit(lambda: 7) == 7
    group = laila.memorize([laila.constant(n) for n in range(5)])
    assert [entry.data for entry in await laila.remember(await group)] == list(range(5))
    try:
        await laila.command.submit(lambda: 1 / 0)
    except ZeroDivisionError:
        pass
    slow = laila.command.submit(lambda: time.sleep(0.3))
    with trio.move_on_after(0.05) as scope:
        await slow
    assert scope.cancelled_caught and not slow.finished()
    async with trio.open_nursery() as nursery:
        for n in range(20):
            nursery.start_soon(one, n)
    await slow

async def one(n):
    assert await laila.command.submit(lambda: n) == n

trio.run(main)
print("ended")
"""


def test_futures_are_awaited_in_trio() -> None:
    pytest.importorskip("trio")
    done = subprocess.run(
        [sys.executable, "-c", TRIO], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
