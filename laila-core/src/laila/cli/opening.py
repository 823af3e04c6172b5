"""Open the pool that a command names by its URL, and find in it what the command names."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from laila.showing import shown

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator

    from laila.contract.pool import Pool
    from laila.policy import DefaultPolicy

__all__ = ["add_pool_option", "find_key", "is_manifest", "open_to_change", "open_to_look", "verbs_on"]


def add_pool_option(parser: ArgumentParser) -> None:
    """Add ``--pool``; the variable ``LAILA_POOL`` is its default."""
    pool = os.environ.get("LAILA_POOL") or None
    parser.add_argument(
        "--pool",
        metavar="POOL_URL",
        default=pool,
        required=pool is None,
        help="such as hdf5:///data/run.h5 (default: the variable LAILA_POOL)",
    )


def is_manifest(key: str) -> bool:
    """Whether a key is that of a manifest."""
    from laila.tiering.listing import kind_of

    return kind_of(key) == "manifest"


@contextmanager
def verbs_on(pool: Pool) -> Iterator[DefaultPolicy]:
    """Have a policy of this command alone, whose alpha pool is ``pool``; it closes the pool at the end."""
    from laila.active import only_here
    from laila.policy import DefaultPolicy

    policy = DefaultPolicy(alpha_pool=pool)
    try:
        with only_here(policy):
            yield policy
    finally:
        policy.close()


def find_key(pool: Pool, name: str) -> str:
    """Return the key that an id or a nickname means in this pool; of a variable that of the newest evolution.

    Raises :class:`~laila.errors.EntryNotFoundError` where there is none.
    """
    from laila.errors import EntryNotFoundError
    from laila.identity import make_global_id, nickname_uuid

    if name.startswith("LAILA:") or pool.exists(name):
        stems = [name]
    else:
        uuid = nickname_uuid(name)
        stems = [make_global_id((scope,), uuid) for scope in ("ENTRY", "MANIFEST")]
    for stem in stems:
        if pool.exists(stem):
            return stem
        evolutions = pool.history_here(stem)
        if evolutions:
            return f"{stem}-{evolutions[-1]}"
    raise EntryNotFoundError(f"no entry {shown(name)} in this pool", key=name, pool=pool.label)


def open_to_look(url: str) -> Pool:
    """Open the pool, read-only if its class can: looking must not make a file or hold a lock."""
    from inspect import signature

    from laila.central.naming import open_pool
    from laila.plugins import pools
    from laila.provenance import options_from_data

    scheme, colon, _ = url.partition(":")
    options: dict[str, object] = {}
    if colon and scheme:
        # Read from __init__, because the base class has a __new__ that takes anything.
        parameters = signature(pools().get(scheme.lower()).__init__).parameters  # type: ignore[misc]
        if "read_only" in parameters:
            options["read_only"] = True
    with options_from_data(options):  # somebody else may have sent the URL
        return open_pool(url, **options)


def open_to_change(url: str) -> Pool:
    """Open the pool to write to it. Somebody else may have sent the URL: it cannot set every option."""
    from laila.central.naming import open_pool
    from laila.provenance import options_from_data

    with options_from_data({}):
        return open_pool(url)
