"""The example on a Dask cluster: a real data set, several processes, and pools on servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import laila
from servers.dask import DaskServers
from servers.redis import RedisServer
from servers.s3 import S3Server
from workspace import ROOT, clean_environment

SCRIPT = ROOT / "examples" / "cluster" / "preprocess.py"


# Runs a script, but waits for both workers of its cluster: Dask begins when one is there, and on a busy
# machine that one may have done everything before the other is.
WITH_BOTH_WORKERS = """
import runpy, sys
from laila.taskforce.dask import DaskTaskForce

connect = DaskTaskForce._connect

def connect_and_wait(taskforce):
    client = connect(taskforce)
    client.wait_for_workers(2, timeout=60)
    return client

DaskTaskForce._connect = connect_and_wait
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(home: Path, *arguments: str, **variables: str) -> dict[str, Any]:
    """Run the example in an empty HOME; return what it printed."""
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITH_BOTH_WORKERS, str(SCRIPT), *arguments],
        cwd=home,
        env=clean_environment(home, **variables),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def check(printed: dict[str, Any], features: str) -> None:
    """All of it was done, by several processes, and is in the pool at the URL ``features``."""
    assert (printed["batches"], printed["images"]) == (18, 1797)
    assert printed["accuracy"] > 0.95
    assert len(printed["workers"]) == 2
    assert printed["submitter"] not in printed["workers"]
    with laila.DefaultPolicy() as policy:
        policy.extend(features, pool_nickname="features")
        made = policy.central.memory.remember(printed["features"], pool_nickname="features").wait()
    assert sum(len(entry.data["features"]) for entry in made) == 1797


def test_with_files(tmp_path: Path) -> None:
    """As it is, without any server."""
    printed = run(tmp_path / "home")
    check(printed, f"hdf5://{tmp_path}/home/features.h5")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[str, dict[str, str], str]]:
    """An S3 server's bucket and variables, and the URL of a Redis server."""
    with S3Server() as s3, RedisServer(tmp_path / "redis") as redis:
        yield s3.make_bucket(), s3.variables(), redis.url


@pytest.mark.long
def test_with_s3_and_redis(
    servers: tuple[str, dict[str, str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images on S3, what is made of them on Redis; the workers take the secrets from their environment."""
    bucket, variables, url = servers
    printed = run(tmp_path / "home", "--images", f"s3://{bucket}/digits", "--features", url, **variables)
    check(printed, url)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with laila.DefaultPolicy() as policy:
        assert len(list(policy.extend(f"s3://{bucket}/digits").keys())) == 18


def test_while_a_worker_is_killed_and_the_scheduler_is_restarted(
    servers: tuple[str, dict[str, str], str], tmp_path: Path
) -> None:
    """In mid-run: every task is done all the same, and what was memorized before is there, unchanged."""
    bucket, variables, url = servers
    home = tmp_path / "home"
    home.mkdir()
    with (
        DaskServers(tmp_path, 2, clean_environment(home, **variables)) as dask,
        laila.DefaultPolicy() as policy,
    ):
        features = policy.extend(url, pool_nickname="features")
        arguments = ["--images", f"s3://{bucket}/digits", "--features", url, "--scheduler", dask.address]
        run = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(SCRIPT), *arguments, "--batch", "10", "--retries", "5"],
            cwd=home,
            env=clean_environment(home, **variables),
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            until(lambda: len(list(features.keys())) >= 20, "tasks run")
            before = list(features.keys())
            (made,) = policy.central.memory.remember(before[:1], pool_nickname="features").wait()
            os.kill(made.metadata["user"]["worker"], signal.SIGKILL)
            until(
                lambda: len(list(features.keys())) >= len(before) + 20,
                "the other worker, and a new one, go on",
            )
            dask.kill()
            before = list(features.keys())
            held = policy.central.memory.remember(before, pool_nickname="features").wait()
            dask.start()
            printed = json.loads(run.communicate(timeout=280)[0])
        finally:
            run.kill()
            run.wait()
        assert len(before) < 180, "it was in mid-run"
        assert (printed["batches"], printed["images"]) == (180, 1797)
        assert len(set(printed["features"])) == 180
        assert printed["accuracy"] > 0.95
        after = policy.central.memory.remember(before, pool_nickname="features").wait()
        for one, other in zip(held, after, strict=True):
            assert (one.data["features"] == other.data["features"]).all()


def until(done: Callable[[], object], what: str) -> None:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + 250
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
