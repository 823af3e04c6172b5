"""What happens to work when the interpreter exits or the process forks: real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from servers.processes import until_it_waits

if TYPE_CHECKING:
    from pathlib import Path

PRELUDE = """
import os, sys, threading, time, atexit
from laila.taskforce.threads import PythonThreadPoolTaskForce
from laila.errors import TaskForceError
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
"""

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def run(code: str, timeout: float = 150) -> tuple[list[str], str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PRELUDE + code],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def test_exit_completes_what_tasks_submit_and_wait_for() -> None:
    out, err = run("""
taskforce = PythonThreadPoolTaskForce(1)
def tree(depth):
    time.sleep(0.002)
    if depth:
        assert taskforce.submit([lambda: tree(depth - 1)] * 2).wait(150) == [depth - 1] * 2
        taskforce.submit(lambda: say("left behind", depth))
    return depth
taskforce.submit(lambda: say(tree(4)))
def chain(n):
    return 0 if n == 0 else taskforce.submit(lambda: chain(n - 1)).result + 1
taskforce.submit(lambda: say("chain", chain(70)))
""")
    assert err == ""
    assert out.count("left behind 1") == 8
    assert out.count("left behind 4") == 1
    assert "4" in out
    assert "chain 70" in out


def test_exit_resumes_a_paused_task_force() -> None:
    out, _ = run("""
taskforce = PythonThreadPoolTaskForce(1)
taskforce.pause()
taskforce.submit(lambda: say("done"))
""")
    assert out == ["done"]


def test_threads_that_outlive_the_main_thread_may_submit() -> None:
    out, err = run("""
taskforce = PythonThreadPoolTaskForce(2)
def late():
    time.sleep(0.2)
    say(taskforce.submit(lambda: "late").wait(150))
    taskforce.submit(lambda: say("not waited for"))
threading.Thread(target=late).start()
taskforce.submit(int)
""")
    assert sorted(out) == ["late", "not waited for"]
    assert err == ""


def test_exit_functions_may_submit() -> None:
    out, err = run("""
@atexit.register
def early(): say(taskforce.submit(lambda: "after").result)
taskforce = PythonThreadPoolTaskForce(2)
taskforce.submit(int)
@atexit.register
def late(): say(taskforce.submit(lambda: "before").result)
""")
    assert out == ["before", "after"]
    assert err == ""


def test_executors_still_work_for_tasks_at_exit() -> None:
    out, err = run("""
taskforce = PythonThreadPoolTaskForce(1)
def work():
    time.sleep(0.1)
    say(executor.submit(lambda: "through an executor").result())
taskforce.submit(work)
from concurrent.futures import ThreadPoolExecutor
executor = ThreadPoolExecutor(1)
executor.submit(int).result()
""")
    assert out == ["through an executor"]
    assert err == ""


def test_a_failure_at_exit_is_logged() -> None:
    _, err = run("""
taskforce = PythonThreadPoolTaskForce(1)
def fail():
    time.sleep(0.05)
    raise ValueError("lost")
taskforce.submit(fail)
""")
    assert "ValueError: lost" in err
    assert err.count("Traceback") == 1


def test_a_failure_of_nested_tasks_at_exit_is_logged() -> None:
    _, err = run("""
taskforce = PythonThreadPoolTaskForce(1)
def nested(left):
    if left: return taskforce.submit(lambda: nested(left - 1)).result
    time.sleep(0.05)
    raise ValueError("lost")
taskforce.submit(lambda: nested(3))
""")
    assert "ValueError: lost" in err
    assert err.count("nobody looked") == 1, "only the outermost: the others were waited for"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send")
def test_an_interrupt_gives_up_waiting_at_exit() -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            PRELUDE
            + """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
taskforce = PythonThreadPoolTaskForce(1)
taskforce.submit([threading.Event().wait, lambda: say("never")])
time.sleep(0.1)
say("leaving")
""",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "leaving\n"
    until_it_waits(process.pid)
    assert process.poll() is None, "it waits for its task"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=200)
    assert output == ""
    assert errors == "interrupted at exit: 1 tasks that had not started were dropped, and what runs is left\n"


def test_after_an_interrupt_the_user_hears_at_once_what_is_waited_for() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PRELUDE
            + """
taskforce = PythonThreadPoolTaskForce(1)
taskforce.submit(lambda: (time.sleep(1.5), say("done")))
raise KeyboardInterrupt
""",
        ],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout == "done\n"
    assert "1 tasks of" in done.stderr.splitlines()[-1]
    assert "Ctrl-C to give up" in done.stderr.splitlines()[-1]


def test_first_use_in_a_thread_that_outlives_the_main_thread() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            """
import threading, time
def late():
    time.sleep(0.4)
    from laila.taskforce.threads import PythonThreadPoolTaskForce
    print(PythonThreadPoolTaskForce(1).submit(lambda: 42, wait=True))
threading.Thread(target=late).start()
""",
        ],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("42\n", "")


def test_children_of_multiprocessing_complete_their_work(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        PRELUDE
        + """
import multiprocessing
def child(name):
    taskforce = PythonThreadPoolTaskForce(1)
    taskforce.submit(lambda: (time.sleep(0.1), say(name)))
if __name__ == "__main__":
    for method in multiprocessing.get_all_start_methods():
        process = multiprocessing.get_context(method).Process(target=child, args=(method,))
        process.start()
        process.join(150)
        assert process.exitcode == 0, (method, process.exitcode)
"""
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) >= {"spawn"}
    if hasattr(os, "fork"):
        assert "fork" in done.stdout.split()


@forks
def test_a_forked_child_does_not_hang() -> None:
    out, err = run("""
taskforce = PythonThreadPoolTaskForce(2)
release = threading.Event()
entered = threading.Semaphore(0)
running = [taskforce.submit(lambda: (entered.release(), release.wait(150))[1]) for _ in range(2)]
for _ in running: entered.acquire()
queued = taskforce.submit([lambda: 1, lambda: 2])
from laila.futures import GroupFuture
batch = GroupFuture.batch(2, lambda: [1, 2], taskforce.dispatch)
item = batch[0]
whole = running[0].as_concurrent()
try: (queued + batch).wait(0.01)
except TimeoutError: pass
pid = os.fork()
if pid == 0:
    for waiting in (running[0], queued, queued[1], batch, item, queued + batch):
        try: waiting.wait(150)
        except TaskForceError as error: say("forked" in str(error))
    say("child", taskforce.submit([lambda: 3, lambda: 4]).wait(150))
    taskforce.submit(lambda: say("child at exit"))
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
release.set()
say("parent", [future.wait(150) for future in running], queued.wait(150), item.wait(150))
""")
    assert out == ["True"] * 6 + ["child [3, 4]", "child at exit", "parent [True, True] [1, 2] 1"]
    assert err == ""


@forks
def test_a_task_may_fork() -> None:
    out, err = run("""
taskforce = PythonThreadPoolTaskForce(2)
def work():
    pid = os.fork()
    if pid == 0:
        say("child", taskforce.submit(lambda: 1).result, taskforce.submit([int] * 3).wait(150))
        os._exit(0)
    return os.waitpid(pid, 0)[1]
say("parent", taskforce.submit(work).wait(150))
""")
    assert out == ["child 1 [0, 0, 0]", "parent 0"]
    assert err == ""


@forks
def test_a_child_that_a_task_forked_ends_with_the_task() -> None:
    out, err = run("""
import multiprocessing
taskforce = PythonThreadPoolTaskForce(2)
def work():
    pid = os.fork()
    if pid == 0:
        taskforce.submit([lambda: time.sleep(0.05)] * 2)
        taskforce.submit(lambda: say("child"))
        return None
    return os.waitpid(pid, 0)[1]
say("parent", taskforce.submit(work).wait(150))
def in_process():
    taskforce.submit(lambda: say("process"))
def start():
    process = multiprocessing.get_context("fork").Process(target=in_process)
    process.start()
    process.join(150)
    return process.exitcode
say("parent", taskforce.submit(start).wait(150))
""")
    assert out == ["child", "parent 0", "process", "parent 0"]
    assert err == ""
