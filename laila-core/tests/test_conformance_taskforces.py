"""The suite for task forces finds what it is for: each of these breaks one promise, and is told which."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "wrong"

# Each task force of wrong_taskforces.py, the test that is to find it, and what that is to say.
BROKEN = {
    "RunsTwice": ("each_task_runs_exactly_once", "no task is run twice"),
    "LosesOneInTwenty": (
        "each_task_runs_exactly_once",
        "every task is run; of 200 tasks that settled 10 never ran",
    ),
    "ForgetsOne": ("each_task_runs_exactly_once", "every task settles its future"),
    "SwallowsErrors": ("an_error_is_the_tasks_own", "a failed task's error is the one it raised"),
    "WrapsErrors": ("an_error_is_the_tasks_own", "a failed task's error is the one it raised"),
    "LosesTracebacks": ("an_error_is_the_tasks_own", "an error shows the traceback of the task"),
    "DeadlocksWhenNested": (
        "a_tree",
        "tasks may submit tasks and wait for them, whatever the number of workers",
    ),
    "HelpsWithAnything": ("waiting_with_a_lock", "they are not run in its stack"),
    "SwapsResults": ("outcomes_are_those_of_their_tasks", "each future has the result of its own task"),
    "ReordersMap": ("map_and_imap_keep_order", "map gives values in the order of the tasks"),
    "EagerImap": ("imap_is_lazy", "imap takes no task before it is asked for one"),
    "QueuesHalfABatch": ("what_is_no_task_is_refused", "a batch that is refused queues nothing"),
    "DiesOfSystemExit": (
        "what_ends_a_task_does_not_end_its_worker[SystemExit]",
        "a task that raises SystemExit settles its future",
    ),
    "LosesContext": ("the_context_flows_in", "a task sees the context of its submit"),
    "IgnoresCancel": ("cancel_what_has_not_started", "a task that was cancelled is never run"),
    "IgnoresPause": ("pause_and_start", r"no task starts after pause\(\)"),
    "IgnoresPauseInSomeOrder": ("any_history", "during a pause no task starts that was submitted in it"),
    "CountsNothing": ("pause_and_start", r"count the tasks that wait to start: 10, not \(0, 0\)"),
    "CountsTheCancelled": ("cancel_what_has_not_started", "queue_len counts no cancelled task: 5, not 6"),
    "TakesTasksForEver": (
        "shutdown_waits_for_what_is_queued",
        r"submit\(\) after shutdown\(\) is a TaskForceError",
    ),
    "DoesNotWait": ("shutdown_waits_for_what_is_queued", r"shutdown\(\) returns when all is done"),
    "DropsWhatIsQueued": ("shutdown_during_a_pause", r"shutdown\(\) during a pause does what is queued"),
    "CancelsNothing": (
        "shutdown_cancels_what_is_pending",
        r"shutdown\(cancel_pending=True\) cancels what has not started",
    ),
    "HangsAtShutdown": (
        "shutdown_waits_for_what_is_queued",
        r"nothing hangs, and here: `shutdown\(\)` returns",
    ),
    "LosesWhatComesLate": ("submitting_while_it_shuts_down", "what was taken before a shutdown is done"),
    "LeaksAThread": ("close_leaves_nothing_behind", r"close\(\) leaves no thread behind; left: left behind"),
    "LeaksAFile": ("close_leaves_nothing_behind", r"close\(\) leaves no file and socket behind"),
    "LeaksAProcess": ("close_leaves_nothing_behind", r"close\(\) leaves no process behind"),
    "DiesWithTheProgram": ("exit_completes_what_is_queued[end]", "what is queued at exit is done first"),
    "KeepsTheProgramAlive": (
        "an_idle_one_keeps_no_program_alive",
        "a program with this task force ends by itself; it hung",
    ),
    "HangsAfterAFork": ("a_forked_child", "waiting for the parent's tasks is a TaskForceError, no hang"),
    "ForgetsItsNickname": ("options", "a nickname gives the same global id again"),
    "StopsAfterMemorize": ("verbs_through_it", "remember through it settles"),
    "RunsAgainAfterACrash": ("a_worker_that_dies[exits]", "a task whose process died is not run again"),
    "NeverHearsOfACrash": ("a_worker_that_dies[killed]", "a task whose process dies settles"),
    "CopiesArguments": ("objects_are_shared_or_copied", "a task gets the very objects that it was given"),
}


def run(folder: Path, tests: Sequence[str]) -> str:
    """Run tests in a pytest of its own and return what it printed.

    That process is ended without ceremony, and what it has left behind with it: a wrong task force would
    keep it alive.
    """
    end = "import os, pytest, sys; code = pytest.main(); sys.stdout.flush(); os._exit(code)"
    options = ["-p", "no:cacheprovider", "-q", "-rf", "--tb=line"]
    printed = folder / "printed"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", end, *options, *tests],
            cwd=folder,
            env={**os.environ, "COLUMNS": "2000", "PYTHONPATH": str(FOLDER)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(110)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert code in {0, 1}, printed.read_text()
    return printed.read_text()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the suite said of all of them."""
    file = FOLDER / "wrong_taskforces.py"
    tests = [f"{file}::Test{name}::test_{test}" for name, (test, _) in BROKEN.items()]
    return run(tmp_path_factory.mktemp("wrong"), tests)


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_task_force_is_told_which_promise_it_breaks(name: str, told: str) -> None:
    said = re.findall(rf"^FAILED \S+::Test{name}::\S+ - Failed: promise broken: (.*)", told, re.MULTILINE)
    assert any(re.search(BROKEN[name][1], line) for line in said), (said, told[-3000:])


def test_every_wrong_task_force_is_tried() -> None:
    source = (FOLDER / "wrong_taskforces.py").read_text()
    defined = set(re.findall(r"^class (\w+)\((?:ThreadEach|TwoWorkers|Processes)\)", source, re.MULTILINE))
    assert defined - {"TwoWorkers"} == set(BROKEN)


@pytest.mark.parametrize("name", ["ThreadEach", "Processes"])
def test_what_they_are_made_from_keeps_every_promise(name: str, tmp_path: Path) -> None:
    printed = run(tmp_path, [f"{FOLDER / 'wrong_taskforces.py'}::Test{name}"])
    assert re.search(r"^\d+ passed", printed, re.MULTILINE), printed[-3000:]
    assert "failed" not in printed
