"""The pool of a command: its first argument, ``--pool`` or ``LAILA_POOL``; arguments in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import laila
from laila.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

LOOKING = {
    "verify": [],
    "show": [],
    "compact": [],
    "gc": [],
    "du": [],
    "leases": [],
    "pin": [],
    "expire": ["run-", "--keep-last", "1", "--dry-run"],
    "ls": [],
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a pool with three runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAILA_POOL", raising=False)
    with laila.DefaultPolicy() as policy:
        memory = policy.central.memory
        memory.extend("file:store", pool_nickname="store")
        runs = [laila.constant(number, nickname=f"run-{number}") for number in (1, 2, 10)]
        memory.memorize(runs, pool_nickname="store").wait()
    return "file:store"


@pytest.mark.parametrize("command", LOOKING)
def test_the_variable_names_the_pool_of_each_command(
    command: str, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, *LOOKING[command]]
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "LAILA_POOL" in capsys.readouterr().err or command == "ls"
    assert main([*words, "--pool", store]) == 0
    by_option = capsys.readouterr().out
    monkeypatch.setenv("LAILA_POOL", store)
    assert main(words) == 0
    by_variable = capsys.readouterr().out
    assert (by_variable == by_option) or command in ("verify", "du")  # these print a time or a seed
    if command != "ls":
        assert main([command, store, *LOOKING[command]]) == 0


def test_one_argument_is_a_name_where_the_pool_is_known(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "--pool", store, "run-1"]) == 0
    assert "nickname  run-1" in capsys.readouterr().out
    monkeypatch.setenv("LAILA_POOL", "file:another")
    assert main(["show", store, "--limit", "1"]) == 0  # a URL is a pool all the same
    assert "run-1" in capsys.readouterr().out
    monkeypatch.setenv("LAILA_POOL", store)
    assert main(["show", "run-2"]) == 0
    assert "nickname  run-2" in capsys.readouterr().out


def test_two_pools_are_one_too_many(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["du", store, "--pool", store])
    assert caught.value.code == 2
    assert "two pools are given" in capsys.readouterr().err


def test_arguments_and_options_come_in_any_order(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", store, "--limit", "3", "run-10"]) == 0
    assert "nickname  run-10" in capsys.readouterr().out
    assert main(["expire", store, "--keep-last", "2", "run", "--dry-run"]) == 0
    assert "1 would go, 2 stay" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["show", store, "--nothing", "run-10"])
    assert caught.value.code == 2


def test_a_name_with_a_number_is_no_prefix_of_longer_numbers(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["expire", store, "run-1", "--keep-last", "0"]) == 1
    assert "no names like 'run-1'" in capsys.readouterr().err
    with laila.DefaultPolicy() as policy:
        pool = policy.central.memory.extend(store)
        assert len(pool) == 3
