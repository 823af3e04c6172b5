"""A password in the place of any option of any component: no error shows it, whatever else it says."""

from __future__ import annotations

import faulthandler
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import laila
from laila.comm.tcpip import DefaultTCPIPProtocol
from laila.comm.tcpip.settings import TCPIPSettings
from laila.errors import LailaError
from laila.pool.hdf5 import HDF5Pool
from laila.pool.hdf5.pool import HDF5Settings
from laila.pool.redis import RedisPool
from laila.pool.redis.settings import RedisSettings
from laila.pool.s3 import S3Pool
from laila.pool.s3.settings import S3Settings
from laila.pool.sqlite import SQLitePool, SQLiteSettings
from laila.transform import AesGcm, TransformationSequence

if TYPE_CHECKING:
    from collections.abc import Callable

    from laila.settings import Settings

SECRET = "CANARY-0123456789-abcdefghijklmnop"
WRONG: dict[str, Any] = {
    "list": [SECRET],
    "dict": {SECRET: SECRET},
    "dict in a dict": {"x": {"y": SECRET}},
    "tuple": (SECRET,),
    "bytes": SECRET.encode(),
    "text": SECRET,
    "number": 7,
}
KINDS: dict[type[Settings], tuple[Callable[..., Any], dict[str, Any]]] = {
    RedisSettings: (RedisPool, {"url": "redis://127.0.0.1:1", "connect_timeout": 0.2, "retry_for": 0.0}),
    S3Settings: (S3Pool, {"bucket_name": "b", "access_key_id": "A" * 20, "secret_access_key": "S" * 20}),
    TCPIPSettings: (DefaultTCPIPProtocol, {"peer_secret_key": "p" * 40}),
    HDF5Settings: (HDF5Pool, {}),
    SQLiteSettings: (SQLitePool, {}),
}
OPTIONS = [
    pytest.param(make, {**others, name: value}, name, id=f"{settings.__name__}.{name} {kind}")
    for settings, (make, others) in KINDS.items()
    for name, field in settings._fields().items()
    for kind, value in WRONG.items()
    # A text where a text belongs is what was asked for; those that may be printed say so.
    if not (field.metadata["printed"] or (kind == "text" and name in ("path", "host", "endpoint_url")))
]


def said(ask: Callable[[], object]) -> str:
    """All that an error says, and what its parts and causes do; nothing where there is none."""
    try:
        made = ask()
    except LailaError as error:
        return "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(error)
    close = getattr(made, "close", lambda: None)
    close()
    return repr(made) + str(made)


@pytest.mark.parametrize(("make", "options", "name"), OPTIONS)
def test_no_error_shows_what_an_option_was(
    make: Callable[..., Any],
    options: dict[str, Any],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    if "key_prefix" in options and make is not HDF5Pool:
        options["prefix"] = options.pop("key_prefix")
    if name == "server":
        del options["url"]
    told = said(lambda: make(**options))
    assert SECRET not in told


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_no_transformation_shows_its_key(value: Any) -> None:
    for ask in (
        lambda: AesGcm(key=value),
        lambda: AesGcm(key_name=value),
        lambda: TransformationSequence([["aes-gcm", {"key": value}]]),
        lambda: TransformationSequence([["zlib", {"level": value}]]),
        lambda: TransformationSequence([["nothing", {"key": value}]]),
        lambda: TransformationSequence([["aes-gcm", value]]),
        lambda: TransformationSequence([value]),
    ):
        assert SECRET not in said(ask)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@127.0.0.1:1",
        f"redis://:{SECRET}@127.0.0.1:notaport",
        f"redis://:{SECRET}@[::1",
        f"x:{SECRET}@y",
        f"//:{SECRET}@y",
        f":{SECRET}@y",
        f"s3://k:{SECRET}@b/p",
        f"s3://b?secret_access_key={SECRET}",
        f"file://:{SECRET}@h/",
        f"nothing://:{SECRET}@h",
        f"redis://h/0?password={SECRET}&what=1",
        f"hdf5://u:{SECRET}@h/x.h5",
    ],
)
def test_no_error_shows_a_url_that_may_hold_a_password(url: str) -> None:
    assert SECRET not in said(lambda: laila.memory.extend(url))
    assert SECRET not in said(lambda: laila.tiers(url, pool_nickname="x"))


REFUSED: dict[str, Callable[[], object]] = {
    "redis: nobody there": lambda: RedisPool(
        "redis://127.0.0.1:1", password=SECRET, connect_timeout=0.5, retry_for=0.0
    ),
    "redis: no such option": lambda: RedisPool("redis://127.0.0.1:1", password=SECRET, nonsense=1),  # type: ignore[call-arg]
    "redis: a wrong option": lambda: RedisPool("redis://127.0.0.1:1", password=SECRET, db="x"),  # type: ignore[arg-type]
    "redis: a URL": lambda: laila.memory.extend(f"redis://:{SECRET}@127.0.0.1:1/0"),
    "tiers: a URL": lambda: laila.tiers(f"redis://:{SECRET}@127.0.0.1:1/0", pool_nickname="x"),
    "s3: a wrong option": lambda: S3Pool("b", secret_access_key=SECRET, access_key_id="A", timeout="x"),  # type: ignore[arg-type]
    "aes: a wrong key": lambda: AesGcm(key=SECRET.encode()[:9]),
    "a sequence": lambda: TransformationSequence([["aes-gcm", {"key": [SECRET]}]]),
    "tcpip: a wrong port": lambda: DefaultTCPIPProtocol(peer_secret_key=SECRET, port=99999999),
    "tcpip: no such option": lambda: DefaultTCPIPProtocol(peer_secret_key=SECRET, nonsense=1),
    "peer: nobody there": lambda: laila.add_peer("ws://127.0.0.1:1", SECRET),
    "peer: no URI": lambda: laila.add_peer("nothing", SECRET),
}


@pytest.mark.parametrize("what", REFUSED)
def test_no_traceback_with_local_variables_shows_a_secret(what: str, tmp_path: Path) -> None:
    """As ``pytest -l``, rich and services that collect errors write tracebacks down."""
    with pytest.raises(LailaError) as raised:
        REFUSED[what]()
    error = raised.value
    written = traceback.TracebackException.from_exception(error, capture_locals=True)
    told: list[str] = []
    seen: set[int] = set()
    waiting: list[traceback.TracebackException | None] = [written]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__]
        for frame in one.stack:
            if frame.filename != __file__:  # the caller's own variables are its own
                told += [
                    f"{frame.name}: {name}" for name, text in (frame.locals or {}).items() if SECRET in text
                ]
    assert told == []
    assert SECRET not in repr(error.args) + repr(vars(error))
    assert SECRET.encode() not in pickle.dumps(error)
    with (tmp_path / "dump").open("w+") as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        assert SECRET not in file.read()


def test_what_was_not_made_can_be_looked_at() -> None:
    """A debugger, and a traceback with local variables, ask what the constructor has left."""
    for kind in (RedisPool, S3Pool, HDF5Pool, SQLitePool, DefaultTCPIPProtocol, laila.Arguments):
        assert repr(object.__new__(kind))


CHILDREN = """
import os, sys
from pathlib import Path
import laila
from laila.taskforce import DaskTaskForce, ProcessTaskForce

secret, folder = SECRET, sys.argv[1]
for name in list(os.environ):
    if name.startswith("LAILA_"):
        del os.environ[name]
laila.alpha_pool = laila.tiers("memory://", laila.MemoryPool(transformations=[["aes-gcm", {"key": secret}]]))
from laila.pool.redis import RedisPool
laila.memory.extend(RedisPool(path=f"{folder}/redis"), pool_nickname="redis")
laila.communication.add_connection(laila.DefaultTCPIPProtocol(peer_secret_key=secret))
for kind in (ProcessTaskForce, DaskTaskForce):
    force = laila.command.add_taskforce(kind(workers=1))
    laila.command.submit(os.getpid, taskforce_id=force).wait(60)

def below(pid):
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield child
            yield from below(child)

children = list(below(os.getpid()))
for pid in children:
    for name in ("cmdline", "environ"):
        try:
            text = Path(f"/proc/{pid}/{name}").read_bytes()
        except OSError:
            continue
        assert secret.encode() not in text, (pid, name)
print(len(children) >= 2)
laila.terminate()
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_no_argument_or_variable_of_a_child_process_holds_a_secret(tmp_path: Path) -> None:
    """All users of the machine see the arguments of a process; its user sees its variables."""
    program = CHILDREN.replace("SECRET", repr(SECRET))
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr[-2000:]
    assert SECRET not in done.stderr
