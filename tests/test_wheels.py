"""What the wheels hold, and the main job run with them: memorize in one process, remember in another."""

from __future__ import annotations

import configparser
import re
import zipfile
from pathlib import Path

import pytest

from workspace import CORE, DISTRIBUTIONS, SIBLINGS, Distribution, Environment

EACH = pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda distribution: distribution.name)


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def _read(wheel: Path, suffix: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(suffix))
        return archive.read(name).decode()


@EACH
def test_a_wheel_holds_exactly_its_package(distribution: Distribution, wheels: dict[str, Path]) -> None:
    """All of the package's source files, and nothing outside it but the metadata."""
    src = distribution.folder / "src"
    package = src.joinpath(*distribution.package.split("."))
    expected = {
        str(path.relative_to(src))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {name for name in _names(wheels[distribution.name]) if ".dist-info/" not in name}
    assert held == expected


@pytest.mark.parametrize("sibling", SIBLINGS, ids=lambda sibling: sibling.name)
def test_no_sibling_wheel_holds_a_file_of_the_core(sibling: Distribution, wheels: dict[str, Path]) -> None:
    """Two owners of one file would mean that uninstalling either breaks the other."""
    shared = _names(wheels[CORE]) & _names(wheels[sibling.name])
    assert shared == set()
    above = {f"{'/'.join(sibling.package.split('.')[:depth])}/__init__.py" for depth in (1, 2)}
    assert not above & _names(wheels[sibling.name])
    assert above <= _names(wheels[CORE])


@EACH
def test_a_wheel_is_typed_licensed_and_described(distribution: Distribution, wheels: dict[str, Path]) -> None:
    """`py.typed`, the license, the README and a bounded dependency on the core are there."""
    wheel = wheels[distribution.name]
    assert f"{distribution.package.replace('.', '/')}/py.typed" in _names(wheel)
    assert "MIT License" in _read(wheel, "/licenses/LICENSE")
    metadata = _read(wheel, ".dist-info/METADATA")
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert metadata.partition("\n\n")[2].strip() == (distribution.folder / "README.md").read_text().strip()
    if distribution.name != CORE:
        major = int(
            re.findall(r"^Version: (\d+)", _read(wheels[CORE], ".dist-info/METADATA"), re.MULTILINE)[0]
        )
        assert re.search(rf"^Requires-Dist: laila-core<{major + 1},>={major}", metadata, re.MULTILINE)


@pytest.mark.parametrize("sibling", SIBLINGS, ids=lambda sibling: sibling.name)
def test_an_extra_of_the_core_installs_each_sibling(sibling: Distribution, wheels: dict[str, Path]) -> None:
    """`pip install laila-core[hdf5]` and `laila-core[all]`."""
    metadata = _read(wheels[CORE], ".dist-info/METADATA")
    extra = sibling.package.rpartition(".")[2]
    assert re.search(rf"^Requires-Dist: {sibling.name}<\S+; extra == '{extra}'$", metadata, re.MULTILINE)
    everything = re.findall(r"^Requires-Dist: (\S+?)[<>\[].*; extra == 'all'$", metadata, re.MULTILINE)
    # Dask brings a scheduler and two dozen libraries, for those who have a cluster.
    assert (sibling.name in everything) is (extra != "dask")


@EACH
def test_entry_points_are_in_the_wheel(distribution: Distribution, wheels: dict[str, Path]) -> None:
    """Discovery reads nothing else."""
    parsed = configparser.ConfigParser(delimiters=("=",))
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(_read(wheels[distribution.name], ".dist-info/entry_points.txt"))
    held = {group: dict(parsed[group]) for group in parsed.sections() if group != "console_scripts"}
    assert held == distribution.entry_points
    assert held


WRITE = """
import sys
import numpy, laila
from laila.pool import HDF5Pool

class Point:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return type(other) is Point and other.x == self.x

pool = HDF5Pool(path=sys.argv[1])
laila.tiers(laila.DefaultPool(), pool, pool_nickname="data")
with laila.guarantee:
    manifest = laila.manifest(
        data={
            "array": laila.constant(data=numpy.arange(1000, dtype=">i4").reshape(10, 100)),
            "odd": laila.constant(data={(1, "a"): {2.5: None}, b"k": {1, 2}}),
            "nested": {"tuple": laila.constant(data=(1, [2, (3,)]))},
        },
        nickname="wheel-smoke",
    )
    manifest.memorize(pool_nickname="data")
    laila.memorize(laila.variable(data=[1], nickname="counter"), pool_nickname="data")
assert laila.remember(nickname="counter", pool_nickname="data").wait(60).data == [1]
laila.terminate()
"""
READ = """
import sys
import laila
laila.memory.extend(f"hdf5://{sys.argv[1]}", pool_nickname="data")
manifest = laila.remember(nickname="wheel-smoke", pool_nickname="data").wait(60)
array, odd, nested = (entry.data for entry in manifest.remember(pool_nickname="data").wait(60))
assert array.dtype.str == ">i4" and array.shape == (10, 100) and (array.ravel() == range(1000)).all(), array
assert odd == {(1, "a"): {2.5: None}, b"k": {1, 2}}, odd
assert nested == (1, [2, (3,)])
counter = laila.remember(nickname="counter", pool_nickname="data").wait(60)
assert counter.data == [1] and counter.evolution == 0
print("read", len(manifest), counter.evolution, laila.__file__)
"""


def test_the_main_job_runs_from_the_wheels(installed: Environment, tmp_path: Path) -> None:
    """One process stores through tiers into HDF5 and ends; a second one recovers every value."""
    file = tmp_path / "store.h5"
    installed.check(WRITE, str(file))
    printed = installed.check(READ, str(file)).split()
    assert printed[:3] == ["read", "3", "0"]
    assert Path(printed[3]).is_relative_to(installed.folder)


def test_the_command_runs_from_the_wheels(installed: Environment) -> None:
    """`laila plugins` lists what the distributions offer."""
    printed = installed.check("import sys; from laila.cli import main; sys.exit(main(['plugins']))")
    for distribution in DISTRIBUTIONS:
        for points in distribution.entry_points.values():
            for name in points:
                assert name in printed
