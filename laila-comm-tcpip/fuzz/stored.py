"""Feed the readers of stored data with what a fuzzer finds: no crash, no hang, no cost without bytes.

    python laila-comm-tcpip/fuzz/stored.py CORPUS -max_total_time=60

Blobs, rows, manifests, arguments of calls, the index of an HDF5 file, records of Redis, files of arguments.
Whatever the bytes are, they are read, or one of laila's errors is raised; and that takes no more than so many
seconds, and so much memory, in any case and a byte.
"""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import atheris

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


TARGETS = [raw, rows, rows, plain, manifest, arguments, hdf5, redis, settings]


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
