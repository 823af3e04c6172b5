"""Three processes, of which one alone has the pool's credentials: examples/peers, as its README says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from servers.s3 import S3Server
from workspace import ROOT, clean_environment

FOLDER = ROOT / "examples" / "peers"
SECRET = {"LAILA_TCPIP_PEER_SECRET_KEY": "the secret of this test, which is long enough"}


def environment(home: Path, **extra: str) -> dict[str, str]:
    """What a process gets: nothing of ours but the secret, and what is said."""
    kept = {name: value for name, value in clean_environment(home).items() if not name.startswith("AWS_")}
    home.mkdir(exist_ok=True)
    return {**kept, **SECRET, **extra}


def run(tmp_path: Path, url: str, **credentials: str) -> tuple[str, str]:
    """Run the hub with the credentials, and the two nodes without; what the nodes said."""
    hub = subprocess.Popen(
        [sys.executable, str(FOLDER / "hub.py"), url],
        cwd=tmp_path,
        env=environment(tmp_path / "hub", **credentials),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert hub.stdout is not None
    try:
        uri = hub.stdout.readline().strip()
        assert uri.startswith("ws://")
        said = [
            subprocess.run(
                [sys.executable, str(FOLDER / "node.py"), what, uri],
                cwd=tmp_path,
                env=environment(tmp_path / what),
                capture_output=True,
                text=True,
                timeout=200,
                check=True,
            ).stdout
            for what in ("write", "read")
        ]
        hub.communicate("", timeout=200)
        assert hub.returncode == 0
        return said[0], said[1]
    finally:
        hub.kill()
        hub.communicate()


def check(wrote: str, read: str, *, credentials: bool) -> None:
    """What the nodes must have said."""
    assert f"the hub has the credentials: {credentials}" in wrote
    assert "stored 6 entries" in wrote
    assert "the sum is 100000.0 with {'lr': 0.1}" in read


def test_nodes_use_a_file_that_only_the_hub_opens(tmp_path: Path) -> None:
    check(*run(tmp_path, "hdf5:shared.h5"), credentials=False)
    assert [path.name for path in tmp_path.rglob("*.h5")] == ["shared.h5"]


def test_nodes_without_credentials_use_the_bucket_of_the_hub(tmp_path: Path) -> None:
    with S3Server() as server:
        bucket = server.make_bucket()
        said = run(tmp_path, f"s3://{bucket}", **server.variables())
        check(*said, credentials=True)
