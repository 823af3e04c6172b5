"""Show what a pool holds, or one entry of it.

With a pool's URL alone: one line an entry. With a global id, or with the nickname of an entry or a manifest:
the stored facts about it, and its value if it can be decoded.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from laila.cli.commands.ls import listed_fields, print_listed
from laila.cli.opening import add_pool, find_key, open_to_look
from laila.cli.output import (
    clean,
    count_text,
    print_json,
    say,
    show_fields,
    show_table,
    size_text,
    time_text,
)
from laila.contract.pool import MAX_KEY_BYTES
from laila.showing import said, shown
from laila.tiering.listing import kind_of

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator
    from typing import Any

    from laila.blob.blob import BlobHead
    from laila.contract.pool import Pool
    from laila.tiering.listing import Listed

__all__ = ["configure", "run"]

_LARGEST_PREVIEW = 64 * 2**20
_LONGEST_PREVIEW = 400
# Libraries whose values have a short repr, however large they are.
_BOUNDED = frozenset(
    "numpy torch pandas pyarrow polars PIL datetime zoneinfo decimal uuid pathlib".split()  # noqa: SIM905
)


def configure(parser: ArgumentParser) -> None:
    """Add the pool, the entry and ``--limit``."""
    add_pool(parser, then="entry")
    parser.add_argument("entry", metavar="ID|NICKNAME", nargs="?", help="a global id or a nickname")
    parser.add_argument(
        "--limit",
        type=_count,
        default=200,
        metavar="N",
        help="list at most N entries, 0 for all (default: 200)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object for each entry, one a line"
    )


def run(options: Namespace) -> int:
    """Print the pool's entries, or one entry; return 1 if a printed entry is damaged."""
    with open_to_look(options.pool) as pool:
        if options.entry is None:
            return _list(pool, options.limit, as_json=options.json)
        return _detail(pool, find_key(pool, options.entry), as_json=options.json)


def _count(text: str) -> int:
    """Read a number of entries."""
    from argparse import ArgumentTypeError

    if not (text.isascii() and text.isdigit()):
        raise ArgumentTypeError(f"give a whole number of entries, 0 for all, not {shown(text)}")
    return int(text[:18])


def _list(pool: Pool, limit: int, *, as_json: bool) -> int:
    from laila.tiering.listing import list_pool

    every = list_pool(pool)
    listed = sorted(every if limit <= 0 else islice(every, limit), key=lambda entry: entry.key)
    damaged = sum(entry.error is not None for entry in listed)
    if as_json:
        for entry in listed:
            print_listed(entry)
        return int(damaged > 0)
    if listed:
        show_table(("KEY", "KIND", "TYPE", "SIZE", "CREATED", "NICKNAME"), map(_row, listed))
    if limit > 0 and next(every, None) is not None:
        say(f"the first {len(listed)} entries; --limit 0 shows all")
    else:
        say(f"{count_text(len(listed))}{f', {damaged} damaged' if damaged else ''}")
    return int(damaged > 0)


def _row(entry: Listed) -> tuple[object, ...]:
    if entry.error is not None:
        return (entry.key[:MAX_KEY_BYTES], "damaged", said(entry.error), "", "", "")
    kind = " + ".join(entry.transformations) or entry.type  # a transformation hides the type
    size = size_text(entry.size)
    return (entry.key, entry.kind, kind, size, time_text(entry.created), entry.nickname or "")


def _detail(pool: Pool, key: str, *, as_json: bool) -> int:
    from laila.errors import CorruptEntryError, EntryNotFoundError, LailaError
    from laila.identity import stem
    from laila.tiering.listing import Listed

    head = pool.read_head(key)
    if head is None:
        raise EntryNotFoundError(f"no entry {shown(key)} in this pool", key=key, pool=pool.label)
    note = code = None
    value: str | None = None
    inner: BlobHead = head
    if head.nbytes > _LARGEST_PREVIEW:
        note = f"not shown: {size_text(head.nbytes)} is much for a look"
    else:
        try:
            inner, value = _open(pool, key)
        except CorruptEntryError:
            raise
        except LailaError as error:
            # If it is untrusted, or a key or library is missing, the facts of the head are still shown.
            note, code = f"not shown: {error}", 0
    if as_json:
        listed = Listed(pool.label, key, head)
        evolutions = list(pool.history_here(stem(key)))
        print_json({**listed_fields(listed), "evolutions": evolutions, "value": value, "note": note})
        return code or 0
    show_fields(_fields(pool, head, inner))
    say(f"value  {value if note is None else note}")
    return code or 0


def _open(pool: Pool, key: str) -> tuple[BlobHead, str]:
    """Decode the entry; return its head without transformations and a short text of its value."""
    from laila.blob.blob import Blob
    from laila.entry import Manifest, from_blob
    from laila.plugins import load_hooks

    load_hooks()  # hooks may bring the codec of this entry
    blob = pool[key]
    assert isinstance(blob, Blob)
    entry = from_blob(blob)
    return Blob.read_head(blob.head), _preview(entry.blueprint if isinstance(entry, Manifest) else entry.data)


def _preview(value: object) -> str:
    from reprlib import Repr

    class Short(Repr):
        def repr_int(self, value: int, level: int) -> str:
            return shown(value)  # Python writes no int of more than 4,300 digits

        def repr_instance(self, value: Any, level: int) -> str:
            kind = type(value)
            if kind.__module__.partition(".")[0] in _BOUNDED and str(getattr(value, "dtype", "")) != "object":
                return super().repr_instance(value, level)
            # A few bytes may describe fields that take for ever to write out in full.
            fields = dict(value) if isinstance(value, dict) else getattr(value, "__dict__", None)
            if fields is None or level <= 0:
                return shown(value)
            inner = (f"{clean(name)}={self.repr1(field, level - 1)}" for name, field in fields.items())
            return f"{kind.__name__}({', '.join(islice(inner, self.maxdict))})"

    short = Short()
    short.maxlevel, short.maxdict, short.maxlist, short.maxtuple = 4, 20, 20, 20
    short.maxstring = short.maxother = short.maxlong = _LONGEST_PREVIEW
    text = " ".join(short.repr(value).split())
    return clean(text if len(text) <= _LONGEST_PREVIEW else text[: _LONGEST_PREVIEW - 1] + "…")


def _fields(pool: Pool, stored: BlobHead, head: BlobHead) -> Iterator[tuple[str, object]]:
    from laila.identity import stem

    yield "id", stored.key
    yield "kind", kind_of(stored.key)
    if head.nickname:
        yield "nickname", head.nickname
    meta = head.metadata if not head.transformations else {}
    for name in ("type", "codec"):
        if meta.get(name):
            yield name, meta[name]
    size = meta.get("size")
    if isinstance(size, int):
        yield "size", size_text(size)
    yield "stored", size_text(stored.nbytes)
    if time_text(meta.get("created")):
        yield "created", time_text(meta["created"])
    if stored.transformations:
        yield "transformed", _transformed(stored)
    if head.signature is not None:
        yield "signed by", head.signature[0]
    for nbytes, dtype, shape, order, _ in head.table if not head.transformations else ():
        what = f"{dtype} {'×'.join(map(str, shape)) or 'scalar'} {order}" if dtype else "bytes"
        yield "buffer", f"{what}, {size_text(nbytes)}"
    evolutions = pool.history_here(stem(stored.key))
    if evolutions:
        yield "evolutions", " ".join(map(str, evolutions))
    if meta.get("user"):
        yield "metadata", _preview(meta["user"])


def _transformed(head: BlobHead) -> str:
    return " + ".join(name for name, _ in head.transformations)
