"""The hot paths cost what they did, counted and not timed: see costs.py, and ``make bench`` for times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# For one call, under the version of Python that is named; calls are the same under each. Who makes a path
# cheaper writes the new figures down: ``python tests/costs.py small``.
COSTS = {
    "small": {"calls": 53, "3.11": (1497, 140), "3.13": (1349, 126)},
    "batch": {"calls": 43, "3.11": (1093, 138), "3.13": (850, 135)},
    # Futures have a __getattr__ that says what is meant. In such a class Python 3.11 looks attributes up the
    # long way: five of the blocks are bound methods, freed at once. Later versions make none.
    "tasks": {"calls": 19, "3.11": (405, 24), "3.13": (245, 15)},
}
MORE, LESS = 1.3, 0.7


@pytest.mark.parametrize("path", COSTS)
def test_hot_paths_cost_what_they_did(path: str) -> None:
    counted = json.loads(
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name("costs.py")), path],
            capture_output=True,
            text=True,
            check=True,
            timeout=280,
        ).stdout
    )
    known = COSTS[path]
    written = {"calls": known["calls"]}
    both = known.get(f"{sys.version_info.major}.{sys.version_info.minor}")
    if isinstance(both, tuple):
        written |= {"instructions": both[0], "allocations": both[1]}
    for name, cost in written.items():
        assert isinstance(cost, int)
        assert counted[name] <= MORE * cost, f"{path}: {counted[name]} {name}, and {cost} before"
        assert counted[name] >= LESS * cost, f"{path} is cheaper: write {counted[name]} {name} down"
