"""One plugin: a claim of a name that was found, loaded at most once and held to its contract."""

from __future__ import annotations

from typing import NamedTuple

from laila.errors import PluginError
from laila.locks import mutex
from laila.plugins.discovery import HOOKS, Candidate
from laila.plugins.first_party import CORE, first_party
from laila.plugins.importing import deadline, load_here_or_within
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.plugins.importing import Outcome

__all__ = ["BASES", "KINDS", "Plugin", "PluginReport", "forget_logged", "log_once"]

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


_logged: set[str] = set()


class PluginReport(NamedTuple):
    """One line of ``laila plugins``.

    ``status`` is ``available`` (found, not imported), ``loaded``, ``failed``, ``conflict``, ``blocked``,
    ``refused``, ``not preferred`` or ``not installed``; ``reason`` says why it is not usable. ``contract`` is
    the contract version it was built for, ``None`` while that is not known: it was not imported so far, or
    cannot be.
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

    __slots__ = ("candidate", "contract", "error", "loaded", "reason")

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.contract: int | None = None
        self.loaded: object | None = None
        self.error: PluginError | None = None
        self.reason = candidate.reason
        if candidate.status:
            claim = candidate.claim
            self.error = _error(candidate, f"cannot be used: {candidate.reason}")
            if candidate.status == "conflict":
                log_once(f"{claim.group}:{claim.name}", self.error)

    @property
    def status(self) -> str:
        """The status of the plugin; :class:`PluginReport` lists the values."""
        if self.candidate.status:
            return self.candidate.status
        return "failed" if self.error else "available" if self.loaded is None else "loaded"

    def fail(self, reason: str, cause: BaseException | None = None) -> PluginError:
        """Leave the plugin out from now on; report that once, and return the error to raise."""
        error = _error(self.candidate, reason)
        error.__cause__ = cause
        with mutex:
            if self.error is not None:
                return self.error
            self.error, self.reason = error, reason
        log_once(f"{self.candidate.claim.group}:{self.candidate.claim.name}", error)
        return error

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
            seconds = deadline()
            claim = self.candidate.claim
            loaded = self.imported(load_here_or_within(seconds, claim), seconds)
            try:
                fault = _fault(loaded, claim.group)
            except Exception as error:
                raise self.fail(f"cannot be used: {type(error).__name__}: {said(error)}", error) from error
            if fault:
                raise self.fail(fault)
            self.loaded = loaded
        assert isinstance(self.loaded, type)
        return self.loaded

    def imported(self, outcome: Outcome | None, seconds: float) -> object:
        """Return what an import gave, if it was built for this contract; else leave the plugin out and raise.

        Raises :class:`~laila.errors.PluginError`.
        """
        if outcome is None:
            raise self.fail(
                f"was still being imported after {seconds:g} s and is left out (a module must not wait for "
                "laila while it is imported; LAILA_PLUGINS_DEADLINE sets the time)"
            )
        loaded, error = outcome
        if error is not None:
            raise self.fail(f"cannot be imported: {type(error).__name__}: {error}", error) from error
        try:
            version = _contract_version(loaded)
        except Exception as failure:
            raise self.fail(
                f"cannot be used: {type(failure).__name__}: {said(failure)}", failure
            ) from failure
        self.contract = version if type(version) is int else None
        fault = _contract_fault(version)
        if fault:
            raise self.fail(fault)
        return loaded

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
        from laila.contract import CONTRACT_VERSION

        return PluginReport(
            kind=KINDS[claim.group],
            name=claim.name,
            schemes=schemes,
            distribution=claim.distribution,
            version=claim.version,
            contract=CONTRACT_VERSION if claim.distribution == CORE else self.contract,
            status=self.status,
            reason=self.reason,
        )


def _contract_version(loaded: object) -> object:
    """The ``laila_contract`` of a class, else of its module; 1 where neither says."""
    import sys

    own = getattr(loaded, "laila_contract", None)
    if own is None:
        module = sys.modules.get(getattr(loaded, "__module__", "") or "")
        own = getattr(module, "laila_contract", None)
    return 1 if own is None else own


def _contract_fault(version: object) -> str:
    """Say what is wrong with the contract version that a plugin was built for, or nothing."""
    from laila.contract import CONTRACT_VERSION

    if type(version) is not int:
        return f"breaks its contract: laila_contract must be an integer, not {shown(version)}"
    if version == CONTRACT_VERSION:
        return ""
    cure = f"upgrade {CORE}" if version > CONTRACT_VERSION else "upgrade the plugin"
    return (
        f"was built for version {shown(version)} of laila's plugin contract, and this {CORE} has version "
        f"{CONTRACT_VERSION}: {cure}"
    )


def _fault(loaded: object, group: str) -> str:
    """Say how a class breaks the contract of its group, or nothing."""
    import importlib

    module, name = BASES[group]
    base = getattr(importlib.import_module(module), name)
    if not isinstance(loaded, type) or not issubclass(loaded, base):
        return f"breaks its contract: it must be a subclass of laila.contract.{name}"
    lacking = sorted(getattr(loaded, "__abstractmethods__", ()))
    if lacking:
        return f"breaks its contract: {loaded.__qualname__} lacks {', '.join(lacking)}"
    return ""


def _error(candidate: Candidate, reason: str) -> PluginError:
    claim = candidate.claim
    return PluginError(
        f"the {KINDS[claim.group]} plugin {shown(claim.name)} ({claim.value}) of {claim.distribution} "
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
    from laila.showing import logger

    cause = error.__cause__
    logger("laila.plugins").warning(
        "%s", error, exc_info=(type(cause), cause, cause.__traceback__) if cause is not None else None
    )
