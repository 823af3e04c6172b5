"""Peers that die, calls that are under way at the end, forks, and what is left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from laila.errors import PeerDisconnectedError
from laila.testing.bounded import bounded, within
from laila.testing.programs import Program, describe
from laila.testing.promises import Leaks, broken
from laila.testing.protocols.base import STOP, ProtocolSuite, Side, promise

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from laila.testing.programs import Ended
    from laila.testing.protocols.base import MakeProtocol, MakeSide

__all__ = ["Failing"]


@bounded
class Failing(ProtocolSuite):
    """The end of peers, processes and protocols."""

    def program(self, made: MakeProtocol, secret: str, name: str, **arguments: Any) -> Program:
        """Start a program of :mod:`laila.testing.protocol_child` with a protocol built as ``made`` does."""
        order = {
            "protocol": describe(made(secret)),
            "program": name,
            "secret": secret,
            "arguments": arguments,
        }
        return Program("laila.testing.protocol_child", order)

    def hear(self, program: Program) -> Any:
        """The next line of a program."""
        __tracebackhide__ = True
        return program.hear("a program with this protocol works", 2 * self.patience)

    def ended(self, program: Program, what: str) -> Ended:
        """Wait until a program has ended by itself, soon and without a word."""
        __tracebackhide__ = True
        ended = program.end(self.patience)
        if ended is None:
            broken(f"{what} ends by itself; it hung")
        promise(
            ended.code == 0,
            f"{what} ends with its own exit code, 0, not {ended.code}; {ended.errors[-2000:]}",
        )
        promise(not ended.errors, f"{what} ends without a word; it wrote: {ended.errors[-2000:]}")
        return ended

    def calling(self, caller: Side, peer: Side | str) -> Callable[[], BaseException | str]:
        """Begin a call that is held; return what waits for its outcome and gives it."""
        outcome: list[BaseException | str] = []

        def call() -> None:
            try:
                outcome.append(caller.call(peer, "hold"))
            except BaseException as error:  # noqa: BLE001 - handed over
                outcome.append(error)

        thread = threading.Thread(target=call, daemon=True)
        thread.start()

        def wait() -> BaseException | str:
            __tracebackhide__ = True
            thread.join(self.patience)
            if not outcome:
                broken("a call under way fails when the connection ends; it waits still")
            return outcome[0]

        return wait

    # -- peers that die ------------------------------------------------------------------------------------

    def test_a_peer_that_is_killed(self, made: MakeProtocol, side: MakeSide, secret: str) -> None:
        """When a peer's process is killed in mid-call, the call fails at once, never as a success."""
        near = side()
        with self.program(made, secret, "serve") as program:
            peer, uri = self.hear(program)
            self.connect(near, uri, secret, peer, "add_peer gives the id of a peer in another process")
            self.gets(near, peer, "a peer in another process answers", b"\x00")
            waiting = [self.calling(near, peer) for _ in range(3)]
            promise(self.hear(program) == "held 3", "calls are dispatched in another process")
            os.kill(program.pid, signal.SIGKILL)
            began = time.monotonic()
            outcomes = [wait() for wait in waiting]
            took = time.monotonic() - began
        for outcome in outcomes:
            promise(
                isinstance(outcome, PeerDisconnectedError),
                f"a call whose peer was killed raises PeerDisconnectedError; it gave {outcome!r}",
            )
        promise(took < 5 * STOP, f"a call whose peer was killed fails at once; it took {took:.1f} s")
        self.eventually(lambda: peer in near.node.left, "a node is told that a peer was killed")
        self.refused(partial(near.call, peer, "echo"), "a call to a peer that was killed")

    # -- stop ----------------------------------------------------------------------------------------------

    def test_stop_fails_calls_under_way(self, near: Side, far: Side) -> None:
        """`stop` ends within two seconds with calls under way, which fail."""
        waiting = [self.calling(near, far) for _ in range(4)]
        self.eventually(lambda: far.node.held == 4, "calls are dispatched")
        began = time.monotonic()
        within(self.patience, "stop() ends with calls under way", near.protocol.stop)
        took = time.monotonic() - began
        for wait in waiting:
            outcome = wait()
            promise(
                isinstance(outcome, PeerDisconnectedError),
                f"a call that is under way at stop() raises PeerDisconnectedError; it gave {outcome!r}",
            )
        promise(took < 5 * STOP, f"stop() ends within {STOP:g} s with calls under way; it took {took:.1f} s")

    def test_stop_waits_for_no_method(self, near: Side, far: Side) -> None:
        """`stop` ends within two seconds while the node still works on calls, whose callers are told."""
        waiting = [self.calling(near, far) for _ in range(4)]
        self.eventually(lambda: far.node.held == 4, "calls are dispatched")
        began = time.monotonic()
        within(self.patience, "stop() ends while the node works on calls", far.protocol.stop)
        took = time.monotonic() - began
        for wait in waiting:
            outcome = wait()
            promise(
                isinstance(outcome, PeerDisconnectedError),
                f"a call whose peer stops raises PeerDisconnectedError; it gave {outcome!r}",
            )
        promise(
            took < 5 * STOP, f"stop() ends within {STOP:g} s, whatever the node does; it took {took:.1f} s"
        )

    def test_close_leaves_nothing_behind(self, side: MakeSide, secret: str) -> None:
        """`close` gives back every thread and socket, of both sides."""

        def use() -> None:
            far, near, refused = side(), side(), side()
            self.connect(near, far.uri, secret, far.id, "whoever knows the secret is let in")
            self.gets(near, far, "calls pass")
            self.gets(far, near, "calls pass")
            self.refused(partial(refused.protocol.add_peer, far.uri, "wrong"), "a wrong secret")
            for one in (refused, near, far):
                one.protocol.close()

        use()  # what a library keeps for the whole process is there from now on
        leaks = Leaks()
        for _ in range(2):
            use()
        leaks.check("close()", seconds=self.patience / 2)

    # -- the end of a program ------------------------------------------------------------------------------

    def test_exit_with_a_call_under_way(self, made: MakeProtocol, far: Side, secret: str) -> None:
        """A program ends by itself although a thread of it waits for an answer."""
        with self.program(made, secret, "call", uri=far.uri) as program:
            self.hear(program)
            self.eventually(lambda: far.node.held == 1, "a call from another process is dispatched")
            program.tell("end")
            self.ended(program, "a program that waits for an answer")
        self.eventually(lambda: far.node.left, "a node is told that a peer's process has ended")

    def test_exit_with_a_call_to_answer(self, made: MakeProtocol, side: MakeSide, secret: str) -> None:
        """A program ends by itself although its node works on a call, whose caller is told."""
        near = side()
        with self.program(made, secret, "serve") as program:
            peer, uri = self.hear(program)
            self.connect(near, uri, secret, peer, "whoever knows the secret is let in")
            wait = self.calling(near, peer)
            promise(self.hear(program) == "held 1", "calls are dispatched in another process")
            program.tell("end")
            self.ended(program, "a program that works on a call")
        outcome = wait()
        promise(
            isinstance(outcome, PeerDisconnectedError),
            f"a call whose peer's process ends raises PeerDisconnectedError; it gave {outcome!r}",
        )

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_a_forked_child(self, made: MakeProtocol, far: Side, secret: str) -> None:
        """A forked child hangs nowhere and ends, and the parent's connection is as it was."""
        with self.program(made, secret, "fork", uri=far.uri, limit=self.patience / 2) as program:
            said = self.hear(program)
            promise(
                said["child"] != "hung", "in a forked child a call ends: with an answer, or with a PeerError"
            )
            promise(
                said["child"] in {"answered", "refused"},
                f"in a forked child a call is answered or raises PeerError; it gave {said['child']}",
            )
            promise(
                said["code"] == 0, f"a forked child ends by itself, with code 0; it ended with {said['code']}"
            )
            promise(
                said["parent"] == [1, 2],
                f"after a fork the parent's connection is as it was; its calls gave {said['parent']}",
            )
            promise(not far.node.left, "a child that is forked and ends does not end its parent's connection")
            program.tell("end")
            self.ended(program, "a program that has forked")
