"""What a first use gets wrong is told by an error that helps; what is set up twice is one store."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import laila
from laila.errors import GuaranteeError, ImmutableEntryError, InvalidArgumentError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from laila.contract import Pool


def test_an_option_that_there_is_not_names_the_one_that_is_meant() -> None:
    with pytest.raises(TypeError, match="did you mean pool_nickname="):
        laila.memorize(laila.constant(1), pool="data")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="did you mean nickname="):
        laila.remember(name="data")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="did you mean missing_ok="):
        laila.forget("x", mising_ok=True)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="Options are: pool_id"):
        laila.memorize(laila.constant(1), zzz=1)  # type: ignore[call-overload]


def test_assigning_to_data_says_how() -> None:
    with pytest.raises(ImmutableEntryError, match="make a new one"):
        laila.constant(1).data = 2
    with pytest.raises(InvalidArgumentError, match="evolve"):
        laila.variable(1).data = 2


def test_a_future_taken_for_its_result_says_how() -> None:
    future: Any = laila.memorize(laila.constant(1))
    with pytest.raises(TypeError, match=r"\.result"):
        future["key"]
    with pytest.raises(TypeError):
        list(future)


def test_the_wrong_guarantee_says_which() -> None:
    async def main() -> None:
        async with laila.guarantee:
            pass

    with pytest.raises(GuaranteeError, match="guarantee_async"):
        asyncio.run(main())


def test_a_wait_in_a_coroutine_is_warned_of() -> None:
    import time

    async def main() -> None:
        laila.command.submit(lambda: time.sleep(0.1)).wait()

    with pytest.warns(RuntimeWarning, match="await") as seen:
        asyncio.run(main())
    assert seen[0].filename == __file__


def test_a_cell_of_a_notebook_may_wait() -> None:
    """It runs inside the notebook's own loop, which waits for it."""
    import time

    space: dict[str, Any] = {"__name__": "IPython.core.interactiveshell", "laila": laila, "time": time}
    exec("async def run_cell(): laila.command.submit(lambda: time.sleep(0.1)).wait()", space)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(space["run_cell"]())


def test_what_is_set_up_twice_is_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    memory = laila.memory
    first = laila.tiers("memory://", "file:data", pool_nickname="twice")
    assert laila.tiers("memory://", "file:data", pool_nickname="twice") is first
    with pytest.raises(SettingsError, match="twice"):
        laila.tiers("memory://", "file:other", pool_nickname="twice")
    assert not (tmp_path / "other").exists()
    notes = memory.extend("file:notes", pool_nickname="notes")
    assert memory.extend("file:notes", pool_nickname="notes") is notes
    with pytest.raises(SettingsError, match="notes"):
        memory.extend("file:notes", pool_nickname="notes", transformations=["zlib"])
    laila.terminate()
    assert laila.tiers("memory://", "file:data", pool_nickname="twice") is not first


@pytest.mark.parametrize("chain", [False, True])
def test_the_alpha_pool_is_set_up_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chain: bool) -> None:
    monkeypatch.chdir(tmp_path)

    def set_up(place: str) -> Pool:
        laila.alpha_pool = laila.tiers("memory://", place) if chain else place  # type: ignore[assignment]
        return laila.alpha_pool

    first = set_up("file:data")
    registered = len(laila.memory.router.pools)
    assert all(set_up("file:data") is first for _ in range(10))
    assert len(laila.memory.router.pools) == registered
    other = set_up("file:other")
    assert other is not first
    first.close()
    assert set_up("file:data") is not first


@pytest.mark.parametrize("url", ["file:new\nline", "file:a\tb", "memory://\r"])
def test_a_url_with_a_line_break_names_no_other_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="%0A"):
        laila.alpha_pool = url  # type: ignore[assignment]
    assert list(tmp_path.iterdir()) == []
    pool = laila.memory.extend("file:new%0Aline")
    laila.memorize(laila.constant(1), pool_id=pool.global_id).wait()
    assert [path.name for path in tmp_path.iterdir()] == ["new\nline"]


def test_a_pool_built_twice_says_how_code_is_run_twice() -> None:
    laila.memory.extend(laila.MemoryPool(), pool_nickname="built twice")
    with pytest.raises(SettingsError, match=r"run twice: laila\.memory\.extend\(URL"):
        laila.memory.extend(laila.MemoryPool(), pool_nickname="built twice")


TRIO = """
import threading, time, warnings
warnings.simplefilter("error")
import laila, trio

async def main():
    assert await laila.command.submit(lambda: 7) == 7
    group = laila.memorize([laila.constant(n) for n in range(5)])
    assert [entry.data for entry in await laila.remember(await group)] == list(range(5))
    try:
        await laila.command.submit(lambda: 1 / 0)
    except ZeroDivisionError:
        pass
    gate = threading.Event()
    slow = laila.command.submit(gate.wait)
    with trio.move_on_after(0.05) as scope:
        await slow
    assert scope.cancelled_caught and not slow.finished()
    gate.set()
    async with trio.open_nursery() as nursery:
        for n in range(20):
            nursery.start_soon(one, n)
    await slow
    await guarantees()

async def guarantees():
    done = []
    async with laila.guarantee_async:
        laila.command.submit(lambda: (time.sleep(0.05), done.append(1)))
    assert done
    try:
        async with laila.guarantee_async:
            laila.command.submit(lambda: 1 / 0)
            await trio.sleep(60)
        raise AssertionError
    except ZeroDivisionError:
        pass
    try:
        async with laila.guarantee_async:
            laila.command.submit(lambda: (time.sleep(0.05), done.append(2)))
            raise KeyError("its own")
    except KeyError:
        assert len(done) == 2
    with trio.move_on_after(0.05) as scope:
        async with laila.guarantee_async:
            laila.command.submit(lambda: time.sleep(0.2))
            await trio.sleep(60)
    assert scope.cancelled_caught

async def one(n):
    assert await laila.command.submit(lambda: n) == n

trio.run(main)
print("ended")
"""


def test_futures_are_awaited_in_trio() -> None:
    pytest.importorskip("trio")
    done = subprocess.run(
        [sys.executable, "-c", TRIO], capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr


any_laila: Any = laila  # for calls that a type checker refuses


def set_to(name: str, value: object) -> Callable[[], object]:
    return lambda: setattr(laila, name, value)


def set_of(entry: Any, name: str, value: object) -> Callable[[], object]:
    return lambda: setattr(entry, name, value)


OTHER_MISTAKES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: laila.memorize(any_laila.memorize([laila.constant(1)])), TypeError, r"give its \.result"),
    (lambda: laila.memorize([any_laila.memorize(laila.constant(1))]), TypeError, r"give its \.result"),
    (lambda: any_laila.constant(1, metadata=[1]), TypeError, "metadata= is a dict"),
    (lambda: any_laila.variable(1).evolve(dta=2), TypeError, "Options are: precedence"),
    (set_of(laila.constant(1), "nickname", "x"), TypeError, "keeps its nickname"),
    (lambda: any_laila.Manifest({"a": laila.constant(1)}).sub_manifest(3), TypeError, "a list of patterns"),
    (lambda: any_laila.add_peer(3, 3), ValueError, "no peer URI"),
    (lambda: any_laila.command.submit(laila.memorize(laila.constant(1))), TypeError, "a callable"),
    (lambda: any_laila.command.map(3), TypeError, "a callable"),
    (lambda: any_laila.command.imap(3), TypeError, "a callable"),
    (
        lambda: any_laila.memory.extend("memory://", pool_nickname=3),
        ValueError,
        "pool_nickname is a non-empty",
    ),
    (lambda: any_laila.tiers("memory://", pool_nickname=""), ValueError, "pool_nickname is a non-empty"),
    (
        lambda: any_laila.active_policy.remember(laila.constant(1).global_id, pool_subset=3),
        TypeError,
        "pool_subset takes",
    ),
    (lambda: any_laila.read_args(3), TypeError, "path of a file"),
    (lambda: any_laila.set_default_directory(3), ValueError, "no directory name"),
    (set_to("alpha_pol", "memory://"), AttributeError, r"did you mean laila\.alpha_pool"),
    (set_to("arg", {}), AttributeError, r"did you mean laila\.args"),
]


@pytest.mark.parametrize(("mistake", "kind", "said"), OTHER_MISTAKES, ids=range(len(OTHER_MISTAKES)))
def test_other_mistakes_are_told_with_what_to_do(
    mistake: Callable[[], object], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        mistake()


def test_one_name_may_be_left_out_without_a_list() -> None:
    entry = laila.constant(1, nickname="named")
    assert set(entry.serialize()) - set(entry.serialize(exclude_private="nickname")) == {"nickname"}


def test_what_completes_may_be_one_future_or_a_group() -> None:
    group = laila.memorize([laila.constant(1), laila.constant(2)])
    assert sorted(future.result for future in laila.as_completed(group)) == sorted(group.result)
    assert [future.result for future in laila.as_completed(group[0])] == [group[0].result]


WRONG_ARGUMENTS: list[tuple[Callable[[], object], str]] = [
    (lambda: any_laila.constant(1, name="x"), "constant.* did you mean nickname="),
    (lambda: any_laila.variable(1, id="x"), "variable.* did you mean global_id="),
    (lambda: any_laila.Manifest({}, name="x"), "Manifest.* did you mean nickname="),
    (lambda: any_laila.tiers("memory://", name="x"), "tiers.* did you mean pool_nickname="),
    (lambda: any_laila.history(name="x"), "history.* did you mean nickname="),
    (lambda: any_laila.memory.extend("memory://", name="x"), "did you mean pool_nickname="),
    (lambda: any_laila.memory.extend("memory://", pool="x"), "twice.* did you mean pool_nickname="),
    (lambda: any_laila.memory.extend(any_laila.MemoryPool(), name="x"), "did you mean pool_nickname="),
    (lambda: any_laila.constant(1, "x"), r"takes 1 without a keyword, and was given 2; .* nickname="),
    (lambda: any_laila.variable(1).evolve({"step": 1}), r"by keyword: entry\.evolve\(data="),
    (lambda: any_laila.variable(1).evolve(payload=2), r"did you mean data="),
    (lambda: any_laila.command.submit(pow, 2, 3), r"functools\.partial"),
    (lambda: any_laila.command.submit(pow, base=2), r"functools\.partial"),
    (lambda: any_laila.memorize(any_laila.command.submit(int)), r"give its \.result"),
    (lambda: any_laila.remember(any_laila.command.submit(str)), r"give its \.result"),
    (lambda: any_laila.MemoryPool() <= "memory://", "open it first"),
    (lambda: any_laila.MemoryPool() << "memory://", "open it first"),
    (lambda: any_laila.constant({"a": 1})["a"], r"by \.data"),
    (lambda: list(any_laila.constant([1])), r"by \.data"),
    (lambda: any_laila.memorize([any_laila.constant(1)])["a"], r"\.result"),
]


@pytest.mark.parametrize("number", range(len(WRONG_ARGUMENTS)))
def test_a_wrong_argument_names_what_is_meant(number: int) -> None:
    call, meant = WRONG_ARGUMENTS[number]
    with pytest.raises(TypeError, match=meant) as caught:
        call()
    assert isinstance(caught.value, laila.LailaError)


def test_an_error_inside_a_call_is_not_taken_for_one_of_its_arguments() -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            raise TypeError("f() got an unexpected keyword argument 'name'")

    with pytest.raises(TypeError, match="missing 1 required"):
        laila.constant()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'name'"):
        laila.memorize(laila.constant(Payload()))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HDF5Pool", "from laila.pool import HDF5Pool"),
        ("ProcessTaskForce", "from laila.taskforce import ProcessTaskForce"),
        ("save", "laila.memorize"),
        ("load", "laila.remember"),
        ("Constant", "laila.constant"),
    ],
)
def test_a_name_that_there_is_not_leads_to_the_one_that_is_meant(name: str, meant: str) -> None:
    with pytest.raises(AttributeError, match=meant):
        getattr(laila, name)


def test_an_attribute_of_the_payload_is_not_one_of_the_entry_or_future() -> None:
    entry, future = laila.constant({"a": 1}), laila.memorize(laila.constant(1))
    with pytest.raises(AttributeError, match=r"'keys'.* \.data"):
        entry.keys()  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"'keys'.* \.result"):
        future.keys()  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"'a'.* manifest\[…\]"):
        getattr(laila.Manifest({"a": entry}), "a")  # noqa: B009 - a type checker refuses the attribute
    assert not hasattr(entry, "shape")
    assert not hasattr(future, "__array__")
    assert not hasattr(entry, "_repr_png_")


def test_a_guarantee_for_coroutines_in_a_plain_block_says_which() -> None:
    with pytest.raises(GuaranteeError, match=r"with laila\.guarantee:"), laila.guarantee_async:
        pass


def test_a_nickname_for_the_alpha_pool_is_told() -> None:
    laila.memory.extend("memory://", pool_nickname="notes")
    with pytest.raises(SettingsError, match="nickname of a pool: assign the pool"):
        any_laila.alpha_pool = "notes"


def test_a_pool_that_no_url_opens_says_what_to_add() -> None:
    from laila.contract import Blob, Pool

    class Plain(Pool):
        def _read(self, key: str) -> bytes | None: ...
        def _write(self, key: str, blob: Blob) -> None: ...
        def _delete(self, key: str) -> bool:
            return False

        def _exists(self, key: str) -> bool:
            return False

        def _keys(self) -> Iterator[str]:
            return iter(())

        def _empty(self) -> None: ...

    with pytest.raises(laila.errors.NotSupportedError, match=r"path=.*from_url\(url, \*\*options\)"):
        Plain.from_url("plain:folder")


def said(environment: dict[str, str], program: str = "laila.memory") -> str:
    """What a program writes to stderr, whose environment has these variables."""
    done = subprocess.run(
        [sys.executable, "-c", f"import laila\n{program}"],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stderr


def test_a_variable_that_nothing_reads_is_told_once() -> None:
    told = said(
        {"LAILA_REDIS_PASWORD": "hunter2", "LAILA_HDF5_PATH": "x"}, "laila.memory\nlaila.DefaultPolicy()"
    )
    assert told == "nothing reads the variable 'LAILA_REDIS_PASWORD'; did you mean LAILA_REDIS_PASSWORD?\n"
    assert "has no such setting" in said({"LAILA_QUEUE": "x"})
    assert said({"LAILA_POOL": "x"}, "") == ""  # never while it is imported
    program = (
        "from laila.settings import Settings\nclass Mine(Settings):\n  prefix = 'mine'\n  own: int = 0\n"
    )
    program += "laila.memory"
    assert said({"LAILA_MINE_OWN": "1"}, program) == ""


def test_an_argument_that_nothing_reads_is_told(tmp_path: Path) -> None:
    file = tmp_path / "laila.toml"
    file.write_text(
        'lr = 1\n[hdf5]\ndurible = "process"\n[redsi]\nurl = "x"\n[files]\ntrain = "mine"\n[file]\na = 1\n'
    )
    told = said({}, f"laila.read_args({str(file)!r})\nlaila.memory")
    assert told.splitlines() == [
        "nothing reads 'hdf5.durible' of laila.args; did you mean hdf5.durable?",
        "nothing reads the table 'redsi' of laila.args; did you mean redis?",
    ]


def test_the_names_that_are_known_are_those_that_are_declared() -> None:
    from importlib import import_module

    from laila.plugins.spelling import OPTIONS, OTHERS
    from laila.settings import Settings

    for module in (
        "comm.tcpip.settings",
        "pool.redis.settings",
        "pool.s3.settings",
        "plugins.settings",
        "pool.files.pool",
        "pool.hdf5.pool",
        "pool.sqlite.settings",
        "taskforce.dask.taskforce",
        "taskforce.processes.taskforce",
        "taskforce.threads.taskforce",
        "transform.limits",
    ):
        import_module(f"laila.{module}")
    arguments: set[str] = set()
    variables: set[str] = set()
    kinds = [Settings]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        for field in kind.__attrs_attrs__ if kind.__module__.startswith("laila.") and kind.prefix else ():
            arguments.add(field.metadata["arg"])
            variables.update(name for name in field.metadata["env"] if name.startswith("LAILA_"))
    declared = {f"{table}.{name}" for table, names in OPTIONS.items() for name in names}
    assert declared == arguments
    assert variables <= {f"LAILA_{name}".replace(".", "_").upper() for name in declared} | {*OTHERS}


def test_a_limit_that_is_no_number_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    from laila.cli.main import main

    for limit in ("x", "-1", "1.5"):
        with pytest.raises(SystemExit):
            main(["show", "memory://", f"--limit={limit}"])
        assert f"--limit: give a whole number of entries, 0 for all, not '{limit}'" in capsys.readouterr().err


def test_a_peer_that_is_not_connected_is_told() -> None:
    with pytest.raises(laila.errors.PeerNotFoundError, match=r"no peer 'x' is connected; laila\.add_peer"):
        laila.peers["x"]
    assert laila.peers.get("x") is None
    with pytest.raises(InvalidArgumentError, match=r"laila\.add_peer"):
        any_laila.communication.add_connection("ws://127.0.0.1:1")
    with pytest.raises(laila.errors.PluginError, match="ws://"):
        laila.add_peer("http://127.0.0.1:1", "secret")
