"""Objects that contain themselves, and objects that several pickles share: identity, and what it costs."""

from __future__ import annotations

import collections
import functools
import io
import itertools
import pickle
import sys
import threading
import xml.dom.minidom
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest

from laila.blob.blob import Blob
from laila.codec import decode, encode, register_type, tags
from laila.errors import PayloadCycleError, PayloadError, UntrustedPayloadError

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", "a key for the tests of this module only")


def again(payload: Any, **options: Any) -> Any:
    return decode(Blob.from_bytes(bytes(encode(payload, key=KEY, **options)), key=KEY))


class Listed(list[Any]):
    pass


class Mapped(dict[Any, Any]):
    pass


class Attributes(dict[str, Any]):
    """Its keys are its attributes, by the well-known trick."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.__dict__ = self


class Node:
    def __init__(self, name: str, parent: Node | None = None) -> None:
        self.name = name
        self.parent = parent
        self.children: list[Node] = []
        if parent is not None:
            parent.children.append(self)


class Trainer:
    def __init__(self) -> None:
        self.on_end = self.finish

    def finish(self) -> str:
        return "done"


class Reduced:
    """Has a way of its own to be copied."""

    def __init__(self, held: Any = None) -> None:
        self.held = held

    def __reduce__(self) -> tuple[Any, ...]:
        return Reduced, (), {"held": self.held}


# -- cycles


def test_cycles_through_objects_come_back_as_pickle_gives_them() -> None:
    through_tuple = (Listed(),)
    through_tuple[0].append(through_tuple)
    found = again(through_tuple)
    assert found[0][0] is found
    for make in (Listed, Mapped, Reduced):
        obj: Any = make()
        holder: Any = {"in": [obj, 1]}
        if make is Listed:
            obj.append(holder)
        elif make is Mapped:
            obj["out"] = holder
        else:
            obj.held = holder
        found = again(holder)
        inner = found["in"][0]
        back = inner[0] if make is Listed else inner["out"] if make is Mapped else inner.held
        assert back is found, make
        alone = again([obj])[0]
        back = alone[0] if make is Listed else alone["out"] if make is Mapped else alone.held
        assert back["in"][0] is alone, make


def test_a_list_subclass_in_itself_is_stored() -> None:
    items = Listed([1])
    items.append(items)
    found = again(items)
    assert found[1] is found
    inner = Listed()
    inner.append([inner])
    plain = again([inner[0]])[0]
    assert plain[0][0] is plain


def test_trees_with_parents() -> None:
    root = Node("root")
    for name in "abc":
        Node(name + "1", Node(name, root))
    found = again({"tree": root, "leaf": root.children[1].children[0]})
    assert found["leaf"].parent.parent is found["tree"]
    assert [child.name for child in found["tree"].children] == ["a", "b", "c"]
    assert all(child.parent is found["tree"] for child in found["tree"].children)


def test_a_cycle_begins_where_pickle_would_begin_it() -> None:
    """From a member of its own set, an object is hashed before it has its name."""

    class Member:
        def __init__(self, name: str) -> None:
            self.name = name
            self.peers: set[Member] = set()

        def __hash__(self) -> int:
            return hash(self.name)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Member) and self.name == other.name

    chain: list[Any] = []
    for number in range(20):
        chain = [number, Reduced(chain)]
    outer: Any = {"first": chain, "second": [Reduced()]}
    outer["second"][0].held = [outer["first"], outer]
    found = again(outer)
    assert found["second"][0].held[1] is found
    assert found["second"][0].held[0] is found["first"]


def test_objects_that_hold_their_own_methods() -> None:
    found = again({"trainer": Trainer()})["trainer"]
    assert found.on_end() == "done"
    assert found.on_end.__self__ is found


def test_a_dict_that_is_its_own_attributes() -> None:
    found = again([Attributes(x=1)])[0]
    assert found.x == 1
    assert found.__dict__ is found


def test_a_document() -> None:
    document = xml.dom.minidom.parseString("<a><b c='1'/>text</a>")
    found = again({"document": document, "element": document.documentElement})
    assert found["document"].toxml() == document.toxml()
    assert found["element"].ownerDocument is found["document"]


def test_closures_over_what_holds_them() -> None:
    node: Any = Node("n")
    node.call = lambda: node
    found = again([node])[0]
    assert found.call() is found


def test_plain_containers_in_themselves_are_refused() -> None:
    for build in (list, dict, collections.OrderedDict, collections.deque, collections.defaultdict):
        container: Any = build()
        if hasattr(container, "append"):
            container.append([(container,)])
        else:
            container["a"] = [(container,)]
        for payload in (container, [container], Node("n"), {"deep": Node("n")}):
            holder = payload["deep"] if isinstance(payload, dict) and "deep" in payload else payload
            if isinstance(holder, Node):
                holder.children = container
            with pytest.raises(PayloadCycleError, match="contains itself"):
                encode(payload, key=KEY)


def test_cycles_need_a_signature() -> None:
    register_type(Node)
    root = Node("root")
    Node("leaf", root)
    with pytest.raises(PayloadCycleError, match="pickle=False") as caught:
        encode([root], key=KEY, pickle=False)
    assert caught.value.path == "payload[0].children[0].parent"


# -- sharing


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_what_rows_and_pickles_share(order: tuple[int, ...]) -> None:
    shared, array = [1, 2], np.arange(3.0)
    parts = [Mapped(a=shared, b=array), {"a": shared, "b": array}, Listed([(shared, array)])]
    found = again([parts[i] for i in order])
    read = {place: found[position] for position, place in enumerate(order)}
    assert read[0]["a"] is read[1]["a"] is read[2][0][0]
    assert read[0]["b"] is read[1]["b"] is read[2][0][1]
    assert read[1]["a"] == shared
    assert np.array_equal(read[1]["b"], array)


def test_what_pickles_of_functions_share() -> None:
    state: list[int] = []
    one, other = (lambda: state), (lambda: state)
    found = again({"one": one, "other": other, "state": state, "partial": functools.partial(one)})
    assert found["one"]() is found["other"]() is found["state"] is found["partial"]()


def test_objects_that_only_pickles_hold_are_one_object_everywhere() -> None:
    inner = Reduced("x")
    outer = [Mapped(a=inner), Mapped(a=inner), inner, np.array([inner, None], dtype=object), {"k": inner}]
    found = again(outer)
    assert found[0]["a"] is found[1]["a"] is found[2] is found[3][0] is found[4]["k"]


def test_sets_of_what_is_pickled_have_one_order() -> None:
    members = [len, print, ValueError, functools.partial, (sorted, 1), (Mapped, 2)]
    trees = {encode(set(order), key=KEY).tree for order in itertools.permutations(members, 6)}
    assert len(trees) == 1
    assert again(set(members)) == set(members)
    assert again({int: 1, (str, 1): {int, str}}) == {int: 1, (str, 1): {int, str}}


def test_exceptions_in_pickles_keep_their_chain() -> None:
    error = ValueError("outer")
    error.__cause__ = KeyError("inner")
    error.__context__ = error.__cause__
    error.add_note("a note")
    found = again(Mapped(error=error))["error"]
    assert repr(found.__cause__) == "KeyError('inner')"
    assert found.__context__ is found.__cause__
    assert found.__suppress_context__
    assert found.__notes__ == ["a note"]


# -- what it costs


def _operations(run: Callable[[], object]) -> int:
    """How many functions, in Python and in C, ``run`` calls."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def _pairs(count: int) -> list[Any]:
    out: list[Any] = []
    for _ in range(count):
        index = Listed(range(5))
        out.append((Mapped(index=index), Reduced(index)))
    return out


def _one_list(count: int) -> list[Any]:
    shared = [1]
    return [Mapped(a=shared) for _ in range(count)]


def _separate_cycles(count: int) -> list[Any]:
    return [Trainer() for _ in range(count)]


def _web(count: int) -> list[Any]:
    """Chains that meet pickles and rows by turns, each with a way back to the one above."""
    webs: list[Any] = []
    for start in range(0, count, 20):
        nodes = [Node(str(number)) for number in range(start, start + 20)]
        for one, other in itertools.pairwise(nodes):
            one.children = [[other]]  # type: ignore[list-item]
            other.parent = one
            other.me = Reduced(other)  # type: ignore[attr-defined]
        webs.append([nodes[0], webs[-1:]])
    return webs


def _family(count: int) -> list[Any]:
    root = Node("root")
    for number in range(count):
        Node(str(number), root)
    return [*root.children, root]


def _members(count: int) -> set[Any]:
    shared = Listed(range(count))
    return {functools.partial(print, number, shared) for number in range(count)}


def _reversed_chain(count: int) -> list[Any]:
    """Each pickle holds the one before, which is met only later as a row."""
    chain: list[Any] = [Reduced()]
    for _ in range(count // 20):
        chain.append(Reduced(chain[-1]))
    return [chain[::-1] for _ in range(20)]


@pytest.mark.parametrize(
    "make", [_pairs, _one_list, _separate_cycles, _family, _members, _web, _reversed_chain]
)
def test_operations_grow_with_the_payload(make: Callable[[int], Any]) -> None:
    few, many = make(40), make(160)
    encode(make(3), key=KEY)  # imports and caches
    assert _operations(lambda: encode(many, key=KEY)) < 5 * _operations(lambda: encode(few, key=KEY))
    one, two = encode(few, key=KEY), encode(many, key=KEY)
    assert two.metadata["size"] < 5.5 * one.metadata["size"]  # type: ignore[operator]
    assert _operations(lambda: decode(two)) < 5 * _operations(lambda: decode(one))


def test_pickles_that_are_too_deep_are_refused() -> None:
    chain: Any = None
    for _ in range(100_000):
        chain = Reduced(chain)
    with pytest.raises(PayloadError, match=r"payload\['deep'\].*(recursion|deep)"):
        encode({"deep": chain}, key=KEY)


# -- what must not be opened


def _blob(*rows: list[Any]) -> Blob:
    return Blob(KEY, tags.ROWS_MARK + b"".join(map(msgpack.packb, rows)), ())


def test_parts_without_a_signature_open_nothing() -> None:
    data = pickle.dumps(print)
    with pytest.raises(UntrustedPayloadError):
        decode(_blob([tags.PICKLED, "builtins:print", data], [tags.PART, msgpack.ExtType(0, b"\0"), None]))
    for row in ([tags.PART], [tags.PART, 0, 0], [tags.PART, msgpack.ExtType(0, b"\0"), None]):
        with pytest.raises(ValueError, match="damaged"):
            decode(_blob([tags.TUPLE], row))


def test_many_pickles_become_few() -> None:
    """A pickle for each object costs more than what is in it."""
    parts = [Reduced(number) for number in range(300)]
    for payload in (parts, [(part, 1) for part in parts], {"a": parts, "b": {1, (2,)}}, [*parts, {3, (4,)}]):
        blob = encode(payload, key=KEY)
        assert sum(row[0] == tags.PICKLED for row in _rows(blob)) == 1
        decode(blob)
    lock = threading.Lock()
    with pytest.raises(PayloadError) as caught:
        encode([*parts, (lock,)], key=KEY)
    assert caught.value.path == "payload[300][0]"


def _rows(blob: Blob) -> list[Any]:
    return list(msgpack.Unpacker(io.BytesIO(blob.tree[1:]), strict_map_key=False))
