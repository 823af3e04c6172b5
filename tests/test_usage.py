"""`laila.du`: each byte is counted once, and what manifests share is shown."""

from __future__ import annotations

import json

import numpy as np
import pytest

import laila
from kinds import KINDS, TRANSFORMED, Place
from laila.cli.main import main
from laila.errors import InvalidArgumentError
from test_damage import damage

pytestmark = pytest.mark.usefixtures("policy")


def named(number: int) -> np.ndarray:
    return np.full(1000, float(number))


def fill(pool: laila.Pool) -> None:
    """Store two manifests that share a leaf, a variable with three evolutions, and a loose constant."""
    laila.memory.extend(pool, pool_nickname="filled")
    for run in (1, 2):
        leaves = [laila.constant(named(0), by="content"), laila.constant(named(run), by="content")]
        laila.Manifest({"w": leaves}, nickname=f"run-{run}").memorize(pool_nickname="filled").wait()
    variable = laila.variable({"n": 0}, nickname="counter")
    for number in range(3):
        variable.evolve(data={"n": number})
        laila.memorize(variable, pool_nickname="filled").wait()
    laila.memorize(laila.constant(b"x" * 500), pool_nickname="filled").wait()


@pytest.mark.parametrize("kind", KINDS)
def test_each_byte_is_counted_once(kind: str, place: Place) -> None:
    pool = place.open(kind, "d")
    fill(pool)
    report = laila.du(pool).wait()
    listed = laila.ls(pool)
    assert (report.entries, report.nbytes) == (len(listed), sum(entry.nbytes for entry in listed))
    assert sum(nbytes for _, nbytes in report.kinds.values()) == report.nbytes
    assert {kind: count for kind, (count, _) in report.kinds.items()} == {
        "constant": 4,
        "manifest": 2,
        "variable": 3,
    }
    rows = {row.name: row for row in report.names}
    assert set(rows) == {"run-1", "run-2", "counter"}
    assert [rows[name].entries for name in ("run-1", "run-2", "counter")] == [3, 3, 3]
    assert rows["run-1"].shared == rows["run-2"].shared == report.shared > 8000
    # All rows together, each shared byte once, and what is in no row, are everything.
    assert sum(row.nbytes for row in report.names) - report.shared + report.loose == report.nbytes
    assert report.loose > 500


def test_manifests_are_read_through_transformations(place: Place) -> None:
    pool = place.open("files", "d", transformations=TRANSFORMED["zlib, aes b"])
    fill(pool)
    report = laila.du(pool).wait()
    assert {row.name for row in report.names if row.kind == "manifest"} == {"run-1", "run-2"}
    assert report.shared > 0


def test_a_leaf_that_names_a_variable_is_all_its_evolutions(place: Place) -> None:
    pool = place.open("memory", "d")
    fill(pool)
    stem = laila.ls(pool, "counter")[0].key.rpartition("-")[0]
    laila.Manifest({"all": stem, "last": f"{stem}-2"}, nickname="m").memorize(pool_nickname="filled").wait()
    rows = {row.name: row for row in laila.du(pool).wait().names}
    assert rows["m"].entries == 4


def test_what_cannot_be_read_is_said(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    pool = place.open("files", "d")
    fill(pool)
    (key,) = (entry.key for entry in laila.ls(pool, "run-1"))
    damage(pool, key)
    report = laila.du(pool).wait()
    assert set(report.unread) == {key}
    assert main(["du", f"file:{pool.path}"]) == 1  # type: ignore[attr-defined]
    assert key in capsys.readouterr().out
    with pytest.raises(InvalidArgumentError, match="takes a pool"):
        laila.du("file:d")  # type: ignore[arg-type]


def test_the_command(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    pool = place.open("files", "d")
    fill(pool)
    url = f"file:{pool.path}"  # type: ignore[attr-defined]
    assert main(["du", url]) == 0
    output = capsys.readouterr().out
    assert "run-1" in output
    assert "shared by several manifests" in output
    assert main(["du", url, "--json", "--limit", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["nbytes"] == laila.du(pool).wait().nbytes
    assert len(found["names"]) == 1
    assert main(["du", f"{url}-missing"]) == 2
