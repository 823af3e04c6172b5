"""Feed the readers of stored data with what a fuzzer finds: no crash, no hang, no cost without bytes.

    python laila-comm-tcpip/fuzz/stored.py CORPUS -max_total_time=60

Blobs, rows, manifests, what was transformed, arguments of calls, the index of an HDF5 file, records of Redis,
files of arguments. Whatever the bytes are, they are read, or one of laila's errors is raised; and that takes
no more than so many seconds, and so much memory, in any case and a byte.
"""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import atheris
import msgpack

with atheris.instrument_imports(include=["laila"]):
    from laila.arguments.formats import read_env, read_json, read_toml, read_xml
    from laila.blob.blob import Blob
    from laila.blob.buffer import Buffer
    from laila.codec import decode, tags
    from laila.codec.registry import decoder_for
    from laila.contract.wire import unpack_call
    from laila.entry import from_blob
    from laila.errors import LailaError
    from laila.pool.hdf5.layout import decode_blocks
    from laila.pool.redis.layout import MARK, Record
    from laila.transform import TransformationSequence

ENTRY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
MANIFEST = ENTRY.replace("ENTRY", "MANIFEST")
SECONDS, SECONDS_A_BYTE = 2.0, 1e-4
MEMORY, MEMORY_A_BYTE = 64 * 2**20, 4096
FOLDER = Path(tempfile.mkdtemp())
READERS = {".toml": read_toml, ".json": read_json, ".env": read_env, ".xml": read_xml}


def blob_of(data: bytes, key: str, *, rows: bool) -> Blob:
    """A blob as whoever can write to a pool makes it, with right checksums. The last bytes are a buffer."""
    tree, beside = data[: len(data) * 3 // 4], data[len(data) * 3 // 4 :]
    mark = tags.ROWS_MARK if rows else b""
    made = Blob(key, mark + tree, (Buffer(memoryview(beside)),) if beside else ())
    return Blob.from_bytes(bytes(made))


def raw(data: bytes) -> None:
    """Any bytes in the place of a blob."""
    decode(Blob.from_bytes(data))


def rows(data: bytes) -> None:
    """Any rows."""
    decode(blob_of(data, ENTRY, rows=True))


TAGS = sorted({tag for name, tag in vars(tags).items() if name.isupper() and type(tag) is int})
NAMES = [
    "",
    "a",
    "int",
    "<f8",
    "|V8",
    "O",
    "UTC",
    "datetime64[ns]",
    '[{"a": 1}]',
    ENTRY,
    "1/3",
    "0E+999999",
    "C",
]


def field(data: atheris.FuzzedDataProvider, row: int) -> object:
    """What may stand in the place of a field: an atom, a reference to a row before or after, a list."""
    kind = data.ConsumeIntInRange(0, 8)
    if kind < 3:
        number = max(0, row - data.ConsumeIntInRange(0, 4))
        return msgpack.ExtType(0, number.to_bytes(1 if number < 256 else 2, "little"))
    if kind == 3:
        return data.PickValueInList([None, True, False, 0.5, float("nan"), -(2**63), 2**64 - 1])
    if kind == 4:
        return data.ConsumeIntInRange(-3, 300)
    if kind == 5:
        return data.ConsumeBytes(data.ConsumeIntInRange(0, 40))
    if kind == 6:
        return [field(data, row) for _ in range(data.ConsumeIntInRange(0, 4))]
    return data.PickValueInList(NAMES) if kind == 7 else data.ConsumeUnicodeNoSurrogates(10)


def built(data: bytes) -> bytes:
    """Rows of known tags, with fields of any kind, and buffers beside them."""
    given = atheris.FuzzedDataProvider(data)
    made: list[bytes] = []
    while given.remaining_bytes() and len(made) < 300:
        count = given.ConsumeIntInRange(0, 7)
        fields = [field(given, len(made)) for _ in range(count)]
        made.append(msgpack.packb([given.PickValueInList(TAGS), *fields]))
    return b"".join(made)


def known(data: bytes) -> None:
    """Rows of known tags."""
    beside = Buffer(memoryview(data[:64]))
    decode(Blob.from_bytes(bytes(Blob(ENTRY, tags.ROWS_MARK + built(data), (beside, beside)))))


def known_manifest(data: bytes) -> None:
    """Rows of known tags in the place of a manifest."""
    from_blob(Blob.from_bytes(bytes(Blob(MANIFEST, tags.ROWS_MARK + built(data)))))


def transformed(data: bytes) -> None:
    """Any bytes that say that they were transformed."""
    given = atheris.FuzzedDataProvider(data)
    steps = tuple(
        (given.PickValueInList(["zlib", "zstd", "base64", "aes-gcm", "x"]), {"size": given.ConsumeInt(5)})
        for _ in range(given.ConsumeIntInRange(1, 3))
    )
    rest = Buffer(memoryview(given.ConsumeBytes(given.remaining_bytes()) or b"x"))
    made = Blob(ENTRY, b"", (rest,), transformations=steps, digest=bytes(16))
    TransformationSequence().invert(Blob.from_bytes(bytes(made)))


def plain(data: bytes) -> None:
    """Any plain tree."""
    decode(blob_of(data, ENTRY, rows=False))


def manifest(data: bytes) -> None:
    """Any rows in the place of a manifest."""
    from_blob(blob_of(data, MANIFEST, rows=True))


def arguments(data: bytes) -> None:
    """The arguments of a call."""
    blob = blob_of(data, "value", rows=True)
    unpack_call({"*": [{"$value": 0}, {"$blob": 0}], "entry": {"$entry": 0}}, [blob])


def hdf5(data: bytes) -> None:
    """The index of an HDF5 file."""
    decode_blocks(data, "file")


def redis(data: bytes) -> None:
    """What stands in Redis in the place of a blob."""
    Record.parse(ENTRY, data)
    Record.parse(ENTRY, MARK + data)


def settings(data: bytes) -> None:
    """A file of arguments, in each form."""
    for suffix, read in READERS.items():
        file = FOLDER / f"arguments{suffix}"
        file.write_bytes(data)
        try:
            read(file)
        except LailaError:
            continue


TARGETS = [
    raw,
    rows,
    known,
    known,
    plain,
    manifest,
    known_manifest,
    arguments,
    transformed,
    hdf5,
    redis,
    settings,
]


def load() -> None:
    """Import what tags need, before anything is measured."""
    for name, tag in vars(tags).items():
        if name.isupper() and type(tag) is int:
            with suppress(LailaError):
                decoder_for(tag, ENTRY)


def test_one_input(data: bytes) -> None:
    """Decide by the first byte, and hold the reader to its budget."""
    if not data:
        return
    target, rest = TARGETS[data[0] % len(TARGETS)], data[1:]
    tracemalloc.start()
    began = time.process_time()
    try:
        target(rest)
    except LailaError:
        pass
    except ValueError:
        if target is not arguments:
            raise
    took = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < SECONDS + SECONDS_A_BYTE * len(data), f"{target.__name__}: {took:.1f} s"
    assert peak < MEMORY + MEMORY_A_BYTE * len(data), f"{target.__name__}: {peak >> 20} MiB"


load()

if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
