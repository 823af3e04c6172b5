"""What contributors find: templates, hooks, CI, changelogs and a release that is checked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import matrix
import pytest
import release
import yaml

from workspace import DISTRIBUTIONS, ROOT, Distribution

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
PAGES = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", ".pre-commit-config.yaml", ".ci/run")
    ),
    *sorted((ROOT / ".github").rglob("*.*")),
    *sorted((ROOT / "docs" / "contributing").glob("*.md")),
]


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_target_that_a_page_names_is_one(page: Path) -> None:
    named = set(re.findall(r"(?:`|\$ |run: |entry: |^)make ([a-z-]+)", page.read_text(), re.MULTILINE))
    assert named <= TARGETS


def test_there_is_a_hook_for_each_part_of_make_lint() -> None:
    (repository,) = _yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    (parts,) = re.findall(r"^lint: (.*?) ##", MAKEFILE, re.MULTILINE)
    assert {hook["entry"] for hook in repository["hooks"]} == {f"make {part}" for part in parts.split()}


def test_the_forge_runs_what_must_pass_with_each_python() -> None:
    jobs = _yaml(WORKFLOW)["jobs"]
    assert {"run": "bash .ci/run"} in jobs["all"]["steps"]
    oldest = jobs["all"]["steps"][1]["with"]["python-version"]
    assert (oldest, *jobs["matrix"]["strategy"]["matrix"]["python"]) == matrix.SUPPORTED


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_a_form_for_issues_asks_for_something(name: str) -> None:
    form = _yaml(ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml")
    assert form["name"]
    assert form["description"]
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert any(field.get("validations", {}).get("required") for field in fields)
    assert len({field["id"] for field in fields}) == len(fields)


def test_who_cites_it_names_the_version_of_the_core() -> None:
    citation = _yaml(ROOT / "CITATION.cff")
    assert citation["version"] == release.version_of(ROOT / release.CORE)
    assert citation["license"] == "MIT"


# -- changelogs ----------------------------------------------------------------------------------------------


KINDS = {"added", "changed", "deprecated", "removed", "fixed", "security"}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda distribution: distribution.name)
def test_each_distribution_has_a_changelog_and_right_fragments(distribution: Distribution) -> None:
    assert "<!-- releases -->\n" in (distribution.folder / "CHANGELOG.md").read_text()
    assert (distribution.folder / "changelog.d" / ".gitkeep").is_file()
    for path in release.fragments(distribution.folder):
        _words, kind, suffix = path.name.split(".")
        assert (kind in KINDS, suffix) == (True, "md"), path
        text = path.read_text()
        assert re.search(r"^- \S", text, re.MULTILINE), f"{path} is no list"
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (distribution.folder / link).exists(), (
                f"{path}: links are relative to CHANGELOG.md: {link}"
            )


def test_the_page_of_versions_holds_no_change() -> None:
    """It names each distribution, and what changed is in theirs."""
    text = (ROOT / "CHANGELOG.md").read_text()
    assert [each.name for each in DISTRIBUTIONS if f"({each.name}/changelog.d)" not in text] == []
    assert re.findall(r"^(?:#{2,} |- ).*", text, re.MULTILINE) == []


def test_a_release_takes_the_fragments_into_its_changelog(tmp_path: Path) -> None:
    for name in ("towncrier.toml", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    folder = tmp_path / "laila-pool-box"
    (folder / "changelog.d").mkdir(parents=True)
    (folder / "CHANGELOG.md").write_text(
        "# Changelog\n\n<!-- releases -->\n\n## 0.1.0 (2026-11-01)\n\n- Old.\n"
    )
    (folder / "changelog.d" / "x.fixed.md").write_text("- Mended.\n")
    (folder / "changelog.d" / "a.added.md").write_text("Group:\n\n- One,\n  in two lines.\n- Two.\n")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", "-A")
    command = [sys.executable, "-m", "towncrier", "build", "--config", "towncrier.toml", "--dir", folder.name]
    subprocess.run(
        [*command, "--version", "0.2.0", "--date", "2026-12-01", "--yes"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert (folder / "CHANGELOG.md").read_text() == (
        "# Changelog\n\n<!-- releases -->\n\n## 0.2.0 (2026-12-01)\n\n### Added\n\n"
        "Group:\n\n- One,\n  in two lines.\n- Two.\n\n### Fixed\n\n- Mended.\n\n"
        "## 0.1.0 (2026-11-01)\n\n- Old.\n"
    )
    assert list((folder / "changelog.d").glob("*.md")) == []


def _git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A distribution that can be released, in a repository of its own."""
    made = tmp_path / "laila-pool-box"
    (made / "changelog.d").mkdir(parents=True)
    (made / "changelog.d" / ".gitkeep").touch()
    (made / "pyproject.toml").write_text('[project]\nname = "laila-pool-box"\nversion = "0.2.0"\n')
    (made / "CHANGELOG.md").write_text("# Changelog\n\n<!-- releases -->\n\n## 0.2.0 (2026-12-01)\n\n- x\n")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", "-A")
    _git(tmp_path, "commit", "-qm", "Release")
    return made


def _commit(folder: Path, file: str, text: str) -> None:
    (folder / file).write_text(text)
    _git(folder.parent, "add", "-A")
    _git(folder.parent, "commit", "-qm", "Change")


def test_what_can_be_released_has_no_problem(folder: Path) -> None:
    assert list(release.problems(folder)) == []
    _git(folder.parent, "tag", "laila-pool-box-v0.1.0")
    _git(folder.parent, "tag", "-d", "laila-pool-box-v0.1.0")
    _git(folder.parent, "tag", "laila-pool-box-v0.2.0")
    _git(folder.parent, "tag", "laila-pool-other-v9.0.0")
    assert list(release.problems(folder)) == []


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("0.2.0.dev1", "is not the version of a release"),
        ("0.2.0+local", "is not the version of a release"),
        ("0.02.0", "is not the version of a release"),
        ("soon", "'soon' is not a version"),
        (
            "0.3.0",
            "laila-pool-box/CHANGELOG.md has no section of 0.3.0: run make changelog PKG=laila-pool-box",
        ),
    ],
)
def test_a_wrong_version_is_refused(version: str, said: str, folder: Path) -> None:
    _commit(folder, "pyproject.toml", f'[project]\nname = "laila-pool-box"\nversion = "{version}"\n')
    assert any(said in problem for problem in release.problems(folder))


def test_what_is_not_committed_or_in_no_release_is_refused(folder: Path) -> None:
    (folder / "new.py").touch()
    (problem,) = release.problems(folder)
    assert "commit" in problem
    _commit(folder, "changelog.d/faster.changed.md", "- Faster.\n")
    (problem,) = release.problems(folder)
    assert "faster.changed.md is in no release: run make changelog" in problem


def test_a_version_that_was_released_is_refused(folder: Path) -> None:
    _git(folder.parent, "tag", "laila-pool-box-v0.2.0")
    _commit(folder, "new.py", "")
    (problem,) = release.problems(folder)
    assert "the tag laila-pool-box-v0.2.0 is on another commit" in problem


def test_an_older_version_than_the_last_is_refused(folder: Path) -> None:
    _git(folder.parent, "tag", "laila-pool-box-v0.10.0")
    _commit(folder, "new.py", "")
    (problem,) = release.problems(folder)
    assert "0.10.0 was released and is newer than 0.2.0" in problem


def test_a_tag_of_another_version_is_refused(folder: Path) -> None:
    _git(folder.parent, "tag", "laila-pool-box-v0.1.0")
    (problem,) = release.problems(folder)
    assert "the tag laila-pool-box-v0.1.0 is on this commit, but the version is 0.2.0" in problem


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ({"3.11": "passed", "3.14": "not on this machine"}, 0),
        ({"3.11": "passed", "3.12": "failed: pytest ended with 1"}, 1),
        ({"3.14": "not on this machine"}, 1),
    ],
)
def test_a_matrix_says_which_versions_ran(outcomes: dict[str, str], status: int) -> None:
    text, code = matrix.summary(outcomes)
    assert text.splitlines() == [f"Python {version}: {outcome}" for version, outcome in outcomes.items()]
    assert code == status
