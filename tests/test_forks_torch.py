"""Pools in the workers of torch's DataLoader, which are forks where the system has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from servers.s3 import S3Server

pytestmark = pytest.mark.torch

SCRIPT = """
import sys, warnings
import laila
import torch
from torch.utils.data import DataLoader, Dataset
warnings.simplefilter("ignore", DeprecationWarning)
laila.memory.extend(sys.argv[1], pool_nickname="data")

class Rows(Dataset):
    def __len__(self):
        return 40
    def __getitem__(self, n):
        return laila.remember(nickname=f"row {n}", pool_nickname="data").data

if __name__ == "__main__":
    rows = [laila.constant(torch.full((3,), float(n)), nickname=f"row {n}") for n in range(40)]
    laila.memorize(rows, pool_nickname="data").wait(60)
    for method in ("fork", "forkserver", "spawn"):
        for _ in range(2):
            loader = DataLoader(Rows(), batch_size=8, num_workers=2, multiprocessing_context=method)
            assert sum(float(batch.sum()) for batch in loader) == 3 * sum(range(40))
    assert laila.remember(nickname="row 3", pool_nickname="data").data[0] == 3
    print("end")
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["s3", "hdf5", "files"])
def test_a_data_loader(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Its workers read entries from a pool that the program opened and used before."""
    variables: dict[str, str] = {}
    url = {"files": "file:store", "hdf5": "hdf5:store.h5"}.get(kind, "")
    if kind == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        url, variables = f"s3://{request.getfixturevalue('s3_bucket')}/loader", server.variables()
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", url],
        cwd=tmp_path,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr
