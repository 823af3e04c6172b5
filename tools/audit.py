"""Look at what is installed: licences, versions and hashes that are pinned, known vulnerabilities.

Every distribution in the given folders must have a licence that is known and permitted, stand in
constraints.txt with the version that is installed, and fit what the others require. Known vulnerabilities are
looked up in an offline copy of the database of osv.dev: a folder of JSON files, or its `all.zip` for
PyPI. Without one nothing is looked up, and that is said. Exits 1 where something is wrong.

usage: python tools/audit.py [--osv PATH] [SITE-PACKAGES ...]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import sysconfig
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pinned import CONSTRAINTS, pins, workspace

__all__ = ["Advisories", "agreement", "licence_problem", "main"]

# Licences that let anybody use, change and pass on what they are for, beside code under the MIT licence.
PERMITTED = {
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT", "MIT-0",
    "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib",
}  # fmt: skip
PERMITTED_ADDITIONS = {"LLVM-exception"}

# What older metadata says in words.
WORDS = {
    "apache 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd license": "BSD",
    "cmu license (mit-cmu)": "MIT-CMU",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}

_CUDA = "a part of CUDA that torch brings into .venv-field; nothing of laila holds or needs it"
# A distribution, or the beginning of a name with `*`, and why it may be here all the same.
EXCEPTIONS = {
    "ase": "LGPL: its objects are stored by tests, in .venv-field alone; no code of it is copied",
    "atheris": "Apache-2.0, as the LICENSE in its wheel says; its metadata names none",
    "biopython": "its own licence, which is as free as MIT; tests in .venv-field alone",
    "cuda-toolkit": _CUDA,
    "frozendict": "LGPL: its objects are stored by tests, in .venv-field alone; no code of it is copied",
    "nvidia-*": _CUDA,
}

# An advisory that does not matter here, and why.
ACCEPTED: dict[str, str] = {}


def excepted(name: str) -> bool:
    """Whether the table of exceptions has a distribution."""
    return any(
        name == each or (each.endswith("*") and name.startswith(each.removesuffix("*")))
        for each in EXCEPTIONS
    )


def stated(distribution: Distribution) -> list[str]:
    """The licences that the metadata states: its SPDX expression, else its words and classifiers."""
    metadata = distribution.metadata
    if "License-Expression" in metadata:
        return [metadata["License-Expression"]]
    classifiers = [
        each.rpartition(" :: ")[2]
        for each in metadata.get_all("Classifier") or []
        if each.startswith(("License :: OSI Approved :: ", "License :: Other", "License :: Free"))
    ]
    # The field may also hold the whole text, or its first lines: then the classifiers say which it is.
    field = (metadata["License"] or "").strip() if "License" in metadata else ""
    short = [field] if spdx(field) or field.lower() in WORDS else []
    return [*short, *classifiers] or [line for line in field.splitlines()[:1] if line]


def spdx(text: str) -> str | None:
    """A text as an SPDX expression, if it is one."""
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        return None


def permitted(expression: str) -> bool:
    """Whether the terms of an expression may be chosen so that all of them are permitted.

    `AND` binds closer than `OR`; an expression with parentheses is permitted only if each licence in it is.
    """
    if "(" in expression:
        expression = re.sub(r"[()]", " ", expression).replace(" OR ", " AND ")
    return any(
        all(
            licence in PERMITTED and (not addition or addition in PERMITTED_ADDITIONS)
            for licence, _, addition in (term.strip().partition(" WITH ") for term in choice.split(" AND "))
        )
        for choice in expression.split(" OR ")
    )


def licence_problem(distribution: Distribution) -> str | None:
    """What is wrong with the licence of a distribution, if anything is."""
    said = stated(distribution)
    if not said:
        return "states no licence"
    for each in said:
        expression = WORDS.get(each.lower()) or spdx(each)
        if expression is None:
            return f"states a licence that is not known: {each}"
        if not permitted(expression):
            return f"states a licence that is not permitted: {each}"
    return None


def agreement(found: Iterable[Distribution], known: dict[str, str]) -> Iterator[str]:
    """Where installed distributions differ from what is pinned, or from what the others require."""
    installed = {canonicalize_name(each.name): each for each in found}
    ours = {folder.name for folder in workspace()}
    for name, distribution in installed.items():
        if name in ours:
            continue
        version, *hashes = known.get(name, "").split() or [""]
        if not version:
            yield f"{name} {distribution.version}: constraints.txt has no line for it"
        elif version != distribution.version:
            yield f"{name} {distribution.version}: constraints.txt has {version}"
        elif not hashes:
            yield f"{name}: constraints.txt has no hash for it"
    for name, distribution in installed.items():
        for requirement in map(Requirement, distribution.requires or ()):
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            needed = installed.get(canonicalize_name(requirement.name))
            if needed is None:
                yield f"{name} needs {requirement}, which is not installed"
            elif not requirement.specifier.contains(needed.version, prereleases=True):
                yield f"{name} needs {requirement}; installed is {needed.version}"


class Advisories:
    """The advisories of an offline copy of osv.dev, for distributions of PyPI.

    Args:
        path: A folder with a JSON file for each advisory, at any depth, or a zip file of such files.

    Raises:
        SystemExit: There is no advisory in it.
    """

    def __init__(self, path: Path) -> None:
        self.of: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
        self.newest = ""
        self.count = 0
        for advisory in self._read(path):
            parts = [
                each
                for each in advisory.get("affected", ())
                if each.get("package", {}).get("ecosystem") == "PyPI"
            ]
            self.count += bool(parts)
            for part in parts:
                self.newest = max(self.newest, advisory.get("modified", ""))
                if not advisory.get("withdrawn"):
                    self.of.setdefault(canonicalize_name(part["package"]["name"]), []).append(
                        (advisory, part)
                    )
        if not self.count:
            raise SystemExit(
                f"{path} holds no advisory for a distribution of PyPI: nothing could be looked up"
            )

    @staticmethod
    def _read(path: Path) -> Iterator[dict[str, Any]]:
        if path.is_dir():
            for file in path.rglob("*.json"):
                yield json.loads(file.read_bytes())
        elif path.is_file():
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith(".json"):
                        yield json.loads(archive.read(name))

    def about(self, name: str, version: str) -> Iterator[str]:
        """The ids of the advisories that a version of a distribution is affected by."""
        for advisory, part in self.of.get(canonicalize_name(name), ()):
            if advisory["id"] in ACCEPTED or ACCEPTED.keys() & set(advisory.get("aliases", ())):
                continue
            ranges = (each for each in part.get("ranges", ()) if each["type"] == "ECOSYSTEM")
            if self._listed(version, part.get("versions", ())) or any(
                self._within(Version(version), each["events"]) for each in ranges
            ):
                yield f"{advisory['id']} {advisory.get('summary', '')}".strip()

    @staticmethod
    def _listed(version: str, versions: Iterable[str]) -> bool:
        for each in versions:
            try:
                if Version(each) == Version(version):
                    return True
            except InvalidVersion:
                continue
        return False

    @staticmethod
    def _within(version: Version, events: list[dict[str, str]]) -> bool:
        affected = False
        dated = [(Version(at), kind) for event in events for kind, at in event.items() if kind != "limit"]
        # At one version, what ends a range comes before what begins the next one.
        for at, kind in sorted(dated, key=lambda event: (event[0], event[1] == "introduced")):
            if kind == "introduced" and version >= at:
                affected = True
            elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
                affected = False
        return affected


def report(title: str, problems: list[str], fine: str) -> bool:
    """Print what was found; whether that was nothing."""
    print(f"{title}: {fine}" if not problems else f"{title}: {len(problems)} to look at")
    for problem in problems:
        print(f"  {problem}")
    return not problems


def main(arguments: list[str]) -> int:
    """Audit; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sites", nargs="*", default=[sysconfig.get_path("purelib")])
    parser.add_argument("--osv", type=Path, help="an offline copy of the database of osv.dev")
    given = parser.parse_args(arguments)
    found = sorted(distributions(path=given.sites), key=lambda each: canonicalize_name(each.name))
    if not found:
        raise SystemExit(f"there is no distribution in {', '.join(given.sites)}")
    named = [(canonicalize_name(each.name), each) for each in found]

    licences = [
        f"{name} {each.version} {problem}"
        for name, each in named
        if not excepted(name) and (problem := licence_problem(each))
    ]
    exceptions = sum(excepted(name) for name, _ in named)
    fine = f"{len(named)} distributions, each with one that is known and permitted"
    good = report(
        "licences", licences, fine + (f", {exceptions} of them as exceptions" if exceptions else "")
    )

    known = pins(CONSTRAINTS.read_text(encoding="utf-8"))
    good &= report(
        "versions", list(agreement(found, known)), "all as constraints.txt has them, and they go together"
    )

    if given.osv is None:
        print(
            "vulnerabilities: NOT LOOKED UP, for there is no offline database: make audit OSV=path/to/all.zip"
        )
        return not good
    advisories = Advisories(given.osv)
    vulnerable = [
        f"{name} {each.version}: {advisory}"
        for name, each in named
        for advisory in advisories.about(name, each.version)
    ]
    fine = f"none in {advisories.count} advisories, the newest of {advisories.newest or 'no date'}"
    return not (report("vulnerabilities", vulnerable, fine) and good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
