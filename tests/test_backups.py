"""Other programs may copy some pools under load: the copy is whole, and has what was stored before."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import laila
from kinds import Place
from laila.entry import from_blob

pytestmark = pytest.mark.usefixtures("policy")

BACKUP = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(sys.argv[2]))"
PROGRAMS = {
    "files": ["cp", "-r"],
    "hdf5": ["cp"],
    "sqlite": [sys.executable, "-c", BACKUP],  # as `sqlite3 FILE ".backup COPY"` does
}
PLACES = {"files": "{}", "hdf5": "{}.h5", "sqlite": "{}.db"}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_copy_under_load_is_whole_and_can_be_used(kind: str, place: Place, tmp_path: Path) -> None:
    pool = place.open(kind, "busy")
    before = []
    for number in range(20):
        entry = laila.constant({"number": number, "array": np.arange(number * 1000)})
        pool[entry.global_id] = entry
        before.append(entry)
    stop, written = threading.Event(), threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            entry = laila.constant(np.arange(number % 50 * 100))
            pool[entry.global_id] = entry
            if number % 3 == 0:
                del pool[entry.global_id]
            if number == 10:
                written.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(60)
        source, copy = (tmp_path / PLACES[kind].format(name) for name in ("busy", "copy"))
        subprocess.run([*PROGRAMS[kind], source, copy], check=False, capture_output=True, timeout=280)
    finally:
        stop.set()
        writer.join()
    restored = place.open(kind, "copy")
    report = laila.verify(restored).wait()
    assert report.whole, report.damaged
    assert report.entries >= len(before)
    for entry in before:
        assert from_blob(restored[entry.global_id]).data["number"] == entry.data["number"]
    fresh = place.open("memory", "fresh")
    (fresh <= restored).wait()
    assert len(fresh) == report.entries
