"""Names of files that are being written, and which of these files nobody writes any more.

A name says who writes the file. It holds the host, for people to read. It holds a digest of the running
system and its process ids, because two machines or containers may share a host name. It holds the process id
and the start time of the process, because process ids are used again. Files of dead processes of this system
are deleted at once, and files of running processes stay, whatever the clocks say. Nothing is known of a
process on another system, so its files are deleted when nobody has written to them for a day. A file made in
the folder tells the clock of the file system.
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
    """Delete the temporary files in ``folder`` that nobody writes any more, as far as this user may."""
    with suppress(OSError), disk.opened(folder) as fd:  # the folder is missing, or this user may not read it
        now = _clock(fd)
        for name in os.listdir(fd):
            # Another process was quicker, or this user may not delete: the next process to open the pool does
            # it.
            with suppress(OSError):
                if _is_stray(name, fd, now):
                    os.unlink(name, dir_fd=fd)


def _is_stray(name: str, folder: int, now: Callable[[], float]) -> bool:
    match = _match(name)
    if match is None:
        return False  # another program's file
    system, pid, start = match.groups()
    if system == _system():
        return not _is_running(int(pid), start)
    return now() - os.lstat(name, dir_fd=folder).st_mtime > DAY


def _clock(folder: int) -> Callable[[], float]:
    """Return the present time of the file system: this machine's clock may differ."""

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


@cache  # one for each process: a forked child is another writer
def _writer(pid: int) -> str:
    host = re.sub(r"[^A-Za-z0-9-]", "-", os.uname().nodename)[:64] or "-"
    _, start = _state_and_start(pid)
    return f"{host}.{_system()}.{pid}.{start}"


@cache
def _system() -> str:
    """Return what gives process ids their meaning: this boot of the machine, and the process namespace."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            place = b"%b %d" % (file.read(), os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        place = os.fsencode(os.uname().nodename)
    return sha256(place).hexdigest()[:12]


def _is_running(pid: int, start: str) -> bool:
    """Whether the process runs. True if the system does not say."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # the process belongs to another user
    state, now = _state_and_start(pid)
    return state not in {"Z", "X"} and (now == start or "0" in {now, start})


def _state_and_start(pid: int) -> tuple[str, str]:
    """Return the process's state, and its start in ticks since the boot; ``"0"`` if that is unknown."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The program's name, in parentheses, may hold anything.
            fields = file.read().rpartition(b")")[2].decode().split()
        return fields[0], fields[19]
    except OSError:
        return "", "0"
