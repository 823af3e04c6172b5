"""The long checks find what they are for, and their quick parts hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import laila
from laila.pool.files import FilesystemPool
from torture import faults as faults_module
from torture.crash import crash
from torture.damage import damage, truncation
from torture.histories import Event, histories, is_linearizable
from torture.race import race
from torture.report import Options, Report
from torture.soak import soak
from torture.stores import Store
from torture.workload import Operation, look, operation, run

if TYPE_CHECKING:
    from pathlib import Path


def history(*events: tuple[float, float, str, bytes, bytes | None]) -> list[Event]:
    return [Event(*event) for event in events]


def test_a_history_that_happened_is_accepted() -> None:
    assert is_linearizable(
        history(
            (0, 9, "create", b"a", b"done"),
            (1, 2, "read", b"", None),
            (3, 4, "read", b"", b"a"),
            (5, 6, "create", b"b", b"refused"),
            (7, 8, "forget", b"", b"done"),
        )
    )


@pytest.mark.parametrize(
    "events",
    [
        [(0, 1, "create", b"a", b"done"), (2, 3, "read", b"", None)],
        [(0, 1, "create", b"a", b"done"), (2, 3, "create", b"b", b"done")],
        [(0, 9, "overwrite", b"a", b"done"), (1, 2, "read", b"", b"a"), (3, 4, "read", b"", None)],
        [(0, 1, "overwrite", b"a", b"done"), (2, 3, "forget", b"", b"done"), (4, 5, "read", b"", b"a")],
    ],
)
def test_a_history_that_cannot_be_is_refused(
    events: list[tuple[float, float, str, bytes, bytes | None]],
) -> None:
    assert not is_linearizable(history(*events))


def test_the_workload_is_that_of_its_seed(tmp_path: Path) -> None:
    state: dict[str, bytes] = {}
    with laila.DefaultPolicy(alpha_pool=FilesystemPool(tmp_path / "pool", durable="process")) as policy:
        for number in range(20):
            what = operation(5, number)
            assert what == operation(5, number) != operation(6, number)
            run(what, policy.central.memory)
            state = what.apply(state)
            assert look(policy.central.memory) == state
    assert state
    assert Operation("forget", ("a",), ()).apply({"a": b"1", "b": b"2"}) == {"b": b"2"}


def test_every_cut_of_a_blob_is_found(tmp_path: Path) -> None:
    with Store("files", tmp_path / "store") as store:
        report = truncation(store, Options(1, 1, 10))
    assert not report.wrong
    assert report.counts["found"] == report.counts["lengths"] > 5000


@pytest.mark.parametrize("kind", ["files", "hdf5", "sqlite"])
def test_flipped_bits_are_found(kind: str, tmp_path: Path) -> None:
    with Store(kind, tmp_path / "store") as store:
        report = damage(store, Options(7, 20, 30))
    assert not report.wrong
    assert report.counts["found"] > 8


@pytest.mark.parametrize("kind", ["files", "hdf5", "sqlite", "redis", "s3"])
def test_a_few_rounds_of_each(kind: str, tmp_path: Path) -> None:
    for number, (check, rounds) in enumerate(
        ((crash, 3), (race, 12), (faults_module.faults, 2), (histories, 2))
    ):
        with Store(kind, tmp_path / f"store-{number}") as store:
            report = check(store, Options(11, rounds, 30))
        assert not report.wrong, str(report)
        assert report.counts


def test_a_soak_compares_and_measures(tmp_path: Path) -> None:
    with Store("sqlite", tmp_path / "store") as store:
        report = soak(store, Options(3, 1, 3))
    assert not report.wrong
    assert report.counts["reads"] == 3 * report.counts["writes"]


def test_a_pool_that_loses_what_it_acknowledged_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check can fail: here each tenth write is dropped, and success is said."""
    written = []
    write = FilesystemPool._write_many

    def forgetful(self: FilesystemPool, items: Any) -> Any:
        written.append(items)
        return None if len(written) % 10 == 0 else write(self, items)

    with Store("files", tmp_path / "store") as store:
        address = store.fresh()
        outcomes = [""] * 30
        monkeypatch.setattr(FilesystemPool, "_write_many", forgetful)
        with laila.DefaultPolicy(alpha_pool=address.open(durable="process")) as policy:
            for number in range(30):
                run(operation(5, number), policy.central.memory)
        monkeypatch.undo()
        report = Report("faults", "files", 5)
        faults_module.compare(address, 5, outcomes, report)
    assert report.wrong
