"""Programs in processes of their own, that are told what to do and say how it went, and that end."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import pytest

from laila.testing.building import NOT_IMPORTABLE
from laila.testing.promises import broken

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from laila.contract import Component

__all__ = ["Ended", "Program", "describe"]


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    errors: str
    """The text that it wrote to its standard error."""
    seconds: float
    """From its start to its end."""


def describe(component: Component) -> dict[str, Any]:
    """What another process needs to build the same component: the class, its options, and its secrets."""
    settings = component.settings
    given: dict[str, Any] = component._arguments() if settings is None else {}
    secrets = {
        name: given[name] if name in given else getattr(settings, name)
        for name in component.missing_secrets()
    }
    options = component.options()
    options.pop("transformations", None)
    return {
        "module": type(component).__module__,
        "name": type(component).__qualname__,
        "options": {**options, **secrets},
    }


class Program:
    """``python -m module``, which reads its order as one line of JSON, and writes lines of JSON.

    The order goes over standard input, where no other user of the machine sees the secrets in it. The program
    and whatever it starts are gone when the ``with`` block is left.
    """

    def __init__(self, module: str, order: dict[str, Any]) -> None:
        self._began = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-W", "ignore", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )
        self._read = b""
        self.tell(order)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def tell(self, what: object) -> None:
        """Write a line of JSON for it to read."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()

    def hear(self, what: str, seconds: float) -> Any:
        """Return the next line that it writes; the promise ``what`` is broken where there is none in time."""
        __tracebackhide__ = True
        out = self._process.stdout
        assert out is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._read:
            ready = select.select([out], [], [], max(0.0, deadline - time.monotonic()))[0]
            data = os.read(out.fileno(), 65536) if ready else b""
            if not data:
                ended = self.end(0.0 if not ready else seconds)
                broken(
                    f"{what}; a program said nothing ({'it hung' if ended is None else ended.errors[-2000:]})"
                )
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def end(self, seconds: float) -> Ended | None:
        """Wait until it ends by itself; None where it does not in time, and was killed.

        Skips the test where the program could not import the class that is tested.
        """
        try:
            _, errors = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        told = errors.decode(errors="replace")
        if self._process.returncode == NOT_IMPORTABLE:
            pytest.skip(f"another process cannot import what is tested: {told.strip()}")
        return Ended(self._process.returncode, told, time.monotonic() - self._began)

    def kill(self) -> None:
        """End it, and all that it has started, as ``kill -9`` does."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
