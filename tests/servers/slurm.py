"""SLURM as dask-jobqueue sees it: ``sbatch`` and ``scancel``, which run job scripts on this machine."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Self

__all__ = ["Slurm"]

_SBATCH = """#!/bin/sh
# Runs a job script at once, in a session of its own; a job's number is that of its first process.
copy=$(mktemp "{folder}/script.XXXXXX") && cp "$1" "$copy" || exit 1
setsid bash "$copy" > "$copy.log" 2>&1 < /dev/null &
touch "{folder}/job.$!"
echo "Submitted batch job $!"
"""
_SCANCEL = """#!/bin/sh
for job in "$@"; do kill -KILL -- "-$job" 2> /dev/null; done
exit 0
"""


class Slurm:
    """A folder with the two commands, for the front of ``PATH``; jobs end with the ``with`` block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name, text in (("sbatch", _SBATCH), ("scancel", _SCANCEL)):
            (folder / name).write_text(text.format(folder=folder) if name == "sbatch" else text)
            (folder / name).chmod(0o755)

    def jobs(self) -> list[int]:
        """The numbers of all jobs that were submitted, in order."""
        found = sorted(self.folder.glob("job.*"), key=lambda path: path.stat().st_mtime_ns)
        return [int(path.suffix[1:]) for path in found]

    def scripts(self) -> list[str]:
        """The text of their scripts."""
        return [path.read_text() for path in self.folder.glob("script.??????")]

    def kill(self, job: int) -> None:
        """End a job as SLURM does when its time is up."""
        with suppress(ProcessLookupError):
            os.killpg(job, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for job in self.jobs():
            self.kill(job)
