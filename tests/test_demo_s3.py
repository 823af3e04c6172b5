"""The main job in a bucket, as `make demo POOL=s3://` runs it: with a server that starts and ends with it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from workspace import ROOT, clean_environment


def with_s3(home: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a server of its own."""
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "with_s3.py"), "--", *command],
        cwd=home,
        env=clean_environment(home, COLUMNS="120", **variables),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_the_second_process_recovers_everything_from_a_bucket(tmp_path: Path) -> None:
    """Whatever the variables of this machine say about buckets elsewhere."""
    demo = str(ROOT / "examples" / "digits" / "demo.py")
    strange = {"AWS_SESSION_TOKEN": "x", "AWS_PROFILE": "x", "AWS_ENDPOINT_URL_S3": "https://example.org"}
    done = with_s3(
        tmp_path, sys.executable, demo, "--pool", "s3://", "--epochs", "2", "--output", "out", **strange
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("✔") == 3
    assert "S3Pool" in done.stdout
    (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)", done.stderr)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=5)


def test_the_exit_code_is_that_of_the_command(tmp_path: Path) -> None:
    assert with_s3(tmp_path, sys.executable, "-c", "raise SystemExit(7)").returncode == 7
