"""The current folder was deleted under a program: what needs it says so, and what to do."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import os, sys
import laila
import laila.taskforce

folder, kind = sys.argv[1:]
os.mkdir(folder)
os.chdir(folder)
os.rmdir(folder)
force = laila.command.add_taskforce(getattr(laila.taskforce, kind)(workers=1))
try:
    laila.command.submit(os.getpid, taskforce_id=force).wait(60)
except laila.errors.TaskForceError as error:
    print(error)
laila.terminate()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a folder that is in use cannot be deleted there")
@pytest.mark.parametrize("kind", ["ProcessTaskForce", "DaskTaskForce"])
def test_processes_that_cannot_start_in_it(kind: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "gone"), kind],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "the current folder was deleted" in done.stdout, done.stderr[-2000:]
    assert "os.chdir" in done.stdout
