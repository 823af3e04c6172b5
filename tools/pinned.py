"""Install what constraints.txt pins, each file checked against its hashes, into the environment of a Python.

The lists of what is wanted stand in the pyproject.toml files, without versions; constraints.txt has one
version and the hashes of every distribution. Neither pip nor uv checks hashes where a folder is installed. So
the libraries are installed first, all of them with a hash and none from source, and the distributions of the
workspace after them, without their dependencies. uv does it in a tenth of the time; it reads no configuration
of pip, so where it finds no registry, pip does it.

usage: python tools/pinned.py install PYTHON [--workspace] [--group NAME] [NAME ...]
       python tools/pinned.py renew [--upgrade]
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["GROUPS", "main", "pins", "requirements"]

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
GROUPS = ("install", "dev", "bench", "docs", "field", "fuzz")
EXTRAS = ("all", "testing")
NAME = re.compile(r"[A-Za-z0-9._-]+")


def normal(name: str) -> str:
    """A distribution's name as all tools write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    """The name that a requirement begins with."""
    match = NAME.match(requirement)
    assert match, requirement
    return normal(match.group())


def tables(folder: Path) -> dict[str, Any]:
    """What the pyproject.toml of a folder says."""
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def workspace() -> list[Path]:
    """The folders of the distributions that are developed here, the core first."""
    return sorted(path.parent for path in ROOT.glob("laila-*/pyproject.toml"))


def libraries(folders: Iterable[Path] | None = None) -> Iterator[str]:
    """What distributions of the workspace (all, unless ``folders`` says which) need of others.

    With the extras that `make install` brings.
    """
    ours = {folder.name for folder in workspace()}
    for folder in workspace() if folders is None else folders:
        project = tables(folder)["project"]
        extras: dict[str, list[str]] = project.get("optional-dependencies", {})
        todo, done = [f"{folder.name}[{','.join(EXTRAS)}]"], set[str]()
        wanted = list(project["dependencies"])
        while todo:
            for extra in re.findall(r"[\w-]+", todo.pop().partition("[")[2].partition("]")[0]):
                if extra in extras and extra not in done:
                    done.add(extra)
                    wanted += extras[extra]
                    todo += [each for each in extras[extra] if name_of(each) == folder.name]
        yield from (each for each in wanted if name_of(each) not in ours)


def requirements(*, libraries_too: bool, groups: Iterable[str], names: Iterable[str] = ()) -> list[str]:
    """The requirements of what is asked for, as the pyproject.toml files write them."""
    found = list(libraries()) if libraries_too else []
    written = tables(ROOT)["dependency-groups"]
    for group in groups:
        found += written[group]
    return [*found, *names]


def pins(text: str) -> dict[str, str]:
    """Name to version and hashes, as constraints.txt writes them after the name, on one line."""
    lines = text.replace("\\\n", "").splitlines()
    written = (re.fullmatch(r"([\w.-]+)==([^\s;]+.*)", line) for line in lines)
    return {normal(match.group(1)): " ".join(match.group(2).split()) for match in written if match}


def pinned(wanted: Iterable[str], known: dict[str, str]) -> list[str]:
    """Requirements with the one version of constraints.txt, and its hashes, in place of what they allow.

    Raises:
        SystemExit: constraints.txt has no line for one of them.
    """
    lines = set[str]()
    for requirement in wanted:
        name = name_of(requirement)
        extras = re.match(r"[\w.-]+\s*(\[[^]]*\])?", requirement)
        if name not in known:
            raise SystemExit(f"constraints.txt has no line for {name}: add it by `make pins`")
        lines.add(f"{name}{(extras and extras.group(1)) or ''}=={known[name]}")
    return sorted(lines)


def run(python: str, arguments: list[str], *, text: str = "") -> None:
    """Let uv install, else pip.

    Raises:
        SystemExit: neither could.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "-q"]
    uv = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", python]
    if importlib.util.find_spec("uv"):
        if subprocess.run([*uv, *arguments], input=text, text=True, check=False, cwd=ROOT).returncode == 0:
            return
        print("uv could not; trying with pip", file=sys.stderr)
    if code := subprocess.run([*pip, *arguments], input=text, text=True, check=False, cwd=ROOT).returncode:
        raise SystemExit(code)


def install(python: str, *, workspace_too: bool, groups: list[str], names: list[str]) -> None:
    """Install libraries by their hashes, then the workspace."""
    wanted = requirements(libraries_too=workspace_too, groups=groups, names=names)
    lines = pinned(wanted, pins(CONSTRAINTS.read_text(encoding="utf-8")))
    checked = ["--require-hashes", "--only-binary", ":all:", "-c", str(CONSTRAINTS), "-r", "/dev/stdin"]
    run(python, checked, text="\n".join(lines))
    if workspace_too:
        editable = [argument for folder in workspace() for argument in ("-e", f"./{folder.name}")]
        # The build backend is one of the libraries: nothing is fetched here.
        run(python, ["--no-deps", "--no-build-isolation", *editable])


def renew(*, upgrade: bool) -> None:
    """Write constraints.txt anew, with the hashes of every file of each version.

    Raises:
        SystemExit: there are no versions that go together, or no registry was found.
    """
    old = CONSTRAINTS.read_text(encoding="utf-8")
    head = "".join(line for line in old.splitlines(keepends=True) if line.startswith("# "))
    wanted = requirements(libraries_too=True, groups=GROUPS)
    options = ["--generate-hashes", "--no-annotate", "--no-header", "--allow-unsafe"]
    if not upgrade:
        options += ["-c", str(CONSTRAINTS)]
    command = [sys.executable, "-m", "uv", "pip", "compile", "-q", "--no-config", *options, "-"]
    made = subprocess.run(
        command, input="\n".join(wanted), text=True, capture_output=True, check=False, cwd=ROOT
    )
    if made.returncode:
        raise SystemExit(made.stderr)
    lines = [line for line in made.stdout.splitlines() if not line.lstrip().startswith("#")]
    CONSTRAINTS.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    before, after = (
        {name: pin.split()[0] for name, pin in pins(text).items()} for text in (old, made.stdout)
    )
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            print(f"{name}: {before.get(name, 'new')} -> {after.get(name, 'gone')}")


def main(arguments: list[str]) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    installing = commands.add_parser("install")
    installing.add_argument("python")
    installing.add_argument("names", nargs="*")
    installing.add_argument("--workspace", action="store_true")
    installing.add_argument("--group", action="append", default=[], choices=GROUPS)
    commands.add_parser("renew").add_argument("--upgrade", action="store_true")
    given = parser.parse_args(arguments)
    if given.command == "renew":
        renew(upgrade=given.upgrade)
    else:
        install(given.python, workspace_too=given.workspace, groups=given.group, names=given.names)


if __name__ == "__main__":
    main(sys.argv[1:])
