"""The how-to for SLURM, run as it stands but for its sizes: jobs that dask-jobqueue submits are workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from servers.slurm import Slurm
from test_docs import blocks_of
from workspace import ROOT, clean_environment

PAGE = ROOT / "docs" / "how-to" / "dask.md"

# What the page does not do: work in mid-run of which a job ends by its wall time.
WORK = """
import json, os, sys, time
from functools import partial
from pathlib import Path

def step(n):
    while n >= 20 and not Path("killed").exists():  # left for the second job
        time.sleep(0.01)
    stored = laila.memorize(laila.constant(n, nickname=f"step {n}"), pool_nickname="data").wait()
    return str(stored), os.environ["AWS_PROFILE"], os.environ["JOB"]

group = laila.command.submit([partial(step, n) for n in range(60)])
for future in group.futures()[:10]:  # what a job has not handed over when it ends is done again
    future.wait(100)
print("in mid-run", flush=True)
values = group.wait(100)
print(json.dumps(values), flush=True)
found = laila.remember([key for key, *_ in values], pool_nickname="data").wait()
assert [entry.data for entry in found] == [*range(60)]
laila.terminate()
cluster.close()
"""


def test_the_how_to_for_slurm(tmp_path: Path) -> None:
    """Tasks run in the jobs; those of a job that ends before them are retried in the next one."""
    home = tmp_path / "home"
    home.mkdir()
    (block,) = [block.body for block in blocks_of(PAGE.read_text()) if "SLURMCluster(" in block.body]
    for old, new in (
        ("cores=16", "cores=1"),
        ("processes=16", "processes=1"),
        ("maximum_jobs=20", "maximum_jobs=1"),
        ("s3://bucket/run-7", f"hdf5://{home}/run-7.h5"),
        ('["export AWS_PROFILE=run7"]', '["export AWS_PROFILE=run7", "export JOB=$$"]'),
    ):
        assert old in block, f"the page has changed: {old}"
        block = block.replace(old, new)
    with Slurm(tmp_path / "slurm") as slurm:
        environment = clean_environment(
            home,
            PATH=f"{slurm.folder}:{os.environ['PATH']}",
            # Where the machine has one address alone; the page leaves it to Dask.
            DASK_JOBQUEUE__SLURM__SCHEDULER_OPTIONS=repr(
                {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
            ),
        )
        program = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", block + WORK],
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "in mid-run\n"
            slurm.kill(slurm.jobs()[0])
            (home / "killed").touch()
            printed = program.communicate(timeout=280)[0]
        finally:
            program.kill()
            program.wait()
        assert program.returncode == 0
        values = json.loads(printed)
        assert {profile for _, profile, _ in values} == {"run7"}
        assert len({job for _, _, job in values}) == 2, "the second job went on where the first one ended"
        assert all("#SBATCH -p normal" in script for script in slurm.scripts())
