"""Wheels, built once a session without network, environments to install them into, and servers."""

from __future__ import annotations

import fcntl
import os
import shutil
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import laila
from kinds import Place
from laila.cli import main as laila_command
from servers.redis import RedisServer
from servers.s3 import S3Server
from test_docs import FILE, blocks_of
from workspace import CORE, DISTRIBUTIONS, ROOT, Distribution, Environment, build, needs, top_level


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every distribution's wheel, built from its sdist: name to file. The workers of xdist share them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / "wheels.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes first builds them
        for distribution in DISTRIBUTIONS:
            place = folder / "wheels" / distribution.name
            if not place.is_dir():
                made = folder / "wheels" / f"{distribution.name}.part"
                shutil.rmtree(made, ignore_errors=True)
                build(distribution.folder, made)
                made.rename(place)
    found = {each.name: list((folder / "wheels" / each.name).glob("*.whl")) for each in DISTRIBUTIONS}
    return {name: wheel for name, (wheel,) in found.items()}


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
def few_libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with links to what ``pip install laila-core[testing]`` brings beside laila-core."""
    folder = tmp_path_factory.mktemp("few-libraries")
    for name in needs(f"{CORE}[testing]") - {CORE}:
        for item in top_level(name):
            (folder / item).symlink_to(Path(sysconfig.get_path("purelib")) / item)
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
def shelf_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the plugin that docs/how-to/write-a-pool.md makes, with its sdist beside it."""
    folder = tmp_path_factory.mktemp("third-party")
    assert laila_command(["new-pool", "shelf", "--folder", str(folder)]) == 0
    for block in blocks_of((ROOT / "docs" / "how-to" / "write-a-pool.md").read_text()):
        file = FILE.match(block.body)
        if file is not None:
            with (folder / file["path"]).open("w" if file["how"] == "file" else "a") as target:
                target.write(block.body[file.end() :])
    return build(folder / "laila-pool-shelf", folder / "dist")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server; each test takes a prefix of its own."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 server."""
    with S3Server() as started:
        yield started


@pytest.fixture(scope="session")
def s3_bucket(s3_server: S3Server) -> str:
    """A bucket in it; each test takes a prefix of its own."""
    return s3_server.make_bucket()


@pytest.fixture
def policy() -> Iterator[laila.DefaultPolicy]:
    """A fresh policy, active until the test ends."""
    before = laila.active_policy
    made = laila.DefaultPolicy()
    laila.activate_policy(made)
    yield made
    made.close()
    if not before.closed:
        laila.activate_policy(before)


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """Where the pools of ``kinds.KINDS`` are made; they are closed when the test ends."""
    made = Place(tmp_path, request)
    yield made
    for pool in made.opened:
        pool.close()
