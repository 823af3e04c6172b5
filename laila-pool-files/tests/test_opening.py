"""How a folder becomes a pool, which folders are refused, URLs and options."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import laila
from laila.errors import PoolClosedError, PoolError, PoolFormatError, SettingsError
from laila.pool.files import FilesystemPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from laila.contract import Blob

    MakeBlob = Callable[..., Blob]


def tree(folder: Path) -> dict[str, object]:
    """Everything in a folder: name to content, or to the time of its last change for a folder."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns if path.is_dir() else path.read_bytes()
        for path in [folder, *folder.rglob("*")]
    }


# -- folders -----------------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_or_is_empty_becomes_a_pool(tmp_path: Path, make_blob: MakeBlob) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "disk/lost+found").mkdir(parents=True)
    for name in ("new", "empty", "disk"):
        with FilesystemPool(tmp_path / name) as pool:
            assert pool.path == str(tmp_path / name)
            assert pool.keys() == []
            pool._write("k", make_blob("k"))
        marker = json.loads((tmp_path / name / "laila.json").read_text())
        assert (marker["format"], marker["version"]) == ("laila-pool-files", 1)
        with FilesystemPool(tmp_path / name) as again:
            assert again.keys() == ["k"]


def test_a_pool_whose_beginning_was_interrupted_is_begun_again(tmp_path: Path) -> None:
    FilesystemPool(tmp_path / "p").close()
    (tmp_path / "p/laila.json").unlink()
    FilesystemPool(tmp_path / "p").close()
    assert (tmp_path / "p/laila.json").exists()


@pytest.mark.parametrize(
    ("marker", "match"),
    [
        (None, "not empty"),
        ('{"hdf5": {"path": "x"}}', "something else"),
        ("[1]", "something else"),
        ("{", "something else"),
        ("[" * 4000, "something else"),
        ("\x93\x00", "something else"),
        ('{"format": "laila-pool-files", "version": 2}', "install a newer"),
        ('{"format": "laila-pool-files"}', "version None"),
    ],
)
def test_another_folder_is_left_alone(tmp_path: Path, marker: str | None, match: str) -> None:
    folder = tmp_path / "folder"
    (folder / "entries/ab").mkdir(parents=True)
    (folder / "thesis.tex").write_text("words")
    if marker is not None:
        (folder / "laila.json").write_bytes(marker.encode("latin-1"))
    before = tree(folder)
    with pytest.raises(PoolFormatError, match=match) as caught:
        FilesystemPool(folder)
    assert "left as it " in str(caught.value)
    assert caught.value.pool == str(folder)
    assert tree(folder) == before


def test_what_cannot_be_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("words")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing/folder")
    for name, match in [
        ("file", "Not a directory"),
        ("file/below", "Not a directory"),
        ("missing/folder", "missing is not there. Make it"),
        ("nowhere", "missing is not there. Make it"),
        ("x" * 300, "File name too long"),
    ]:
        with pytest.raises(PoolError, match=match) as caught:
            FilesystemPool(tmp_path / name)
        assert caught.value.errno
    for path in ("", "a\0b"):
        with pytest.raises(SettingsError, match="no name of a folder"):
            FilesystemPool(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "nowhere"]


def test_a_link_to_the_folder_is_followed_once(tmp_path: Path, make_blob: MakeBlob) -> None:
    for name in ("one", "two"):
        FilesystemPool(tmp_path / name).close()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "one")
    with FilesystemPool(link) as pool:
        link.unlink()
        link.symlink_to(tmp_path / "two")
        pool._write("k", make_blob("k"))
    with FilesystemPool(tmp_path / "one") as one, FilesystemPool(tmp_path / "two") as two:
        assert (one.keys(), two.keys()) == (["k"], [])


def test_another_process_may_begin_the_pool_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.listdir
    begun = False

    def listdir(path: str) -> list[str]:
        nonlocal begun
        if not begun:
            begun = True
            with FilesystemPool(tmp_path / "p") as first:
                first["k"] = b"x"
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    with FilesystemPool(tmp_path / "p") as pool:
        assert pool.keys() == ["k"]


def test_many_processes_begin_one_pool(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom laila.pool.files import FilesystemPool\nfrom laila.contract import Blob\n"
        "sys.stdin.readline()\n"
        "for n in range(20):\n"
        "    with FilesystemPool(f'{sys.argv[1]}/{n}', durable='process') as pool:\n"
        "        pool._create(sys.argv[2], Blob(sys.argv[2], b'\\x90'))\n"
    )
    names = ["a", "b", "c", "d"]
    started = [
        subprocess.Popen([sys.executable, "-c", script, tmp_path, name], stdin=subprocess.PIPE)
        for name in names
    ]
    for one in started:
        assert one.stdin is not None
        one.stdin.write(b"\n")
        one.stdin.flush()
    for one in started:
        one.communicate(timeout=200)
        assert one.returncode == 0
    for number in range(20):
        with FilesystemPool(tmp_path / str(number)) as pool:
            assert sorted(pool.keys()) == names
            assert os.listdir(tmp_path / f"{number}/tmp") == []


def test_a_closed_pool_refuses(pool: FilesystemPool) -> None:
    pool.close()
    pool.close()
    for use in (lambda: pool["k"], lambda: pool.exists("k"), pool.keys, pool.empty):
        with pytest.raises(PoolClosedError):
            use()


# -- permissions -------------------------------------------------------------------------------------------


def modes(folder: Path) -> dict[str, str]:
    return {
        path.name: f"{stat.S_IMODE(path.stat().st_mode):o}"
        for path in [folder, *folder.rglob("*")]
        if path.name != "tmp"
    }


def test_what_is_made_is_as_open_as_the_folder(tmp_path: Path, make_blob: MakeBlob) -> None:
    umask = os.umask(0o002)
    try:
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared").chmod(0o770)
        for name, folder, file in (("own", "700", "600"), ("shared", "770", "660")):
            with FilesystemPool(tmp_path / name) as pool:
                pool._write("k", make_blob("k"))
            assert modes(tmp_path / name) == {
                name: folder,
                "entries": folder,
                os.path.basename(os.path.dirname(pool.file_of("k"))): folder,
                "key.k.laila": file,
                "laila.json": file,
            }
    finally:
        os.umask(umask)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to become another user")
def test_who_may_only_read_reads(open_folder: Path, make_blob: MakeBlob) -> None:
    (open_folder / "p").mkdir()
    (open_folder / "p").chmod(0o755)
    with FilesystemPool(open_folder / "p") as pool:
        pool._write("k", make_blob("k", b"x"))
    script = (
        "import os, sys\nfrom laila.contract import Blob\nfrom laila.pool.files import FilesystemPool\n"
        "from laila.errors import PoolError\nFilesystemPool(sys.argv[1])['k']\nos.setuid(65534)\n"
        "with FilesystemPool(sys.argv[1]) as pool:\n"
        "    assert pool.keys() == ['k'] and bytes(pool['k'].buffers[0].data) == b'x'\n"
        "    write, delete = lambda: pool._write('l', Blob('l', b'x')), lambda: pool._delete('k')\n"
        "    for change in (write, delete, pool.empty):\n"
        "        try: change()\n"
        "        except PoolError as error: print(error.errno, error)\n"
        "os.chdir('/')\n"
        "try: FilesystemPool('new')\n"
        "except PoolError as error: print(error.errno, error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, open_folder / "p"], capture_output=True, text=True, check=False
    )
    assert not run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("13 ") and "permissions" in line for line in lines)


# -- URLs and options --------------------------------------------------------------------------------------


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(laila.LAILA_DEFAULT_DIRECTORIES, "pools", str(tmp_path / "pools"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for url, path in [
        (f"file://{tmp_path}/a", "a"),
        (f"file://localhost{tmp_path}/b", "b"),
        (f"file:{tmp_path}/c", "c"),
        ("file:relative", "relative"),
        ("file:./relative/below", "relative/below"),
        ("file:~/home", "home"),
        ("file:of%20%23100%25%3F", "of #100%?"),
        ("file:quick?durable=process", "quick"),
        ("file:", "pools/laila-files"),
        ("file://", "pools/laila-files"),
        ("file:///", "pools/laila-files"),
    ]:
        if path == "relative/below":
            (tmp_path / "relative").rename(tmp_path / "moved")
            (tmp_path / "relative").mkdir()
        with FilesystemPool.from_url(url) as pool:
            assert pool.path == str(tmp_path / path)
            assert pool.durability == ("process" if path == "quick" else "power")
    with FilesystemPool.from_url("file:", nickname="run 7/..") as pool:
        assert pool.path == str(tmp_path / "pools/run 7%2F%2E%2E-files")
        assert "path" not in pool.options()  # the default folder is each machine's own
    with FilesystemPool.from_url("file:quick?durable=process", durable="power") as pool:
        assert pool.durability == "power"
        assert pool.options() == {"path": str(tmp_path / "quick"), "durable": "power", "read_only": False}


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("file://server/share/pool", "names the host 'server'"),
        ("file://relative", "file:relative"),
        ("file:a#b", "%23"),
        ("file:a?durable=never", "durable"),
        ("file:a?sync=1", "no option 'sync'"),
        ("file:a%00b", "no name of a folder"),
        ("files:a", "no URL of a folder"),
    ],
)
def test_urls_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, match: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=match):
        FilesystemPool.from_url(url)
    assert os.listdir(tmp_path) == []


def test_the_policy_finds_it_by_url(tmp_path: Path) -> None:
    script = (
        "import laila, sys\n"
        "pool = laila.memory.extend(sys.argv[1], pool_nickname='files', transformations=['zlib'])\n"
        "laila.memorize(laila.constant([1, {2}], nickname='x'), pool_nickname='files').wait()\n"
        "environment = laila.environment\n"
        "laila.terminate()\n"
        "with laila.DefaultPolicy.from_environment(environment) as policy:\n"
        "    print(policy.central.memory.remember(nickname='x', pool_nickname='files').data, pool)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, f"file://{tmp_path}/p"], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("[1, {2}] LAILA:POOL:")


def test_messages_name_the_folder(tmp_path: Path) -> None:
    with FilesystemPool(tmp_path / "run") as pool, FilesystemPool(tmp_path / "b", nickname="named") as named:
        assert (pool.label, named.label) == ("FilesystemPool run", "named")
        with pytest.raises(KeyError, match="FilesystemPool run"):
            pool["k"]


def test_read_only_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="makes none"):
        FilesystemPool(tmp_path / "typo", read_only=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PoolError, match="makes none"):
        FilesystemPool(tmp_path / "empty", read_only=True)
    entry = laila.constant([1, 2])
    with FilesystemPool(tmp_path / "pool") as pool:
        pool[entry.global_id] = entry
    before = sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    with FilesystemPool(tmp_path / "pool", read_only=True) as pool:
        assert pool.keys() == [entry.global_id]
        writes: list[Callable[[], object]] = [
            lambda: pool.__setitem__(entry.global_id, entry),
            lambda: pool.__delitem__(entry.global_id),
            pool.empty,
        ]
        for write in writes:
            with pytest.raises(PoolError, match="read_only=True") as caught:
                write()
            assert caught.value.errno == errno.EROFS
    assert sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
