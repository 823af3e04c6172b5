"""Finding plugins: the entry points of installed distributions, sorted by who may use which name.

One scan reads the entry points of the four groups and imports none of them. Operator settings and rival
claims are decided here, so that what is left is one candidate a name, usable or with the reason why not.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from laila.plugins.first_party import CORE, owner, pip_line
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from importlib_metadata import EntryPoint, IDistribution

    from laila.plugins.settings import PluginSettings

__all__ = ["GROUPS", "HOOKS", "Candidate", "Claim", "operator_settings", "scan"]

HOOKS = "laila.plugins"
GROUPS = ("laila.pools", "laila.taskforces", "laila.protocols", HOOKS)

_VALUE = re.compile(r"[\w.]+(?::[\w.]+)?", re.ASCII)


class Claim(NamedTuple):
    """One entry point: the distribution that claims a name in a group, and what it points to."""

    group: str
    name: str
    value: str
    distribution: str
    version: str
    entry_point: EntryPoint

    @property
    def attribute(self) -> str:
        """The name of the class, empty for a module."""
        return self.value.partition(":")[2]


class Candidate(NamedTuple):
    """A claim and what became of it: ``status`` is empty while nothing is against using it."""

    claim: Claim
    status: str
    reason: str


def operator_settings() -> PluginSettings | None:
    """Return the operator's settings, or ``None`` where nothing is set, which spares the import of attrs."""
    from laila.arguments import args

    if "plugins" not in args and not any(name.startswith("LAILA_PLUGIN") for name in os.environ):
        return None
    from laila.plugins.settings import PluginSettings

    return PluginSettings.resolve()


def scan(settings: PluginSettings | None) -> tuple[list[Candidate], dict[str, str]]:
    """Return every candidate, and by distribution what is wrong with entry points that cannot be read."""
    problems: dict[str, str] = {}
    claims: dict[tuple[str, str], list[Claim]] = {}
    for claim in _claims(problems):
        rivals = claims.setdefault((claim.group, claim.name), [])
        if not any(
            claim.distribution == rival.distribution and claim.value == rival.value for rival in rivals
        ):
            rivals.append(claim)
    candidates: list[Candidate] = []
    for _, rivals in sorted(claims.items()):
        candidates += _decide(rivals, settings)
    return candidates, problems


def canonical(distribution: str) -> str:
    """Return a distribution's name in its one spelling (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _claims(problems: dict[str, str]) -> Iterator[Claim]:
    import importlib_metadata

    seen: set[str] = set()
    for distribution in importlib_metadata.distributions():
        where = ""
        try:
            text = distribution.read_text("entry_points.txt")
            # Most have nothing for laila; reading their names as well would cost more than all the rest.
            if not text or "laila." not in text:
                continue
            where = canonical(distribution.name)
            if where in seen or _is_shadowed(where, distribution.version, text):
                continue
            seen.add(where)
            for point in distribution.entry_points:
                if point.group not in GROUPS:
                    continue
                if not _VALUE.fullmatch(point.value.strip()):
                    problems[where] = (
                        f"the entry point {point.name} = {shown(point.value)} names no module or class"
                    )
                    continue
                yield Claim(point.group, point.name, point.value.strip(), where, distribution.version, point)
        except Exception as error:  # noqa: BLE001 - damaged metadata raises anything; it is reported
            where = where or _name_if_readable(distribution)
            problems[where] = f"its entry points cannot be read: {type(error).__name__}: {said(error)}"


def _name_if_readable(distribution: IDistribution) -> str:
    try:
        return canonical(distribution.name)
    except Exception:  # noqa: BLE001 - the metadata is damaged too, or not there
        return "a distribution without a name"


def _is_shadowed(name: str, version: str, text: str) -> bool:
    """Whether an earlier entry of the path has another version of it, which is what imports see."""
    import importlib_metadata

    first = importlib_metadata.distribution(name)
    return first.version != version or first.read_text("entry_points.txt") != text


def _decide(rivals: list[Claim], settings: PluginSettings | None) -> Iterable[Candidate]:
    """Decide between the distributions that claim one name."""
    name = rivals[0].name
    core = [claim for claim in rivals if claim.distribution == CORE]
    if core:
        # Nobody can take over the core's own names: otherwise one bad plugin could stop every policy.
        yield Candidate(core[0], "", "")
        for claim in rivals:
            if claim is not core[0]:
                yield Candidate(claim, "refused", f"the name {shown(name)} belongs to {CORE}")
        return
    free: list[Claim] = []
    for claim in rivals:
        reason = _left_out(claim, settings)
        if reason:
            yield Candidate(claim, "blocked", reason)
        else:
            free.append(claim)
    preferred = canonical(settings.prefer.get(name, "")) if settings else ""
    chosen = [claim for claim in free if claim.distribution == preferred]
    if len(chosen) == 1:
        yield Candidate(chosen[0], "", "")
        for claim in free:
            if claim is not chosen[0]:
                yield Candidate(
                    claim, "not preferred", f"LAILA_PLUGIN_PREFER gives {shown(name)} to {preferred}"
                )
        return
    if len(free) > 1:
        reason = (
            f"{' and '.join(sorted(claim.distribution for claim in free))} both claim the name "
            f"{shown(name)}; "
            f"say which to use: LAILA_PLUGIN_PREFER={name}={free[0].distribution}"
        )
        for claim in free:
            yield Candidate(claim, "conflict", reason)
    elif free:
        (claim,) = free
        belongs_to = owner(claim.group, name)
        if belongs_to in ("", claim.distribution):
            yield Candidate(claim, "", "")
        else:
            # The meaning of a documented name does not depend on other installed plugins.
            reason = (
                f"the name {shown(name)} belongs to {belongs_to} ({pip_line(belongs_to)}); to use it for "
                f"{claim.distribution} nevertheless: LAILA_PLUGIN_PREFER={name}={claim.distribution}"
            )
            yield Candidate(claim, "conflict", reason)


def _left_out(claim: Claim, settings: PluginSettings | None) -> str:
    """Return which operator setting leaves the claim out, or nothing."""
    if settings is None:
        return ""
    if settings.allow is not None and not _named(claim, settings.allow):
        return "LAILA_PLUGINS_ALLOW does not name it"
    if "*" in settings.block or _named(claim, settings.block):
        return "LAILA_PLUGINS_BLOCK names it"
    return ""


def _named(claim: Claim, names: Iterable[str]) -> bool:
    return any(name == claim.name or canonical(name) == claim.distribution for name in names)
