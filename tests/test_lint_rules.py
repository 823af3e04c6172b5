"""The rules that guard the trust boundary hold in the tree, cannot be switched off in place, and bite."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workspace import CORE, DISTRIBUTIONS, ROOT

# Unpickling (S301, S302), exec (S102), eval (S307), and the table banned-api of pyproject.toml (TID251).
CODES = ["S301", "S302", "S307", "S102", "TID251"]
TRUSTED = "laila/codec/signed.py"
MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
SOURCES = [
    path for distribution in DISTRIBUTIONS for path in sorted((distribution.folder / "src").rglob("*.py"))
]


def _ruff(folder: Path) -> list[tuple[str, str]]:
    """File name and code of each finding below ``folder``; `noqa` comments count for nothing."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--ignore-noqa", "--output-format=json"]
    done = subprocess.run(
        [*command, f"--select={','.join(CODES)}", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return [(Path(found["filename"]).name, found["code"]) for found in json.loads(done.stdout)]


def _copy(tmp_path: Path) -> Path:
    """The configuration and the sources; returns the folder of the package `laila` of the core."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for distribution in DISTRIBUTIONS:
        shutil.copytree(
            distribution.folder / "src",
            tmp_path / distribution.folder.name / "src",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    return tmp_path / CORE / "src" / "laila"


def test_no_source_runs_code_out_of_data(tmp_path: Path) -> None:
    """The whole tree is clean, comments that switch a rule off included."""
    _copy(tmp_path)
    assert _ruff(tmp_path) == []


PLANTED = [
    "import pickle",
    "from pickle import loads",
    "import cloudpickle",
    "import marshal",
    "import shelve",
    "import dill",
    "from numpy import load",
    "value = eval('1')",
    "exec('value = 1')",
    "def f():\n    import pickle  # noqa\n    return pickle",
    "from builtins import eval",
]


@pytest.mark.parametrize("place", ["laila-core/src/laila/policy", "laila-pool-hdf5/src/laila/pool/hdf5"])
def test_each_planted_violation_is_found(place: str, tmp_path: Path) -> None:
    """In the core and in a sibling alike: each in a file of its own, in one run."""
    _copy(tmp_path)
    (tmp_path / place).mkdir(exist_ok=True)
    for number, line in enumerate(PLANTED):
        (tmp_path / place / f"planted_{number}.py").write_text(f"{line}\n")
    found = _ruff(tmp_path)
    assert {name for name, _ in found} == {f"planted_{number}.py" for number in range(len(PLANTED))}


def test_the_trusted_module_may_unpickle_and_not_evaluate(tmp_path: Path) -> None:
    """One file is exempt, from the rules on pickle alone."""
    core = _copy(tmp_path)
    assert (core.parent / TRUSTED).is_file(), "the exemption names a file that is not there"
    (core.parent / TRUSTED).write_text("import pickle\nx = pickle.loads(b'')\ny = eval('1')\nexec('z = 1')\n")
    assert sorted(_ruff(tmp_path)) == [("signed.py", "S102"), ("signed.py", "S307")]


def _indirect(source: str) -> list[int]:
    """Lines that reach a forbidden module or built-in around the rules: by name, as text."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if (
            isinstance(node, ast.Call)
            and any(isinstance(each, ast.Constant) and each.value in MODULES for each in node.args)
            and isinstance(node.func, ast.Name | ast.Attribute)
            and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr)
            in {"__import__", "import_module"}
        )
        or (
            isinstance(node, ast.Name | ast.Attribute)
            and (node.id if isinstance(node, ast.Name) else node.attr) in {"eval", "exec", "read_pickle"}
        )
        or (isinstance(node, ast.keyword) and node.arg == "allow_pickle" and not _is_false(node.value))
    ]


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def test_no_source_goes_round_the_rules() -> None:
    """`importlib.import_module("pickle")`, `builtins.eval`, `allow_pickle=True` and the like."""
    found = {
        str(path): lines
        for path in SOURCES
        if path.as_posix().endswith(TRUSTED) is False and (lines := _indirect(path.read_text()))
    }
    assert found == {}


def test_going_round_is_found() -> None:
    """The check above bites."""
    source = (
        "__import__('pickle')\nimportlib.import_module('marshal')\nrun = builtins.eval\n"
        "numpy.load(f, allow_pickle=True)\nnumpy.save(f, a, allow_pickle=False)\nimport_module('json')\n"
    )
    assert _indirect(source) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("see https://files.python" + "hosted.org/packages", "host of a package registry"),
        ("index = 'py" + "pi.org'", "host of a package registry"),
        ("pip install --index" + "-url http://somewhere x", "package index"),
        ("path = '/ho" + "me/me/data'", "home folder"),
        ("open('/ro" + "ot/x')", "home folder"),
        ("cd /wo" + "rk/main", "path of one machine"),
    ],
)
def test_forbidden_names_are_found(text: str, what: str, tmp_path: Path) -> None:
    """tools/check_names.py reports each, with its line, in files that git does not know yet too."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "clean.md").write_text(
        "PyPI, ~/.laila, $HOME/x, homework/x and https://docs.python.org are fine.\n"
    )
    command = [sys.executable, str(ROOT / "tools" / "check_names.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")

    (tmp_path / "file.txt").write_text(f"first line\n{text}\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "file.txt:2: " in done.stdout
    assert what in done.stdout
