"""Which temporary files go: those that nobody writes any more, and no others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from laila.pool.files.temporary import DAY, clean, temporary_name

if TYPE_CHECKING:
    from pathlib import Path

NAME = re.compile(
    r"(?P<host>[\w-]+)\.(?P<system>\w{12})\.(?P<pid>\d+)\.(?P<start>\d+)\.(?P<random>\w{16})\.tmp"
)


def parts() -> dict[str, str]:
    found = NAME.fullmatch(temporary_name())
    assert found
    return found.groupdict()


def put(folder: Path, age: float = 0.0, **changes: object) -> str:
    """Make a temporary file of this process, but for ``changes``."""
    name = "{host}.{system}.{pid}.{start}.{random}.tmp".format(**parts() | changes)
    (folder / name).touch()
    then = time.time() - age
    os.utime(folder / name, (then, then))
    return name


def test_no_name_comes_twice() -> None:
    names = {temporary_name() for _ in range(1000)}
    assert len(names) == 1000
    assert parts()["pid"] == str(os.getpid())
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, temporary_name().encode())
        os._exit(0)
    child = NAME.fullmatch(os.read(read, 500).decode())
    os.wait()
    os.close(read)
    os.close(write)
    assert child
    assert child["pid"] != str(os.getpid())
    assert child["system"] == parts()["system"]


def test_what_a_dead_process_of_this_system_left_goes_at_once(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    put(tmp_path, pid=ended.pid)  # not waited for: it runs, or is a zombie
    ended.wait()
    put(tmp_path, pid=ended.pid)
    put(tmp_path, start=int(parts()["start"]) - 1)  # a process of that id ran before
    put(tmp_path, pid=2**40)
    clean(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_zombie_writes_no_more(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    with open(f"/proc/{pid}/stat") as file:
        start = file.read().rpartition(")")[2].split()[19]
    while True:
        with open(f"/proc/{pid}/stat") as file:
            if file.read().rpartition(")")[2].split()[0] == "Z":
                break
    put(tmp_path, pid=pid, start=start)
    clean(str(tmp_path))
    os.waitpid(pid, 0)
    assert os.listdir(tmp_path) == []


def test_what_may_still_be_written_stays(tmp_path: Path) -> None:
    kept = [put(tmp_path), put(tmp_path, start="0"), put(tmp_path, system="0" * 12, pid=2**30)]
    kept.append(put(tmp_path, system="0" * 12, age=DAY - 60))
    kept.append(put(tmp_path, pid=1, start="0"))
    for name in ("notes.tmp", ".nfs0123", "a.b.c.d.e.tmp", f"{kept[0]}~"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
        kept.append(name)
    (tmp_path / temporary_name().replace(str(os.getpid()), "4194399")).mkdir()
    clean(str(tmp_path))
    assert set(kept) <= set(os.listdir(tmp_path))


def test_what_is_old_goes_wherever_it_came_from(tmp_path: Path) -> None:
    (tmp_path / temporary_name().replace(str(os.getpid()), "4194399")).mkdir()  # in the way, and stays
    for _ in range(3):
        put(tmp_path, system="0" * 12, age=DAY + 60)
    clean(str(tmp_path))
    assert len(os.listdir(tmp_path)) == 1


def test_without_a_folder_there_is_nothing_to_clean(tmp_path: Path) -> None:
    clean(str(tmp_path / "missing"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to become another user")
def test_a_process_of_another_user_is_not_taken_for_dead(open_folder: Path) -> None:
    open_folder.chmod(0o777)
    name = put(open_folder)
    script = (
        "import os, sys\nfrom laila.pool.files.temporary import clean, temporary_name\n"
        "os.setuid(65534)\ntemporary_name()\nclean(sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", script, open_folder], check=True)
    assert os.listdir(open_folder) == [name]
