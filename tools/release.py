"""Make the files of one distribution's release, and test its wheel alone. Nothing is published.

`build` refuses a tree with changes, a version that is no release or not newer than the last one, a changelog
without this version, and a tag that is on another commit. Then it builds sdist and wheel into dist/, looks
into the wheel, and runs the distribution's tests in .venv-release: with that wheel and, for a plugin, with
the core's, and with no other distribution of the workspace.

`changelog` makes a section of CHANGELOG.md from the fragments in changelog.d.

usage: python tools/release.py build NAME [ARGUMENTS OF PYTEST ...]
       python tools/release.py changelog NAME
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pinned
from packaging.version import InvalidVersion, Version

__all__ = ["CORE", "build", "changelog", "main", "problems", "wheel_problems"]

ROOT = Path(__file__).resolve().parent.parent
CORE = "laila-core"
ENVIRONMENT = ROOT / ".venv-release"


def output(*command: str, folder: Path) -> str:
    """What a command prints; it must succeed."""
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def version_of(folder: Path) -> str:
    """The version in a distribution's pyproject.toml."""
    return str(pinned.tables(folder)["project"]["version"])


def fragments(folder: Path) -> list[Path]:
    """The files in changelog.d that wait for a release."""
    return sorted(path for path in (folder / "changelog.d").glob("*") if path.name != ".gitkeep")


def problems(folder: Path) -> Iterator[str]:
    """What is to be mended before a distribution can be released from its folder, each as one line."""
    name, version = folder.name, version_of(folder)
    try:
        parsed = Version(version)
    except InvalidVersion:
        yield f"{version!r} is not a version: mend `version` in {name}/pyproject.toml"
        return
    if str(parsed) != version or parsed.is_devrelease or parsed.local:
        yield f"{version} is not the version of a release: write it like 1.2.3 in {name}/pyproject.toml"
    if changed := output("git", "status", "--porcelain", folder=folder.parent).splitlines():
        yield f"the tree has changes ({changed[0].strip()}): commit them"
    if waiting := fragments(folder):
        yield f"{waiting[0].relative_to(folder.parent)} is in no release: run make changelog PKG={name}"
    log = folder / "CHANGELOG.md"
    heading = re.compile(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", re.MULTILINE)
    if not log.is_file() or not heading.search(log.read_text(encoding="utf-8")):
        yield f"{name}/CHANGELOG.md has no section of {version}: run make changelog PKG={name}"
    head = output("git", "rev-parse", "HEAD", folder=folder.parent).strip()
    for tag in output("git", "tag", "--list", f"{name}-v*", folder=folder.parent).split():
        commit = output("git", "rev-list", "-n", "1", tag, folder=folder.parent).strip()
        tagged = tag.removeprefix(f"{name}-v")
        if tagged == version and commit != head:
            yield f"the tag {tag} is on another commit: {version} was released, raise the version"
        elif tagged != version and commit == head:
            yield f"the tag {tag} is on this commit, but the version is {version}: mend one of them"
        elif tagged != version and Version(tagged) > parsed:
            yield f"{tagged} was released and is newer than {version}: raise the version"


def wheel_problems(wheel: Path, folder: Path) -> Iterator[str]:
    """What is wrong with a built wheel: its metadata, or files that are not this distribution's."""
    tables = pinned.tables(folder)
    target = tables["tool"]["hatch"]["build"]["targets"]["wheel"]
    (place,) = target.get("packages") or target["only-include"]
    own = place.removeprefix("src/") + "/"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    information = metadata.rpartition("/")[0] + "/"
    for name in names:
        if not name.startswith((own, information)):
            yield f"the wheel holds {name}, which is not below {own}"
    if own + "py.typed" not in names:
        yield f"the wheel has no {own}py.typed"
    if not any(name.endswith("/licenses/LICENSE") for name in names):
        yield "the wheel has no LICENSE"
    for field in (f"Name: {folder.name}", f"Version: {version_of(folder)}", "License-Expression: "):
        if not re.search(rf"^{re.escape(field)}", text, re.MULTILINE):
            yield f"the wheel's metadata has no line {field!r}"
    if not text.partition("\n\n")[2].strip():
        yield "the wheel has no description: README.md is empty"


def made(folder: Path, into: Path) -> Path:
    """Build the sdist, and the wheel from it, into a folder; return the wheel."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(into), str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = into.glob(f"{folder.name.replace('-', '_')}-{version_of(folder)}-*.whl")
    return wheel


def test_alone(wheel: Path, folder: Path, arguments: list[str]) -> int:
    """Run the distribution's tests in an environment with the wheel in it; returns pytest's exit status."""
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(ENVIRONMENT)], check=True)
    python = str(ENVIRONMENT / "bin" / "python")
    core = folder.parent / CORE
    parts = [core] if folder == core else [core, folder]
    pinned.install(
        python, workspace_too=False, groups=["install", "dev"], names=list(pinned.libraries(parts))
    )
    wheels = [wheel] if folder == core else [made(core, ENVIRONMENT / "core"), wheel]
    pinned.run(python, ["--no-deps", *map(str, wheels)])
    installed = output(python, "-m", "pip", "list", "--format=freeze", folder=ROOT).split()
    laila = [line for line in installed if line.startswith("laila-")]
    if laila != [f"{part.name}=={version_of(part)}" for part in sorted(parts)]:
        raise SystemExit(f"the environment has other distributions in it: {laila}")
    return subprocess.run(
        [python, "-m", "pytest", *(arguments or [f"{folder.name}/tests"])], cwd=ROOT, check=False
    ).returncode


def build(folder: Path, arguments: list[str]) -> int:
    """Check, build and test; the exit status is 0 where all is well, and the next step is printed."""
    if found := list(problems(folder)):
        print(*found, sep="\n")
        return 1
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    wheel = made(folder, dist)
    if found := list(wheel_problems(wheel, folder)):
        print(*found, sep="\n")
        return 1
    if code := test_alone(wheel, folder, arguments):
        return code
    tag = f"{folder.name}-v{version_of(folder)}"
    print(f"{wheel.relative_to(ROOT)} and its sdist are right.")
    if output("git", "tag", "--list", tag, folder=ROOT).strip():
        print(f"The tag {tag} is on this commit. Next: upload what is in dist.")
    else:
        print(f"Next: git tag {tag}; upload what is in dist.")
    return 0


def changelog(folder: Path) -> int:
    """Make a section of CHANGELOG.md from the fragments, and remove these."""
    if not fragments(folder):
        print(f"{folder.name}/changelog.d has no fragment")
        return 1
    options = ["--config", "towncrier.toml", "--dir", folder.name, "--version", version_of(folder), "--yes"]
    return subprocess.run(
        [sys.executable, "-m", "towncrier", "build", *options], cwd=ROOT, check=False
    ).returncode


def main(arguments: list[str]) -> int:
    """Run the command; 2 where it is none."""
    names = [folder.name for folder in pinned.workspace()]
    if len(arguments) < 2 or arguments[0] not in {"build", "changelog"} or arguments[1] not in names:
        print(f"say which distribution: PKG={'|'.join(names)}", file=sys.stderr)
        return 2
    command, name, *rest = arguments
    return build(ROOT / name, rest) if command == "build" else changelog(ROOT / name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
