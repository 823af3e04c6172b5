"""The registries: from a short name, a URL scheme or a class name to the class, imported at first use."""

from __future__ import annotations

from laila.errors import MissingPluginError, PluginError
from laila.former import replacement
from laila.locks import long_lock
from laila.plugins.discovery import GROUPS, HOOKS, operator_settings, scan
from laila.plugins.first_party import ELSEWHERE, FIRST_PARTY, first_party, pip_line
from laila.plugins.observers import load_hooks
from laila.plugins.plugin import BASES, KINDS, Plugin, PluginReport, forget_logged, log_once
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = [
    "Registry",
    "class_by_name",
    "hook_plugins",
    "pools",
    "protocols",
    "report",
    "rescan",
    "taskforces",
]


class Registry:
    """The plugins of one group (``laila.pools``, ``laila.taskforces`` or ``laila.protocols``)."""

    def __init__(self, group: str) -> None:
        self.group = group

    def names(self) -> list[str]:
        """Return the short names that are usable as far as is known without importing."""
        return sorted(name for name, plugin in _usable(self.group).items() if plugin.error is None)

    def get(self, name: str) -> type:
        """Return the class behind a short name or URL scheme, imported now if it was not.

        Raises :class:`~laila.errors.MissingPluginError` with the pip line for a first-party name that is not
        installed, :class:`~laila.errors.PluginError` for every other reason why there is no such class.
        """
        plugins = _usable(self.group)
        plugin = plugins.get(name) or plugins.get(self._by_scheme(name, plugins))
        if plugin is None:
            self._refuse(name, plugins)
        return plugin.load()

    def resolve_class(self, class_name: str) -> type:
        """Return the class of this name. Raises ``AttributeError`` for an unknown name.

        Raises the errors of :meth:`get`, too. Made for a package's ``__getattr__``: a name that cannot be a
        class's costs no scan.
        """
        if not class_name.startswith("_"):
            own = (p for p in FIRST_PARTY if p.group == self.group and p.class_name == class_name)
            party = next(own, None)
            for plugin in (*_usable(self.group).values(), *_unusable):
                claim = plugin.candidate.claim
                if (claim.group, claim.attribute) == (self.group, class_name) and (
                    party is None or claim.name == party.name
                ):
                    return plugin.load()
            if party is not None:
                self._refuse(party.name, {})
        advice = replacement(class_name)
        if advice is not None:
            raise MissingPluginError(
                f"there is no {class_name}: {advice}", plugin=class_name, distribution=None
            )
        raise AttributeError(
            f"there is no {KINDS[self.group]} class {shown(class_name)}, in laila or in an installed plugin "
            "(`laila plugins` lists them)"
        )

    def name_of(self, cls: type) -> str | None:
        """Return the short name whose class is ``cls``, or None; imports only what names such a class."""
        for name, plugin in _usable(self.group).items():
            if (
                plugin.error is None
                and plugin.candidate.claim.attribute == cls.__name__
                and self.get(name) is cls
            ):
                return name
        return None

    def _by_scheme(self, scheme: str, plugins: dict[str, Plugin]) -> str:
        for party in FIRST_PARTY:
            if party.group == self.group and scheme in party.schemes:
                return party.name
        for name, plugin in plugins.items():
            if scheme in getattr(plugin.loaded, "schemes", ()):
                return name
        return ""

    def _refuse(self, name: str, plugins: dict[str, Plugin]) -> NoReturn:
        party = first_party(self.group, name) or first_party(self.group, self._by_scheme(name, plugins))
        kind = KINDS[self.group]
        if party is not None:
            raise MissingPluginError(
                f"the {kind} {shown(name)} ({party.class_name}) is not installed: "
                f"{pip_line(party.distribution)}",
                plugin=name,
                distribution=party.distribution,
            )
        from difflib import get_close_matches

        if self.group == "laila.pools" and name in ELSEWHERE:
            raise PluginError(
                f"there is no pool {shown(name)}: laila has none for {ELSEWHERE[name]}. It has memory://, "
                "file:///folder, hdf5:///file.h5, redis://host and s3://bucket (any service that speaks S3, "
                "by ?endpoint_url=https://…); others come as plugins (`laila plugins` lists those installed)",
                plugin=name,
                distribution=None,
            )
        if self.group == "laila.protocols" and name in ("http", "https"):
            raise PluginError(
                f"there is no protocol {shown(name)}: the address of a policy begins with ws:// or wss://, "
                "as `laila serve` prints it",
                plugin=name,
                distribution=None,
            )
        known = self.names()
        close = get_close_matches(name, known, n=1)
        hint = f"; did you mean {shown(close[0])}?" if close else ""
        raise PluginError(
            f"there is no {kind} {shown(name)}{hint} (installed: {', '.join(known) or 'none'})",
            plugin=name,
            distribution=None,
        )


_lock = long_lock()
_registries = {group: Registry(group) for group in BASES}
_found: dict[str, dict[str, Plugin]] | None = None
_unusable: list[Plugin] = []
_problems: dict[str, str] = {}


def pools() -> Registry:
    """Return the registry of pools."""
    return _registries["laila.pools"]


def taskforces() -> Registry:
    """Return the registry of task forces."""
    return _registries["laila.taskforces"]


def protocols() -> Registry:
    """Return the registry of protocols."""
    return _registries["laila.protocols"]


def class_by_name(group: str, class_name: str) -> type:
    """Return the class ``class_name`` of a group: what ``from laila.pool import S3Pool`` asks.

    Raises ``AttributeError`` for a name that nothing brings, :class:`~laila.errors.MissingPluginError` (an
    ``ImportError``) for a first-party class that is not installed, else as :meth:`Registry.get`.
    """
    return _registries[group].resolve_class(class_name)


def hook_plugins() -> list[Plugin]:
    """Return the plugins of the group ``laila.plugins``, in the order of their names."""
    return list(_usable(HOOKS).values())


def rescan() -> None:
    """Forget what was found and what failed; the next question scans again. Loaded hooks stay registered."""
    global _found
    import importlib

    # The import system remembers directories; after an installation it must read them again.
    importlib.invalidate_caches()
    with _lock:
        _found = None
        forget_logged()


def report(*, check: bool = False, missing: bool = False) -> list[PluginReport]:
    """Say what is known about every plugin that was found.

    Args:
        check: import each one to see whether it can be used; otherwise nothing is imported.
        missing: name the first-party plugins that are not installed too.
    """
    rows: list[PluginReport] = []
    for group in GROUPS:
        usable = _usable(group)
        if check and group == HOOKS:
            load_hooks()
        elif check:
            for plugin in usable.values():
                if plugin.error is None:
                    try:
                        plugin.load()
                    except PluginError:
                        continue  # kept in the plugin, and in its row
        rows += [plugin.report() for plugin in usable.values() if not plugin.candidate.status]
        rows += [plugin.report() for plugin in _unusable if plugin.candidate.claim.group == group]
        listed = {(row.name, row.distribution) for row in rows}
        if missing:
            rows += [
                PluginReport(
                    KINDS[group],
                    p.name,
                    p.schemes,
                    p.distribution,
                    "",
                    None,
                    "not installed",
                    pip_line(p.distribution),
                )
                for p in FIRST_PARTY
                if p.group == group and (p.name, p.distribution) not in listed
            ]
    rows += [
        PluginReport("distribution", name, (), name, "", None, "failed", reason)
        for name, reason in _problems.items()
    ]
    return rows


def _usable(group: str) -> dict[str, Plugin]:
    """Return the group's plugins by name; scan first if that was not done. A conflict stands for its name."""
    global _found
    plugins = _found
    if plugins is None:
        with _lock:
            if _found is None:
                _found = _scan()
            plugins = _found
    return plugins[group]


def _scan() -> dict[str, dict[str, Plugin]]:
    candidates, problems = scan(operator_settings())
    _problems.clear()
    _problems.update(problems)
    for name, reason in problems.items():
        log_once(f"distribution:{name}", PluginError(f"{name}: {reason}", plugin=name, distribution=name))
    _unusable.clear()
    plugins: dict[str, dict[str, Plugin]] = {group: {} for group in GROUPS}
    for candidate in candidates:
        plugin = Plugin(candidate)
        group = plugins[candidate.claim.group]
        if candidate.status:
            _unusable.append(plugin)
            group.setdefault(candidate.claim.name, plugin)
        else:
            group[candidate.claim.name] = plugin
    return plugins
