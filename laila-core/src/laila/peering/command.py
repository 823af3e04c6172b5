"""The task force of a peer: functions that it exports, called by name; code, where both sides ask for it."""

from __future__ import annotations

from functools import partial

from laila.central.interface import CommandVerbs
from laila.errors import InvalidTaskError
from laila.futures import GroupFuture
from laila.futures.scope import register
from laila.peering.exports import name_of
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from laila.futures import Future
    from laila.futures.task import Task
    from laila.peering.proxy import RemotePolicyProxy

    Work = Callable[..., Any] | str

__all__ = ["RemoteCommand", "RemoteTask"]


class RemoteTask:
    """A call of a function that a peer exports: its name, and the arguments."""

    __slots__ = ("args", "kwargs", "name")

    def __init__(
        self, name: str, args: Sequence[object] = (), kwargs: dict[str, object] | None = None
    ) -> None:
        self.name = name
        self.args = list(args)
        self.kwargs = dict(kwargs or {})

    def __repr__(self) -> str:
        return f"<RemoteTask {self.name}>"


class RemoteCommand(CommandVerbs):
    """The command of a peer. Thread-safe."""

    def __init__(self, peer: RemotePolicyProxy) -> None:
        self._peer = peer

    def task(self, name: str, /, *args: object, **kwargs: object) -> RemoteTask:
        """Return the call of the exported function ``name`` with these arguments, for :meth:`submit`."""
        return RemoteTask(name, args, kwargs)

    def submit(
        self,
        tasks: Work | RemoteTask | Iterable[Work | RemoteTask],
        wait: bool = False,
        *,
        taskforce_id: str | None = None,
        memorize_to: str | None = None,
        ship: bool = False,
    ) -> Any:
        """Have exported functions run by the peer's task force.

        A task is the name of an exported function, a result of :meth:`task`, an exported function that is
        known here too, or a :func:`functools.partial` of such a function. With ``ship=True`` it may be any
        callable without arguments: it is sent as code, signed with the key of this side. The peer runs it if
        it has the same key, has set ``laila.communication.run_signed_code``, and has granted the role
        ``admin``. ``memorize_to`` is the nickname of a pool over there: the entries that the functions return
        are memorized to it where they run, and the value is the global id; the peer grants that to the role
        ``write``.

        Returns a ``Future`` for one, a ``GroupFuture`` for an iterable; with ``wait=True`` the value, or the
        list of values.

        Raises:
            InvalidTaskError: For what is not exported here, without ``ship``; nothing was sent then.
        """
        if isinstance(tasks, (str, RemoteTask)) or callable(tasks):
            future: Future[Any] = self._send(self._prepare(tasks, ship=ship), taskforce_id, memorize_to)
            register(future)
            return future.wait() if wait else future
        prepared = [self._prepare(task, ship=ship) for task in tasks]
        group: GroupFuture[Any] = GroupFuture.of(
            self._send(task, taskforce_id, memorize_to) for task in prepared
        )
        register(group)
        return group.wait() if wait else group

    def imap(
        self, tasks: Iterable[Work | RemoteTask], *, taskforce_id: str | None = None
    ) -> Iterator[Future[Any]]:
        """Give the futures of ``tasks`` in order; each is sent when it is asked for."""
        for task in tasks:
            yield self._send(self._prepare(task, ship=False), taskforce_id)

    def map(self, tasks: Iterable[Work | RemoteTask], *, taskforce_id: str | None = None) -> Iterator[Any]:
        """Give what ``tasks`` return, in order; all are sent at once."""
        futures = list(self.imap(tasks, taskforce_id=taskforce_id))
        return (future.wait() for future in futures)

    def start(self) -> None:
        """Let the peer's task forces go on; needs the role ``admin``. Blocks."""
        self._peer.call("central.command.start").wait()

    def pause(self) -> None:
        """Have the peer's task forces start no further task; needs the role ``admin``. Blocks."""
        self._peer.call("central.command.pause").wait()

    def _prepare(self, task: object, *, ship: bool) -> tuple[str, dict[str, object]]:
        if isinstance(task, str):
            task = RemoteTask(task)
        elif isinstance(task, partial) and (name := name_of(task.func)) is not None:
            task = RemoteTask(name, task.args, task.keywords)
        elif not isinstance(task, RemoteTask):
            exported = name_of(task)
            if exported is None and ship and callable(task):
                from laila.codec import encode
                from laila.codec.trust import CODE_KEY

                return "central.command.run", {"code": encode(task, key=CODE_KEY)}
            if exported is None:
                raise InvalidTaskError(
                    f"{shown(task)} is not exported, and code is not sent to peers: decorate the "
                    "function with "
                    "@laila.export on both sides, or name one of theirs: peer.central.command.task('name', …)"
                )
            task = RemoteTask(exported)
        return "central.command.submit", {"function": task.name, "args": task.args, "kwargs": task.kwargs}

    def dispatch(self, tasks: Sequence[Task]) -> None:
        """Let the task force of the policy here run tasks that are not the peer's."""
        self._peer.run_here(tasks)

    def _send(
        self,
        prepared: tuple[str, dict[str, object]],
        taskforce_id: str | None,
        memorize_to: str | None = None,
    ) -> Future[Any]:
        path, kwargs = prepared
        if memorize_to is not None:
            kwargs = {**kwargs, "memorize_to": memorize_to}
        if taskforce_id is not None:
            kwargs = {**kwargs, "taskforce_id": taskforce_id}
        return self._peer.call(path, (), kwargs)
