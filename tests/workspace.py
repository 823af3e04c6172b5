"""What tests need that look at laila from outside: its distributions, and environments to install them into.

An environment gets the third-party libraries of the development environment through a folder of links that
leaves every laila distribution out, so that what it knows of laila is what a test installed into it.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
CORE = "laila-core"


@dataclass(frozen=True)
class Distribution:
    """One distribution of the workspace, as its folder and pyproject.toml say."""

    folder: Path
    package: str
    """The dotted name of the topmost package that is this distribution's own."""
    project: dict[str, object] = field(repr=False)
    """The table of that name."""

    @classmethod
    def at(cls, folder: Path) -> Distribution:
        """Read the distribution in ``folder``."""
        tables = tomllib.loads((folder / "pyproject.toml").read_text())
        wheel = tables["tool"]["hatch"]["build"]["targets"]["wheel"]
        (place,) = wheel["packages"] if tables["project"]["name"] == CORE else wheel["only-include"]
        return cls(folder, place.removeprefix("src/").replace("/", "."), tables["project"])

    @property
    def name(self) -> str:
        """The name pip knows."""
        return str(self.project["name"])

    @property
    def extras(self) -> dict[str, object]:
        """Name to requirements, as pyproject.toml says."""
        extras = self.project.get("optional-dependencies", {})
        assert isinstance(extras, dict)
        return extras

    @property
    def entry_points(self) -> dict[str, dict[str, str]]:
        """Group to name to object, as pyproject.toml says."""
        groups = self.project.get("entry-points", {})
        assert isinstance(groups, dict)
        return groups


DISTRIBUTIONS = [Distribution.at(path.parent) for path in sorted(ROOT.glob("laila-*/pyproject.toml"))]
SIBLINGS = [distribution for distribution in DISTRIBUTIONS if distribution.name != CORE]


def clean_environment(home: Path, **extra: str) -> dict[str, str]:
    """The variables for a process that must not see this one's Python, laila settings or home."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "LAILA_", "VIRTUAL_ENV", "COVERAGE_", "UV_"))
    }
    return kept | {"HOME": str(home), **extra}


def build(project: Path, folder: Path) -> Path:
    """Build the wheel of a project into ``folder``, by way of its sdist and without network; return it."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    (wheel,) = folder.glob("*.whl")
    return wheel


def needs(requirement: str) -> set[str]:
    """The names of the distributions that pip would install for a requirement, itself included."""
    found: set[str] = set()
    done: set[str] = set()
    todo = [requirement]
    while todo:
        text = todo.pop()
        if text in done:
            continue
        done.add(text)
        wanted = Requirement(text)
        found.add(canonicalize_name(wanted.name))
        for each in importlib.metadata.requires(wanted.name) or []:
            marker = Requirement(each).marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
                todo.append(each)
    return found


def top_level(name: str) -> set[str]:
    """The files and folders in site-packages that are an installed distribution's."""
    files = importlib.metadata.files(name) or []
    return {file.parts[0] for file in files if file.parts[0] not in {"..", "__pycache__"}}


@dataclass
class Environment:
    """A virtual environment in a folder of its own, with its own HOME and working directory."""

    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.folder / "venv" / "bin" / "python"

    @property
    def home(self) -> Path:
        """The HOME of every process :meth:`run` starts."""
        return self.folder / "home"

    @property
    def elsewhere(self) -> Path:
        """Their working directory: no file of the repository is in or above it."""
        return self.folder / "elsewhere"

    @classmethod
    def create(cls, folder: Path, libraries: Path) -> Environment:
        """Make one that also finds the packages in ``libraries``."""
        environment = cls(folder)
        environment.home.mkdir(parents=True)
        environment.elsewhere.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
        site_packages = environment.check("import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        Path(site_packages, "libraries.pth").write_text(f"{libraries}\n")
        return environment

    def _uv(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "uv", "pip", *arguments, "--python", str(self.python)]
        cache = {"UV_CACHE_DIR": str(self.folder / "cache"), "UV_OFFLINE": "1", "UV_NO_CONFIG": "1"}
        done = subprocess.run(
            command, env=clean_environment(self.home, **cache), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def install(self, what: Path | Distribution) -> None:
        """Install a wheel, or a distribution of the workspace as editable."""
        target = ["--editable", str(what.folder)] if isinstance(what, Distribution) else [str(what)]
        self._uv("install", "--no-deps", "--no-index", "--no-build-isolation", *target)

    def uninstall(self, name: str) -> None:
        """Remove a distribution."""
        self._uv("uninstall", name)

    def run(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python code in a process of this environment, from elsewhere."""
        return subprocess.run(
            [str(self.python), "-c", code, *arguments],
            cwd=self.elsewhere,
            env=clean_environment(self.home),
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    def check(self, code: str, *arguments: str) -> str:
        """Run Python code as :meth:`run` does; it must succeed. Returns what it printed."""
        done = self.run(code, *arguments)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout
