"""The main job, as `make demo` runs it: two real processes, an HDF5 file, an empty HOME."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workspace import ROOT, clean_environment

FOLDER = ROOT / "examples" / "digits"


def run(script: str, home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script of the demo with ``home`` as HOME, from there."""
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, str(FOLDER / script), *map(str, arguments)],
        cwd=home,
        env=clean_environment(home, COLUMNS="120"),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty HOME, in a folder whose name a URL cannot hold as it is."""
    return tmp_path_factory.mktemp("de mo % ü")


@pytest.fixture(scope="module")
def first(folder: Path) -> subprocess.CompletedProcess[str]:
    """The demo, run once: its default store is a file in the output folder."""
    return run("demo.py", folder / "home", "--output", folder / "out", "--epochs", "4")


def stored(folder: Path) -> str:
    """The URL of the file that the demo wrote."""
    return (folder / "out" / "digits.h5").as_uri().replace("file", "hdf5", 1)


def test_the_second_process_recovers_everything(first: subprocess.CompletedProcess[str]) -> None:
    """Exit 0, and each of the three checks passed."""
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("✔") == 3
    assert "✘" not in first.stdout
    assert not first.stderr


def test_the_tiers_are_shown(first: subprocess.CompletedProcess[str]) -> None:
    """The last tier had everything; memory was filled by the first read and served the second."""
    rows = {
        cells[1].strip(): cells
        for line in first.stdout.splitlines()
        if line.startswith("│") and len(cells := line.split("│")) > 5
    }
    memory, file = rows["memory"], rows["HDF5Pool"]
    # 4 epochs of 5 parts, images, labels and the fingerprints, and the manifest over them.
    assert int(memory[2]) == int(file[2]) == 4 * 5 + 3 + 1
    assert int(file[4]) == 24  # the manifest and its entries, once
    assert int(memory[4]) == 23  # the entries again
    assert int(file[5]) == 0


def test_the_picture_shows_something(first: subprocess.CompletedProcess[str], folder: Path) -> None:
    """Its path is printed, and it is a picture with ink on it, in the colours of right and wrong."""
    (line,) = (line for line in first.stdout.splitlines() if line.startswith("picture: "))
    path = Path(line.removeprefix("picture: "))
    assert path == folder / "out" / "digits.png"
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert len(pixels) > 500_000
    assert 0.01 < (pixels.max(axis=1) < 100).mean() < 0.5  # dark ones
    colours = {tuple(int(part) for part in pixel) for pixel in pixels[:: max(1, len(pixels) // 200_000)]}
    assert len(colours) > 100


def test_a_second_run_finds_the_first(first: subprocess.CompletedProcess[str], folder: Path) -> None:
    """Training is repeatable, and constants that are there already are accepted: the same run, once more."""
    assert first.returncode == 0, first.stderr
    size = (folder / "out" / "digits.h5").stat().st_size
    again = run("demo.py", folder / "home", "--output", folder / "out", "--epochs", "4")
    assert again.returncode == 0, again.stderr
    assert (folder / "out" / "digits.h5").stat().st_size == size


def test_another_run_under_the_same_name_is_refused(
    first: subprocess.CompletedProcess[str], folder: Path
) -> None:
    """With what to do, and what is stored stays."""
    assert first.returncode == 0, first.stderr
    other = run("demo.py", folder / "home", "--output", folder / "out", "--epochs", "2")
    assert other.returncode == 1
    assert "--run" in other.stderr
    assert "Traceback" not in other.stderr
    done = run("recover.py", folder / "home", "--run", "digits", "--pool", stored(folder), "--more", "0")
    assert all(json.loads(done.stdout)["checks"].values())


@pytest.mark.long
def test_the_demo_runs_on_a_private_redis_server(tmp_path: Path) -> None:
    """`make demo POOL=redis://`: the second process finds what the first one's server has written down."""
    done = run("demo.py", tmp_path / "home", "--pool", "redis://", "--output", tmp_path, "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("✔") == 3
    assert "RedisPool" in done.stdout
    assert not done.stderr


TAMPER = """
import sys
import laila
laila.alpha_pool = laila.memory.extend(sys.argv[1])
entry = laila.remember(nickname="digits/epoch 02/velocity").result
entry.data["hidden bias"][3] = -entry.data["hidden bias"][3]
laila.memorize(entry, overwrite=True).wait()
"""


def test_the_second_process_notices_one_changed_bit(
    first: subprocess.CompletedProcess[str], folder: Path
) -> None:
    """The check of every value is one: it fails where a single sign in one checkpoint is another."""
    assert first.returncode == 0, first.stderr
    copy = folder / "copy.h5"
    copy.write_bytes((folder / "out" / "digits.h5").read_bytes())
    url = copy.as_uri().replace("file", "hdf5", 1)
    subprocess.run(
        [sys.executable, "-c", TAMPER, url],
        cwd=folder,
        env=clean_environment(folder / "home", PYTHONPATH=str(FOLDER)),
        check=True,
        timeout=200,
    )
    done = run("recover.py", folder / "home", "--run", "digits", "--pool", url, "--more", "0")
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 1, done.stderr
    assert found["checks"] == {"fingerprints": False, "dataset": True, "accuracy": True}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nosuch://host/x", "nosuch"),
        ("memory://", "ends with this process"),
        ("here.h5", "no pool URL"),
    ],
    ids=["scheme", "memory", "path"],
)
def test_a_store_that_will_not_do_is_said_at_once(tmp_path: Path, url: str, said: str) -> None:
    """Exit 1 and one clear line, before anything is trained."""
    done = run("demo.py", tmp_path / "home", "--pool", url, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "train" not in done.stdout
