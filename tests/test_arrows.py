"""Imports point one way: between the layers of the core, and from the siblings to the contract."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from workspace import CORE, DISTRIBUTIONS, ROOT, SIBLINGS, Distribution

EACH = pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda distribution: distribution.name)

# The codecs carry their objects where they are installed; laila asks for neither.
CARRIED = {
    *(
        "astropy",
        "networkx",
        "polars",
        "python-dateutil",
        "pytz",
        "scikit-learn",
        "scipy",
        "shapely",
        "xarray",
    )
}


OPEN = {name: set(importlib.import_module(name).__all__) for name in ("laila.contract", "laila.errors")}
OPEN["laila.testing"] = set(importlib.import_module("laila.testing").__all__)


def imports(source: str, *, all_of_them: bool = False) -> Iterator[str]:
    """Every module or name that a source file imports, at any depth: `from a import b` gives `a.b`.

    What is imported for type checkers alone never runs; it counts with ``all_of_them`` only.
    """
    nodes = list(ast.walk(ast.parse(source)))
    for_checkers = {
        child
        for node in nodes
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for child in ast.walk(statement)
    }
    for node in nodes:
        if node in for_checkers and not all_of_them:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are banned"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def under(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of the packages or below one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def forbidden_to_plugin(package: str, source: str) -> list[str]:
    """What of laila a plugin imports, for type checkers too, that is neither public nor its own."""
    return [
        name
        for name in imports(source, all_of_them=True)
        if under(name, "laila") and not under(name, package) and not is_public(name)
    ]


def is_public(name: str) -> bool:
    """Whether ``name`` is in the ``__all__`` of a public package."""
    package, _, attribute = name.rpartition(".")
    return attribute in OPEN.get(package, ())


def sources(distribution: Distribution) -> list[Path]:
    """Its modules."""
    return sorted((distribution.folder / "src").rglob("*.py"))


PLUGINS = [(sibling.name, sibling.folder / "src", sibling.package) for sibling in SIBLINGS]


@pytest.mark.parametrize(
    ("folder", "package"), [plugin[1:] for plugin in PLUGINS], ids=[p[0] for p in PLUGINS]
)
def test_a_plugin_knows_public_names_alone(folder: Path, package: str) -> None:
    """Versions are counted for the names of `laila.contract`, `laila.errors` and `laila.testing`."""
    found = {str(path): forbidden_to_plugin(package, path.read_text()) for path in folder.rglob("*.py")}
    assert found
    assert {path: names for path, names in found.items() if names} == {}


def test_the_rule_for_plugins_bites() -> None:
    """The façade, the policy, another plugin and what is not exported are refused; the contract is not."""
    package = SIBLINGS[0].package
    source = (
        "import laila\nimport laila.contract.pool\n"
        "from laila.contract import Pool\nfrom laila.errors import LailaError\n"
        "def f():\n    from laila.policy import Policy\n    from laila.pool import memory\n"
        f"    import {package}.x\n"
        "    from laila.contract.pool import Pool\n"
    )
    source += "if TYPE_CHECKING:\n    import laila.policy\nelse:\n    import laila.active\n"
    assert sorted(forbidden_to_plugin(package, source)) == [
        "laila",
        "laila.active",
        "laila.contract.pool",
        "laila.contract.pool.Pool",
        "laila.policy",
        "laila.policy.Policy",
        "laila.pool.memory",
    ]


def test_the_core_knows_no_sibling() -> None:
    """It names them as text, in one table, for the pip line of an error; it never imports one."""
    (core,) = (distribution for distribution in DISTRIBUTIONS if distribution.name == CORE)
    packages = [sibling.package for sibling in SIBLINGS]
    found = {
        str(path): [name for name in imports(path.read_text()) if under(name, *packages)]
        for path in sources(core)
    }
    assert {path: names for path, names in found.items() if names} == {}


def test_only_the_command_uses_the_facade() -> None:
    """Inside the core everything is imported from where it is, so that the façade stays the top."""
    (core,) = (distribution for distribution in DISTRIBUTIONS if distribution.name == CORE)
    package = core.folder / "src" / "laila"
    found = [
        f"{path.relative_to(package)}: {name}"
        for path in sources(core)
        if not path.is_relative_to(package / "cli") and path != package / "__init__.py"
        for name in imports(path.read_text())
        if name == "laila"
        or (name.count(".") == 1 and under(name, "laila") and not _is_module(package, name))
    ]
    assert found == []


def _is_module(package: Path, name: str) -> bool:
    place = package / name.partition(".")[2]
    return place.is_dir() or place.with_suffix(".py").is_file()


@EACH
def test_every_library_that_is_imported_is_declared(distribution: Distribution) -> None:
    """What a distribution imports is among its own dependencies or extras, so that it works alone."""
    requirements = _strings(distribution.project["dependencies"])
    for extra in distribution.extras.values():
        requirements += _strings(extra)
    declared = {re.split(r"[<>=\[ ;]", requirement)[0].lower() for requirement in requirements} | CARRIED
    owners = importlib.metadata.packages_distributions()
    undeclared = {
        f"{path.name}: {name}"
        for path in sources(distribution)
        for name in {name.partition(".")[0] for name in imports(path.read_text())}
        if name not in sys.stdlib_module_names and name != "laila"
        # A library that is not installed here (torch) is named as its module.
        if not {owner.lower().replace("_", "-") for owner in owners.get(name, [name])} & declared
    }
    assert undeclared == set()


def test_every_extra_that_a_message_names_exists() -> None:
    """`pip install "laila-core[crypto]"` in an error must install something."""
    offered = {(distribution.name, extra) for distribution in DISTRIBUTIONS for extra in distribution.extras}
    named = {
        found
        for distribution in DISTRIBUTIONS
        for path in sources(distribution)
        for found in re.findall(r"(laila-[a-z0-9-]+)\[([a-z0-9-]+)\]", path.read_text())
    }
    assert named
    assert named - offered == set()


def _strings(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(each) for each in value]


def _lint_imports(src: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter with the repository's contracts over the core in ``src``."""
    config = str(ROOT / "pyproject.toml")
    code = (
        f"import sys; sys.path.insert(0, {str(src)!r})\n"
        "from importlinter.cli import lint_imports\n"
        f"sys.exit(lint_imports(config_filename={config!r}, cache_dir=None, no_cache=True))"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=280, check=False
    )


PLANTED = {
    "nothing": ("errors", "", True),
    "errors knows the policy": ("errors", "import laila.policy\n", False),
    "the codec knows an entry": ("codec/__init__", "def f():\n    from laila.entry import Entry\n", False),
    "futures know the contract": ("futures/__init__", "import laila.contract\n", False),
    "the stored form knows a pool": ("blob/blob", "def f():\n    import laila.contract.pool\n", False),
    "a module has no layer": ("surprise", "", False),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_the_layers_of_the_core(planted: str, tmp_path: Path) -> None:
    """The contracts of import-linter hold for the core as it is, and each breaks where it should."""
    module, source, holds = PLANTED[planted]
    shutil.copytree(ROOT / CORE / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "src" / "laila" / f"{module}.py").open("a") as file:
        file.write(f"\n{source}")
    done = _lint_imports(tmp_path / "src", tmp_path)
    assert (done.returncode == 0) is holds, f"{done.stdout}\n{done.stderr}"
    if not holds:
        assert "BROKEN" in done.stdout
