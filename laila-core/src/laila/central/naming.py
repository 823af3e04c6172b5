"""How pools are named: by URL, nickname and affinity, checked before a pool is looked for or opened."""

from __future__ import annotations

import re
from collections.abc import Mapping

from laila.contract.pool import Pool
from laila.errors import (
    ContractError,
    InvalidArgumentError,
    LailaError,
    PoolError,
    SettingsError,
)
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    PoolSubset: TypeAlias = str | Pool | Iterable[str | Pool] | Mapping[str, object]

__all__ = ["check_affinity", "check_name", "open_pool", "subset_names"]


def subset_names(pool_subset: PoolSubset) -> list[str | Pool]:
    """Return the nicknames, ids and pools that a ``pool_subset`` names.

    Raises:
        InvalidArgumentError: (a ``TypeError``) something in it is neither text nor a pool.
    """
    if isinstance(pool_subset, (str, Pool)):
        names: list[object] = [pool_subset]
    elif isinstance(pool_subset, Mapping):
        names = [value if isinstance(value, Pool) else name for name, value in pool_subset.items()]
    elif hasattr(pool_subset, "__iter__"):
        names = list(pool_subset)
    else:
        names = [pool_subset]
    for name in names:
        if not isinstance(name, (str, Pool)):
            raise InvalidArgumentError(
                f"pool_subset takes nicknames, ids or pools, or a dict of them, not a {type(name).__name__}"
            )
    return names  # type: ignore[return-value]  # each was looked at


def check_name(pool_nickname: object) -> None:
    """Raise where the name of a pool is no text."""
    if pool_nickname is not None and (not isinstance(pool_nickname, str) or not pool_nickname):
        raise SettingsError(
            f"pool_nickname is a non-empty text, not {shown(pool_nickname)}", option="pool_nickname"
        )


def check_affinity(affinity: object) -> float | None:
    """Return an affinity as a float, or None. Raises where it is no number."""
    if affinity is None:
        return None
    if isinstance(affinity, bool) or not isinstance(affinity, (int, float)):
        raise InvalidArgumentError(f"an affinity is a number, not a {type(affinity).__name__}")
    if affinity != affinity:
        raise SettingsError("an affinity is a number, not NaN", option="affinity")
    try:
        return float(affinity)
    except OverflowError:
        raise SettingsError("an affinity is a number that a float holds", option="affinity") from None


_is_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*").fullmatch


def open_pool(url: str, **options: object) -> Pool:
    """Build the pool that ``url`` names; its scheme picks the plugin.

    Raises ``ValueError`` for what is no URL, :class:`~laila.errors.MissingPluginError` where the plugin is
    not installed.
    """
    from laila.plugins import pools
    from laila.showing import shown_url

    scheme, colon, _ = url.partition(":")
    if not colon or not _is_scheme(scheme):
        raise SettingsError(
            f"{shown_url(url)} is no pool URL: give one such as 'memory://', 'hdf5:///data/run.h5' or "
            "'s3://bucket/prefix'",
            option="url",
        )
    if set(url) & set("\t\r\n"):  # the standard library drops them, which would name another place
        raise SettingsError(
            f"{shown_url(url)} has a tab or a line break in it: write it as %09, %0A or %0D", option="url"
        )
    pool_class = pools().get(scheme.lower())
    if not issubclass(pool_class, Pool):
        raise InvalidArgumentError(f"{shown(scheme)} names {pool_class.__name__}, which is no pool")
    try:
        pool = pool_class.from_url(url, **options)
    except FileNotFoundError as error:
        from laila.central.again import current_folder

        if isinstance(error, LailaError) or current_folder():
            raise
        raise PoolError(
            f"{shown_url(url)} begins in the current folder, which was deleted: change to another folder "
            "(os.chdir), or write the whole path",
            pool=shown_url(url),
            errno=error.errno,
        ) from error
    if not isinstance(pool, Pool):
        raise ContractError(
            f"{pool_class.__qualname__}.from_url returned a {type(pool).__name__}; it must return the pool",
            plugin=pool_class.__qualname__,
        )
    return pool
