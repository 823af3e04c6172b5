"""`make bench` measures both sides, tells what it found, and fails when a target is missed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from workspace import ROOT

# A workload that takes no time: neither side imports anything.
WORKLOAD = '''
"""Nothing, beside nothing."""
from benchmarks.bench import Figure
FIGURES = [Figure("call", ratio={ratio}), Figure("wait", ratio=1000, p99=1000, latency=True)]

def ours(bench):
    for sample in {ours}:
        bench.note("call", sample)
    bench.time("wait", lambda: None, times=100)

def raw(bench):
    bench.note("call", 1.0)
    bench.time("wait", lambda: None, times=100)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of workloads of a test's own, which the processes that are started find, too."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import workloads

    place = tmp_path / "workloads"
    place.mkdir()
    monkeypatch.setattr(workloads, "__path__", [str(place)])
    # Read at the start of every interpreter that has the folder on its path.
    hook = f"import benchmarks.workloads as found; found.__path__ = [{str(place)!r}]\n"
    (tmp_path / "sitecustomize.py").write_text(hook)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    yield place
    for name in [name for name in sys.modules if name.startswith("benchmarks.workloads.")]:
        del sys.modules[name]


def bench(results: Path, *arguments: str) -> int:
    """Run the command in this process."""
    from benchmarks.__main__ import main

    return main(["--rounds", "1", "--results", str(results), *arguments])


def test_both_sides_are_measured_and_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures, ratios and verdicts come as a table, as JSON and as a picture; the exit code is 0."""
    (folder / "nothing.py").write_text(WORKLOAD.format(ratio=3, ours="(1.0, 2.0, 9.0)"))
    assert bench(tmp_path / "results") == 0
    report = json.loads((tmp_path / "results" / "results.json").read_text())
    call, wait = report["rows"]
    assert (call["workload"], call["figure"], call["target"], call["verdict"]) == (
        "nothing",
        "call",
        "≤ 3 ×",
        "met",
    )
    assert call["ours"] == {"median": 2.0, "low": 1.0, "p99": 9.0, "high": 9.0, "spread": 1.0}
    assert (call["ratio"], call["raw"]["median"]) == (2.0, 1.0)
    assert wait["latency"] is True
    assert 0 < wait["ours"]["low"] <= wait["ours"]["median"] <= wait["ours"]["p99"] <= wait["ours"]["high"]
    assert report["machine"]["python"] == sys.version.split()[0]
    text = (tmp_path / "results" / "results.md").read_text()
    assert "| nothing | call | 2 s | 1 s – 9 s – 9 s | 1 s |" in text
    assert "laila p50" in text
    assert text.splitlines()[-1] in capsys.readouterr().out
    assert (tmp_path / "results" / "results.png").read_bytes().startswith(b"\x89PNG")


def test_a_target_that_is_missed_fails_the_run(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its exit code, and by name."""
    (folder / "slow.py").write_text(WORKLOAD.format(ratio=1.5, ours="(2.0,)"))
    assert bench(tmp_path / "results") == 1
    assert "missed: slow call: ≤ 1.5 ×" in capsys.readouterr().out
    assert bench(tmp_path / "results", "--quick") == 0
    _, wait = json.loads((tmp_path / "results" / "results.json").read_text())["rows"]
    assert wait["ours"]["low"] == wait["ours"]["high"]  # one call, in place of 100


def test_a_workload_that_fails_does_not_take_the_others_along(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """They are told; the exit code is 1."""
    (folder / "broken.py").write_text(WORKLOAD.format(ratio=3, ours="(1 / 0,)"))
    (folder / "sound.py").write_text(WORKLOAD.format(ratio=3, ours="(2.0,)"))
    assert bench(tmp_path / "results") == 1
    report = json.loads((tmp_path / "results" / "results.json").read_text())
    assert {row["workload"] for row in report["rows"]} == {"sound"}
    told = capfd.readouterr()
    assert "failed: broken, ours: exit code 1" in told.out
    assert "ZeroDivisionError" in told.err


def test_workloads_are_chosen_by_name_and_long_ones_on_request(folder: Path) -> None:
    """`P7` is `p07_…`; a word is all that begin with it."""
    from benchmarks.__main__ import chosen

    for name in ("p07_hdf5", "p17_dask", "files_small", "files_array"):
        (folder / f"{name}.py").write_text("")
    (folder / "files_many.py").write_text("LONG = True\n")
    assert chosen("") == ["files_array", "files_small", "p07_hdf5", "p17_dask"]
    assert chosen("", long=True) == ["files_array", "files_many", "files_small", "p07_hdf5", "p17_dask"]
    assert chosen("P7") == ["p07_hdf5"]
    assert chosen("p17, files_small") == ["files_small", "p17_dask"]
    assert chosen("files") == ["files_array", "files_many", "files_small"]
    assert chosen("P8") == []


def test_what_differs_between_rounds_is_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A miss is told as noise where the rounds of a side differ; a target that is met, and memory, never."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.bench import Figure
    from benchmarks.report import make_row, table

    even, uneven = [[2.0], [2.0]], [[2.0], [4.0]]
    figure = Figure("work", ratio=1.1)
    assert make_row("w", figure, even, [[1.0], [1.0]]).verdict == "missed"
    assert make_row("w", figure, uneven, [[1.0], [1.0]]).verdict == "noisy"
    assert make_row("w", figure, even, [[1.0], [1.7]]).verdict == "noisy"
    assert make_row("w", figure, even, [[2.0], [4.0]]).verdict == "met"
    explained = Figure("time", ratio=figure.ratio, known=3, why="the disk")
    known, worse = (make_row("w", explained, even, [[raw], [raw]]) for raw in (1.0, 0.5))
    assert (known.verdict, worse.verdict) == ("known", "missed"), (known, worse)
    assert "known: the disk" in table([known, worse])
    assert make_row("w", Figure("memory", at_most=1, unit="MiB"), uneven, []).verdict == "missed"
    tail = make_row("w", Figure("call", ratio=2, p99=2, latency=True), [[1.0, 1.0, 9.0]], [[1.0, 1.0, 2.0]])
    assert (tail.ratio, tail.p99_ratio, tail.verdict) == (1.0, 4.5, "missed")


def test_an_older_tree_is_imported_in_place_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The core and its siblings come from the revision's own files, which are gone afterwards."""
    if not (ROOT / ".git").exists():
        pytest.skip("this tree is no clone: it has no older revisions")
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.__main__ import older_tree

    code = "import laila, laila.pool.hdf5; print(laila.__file__, laila.pool.hdf5.__file__, sep='\\n')"
    with older_tree("HEAD") as variables:
        assert variables is not None
        sources = [Path(path) for path in variables["PYTHONPATH"].split(":")]
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            assert any(Path(line).is_relative_to(source) for source in sources)
    assert not any(source.exists() for source in sources)
    assert not any(source.is_relative_to(ROOT) for source in sources)
    listed = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert str(sources[0].parents[1]) not in listed.stdout


def test_a_workload_of_ours_runs(tmp_path: Path) -> None:
    """One real workload, as little of it as can be, by the command itself."""
    command = [sys.executable, "-m", "benchmarks", "--only", "P3", "--quick", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert (row["workload"], row["verdict"]) == ("P3", "")
    assert row["ratio"] > 0


def test_each_workload_has_what_the_command_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A title, figures of unlike names, servers that can be started; and needs nothing to be imported."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.__main__ import chosen, workload_of
    from benchmarks.servers import SERVERS

    names = chosen("", long=True)
    assert len(names) > 25
    for name in names:
        workload = workload_of(name)
        assert workload.__doc__.splitlines()[0].endswith("."), name
        figures = [figure.name for figure in workload.FIGURES]
        assert len(set(figures)) == len(figures) > 0, name
        assert set(getattr(workload, "SERVERS", ())) <= SERVERS, name
        assert callable(workload.ours), name
