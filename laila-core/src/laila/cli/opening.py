"""Open the pool that a command names by its URL, and find in it what the command names."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from laila.showing import shown

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from laila.contract.pool import Pool
    from laila.policy import DefaultPolicy

__all__ = [
    "GOES_ON",
    "add_pool",
    "add_pool_option",
    "find_key",
    "goes_on",
    "is_manifest",
    "leaves_nothing",
    "open_to_change",
    "open_to_look",
    "verbs_on",
]


GOES_ON = ": run the same command again, and it goes on where it stopped"
"""What Ctrl-C says of a command that can go on."""


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


def add_pool(parser: ArgumentParser, help: str = "such as hdf5:///data/run.h5", *, then: str = "") -> None:
    """Add the pool, as the first argument or as ``--pool``; the variable ``LAILA_POOL`` is its default.

    Args:
        parser: The parser of the command.
        help: What the pool is.
        then: The destination of the argument that may follow, where there is one.
    """
    parser.add_argument(
        "pool_url", metavar="POOL_URL", nargs="?", help=f"{help} (default: the variable LAILA_POOL)"
    )
    parser.add_argument("--pool", metavar="POOL_URL", help="the same, as an option")
    parser.set_defaults(settle=partial(_settle_pool, parser, then))


def _settle_pool(parser: ArgumentParser, then: str, options: Namespace) -> None:
    """Make ``options.pool`` the pool that is meant, or end the program with an error."""
    default = os.environ.get("LAILA_POOL") or None
    url, option = options.pool_url, options.pool
    if then and url is not None and getattr(options, then) is None:
        # One argument is the pool, unless the pool is known and this is no URL.
        if option is not None or (default is not None and ":" not in url):
            setattr(options, then, url)
            url = None
    if url is not None and option is not None:
        parser.error("two pools are given: name one, as POOL_URL or by --pool")
    options.pool = url or option or default
    if options.pool is None:
        parser.error("no pool is given: name it as POOL_URL, by --pool or in the variable LAILA_POOL")


def goes_on(parser: ArgumentParser) -> None:
    """Have Ctrl-C say that the same command goes on where it stopped."""
    parser.set_defaults(interrupted=GOES_ON)


def leaves_nothing(parser: ArgumentParser) -> None:
    """Have Ctrl-C say that nothing was written under the name of the destination."""
    parser.set_defaults(interrupted=": nothing is at the destination; run the same command again")


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
