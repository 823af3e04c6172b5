"""Provenance: where an entry came from, as a note in its blob's header.

A note is up to 64 KiB of plain data that belongs to no content: it is signed with the rest, kept by copies,
tiers, peers and transformations, and does not change what counts as the same content.
"""

from __future__ import annotations

from time import time
from types import MappingProxyType

from laila.errors import InvalidArgumentError, InvalidValueError
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from laila.entry.entry import Entry

__all__ = ["NOTE", "note_provenance", "pack_provenance", "read_provenance", "same_but_time"]

NOTE = "Provenance"
"""The name of the note in the header."""


def note_provenance(entries: Iterable[Entry], given: object) -> None:
    """Note of ``entries`` where they came from, unless that is None. Raises as the next one does."""
    if given is None:
        return
    note = pack_provenance(given)
    for entry in entries:
        entry._notes = {**(entry._notes or {}), NOTE: note}


def pack_provenance(given: object) -> bytes:
    """Make the note that ``memorize(…, provenance=…)`` writes.

    Args:
        given: A mapping from texts to plain data. ``inputs`` may be entries, ``function`` a callable, and
            ``parameters`` any payload; ``time`` and ``versions`` are added unless they are there.

    Returns:
        The note: a MessagePack map.

    Raises:
        InvalidArgumentError: it is no such mapping (a ``TypeError``).
        InvalidValueError: the note would have more than 64 KiB (a ``ValueError``).
        IdentityError: an input is no id (a ``ValueError``).
        PayloadError: the parameters have no digest, as they are not data alone (a ``TypeError``).
    """
    from laila.blob.head import NOTE_BYTES
    from laila.codec.plain import pack

    if not hasattr(given, "keys") or not all(type(name) is str for name in given):  # type: ignore[attr-defined]
        raise InvalidArgumentError(
            "provenance= is a dict from texts to plain data, such as {'function': train}, "
            f"not {shown(given)}"
        )
    found: dict[str, object] = dict(given)  # type: ignore[call-overload]  # as good as a mapping
    if "inputs" in found:
        found["inputs"] = _ids(found["inputs"])
    if callable(function := found.get("function")):
        found["function"] = _described(function)
    if "parameters" in found:
        found["parameters"] = _digest(found["parameters"])
    found.setdefault("time", time())
    if "versions" not in found:
        found["versions"] = _versions()
    note = pack(found)
    if note is None:
        raise InvalidArgumentError(
            "provenance= takes plain data (None, bool, int, float, str, bytes, list, dict) for values, "
            f"not {shown(found)}"
        )
    if len(note) > NOTE_BYTES:
        raise InvalidValueError(
            f"provenance= takes {len(note)} bytes, and the header has room for {NOTE_BYTES}: store what is "
            "large as an entry, and give its id among the inputs"
        )
    return note


def read_provenance(note: bytes, key: str) -> Mapping[str, object]:
    """Read a note that may come from anywhere.

    Raises:
        CorruptEntryError: the note is no map of plain data.
    """
    from msgpack import UnpackException

    from laila.blob.head import corrupt, unpack_checked

    try:
        found = unpack_checked(note)
    except (ValueError, TypeError, RecursionError, UnpackException) as error:
        raise corrupt(key, f"its provenance cannot be read ({said(error, 200)})") from error
    if type(found) is not dict or not all(type(name) is str for name in found):
        raise corrupt(key, "its provenance is no map")
    return MappingProxyType(found)


def same_but_time(one: bytes | None, other: bytes | None) -> bool:
    """Whether two notes say the same, whenever they were made."""
    if one is None or other is None or one == other:
        return one == other
    try:
        found = [dict(read_provenance(note, "")) for note in (one, other)]
    except ValueError:
        return False
    return {**found[0], "time": None} == {**found[1], "time": None}


def _ids(inputs: object) -> list[str]:
    from laila.identity import Identifiable, parse_global_id

    if isinstance(inputs, (str, Identifiable)):
        inputs = [inputs]
    if not hasattr(inputs, "__iter__"):
        raise InvalidArgumentError(f"the inputs of provenance= are entries or their ids, not {shown(inputs)}")
    ids = []
    for item in inputs:
        gid = item.global_id if isinstance(item, Identifiable) else item
        parse_global_id(gid)  # which tells of what is no text
        ids.append(gid)
    return ids


def _described(function: Callable[..., object]) -> dict[str, object]:
    """The name of a callable, and the SHA-256 of its source, or of its bytecode where there is no source."""
    from hashlib import sha256

    named = getattr(function, "func", function)  # what a partial calls
    if not hasattr(named, "__qualname__"):
        named = type(named)
    described: dict[str, object] = {"name": f"{named.__module__}:{named.__qualname__}"}
    from inspect import getsource

    try:
        code = getsource(named).encode()
    except (OSError, TypeError):
        compiled = getattr(named, "__code__", None)
        if compiled is None:
            return described
        code = compiled.co_code
    described["code"] = sha256(code).hexdigest()
    return described


def _digest(parameters: object) -> str:
    """The hash of the parameters, as of a content: in no namespace, so that it is the same everywhere."""
    from laila.blob.content import content_hash
    from laila.entry.content import encoded

    return content_hash(encoded(parameters), bytes(16)).hex()


def _versions() -> dict[str, str]:
    import platform

    from importlib_metadata import version

    return {"python": platform.python_version(), "laila-core": version("laila-core")}
