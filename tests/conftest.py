"""Wheels, built once a session without network, environments to install them into, and servers."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from servers.redis import RedisServer
from workspace import DISTRIBUTIONS, Distribution, Environment


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every distribution's wheel, built by way of its sdist: name to file."""
    built: dict[str, Path] = {}
    for distribution in DISTRIBUTIONS:
        folder = tmp_path_factory.mktemp(distribution.name)
        command = [
            sys.executable,
            "-m",
            "build",
            "--no-isolation",
            "--outdir",
            str(folder),
            str(distribution.folder),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        (built[distribution.name],) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with links to everything installed here but laila."""
    folder = tmp_path_factory.mktemp("libraries")
    for path in {Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("platlib"))}:
        for item in path.iterdir():
            if "laila" not in item.name and item.suffix != ".pth":
                (folder / item.name).symlink_to(item)
    return folder


@pytest.fixture(scope="session")
def make_environment(
    tmp_path_factory: pytest.TempPathFactory, libraries: Path
) -> Callable[[Sequence[Path | Distribution]], Environment]:
    """Make an environment and install into it, in the order given."""

    def make(what: Sequence[Path | Distribution]) -> Environment:
        environment = Environment.create(tmp_path_factory.mktemp("environment"), libraries)
        for item in what:
            environment.install(item)
        return environment

    return make


@pytest.fixture(scope="session")
def installed(
    wheels: dict[str, Path], make_environment: Callable[[Sequence[Path | Distribution]], Environment]
) -> Environment:
    """One environment with every wheel, for tests that change nothing in it."""
    return make_environment([wheels[distribution.name] for distribution in DISTRIBUTIONS])


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server; each test takes a prefix of its own."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as started:
        yield started
