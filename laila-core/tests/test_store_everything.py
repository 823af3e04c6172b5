"""Instances of whatever classes are installed come back equal, or are refused with their place.

By default a sample with a fixed seed; ``LAILA_STORE_EVERYTHING=1`` takes every class of every module, a
matter of many minutes, and ``LAILA_STORE_EVERYTHING="sklearn pandas"`` every class of these packages.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("everything.py")
WANTED = os.environ.get("LAILA_STORE_EVERYTHING", "")
# Of the packages that laila has codecs for, and of the standard library's modules with the oddest classes.
SAMPLE = """
    array ast calendar collections configparser copyreg csv datetime decimal email enum fractions functools
    http inspect ipaddress itertools json logging math pathlib pickle plistlib queue random re selectors
    statistics string struct sqlite3 textwrap threading tokenize types typing unittest urllib uuid weakref
    xml zipfile zoneinfo attr msgpack numpy pandas PIL pyarrow
"""


def store(*arguments: str, cwd: Path, timeout: float) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=cwd,
        env={**os.environ, "HOME": str(cwd), "MPLBACKEND": "Agg"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_sample_comes_back_or_is_refused_with_its_place(tmp_path: Path) -> None:
    found = store("20", "300", *SAMPLE.split(), cwd=tmp_path, timeout=280)
    assert found["faults"] == []
    assert int(str(found["tried"])) >= 300


@pytest.mark.skipif(not WANTED, reason="takes many minutes: set LAILA_STORE_EVERYTHING=1")
@pytest.mark.timeout(7200)
def test_everything_comes_back_or_is_refused_with_its_place(tmp_path: Path) -> None:
    only = [] if WANTED == "1" else WANTED.split()
    found = store("1", "0", *only, cwd=tmp_path, timeout=7200)
    assert found["faults"] == []
