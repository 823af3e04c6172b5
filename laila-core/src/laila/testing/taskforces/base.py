"""What the tests of a task force are made of: what its author gives, and what a test takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from laila.active import activate_policy, clear_policy, peek_policy
from laila.futures import GroupFuture, runtime
from laila.policy import DefaultPolicy
from laila.testing import promises
from laila.testing.bounded import limit, waited_in_vain, within
from laila.testing.promises import broken, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Any, ClassVar

    from laila.contract import TaskForce
    from laila.futures import Future

    MakeTaskForce = Callable[..., TaskForce]

__all__ = ["FUTURES", "Gate", "Notes", "TaskForceSuite", "promise"]


FUTURES = "docs/explanation/futures.md"


def promise(kept: object, what: str, see: str = "docs/how-to/run-work.md") -> None:
    """Fail the test unless ``kept``; ``what`` was promised, on the page ``see``."""
    __tracebackhide__ = True
    promises.promise(kept, f"{what}; see {see}")


class Notes:
    """A file for lines that tasks of any process add: their actions, in order."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._path = path

    def read(self) -> list[str]:
        """The lines so far."""
        return self._path.read_text().splitlines() if self._path.exists() else []


class Gate:
    """Two files for tasks that say that they run, and run until they are told to stop."""

    def __init__(self, folder: Path, patience: float) -> None:
        self._started = folder / "gate-started"
        self._release = folder / "gate-release"
        self._patience = patience

    @property
    def files(self) -> tuple[str, str]:
        """The arguments of :func:`laila.testing.tasks.hold`."""
        return str(self._started), str(self._release)

    def await_started(self, count: int = 1) -> list[int]:
        """Wait until ``count`` tasks run, and return the ids of the processes they run in."""
        __tracebackhide__ = True
        notes = Notes(self._started)
        until(
            lambda: len(notes.read()) >= count,
            lambda: (
                f"a task that was submitted starts while there is a free worker; {len(notes.read())} of "
                f"{count} did"
            ),
            self._patience,
        )
        return list(map(int, notes.read()))

    def open(self) -> None:
        """Let them end."""
        self._release.touch()


class TaskForceSuite:
    """The fixtures of an author, and the helpers of the tests.

    The attributes say what kind of task force it is; tests that do not concern the kind are skipped with the
    reason. The fixture ``make_taskforce`` is the one thing every author defines.
    """

    in_process: ClassVar[bool] = True
    """Tasks run in the process that submits them: they share its objects and the submitter's context. If not,
    arguments, results and errors are copies, and a task may end its process without harm to others."""

    background: ClassVar[bool] = True
    """Tasks run while their submitter goes on. If not, ``submit`` returns when they are done."""

    alpha: ClassVar[bool] = True
    """A policy can do its verbs with it: tasks that are closures over pools of this process."""

    importable: ClassVar[str | None] = None
    """``"module:callable"`` that makes one in another process, without arguments. By default that is done
    from the class and ``options()`` of what ``make_taskforce`` makes."""

    examples: ClassVar[int] = 50
    """How many random histories the state machine tries."""

    patience: ClassVar[float] = 20.0
    """Seconds after which what should end counts as hanging. When about as many were waited in vain, the
    tests that are left are skipped."""

    @property
    def limit(self) -> float:
        """Seconds that a test may wait now: ``patience``, or less after something hung."""
        return limit(self)

    @pytest.fixture
    def make_taskforce(self) -> MakeTaskForce:
        """Give a callable that makes a task force, best with two workers; it takes ``nickname=``.

        The suite closes what it makes.
        """
        broken("a suite for task forces defines the fixture `make_taskforce`; see docs/reference/testing.md")

    # -- what the tests take -----------------------------------------------------------------------------

    @pytest.fixture
    def made(self, make_taskforce: MakeTaskForce) -> Iterator[MakeTaskForce]:
        """``make_taskforce``, with every task force that it makes closed after the test."""
        __tracebackhide__ = True
        made: list[TaskForce] = []

        def make(**options: Any) -> TaskForce:
            made.append(make_taskforce(**options))
            return made[-1]

        yield make
        for taskforce in reversed(made):
            began = time.monotonic()
            try:
                within(self.limit, "close() ends once the tasks have ended", taskforce.close)
            except BaseException:
                waited_in_vain(self, began)
                raise

    @pytest.fixture
    def taskforce(self, made: MakeTaskForce) -> TaskForce:
        """One task force, not yet started."""
        return made()

    @pytest.fixture
    def active(self, taskforce: TaskForce) -> Iterator[DefaultPolicy]:
        """The active policy, whose alpha task force is ``taskforce``."""
        before = peek_policy()
        policy = DefaultPolicy(taskforce=taskforce)
        activate_policy(policy)
        yield policy
        if before is not None and not before.closed:
            activate_policy(before)
        else:
            clear_policy()
        within(self.limit, "a policy with this task force can be closed", policy.close)

    @pytest.fixture
    def notes(self, tmp_path: Path) -> Notes:
        """A file for what tasks did."""
        return Notes(tmp_path / "notes")

    @pytest.fixture
    def gate(self, tmp_path: Path) -> Iterator[Gate]:
        """Tasks that run until they are told to stop; at the end of the test they are."""
        gate = Gate(tmp_path, self.limit)
        yield gate
        gate.open()

    # -- what the tests say ------------------------------------------------------------------------------

    def settle(
        self, future: Future[Any] | GroupFuture[Any], what: str = "every task settles its future"
    ) -> None:
        """Wait until a future has settled; the promise ``what`` is broken where it does not."""
        __tracebackhide__ = True
        promise(future._block(limit := self.limit, note=False), f"{what}; after {limit:g} s: {future!r}")

    def value(
        self, future: Future[Any] | GroupFuture[Any], what: str = "every task settles its future"
    ) -> Any:
        """The result of a future that settles within the suite's patience."""
        __tracebackhide__ = True
        self.settle(future, what)
        return future.result

    def error(
        self, future: Future[Any] | GroupFuture[Any], what: str = "every task settles its future"
    ) -> BaseException | None:
        """The error of a future that settles within the suite's patience."""
        __tracebackhide__ = True
        self.settle(future, what)
        return runtime.exception(future)

    def submit_all(self, taskforce: TaskForce, tasks: Sequence[Callable[[], Any]]) -> GroupFuture[Any]:
        """Submit several tasks."""
        __tracebackhide__ = True
        group: GroupFuture[Any] = taskforce.submit(tasks)
        promise(
            isinstance(group, GroupFuture) and len(group) == len(tasks),
            f"several tasks give a GroupFuture of as many futures; {len(tasks)} tasks gave {group!r}",
        )
        return group

    def needs_background(self) -> None:
        """Skip a test that needs tasks under way while the test goes on."""
        if not self.background:
            pytest.skip("background is False: nothing is under way once submit has returned")

    def needs_one_process(self) -> None:
        """Skip a test whose tasks share objects with the test."""
        if not self.in_process:
            pytest.skip("in_process is False: tasks share no objects with their submitter")

    def needs_other_processes(self) -> None:
        """Skip a test about what passes between processes."""
        if self.in_process:
            pytest.skip("in_process is True: nothing passes between processes")
