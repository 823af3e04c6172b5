"""Server processes of the tests: started on free ports of loopback, waited for, and always ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


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


def kill(process: subprocess.Popen[bytes] | None) -> None:
    """End it at once, and wait until it is gone."""
    if process is not None:
        process.kill()
        process.wait(30)
