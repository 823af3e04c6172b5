"""Run the tests with each Python that laila supports and that this machine has, and say which these were.

The Python of .venv runs in .venv. Every other one gets an environment of its own, .venv-3.12 and so on, with
the libraries that constraints.txt pins. Pythons are looked for on PATH and among those of pyenv.

usage: python tools/matrix.py [--pythons "3.11 3.12"] [ARGUMENTS OF PYTEST ...]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["SUPPORTED", "environment", "find_python", "main", "summary"]

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"


def find_python(version: str) -> str | None:
    """A Python of this version that starts, or None: pyenv puts names on PATH that only fail."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for python in (
        shutil.which(f"python{version}"),
        *sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True),
    ):
        if python is not None:
            show = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            done = subprocess.run(show, capture_output=True, text=True, check=False)
            if done.stdout.strip() == version:
                return str(python)
    return None


def environment(version: str) -> Path | None:
    """Make the environment for a version, unless it is there; return its Python. None without that version.

    Raises:
        subprocess.CalledProcessError: a library could not be installed.
    """
    if version == THIS:
        return Path(sys.executable)
    base = find_python(version)
    if base is None:
        return None
    folder = ROOT / f".venv-{version}"
    python, stamp = folder / "bin" / "python", folder / ".installed"
    pins = ROOT / "constraints.txt"
    if not stamp.is_file() or stamp.stat().st_mtime < pins.stat().st_mtime:
        print(f"making {folder.name}", flush=True)
        subprocess.run([base, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
        install = [sys.executable, str(ROOT / "tools" / "pinned.py"), "install", str(python)]
        for what in (["--group", "install"], ["--workspace", "--group", "dev"]):
            subprocess.run([*install, *what], check=True)
        stamp.touch()
    return python


def summary(outcomes: dict[str, str]) -> tuple[str, int]:
    """One line for each version, and the exit status: 0 where at least one ran and all that ran passed."""
    lines = [f"Python {version}: {outcome}" for version, outcome in outcomes.items()]
    bad = "passed" not in outcomes.values() or any(each.startswith("failed") for each in outcomes.values())
    return "\n".join(lines), int(bad)


def main(versions: Iterable[str], arguments: list[str], *, required: bool) -> int:
    """Run pytest in each environment.

    Args:
        versions: Such as ``3.12``.
        arguments: What pytest gets.
        required: A version that this machine does not have is a failure.

    Returns:
        The exit status.
    """
    outcomes = dict.fromkeys(versions, "")
    for version in outcomes:
        try:
            python = environment(version)
        except subprocess.CalledProcessError as error:
            outcomes[version] = f"failed: its environment could not be made ({error.cmd[0]})"
            continue
        if python is None:
            outcomes[version] = f"{'failed: ' if required else ''}not on this machine"
            continue
        print(f"-- Python {version}", flush=True)
        code = subprocess.run([str(python), "-m", "pytest", *arguments], cwd=ROOT, check=False).returncode
        outcomes[version] = "passed" if code == 0 else f"failed: pytest ended with {code}"
    text, status = summary(outcomes)
    print(text)
    return status


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pythons", default="")
    given, rest = parser.parse_known_args()
    named = given.pythons.split()
    sys.exit(main(named or SUPPORTED, rest, required=bool(named)))
