"""What the suite for task forces has done: functions of a module, which every process can import.

A task says what it did in a file, which any process can write and the test reads. Tasks that submit tasks do
so through the active policy's command, as a user's would: here that is the task force under test, and in
another process whatever that process runs work on.
"""

from __future__ import annotations

import asyncio
import builtins
import os
import random
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from laila.active import get_active_policy
from laila.errors import EntryNotFoundError
from laila.futures import GroupFuture, as_completed, runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    from laila.futures import Future

__all__ = [
    "breed",
    "chain",
    "echo",
    "end_process",
    "every_way",
    "extend",
    "fail",
    "fail_oddly",
    "give_lock",
    "grove",
    "hold",
    "leave",
    "loop_inside",
    "miss",
    "note",
    "note_and_fail",
    "parent",
    "slow_note",
    "slow_square",
    "square",
    "submit",
    "tree",
    "wait_for",
]

LIMIT = 60.0
"""Seconds after which a task gives up waiting for the test, or for its own tasks where that has a limit."""


def note(path: str, text: str = "done") -> str:
    """Add a line to a file, as a whole even beside other processes; return it."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{text}\n".encode())
    finally:
        os.close(file)
    return text


def slow_note(path: str, text: str) -> str:
    """Add a line after 5 ms."""
    time.sleep(0.005)
    return note(path, text)


def note_and_fail(path: str, text: str) -> NoReturn:
    """Add a line, then raise a ValueError of the same text."""
    raise ValueError(note(path, text))


def hold(started: str, release: str) -> bool:
    """Note the process in the file ``started``, then run until there is a file ``release``."""
    note(started, str(os.getpid()))
    wait_for(release)
    return True


def wait_for(path: str, limit: float = LIMIT) -> None:
    """Wait until there is a file ``path``; raises TimeoutError after ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while not Path(path).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the test has not made {path}")
        time.sleep(0.002)


def echo(value: object) -> object:
    """Return what it was given."""
    return value


def extend(items: list[object]) -> list[object]:
    """Change what it was given, and return it."""
    items.append("changed")
    return items


def square(n: int) -> int:
    """Return n²."""
    return n * n


def slow_square(n: int) -> int:
    """Return n² after 0 to 4 ms, so that tasks end in another order than they began in."""
    time.sleep(0.001 * (n * 7919 % 5))
    return n * n


# -- failures --------------------------------------------------------------------------------------------


def fail(text: str) -> NoReturn:
    """Raise a ValueError."""
    raise ValueError(text)


def miss(key: str, pool: str) -> NoReturn:
    """Raise an error of laila's, with its parts."""
    raise EntryNotFoundError(f"no {key} in {pool}", key=key, pool=pool)


def leave(kind: str) -> NoReturn:
    """Raise what ends a program: SystemExit, KeyboardInterrupt."""
    raise getattr(builtins, kind)("over")


class _OddError(Exception):
    """An error that cannot be pickled."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot be pickled")


def fail_oddly() -> NoReturn:
    """Raise an error that cannot be sent to another process."""
    raise _OddError("odd")


def give_lock() -> object:
    """Return what cannot be sent to another process."""
    return threading.Lock()


def end_process(started: str) -> NoReturn:
    """End the process that runs it, as a crash in C code would."""
    note(started, str(os.getpid()))
    os._exit(7)


# -- tasks that submit and wait ------------------------------------------------------------------------------


def submit(tasks: Callable[[], Any] | Sequence[Callable[[], Any]]) -> Any:
    """Submit to the active policy's command; return the future or group."""
    return get_active_policy().central.command.submit(tasks)


def chain(left: int, limit: float | None = None) -> int:
    """Submit the rest of the chain, wait for it, and return its length."""
    return 0 if left == 0 else int(submit(partial(chain, left - 1, limit)).wait(limit)) + 1


def tree(depth: int, width: int) -> int:
    """Submit ``width`` trees at a time and wait for all of them; return the number of leaves."""
    return 1 if depth == 0 else sum(submit([partial(tree, depth - 1, width)] * width).result)


def grove(depth: int, seed: int) -> int:
    """Submit one to three groves and wait for them in a way that chance decides; return the leaves."""
    if depth == 0:
        return 1
    chance = random.Random(seed)
    tasks = [partial(grove, depth - 1, chance.getrandbits(32)) for _ in range(chance.randint(1, 3))]
    way = chance.randint(0, 3)
    if way == 0:
        return sum(submit(task).result for task in tasks)
    if way == 1:
        return sum(GroupFuture.of([submit(task) for task in tasks]).wait(LIMIT))
    if way == 2:
        return sum(future.result for future in as_completed([submit(task) for task in tasks], LIMIT))  # type: ignore[misc]
    return sum(get_active_policy().central.command.map(tasks))


def breed(path: str, depth: int) -> None:
    """Add a line, and submit two tasks that do the same, without waiting for them."""
    slow_note(path, str(depth))
    if depth:
        submit([partial(breed, path, depth - 1)] * 2)


def every_way() -> list[object]:
    """Wait in each way there is, and return what came of it."""
    command = get_active_policy().central.command
    five = [submit(partial(square, n)) for n in range(5)]
    batch: GroupFuture[int] = GroupFuture.batch(3, partial(_squares, 3), command.dispatch)
    item: Future[int] = GroupFuture.batch(3, partial(_squares, 3), command.dispatch)[2]
    return [
        submit(partial(square, 2)).result,
        getattr(runtime.exception(submit(partial(fail, "told"))), "args", None),
        submit([partial(square, 3), partial(square, 4)]).result,
        submit([partial(square, 5), partial(square, 6)]).wait(LIMIT),
        sorted(future.result for future in as_completed(five)),
        list(command.map([partial(square, n) for n in range(20)])),
        batch.result,
        item.result,
    ]


def _squares(count: int) -> list[int]:
    return [n * n for n in range(count)]


EVERY_WAY: list[object] = [
    4,
    ("told",),
    [9, 16],
    [25, 36],
    [0, 1, 4, 9, 16],
    [n * n for n in range(20)],
    [0, 1, 4],
    4,
]
"""What :func:`every_way` returns."""


def loop_inside(depth: int) -> int:
    """Run an event loop that awaits two tasks which do the same, and return the leaves."""

    async def both() -> int:
        futures = [submit(partial(loop_inside, depth - 1)) for _ in range(2)]
        return sum(await asyncio.gather(*map(_await, futures)))

    return asyncio.run(both()) if depth else 1


async def _await(future: Any) -> int:
    return int(await future)


def parent(started: str, release: str) -> int:
    """Run until told, then submit a task and wait for it."""
    hold(started, release)
    return int(submit(partial(square, 3)).result)
