"""The default directories: names, moves, and homes that cannot be written."""

from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from laila import directories
from laila.errors import DirectoryError, SettingsError


@pytest.fixture(autouse=True)
def _restore(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, path in directories.LAILA_DEFAULT_DIRECTORIES.items():
        monkeypatch.setitem(directories.LAILA_DEFAULT_DIRECTORIES, name, path)


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("HOME", "LAILA_HOME")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=env | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


SHOW = "from laila.directories import *; print(LAILA_DEFAULT_DIRECTORIES)"


def test_the_defaults_are_in_the_home(tmp_path: Path) -> None:
    done = run(SHOW, HOME=str(tmp_path))
    root = f"{tmp_path}/.laila"
    expected = {"root": root, "pools": f"{root}/pools", "logs": f"{root}/logs", "secrets": f"{root}/secrets"}
    assert (done.stdout.strip(), done.stderr) == (str(expected), "")
    assert list(tmp_path.iterdir()) == []


def test_laila_home_moves_the_root(tmp_path: Path) -> None:
    done = run(SHOW, HOME=str(tmp_path), LAILA_HOME="~/other")
    assert f"'pools': '{tmp_path}/other/pools'" in done.stdout
    assert f"'root': '{tmp_path}/.laila'" in run(SHOW, HOME=str(tmp_path), LAILA_HOME="").stdout


def test_a_relative_laila_home_does_not_move_with_the_process(tmp_path: Path) -> None:
    code = "import os; from laila.directories import directory; os.chdir('/'); print(directory('logs'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"LAILA_HOME": "here"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / "here" / "logs")


def test_set_default_directory_updates_the_same_dict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = directories.LAILA_DEFAULT_DIRECTORIES
    monkeypatch.setenv("HOME", str(tmp_path))
    directories.set_default_directory("~/elsewhere")
    assert known is directories.LAILA_DEFAULT_DIRECTORIES
    assert known["secrets"] == str(tmp_path / "elsewhere" / "secrets")
    assert not (tmp_path / "elsewhere").exists()
    directories.set_default_directory(tmp_path / "as_path")
    assert known["root"] == str(tmp_path / "as_path")


@pytest.mark.parametrize("wrong", ["", "a\0b"])
def test_set_default_directory_refuses_what_is_no_name(wrong: str) -> None:
    before = dict(directories.LAILA_DEFAULT_DIRECTORIES)
    with pytest.raises(SettingsError):
        directories.set_default_directory(wrong)
    assert before == directories.LAILA_DEFAULT_DIRECTORIES


def test_a_directory_is_made_on_first_use_for_its_owner_alone(tmp_path: Path) -> None:
    directories.set_default_directory(tmp_path / "a" / "b")
    path = directories.directory("secrets")
    assert path == tmp_path / "a" / "b" / "secrets"
    for made in (path, path.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert not (path.parent / "pools").exists()
    assert directories.directory("root") == path.parent


def test_many_threads_make_one_directory(tmp_path: Path) -> None:
    directories.set_default_directory(tmp_path / "root")
    start = threading.Barrier(8)
    failed: list[BaseException] = []

    def make() -> None:
        start.wait()
        try:
            directories.directory("pools")
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="'pool'; there are root, pools, logs, secrets"):
        directories.directory("pool")


def test_an_unwritable_home_hurts_only_what_writes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o500)
    tmp_path.chmod(0o755)
    code = """
import os, pathlib, laila
from laila.directories import directory
from laila.errors import DirectoryError
if os.geteuid() == 0:
    os.seteuid(65534)  # root may write anywhere
try:
    directory("pools")
except DirectoryError as error:
    print(type(error.__cause__).__name__, "LAILA_HOME" in str(error), error.directory)
"""
    # The folders above tmp_path belong to the user who runs the tests; any reason not to get in will do.
    done = run(code, HOME=str(home))
    assert done.stderr == ""
    assert done.stdout.split() == ["PermissionError", "True", f"{home}/.laila/pools"]


@pytest.mark.parametrize("home", ["/dev/null", "/proc/nowhere", "~nobody-by-this-name/x"])
def test_a_home_that_cannot_exist_is_a_clear_error(home: str) -> None:
    code = f"""
import laila
from laila.directories import directory, set_default_directory
set_default_directory({home!r}) if {home!r}[0] != "~" else None
try:
    directory("logs")
except OSError as error:
    print(type(error).__name__, "set_default_directory" in str(error))
"""
    done = run(code, HOME=home, LAILA_HOME=home)
    assert (done.stdout.strip(), done.stderr) == ("DirectoryError True", "")


def test_the_error_pickles() -> None:
    error = pickle.loads(pickle.dumps(DirectoryError("no", directory="/x")))
    assert (str(error), error.directory, isinstance(error, OSError)) == ("no", "/x", True)


def test_a_private_folder_is_made_for_its_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        os.close(directories.private_folder(tmp_path / "made"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o700
    (tmp_path / "read by others").mkdir(mode=0o755)
    folder = directories.private_folder(tmp_path / "read by others")
    os.close(os.open("inside", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    assert (tmp_path / "read by others" / "inside").exists()


@pytest.mark.parametrize("how", ["a link", "a link to nothing", "written by others", "another's", "a file"])
def test_a_folder_in_which_others_may_be_is_refused(tmp_path: Path, how: str) -> None:
    place, beside = tmp_path / "place", tmp_path / "beside"
    beside.mkdir()
    if how.startswith("a link"):
        place.symlink_to(beside if how == "a link" else tmp_path / "none")
    elif how == "a file":
        place.write_text("")
    else:
        place.mkdir()
    if how == "written by others":
        place.chmod(0o770)
    if how == "another's":
        if os.geteuid() != 0:
            pytest.skip("needs root, to give a folder away")
        os.chown(place, 65534, 65534)
    with pytest.raises(OSError, match="place") as caught:
        directories.private_folder(place)
    assert isinstance(caught.value, DirectoryError) is (how != "a file")
    assert list(beside.iterdir()) == []
    assert not (tmp_path / "none").exists()
