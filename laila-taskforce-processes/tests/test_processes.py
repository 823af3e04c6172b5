"""What is particular to worker processes: how they die, what they are sent, and what they leave behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from laila.errors import InvalidTaskError, RemoteTraceback, SettingsError, TaskForceError, WorkerLostError
from laila.futures import runtime
from laila.taskforce.processes import ProcessTaskForce


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessTaskForce]:
    with ProcessTaskForce(2) as taskforce:
        yield taskforce


def note(path: Path) -> int:
    """Add a line to a file, and return how many there are."""
    with path.open("a") as file:
        file.write("x\n")
    return len(path.read_text().splitlines())


def die(path: Path, times: int) -> int:
    """End the process the first ``times`` times."""
    count = note(path)
    if count <= times:
        os._exit(3)
    return count


def test_a_task_whose_worker_died_is_named_and_not_repeated(
    processes: ProcessTaskForce, tmp_path: Path
) -> None:
    """The error says which task, and how the process ended."""

    def crash() -> None:
        die(tmp_path / "runs", 9)

    with pytest.raises(WorkerLostError, match=r"crash.* is lost: .*exit code 3") as caught:
        processes.submit(crash).wait(150)
    assert "crash" in caught.value.task
    assert note(tmp_path / "runs") == 2
    future = processes.submit(lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(WorkerLostError, match="killed by signal 9"):
        future.wait(150)


def test_retries(tmp_path: Path) -> None:
    """A task is started again as often as was asked for, and no more often."""
    with ProcessTaskForce(1, retries=1) as taskforce:
        assert taskforce.submit(partial(die, tmp_path / "once", 1)).wait(150) == 2
        with pytest.raises(WorkerLostError, match="started 2 times"):
            taskforce.submit(partial(die, tmp_path / "ever", 9)).wait(150)
        assert note(tmp_path / "ever") == 3


def test_others_go_on_while_a_worker_dies(processes: ProcessTaskForce, tmp_path: Path) -> None:
    """Not only what comes later: what runs in another worker at that moment, too."""
    started, go = tmp_path / "started", tmp_path / "go"

    def hold() -> int:
        started.touch()
        while not go.exists():
            time.sleep(0.005)
        return os.getpid()

    running = processes.submit(hold)
    while not started.exists():
        time.sleep(0.005)
    with pytest.raises(WorkerLostError):
        processes.submit(partial(die, tmp_path / "runs", 9)).wait(150)
    assert not running.finished()
    go.touch()
    assert running.wait(150) > 0


def test_what_cannot_be_sent_is_refused_with_its_name(processes: ProcessTaskForce) -> None:
    """At once, and nothing of its batch is queued."""
    lock = threading.Lock()

    def with_a_lock() -> object:
        return lock

    with pytest.raises(InvalidTaskError, match="with_a_lock cannot be sent"):
        processes.submit([int, with_a_lock])
    assert processes.queue_len == 0


def test_arguments_are_taken_when_submitted(processes: ProcessTaskForce) -> None:
    """What is done to them afterwards changes nothing."""
    processes.pause()
    numbers = [1, 2, 3]
    future = processes.submit(partial(sum, numbers))
    numbers.clear()
    processes.start()
    assert future.wait(150) == 6


class Odd(Exception):
    """Pickles, and does not unpickle."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")


class Unopened:
    """The same for a task: what it is given cannot be made again."""

    def __reduce__(self) -> tuple[object, ...]:
        return partial(int, "no number"), ()


def test_errors_that_do_not_unpickle(processes: ProcessTaskForce) -> None:
    """They are told in another's words, and hurt no other task."""

    def odd() -> NoReturn:
        raise Odd(1, 2)

    other = processes.submit(partial(time.sleep, 0.05))
    error = runtime.exception(processes.submit(odd))
    assert isinstance(error, TaskForceError)
    assert "raised Odd: 1 2" in str(error)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in odd" in str(error.__cause__)
    opened = runtime.exception(processes.submit(partial(repr, Unopened())))
    assert isinstance(opened, TaskForceError)
    assert "cannot be unpacked" in str(opened)
    other.wait(150)


def test_a_large_argument_does_not_stop_the_others(processes: ProcessTaskForce) -> None:
    """32 MiB in and out, several at a time."""
    data = os.urandom(32 << 20)
    group: Any = processes.submit([partial(bytes, data)] * 3)
    assert [len(one) for one in group.wait(150)] == [len(data)] * 3


def test_callbacks_may_wait_for_other_tasks(processes: ProcessTaskForce) -> None:
    """They are called by the task force's own threads, which grow while they wait."""
    told: list[int] = []
    done = threading.Event()

    def callback(_: object) -> None:
        told.append(processes.submit(partial(pow, 2, 5)).wait(150))
        done.set()

    processes.submit(int).add_callback("finished", callback)
    assert done.wait(150)
    assert told == [32]


def test_workers_end_with_a_killed_submitter(tmp_path: Path) -> None:
    """Also when nobody sends them home."""
    program = (
        "import os, time\nfrom laila.taskforce import ProcessTaskForce\n"
        "taskforce = ProcessTaskForce(2)\n"
        "print(*{pid for pid in taskforce.submit([os.getpid] * 20).wait(150)}, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = [int(pid) for pid in process.stdout.readline().split()]
        process.kill()
    assert workers
    deadline = time.monotonic() + 150
    while any(map(_alive, workers)):
        assert time.monotonic() < deadline, "workers outlive their submitter"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_begins_anew(tmp_path: Path) -> None:
    """What the parent has under way fails in the child, which gets workers of its own; the parent goes on."""
    program = (
        "import os, time\nfrom functools import partial\nfrom laila.taskforce import ProcessTaskForce\n"
        "from laila.errors import TaskForceError\n"
        "taskforce = ProcessTaskForce(1)\n"
        "running = taskforce.submit(partial(os.system, 'while [ ! -e go ]; do sleep 0.01; done'))\n"
        "queued = taskforce.submit(partial(pow, 2, 3))\n"
        "while running.not_started(): time.sleep(0.01)\n"
        "if os.fork() == 0:\n"
        "    for future in (running, queued):\n"
        "        try: future.wait(150)\n"
        "        except TaskForceError as error: print('forked' in str(error), flush=True)\n"
        "    print(taskforce.submit(partial(pow, 2, 4)).wait(150), flush=True)\n"
        "else:\n"
        "    os.wait()\n"
        "    open('go', 'w').close()\n"
        "    print(queued.wait(150), running.wait(150), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout.splitlines() == ["True", "True", "16", "8 0"], done.stderr
    assert done.stderr == ""


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options come from the call, else from the environment, and are checked."""
    monkeypatch.setenv("LAILA_PROCESSES_WORKERS", "3")
    assert ProcessTaskForce().workers == 3
    assert ProcessTaskForce(1, retries=2).options() == {"workers": 1, "retries": 2, "share_secrets": False}
    with pytest.raises(SettingsError, match="workers"):
        ProcessTaskForce(0)
    with pytest.raises(SettingsError, match="retries"):
        ProcessTaskForce(1, retries=-1)


def test_any_number_of_one_nickname_end_with_the_program() -> None:
    """Task forces of one nickname are equal, and the exit must end each of them all the same."""
    program = (
        "import laila\n"
        "from laila.taskforce import ProcessTaskForce\n"
        "forces = [ProcessTaskForce(workers=1, nickname='forces') for _ in range(3)]\n"
        "print([force.submit(int).wait(150) for force in forces])\n"
        "for _ in range(2):\n"
        "    name = laila.command.add_taskforce(ProcessTaskForce(workers=1, nickname='other'))\n"
        "    print(laila.command.submit(int, taskforce_id=name).wait(150))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 0, 0]\n0\n0\n", "")


CHILD = """
import multiprocessing, sys

def child():
    import laila
    from laila.taskforce.processes import ProcessTaskForce
    name = laila.command.add_taskforce(ProcessTaskForce(workers=1))
    assert laila.command.submit(lambda: 42, taskforce_id=name).wait(150) == 42
    laila.command.submit(lambda: print("done at the end", flush=True), taskforce_id=name)

if __name__ == "__main__":
    process = multiprocessing.get_context(sys.argv[1]).Process(target=child)
    process.start()
    process.join(150)
    print(process.exitcode)
    process.kill()
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_of_multiprocessing_that_has_workers_ends(tmp_path: Path, method: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(CHILD)
    ended = subprocess.run(
        [sys.executable, str(program), method], capture_output=True, text=True, timeout=200, check=True
    )
    assert ended.stdout.split("\n") == ["done at the end", "0", ""], ended.stderr


def fork_and_come_back(how: str) -> tuple[int, int]:
    """Fork; the child leaves the task as ``how`` says."""
    child = os.fork()
    if child == 0:
        if how == "returns":
            return 0, 0
        if how == "exits":
            sys.exit(7)
        raise ValueError(how)
    return os.getpid(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize(("how", "code"), [("returns", 0), ("exits", 7), ("raises", 1)])
def test_a_process_that_a_task_forks_is_no_second_worker(how: str, code: int) -> None:
    with ProcessTaskForce(1) as taskforce:
        parent, ended = taskforce.submit(partial(fork_and_come_back, how)).wait(150)
        assert ended == code
        assert [taskforce.submit(partial(divmod, n, 7)).wait(150) for n in range(20)] == [
            divmod(n, 7) for n in range(20)
        ]
        assert taskforce.submit(os.getpid).wait(150) == parent


def in_a_daemon() -> str:
    with ProcessTaskForce(1) as taskforce:
        return str(taskforce.submit(os.getpid).exception)


def test_a_worker_of_a_pool_is_told_that_it_may_start_no_process() -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        told = pool.apply(in_a_daemon)
    assert "laila's threads" in told


def test_an_interrupt_does_not_end_a_worker_that_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C goes to all processes of a terminal: also to one that cannot ignore it yet."""
    interrupted = tmp_path / "interrupted"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "if any('popen_loky' in word for word in sys.orig_argv):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        f"    open({str(interrupted)!r}, 'w').close()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with ProcessTaskForce(1) as taskforce:
        assert taskforce.submit(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ())).wait(150) == set()
    assert interrupted.exists()
