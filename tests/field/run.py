"""Store the objects of libraries, or remember them in another process and compare; prints a line of JSON.

usage: python -m field.run store|compare FOLDER LIBRARY [LIBRARY …]
"""

from __future__ import annotations

import json
import logging
import pickle
import sys
import traceback
import warnings
from pathlib import Path

import laila
from field.compare import difference
from field.corpus import LIBRARIES
from laila.errors import LailaError
from laila.pool.files import FilesystemPool
from laila.pool.hdf5 import HDF5Pool


def main() -> None:
    """Do what the arguments say."""
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    action, folder, libraries = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    laila.memory.extend(HDF5Pool(folder / "pool.h5", nickname="hdf5"))
    laila.memory.extend(FilesystemPool(folder / "pool", nickname="files", transformations=["zstd", "base64"]))
    step = store if action == "store" else compare
    outcomes: dict[str, dict[str, object]] = {}
    for library in libraries:
        outcomes[library] = {name: step(library, name, value) for name, value in LIBRARIES[library]().items()}
    print(json.dumps(outcomes))
    laila.terminate()


def store(library: str, name: str, value: object) -> dict[str, object]:
    """Memorize ``value`` in both pools; say whether it is data, signed, or refused and why."""
    try:
        entry = laila.constant(value, nickname=f"{library} {name}")
        laila.memorize(entry, pool_nickname="hdf5").wait()
    except LailaError as error:
        return {"stored": "refused", "why": f"{type(error).__name__}: {error}"}
    laila.memorize(entry, pool_nickname="files").wait()
    blob = laila.memory.router.route(pool_nickname="hdf5")[entry.global_id]
    return {"stored": "data" if blob.signature is None else "signed"}


def compare(library: str, name: str, value: object) -> str | None:
    """Remember what was stored from both pools; say what differs."""
    for pool in ("hdf5", "files"):
        try:
            again = laila.remember(nickname=f"{library} {name}", pool_nickname=pool).data
            found = difference(value, again)
            if found is not None and not _as_pickle_gives_it(value, again):
                return f"{pool}: {found}"
        except Exception:  # noqa: BLE001 - the test shows it
            return f"{pool}: {traceback.format_exc(limit=-3)}"
    return None


def _as_pickle_gives_it(value: object, again: object) -> bool:
    """Whether the library's own pickle changes ``value`` in the same way."""
    try:
        pickled = pickle.loads(pickle.dumps(value))
    except Exception:  # noqa: BLE001 - the library does not pickle it
        return False
    return difference(value, pickled) is not None and difference(pickled, again) is None


if __name__ == "__main__":
    main()
