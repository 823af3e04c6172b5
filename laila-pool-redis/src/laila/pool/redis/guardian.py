"""The process between a private server and its users: it ends the server when the last of them is gone.

This file is a script that needs only Python: ``python guardian.py FOLDER FD PROGRAM ARGUMENT…``. It starts
the server in ``FOLDER`` and then waits until it gets the lock of ``users.lock``. Every user holds a share of
that lock as long as it lives. The kernel releases a share whenever its owner dies, so no server is left
behind. While the guardian has the lock, nobody can become a user of a server that is about to end. While the
guardian or the server lives, one of them holds ``server.lock``: two servers never write to one folder.

Errors at the start are written to ``FD``, which is closed when the guardian ends.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
from contextlib import suppress

_KEEP_LOG = 1 << 20
# How soon the guardian notices a user's death. (The server's death and signals wake it up.)
_LOOK_SECONDS = 0.2


def main(folder: str, pipe: int, command: list[str]) -> None:
    """Start the server, wait for its last user to go, and end it."""
    if os.fork():  # the process that started us need not wait for us: init does
        os._exit(0)
    os.set_inheritable(pipe, False)
    os.umask(0o077)
    os.chdir(folder)
    lock = os.open("server.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if not _try_lock(lock):
        os.write(pipe, b"busy")  # another guardian has a server here, or is ending one
        return
    users = os.open("users.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    _redirect("server.log")
    status = _keep(_start(command, lock), users)
    with suppress(BrokenPipeError):  # the process that started us no longer reads
        os.write(pipe, b"ended %d" % os.waitstatus_to_exitcode(status))


def _keep(server: int, users: int) -> int:
    """Wait for the last user to go, the server to end, or a signal; return the server's status."""
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signals: list[int] = []
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: signals.append(number))
    while True:
        ended, status = os.waitpid(server, os.WNOHANG)
        if ended:
            return status
        if signals or _try_lock(users):
            os.kill(server, signal.SIGTERM)  # it writes its data and ends
            return os.waitpid(server, 0)[1]
        if select.select([woken], [], [], _LOOK_SECONDS)[0]:
            os.read(woken, 100)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _redirect(log: str) -> None:
    """Send the output of this process and of the server to the log; a long log begins anew."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(log, flags, 0o600)
    if os.fstat(fd).st_size > _KEEP_LOG:
        os.ftruncate(fd, 0)
    os.dup2(fd, 1)
    os.dup2(fd, 2)


def _start(command: list[str], lock: int) -> int:
    """Start the server, which inherits the lock; return its process id."""
    guardian = os.getpid()
    server = os.fork()
    if server:
        return server
    try:
        os.set_inheritable(lock, True)
        if sys.platform == "linux":
            # The server must not outlive its guardian, even if somebody kills the guardian.
            import ctypes

            ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG
            if os.getppid() != guardian:
                os._exit(1)
        os.execvp(command[0], command)  # noqa: S606 - a program and its arguments, from our own options
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(127)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
