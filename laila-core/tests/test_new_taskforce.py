"""``laila new-taskforce``: what it writes. Names and files that are there: as for ``laila new-pool``."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from laila.cli import main


def test_what_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-taskforce", "card-index2", "--folder", str(tmp_path)]) == 0
    project = tmp_path / "laila-taskforce-card-index2"
    assert {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()} == {
        "README.md",
        "pyproject.toml",
        "src/laila_taskforce_card_index2/__init__.py",
        "src/laila_taskforce_card_index2/taskforce.py",
        "src/laila_taskforce_card_index2/py.typed",
        "tests/test_conformance.py",
        "tests/test_taskforce.py",
    }
    tables = tomllib.loads((project / "pyproject.toml").read_text())
    assert tables["project"]["entry-points"]["laila.taskforces"] == {
        "card-index2": "laila_taskforce_card_index2:CardIndex2TaskForce"
    }
    for path in project.rglob("*"):
        assert path.is_dir() or not re.search(r"\$\w|\$\{|PACKAGE", path.read_text().replace("$ ", "")), path
    assert "src/laila_taskforce_card_index2/taskforce.py" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["threads", "dask", "Cards", "laila-taskforce-cards"])
def test_names_that_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["new-taskforce", "--folder", str(tmp_path), name])
    assert list(tmp_path.iterdir()) == []
