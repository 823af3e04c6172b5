"""What others may send costs what its bytes allow: each tag of a tree, and each method of a peer.

Inputs of one, two and four times the size are read, each in a process that is ended where it takes for ever.
A tag or a method without such inputs fails here.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from contextlib import suppress
from inspect import signature
from itertools import islice, product
from typing import Any

import msgpack
import pytest

import laila
from laila.blob.blob import Blob
from laila.blob.buffer import Buffer
from laila.codec import decode, encode, tags
from laila.codec.registry import decoder_for
from laila.codec.trust import CODE_KEY
from laila.contract import Future, GroupFuture
from laila.contract.protocol import Request
from laila.contract.wire import pack, unpack_call
from laila.entry import from_blob
from laila.errors import CorruptEntryError, InvalidArgumentError, LailaError, MissingPluginError
from laila.views.memory import HeldBuffers
from laila.views.view import view_of
from servers.costs import FLOOR, Cost, assert_linear

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
TAGS = {name: value for name, value in vars(tags).items() if name.isupper() and type(value) is int}
Rows = list[list[object]]
MOST_SECONDS = 5  # of the processor's time, for one input: a second for what is written in C, and room
MOST_SECONDS_OF_ALL = 200


def ref(row: int) -> msgpack.ExtType:
    low = row & 0xFFFFFF
    return msgpack.ExtType(row >> 24, low.to_bytes(1 if low < 256 else 2 if low < 65536 else 3, "little"))


def forged(rows: Iterable[list[object]], buffers: Iterable[bytes] = (), key: str = KEY) -> Blob:
    tree = tags.ROWS_MARK + b"".join(map(msgpack.packb, rows))
    return Blob.from_bytes(bytes(Blob(key, tree, tuple(Buffer(memoryview(one)) for one in buffers))))


def number(bits: int) -> bytes:
    return ((1 << bits) - 1).to_bytes(bits // 8 + 1, "little", signed=True)


# -- values to be put in the place of fields: rows, of which the last is the value


def web(n: int) -> Rows:
    """Tuples that hold the one before twice: 2**(40 n) paths."""
    return [[tags.TUPLE, 1], *([tags.TUPLE, ref(i), ref(i)] for i in range(40 * n))]


def web_of_lists(n: int) -> Rows:
    return [[tags.LIST, 1], *([tags.LIST, ref(i), ref(i)] for i in range(40 * n))]


def large_number(n: int) -> Rows:
    return [[tags.INT, None, number(100_000 * n)]]


def long_text(n: int) -> Rows:
    return [[tags.TUPLE, "x" * 10_000 * n]]


def bare_text(n: int) -> object:
    return "x" * 10_000 * n


def bare_digits(n: int) -> object:
    return "9" * 10_000 * n


PLACED: list[Callable[[int], Rows]] = [web, web_of_lists, large_number, long_text]
BARE: list[Callable[[int], object]] = [bare_text, bare_digits]
FILLERS: list[object] = [None, "x"]


def of_any(tag: int, n: int) -> Iterable[Rows]:
    """Rows of the tag with what is hostile in each place, and with many of it."""
    for make in PLACED:
        rows = make(n)
        hostile = ref(len(rows) - 1)
        for size in (1, 2, 4):
            for filler in FILLERS:
                for place in range(size):
                    fields = [filler] * size
                    fields[place] = hostile
                    yield [*rows, [tag, *fields]]
        yield [*rows, [tag, *[hostile] * 7]]
        yield [*rows, *([tag, hostile, hostile] for _ in range(100 * n))]
    for bare in BARE:
        value = bare(n)
        for size, filler in product(range(1, 4), FILLERS):
            for place in range(size):
                fields = [filler] * size
                fields[place] = value
                yield [[tag, *fields]]


def keys_of_one_hash(tag: int, n: int) -> Iterable[Rows]:
    before = {tags.ORDERED_DICT: [None], tags.COUNTER: [None], tags.DEFAULT_DICT: [None]}.get(tag, [])
    rows: Rows = []
    tops: list[object] = []
    for ends in list(product((-1, -2), repeat=9))[: 100 * n]:  # hash(-1) is hash(-2)
        rows.append([tags.TUPLE, 0])
        rows += [[tags.TUPLE, ref(len(rows) + i - 1), ref(len(rows) + i - 1)] for i in range(9)]
        rows.append([tags.TUPLE, ref(len(rows) - 1), *ends])
        tops.append(ref(len(rows) - 1))
        if tag not in tags.SETS:
            tops.append(0)
    yield [*rows, [tag, *before, *tops]]
    numbers: Rows = [[tags.INT, None, number(61 * 400 * n)], [tags.DECIMAL, "0E+1000000"]]
    yield [*numbers, [tag, *before, *([ref(0), ref(1)] if tag in tags.SETS else [ref(0), 0, ref(1), 0])]]


def ranges(tag: int, n: int) -> Iterable[Rows]:
    rows: Rows = [[tags.INT, None, number(20_000 * n)], [tags.INT, None, number(10_000 * n)]]
    yield [*rows, *([tag, i, ref(0), ref(1)] for i in range(100 * n))]


def fractions(tag: int, n: int) -> Iterable[Rows]:
    rows: Rows = [[tags.INT, None, number(20_000 * n)], [tags.INT, None, number(10_001 * n)]]
    yield [*rows, *([tag, ref(0), ref(1)] for i in range(50 * n))]


def recipes(tag: int, n: int) -> Iterable[Rows]:
    """Objects of the standard library and numpy from what takes longest to make them of."""
    words: Rows = [[tags.TUPLE, *[0] * 624, 624]]
    yield [*words, *([tag, "random.Random", 3, ref(0), None] for _ in range(100 * n))]
    wide = "[\\0-\uffff]" * 500
    for pattern, flags in ((wide, 32), (wide, 34), ("(?i)" + wide, 32), ("a|" * 4000, 32), ("(a" * 90, 32)):
        yield [[tag, "re.Pattern", f"{pattern}{n}x{i}", flags] for i in range(4 * n)]  # none in a cache
    yield [[tag, "re.Pattern", f"{'a' * 4000}|{'a' * 4000}{n}x{i}", 32] for i in range(4 * n)]
    yield [[tag, "numpy.ufunc", "sin"] for _ in range(1000 * n)]
    yield [[tag, "numpy.finfo", "d"] for _ in range(1000 * n)]


def runs(tag: int, n: int) -> Iterable[Rows]:
    """Many rows of each tag in one, which have what is hostile in common, or each for itself."""
    for inner in TAGS.values():
        for make in (web, large_number):
            rows = make(n)
            last = len(rows) - 1
            hostile, one = ref(last), last.to_bytes(4, "little")
            yield [*rows, [tag, 2, inner, hostile, [0] * 50 * n]]
            yield [*rows, [tag, 1, inner, one * 50 * n, one * 50 * n]]
        yield [[tag, 1, inner, *([0] * 8 for _ in range(200 * n))]]


MAPPINGS = (*tags.MAPPINGS, *tags.SETS)
# What is hostile to one kind of tag, besides what is to all. A new tag is put here, or into PLAIN.
SPECIAL: dict[int, Callable[[int, int], Iterable[Rows]]] = {
    **dict.fromkeys(MAPPINGS, keys_of_one_hash),
    tags.RANGE: ranges,
    tags.FRACTION: fractions,
    tags.RUN: runs,
    tags.REBUILT: recipes,
}
PLAIN = {
    "LIST", "TUPLE", "DEQUE", "NAMESPACE", "CONSTANT", "INT", "COMPLEX", "BYTES", "BYTEARRAY", "SLICE",
    "DATE", "TIME", "DATETIME", "TIMEDELTA", "TIMEZONE", "ZONE", "OWN_ZONE", "DECIMAL", "UUID", "PATH",
    "ARRAY_ARRAY", "NDARRAY", "STRUCTURED", "OBJECT_ARRAY", "MASKED", "ARRAY_CLASS", "SCALAR",
    "NUMPY_TEXT", "DTYPE", "STRUCTURED_SCALAR", "VIEW", "STRUCTURED_OBJECTS", "ARRAY_SUBCLASS",
    "RANDOM", "SPARSE", "BUNCH", "TENSOR", "DEVICE", "TORCH_CONSTANT", "COMPOUND_TENSOR",
    "TORCH_GENERATOR", "IMAGE", "ARROW_TABLE", "PANDAS", "IMAGE_FILE", "LOADED_IMAGE", "OBJECT",
    "NAMED_TUPLE", "ENUM", "EXTENSION", "PICKLE", "PICKLED", "PART", "SUBCLASS", "ODD_OBJECT",
    "EXCEPTION", "GENERIC_ALIAS", "ARROW", "FOREIGN_ZONE", "FRAME", "FRAME_CLASS", "INDEX", "INTERVAL",
    "IP", "MAPPING_PROXY", "MEMORY_FILE", "OFFSET", "PANDAS_ARRAY", "PANDAS_CONSTANT", "PANDAS_DTYPE",
    "PANDAS_TIMEDELTA", "PERIOD", "POLARS", "RECORD", "REFERENCES", "SERIES", "TIMESTAMP", "TYPE",
}  # fmt: skip


OF_TORCH = {"TENSOR", "DEVICE", "TORCH_CONSTANT", "COMPOUND_TENSOR", "TORCH_GENERATOR"}


def test_each_tag_has_hostile_inputs() -> None:
    special = {name for name, value in TAGS.items() if value in SPECIAL}
    assert set(TAGS) == special | PLAIN, "a new tag: say what is hostile to it, in SPECIAL or in PLAIN"


def looked_at(blob: Blob) -> object:
    """What `laila.open` makes of a blob, without its buffers."""
    view = view_of(HeldBuffers(blob))
    return repr(view), view.nbytes, view.type


def read(rows: Rows, key: str = KEY, decode: Callable[[Blob], object] = decode) -> Cost:
    """Decode, and return what that costs, counted. Laila's own errors are fine."""
    blob = forged(rows, key=key)
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += 1

    def decode_it() -> None:
        try:
            decode(blob)
        except LailaError as error:
            said = len(str(error))
            if said > 20_000:
                raise AssertionError(said) from error

    began = time.thread_time()
    decode_it()
    assert time.thread_time() - began < MOST_SECONDS  # what functions in C do is not counted
    tracemalloc.start()
    sys.setprofile(count)
    try:
        decode_it()
    finally:
        sys.setprofile(None)
        _, nbytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return Cost(calls, nbytes, 0.0)


def in_a_child(work: Callable[[], None], seconds: float) -> str:
    """Do ``work`` in a process of its own; return what failed, or "" ."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            gc.disable()  # its pauses are not what is measured
            work()
            said = ""
        except BaseException as error:  # noqa: BLE001 - told by the parent
            said = f"{type(error).__name__}: {error}"[:2000]
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    until = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            said = os.read(reading, 4000).decode()
            os.close(reading)
            return said if status == 0 else f"ended by {status}"
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reading)
            return f"more than {seconds} s"
        time.sleep(0.005)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.torch] * (name in OF_TORCH)) for name in TAGS]
)
def test_cost_is_linear_for_each_tag(name: str) -> None:
    assert_cost_is_linear(name, decode)


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", sorted(set(TAGS) - OF_TORCH))
def test_cost_is_linear_for_each_tag_that_is_opened(name: str) -> None:
    assert_cost_is_linear(name, looked_at)


def assert_cost_is_linear(name: str, decode: Callable[[Blob], object]) -> None:
    tag = TAGS[name]
    try:
        decoder_for(tag, KEY)  # imports what it needs, which is not what is measured
    except MissingPluginError as error:
        pytest.skip(str(error)[:100])
    except CorruptEntryError:
        pass  # a tag that the loop over the rows knows itself
    for inner in TAGS.values() if tag == tags.RUN else ():
        with suppress(LailaError):
            decoder_for(inner, KEY)

    def work() -> None:
        makers = [of_any, SPECIAL[tag]] if tag in SPECIAL else [of_any]
        for make in makers:
            for i, rows in enumerate(make(tag, 4)):
                four = read(rows, decode=decode)
                if four.calls < FLOOR.calls and four.nbytes < FLOOR.nbytes:
                    continue  # nothing that four times the size shows is steep
                one, two = (read(next(islice(make(tag, n), i, None)), decode=decode) for n in (1, 2))
                assert_linear(one, two, four, (make.__name__, i))

    assert not in_a_child(work, MOST_SECONDS_OF_ALL)


# -- peers


def hostile_values() -> dict[str, object]:
    values: dict[str, object] = {
        "a web of tuples": decode(forged(web(2))),
        "a web of lists": decode(forged(web_of_lists(2))),
        "a large number": 10**100_000,
        "a long text": "x" * 1_000_000,
        "text that is none": "\ud800\x1b[2J\n",
        "one id often": [KEY] * 10_000,
        "no ids": ["x" * 1000] * 1000,
        "a blob": encode([1], key=KEY),
        "nothing": None,
        "bytes": b"x" * 100_000,
    }
    return values


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_hostile_arguments_of_each_method() -> None:
    def work() -> None:
        policy = laila.DefaultPolicy()
        communication = policy.central.communication
        table = communication._exported("").table
        policy.central.memory.memorize(laila.constant([1], nickname="x")).wait()
        for path, method in table.items():
            names = [
                name
                for name, one in signature(method.call).parameters.items()
                if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) and name != "request"
            ]
            for what, value in hostile_values().items():
                tree, blobs = pack(value)
                for name in ["*", *names]:
                    params = {"*": [tree]} if name == "*" else {name: tree}
                    began = time.process_time()
                    args, kwargs = unpack_call(params, blobs)
                    request = Request(path, args, kwargs, role="admin")
                    try:
                        communication.check("peer", request)
                        communication.non_blocking(request)
                        found = communication.dispatch("peer", request)
                        if isinstance(found, (Future, GroupFuture)):
                            found.wait(5)
                    except Exception as error:  # noqa: BLE001 - the outcome, which is sent
                        packed = pack(error)
                        assert len(repr(packed)) < 20_000, (path, what, name)
                    policy.central.command.start()  # it may have been paused
                    took = time.process_time() - began
                    assert took < 10, (path, what, name, took)

    assert not in_a_child(work, 250)


def test_one_id_that_is_asked_often_goes_over_once() -> None:
    blob = encode([1], key=KEY)
    tree, blobs = pack([blob, None, blob, encode([2], key=KEY), blob])
    assert tree == [{"$blob": 0}, None, {"$blob": 0}, {"$blob": 1}, {"$blob": 0}]
    assert len(blobs) == 2


# -- stored data


def test_a_stored_manifest_is_no_web() -> None:
    gid = KEY.replace("ENTRY", "MANIFEST")
    for rows in (
        [[tags.DICT, "a", KEY], *([tags.DICT, "a", ref(i), "b", ref(i)] for i in range(30))],
        [[tags.LIST, KEY], [tags.DICT, "a", ref(0), "b", ref(0)]],
    ):
        whole = [*rows, [tags.DICT, "tree", ref(len(rows) - 1)]]
        with pytest.raises(CorruptEntryError, match="two places"):
            from_blob(forged(whole, key=gid))
    deep: Any = {"k" * 200: KEY}
    for _ in range(150):
        deep = {"k" * 200: deep}
    wide = laila.manifest({"deep": deep, **{str(i): KEY for i in range(20_000)}})
    assert len(list(wide)) == 20_001


@pytest.mark.parametrize("plain", [True, False])
def test_a_key_twice_is_refused_in_either_form(plain: bool) -> None:
    twice = b"\x82\xa1a\x01\xa1a\x02"
    tree = twice if plain else tags.ROWS_MARK + msgpack.packb([tags.DICT, "a", 1, "a", 2])
    with pytest.raises(CorruptEntryError, match="twice"):
        decode(Blob.from_bytes(bytes(Blob(KEY, tree))))
    nested = b"\x91" + twice
    with pytest.raises(CorruptEntryError, match="twice"):
        decode(Blob.from_bytes(bytes(Blob(KEY, nested))))


def test_a_plain_tree_that_another_language_wrote_is_read() -> None:
    assert decode(Blob(KEY, b"\x81\xa1a\xcd\x00\x01")) == {"a": 1}  # a longer form than was needed


def test_what_was_signed_as_a_value_is_not_run_as_code() -> None:
    ran: list[int] = []
    policy = laila.DefaultPolicy()
    try:
        policy.central.communication.run_signed_code = True
        stored = encode(lambda: ran.append(1), key=KEY)
        assert stored.signature is not None
        renamed = Blob(CODE_KEY, stored.tree, stored.buffers, None, stored._meta, (), stored.signature)
        for blob in (stored, renamed):
            request = Request(("central", "command", "run"), [blob], role="admin")
            with pytest.raises((InvalidArgumentError, laila.errors.UntrustedPayloadError)):
                policy.central.communication.dispatch("peer", request)
        assert not ran
    finally:
        policy.close()


def test_a_dictionary_inside_a_struct_is_not_written_out() -> None:
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    from laila.codec.tables import write_stream

    column = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int8()), pa.array(["x" * 1000]))
    for kind in (
        pa.StructArray.from_arrays([column], names=["a"]),
        pa.ListArray.from_arrays([0, 100], column),
    ):
        data = bytes(write_stream(pa.table({"c": kind})))
        with pytest.raises(CorruptEntryError):
            decode(forged([[tags.PANDAS, "frame", data]]))
