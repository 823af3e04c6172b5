"""The parts of `laila` come together however its distributions are installed, and come apart again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from workspace import CORE, DISTRIBUTIONS, SIBLINGS, Distribution, Environment

MakeEnvironment = Callable[[Sequence[Path | Distribution]], Environment]

LOOK = """
import importlib, importlib.metadata, json, sys
files = {name: importlib.import_module(name).__file__ for name in sys.argv[1].split(",")}
loaded = {}
for group in sys.argv[2].split(","):
    for point in importlib.metadata.entry_points(group=group):
        found = point.load()
        loaded[f"{group}:{point.name}"] = getattr(found, "__module__", None) or found.__name__
print(json.dumps({"files": files, "loaded": loaded}))
"""
GROUPS = sorted({group for distribution in DISTRIBUTIONS for group in distribution.entry_points})


MIXES = [
    pytest.param(core, siblings, order, id=f"{core}-{siblings}-{order}", marks=marks)
    for core in ("wheel", "editable")
    for siblings in ("wheel", "editable")
    for order in ("core first", "core last")
    for marks in [
        # All from wheels is tests/test_install.py, and all editable is what runs these tests.
        [] if core != siblings and (core == "editable") == (order == "core first") else [pytest.mark.long]
    ]
]


@pytest.mark.parametrize(("core", "siblings", "order"), MIXES)
def test_every_mix_of_installs_imports(
    core: str, siblings: str, order: str, wheels: dict[str, Path], make_environment: MakeEnvironment
) -> None:
    """Wheels, editable installs and both mixed give one namespace, seen from outside the repository."""
    ways = {
        distribution.name: core if distribution.name == CORE else siblings for distribution in DISTRIBUTIONS
    }
    ordered = sorted(
        DISTRIBUTIONS, key=lambda distribution: (distribution.name != CORE) ^ (order == "core last")
    )
    environment = make_environment(
        [wheels[each.name] if ways[each.name] == "wheel" else each for each in ordered]
    )

    packages = [distribution.package for distribution in DISTRIBUTIONS]
    seen = json.loads(environment.check(LOOK, ",".join(packages), ",".join(GROUPS)))

    for distribution in DISTRIBUTIONS:
        file = Path(seen["files"][distribution.package])
        expected = environment.folder if ways[distribution.name] == "wheel" else distribution.folder
        assert file.is_relative_to(expected), f"{distribution.package} came from {file}"
        for group, points in distribution.entry_points.items():
            for name, target in points.items():
                assert seen["loaded"][f"{group}:{name}"].startswith(target.partition(":")[0])


@pytest.fixture(scope="module")
def alone(wheels: dict[str, Path], make_environment: MakeEnvironment) -> dict[str, bytes]:
    """The files of a core that is installed alone."""
    return _laila_files(make_environment([wheels[CORE]]))


UNINSTALLS = [
    pytest.param(sibling, way, id=f"{way}-{sibling.name}", marks=marks)
    for way in ("wheel", "editable")
    for sibling in SIBLINGS
    for marks in [[] if way == "wheel" or sibling is SIBLINGS[0] else [pytest.mark.long]]
]


@pytest.mark.parametrize(("sibling", "way"), UNINSTALLS)
def test_uninstalling_a_sibling_leaves_the_core_whole(
    sibling: Distribution,
    way: str,
    alone: dict[str, bytes],
    wheels: dict[str, Path],
    make_environment: MakeEnvironment,
) -> None:
    """Every file of the core's wheel is still there, byte for byte, and the sibling is gone."""
    both = make_environment([wheels[CORE], wheels[sibling.name] if way == "wheel" else sibling])
    both.check(f"import laila, {sibling.package}")

    both.uninstall(sibling.name)

    assert _laila_files(both) == alone
    both.check("import laila; assert laila.constant(data=1).data == 1")
    done = both.run(f"import {sibling.package}")
    assert done.returncode != 0
    assert "ModuleNotFoundError" in done.stderr
    for points in sibling.entry_points.values():
        for target in points.values():
            module, _, name = target.partition(":")
            done = both.run(f"from {module.rpartition('.')[0]} import {name}")
            assert "MissingPluginError" in done.stderr
            assert f"pip install --find-links {wheels[CORE].parent} {sibling.name}" in done.stderr


def _laila_files(environment: Environment) -> dict[str, bytes]:
    """Relative path to content of what stands below the installed `laila` folder, caches left out."""
    (folder,) = environment.folder.glob("venv/lib/python*/site-packages/laila")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("sibling", SIBLINGS, ids=lambda sibling: sibling.name)
def test_a_siblings_tree_has_no_init_above_its_package(sibling: Distribution) -> None:
    """In the source tree too: an editable install would let it hide the core's."""
    src = sibling.folder / "src"
    package = src.joinpath(*sibling.package.split("."))
    above = {path for path in src.rglob("__init__.py*") if not path.is_relative_to(package)}
    assert above == set()
    assert sibling.package.count(".") == 2, f"{sibling.package} is not laila.<kind>.<name>"
