"""Rows that make objects of libraries: mutated ones are refused, or make another object."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import pytest

from field.corpus import LIBRARIES
from laila.blob.blob import Blob
from laila.codec import decode, encode, tags
from laila.codec.rows import reference
from laila.errors import LailaError

pytestmark = [pytest.mark.field, pytest.mark.timeout(600)]
KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
ATOMS = (0, -1, 1, 3, 255, 1 << 31, (1 << 63) - 1, (1 << 64) - 1, None, "", "x", b"", True, 0.5)


def rows_of(blob: Blob) -> list[Any]:
    unpacker = msgpack.Unpacker(None, strict_map_key=False, unicode_errors="surrogatepass", max_ext_len=3)
    unpacker.feed(memoryview(blob.tree)[1:])
    return list(unpacker)


def mutate(rows: list[Any], chance: random.Random) -> None:
    """Change one field of one row: mostly of one that makes an object."""
    whole = [place for place, row in enumerate(rows) if row and isinstance(row, list | tuple)]
    places = [place for place in whole if rows[place][0] == tags.REBUILT]
    place = chance.choice(places if chance.random() < 0.6 else whole)
    row = rows[place]
    if len(row) < 2:
        return
    field = chance.randrange(1, len(row))
    what = chance.random()
    if what < 0.4 and place:
        row[field] = reference(chance.randrange(place))
    elif what < 0.7:
        row[field] = chance.choice(ATOMS)
    elif what < 0.8:
        del row[field]
    elif what < 0.9:
        row.append(row[field])
    elif type(row[field]) is bytes and row[field]:
        data = bytearray(row[field])
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        row[field] = bytes(data)


@pytest.mark.parametrize("library", ["polars", "xarray", "networkx", "shapely", "astropy"])
def test_mutated_rows(library: str) -> None:
    blobs = [
        blob
        for value in LIBRARIES[library]().values()
        for blob in [encode(value, key=KEY)]
        if blob.signature is None and bytes(blob.tree[:1]) == b"\xc1"  # one that has rows
    ]
    assert len(blobs) > 2
    outcomes: set[object] = set()
    for seed in range(300):
        chance = random.Random(seed)
        blob = chance.choice(blobs)
        rows = rows_of(blob)
        mutate(rows, chance)
        tree = b"\xc1" + b"".join(msgpack.packb(row, unicode_errors="surrogatepass") for row in rows)
        forged = Blob(KEY, tree, blob.buffers, None, (0.0, "x", len(tree), "rows", None))
        try:
            decode(forged)
            outcomes.add("read")
        except LailaError as error:
            outcomes.add(type(error).__name__)
    assert {"read", "CorruptEntryError"} <= outcomes
