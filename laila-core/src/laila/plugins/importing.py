"""Importing a plugin without waiting for ever: a plugin that hangs hurts only itself.

The import runs in a daemon thread, which the caller waits for up to a deadline. A thread that hangs holds the
import lock of its own module and of no other, so everything else can still be imported.
"""

from __future__ import annotations

import sys

from laila.plugins.first_party import CORE
from laila.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from laila.plugins.discovery import Claim

__all__ = ["DEADLINE", "Outcome", "deadline", "load_here_or_within", "within"]

Outcome = tuple[object, BaseException | None]
DEADLINE = 10.0


def deadline() -> float:
    """Return the seconds that the operator gives an import (``LAILA_PLUGINS_DEADLINE``)."""
    from laila.plugins.discovery import operator_settings

    settings = operator_settings()
    return DEADLINE if settings is None else settings.deadline


def load_here_or_within(seconds: float, claim: Claim) -> Outcome | None:
    """Import what ``claim`` points to; return it, or the error of the import, or None where it hangs.

    In the caller's thread where there is nothing to wait for, and where the caller is itself part of an
    import: another thread could have to wait for what this one has not finished importing.
    """
    module = sys.modules.get(claim.value.partition(":")[0])
    if claim.distribution == CORE or (module is not None and not _initializing(module)) or _importing():
        return _here(claim.entry_point.load)
    return within(seconds, claim.entry_point.load, f"laila-plugin-{claim.name}")


def within(seconds: float, work: Callable[[], object], name: str) -> Outcome | None:
    """Run an import in a daemon thread; return its result and error, or None where it hangs.

    It hangs when no module was imported for ``seconds``: a slow disk alone is no fault.
    """
    from threading import Thread

    outcome: list[Outcome] = []

    def run() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as error:  # noqa: BLE001 - carried to the waiting thread
            outcome.append((None, error))

    thread = Thread(target=run, name=name, daemon=True)
    if not start_thread(thread):
        return _here(work)
    modules = -1
    while thread.is_alive() and modules != len(sys.modules):
        modules = len(sys.modules)
        thread.join(seconds)
    return outcome[0] if outcome else None


def _here(work: Callable[[], object]) -> Outcome:
    try:
        return work(), None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - handed on to the caller
        return None, error


def _initializing(module: object) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _importing() -> bool:
    """Whether this thread is in the midst of importing a module: a frame of the import system's tells."""
    frame = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if code.co_name == "_find_and_load" and code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
