"""The suites for task forces and protocols find what they are for, and say it in words."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "wrong"

Found = dict[str, tuple[str, str]]
"""Of each wrong class the test that is to find it, and what that is to say."""

TASKFORCES: Found = {
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


PROTOCOLS: Found = {
    "AcceptsAnySecret": (
        "a_wrong_secret_is_refused",
        "connecting with a wrong secret is a PeerError; it returned",
    ),
    "SendsTheSecret": (
        "the_secret_never_crosses",
        "nobody who listens in learns the secret; the secret itself",
    ),
    "SendsADigest": ("the_secret_never_crosses", "nobody who listens in learns the secret; its plain sha256"),
    "CanBeReplayed": ("what_was_heard_is_worth_nothing", "nothing is dispatched before a peer has shown"),
    "DispatchesBeforeAuthentication": (
        "what_was_heard_is_worth_nothing",
        "nothing is dispatched before a peer has shown that it knows the secret",
    ),
    "DiesOfNoise": ("noise_does_no_harm", "after noise from strangers, peers are let in"),
    "GreetsOneAtATime": ("silent_strangers_hold_up_nobody", "silent strangers keep no peer out"),
    "ShowsItsSecret": ("options_and_secrets", "the secret shows neither"),
    "ReturnsTheURI": ("start_and_stop", "add_peer gives the global id of the peer"),
    "IsOneSided": ("peering_is_symmetric", "either side may call, whoever has connected"),
    "TakesCallersForPeers": (
        "a_caller_that_is_no_policy",
        "a caller that is no policy is nobody's peer, and nobody is told of it",
    ),
    "TellsNobodyWhoJoined": (
        "peering_is_symmetric",
        "the node that a peer connects to is told that it joined",
    ),
    "TellsNobodyWhoLeft": ("leaving_is_told", "a node is told that a peer has left"),
    "DropsTheLiveLine": (
        "the_end_of_one_line_leaves_the_other",
        "the end of an old connection does not end the new one",
    ),
    "IsThereAfterStop": (
        "a_stopped_one_is_not_there",
        "a call to a peer that has stopped is a PeerError; it returned",
    ),
    "AnswersTheWrongCaller": (
        "answers_are_the_callers_own",
        "each caller is given the answer to its own call",
    ),
    "DoesOneCallAtATime": ("a_slow_call_holds_up_no_other", "a slow call holds up no other"),
    "LosesErrors": (
        "an_error_keeps_what_it_is[missing]",
        "an error of the node is a LailaError; it returned None",
    ),
    "FlattensErrors": ("an_error_keeps_what_it_is[missing]", "a EntryNotFoundError arrives as one"),
    "LosesParts": ("an_error_keeps_what_it_is[missing]", "an error keeps its parts"),
    "EndsWithAMethod": ("other_errors_are_told[exit-SystemExit]", "nothing hangs, and here: Any other error"),
    "FollowsPaths": ("no_path_is_followed[policy_id]", "a path that the node does not export is a PeerError"),
    "BreaksOnLargeValues": ("large_values_pass", "16777216 bytes pass as an argument"),
    "TakesBytesForText": ("values_pass_exactly[bytes]", r"arguments \(bytes\) arrive as they were sent"),
    "LeavesCallsWaiting": (
        "stop_fails_calls_under_way",
        "a call under way fails when the connection ends; it waits still",
    ),
    "TakesAnEndForSuccess": (
        "a_peer_that_is_killed",
        "a call whose peer was killed raises PeerDisconnectedError; it gave None",
    ),
    "HangsOnStop": ("stop_fails_calls_under_way", r"stop\(\) ends with calls under way"),
    "WaitsForMethods": ("stop_waits_for_no_method", r"stop\(\) ends while the node works on calls"),
    "LeaksAThread": ("close_leaves_nothing_behind", r"close\(\) leaves no thread behind; left: left behind"),
    "LeaksASocket": ("close_leaves_nothing_behind", r"close\(\) leaves no file and socket behind"),
    "KeepsTheProgramAlive": (
        "exit_with_a_call_under_way",
        "a program that waits for an answer ends by itself",
    ),
    "HarmsItsParent": ("a_forked_child", "after a fork the parent's connection is as it was"),
    "HangsInAForkedChild": ("a_forked_child", "in a forked child a call ends"),
}

BROKEN = {"wrong_taskforces.py": TASKFORCES, "wrong_protocols.py": PROTOCOLS}
EACH = [(file, name) for file, found in BROKEN.items() for name in found]


def run(folder: Path, arguments: Sequence[str]) -> str:
    """Run a pytest of its own and return what it printed.

    That process is ended without ceremony, and what it has left behind with it: a wrong task force would
    keep it alive.
    """
    end = "import os, pytest, sys; code = pytest.main(); sys.stdout.flush(); os._exit(code)"
    options = ["-p", "no:cacheprovider", "-q", "-rf", "--tb=line"]
    printed = folder / "printed"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", end, *options, *arguments],
            cwd=folder,
            env={**os.environ, "COLUMNS": "2000", "PYTHONPATH": str(FOLDER)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(280)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert code in {0, 1}, printed.read_text()
    return printed.read_text()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the suites said of all of them. Both run at a time: they wait for what hangs, mostly."""
    with ThreadPoolExecutor() as executor:
        printed = {
            file: executor.submit(
                run,
                tmp_path_factory.mktemp("wrong"),
                [
                    *("-W", "ignore::pytest.PytestUnhandledThreadExceptionWarning"),
                    *("-W", "ignore::pytest.PytestUnraisableExceptionWarning"),
                    *(f"{FOLDER / file}::Test{name}::test_{test}" for name, (test, _) in found.items()),
                ],
            )
            for file, found in BROKEN.items()
        }
    return {file: future.result() for file, future in printed.items()}


@pytest.mark.parametrize(("file", "name"), EACH)
def test_a_wrong_one_is_told_which_promise_it_breaks(file: str, name: str, told: dict[str, str]) -> None:
    said = re.findall(
        rf"^FAILED \S+::Test{name}::\S+ - Failed: promise broken: (.*)", told[file], re.MULTILINE
    )
    assert any(re.search(BROKEN[file][name][1], line) for line in said), (said, told[file][-3000:])


@pytest.mark.parametrize("file", BROKEN)
def test_every_wrong_one_is_tried(file: str) -> None:
    """TwoWorkers and AtOnce are part of others, and wrong in no way of their own."""
    defined = re.findall(
        r"^class (\w+)\((?:ThreadEach|TwoWorkers|AtOnce|Processes|Lines)\)",
        (FOLDER / file).read_text(),
        re.MULTILINE,
    )
    assert set(defined) - {"TwoWorkers", "AtOnce"} == set(BROKEN[file])


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("wrong_taskforces.py", "ThreadEach"),
        ("wrong_taskforces.py", "Processes"),
        ("wrong_protocols.py", "Lines"),
    ],
)
def test_what_they_are_made_from_keeps_every_promise(file: str, name: str, tmp_path: Path) -> None:
    printed = run(tmp_path, [f"{FOLDER / file}::Test{name}"])
    assert re.search(r"^\d+ passed", printed, re.MULTILINE), printed[-3000:]
    assert "failed" not in printed
