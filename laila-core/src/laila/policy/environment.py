"""The form of an environment: a policy as a JSON-able dict, and components built from what it says.

The models below are the format; cattrs reads and writes them and reports every fault with its path. Secrets
are never written: a component lists the names of those it was given, and takes them again from ``secrets``,
``laila.args`` or ``LAILA_*`` when it is rebuilt. A component's class is named by the plugin that brings it;
reading an environment imports plugins, never a module that the dict names. What it says is data: see
:mod:`laila.provenance`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from cattrs import Converter, transform_error
from cattrs.errors import BaseValidationError

from laila.central.pending import MAX_PENDING_BYTES
from laila.errors import EnvironmentSnapshotError, IdentityError, SettingsError
from laila.provenance import current_data
from laila.showing import said, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypeVar

    from laila.central.router import DefaultPoolRouter
    from laila.component.component import Component
    from laila.contract.pool import Pool
    from laila.plugins import Registry
    from laila.provenance import Data

    Parts = tuple[str, str, dict[str, Any], list[str]]
    C = TypeVar("C", bound=Component)

__all__ = [
    "ComponentModel",
    "EnvironmentModel",
    "PoolModel",
    "build",
    "component",
    "link",
    "pool_model",
    "read",
    "write",
]

FORMAT = 1


@define
class ComponentModel:
    """One pool, task force or protocol: the plugin that brings its class, and its options."""

    plugin: str
    uuid: str
    options: dict[str, Any] = field(factory=dict)
    missing_secrets: list[str] = field(factory=list)


@define
class PoolModel(ComponentModel):
    """A pool, how the router knows it, and its place in a chain: its origin is a uuid."""

    registered: bool = True
    write_through: bool = False
    nicknames: list[str] = field(factory=list)
    affinity: float = 0.0
    origin: str | None = None


@define
class EnvironmentModel:
    """A policy."""

    uuid: str
    nickname: str | None
    pickle: bool
    alpha_pool: str
    pools: list[PoolModel]
    taskforces: list[ComponentModel] = field(factory=list)
    alpha_taskforce: str | None = None
    protocols: list[ComponentModel] = field(factory=list)
    max_pending_bytes: int = MAX_PENDING_BYTES
    format: int = FORMAT


_converter = Converter(forbid_extra_keys=True)


def write(model: EnvironmentModel) -> dict[str, Any]:
    """Return ``model`` as a JSON-able dict."""
    written: dict[str, Any] = _converter.unstructure(model)
    return written


def pool_model(router: DefaultPoolRouter, pool: Pool, parts: Parts) -> PoolModel:
    """Return what is written of ``pool``: its parts, and its place in ``router`` and in its chain."""
    return PoolModel(
        *parts,
        registered=pool.global_id in router.pools,
        nicknames=[name for name, named in router.nicknames.items() if named is pool],
        affinity=router.affinities.get(pool.global_id, 0.0),
        write_through=pool.write_through,
        origin=None if pool.proxy_to is None else pool.proxy_to.uuid,
    )


def component(part: Component, registry: Registry) -> Parts:
    """Return the plugin, uuid, options and missing secrets of a component.

    Raises :class:`EnvironmentSnapshotError` where another process could not build it.
    """
    plugin = registry.name_of(type(part))
    if plugin is None:
        raise EnvironmentSnapshotError(
            f"{type(part).__qualname__} is no registered plugin, so that another process could not find it; "
            "give its distribution an entry point (see the page on writing a pool)",
            problems=[f"{shown(part)}: not registered"],
        )
    return plugin, part.uuid, part.options(), part.missing_secrets()


def read(environment: Mapping[str, Any]) -> EnvironmentModel:
    """Read what :func:`write` wrote. Raises :class:`EnvironmentSnapshotError` that lists every fault."""
    if not isinstance(environment, dict):
        raise EnvironmentSnapshotError(
            f"an environment is a dict such as laila.environment gives, not a {type(environment).__name__}",
            problems=["$: no dict"],
        )
    try:
        model = _converter.structure(environment, EnvironmentModel)
    except (BaseValidationError, ValueError, TypeError, KeyError) as error:
        problems = transform_error(error)
        raise EnvironmentSnapshotError(
            "this is no environment: " + "; ".join(problems), problems=problems
        ) from error
    if model.format != FORMAT:
        raise EnvironmentSnapshotError(
            f"this environment has the format {model.format}; this laila reads {FORMAT}",
            problems=["$.format"],
        )
    return model


def build(
    models: Iterable[ComponentModel],
    registry: Registry,
    kind: type[C],
    name: str,
    secrets: Mapping[str, Any],
    built: list[Component],
    problems: list[str],
) -> dict[str, C]:
    """Build components by uuid; add them to ``built``, and what is wrong to ``problems``."""
    components: dict[str, C] = {}
    data = current_data()
    for i, model in enumerate(models):
        named = {*model.missing_secrets, *model.options}
        arguments = {name: value for name, value in secrets.items() if name in named}
        if data is not None:
            data.withheld.clear()
        absent = [secret for secret in model.missing_secrets if secret not in secrets]
        hint = (
            f" (secrets that were left out, and may be given as secrets=: {', '.join(absent)})"
            if absent
            else ""
        )
        try:
            component: object = registry.get(model.plugin)(**{**model.options, **arguments})
        except Exception as error:  # noqa: BLE001 - a plugin may fail in any way; all of them are reported together
            hint += _withheld(data)
            problems.append(f"{name}[{i}] {model.plugin}: {said(error)}{hint}")
            continue
        if not isinstance(component, kind):
            problems.append(f"{name}[{i}] {model.plugin}: gave a {type(component).__name__}")
            continue
        built.append(component)
        if not set(model.missing_secrets) <= set(component.missing_secrets()):
            problems.append(f"{name}[{i}] {model.plugin}: a secret is missing{hint}{_withheld(data)}")
            continue
        try:
            component.restore_identity(model.uuid)
        except IdentityError as error:
            problems.append(f"{name}[{i}].uuid: {error}")
            continue
        components[model.uuid] = component
    return components


def _withheld(data: Data | None) -> str:
    """Say which secrets of the user were not used for what a dict names."""
    if data is None or not data.withheld:
        return ""
    return (
        f" ({', '.join(dict.fromkeys(data.withheld))} was not used: only the environment names the place "
        "that it would go to. Name the same place in your own configuration, by laila.args or LAILA_*, or "
        "give secrets=)"
    )


def link(models: Iterable[PoolModel], built: Mapping[str, Pool], problems: list[str]) -> None:
    """Make the chains of tiers again."""
    for i, model in enumerate(models):
        built[model.uuid].write_through = model.write_through
        if model.origin is None:
            continue
        origin = built.get(model.origin)
        if origin is None:
            problems.append(f"pools[{i}].origin: no pool has the uuid {model.origin}")
            continue
        try:
            built[model.uuid].proxy_to = origin
        except SettingsError as error:
            problems.append(f"pools[{i}].origin: {error}")
