"""What lies in the folder: blobs as they are, what others put there, links, copies, maps of files."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

import laila
from laila.component.backend import checked_blob
from laila.contract import Blob
from laila.errors import CorruptEntryError, PoolError
from laila.pool.files import FilesystemPool, disk, folder
from laila.pool.files.names import file_name, folder_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    MakeBlob = Callable[..., Blob]

UUID = "3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
STEM = f"LAILA:ENTRY:GLOBAL_ID:{UUID}"
LARGE = b"x" * (2 * disk.MAP_FROM)


def content(pool: FilesystemPool, key: str) -> bytes | None:
    found = pool._read(key)
    return None if found is None else bytes(checked_blob(key, found).buffers[0].data)


# -- what a person sees ------------------------------------------------------------------------------------


def test_a_file_is_a_blob_byte_for_byte(pool: FilesystemPool, make_blob: MakeBlob) -> None:
    for key, size in ((STEM, 10), (f"{STEM}-3", 3 << 20)):
        blob = make_blob(key, b"x" * size)
        pool._write(key, blob)
        assert Path(pool.file_of(key)).read_bytes() == bytes(blob)
    found = sorted(str(path.relative_to(pool.path)) for path in Path(pool.path).rglob("*") if path.is_file())
    place = f"entries/{folder_name(STEM)}"
    assert found == [f"{place}/ENTRY-{UUID}-3.laila", f"{place}/ENTRY-{UUID}.laila", "laila.json"]


def test_a_blob_of_thousands_of_parts_is_written(
    pool: FilesystemPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = os.writev

    def writev(fd: int, parts: Sequence[memoryview]) -> int:
        sizes.append(sum(part.nbytes for part in parts))
        return real(fd, parts)

    monkeypatch.setattr(disk, "_BYTES_AT_ONCE", 50_000)
    monkeypatch.setattr(os, "writev", writev)
    arrays = [np.full(size, size % 251, "u1") for size in [*range(3000), 200_000]]
    entry = laila.constant(arrays, nickname="parts")
    pool[entry.global_id] = entry
    assert max(sizes) == 50_000
    back = laila.Entry.recover(entry.serialize(transformations=["base64"]))
    assert all((a == b).all() for a, b in zip(back.data, arrays, strict=True))
    assert (
        pool[entry.global_id].digest
        == Blob.from_bytes(Path(pool.file_of(entry.global_id)).read_bytes()).digest
    )


# -- what others put there ---------------------------------------------------------------------------------


def test_what_is_not_the_pools_stays(pool: FilesystemPool, make_blob: MakeBlob) -> None:
    pool._write("k", make_blob("k", b"x"))
    place = Path(pool.file_of("k")).parent
    foreign = [
        Path(pool.path, "README"),
        Path(pool.path, "tmp/notes.tmp"),
        Path(pool.path, "tmp/.nfs000001"),
        Path(pool.path, "entries/README.laila"),
        Path(pool.path, "entries/0"),
        Path(pool.path, "entries/zz/key.k.laila"),
        place / ".key.l.laila.Ab3dEf",  # rsync at work
        place / "._key.k.laila",
        place / "key.k (conflicted copy).laila",
        place / "key.l",
        place / "key.K.laila",
        place / "key.%6b.laila",
        place / "ENTRY-1.laila",
    ]
    elsewhere = "00" if place.name != "00" else "01"
    foreign.append(Path(pool.path, "entries", elsewhere, "key.k.laila"))
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(make_blob("k", b"y")))
    (place / "key.folder.laila").mkdir()
    (place / f"key.{'n' * 3}.laila").symlink_to(place / "key.k.laila")
    assert pool.keys() == ["k"]
    pool.empty()
    pool.close()
    with FilesystemPool(pool.path) as again:
        assert again.keys() == []
    assert all(path.is_file() for path in foreign)
    assert (place / "key.folder.laila").is_dir()
    assert (place / "key.nnn.laila").is_symlink()


def test_an_entry_under_the_name_of_another_is_told(pool: FilesystemPool, make_blob: MakeBlob) -> None:
    for key in ("k", "l"):
        pool._write(key, make_blob(key, b"x"))
    shutil.copy(pool.file_of("k"), pool.file_of("l"))
    with pytest.raises(CorruptEntryError, match="bears the id"):
        pool["l"]
    with pytest.raises(CorruptEntryError, match="bears the id"):
        pool.read_head("l")
    assert content(pool, "k") == b"x"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_what_is_no_file_is_never_followed_or_waited_for(
    pool: FilesystemPool, make_blob: MakeBlob, tmp_path: Path, kind: str
) -> None:
    pool._write("k", make_blob("k", b"x"))
    path = Path(pool.file_of("k"))
    secret = tmp_path / "secret"
    secret.write_bytes(path.read_bytes())
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(secret if kind == "link" else tmp_path / "missing")
    for read in (pool._read, pool._read_head):
        with pytest.raises(
            PoolError, match="symbolic link" if "link" in kind else "no regular file"
        ) as caught:
            read("k")
        assert "key.k.laila" in str(caught.value)
    assert pool._create("k", make_blob("k", b"new")) is False
    assert pool.keys() == []
    if kind != "folder":  # a link, or a pipe, is replaced; what it led to is not
        pool._write("k", make_blob("k", b"new"))
        assert content(pool, "k") == b"new"
        assert bytes(secret.read_bytes()) == bytes(make_blob("k", b"x"))


def test_a_cut_file_is_told(pool: FilesystemPool, make_blob: MakeBlob) -> None:
    for key, data in (("small", b"x" * 100), ("large", LARGE)):
        pool._write(key, make_blob(key, data))
        for size in (os.path.getsize(pool.file_of(key)) - 1, 50, 0):
            os.truncate(pool.file_of(key), size)
            with pytest.raises(CorruptEntryError):
                pool[key]
        assert pool.exists(key)


# -- long keys ---------------------------------------------------------------------------------------------


def test_long_keys_are_found_in_their_files(
    pool: FilesystemPool, make_blob: MakeBlob, caplog: pytest.LogCaptureFixture
) -> None:
    keys = ["x" * 512, "ü" * 256, "y" * 500 + "-9", "y" * 500 + "-10", "z" * 184 + "-9", "z" * 184 + "-10"]
    blobs = [
        make_blob(key, LARGE if key == keys[0] else b"x", tree=b"\xc5\x20\x00" + bytes(8192)) for key in keys
    ]
    pool._write_many([(blob.key, blob) for blob in blobs])  # the trees make heads that are long as well
    assert {file_name(key)[:7] for key in keys} == {"sha256.", "key.zzz"}
    assert sorted(pool.keys()) == sorted(keys)
    assert pool.history_here("y" * 500) == pool.history_here("z" * 184) == [9, 10]
    assert pool.newest_here(["y" * 500, "z" * 184, "none"]) == [keys[3], keys[5], None]
    with open(pool.file_of(keys[1]), "r+b") as file:
        file.write(b"damaged")
    Path(pool.file_of(keys[0])).rename(Path(pool.file_of(keys[0])).with_name(f"sha256.{'0' * 64}.laila"))
    assert sorted(pool.keys()) == sorted(keys[2:])
    assert os.path.basename(pool.file_of(keys[1])) in caplog.text
    assert caplog.records[0].levelno == logging.WARNING
    pool._delete(keys[1])
    pool.empty()
    assert not [name for _, _, names in os.walk(f"{pool.path}/entries") for name in names]


# -- maps --------------------------------------------------------------------------------------------------


def test_a_map_stays_what_it_was(pool: FilesystemPool, make_blob: MakeBlob) -> None:
    for key in ("deleted", "replaced"):
        pool._write(key, make_blob(key, LARGE))
    keys = ["deleted", "replaced"]
    found = dict(zip(keys, pool._read_views(keys), strict=True))
    pool._delete("deleted")
    pool._write("replaced", make_blob("replaced", b"new"))
    pool.close()
    for key, view in found.items():
        assert isinstance(view, memoryview)
        assert view.readonly
        assert bytes(view) == bytes(make_blob(key, LARGE))


def test_arrays_that_are_not_copied_are_views_of_the_file(tmp_path: Path) -> None:
    array = np.arange(1_000_000.0)
    with laila.DefaultPolicy(alpha_pool=FilesystemPool(tmp_path / "p")) as policy:
        memory = policy.central.memory
        entry = laila.constant(array)
        memory.memorize(entry).wait(150)
        view = cast("np.ndarray", memory.remember(entry, copy=False).data)
        mapped = Path("/proc/self/maps").read_text()
        assert f"ENTRY-{entry.uuid}.laila" in mapped
        assert not view.flags.writeable
        own = cast("np.ndarray", memory.remember(entry).data)
        own[0] = 7
        assert (view == array).all()
    assert (view == array).all()


CUT = """
import os, sys, threading, time
import laila
pool = laila.alpha_pool = laila.memory.extend(sys.argv[1])
files = [f"{at}/{n}" for at, _, names in os.walk(sys.argv[2]) for n in names if n.startswith("ENTRY-")]
(name,) = files or [sys.argv[2]]
file = os.open(name, os.O_RDWR)
size = os.fstat(file).st_size
tail = os.pread(file, size, size // 2)
reads = []

def cut():
    while len(reads) < 20:
        os.ftruncate(file, size // 2)
        os.pwrite(file, tail, size // 2)

threading.Thread(target=cut, daemon=True).start()
while len(reads) < 20:
    found = laila.runtime.exception(laila.remember(sys.argv[3]))
    reads.append(type(found).__name__)
print(sorted(set(reads)))
"""


@pytest.mark.parametrize("kind", ["file", "hdf5"])
def test_a_file_that_is_cut_while_it_is_read_is_an_error_and_not_the_end(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("laila.pool.hdf5")
    place = tmp_path / "store"
    with laila.DefaultPolicy() as policy:
        policy.extend(f"{kind}:{place}", pool_nickname="p")
        array = np.random.default_rng(1).normal(size=500_000)
        key = policy.central.memory.memorize(laila.constant(array), pool_nickname="p").wait(150)
    command = [sys.executable, "-c", CUT, f"{kind}:{place}", str(place), str(key)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.strip("[]\n").replace("'", "").split(", ")) <= {
        "CorruptEntryError",
        "NoneType",
        "PoolError",
    }


def test_maps_do_not_use_up_the_descriptors(pool: FilesystemPool, make_blob: MakeBlob) -> None:
    pool._write("k", make_blob("k", LARGE))
    before = len(os.listdir("/proc/self/fd"))
    views = [pool._read_views(["k"])[0] for _ in range(disk.MOST_MAPS + 100)]
    assert all(view is not None and bytes(view[-9:]) == LARGE[-9:] for view in views)
    assert len(os.listdir("/proc/self/fd")) - before <= disk.MOST_MAPS
    del views
    assert len(os.listdir("/proc/self/fd")) == before


def test_nothing_is_mapped_where_another_machine_may_delete(
    tmp_path: Path, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = os.stat(tmp_path).st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 0:4 / /proc rw - proc proc rw\n"
        f"36 21 {os.major(device)}:{os.minor(device)} / /home rw shared:1 - nfs4 server:/home rw\n"
    )

    def open_mounts(path: str, *args: object, **options: object) -> object:
        return open(mounts if path == "/proc/self/mountinfo" else path, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(disk, "open", open_mounts, raising=False)
    assert disk.is_remote(str(tmp_path))
    with FilesystemPool(tmp_path / "p") as pool:
        pool._write("k", make_blob("k", LARGE))
        (found,) = pool._read_views(["k"])
        assert isinstance(found, memoryview)
        assert not found.readonly
        assert content(pool, "k") == LARGE
    mounts.write_text(mounts.read_text().replace("nfs4", "ext4"))
    assert not disk.is_remote(str(tmp_path))


# -- copies ------------------------------------------------------------------------------------------------


def test_a_copy_made_while_others_write_is_a_pool(
    pool: FilesystemPool, make_blob: MakeBlob, tmp_path: Path
) -> None:
    script = (
        "import sys, itertools\nfrom laila.contract import Blob, Buffer\n"
        "from laila.pool.files import FilesystemPool\n"
        "pool = FilesystemPool(sys.argv[1], durable='process')\n"
        "for n in itertools.count():\n"
        "    key = f'key-{n % 97}'\n"
        "    data = memoryview(bytes([n % 251]) * (n % 50_000 + 1))\n"
        "    if n % 7: pool._write(key, Blob(key, b'\\x90', (Buffer(data),)))\n"
        "    else: pool._delete(key)\n"
        "    if n == 300: print('go', flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script, pool.path], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"go\n"
        for number in range(6):
            # As `rsync -a` or `cp -a` would: what goes meanwhile is left out.
            with suppress(shutil.Error):
                shutil.copytree(pool.path, tmp_path / f"copy{number}")
            with FilesystemPool(tmp_path / f"copy{number}") as copy:
                keys = list(copy)
                assert len(set(keys)) == len(keys) > 30
                for key in keys:
                    data = content(copy, key)
                    assert data
                    assert data == data[:1] * len(data)
    finally:
        writer.kill()
        writer.communicate()
    # And of one that rests: an equal pool, also without what a copy may leave out.
    shutil.copytree(pool.path, tmp_path / "all", ignore=shutil.ignore_patterns("tmp"))
    with FilesystemPool(tmp_path / "all") as copy:
        assert {key: content(copy, key) for key in copy} == {key: content(pool, key) for key in pool}
        copy._write("new", make_blob("new", b"x"))


def test_a_large_batch_is_written_in_parts(
    pool: FilesystemPool, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_FILES_AT_ONCE", 4)
    before = len(os.listdir("/proc/self/fd"))
    open_files = []

    class Watched(disk.NewFile):
        def finish(self) -> None:
            open_files.append(len(os.listdir("/proc/self/fd")) - before)
            super().finish()

    monkeypatch.setattr(disk, "NewFile", Watched)
    pool._write_many([(f"k{n}", make_blob(f"k{n}", b"x")) for n in range(30)])
    assert max(open_files) == 5  # with the folder that they lie in
    assert len(list(pool)) == 30


# -- links -------------------------------------------------------------------------------------------------


def test_a_link_in_the_place_of_a_folder_is_not_followed(tmp_path: Path, make_blob: MakeBlob) -> None:
    mine, shared = FilesystemPool(tmp_path / "mine"), FilesystemPool(tmp_path / "shared")
    mine._write("k-0", make_blob("k-0"))
    shared._write("other", make_blob("other"))
    place = Path(mine.file_of("k-0")).parent.name
    link = tmp_path / "shared" / "entries" / place
    link.symlink_to(tmp_path / "mine" / "entries" / place)
    assert list(shared.keys()) == ["other"]
    calls: list[Callable[[], object]] = [
        lambda: shared._read("k-0"),
        lambda: shared._read_head("k-0"),
        lambda: shared._exists("k-0"),
        lambda: shared._write("k-0", make_blob("k-0", b"new")),
        lambda: shared._create("k-0", make_blob("k-0", b"new")),
        lambda: shared._delete("k-0"),
        lambda: shared._evolutions("k"),
    ]
    for call in calls:
        with pytest.raises(PoolError, match="symbolic link") as caught:
            call()
        assert caught.value.errno == errno.ELOOP
    shared.empty()
    assert mine.exists("k-0")
    assert list(shared.keys()) == []
    link.unlink()
    for name in ("entries", "tmp"):
        folder = tmp_path / "shared" / name
        folder.rename(tmp_path / "aside")
        folder.symlink_to(tmp_path / "mine" / name)
        with pytest.raises(PoolError, match="symbolic link"):
            shared._write("x", make_blob("x"))
        if name == "entries":
            with pytest.raises(PoolError, match="symbolic link"):
                shared.empty()
        folder.unlink()
        (tmp_path / "aside").rename(folder)
    assert list(mine.keys()) == ["k-0"]


@pytest.mark.parametrize("after", [1, 2], ids=["above it is open", "it is open"])
def test_a_link_that_comes_in_between_is_not_followed_either(
    tmp_path: Path, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Who looks first and opens then is late: the folder is swapped after the first step, or the second."""
    mine, shared = FilesystemPool(tmp_path / "mine"), FilesystemPool(tmp_path / "shared")
    place = Path(mine.file_of("k-0")).parent.name
    folder, aside = tmp_path / "shared" / "entries" / place, tmp_path / "aside"
    mine._write("k-0", make_blob("k-0"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "mine" / "entries" / place).iterdir()}

    class Swapping:
        """The module ``os``, and somebody else who swaps the folder for a link while it is gone into."""

        steps = 0

        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

        def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            fd = os.open(path, flags, mode, dir_fd=dir_fd)
            if path.rpartition("/")[2] in ("entries", place):
                self.steps += 1
                if self.steps == after:
                    folder.rename(aside)
                    folder.symlink_to(tmp_path / "mine" / "entries" / place)
            return fd

    calls: list[Callable[[], object]] = [
        lambda: shared._read("k-0"),
        lambda: shared._exists("k-0"),
        lambda: shared._write("k-0", make_blob("k-0", b"new")),
        lambda: shared._create("k-0", make_blob("k-0", b"new")),
        lambda: shared._delete("k-0"),
        lambda: shared._evolutions("k"),
    ]
    for call in calls:
        shared._write("k-0", make_blob("k-0", b"theirs"))
        monkeypatch.setattr(disk, "os", Swapping())
        with suppress(PoolError):
            found = call()
            assert not isinstance(found, bytes) or b"theirs" in found
        monkeypatch.setattr(disk, "os", os)
        assert folder.is_symlink()
        folder.unlink()
        aside.rename(folder)
        there = {path.name: path.read_bytes() for path in (tmp_path / "mine" / "entries" / place).iterdir()}
        assert there == before
