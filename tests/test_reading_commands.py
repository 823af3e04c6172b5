"""Reading commands print JSON; long commands show how far they are, and Ctrl-C says how to go on."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import laila
from laila.cli.main import main
from laila.cli.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a pool with a manifest, and a variable with two evolutions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAILA_POOL", "file:store")
    with laila.DefaultPolicy() as policy:
        memory = policy.central.memory
        memory.extend("file:store", pool_nickname="store")
        tree = {"w": laila.constant(np.zeros((2, 3)), nickname="w"), "epoch": laila.constant(3)}
        memory.memorize(laila.Manifest(tree, nickname="run"), pool_nickname="store").wait()
        state = laila.variable({"step": 0}, nickname="state", metadata={"lr": 0.1})
        memory.memorize(state, pool_nickname="store").wait()
        memory.memorize(state.evolve(data={"step": 1}), pool_nickname="store").wait()
    return "file:store"


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    """The JSON objects that a command prints."""
    assert main(words) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_show_prints_json(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed(capsys, "show", "--json")
    assert len(rows) == 5
    assert {row["nickname"] for row in rows} == {"w", "run", "state", None}
    (entry,) = printed(capsys, "show", "state", "--json")
    assert entry["evolutions"] == [0, 1]
    assert entry["value"] == "{'step': 1}"
    assert entry["metadata"] == {"lr": 0.1}
    (matrix,) = printed(capsys, "show", store, "w", "--json")
    assert matrix["type"] == "numpy.ndarray"


def test_tree_prints_json(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tree,) = printed(capsys, "tree", "run", "--json")
    assert tree["nickname"] == "run"
    leaves = tree["leaves"]
    assert isinstance(leaves, dict)
    assert leaves["w"]["shape"] == [2, 3]
    assert leaves["w"]["nbytes"] == 48
    assert len(bytes.fromhex(leaves["epoch"]["digest"])) >= 16


def test_other_reading_commands_print_json(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = printed(capsys, "doctor", "--json")
    rows = found["findings"]
    assert isinstance(rows, list)
    assert {"state", "what", "text"} == set(rows[0])
    (keys,) = printed(capsys, "keys", "list", "--json")
    assert set(keys) == {"signing", "encryption"}
    (used,) = printed(capsys, "keys", "used", "0123456789abcdef", "--pool", store, "--json")
    assert used["entries"] == []
    (report,) = printed(capsys, "repair", store, "--from", store, "--json")
    assert report == {"repaired": [], "kept": {}, "failed": {}}
    (report,) = printed(capsys, "recrypt", "--json")
    assert report["recrypted"] == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["put", "x"], "run the same command again, and it goes on"),
        (["cp", "file:store", "file:other"], "run the same command again, and it goes on"),
        (["export", "run", "out.npz"], "nothing is at the destination"),
        (["verify"], "with --state FILE"),
        (["verify", "--state", "s"], "run the same command again, and it goes on"),
        (["ls"], "laila: interrupted\n"),
    ],
)
def test_an_interrupt_says_how_to_go_on(
    words: list[str],
    text: str,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("laila.central.naming.open_pool", interrupted)
    assert main(words) == 130
    assert text in capsys.readouterr().err


def test_a_copy_is_told_of_as_it_goes(store: str) -> None:
    from laila.tiering.copying import copy_pool

    told = []
    with laila.DefaultPolicy() as policy:
        source = policy.central.memory.extend(store, pool_nickname="source")
        group = copy_pool(
            laila.MemoryPool(), source, on_progress=lambda count, nbytes: told.append((count, nbytes))
        )
        group.wait()
    assert told[-1][0] == 5
    assert told[-1][1] > 48


def test_progress_tells_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("laila.cli.progress.monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress() as progress:
        progress.total_bytes = 40 << 20
        now[0] += 2
        progress.show_done(5, 10 << 20)
        progress.show_done(6, 11 << 20)  # too soon to be shown
    with Progress("entries") as progress:
        progress.total = 8
        now[0] += 3
        progress.show_done(2, 0)
    shown = capsys.readouterr().err
    assert "5 files, 10.0 MiB, 5.0 MiB/s, 6 s left" in shown
    assert "6 files" not in shown
    assert "2 entries, 9 s left" in shown
