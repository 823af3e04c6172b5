"""``laila new-pool``: which names it takes, what it writes, and that it overwrites nothing."""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from laila.cli import main
from laila.plugins.first_party import FIRST_PARTY


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command silences the library's log: right for its process, wrong for the tests after these."""
    logger = logging.getLogger("laila")
    before = logger.propagate, list(logger.handlers)
    yield
    logger.propagate, logger.handlers = before


def made(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-pool", "card-index2", "--folder", str(tmp_path)]) == 0
    project = tmp_path / "laila-pool-card-index2"
    assert made(tmp_path) == {
        f"laila-pool-card-index2/{name}"
        for name in (
            "README.md",
            "pyproject.toml",
            "src/laila_pool_card_index2/__init__.py",
            "src/laila_pool_card_index2/pool.py",
            "src/laila_pool_card_index2/py.typed",
            "tests/test_conformance.py",
            "tests/test_pool.py",
        )
    }
    tables = tomllib.loads((project / "pyproject.toml").read_text())
    assert tables["project"]["name"] == "laila-pool-card-index2"
    assert tables["project"]["entry-points"]["laila.pools"] == {
        "card-index2": "laila_pool_card_index2:CardIndex2Pool"
    }
    for path in project.rglob("*"):
        assert path.is_dir() or not re.search(r"\$\w|\$\{|PACKAGE", path.read_text().replace("$ ", "")), path
    said = capsys.readouterr().out
    assert f"cd {project}" in said
    assert "src/laila_pool_card_index2/pool.py" in said


def test_a_scheme_of_its_own(tmp_path: Path) -> None:
    assert main(["new-pool", "cards", "--scheme", "cards+zip", "--folder", str(tmp_path)]) == 0
    tables = tomllib.loads((tmp_path / "laila-pool-cards" / "pyproject.toml").read_text())
    assert tables["project"]["entry-points"]["laila.pools"] == {"cards+zip": "laila_pool_cards:CardsPool"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["Cards"], "lowercase"),
        (["my_cards"], "lowercase"),
        (["-cards"], ""),
        (["cards-"], "lowercase"),
        (["a--b"], "lowercase"),
        (["7cards"], "lowercase"),
        (["../cards"], "lowercase"),
        (["cards/x"], "lowercase"),
        (["cards\n"], "lowercase"),
        (["kärtchen"], "lowercase"),
        ([""], "lowercase"),
        (["laila-pool-cards"], "give 'cards' alone"),
        (["cards", "--scheme", "Cards"], "no URL scheme"),
        (["cards", "--scheme", "a:b"], "no URL scheme"),
        (["cards", "--scheme", "rediss"], "a name of laila-pool-redis"),
        *((([party.name], f"a name of {party.distribution}")) for party in FIRST_PARTY[:5]),
    ],
)
def test_names_that_are_refused(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["new-pool", "--folder", str(tmp_path), *words])
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_nothing_is_overwritten(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "laila-pool-cards"
    if kind == "folder":
        (target / "src").mkdir(parents=True)
    elif kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    assert main(["new-pool", "cards", "--folder", str(tmp_path)]) == 1
    assert "is there already, and was left as it is" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_same_command_again_leaves_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new-pool", "cards", "--folder", str(tmp_path)]) == 0
    module = tmp_path / "laila-pool-cards" / "src" / "laila_pool_cards" / "pool.py"
    module.write_text("mine")
    assert main(["new-pool", "cards", "--folder", str(tmp_path)]) == 0
    assert "is there already, and was left as it is" in capsys.readouterr().out
    assert module.read_text() == "mine"
    assert main(["new-pool", "cards", "--scheme", "index", "--folder", str(tmp_path)]) == 1


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-pool", "cards", "--folder", str(tmp_path / "none")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_whole_is_not_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def fail(path: Path, text: str, encoding: str | None = None) -> int:
        if path.name == "pool.py":
            raise OSError(28, "No space left on device")
        return write(path, text, encoding)

    monkeypatch.setattr(Path, "write_text", fail)
    assert main(["new-pool", "cards", "--folder", str(tmp_path)]) == 1
    assert "No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
