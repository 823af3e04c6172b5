"""Copy a pool, or what is named in it, into another pool. Every blob is read whole and verified.

A manifest is copied with its leaves. What the destination has already is compared and not written again, so
an interrupted copy goes on where it stopped. A damaged copy there is replaced.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from laila.cli.opening import find_key, goes_on, is_manifest, open_to_change, open_to_look, verbs_on
from laila.cli.output import clean, count_text, say
from laila.cli.progress import Progress
from laila.showing import said

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from laila.contract.pool import Pool

__all__ = ["configure", "copy_named", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the two pools and the names."""
    parser.add_argument("source", metavar="SRC_URL", help="the pool to copy from, such as file:runs")
    parser.add_argument("dest", metavar="DST_URL", help="the pool to copy into, such as s3://bucket/runs")
    parser.add_argument(
        "name", metavar="NAME|ID", nargs="*", help="what is copied (default: everything that the pool holds)"
    )
    goes_on(parser)


def run(options: Namespace) -> int:
    """Copy, and name what could not be copied; 1 if there is any."""
    with (
        open_to_look(options.source) as source,
        open_to_change(options.dest) as dest,
        verbs_on(dest),
        Progress("entries") as progress,
    ):
        copied, failed = copy_named(source, dest, options.name, progress)
    say(f"{count_text(len(copied))} copied{f', {failed} failed' if failed else ''}")
    return int(failed > 0)


def _all_keys(pool: Pool, name: str) -> list[str]:
    """The key that a name means; of a variable those of all evolutions, unless the id names one."""
    from laila.identity import stem

    key = find_key(pool, name)
    of = stem(key)
    return [key] if key in {name, of} else [f"{of}-{number}" for number in pool.history_here(of)]


def copy_named(source: Pool, dest: Pool, names: list[str], progress: Progress) -> tuple[list[str], int]:
    """Copy into ``dest`` what is named, or everything.

    Args:
        source: The pool to read.
        dest: The alpha pool of the active policy.
        names: Nicknames and ids; none means everything.
        progress: Shows how far it is.

    Returns:
        The keys that are in ``dest`` now, and how many could not be copied. Each of those is named on stderr.
    """
    from laila.entry import Manifest, from_blob
    from laila.errors import LailaError
    from laila.tiering.copying import copy_pool
    from laila.tiering.copytree import copy_manifest

    keys = [key for name in names for key in _all_keys(source, name)]
    plain = [key for key in keys if not is_manifest(key)] if names else list(source.deciding_tier.keys())
    progress.total = len(plain)
    groups = [copy_pool(dest, source, plain, on_progress=progress.show_done)] if plain else []
    for key in filter(is_manifest, keys):
        manifest = from_blob(source[key])
        assert isinstance(manifest, Manifest)
        groups.append(copy_manifest(dest, source, manifest.blueprint, key, manifest))
    copied: list[str] = []
    failed = 0
    for future in (future for group in groups for future in group.futures()):
        try:
            copied.append(future.wait())
        except (LailaError, OSError) as error:
            failed += 1
            print(f"laila: not copied: {clean(said(error))}", file=sys.stderr)
    return list(dict.fromkeys(copied)), failed
