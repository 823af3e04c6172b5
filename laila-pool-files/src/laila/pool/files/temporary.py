"""Names of files that are being written, and which of them nobody writes any more.

A name says who writes: the host, for people to read; a digest that stands for the running system and its
process ids (two machines, or two containers, may bear one host name); the process id; and when that process
started, as process ids come again. What a dead process of this system has left can go at once, and what a
running one has stays, whatever the clocks say. Of a process elsewhere nothing can be known, so its files go
when they have not been written to for a day: by the clock of the file system, which a file made there tells.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import cache
from hashlib import sha256
from secrets import token_hex
from typing import TYPE_CHECKING

from laila.pool.files import disk

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["clean", "temporary_name"]

DAY = 24 * 60 * 60

_match = re.compile(
    r"[A-Za-z0-9-]+\.([0-9a-f]{12})\.([0-9]+)\.([0-9]+)\.[0-9a-f]{16}\.tmp", re.ASCII
).fullmatch


def temporary_name() -> str:
    """Return a name that no other call returns, in any process on any host."""
    return f"{_writer(os.getpid())}.{token_hex(8)}.tmp"


def clean(folder: str) -> None:
    """Delete the temporary files in ``folder`` that nobody writes any more, as far as that is allowed."""
    with suppress(OSError), disk.opened(folder) as fd:  # it is not there yet, or not for this user to read
        now = _clock(fd)
        for name in os.listdir(fd):
            # Somebody else was quicker, or this user may not: the next one to open the pool does it.
            with suppress(OSError):
                if _is_stray(name, fd, now):
                    os.unlink(name, dir_fd=fd)


def _is_stray(name: str, folder: int, now: Callable[[], float]) -> bool:
    found = _match(name)
    if found is None:
        return False  # not ours
    system, pid, start = found.groups()
    if system == _system():
        return not _is_running(int(pid), start)
    return now() - os.lstat(name, dir_fd=folder).st_mtime > DAY


def _clock(folder: int) -> Callable[[], float]:
    """What the file system takes for now: this machine's own clock may be another than its."""

    @cache
    def now() -> float:
        name = temporary_name()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o600, dir_fd=folder))
        try:
            return os.lstat(name, dir_fd=folder).st_mtime
        finally:
            os.unlink(name, dir_fd=folder)

    return now


@cache  # by process: a forked child is another writer
def _writer(pid: int) -> str:
    host = re.sub(r"[^A-Za-z0-9-]", "-", os.uname().nodename)[:64] or "-"
    _, start = _state_and_start(pid)
    return f"{host}.{_system()}.{pid}.{start}"


@cache
def _system() -> str:
    """What process ids mean something in: this boot of this machine, and the namespace of this process."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            place = b"%b %d" % (file.read(), os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        place = os.fsencode(os.uname().nodename)
    return sha256(place).hexdigest()[:12]


def _is_running(pid: int, start: str) -> bool:
    """Whether the process runs; where that cannot be told it does."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is another user's
    state, now = _state_and_start(pid)
    return state not in {"Z", "X"} and (now == start or "0" in {now, start})


def _state_and_start(pid: int) -> tuple[str, str]:
    """The process's state and start, in ticks since the boot; ``"0"`` where the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The program's name, in parentheses, may hold anything.
            fields = file.read().rpartition(b")")[2].decode().split()
        return fields[0], fields[19]
    except OSError:
        return "", "0"
