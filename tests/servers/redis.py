"""A Redis server on loopback, from whatever is there: the system's, or the one that development installs."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import redis

from laila.pool.redis.server import find_program, reachable
from servers.processes import free_ports, kill, start

if TYPE_CHECKING:
    import subprocess
    from types import TracebackType

    Option = str | int | tuple[str, ...]

__all__ = ["RedisServer"]

_READY_SECONDS = 100.0


class RedisServer:
    """A server with its data in ``folder``, on a free port of loopback and on a Unix socket beside the data.

    ``password`` is that of the default user; ``aof`` writes every command to disk before it is answered;
    ``options`` are the server's own (``maxmemory="10mb"`` is ``--maxmemory 10mb``; several words are a
    tuple). :meth:`kill` and :meth:`start` again keep port and data.
    """

    def __init__(
        self, folder: Path, *, password: str | None = None, aof: bool = False, **options: Option
    ) -> None:
        self.folder = folder
        self.password = password
        self.socket = str(folder / "redis.sock")
        folder.mkdir(parents=True, exist_ok=True)
        settings: dict[str, Option] = {"save": "", "dir": ".", "unixsocket": "redis.sock"}
        if aof:
            settings |= {"appendonly": "yes", "appendfsync": "always"}
        if password is not None:
            settings["requirepass"] = password
        self._settings = settings | {name.replace("_", "-"): value for name, value in options.items()}
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Its URL, with the password."""
        login = "" if self.password is None else f":{self.password}@"
        return f"redis://{login}127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        """The same by the Unix socket."""
        login = "" if self.password is None else f":{self.password}@"
        return f"unix://{login}{self.socket}"

    def client(self, **options: Any) -> redis.Redis:
        """A client of redis-py, as the default user unless ``options`` say otherwise."""
        return redis.Redis(host="127.0.0.1", port=self.port, **{"password": self.password, **options})

    def start(self) -> None:
        """Start it, and return when it answers. It ends with the thread that called this, at the latest."""
        program = find_program()
        assert program is not None, "no Redis server: `make install` installs one"
        log = self.folder / "log"
        for _ in range(5):  # somebody may take the port that was free
            port = self.port or free_ports(1)[0]
            command = [program, "--port", str(port), "--bind", "127.0.0.1"]
            for name, value in self._settings.items():
                command += (f"--{name}", *(value if isinstance(value, tuple) else [str(value)]))
            self._process = start(command, log, folder=self.folder)
            if self._answers():
                self.port = port
                return
            self.kill()
        raise AssertionError(log.read_text()[-2000:])

    def kill(self) -> None:
        """End it so that it cannot notice, and wait for its end."""
        process, self._process = self._process, None
        kill(process)

    def freeze(self) -> None:
        """Stop it where it is: it takes connections, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _answers(self) -> bool:
        """Whether it comes to answer; False where it ended."""
        assert self._process is not None
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with (
                contextlib.suppress(OSError),
                socket.socket(socket.AF_UNIX) as line,
                reachable(self.socket) as path,
            ):
                line.settimeout(1)
                line.connect(path)
                line.sendall(b"PING\r\n")
                if line.recv(100).startswith((b"+PONG", b"-NOAUTH")):
                    return True
            time.sleep(0.01)
        return False
