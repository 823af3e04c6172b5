"""The page on writing a task force leads to a green suite, and the suite of a broken one ends soon."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workspace import ROOT

PAGE = ROOT / "docs" / "how-to" / "write-a-task-force.md"

SUITE = """
import pytest
from laila.testing import TaskForceConformance
from engine import {name}

class TestIt(TaskForceConformance):
    in_process = {in_process}
    examples = 3
    patience = {patience}

    @pytest.fixture
    def make_taskforce(self):
        return {name}
"""

DROPS = """
from laila.contract import TaskForce

class Drops(TaskForce):
    def _start(self): ...
    def _submit(self, tasks): ...
    def _pause(self): ...
    def _resume(self): ...
    def _shutdown(self, wait, cancel_pending): ...
    queue_len = 0
"""

BLOCKS = """
from concurrent.futures import ThreadPoolExecutor
from laila.contract import TaskForce

class Blocks(TaskForce):
    def __init__(self, nickname=None):
        super().__init__(nickname=nickname)
        self.executor = ThreadPoolExecutor(1)
    def _start(self): ...
    def _submit(self, tasks):
        for task in tasks:
            self.executor.submit(task.run)
    def _pause(self): ...
    def _resume(self): ...
    def _shutdown(self, wait, cancel_pending): self.executor.shutdown(True)
    queue_len = 0
"""


def run(
    folder: Path,
    engine: str,
    name: str,
    *,
    in_process: bool = True,
    patience: float = 60.0,
    only: str = "",
) -> str:
    """Run the suite over a task force; return what it said in the end."""
    (folder / "engine.py").write_text("from __future__ import annotations\n" + engine)
    suite = SUITE.format(name=name, in_process=in_process, patience=patience)
    (folder / "test_engine.py").write_text(suite)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", only, "test_engine.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    return done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.parametrize(("name", "in_process"), [("ThreadEachTaskForce", True), ("PipeTaskForce", False)])
def test_the_examples_of_the_page_pass(name: str, in_process: bool, tmp_path: Path) -> None:
    """As they stand there."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (block,) = (block for block in blocks if f"class {name}" in block)
    engine = "from collections.abc import Sequence\n" + block.partition("\nwith ")[0]
    # Processes take their time: of their suite what is about them.
    only = "" if in_process else "exit or worker or pause"
    said = run(tmp_path, engine, name, in_process=in_process, only=only)
    assert "passed" in said, said
    assert not re.search(r"\d (failed|error)", said), said


@pytest.mark.parametrize("engine", [DROPS, BLOCKS], ids=["drops", "blocks"])
def test_a_suite_in_which_much_hangs_ends(engine: str, tmp_path: Path) -> None:
    """Soon, with the process, and with what was found."""
    began = time.monotonic()
    name = "Drops" if engine is DROPS else "Blocks"
    said = run(tmp_path, engine, name, patience=4.0)
    assert time.monotonic() - began < 250
    assert "failed" in said, said
    assert "skipped" in said, said
    assert "promises of laila's contract that are broken" in said, said
