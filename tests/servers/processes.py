"""Server processes of the tests: started on free ports of loopback, waited for, and always ended."""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None

_chance = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on.

    They are below those that the system gives out by itself, and no other process of the tests is given them
    while this one lives: a server may take some time to begin.
    """
    folder = Path(tempfile.gettempdir()) / f"laila-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    ports: list[int] = []
    while len(ports) < count:
        port = _chance.randrange(20_000, 32_000)
        lock = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            os.close(lock)
        else:
            ports.append(port)  # the lock goes with this process
    return ports


def start(
    command: Sequence[str], log: Path, *, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start ``command`` with nothing of this process's environment but PATH; its output goes to ``log``.

    On Linux it is killed when the thread that called this ends, however it ends: call it from the main one.
    """

    def with_parent() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL)

    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env={"HOME": str(folder), "PATH": os.environ.get("PATH", os.defpath), **(environment or {})},
            preexec_fn=with_parent,
        )


def wait_until(
    ready: Callable[[], bool], what: str, log: Path, process: subprocess.Popen[bytes], seconds: float
) -> None:
    """Return when ``ready()``; raise with the end of the log when the process dies or time is up."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            state = f"not up after {seconds} s" if process.poll() is None else f"ended: {process.returncode}"
            raise RuntimeError(f"{what} is {state}\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.02)


def until_it_waits(pid: int) -> None:
    """Return when the main thread of a process has waited for half a second.

    One that only lacks the processor, on a machine that is busy, does not wait.
    """
    deadline = time.monotonic() + 150
    looks = 0
    while looks < 25:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
        looks = looks + 1 if state == "S" else 0
        assert time.monotonic() < deadline, "it does not come to wait"
        time.sleep(0.02)


def kill(process: subprocess.Popen[bytes] | None) -> None:
    """End it at once, and wait until it is gone."""
    if process is not None:
        process.kill()
        process.wait(30)
