"""Real objects of many libraries come back in a second process, from HDF5 and through zstd and base64.

What is compared, and how, does not depend on laila (`field.compare`). The page of supported types is what
these tests find; `python -m field.page`, run in `tests`, writes it anew.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from field import page
from field.corpus import LIBRARIES
from workspace import ROOT, clean_environment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.field, pytest.mark.timeout(1500)]
REFUSED = {("mpmath", "matrix"): "does not unpickle"}
"""What is refused, and a word of the reason: the library cannot read its own pickle."""


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """For each library: how each object was stored, and what differs when it is remembered."""
    folder = tmp_path_factory.mktemp("corpus")
    names = list(LIBRARIES)
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    with ThreadPoolExecutor(2) as executor:
        for part in executor.map(partial(both, folder), names):
            found |= part
    return found


def both(folder: Path, name: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Store the objects of a library in one process, and compare them in another."""
    own = folder / name
    own.mkdir()
    stored, compared = (run(action, own, [name]) for action in ("store", "compare"))
    return {name: (stored[name], compared[name])}


def run(action: str, folder: Path, libraries: list[str]) -> dict[str, Any]:
    """Run a step in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "field.run", action, str(folder), *libraries]
    environment = clean_environment(folder, PYTHONPATH=str(ROOT / "tests"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome


def test_there_are_enough(outcomes: dict[str, Any]) -> None:
    """At least 300 objects of at least 40 libraries."""
    assert len(LIBRARIES) >= 40
    assert sum(len(stored) for stored, _ in outcomes.values()) >= 300


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_stored_comes_back(library: str, outcomes: dict[str, Any]) -> None:
    """The same in type, content and state; what is refused says why."""
    stored, compared = outcomes[library]
    wrong = {}
    for name, outcome in stored.items():
        if outcome["stored"] == "refused":
            if REFUSED.get((library, name), "\0") not in outcome["why"]:
                wrong[name] = outcome["why"]
        elif compared[name] is not None:
            wrong[name] = compared[name]
    assert wrong == {}


def test_the_page_of_supported_types_says_what_was_found(outcomes: dict[str, Any]) -> None:
    """`python -m field.page` writes it."""
    assert page.PAGE.read_text() == page.written({name: stored for name, (stored, _) in outcomes.items()})
