"""Calls: what is sent arrives, the answer is the caller's own, and errors keep what they are."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from laila.contract import Blob
from laila.errors import LailaError, PeerError
from laila.testing.bounded import bounded
from laila.testing.nodes import KNOWN_ERRORS, blob_of
from laila.testing.promises import broken, in_threads
from laila.testing.protocols.base import ProtocolSuite, Side, promise

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Calls"]

VALUES: dict[str, object] = {
    "None": None,
    "booleans": [True, False],
    "integers": [0, -1, 2**31, -(2**53) + 1, 2**63 - 1],
    "floats": [0.5, -1e300, 1e-300, 1 / 3, 1.0],
    "text": ["", "plain", "ünïcode 𝄞 \u2028", "\x00\n\"'\\", "$blob", "a" * 100_000],
    "bytes": [b"", b"\x00\xff\x80text", bytes(range(256)) * 300],
    "lists": [[], [[]], [[[1], "x"], [None]], list(range(1000))],
    "dicts": [
        {},
        {"": 1, "a b": [{"c": b"d"}]},
        {"args": 1, "kwargs": 2, "self": 3, "$blob": 4, "id": 5},
        {str(n): n for n in range(500)},
    ],
    "nested": {"a": [{"b": [{"c": [b"deep", {"d": None}]}]}]},
}
"""Values that pass exactly, by kind."""


def exactly(found: object, sent: object) -> bool:
    """Whether two values are equal, types included."""
    if isinstance(sent, Blob):
        return isinstance(found, Blob) and bytes(found) == bytes(sent)
    if type(found) is not type(sent):
        return False
    if isinstance(sent, dict):
        assert isinstance(found, dict)
        return list(found) == list(sent) and all(exactly(found[key], sent[key]) for key in sent)
    if isinstance(sent, list):
        assert isinstance(found, list)
        return len(found) == len(sent) and all(map(exactly, found, sent))
    return found == sent


@bounded
class Calls(ProtocolSuite):
    """Calls between two policies that are connected."""

    def test_a_call_arrives_as_it_was_made(self, near: Side, far: Side) -> None:
        """The node gets the caller's id, the path, the arguments and the names, and the caller the result."""
        found = self.ask(
            near,
            far,
            "a call is answered",
            "echo",
            args=[1, "two", [3]],
            four=4,
            **{"odd name": {"five": 5.5}},
        )
        peer, path, args, kwargs = far.node.calls[-1]
        promise(peer == near.id, f"a node is told the id of the peer that calls, {near.id}, not {peer!r}")
        promise(path == ("echo",), f"a node is given the path of the call, ('echo',), not {path!r}")
        promise(args == (1, "two", [3]), f"a node is given the arguments, (1, 'two', [3]), not {args!r}")
        expected = {"four": 4, "odd name": {"five": 5.5}}
        promise(kwargs == expected, f"a node is given the named arguments, {expected}, not {kwargs!r}")
        promise(found == [[1, "two", [3]], expected], f"a caller is given the result; it was given {found!r}")
        what = "a call needs no arguments"
        promise(self.ask(near, far, what, "echo") == [[], {}], what)
        what = "a path may have several parts"
        promise(self.ask(near, far, what, "central", "memory", "remember") == "remembered", what)
        path = far.node.calls[-1][1]
        promise(path == ("central", "memory", "remember"), f"a path arrives in its parts, not as {path!r}")

    @pytest.mark.parametrize("kind", VALUES)
    def test_values_pass_exactly(self, near: Side, far: Side, kind: str) -> None:
        """Arguments and results arrive as they were sent, types included."""
        sent = VALUES[kind]
        found = self.ask(near, far, f"{kind} can be sent", "echo", args=[sent], named=sent)
        got, named = far.node.calls[-1][2][0], far.node.calls[-1][3].get("named")
        promise(
            exactly(got, sent),
            f"arguments ({kind}) arrive as they were sent; {sent!r:.200} became {got!r:.200}",
        )
        promise(
            exactly(named, sent),
            f"named arguments ({kind}) arrive as they were sent; one became {named!r:.200}",
        )
        promise(
            exactly(found, [[sent], {"named": sent}]),
            f"results ({kind}) arrive as they were sent; {sent!r:.200} became {found!r:.200}",
        )

    def test_blobs_pass(self, near: Side, far: Side) -> None:
        """A blob arrives as a blob of the same bytes, also several in one call and within lists and dicts."""
        blobs = [blob_of(bytes([n]) * n * 1000) for n in range(1, 6)]
        sent = [blobs[0], {"more": blobs[1:]}, b"bytes beside them", blobs[0]]
        found = self.ask(near, far, "blobs can be sent", "give", args=[sent])
        promise(exactly(far.node.calls[-1][2][0], sent), "blobs among arguments arrive with the same bytes")
        promise(exactly(found, sent), "blobs among results arrive with the same bytes")

    def test_large_values_pass(self, near: Side, far: Side) -> None:
        """The largest bytes and blobs that are promised pass, in and out."""
        count = self.max_bytes
        data = (b"0123456789abcdef" * (count // 16 + 1))[:count]
        size = self.ask(near, far, f"{count} bytes pass as an argument", "size", args=[data])
        promise(size == count and far.node.calls[-1][2][0] == data, f"{count} bytes pass as an argument")
        made = self.ask(near, far, f"{count} bytes pass as a result", "make", args=[count])
        promise(made == b"\xa5" * count, f"{count} bytes pass as a result")
        blob = blob_of(data[: count - 4096])
        what = f"a blob of {blob.nbytes} bytes passes"
        promise(exactly(self.ask(near, far, what, "give", args=[blob]), blob), what)
        self.gets(near, far, "calls are answered after large ones")

    # -- errors --------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", KNOWN_ERRORS)
    def test_an_error_keeps_what_it_is(self, near: Side, far: Side, kind: str) -> None:
        """A LailaError that a node raises is raised in the caller: class, message and parts."""
        sent = KNOWN_ERRORS[kind]()
        error = self.refused(partial(near.call, far, "fail", args=[kind]), "an error of the node", LailaError)
        promise(
            type(error) is type(sent),
            f"a {type(sent).__name__} arrives as one, not as {type(error).__name__}",
        )
        promise(
            str(error) == str(sent), f"an error keeps its message, {str(sent)!r}; it came as {str(error)!r}"
        )
        parts = {name: getattr(error, name, "nothing") for name in vars(sent)}
        promise(parts == vars(sent), f"an error keeps its parts, {vars(sent)}; they came as {parts}")
        self.gets(near, far, "a call that failed harms no other")

    @pytest.mark.parametrize(
        ("kind", "name"),
        [("known to Python", "ValueError"), ("known to nobody", "OddError"), ("exit", "SystemExit")],
    )
    def test_other_errors_are_told(self, near: Side, far: Side, kind: str, name: str) -> None:
        """Any other error of a node arrives as an error with its text, and as no end of anything."""
        error = self.refused(partial(near.call, far, "fail", args=[kind]), f"a {name} of a node", Exception)
        promise(
            isinstance(error, LailaError) or type(error).__name__ == name,
            f"a {name} of a node arrives as one or as a LailaError, not as {error!r}",
        )
        said = f"{type(error).__name__} {error} {vars(error)}"
        promise("told by the other side" in said, f"an error of a node keeps its text; it came as {error!r}")
        promise(
            name in said,
            f"an error of a class unknown here says its name, {name}; it came as {error!r}, {said}",
        )
        self.gets(near, far, f"a node goes on after a method raised {name}")

    @pytest.mark.parametrize(
        "path",
        [
            ("nothing",),
            ("policy_id",),
            ("__class__",),
            ("_hold",),
            ("calls", "clear"),
            ("echo", "__globals__"),
            ("central", "_secret"),
            ("dispatch",),
            ("release", "set"),
        ],
        ids=".".join,
    )
    def test_no_path_is_followed(self, near: Side, far: Side, path: tuple[str, ...]) -> None:
        """Every path goes to the node as it is, which refuses it; a protocol reaches nothing by itself."""
        error = self.refused(partial(near.call, far, *path), "a path that the node does not export")
        promise(
            "is not exported" in str(error) and getattr(error, "peer", None) == far.id,
            f"what a path may reach is the node's to say, by its error; {'.'.join(path)} gave {error!r}",
        )
        promise(
            [call[1] for call in far.node.calls] == [path],
            f"a path goes to the node as it is: {far.node.calls}",
        )
        promise(not far.node.release.is_set(), "a protocol calls nothing by itself")
        self.gets(near, far, "a refused path harms no other call")

    def test_what_cannot_be_sent_is_told(self, near: Side, far: Side) -> None:
        """An argument or a result that no other process can take fails its call, and nothing else."""
        self.refused(
            partial(near.call, far, "give", args=[threading.Lock()]),
            "an argument that cannot be sent",
            Exception,
        )
        promise(not far.node.calls, "a call whose arguments cannot be sent is not made")
        self.refused(partial(near.call, far, "unsendable"), "a result that cannot be sent", Exception)
        self.gets(near, far, "what cannot be sent harms no other call")

    # -- many at once --------------------------------------------------------------------------------------

    def test_answers_are_the_callers_own(self, near: Side, far: Side) -> None:
        """However many threads call at once, and in both directions, each is given its own answer."""
        what = "each caller is given the answer to its own call"

        def work(caller: Side, called: Side, me: int) -> None:
            for n in range(25):
                mine = f"thread {me}, call {n}"
                # Later calls are answered first.
                nap = 0.001 * (n * 7 % 5)
                found = self.ask(caller, called, what, "nap", args=[nap]) if n % 5 == 0 else nap
                promise(found == nap, f"{what}; a call for {nap} was given {found!r:.100}")
                answer = self.ask(caller, called, what, "echo", args=[mine, b"x" * (n * 100)])
                promise(
                    answer == [[mine, b"x" * (n * 100)], {}], f"{what}; {mine!r} was given {answer!r:.100}"
                )

        in_threads(
            [partial(work, near, far, me) for me in range(6)]
            + [partial(work, far, near, me) for me in range(6, 12)],
            "calls from many threads at once are answered",
            2 * self.patience,
        )

    def test_a_slow_call_holds_up_no_other(self, near: Side, far: Side) -> None:
        """While calls wait for their answers, others are answered, in both directions."""
        count = self.in_flight
        results: list[Any] = []
        waiting = [
            threading.Thread(target=lambda: results.append(near.call(far, "hold")), daemon=True)
            for _ in range(count - 1)
        ]
        for thread in waiting:
            thread.start()
        self.eventually(
            lambda: far.node.held == len(waiting),
            f"a slow call holds up no other: of {len(waiting)} calls at once not all were dispatched",
        )
        for n in range(10):
            self.gets(near, far, "a slow call holds up no other", n)
            self.gets(far, near, "a slow call holds up none of the other direction", n)
        promise(not results, "a call is answered when its method has returned, not before")
        far.node.release.set()
        for thread in waiting:
            thread.join(self.patience)
        promise(
            results == ["released"] * len(waiting),
            f"every slow call is answered in the end; {len(results)} were",
        )

    def test_a_method_may_call_back(self, near: Side, far: Side) -> None:
        """A method that a peer calls may call that peer, which may call back, and so on."""
        found = self.ask(near, far, "a method that is called may call its caller", "back", args=[10])
        promise(
            found == 10,
            f"a method that is called may call its caller; ten calls in each other gave {found!r}",
        )

    def test_an_unknown_peer(self, near: Side) -> None:
        """A call to a policy that is not connected is refused at once."""
        stranger = "LAILA:POLICY:GLOBAL_ID:00000000-0000-4000-8000-000000000000"
        error = self.refused(partial(near.call, stranger, "echo"), "a call to a policy that is not connected")
        if stranger not in f"{error} {vars(error)}":
            broken(f"the error of a call to a policy that is not connected names it; it says {error}")
        promise(isinstance(error, PeerError), "a call to a policy that is not connected is a PeerError")
