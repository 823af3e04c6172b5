"""Local clusters as processes: who may speak to them, signals, processes that are killed, what they leave."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster
from distributed.comm.core import connect
from distributed.security import Security

from laila.errors import DirectoryError, WorkerLostError
from laila.taskforce.dask import DaskTaskForce
from laila.taskforce.dask.notes import Notes, read_note
from servers.processes import until_it_waits

# Dask looks for a free port, and leaves the socket to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(scope="module")
def local() -> Iterator[DaskTaskForce]:
    """A local cluster of one worker."""
    with DaskTaskForce(workers=1) as taskforce:
        assert taskforce.submit(int).wait(150) == 0
        yield taskforce


def test_a_stranger_with_the_address_runs_nothing(local: DaskTaskForce) -> None:
    """Who knows the ports has no certificate."""
    assert local.client is not None
    info = local.client.scheduler_info()
    (worker,) = info["workers"].values()
    ports = [address.rpartition(":")[2] for address in (info["address"], worker["nanny"], *info["workers"])]

    async def come(address: str, **options: object) -> None:
        await connect(address, timeout=1, **options)

    for port in ports:
        with pytest.raises(OSError, match=r"in|closed|Timed"):
            asyncio.run(come(f"tcp://127.0.0.1:{port}"))
        own = Security.temporary().get_connection_args("client")
        with pytest.raises(OSError, match="certificate"):
            asyncio.run(come(f"tls://127.0.0.1:{port}", **own))


def family(taskforce: DaskTaskForce) -> tuple[int, int]:
    """The nanny and the worker."""
    worker, nanny = taskforce.submit(lambda: (os.getpid(), os.getppid())).wait(150)
    return nanny, worker


def test_workers_leave_signals_to_the_submitter(local: DaskTaskForce, tmp_path: Path) -> None:
    """Those of a terminal do not reach them, and SIGTERM to all processes of a service ends no task."""
    nanny, worker = family(local)
    assert os.getsid(nanny) == os.getsid(worker) == nanny
    gate = tmp_path / "gate"

    def work() -> int:
        gate.touch()
        time.sleep(0.5)
        # A program that the task starts is ended by signals as ever.
        with subprocess.Popen(["sleep", "60"]) as sleeping:
            sleeping.terminate()
        return os.getpid()

    future = local.submit(work)
    while not gate.exists():
        time.sleep(0.01)
    for pid in (nanny, worker):
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
    assert future.wait(150) == worker
    assert family(local) == (nanny, worker)


@pytest.mark.parametrize("who", ["nanny", "worker", "both"])
def test_what_is_killed_begins_again(local: DaskTaskForce, tmp_path: Path, who: str) -> None:
    """The task that ran fails by its name; what comes after it is done."""
    nanny, worker = family(local)
    gate = tmp_path / "gate"

    def slow() -> None:
        gate.touch()
        time.sleep(280)

    running, waiting = local.submit(slow), local.submit(int)
    while not gate.exists():
        time.sleep(0.01)
    for pid in {"nanny": [nanny], "worker": [worker], "both": [nanny, worker]}[who]:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerLostError, match="slow"):
        running.wait(150)
    assert waiting.wait(150) == 0
    assert family(local)[1] != worker


def test_a_cluster_whose_processes_do_not_start_fails_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next task begins another cluster."""
    with DaskTaskForce(workers=2) as taskforce:
        with monkeypatch.context() as broken:
            broken.setattr(sys, "executable", "/bin/false")
            future = taskforce.submit(int)
            with pytest.raises(WorkerLostError, match=r"none starts any more.*exit code 1"):
                future.wait(150)
        assert taskforce.submit(int).wait(150) == 0


PROGRAM = """
import os, sys, time, signal
from laila.taskforce import DaskTaskForce, ProcessTaskForce
force = {"dask": DaskTaskForce, "processes": ProcessTaskForce}[sys.argv[1]](workers=1)
print(*force.submit(lambda: (os.getpid(), os.getppid())).wait(150), flush=True)
def slow():
    open("begun", "w").close()
    time.sleep(280)
futures = [force.submit(slow) for _ in range(3)]
while not os.path.exists("begun"):
    time.sleep(0.01)
print("ready", flush=True)
if sys.argv[2] == "at exit":
    sys.exit(3)
futures[0].wait()
"""


@pytest.mark.parametrize("kind", ["dask", "processes"])
@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM", "Ctrl-C twice", "Ctrl-C at exit"])
def test_nothing_outlives_its_submitter(kind: str, end: str, tmp_path: Path) -> None:
    """However it ends in the middle of a task, it ends soon, and its processes with it."""
    how = "at exit" if end == "Ctrl-C at exit" else "wait"
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, kind, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
        restore_signals=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert child.stdout is not None
    pids = [int(pid) for pid in child.stdout.readline().split()]
    assert child.stdout.readline() == "ready\n"
    until_it_waits(child.pid)
    if end.startswith("SIG"):
        os.kill(child.pid, getattr(signal, end))
    else:
        os.killpg(child.pid, signal.SIGINT)
    if end == "Ctrl-C twice":
        until_it_waits(child.pid)
        assert child.poll() is None, "after the first one, what was submitted is done"
        os.killpg(child.pid, signal.SIGINT)
    try:
        _, errors = child.communicate(timeout=200)
    except subprocess.TimeoutExpired:
        child.kill()
        pytest.fail(f"it does not end: {child.communicate()[1]}")
    if end.startswith("Ctrl-C"):
        assert "2 tasks that had not started were dropped, and 1 that had were broken off" in errors or (
            kind == "dask" and "0 tasks that had not started were dropped, and 3" in errors
        )
    deadline = time.monotonic() + 150
    while left := [pid for pid in pids if pid != child.pid and Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"{left} are left"
        time.sleep(0.05)


def test_notes_are_in_a_folder_of_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link in its place is refused, and only notes are deleted."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = tmp_path / f"laila-dask-{os.getuid()}"
    documents = tmp_path / "documents"
    documents.mkdir(mode=0o700)
    for name in ("thesis.txt", "0" * 32):
        (documents / name).write_text("x")
        os.utime(documents / name, (1e9, 1e9))
    place.symlink_to(documents)
    for use in (Notes, lambda: read_note("key")):
        with pytest.raises(DirectoryError, match="is a link"):
            use()
    assert sorted(file.name for file in documents.iterdir()) == ["0" * 32, "thesis.txt"]
    place.unlink()
    documents.rename(place)
    notes = Notes()
    assert [file.name for file in place.iterdir()] == ["thesis.txt"]
    notes.begin("key")
    assert read_note("key") == b""
    notes.end("key", b"outcome")
    assert read_note("key") == b"outcome"
    assert read_note("other") is None
    notes._remove_all()
    assert read_note("key") is None


def test_a_cluster_without_workers_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its tasks wait for one; that is said once."""
    monkeypatch.setattr("laila.taskforce.dask.taskforce._LOOK_SECONDS", 0.2)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        DaskTaskForce(cluster.scheduler_address) as taskforce,
    ):
        future = taskforce.submit(int)
        deadline = time.monotonic() + 150
        while "has no worker: 1 tasks wait" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.6)
        cluster.scale(1)
        assert future.wait(150) == 0
    assert caplog.text.count("has no worker") == 1
