"""A third party's plugin, the one of the how-to, from outside: its wheel beside that of the core alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from test_docs import script_of
from workspace import CORE, ROOT, Environment, build

LAILA = "import sys; from laila.cli import main; sys.exit(main(sys.argv[1:]))"
PYTEST = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def environment(
    wheels: dict[str, Path],
    shelf_wheel: Path,
    few_libraries: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Environment:
    """What `pip install laila-core[testing] laila-pool-shelf` leaves."""
    made = Environment.create(tmp_path_factory.mktemp("third-party"), few_libraries)
    made.install(wheels[CORE])
    made.install(shelf_wheel)
    return made


def test_nothing_else_is_there(environment: Environment) -> None:
    """No sibling, and no library that laila-core does not ask for: numpy among them."""
    code = """
import importlib.metadata, importlib.util
print(*sorted({each.name for each in importlib.metadata.distributions() if "laila" in each.name}))
for name in ("numpy", "h5py", "redis", "obstore", "rich", "cryptography", "laila.pool.hdf5"):
    assert importlib.util.find_spec(name) is None, name
"""
    assert environment.check(code).split() == ["laila-core", "laila-pool-shelf"]


def test_it_is_listed(environment: Environment) -> None:
    """Before it was imported and, with `--check`, after."""
    before = environment.check(LAILA, "plugins")
    assert re.search(
        r"^pool +shelf +shelf:// +laila-pool-shelf +0\.1\.0 +- +available$", before, re.MULTILINE
    )
    after = environment.check(LAILA, "plugins", "--check")
    assert re.search(r"^pool +shelf +shelf:// +laila-pool-shelf +0\.1\.0 +1 +loaded$", after, re.MULTILINE)


def test_a_url_opens_it(environment: Environment, tmp_path: Path) -> None:
    """And so does its class, by laila's namespace and by its own; another process finds what was stored."""
    write = """
import sys
import laila
laila.memory.extend(f"shelf://{sys.argv[1]}", pool_nickname="notes")
entries = [laila.constant({"n": n}, nickname=f"note {n}") for n in range(10)]
laila.memorize(entries, pool_nickname="notes").wait(150)
import json
print(json.dumps(laila.environment))
"""
    read = """
import json, sys
import laila
from laila.pool import ShelfPool
import laila_pool_shelf
assert ShelfPool is laila_pool_shelf.ShelfPool
policy = laila.DefaultPolicy.from_environment(json.loads(sys.argv[1]))
laila.activate_policy(policy)
assert laila.remember(nickname="note 7", pool_nickname="notes").data == {"n": 7}
"""
    snapshot = environment.check(write, f"{tmp_path}/notes")
    environment.check(read, snapshot)
    shown = environment.check(LAILA, "show", f"shelf://{tmp_path}/notes")
    assert "note 9" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_its_own_tests_pass(environment: Environment, shelf_wheel: Path) -> None:
    """The conformance suite too, as they come in its sdist."""
    project = _unpacked(shelf_wheel, environment.folder / "tests")
    printed = environment.check(PYTEST, "-q", "-p", "no:cacheprovider", "-rs", str(project))
    passed = re.search(r"^(\d+) passed", printed, re.MULTILINE)
    assert passed is not None, printed
    assert int(passed[1]) > 60
    assert "failed" not in printed


@pytest.mark.parametrize(
    ("kind", "more", "listing"),
    [("pool", ["--scheme", "cards"], "pool +cards +cards://"), ("taskforce", [], "task force +card-index +")],
    ids=["pool", "taskforce"],
)
def test_a_new_plugin_is_one_at_once(
    environment: Environment,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    more: list[str],
    listing: str,
) -> None:
    """`laila new-…` writes a project that linters let pass, whose wheel is found and whose tests pass."""
    said = environment.check(LAILA, f"new-{kind}", "card-index", *more, "--folder", str(tmp_path))
    distribution = f"laila-{kind}-card-index"
    project = tmp_path / distribution
    assert str(project) in said
    # What mypy knows of laila itself serves both.
    cache = tmp_path_factory.getbasetemp() / "mypy-cache-of-plugins"
    mypy = ["mypy", "--cache-dir", str(cache), "src", "tests"]
    for command in (["ruff", "check"], ["ruff", "format", "--check"], mypy):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=project,
            env={**os.environ, "MYPYPATH": str(ROOT / CORE / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
    wheel = build(project, tmp_path / "dist")
    environment.install(wheel)
    listed = environment.check(LAILA, "plugins", "--check")
    assert re.search(rf"^{listing} *{distribution} +0\.1\.0 +1 +loaded$", listed, re.MULTILINE), listed
    environment.check(script_of((project / "README.md").read_text(), "README.md"))
    tests = _unpacked(wheel, environment.folder / f"new-{kind}")
    printed = environment.check(PYTEST, "-q", "-p", "no:cacheprovider", str(tests))
    assert re.search(r"^\d+ passed", printed, re.MULTILINE), printed
    assert "failed" not in printed
    environment.uninstall(distribution)


def _unpacked(wheel: Path, folder: Path) -> Path:
    """What is in the sdist beside a wheel, but for its sources: only the wheel has these."""
    (sdist,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = [member for member in archive.getmembers() if "/src/" not in member.name]
        archive.extractall(folder, members, filter="data")
    (project,) = folder.iterdir()
    return project
