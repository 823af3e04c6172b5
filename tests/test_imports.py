"""`import laila` is light and quiet, and its names stay what they are whatever else is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from workspace import clean_environment

# Libraries that are slow to import, or that a program which never uses them must not pay for.
HEAVY = [
    "PIL",
    "argparse",
    "asyncio",
    "attr",
    "attrs",
    "cattrs",
    "cloudpickle",
    "concurrent.futures",
    "cryptography",
    "dataclasses",
    "dotenv",
    "h5py",
    "importlib.metadata",
    "importlib_metadata",
    "inspect",
    "logging",
    "msgpack",
    "numpy",
    "obstore",
    "pandas",
    "pluggy",
    "pyarrow",
    "redis",
    "rich",
    "socket",
    "ssl",
    "subprocess",
    "torch",
    "typing_extensions",
    "websockets",
    "zstandard",
]

WATCH = """
import _thread, json, os, sys
CHANGES = "os.mkdir os.rename os.remove os.symlink os.link os.chmod os.truncate os.putenv".split()
REACHES_OUT = "socket.connect socket.bind subprocess.Popen os.fork os.exec os.posix_spawn".split()
writes, threads, connections = [], [], []
def watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or set(mode or "") & set("wax+"):
            writes.append(str(path))
    elif event in CHANGES:
        writes.append(f"{event} {arguments[0]}")
    elif event.startswith("_thread.start"):
        threads.append(event)
    elif event in REACHES_OUT:
        connections.append(event)
sys.addaudithook(watch)
if sys.version_info < (3, 12):  # which raises no event for a thread
    start = _thread.start_new_thread
    _thread.start_new_thread = lambda function, *rest: threads.append(str(function)) or start(function, *rest)
before = set(sys.modules)
import laila
loaded = sorted(set(sys.modules) - before)
print(json.dumps({
    "loaded": loaded, "writes": writes, "threads": threads, "connections": connections,
    "running": len(sys._current_frames()),
}))
"""


def _python(code: str, home: Path, cwd: Path, **extra: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=clean_environment(home, PYTHONDONTWRITEBYTECODE="1", **extra),
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_laila_loads_nothing_heavy_and_does_nothing(tmp_path: Path) -> None:
    """No heavy library, no plugin, no thread, no file written, no process, no connection, no variable set."""
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    cwd.mkdir()
    seen = json.loads(_python(WATCH, home, cwd))
    assert [name for name in seen["loaded"] if name in HEAVY or name.split(".")[0] in HEAVY] == []
    assert seen["writes"] == []
    assert seen["threads"] == []
    assert seen["connections"] == []
    assert seen["running"] == 1
    plugins = ("laila.pool.", "laila.taskforce.", "laila.comm.")
    assert [name for name in seen["loaded"] if name.startswith(plugins)] == []
    assert list(home.iterdir()) == list(cwd.iterdir()) == []


def test_the_watch_sees(tmp_path: Path) -> None:
    """The test above would notice each of the things it looks for."""
    harmful = WATCH.replace(
        "import laila",
        "import threading, numpy\nopen('f', 'w').close()\nos.mkdir('d')\n"
        "thread = threading.Thread(target=int)\nthread.start()\nthread.join()\nimport laila",
    )
    seen = json.loads(_python(harmful, tmp_path, tmp_path))
    assert "numpy" in seen["loaded"]
    assert any(each.endswith("f") for each in seen["writes"])
    assert any("os.mkdir" in each for each in seen["writes"])
    assert seen["threads"]


@pytest.mark.parametrize("home", ["below a file", "missing", "unset"])
def test_import_works_without_a_usable_home(home: str, tmp_path: Path) -> None:
    """Default directories are made at first use, so a HOME that cannot hold them hurts nothing before."""
    file = tmp_path / "file"
    file.touch()
    where = {"below a file": file / "home", "missing": tmp_path / "missing", "unset": tmp_path}[home]
    code = "import os; os.environ.pop('HOME')\n" if home == "unset" else ""
    code += "import laila; assert laila.constant(data={'a': 1}).data == {'a': 1}"
    _python(code, where, tmp_path)
    assert not (tmp_path / "missing").exists()


NAMES = """
import importlib, json, pkgutil, sys, types
import laila

# What is not installed here.
ABSENT = {"torch", "polars", "networkx", "xarray", "shapely", "astropy"}

def look():
    values = {}
    for name in laila.__all__:
        try:
            values[name] = getattr(laila, name)
        except laila.errors.MissingPluginError as error:  # of a plugin that this workspace does not hold
            values[name] = str(error)
    return values

def submodules():
    for found in pkgutil.walk_packages(laila.__path__, "laila."):
        if found.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            if error.name not in ABSENT:
                raise

first = look() if sys.argv[1] == "names first" else None
submodules()
then = look()
described = {
    name: [type(value).__name__, isinstance(value, types.ModuleType)] for name, value in then.items()
}
# What is computed at each access may be a new object; a class, a function or a singleton may not.
moved = [
    name for name, value in (first or {}).items()
    if value is not then[name]
    and (isinstance(value, (type, types.FunctionType)) or type(value) is not type(then[name]))
]
print(json.dumps({"described": described, "moved": moved, "dir": dir(laila), "loaded": sorted(sys.modules)}))
"""


def test_importing_every_submodule_moves_no_public_name(tmp_path: Path) -> None:
    """No submodule bears a public name, so importing it cannot replace what the façade offers."""
    seen = {
        order: json.loads(_python(NAMES.replace("sys.argv[1]", repr(order)), tmp_path, tmp_path))
        for order in ("names first", "submodules first")
    }
    assert seen["names first"]["moved"] == []
    assert seen["names first"]["described"] == seen["submodules first"]["described"]
    described = seen["names first"]["described"]
    assert len(described) > 20
    assert sorted(set(described) - set(seen["names first"]["dir"])) == []
    # The walk did reach the packages of the siblings.
    assert {"laila.pool.hdf5", "laila.taskforce.threads"} <= set(seen["submodules first"]["loaded"])


def test_a_missing_name_is_an_attribute_error(tmp_path: Path) -> None:
    """A typo is reported as such, also by `from laila import …` and `hasattr`."""
    code = (
        "import laila\n"
        "assert not hasattr(laila, 'memorise')\n"
        "try:\n    from laila import memorise\n"
        "except ImportError as error:\n    assert 'memorise' in str(error)\n"
        "else:\n    raise SystemExit('imported a name that is not there')\n"
    )
    _python(code, tmp_path, tmp_path)
