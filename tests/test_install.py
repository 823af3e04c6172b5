"""What the README says of installing: wheels from `make dist`, each extra, the lines for pip in errors."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from workspace import CORE, DISTRIBUTIONS, ROOT, Distribution, Environment, clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    MakeEnvironment = Callable[[Sequence[Path | Distribution]], Environment]

(_CORE,) = (distribution for distribution in DISTRIBUTIONS if distribution.name == CORE)
PLUGINS = {
    distribution.package.rpartition(".")[2]: distribution
    for distribution in DISTRIBUTIONS
    if distribution.name != CORE
}
STORE = "import laila; laila.memorize(laila.constant([1], nickname='x')).wait(60); laila.terminate()"


@pytest.fixture(scope="module")
def dist(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all wheels, as `make dist` leaves it."""
    folder = tmp_path_factory.mktemp("dist")
    for wheel in wheels.values():
        (folder / wheel.name).symlink_to(wheel)
    return folder


def pip(environment: Environment, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pip for an environment, without a package index."""
    return subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(environment.python), *arguments],
        env=clean_environment(environment.home, PIP_NO_INDEX="1", PIP_DISABLE_PIP_VERSION_CHECK="1"),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


LIBRARIES = sorted(set(_CORE.extras) - {*PLUGINS, "all", "torch"})
"""Extras that bring no plugin: where all go together, each goes alone."""


ALIKE = {"files", "processes", "s3", "tcpip", "threads"}
"""Extras of one plugin, as `hdf5` and `redis` are."""


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(extra, marks=[pytest.mark.long] if extra in ALIKE else [])
        for extra in ["all", *sorted(PLUGINS), ",".join(LIBRARIES)]
    ],
)
def test_each_extra_installs_from_the_folder_of_wheels(
    extra: str, dist: Path, make_environment: MakeEnvironment
) -> None:
    """`pip install --find-links dist "laila-core[extra]>=2"`; third-party libraries are there already."""
    environment = make_environment([])
    done = pip(environment, "install", "--find-links", str(dist), f"laila-core[{extra}]>=2")
    assert done.returncode == 0, done.stdout + done.stderr
    plugins = PLUGINS.values() if extra == "all" else filter(None, [PLUGINS.get(extra)])
    packages = [
        plugin.package for plugin in plugins if plugin.name != "laila-taskforce-dask" or extra == "dask"
    ]
    environment.check("\n".join([f"import {package}" for package in packages] + [STORE]))


def test_a_core_from_a_wheel_names_the_folder_of_wheels(
    dist: Path, make_environment: MakeEnvironment
) -> None:
    """The line for pip in an error installs the plugin."""
    environment = make_environment([dist / wheel.name for wheel in dist.glob("laila_core-*")])
    said = environment.run("from laila.pool import FilesystemPool").stderr
    (line,) = re.findall(r"pip install (--find-links .*)", said)
    done = pip(environment, "install", *shlex.split(line))
    assert done.returncode == 0, done.stdout + done.stderr
    environment.check("from laila.pool import FilesystemPool")


def test_a_core_from_a_clone_names_the_folder_of_the_plugin(make_environment: MakeEnvironment) -> None:
    """The line for pip in an error leads to the sibling's folder in the clone."""
    environment = make_environment([_CORE])
    said = environment.run("from laila.pool import FilesystemPool").stderr
    (line,) = re.findall(r"pip install (.*)", said)
    assert Path(line) == ROOT / "laila-pool-files"


def test_a_core_from_find_links_leaves_the_folder_to_the_reader(
    dist: Path, make_environment: MakeEnvironment
) -> None:
    """Nothing on the disk says where the wheel came from, so the error does not claim to know."""
    environment = make_environment([])
    pip(environment, "install", "--find-links", str(dist), "laila-core>=2")
    said = environment.run("from laila.pool import FilesystemPool").stderr
    assert (
        "pip install --find-links FOLDER laila-pool-files (FOLDER: the wheels that laila came from)" in said
    )


def test_the_older_package_beside_this_one_is_told_apart(
    wheels: dict[str, Path], make_environment: MakeEnvironment, tmp_path: Path
) -> None:
    """A second `laila` further down the path is an error that names both folders."""
    older = tmp_path / "older" / "laila"
    (older / "atomic").mkdir(parents=True)
    (older / "__init__.py").touch()
    environment = make_environment([wheels[CORE]])
    done = environment.run(f"import sys; sys.path.append({str(older.parent)!r}); import laila")
    assert done.returncode == 1
    assert f"ImportError: {older} holds an older, different package 'laila'" in done.stderr
    environment.check(f"import sys; sys.path.append({str(tmp_path)!r}); import laila")


@pytest.mark.field
@pytest.mark.timeout(600)
def test_the_line_of_the_readme_installs_everything(dist: Path, tmp_path: Path) -> None:
    """With the package index, in an environment with nothing in it."""
    line = 'pip install --find-links dist "laila-core[numpy,threads,hdf5]>=2"'
    assert f"$ {line}\n" in (ROOT / "README.md").read_text()
    environment = Environment.create(tmp_path / "environment", tmp_path / "nothing")
    uv = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", str(environment.python)]
    for requirement in ("laila-core[numpy,threads,hdf5]>=2", "laila-core[all,dask,testing]>=2"):
        subprocess.run([*uv, "--find-links", str(dist), requirement], check=True)
        environment.check(STORE)
    for distribution in DISTRIBUTIONS:
        environment.check(f"import {distribution.package}")
