"""One plugin: a claim of a name that was found, loaded at most once and held to its contract."""

from __future__ import annotations

from _thread import allocate_lock
from typing import NamedTuple

from laila.errors import PluginError
from laila.plugins.discovery import HOOKS, Candidate
from laila.plugins.first_party import CORE, first_party

__all__ = ["BASES", "KINDS", "Plugin", "PluginReport", "contract_fault", "forget_logged", "log_once"]

KINDS = {
    "laila.pools": "pool",
    "laila.taskforces": "task force",
    "laila.protocols": "protocol",
    HOOKS: "hooks",
}
BASES = {
    "laila.pools": ("laila.contract.pool", "Pool"),
    "laila.taskforces": ("laila.contract.taskforce", "TaskForce"),
    "laila.protocols": ("laila.contract.protocol", "Protocol"),
}


_lock = allocate_lock()
_logged: set[str] = set()


class PluginReport(NamedTuple):
    """One line of ``laila plugins``.

    ``status`` is ``available`` (found, not imported), ``loaded``, ``failed``, ``conflict``, ``blocked``,
    ``refused``, ``not preferred`` or ``not installed``; ``reason`` says why it is not usable. ``contract`` is
    the contract version it was built for, ``None`` while it is not imported.
    """

    kind: str
    name: str
    schemes: tuple[str, ...]
    distribution: str
    version: str
    contract: int | None
    status: str
    reason: str


class Plugin:
    """One usable claim of a name: imported at most once, its class or its error kept."""

    __slots__ = ("candidate", "contract", "error", "loaded")

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.contract: int | None = None
        self.loaded: object | None = None
        self.error: PluginError | None = None
        if candidate.status:
            claim = candidate.claim
            self.error = _error(candidate, f"cannot be used: {candidate.reason}")
            if candidate.status == "conflict":
                log_once(f"{claim.group}:{claim.name}", self.error)

    @property
    def status(self) -> str:
        """See :class:`PluginReport`."""
        if self.candidate.status:
            return self.candidate.status
        return "failed" if self.error else "available" if self.loaded is None else "loaded"

    def fail(self, reason: str, cause: BaseException | None = None) -> PluginError:
        """Leave the plugin out from now on; report that once, and return the error to raise."""
        error = _error(self.candidate, reason)
        error.__cause__ = cause
        with _lock:
            first = self.error is None
            kept = self.error = self.error or error
        if first:
            log_once(f"{self.candidate.claim.group}:{self.candidate.claim.name}", error)
        return kept

    def load(self) -> type:
        """Return the class, imported and held to its contract now if it was not, or raise PluginError."""
        if self.error is not None:
            # A copy: one exception raised in several threads would share its traceback.
            error = PluginError(
                str(self.error), plugin=self.error.plugin, distribution=self.error.distribution
            )
            raise error from self.error.__cause__
        if self.loaded is None:
            # No lock while importing: the import system has its own, and two orders of locks would deadlock.
            # Importing twice is harmless, it gives the same class.
            claim = self.candidate.claim
            try:
                loaded = claim.entry_point.load()
                fault = _fault(loaded, claim.group)
            except (Exception, SystemExit) as error:
                raise self.fail(f"cannot be imported: {type(error).__name__}: {error}", error) from error
            if fault:
                raise self.fail(fault)
            self.accept(loaded)
        assert isinstance(self.loaded, type)
        return self.loaded

    def accept(self, loaded: object) -> None:
        """Keep what was imported and found to keep its contract."""
        from laila.contract import CONTRACT_VERSION

        self.contract = CONTRACT_VERSION
        self.loaded = loaded

    def report(self) -> PluginReport:
        """Say what is known about it, without importing it."""
        claim = self.candidate.claim
        party = first_party(claim.group, claim.name)
        schemes: tuple[str, ...] = ()
        if claim.group == "laila.pools":
            schemes = (claim.name,)
        if party is not None and party.distribution == claim.distribution:
            schemes = party.schemes
        own = getattr(self.loaded, "schemes", ())
        if isinstance(own, tuple) and own:
            schemes = own
        reason = self.candidate.reason
        if self.error is not None and not self.candidate.status:
            cause = self.error.__cause__
            reason = str(self.error) if cause is None else f"{type(cause).__name__}: {cause}"
        return PluginReport(
            kind=KINDS[claim.group],
            name=claim.name,
            schemes=schemes,
            distribution=claim.distribution,
            version=claim.version,
            contract=self.contract,
            status=self.status,
            reason=reason,
        )


def contract_fault(loaded: object) -> str:
    """Say what is wrong with the contract version of a class or module, or nothing.

    It is the ``laila_contract`` of a class, else of its module; 1 where neither says.
    """
    import sys

    from laila.contract import CONTRACT_VERSION

    own = getattr(loaded, "laila_contract", None)
    if own is None:
        module = sys.modules.get(getattr(loaded, "__module__", "") or "")
        own = getattr(module, "laila_contract", None)
    version = 1 if own is None else own
    if type(version) is not int:
        return f"breaks its contract: laila_contract must be an integer, not {version!r}"
    if version == CONTRACT_VERSION:
        return ""
    cure = f"upgrade {CORE}" if version > CONTRACT_VERSION else "upgrade the plugin"
    return (
        f"was built for version {version} of laila's plugin contract, and this {CORE} has version "
        f"{CONTRACT_VERSION}: {cure}"
    )


def _fault(loaded: object, group: str) -> str:
    """Say how a class breaks the contract of its group, or nothing."""
    import importlib

    module, name = BASES[group]
    base = getattr(importlib.import_module(module), name)
    fault = contract_fault(loaded)
    if fault:
        return fault
    if not isinstance(loaded, type) or not issubclass(loaded, base):
        return f"breaks its contract: it must be a subclass of laila.contract.{name}"
    lacking = sorted(getattr(loaded, "__abstractmethods__", ()))
    if lacking:
        return f"breaks its contract: {loaded.__qualname__} lacks {', '.join(lacking)}"
    return ""


def _error(candidate: Candidate, reason: str) -> PluginError:
    claim = candidate.claim
    return PluginError(
        f"the {KINDS[claim.group]} plugin {claim.name!r} ({claim.value}) of {claim.distribution} "
        f"{claim.version} {reason}",
        plugin=claim.name,
        distribution=claim.distribution,
    )


def forget_logged() -> None:
    """Report again what is still wrong after the next scan."""
    _logged.clear()


def log_once(what: str, error: PluginError) -> None:
    """Report an error through ``logging``, the first time only."""
    if what in _logged:
        return
    _logged.add(what)
    from logging import getLogger

    cause = error.__cause__
    getLogger("laila.plugins").warning(
        "%s", error, exc_info=(type(cause), cause, cause.__traceback__) if cause is not None else None
    )
