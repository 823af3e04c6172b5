"""A pool that is set up a second time: whether a URL and options name the very pool that is there.

A cell of a notebook is run again, a module is loaded anew: with the same URL, the same one written in another
way, or from another folder. What a URL means is asked of the pool's own class, which builds nothing for that
(:func:`laila.component.component.arguments_of`).
"""

from __future__ import annotations

from os import PathLike, fspath, getcwd
from os.path import expanduser, isabs, realpath

from laila.component.component import arguments_of
from laila.errors import PluginError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from laila.contract.pool import Pool

__all__ = ["current_folder", "difference"]


def current_folder() -> str:
    """Where relative paths begin; empty where that folder was deleted."""
    try:
        return getcwd()
    except FileNotFoundError:
        return ""


def difference(pool: Pool, urls: Sequence[str], options: Mapping[str, object]) -> str:
    """Say in words what ``urls`` name that is not the chain of ``pool``; empty where they name that chain.

    ``options`` go with the first URL.
    """
    chain = pool.chain()
    if len(chain) != len(urls):
        return f"it is a chain of {len(chain)}" if len(chain) > 1 else "it is one pool, and no chain"
    for number, (tier, url) in enumerate(zip(chain, urls, strict=True)):
        differing = _differing(tier, url, {} if number else options)
        if differing:
            where = f" of its tier {number + 1}" if len(chain) > 1 else ""
            return f"{differing}{where} differs"
    return ""


def _differing(pool: Pool, url: str, options: Mapping[str, object]) -> str:
    """Name the difference between ``pool`` and the pool that ``url`` names."""
    from laila.plugins import pools

    kind = type(pool)
    try:
        if pools().get(url.partition(":")[0].lower()) is not kind:
            return "kind of pool"
        arguments = arguments_of(kind, lambda: kind.from_url(url, **options))
    except PluginError:
        return "kind of pool"
    if arguments is None:
        return "URL"
    if arguments.pop("nickname", None) != pool.nickname:
        return "nickname"
    arguments.pop("write", None)
    if not _same_transformations(pool, arguments.pop("transformations", ())):
        return "list of transformations"
    names = _settings(pool, arguments) if pool.settings is not None else _arguments(pool, arguments)
    return ", ".join(names)


def _same_transformations(pool: Pool, transformations: Any) -> bool:
    from laila.transform import TransformationSequence

    return TransformationSequence(transformations) == (pool.transformations or TransformationSequence())


def _settings(pool: Pool, arguments: dict[str, object]) -> list[str]:
    """The options that differ, whichever were given and whichever are defaults."""
    kind: Any = type(pool.settings)
    fields = kind._fields()
    if "prefix" in arguments and "key_prefix" in fields:
        arguments["key_prefix"] = arguments.pop("prefix")
    plain = {
        name: fspath(value) if isinstance(value, PathLike) else value for name, value in arguments.items()
    }
    made = getattr(kind, "of", kind.resolve)({name: plain[name] for name in plain if name in fields})
    return [
        name for name in fields if not _same(pool, name, getattr(pool.settings, name), getattr(made, name))
    ]


def _arguments(pool: Pool, arguments: dict[str, object]) -> list[str]:
    """The arguments that differ, of a class that has no settings."""
    ours = {name: value for name, value in pool._arguments().items() if name != "nickname"}
    return [
        name for name in {**ours, **arguments} if not _same(pool, name, ours.get(name), arguments.get(name))
    ]


def _same(pool: Pool, name: str, ours: object, theirs: object) -> bool:
    if name == "path" and isinstance(theirs, str):
        place = getattr(pool, "path", None)
        return isinstance(place, str) and isabs(place) and realpath(place) == realpath(expanduser(theirs))
    if name == "key_prefix" and isinstance(ours, str) and isinstance(theirs, str):
        return ours.strip("/") == theirs.strip("/")
    return ours == theirs
