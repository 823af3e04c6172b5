"""Files and folders go into a pool and come back: `laila put`, `get`, `cp`, `mv`, `rm`, `tree`, `diff`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import laila
from laila.cli import main
from laila.exchange import get_path, put_path
from laila.exchange.record import RECORD, leaves_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAILA_POOL", "file:pool")
    root = tmp_path / "photos"
    (root / "cats" / "empty").mkdir(parents=True)
    (root / "cats" / "tom.jpg").write_bytes(b"\xff\xd8" * 500)
    (root / "cats" / "copy of tom.jpg").write_bytes(b"\xff\xd8" * 500)
    (root / "léeme.txt").write_text("hi")
    (root / "run.sh").write_text("echo")
    (root / "none").write_bytes(b"")
    (root / "run.sh").chmod(0o755)
    os.utime(root / "run.sh", ns=(10**18, 10**18 + 7))
    (root / "cats" / "readme").symlink_to("../léeme.txt")
    (root / "cats").chmod(0o555)
    os.utime(root / "cats", ns=(10**18, 10**18 + 9))
    return root


def facts(root: Path) -> dict[str, tuple[object, ...]]:
    """The content, mode and time of all that lies in a folder, and of the folder."""
    every: dict[str, tuple[object, ...]] = {}
    for path in (root, *sorted(root.rglob("*"))):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        when = (status.st_mode, 0 if path.is_symlink() else status.st_mtime_ns)
        every[path.relative_to(root).as_posix()] = (content, *when)
    return every


def test_a_folder_comes_back_with_modes_and_times(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["put", "photos"]) == 0
    assert main(["put", "photos"]) == 0, "the same again is the same"
    assert main(["get", "photos", "there"]) == 0
    assert facts(Path("there")) == facts(folder)
    assert main(["get", "photos"]) == 1, "nothing is replaced"
    assert "is there already" in capsys.readouterr().err
    assert not list(folder.parent.glob(".*.part"))
    main(["ls", "--json"])
    assert capsys.readouterr().out.count('"type": "bytes"') == 4, "equal files are stored once"


def test_a_file_comes_back_with_its_name(folder: Path) -> None:
    assert main(["put", "photos/run.sh", "--name", "script"]) == 0
    Path("bin").mkdir()
    assert main(["get", "script", "bin"]) == 0
    status = Path("bin/run.sh").stat()
    assert (Path("bin/run.sh").read_text(), status.st_mode & 0o777, status.st_mtime_ns) == (
        "echo",
        0o755,
        10**18 + 7,
    )


def test_a_file_system_without_hard_links_takes_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main(["put", "photos/run.sh"])

    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    assert main(["get", "run.sh"]) == 0
    assert Path("run.sh").read_text() == "echo"
    assert main(["get", "run.sh"]) == 1


def test_other_content_under_the_name_is_replaced_when_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["put", "photos"])
    (folder / "léeme.txt").write_text("bye")
    assert main(["put", "photos"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main(["put", "photos", "--name", "later"]) == 0
    assert main(["diff", "photos", "later"]) == 1
    assert "changed  léeme.txt" in capsys.readouterr().out
    assert main(["put", "photos", "--overwrite"]) == 0
    assert main(["diff", "photos", "later"]) == 0
    assert main(["diff", "photos", "nobody"]) == 2
    assert main(["tree", "photos"]) == 0
    assert "tom.jpg" in capsys.readouterr().out


def test_what_is_copied_and_moved(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["put", "photos"])
    with laila.memory.extend("file:pool") as pool:
        counter = laila.variable(0, nickname="counter")
        for number in range(3):
            pool[counter.global_id] = counter
            counter = counter.evolve(data=number)
    assert main(["cp", "file:pool", "hdf5:copy.h5", "photos", "counter"]) == 0
    main(["history", "counter", "--pool", "hdf5:copy.h5", "--json"])
    assert capsys.readouterr().out.count('"evolution"') == 3, "a variable goes with all evolutions"
    assert main(["mv", "hdf5:copy.h5", "file:other", "photos"]) == 0
    assert main(["get", "photos", "back", "--pool", "file:other"]) == 0
    assert facts(Path("back")) == facts(folder)
    assert main(["get", "photos", "again", "--pool", "hdf5:copy.h5"]) == 1
    assert main(["mv", "file:other", "file:./other"]) == 1, "one pool: nothing is deleted"
    assert main(["rm", "photos", "nobody"]) == 1
    assert main(["get", "photos", "still"]) == 0, "nothing is deleted where one name is not there"
    assert main(["rm", "photos"]) == 0
    assert main(["get", "photos", "gone"]) == 1


@pytest.mark.parametrize("kind", ["fifo", "name"])
def test_what_cannot_be_stored_is_said_before_anything_is(folder: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(folder / "pipe")
    else:
        os.close(os.open(os.fsencode(folder) + b"/\xff\xfe", os.O_CREAT))
    with laila.memory.extend("file:pool", pool_nickname="odd") as pool:
        with pytest.raises(laila.errors.InvalidValueError):
            put_path(folder, pool_nickname="odd")
        assert len(pool) == 0


def entry(data: object) -> str:
    made = laila.constant(data, by="content")
    laila.memorize(made).wait()
    return made.global_id


def record(**tables: Any) -> dict[str, object]:
    return {"version": 1, "files": {}, "folders": {}, "links": {}, **tables}


@pytest.mark.parametrize(
    ("tree", "tables"),
    [
        ({"..": b"x"}, {}),
        ({"a/b": b"x"}, {}),
        ({"": b"x"}, {}),
        ({"a\0": b"x"}, {}),
        ({"a": {"..": {"..": b"x"}}}, {}),
        ({"a": b"x"}, {"folders": {"../out": (0o700, 0)}}),
        ({"a": b"x"}, {"folders": {"/tmp/out": (0o700, 0)}}),
        ({"a": b"x"}, {"files": {"../victim": (0o777, 0)}}),
        ({"a": b"x"}, {"files": {"victim": (0o777, 0)}}),
        ({"a": b"x"}, {"files": {"a": (0o777, -1)}}),
        ({"a": b"x"}, {"files": {"a": ("777", 0)}}),
        ({"a": b"x"}, {"links": {"l": "a", "l/m": "a"}}),
        ({"a": b"x"}, {"links": {"l": 7}}),
        ({"a": b"x"}, {"links": []}),
        ({"a": b"x"}, {"version": 2}),
    ],
)
def test_a_hostile_manifest_writes_nothing(
    tree: dict[str, Any], tables: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("mine")

    def stored(node: Any) -> Any:
        return (
            {name: stored(child) for name, child in node.items()} if isinstance(node, dict) else entry(node)
        )

    manifest = laila.Manifest({RECORD: entry(record(**tables)), **stored(tree)})
    manifest.memorize().wait()
    with pytest.raises(laila.errors.CorruptEntryError):
        get_path(manifest.global_id, "dest")
    assert sorted(os.listdir(tmp_path)) == ["victim"]
    assert (victim.read_text(), victim.stat().st_mode & 0o111) == ("mine", 0)


def test_links_that_lead_out_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    links = {
        "abs": "/etc/passwd",
        "up": "../x",
        "d/in": "../a",
        "d/up2": "../../x",
        "here": ".",
        "far": "here/..",
        "ok": "a",
    }
    manifest = laila.Manifest({RECORD: entry(record(links=links)), "a": entry(b"x")})
    manifest.memorize().wait()
    written = get_path(manifest.global_id, "dest")
    assert sorted(written.left_out) == ["abs", "d/up2", "far", "up"]
    assert sorted(os.listdir("dest")) == ["a", "d", "here", "ok"]
    assert leaves_folder("a/b", "../../c")
    assert not leaves_folder("a/b", "../c")


def test_what_is_no_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    laila.memorize(laila.constant([1], nickname="numbers of a list")).wait()
    with pytest.raises(laila.errors.InvalidValueError, match="holds a list"):
        get_path("numbers of a list", "dest")
    with pytest.raises(FileNotFoundError):
        put_path("nowhere")
    with pytest.raises(laila.errors.InvalidValueError):
        put_path("/dev/zero")
    assert os.listdir() == []
