"""The policy object: its own verbs, hooks, closing, the end of the interpreter, forks."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import laila
from laila.contract import hookimpl
from laila.errors import CorruptEntryError, LailaError, PoolNotFoundError
from laila.plugins import hooks


def test_its_parts(policy: laila.DefaultPolicy) -> None:
    assert isinstance(policy.central, laila.DefaultPolicy.Central)
    assert policy.central.memory is laila.memory
    assert policy.future_bank is not None
    pool = policy.extend(laila.MemoryPool(nickname="p"), affinity=4)
    assert laila.memory.router.route(affinity=4) is pool


def test_remember_gives_the_entry_itself_or_none(policy: laila.DefaultPolicy) -> None:
    a, b, c = (policy.extend(laila.MemoryPool(nickname=name), affinity=i) for i, name in enumerate("abc"))
    alpha = laila.alpha_pool
    entry = laila.constant("x")
    gid = entry.global_id
    assert policy.remember(gid) is None
    for where, arguments in (
        (alpha, {}),
        (a, {"hint": "a"}),
        (b, {"pool_subset": ["b"]}),
        (b, {"pool_subset": {"b": 1, "c": 2}}),
        (c, {"pool_subset": "c"}),
        (c, {"global_fetch": True}),
    ):
        laila.memorize(entry, pool_id=where.global_id).wait()
        found = policy.remember(gid, **arguments)
        assert found is not None
        assert found.data == "x"
        if where is not alpha:
            assert policy.remember(gid) is None
        laila.forget(entry, pool_id=where.global_id).wait()
    laila.memorize(laila.constant("in a", uuid=entry.uuid), pool_nickname="a").wait()
    laila.memorize(laila.constant("in alpha", uuid=entry.uuid)).wait()
    laila.memorize(laila.constant("in c", uuid=entry.uuid), pool_nickname="c").wait()
    assert policy.remember(gid, hint="a").data == "in a"  # type: ignore[union-attr]
    assert policy.remember(gid, pool_subset=["a"]).data == "in a"  # type: ignore[union-attr]
    laila.forget(entry).wait()
    assert policy.remember(gid, global_fetch=True).data == "in c"  # type: ignore[union-attr]
    for bad in ({"hint": "nobody"}, {"pool_subset": ["nobody"]}):
        with pytest.raises(PoolNotFoundError):
            policy.remember(gid, **bad)
    with pytest.raises(ValueError, match="nonsense"):
        policy.remember("nonsense")


class Down(laila.MemoryPool):
    def _read_many(self, keys: Any) -> Any:
        raise ConnectionError("down")


def test_a_failing_pool_does_not_hide_another(policy: laila.DefaultPolicy) -> None:
    policy.extend(Down(nickname="down"), affinity=9)
    policy.extend(laila.MemoryPool(nickname="up"))
    entry = laila.constant(1)
    laila.memorize(entry, pool_nickname="up").wait()
    assert policy.remember(entry.global_id, hint="down", global_fetch=True).data == 1  # type: ignore[union-attr]
    with pytest.raises(ConnectionError):
        policy.remember(laila.constant(1).global_id, global_fetch=True)


def test_memorize_waits_when_told_to(policy: laila.DefaultPolicy) -> None:
    entry = laila.constant(1)
    assert policy.memorize(entry).result == entry.global_id
    assert policy.memorize([entry], require_local_update=True).finished()
    assert policy.memorize((e for e in [entry]), require_global_update=True).finished()
    with pytest.raises(RuntimeError):
        policy.memorize(laila.constant(2, uuid=entry.uuid), require_local_update=True)
    with pytest.raises(TypeError):
        policy.memorize([1])  # type: ignore[list-item]


# -- hooks ---------------------------------------------------------------------------------------------------


class Observer:
    """Notes every hook that it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, list[str], Any]] = []

    @hookimpl
    def laila_before_memorize(self, keys: Any) -> None:
        self.heard.append(("before memorize", list(keys), None))

    @hookimpl
    def laila_after_memorize(self, policy: Any, pool: Any, keys: Any, error: Any, seconds: float) -> None:
        assert seconds >= 0
        assert isinstance(pool, laila.Pool)
        assert policy.scopes == ["POLICY"]
        self.heard.append(("after memorize", list(keys), error))

    @hookimpl
    def laila_before_remember(self, keys: Any) -> None:
        self.heard.append(("before remember", list(keys), None))

    @hookimpl
    def laila_after_remember(self, keys: Any, error: Any) -> None:
        self.heard.append(("after remember", list(keys), error))

    @hookimpl
    def laila_before_forget(self, keys: Any) -> None:
        self.heard.append(("before forget", list(keys), None))

    @hookimpl
    def laila_after_forget(self, keys: Any, error: Any) -> None:
        self.heard.append(("after forget", list(keys), error))

    @hookimpl
    def laila_entry_created(self, entry: Any) -> None:
        self.heard.append(("created", [entry.global_id], None))

    @hookimpl
    def laila_policy_initialized(self, policy: Any) -> None:
        self.heard.append(("initialized", [policy.global_id], None))

    @hookimpl
    def laila_policy_closing(self, policy: Any) -> None:
        self.heard.append(("closing", [policy.global_id], None))
        policy.close()  # at once and again: no deadlock


@pytest.fixture
def observer() -> Iterator[Observer]:
    made = Observer()
    hooks().register(made)
    yield made
    hooks().unregister(made)


def test_hooks_are_told_once_a_call(policy: laila.DefaultPolicy, observer: Observer) -> None:
    entries = [laila.constant(i, nickname=f"n{i}") for i in range(5)]
    ids = [entry.global_id for entry in entries]
    laila.memorize(entries).wait()
    laila.remember(ids).wait()
    gone = laila.constant(9)
    group = laila.remember([gone, entries[0]])
    assert len(group.exceptions) == 1
    laila.forget(entries[0]).wait()
    assert observer.heard == [
        ("before memorize", ids, None),
        ("after memorize", ids, None),
        ("before remember", ids, None),
        ("after remember", ids, None),
        ("before remember", [gone.global_id, ids[0]], None),
        ("after remember", [gone.global_id, ids[0]], group.exceptions[0]),
        ("before forget", [ids[0]], None),
        ("after forget", [ids[0]], None),
    ]
    observer.heard.clear()
    m = laila.manifest({"a": entries})
    m.memorize(batch_size=2).wait()
    laila.remember(nickname="n1").wait()
    assert [what for what, _, _ in observer.heard] == [
        "before memorize",
        "after memorize",
        "before remember",
        "after remember",
    ]
    assert observer.heard[0][1] == [*ids, m.global_id]
    assert ids[1] in observer.heard[2][1]


def test_announcing_an_entry_writes_nothing(policy: laila.DefaultPolicy, observer: Observer) -> None:
    entry = laila.constant(1)
    entry.notify_policy()
    back = laila.Entry.recover(entry.serialize(), notify_on_creation=True)
    laila.Entry.recover(entry.serialize())
    assert observer.heard == [("created", [entry.global_id], None)] * 2
    assert back == entry
    assert list(laila.alpha_pool.keys()) == []


def test_the_life_of_a_policy_is_told(observer: Observer) -> None:
    made = laila.DefaultPolicy()
    made.close()
    assert observer.heard == [("initialized", [made.global_id], None), ("closing", [made.global_id], None)]


# -- the end -------------------------------------------------------------------------------------------------


def test_close_closes_everything_even_where_something_fails() -> None:
    class Stubborn(laila.MemoryPool):
        def _close(self) -> None:
            raise OSError(5, "cannot close")

    policy = laila.DefaultPolicy()
    bad, good, origin = (
        Stubborn(nickname="bad"),
        laila.MemoryPool(nickname="good"),
        laila.MemoryPool(nickname="origin"),
    )
    good << origin
    policy.extend(bad)
    policy.extend(good)
    with pytest.raises(OSError, match="cannot close"):
        policy.close()
    assert all(
        thing.closed for thing in (policy, bad, good, origin, policy.central.memory, policy.central.command)
    )
    with pytest.raises(LailaError, match="closed"):
        policy.central.memory.memorize(laila.constant(1))


def test_terminate_closes_every_policy() -> None:
    out = run(
        """
        import laila
        one, two = laila.active_policy, laila.DefaultPolicy()
        laila.memorize(laila.constant(1)).wait()
        laila.terminate()
        laila.terminate()
        print(one.closed, two.closed, laila.local_policies == {}, laila.active_policy is not one)
        """
    )
    assert out == "True True True True"


SLOW = """
    import pathlib, sys, time, laila

    class Slow(laila.Pool):
        "A file an entry, written slowly."
        def __init__(self, folder):
            super().__init__()
            self.folder = pathlib.Path(folder)
        def _path(self, key):
            return self.folder / key.replace(":", "_")
        def _read(self, key):
            path = self._path(key)
            return path.read_bytes() if path.exists() else None
        def _write(self, key, blob):
            time.sleep(0.02)
            self._path(key).write_bytes(bytes(blob))
        def _delete(self, key): self._path(key).unlink()
        def _exists(self, key): return self._path(key).exists()
        def _keys(self): return iter([])
        def _empty(self): pass
        def _close(self): (self.folder / "closed").touch()

    laila.memory.alpha_pool = Slow(sys.argv[1])
"""


def run(code: str, *arguments: str, timeout: float = 60) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize(
    "work",
    [
        "[laila.memorize(laila.constant(i)) for i in range(20)]",
        "laila.memorize([laila.constant(i) for i in range(20)])",
        # queued work that itself stores: it begins after the main thread has ended
        "laila.command.submit([lambda i=i: laila.memorize(laila.constant(i)).wait() for i in range(20)])",
        "[laila.memorize(laila.constant(i)) for i in range(20)]; laila.terminate()",
    ],
)
def test_a_normal_end_completes_queued_writes(tmp_path: Path, work: str) -> None:
    run(textwrap.dedent(SLOW) + work + "\n", str(tmp_path))
    stored = {path.name for path in tmp_path.iterdir()}
    assert "closed" in stored
    assert len(stored) == 21


def test_an_error_at_the_end_of_the_program_completes_queued_writes_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(SLOW)
            + "[laila.memorize(laila.constant(i)) for i in range(10)]; raise SystemExit(3)\n",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 3
    assert len(list(tmp_path.iterdir())) == 11


def test_hdf5_writes_queued_at_the_end_are_there_afterwards(tmp_path: Path) -> None:
    pytest.importorskip("laila.pool.hdf5")
    url = f"hdf5://{tmp_path}/data.h5"
    run(
        """
        import sys, laila
        laila.tiers("memory://", sys.argv[1], pool_nickname="data")
        for i in range(50):
            laila.memorize(laila.constant([i], nickname=f"n{i}"), pool_nickname="data")
        """,
        url,
    )
    out = run(
        """
        import sys, laila
        laila.memory.extend(sys.argv[1], pool_nickname="data")
        names = [f"n{i}" for i in range(50)]
        print(sum(data[0] for data in laila.remember(nickname=names, pool_nickname="data").data))
        """,
        url,
    )
    assert out == str(sum(range(50)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_goes_on_with_its_copy(tmp_path: Path) -> None:
    out = run(
        textwrap.dedent(SLOW)
        + textwrap.dedent(
            """
            import os, signal, warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            entry = laila.constant("parent")
            laila.memorize(entry).wait()
            memory = laila.memory.extend(laila.MemoryPool(nickname="m"))
            laila.memorize(entry, pool_nickname="m").wait()
            if os.fork() == 0:
                signal.alarm(20)
                assert laila.remember(entry).data == laila.remember(entry, pool_nickname="m").data == "parent"
                laila.memorize(laila.constant("child", nickname="child")).wait()
                laila.memorize(laila.constant("child", nickname="child"), pool_nickname="m").wait()
                sys.exit(0)  # with all that happens at a normal end
            print(os.waitstatus_to_exitcode(os.wait()[1]))
            print(laila.remember(nickname="child").data, len(list(memory.keys())))
            """
        ),
        str(tmp_path),
    )
    assert out.split() == ["0", "child", "1"]


def test_many_policies_can_come_and_go() -> None:
    for _ in range(50):
        with laila.DefaultPolicy() as policy:
            assert policy.central.memory.memorize(laila.constant(1)).result
    before = len(laila.local_policies)
    laila.DefaultPolicy().close()
    assert len(laila.local_policies) == before


def test_a_damaged_entry_is_an_error_and_not_none(policy: laila.DefaultPolicy) -> None:
    class Damaged(laila.MemoryPool):
        def _read_many(self, keys: Any) -> Any:
            return [b"damaged" for _ in keys]

    policy.extend(Damaged(nickname="d"))
    with pytest.raises(CorruptEntryError):
        policy.remember(laila.constant(1).global_id, hint="d")


class Slow(laila.MemoryPool):
    """A pool whose writes wait, and which notes how many snapshots wait with them."""

    blocking = True

    def __init__(self) -> None:
        super().__init__(nickname="slow")
        self.gate = threading.Event()

    def _create_many(self, items: Any) -> list[bool]:
        assert self.gate.wait(150)
        return list(super()._create_many(items))


def test_memorize_holds_back_a_caller_that_is_faster_than_the_pool() -> None:
    made = laila.DefaultPolicy(alpha_pool=(pool := Slow()), max_pending_bytes=3_000)
    memorize = made.central.memory.memorize
    done: list[int] = []

    def caller() -> None:
        for i in range(10):
            memorize(laila.constant(b"x" * 1_000))
            done.append(i)

    thread = threading.Thread(target=caller)
    thread.start()
    thread.join(0.7)
    assert thread.is_alive()
    assert len(done) == 2  # a third would pass 3,000 bytes with what comes around the payload
    pool.gate.set()
    thread.join(150)
    assert len(done) == 10
    made.close()


def test_a_paused_task_force_holds_nobody_back() -> None:
    made = laila.DefaultPolicy(alpha_pool=(pool := Slow()), max_pending_bytes=1_000)
    pool.gate.set()
    made.central.command.pause()
    written = [made.central.memory.memorize(laila.constant(b"x" * 1_000)) for _ in range(5)]
    assert all(future.not_started() for future in written)
    made.central.command.start()
    for future in written:
        future.wait(150)
    made.close()


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "1"])
def test_a_bad_bound_is_refused(limit: Any) -> None:
    with pytest.raises(ValueError, match="max_pending_bytes"):
        laila.DefaultPolicy(max_pending_bytes=limit)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_wait_for_the_writes_of_its_parent() -> None:
    script = """
        import os, signal, threading, time
        import laila
        from laila.locks import mutex
        from laila.central.pending import PendingWrites

        pending = PendingWrites(10)
        place = pending.place(10)
        assert pending.take(place, laila.command)
        pending.began(place, laila.Future())  # under way in the parent, and for ever so in the child
        held = threading.Event()
        def count():                          # another thread counts at this very moment
            with mutex:
                held.set()
                time.sleep(3)
        threading.Thread(target=count, daemon=True).start()
        held.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(150)
            assert pending.take(pending.place(5), laila.command)
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_two_policies_of_one_nickname_are_both_closed() -> None:
    """They share a global id; the later one is found by it."""
    first, second = laila.DefaultPolicy(nickname="twin"), laila.DefaultPolicy(nickname="twin")
    assert first.global_id == second.global_id
    assert laila.local_policies[first.global_id] is second
    laila.terminate()
    assert first.closed
    assert second.closed


def test_two_policies_of_one_nickname_are_both_closed_at_exit(tmp_path: Path) -> None:
    program = (
        "import atexit, laila\n"
        "two = [laila.DefaultPolicy(nickname='twin') for _ in range(2)]\n"
        "for number, policy in enumerate(two):\n"
        "    close = policy.central.memory.close\n"
        "    policy.central.memory.close = lambda n=number, c=close: (print('closed', n), c())\n"
    )
    env = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=True, env=env
    )
    assert sorted(done.stdout.split("\n")) == ["", "closed 0", "closed 1"]
