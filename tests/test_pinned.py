"""`make install` takes nothing without its hash; `make audit` passes no unknown licence or empty claim."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import subprocess
import sys
import zipfile
from importlib.metadata import distribution, distributions
from typing import TYPE_CHECKING

import audit
import pinned
import pytest
from packaging.requirements import Requirement

from workspace import DISTRIBUTIONS, ROOT

if TYPE_CHECKING:
    from pathlib import Path

PINS = pinned.pins((ROOT / "constraints.txt").read_text())


def test_every_pin_has_hashes() -> None:
    for name, pin in PINS.items():
        _, *hashes = pin.split()
        assert hashes, name
        assert all(len(each) == len("--hash=sha256:") + 64 for each in hashes), name


@pytest.mark.parametrize("group", pinned.GROUPS)
def test_what_is_wanted_is_pinned_to_a_version_that_is_allowed(group: str) -> None:
    """A minimum over its pin is found here: the workspace is installed without a look at what it needs."""
    for text in pinned.requirements(libraries_too=group == "dev", groups=[group]):
        wanted = Requirement(text)
        assert wanted.specifier.contains(PINS[pinned.name_of(text)].split()[0]), text


def test_the_libraries_of_every_distribution_and_extra_are_wanted() -> None:
    """Through extras that name other extras of the same distribution; siblings are left out."""
    names = {pinned.name_of(text) for text in pinned.libraries()}
    assert {"h5py", "redis", "obstore", "distributed", "loky", "numpy", "rich", "tqdm", "pytest"} <= names
    assert not names & {each.name for each in DISTRIBUTIONS}


def _wheel(folder: Path, name: str, *needs: str) -> str:
    """A wheel without code in ``folder``; returns its hash, as constraints.txt writes it."""
    info = f"{name}-1.0.dist-info"
    metadata = "".join(f"{line}\n" for line in ("Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"))
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {each}\n" for each in needs),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for each, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        record += f"{each},sha256={digest},{len(text)}\n"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            archive.writestr(each, text)
    return f"--hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize("tool", ["uv", "pip"])
@pytest.mark.parametrize(
    "wrong", ["nothing", "hash of what is asked for", "hash of what it needs", "no line"]
)
def test_nothing_is_installed_whose_hash_is_not_pinned(
    tool: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By either tool, what is only needed by something else included."""
    hashes = {"outer": _wheel(tmp_path, "outer", "inner"), "inner": _wheel(tmp_path, "inner")}
    if wrong.startswith("hash"):
        name = "outer" if wrong.endswith("asked for") else "inner"
        hashes[name] = hashes[name][:-6] + "000000"
    elif wrong == "no line":
        del hashes["inner"]
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("".join(f"{name}==1.0 \\\n    {each}\n" for name, each in hashes.items()))
    monkeypatch.setattr(pinned, "CONSTRAINTS", constraints)
    for variable in ("FIND_LINKS", "NO_INDEX"):
        for prefix in ("UV", "PIP"):
            monkeypatch.setenv(f"{prefix}_{variable}", "1" if variable == "NO_INDEX" else str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    if tool == "pip":
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")

    if wrong == "nothing":
        pinned.install(python, workspace_too=False, groups=[], names=["outer"])
    else:
        with pytest.raises(SystemExit):
            pinned.install(python, workspace_too=False, groups=[], names=["outer"])
    found = {path.name for path in (tmp_path / "venv").rglob("*er.py")}
    assert found == ({"outer.py", "inner.py"} if wrong == "nothing" else set())


def test_what_runs_this_test_passes_the_audit() -> None:
    """Licences are known and permitted, versions as pinned, requirements met."""
    found = list(distributions())
    names = {pinned.normal(each.name) for each in found}
    problems = {
        each.name: problem
        for each in found
        if not audit.excepted(pinned.normal(each.name)) and (problem := audit.licence_problem(each))
    }
    assert {"numpy", "laila-core"} <= names
    assert problems == {}


def _installed(folder: Path, name: str, *lines: str) -> Path:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    head = ["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0"]
    (info / "METADATA").write_text("\n".join([*head, *lines, "", "text"]))
    return folder


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["License-Expression: MIT"], None),
        (["License-Expression: AGPL-3.0-only OR MIT"], None),
        (["License-Expression: Apache-2.0 WITH LLVM-exception AND MIT"], None),
        (["Classifier: License :: OSI Approved :: BSD License"], None),
        (["License: BSD 3-Clause"], None),
        (["License: Copyright (c) somebody", "Classifier: License :: OSI Approved :: MIT License"], None),
        ([], "no licence"),
        (["License: UNKNOWN"], "not known"),
        (["License: ask me"], "not known"),
        (["License-Expression: MIT AND AGPL-3.0-only"], "not permitted"),
        (["License-Expression: (MIT OR AGPL-3.0-only) AND Zlib"], "not permitted"),
        (["License-Expression: LicenseRef-Proprietary"], "not permitted"),
        (["License: MIT", "Classifier: License :: Other/Proprietary License"], "not known"),
        (
            ["Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)"],
            "not known",
        ),
    ],
)
def test_licences_are_told_apart(lines: list[str], problem: str | None, tmp_path: Path) -> None:
    (found,) = distributions(path=[str(_installed(tmp_path, "one", *lines))])
    said = audit.licence_problem(found)
    assert said is None if problem is None else said is not None and problem in said


def test_what_differs_from_the_pins_is_found(tmp_path: Path) -> None:
    """Another version, no line, no hash, and a requirement that is not met."""
    for name in ("other", "unlisted", "hashless"):
        _installed(tmp_path, name)
    _installed(
        tmp_path,
        "needy",
        "Requires-Dist: other>=2",
        "Requires-Dist: absent",
        "Requires-Dist: x; extra == 'e'",
    )
    known = {"other": "2.0 --hash=sha256:00", "hashless": "1.0", "needy": "1.0 --hash=sha256:00"}
    found = sorted(audit.agreement(distributions(path=[str(tmp_path)]), known))
    assert found == [
        "hashless: constraints.txt has no hash for it",
        "needy needs absent, which is not installed",
        "needy needs other>=2; installed is 1.0",
        "other 1.0: constraints.txt has 2.0",
        "unlisted 1.0: constraints.txt has no line for it",
    ]


def _advisory(identity: str, *events: dict[str, str], **more: object) -> dict[str, object]:
    package = {"ecosystem": "PyPI", "name": "Some_Thing"}
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}]
    affected = {"package": package, "ranges": ranges, "versions": more.pop("versions", [])}
    return {"id": identity, "modified": "2026-01-02T00:00:00Z", "affected": [affected], **more}


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_known_vulnerabilities_are_found(form: str, tmp_path: Path) -> None:
    """Ranges and listed versions; what is fixed, withdrawn or about another ecosystem is none."""
    other = _advisory("npm", {"introduced": "0"})
    other["affected"] = [{"package": {"ecosystem": "npm", "name": "some-thing"}, "versions": ["1.5"]}]
    given = [
        _advisory("always", {"introduced": "0"}),
        _advisory("fixed", {"introduced": "0"}, {"fixed": "1.5"}),
        _advisory("later", {"introduced": "1.6"}),
        _advisory("last", {"introduced": "1.0"}, {"last_affected": "1.5"}),
        _advisory("before", {"introduced": "0"}, {"last_affected": "1.4.9"}),
        _advisory("again", {"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "1.5rc1"}, {"fixed": "1.6"}),
        _advisory("listed", {"introduced": "2"}, versions=["not a version", "1.5.0"], summary="all is lost"),
        _advisory("withdrawn", {"introduced": "0"}, withdrawn="2026-01-01T00:00:00Z"),
        other,
    ]
    place = tmp_path / "all.zip"
    if form == "folder":
        place = tmp_path / "all"
        place.mkdir()
        for advisory in given:
            (place / f"{advisory['id']}.json").write_text(json.dumps(advisory))
    else:
        with zipfile.ZipFile(place, "w") as archive:
            for advisory in given:
                archive.writestr(f"{advisory['id']}.json", json.dumps(advisory))
    advisories = audit.Advisories(place)
    assert sorted(advisories.about("some.thing", "1.5")) == ["again", "always", "last", "listed all is lost"]
    assert list(advisories.about("elsewhere", "1.5")) == []
    assert advisories.count == len(given) - 1


def test_success_is_not_claimed_for_what_was_not_looked_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a database, with one that is not there, and with an empty one."""
    site = _installed(tmp_path / "site", "pip", "License: MIT")
    audit.main([str(site)])
    assert "vulnerabilities: NOT LOOKED UP" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    for place in ("absent.zip", "empty"):
        with pytest.raises(SystemExit, match="nothing could be looked up"):
            audit.main(["--osv", str(tmp_path / place), str(site)])
    with pytest.raises(SystemExit, match="no distribution"):
        audit.main([str(tmp_path / "empty")])


def test_a_vulnerability_fails_the_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And an audit that looked says how old the database is."""
    advisory = _advisory("PYSEC-1", {"introduced": "0"})
    version = distribution("pip").version
    place = tmp_path / "osv"
    place.mkdir()
    (place / "one.json").write_text(json.dumps(advisory))
    site = str(distribution("pip").locate_file(""))
    arguments = ["--osv", str(place), site]
    audit.main(arguments)
    assert "vulnerabilities: none in 1 advisories, the newest of 2026-01-02" in capsys.readouterr().out
    affected = advisory["affected"]
    assert isinstance(affected, list)
    affected[0]["package"]["name"] = "PIP"
    (place / "one.json").write_text(json.dumps(advisory))
    assert audit.main(arguments) == 1
    assert f"pip {version}: PYSEC-1" in capsys.readouterr().out
