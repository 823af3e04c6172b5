"""What can be encoded and decoded: the tables of types and tags, and the classes that users registered.

The tables fill themselves: the module that knows a library's types is imported when such an object (or its
tag) is first seen, so that nothing here loads numpy, torch, Pillow, pandas or even :mod:`decimal` in advance.
"""

from __future__ import annotations

import sys
from functools import lru_cache

from laila.errors import CorruptEntryError, MissingPluginError
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeVar, overload

    from laila.codec.decoder import Decoder
    from laila.codec.encoder import Encoder
    from laila.codec.visiting import Codec, Visitors

    C = TypeVar("C", bound=type)
    EncodeFunction = Callable[[Any, Encoder], list[object]]  # each takes its own type
    DecodeFunction = Callable[[list[object], Decoder], object]

__all__ = ["register_codec", "register_type"]

ENCODERS: dict[type, EncodeFunction] = {}
"""Exact type to the function that makes its row.

Subclasses are looked for elsewhere, never taken for their base.
"""
FAMILIES: dict[str, EncodeFunction] = {}
"""``module:qualname`` of a base class to the function that makes the rows of all that derive from it."""
REGISTRABLE: dict[EncodeFunction, Callable[[type], bool]] = {}
"""Function of a family to what tells which of its classes can be registered."""
QUICK: set[EncodeFunction] = set()
"""Encoders that need no frame of the walk: they make no pickles."""
PARTS: dict[type, Callable[[Any], tuple[object, ...] | None]] = {}
"""Exact type to a function that gives the parts of an instance; two instances are compared by them."""
DECODERS: dict[int, DecodeFunction] = {}
"""Tag to the function that rebuilds a value from its row, references resolved."""

# By the package of a type, or its top package: the module here that may know it.
_MODULES = {
    "builtins": "laila.codec.containers",
    **dict.fromkeys(("collections", "types", "array", "datetime"), "laila.codec.standard"),
    **dict.fromkeys(("zoneinfo", "decimal", "fractions", "uuid", "pathlib"), "laila.codec.standard"),
    **dict.fromkeys(("ipaddress", "os", "posix", "nt", "time", "_io"), "laila.codec.library"),
    **dict.fromkeys(("re", "random"), "laila.codec.recipes.standard"),
    "typing": "laila.codec.typenames",
    "numpy": "laila.codec.arrayclasses",
    "numpy.random": "laila.codec.randoms",
    "numpy.polynomial": "laila.codec.recipes.numbers",
    "polars": "laila.codec.recipes.frames",
    "networkx": "laila.codec.recipes.networks",
    "xarray": "laila.codec.recipes.labelled",
    "shapely": "laila.codec.recipes.shapes",
    "astropy": "laila.codec.recipes.skies",
    "scipy.sparse": "laila.codec.sparse",
    "sklearn.utils": "laila.codec.bunches",
    "torch": "laila.codec.tensorkinds",
    "PIL": "laila.codec.images",
    "pyarrow": "laila.codec.tables",
    "pandas": "laila.codec.frames",
    "pytz": "laila.codec.zones",
    "dateutil": "laila.codec.zones",
}
# By range of tags: (module here, library it needs, extra that installs the library).
_LIBRARIES: tuple[tuple[range, str, str, str], ...] = (
    (range(1, 6), "laila.codec.containers", "", ""),
    (range(16, 23), "laila.codec.containers", "", ""),
    (range(24, 37), "laila.codec.standard", "", ""),
    (range(6, 11), "laila.codec.standard", "", ""),
    (range(48, 60), "laila.codec.arrayclasses", "numpy", "laila-core[numpy]"),
    (range(60, 61), "laila.codec.randoms", "numpy", "laila-core[numpy]"),
    (range(61, 62), "laila.codec.sparse", "scipy", "scipy"),
    (range(62, 63), "laila.codec.bunches", "sklearn", "scikit-learn"),
    (range(64, 72), "laila.codec.tensorkinds", "torch", "laila-core[torch]"),
    (range(11, 14), "laila.codec.library", "", ""),
    (range(37, 38), "laila.codec.library", "", ""),
    (range(23, 24), "laila.codec.typenames", "", ""),
    (range(107, 108), "laila.codec.typenames", "", ""),
    (range(104, 105), "laila.codec.subclasses", "", ""),
    (range(106, 107), "laila.codec.exceptions", "", ""),
    (range(72, 73), "laila.codec.images", "PIL", "laila-core[pillow]"),
    (range(73, 74), "laila.codec.tables", "pyarrow", "laila-core[arrow]"),
    (range(74, 75), "laila.codec.arrowframes", "pandas and pyarrow", "laila-core[pandas,arrow]"),
    (range(80, 92), "laila.codec.frames", "pandas", "laila-core[pandas]"),
    (range(92, 93), "laila.codec.zones", "", ""),
    (range(93, 94), "laila.codec.tables", "pyarrow", "laila-core[arrow]"),
    (range(75, 77), "laila.codec.images", "PIL", "laila-core[pillow]"),
    (range(96, 100), "laila.codec.objects", "", ""),
    (range(100, 103), "laila.codec.signed", "", ""),
    (range(105, 106), "laila.codec.objects", "", ""),
    (range(108, 109), "laila.codec.recipes", "", ""),
)

_OF_PYTHON = ("laila.codec.containers", "laila.codec.standard", "laila.codec.library")

_names: dict[type, str] = {}
_types: dict[str, type] = {}
_changes: dict[type, Changes] = {}
_codecs_by_type: dict[type, tuple[str, Callable[[Any], object]]] = {}
_codecs_by_name: dict[str, Callable[[Any], object]] = {}


def type_name(kind: type) -> str:
    """``module.qualname``, or the bare name of a builtin."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def module_of(kind: object) -> str:
    """The module that a class or function says it is of; empty where it does not say so by a text."""
    name: object = getattr(kind, "__module__", None)
    return name if type(name) is str else ""


def class_path(kind: type) -> str:
    """How a class is written in a blob: ``module:qualname``."""
    return f"{kind.__module__}:{kind.__qualname__}"


def _load(module: str) -> None:
    # Only the constants of the tables above come here, never a name out of a blob.
    __import__(module)


@lru_cache(maxsize=4096)
def family_of(kind: type) -> EncodeFunction | None:
    """The function for classes that derive from one of a library's, or None."""
    for base in kind.__mro__[:-1]:
        module = _MODULES.get(module_of(base).partition(".")[0])
        if module is not None and base not in ENCODERS:
            try:
                _load(module)
            except Exception:  # noqa: BLE001, S112 - a library that is broken may raise anything
                continue
        known = FAMILIES.get(class_path(base))
        if known is not None:
            return known
    return None


def rebuilds(family: EncodeFunction, kind: type) -> bool:
    """Whether a class of a family can be registered."""
    check = REGISTRABLE.get(family)
    return check is not None and check(kind)


def encoder_for(obj: object) -> EncodeFunction:
    """The function that makes the row of ``obj``."""
    kind = type(obj)
    known = ENCODERS.get(kind)
    if known is None:
        package = module_of(kind).split(".")
        module = _MODULES.get(".".join(package[:2])) or _MODULES.get(package[0])
        if module is not None:
            # Also when it is imported already: another thread may be in the middle of that,
            # and this waits for it.
            try:
                _load(module)
            except Exception:  # noqa: BLE001 - whatever a broken library raises
                # A library that only looks like one of these, or is broken: what has no codec is pickled.
                known = None
            else:
                known = ENCODERS.get(kind)
        if known is None:
            from laila.codec.objects import encoder_of_class

            known = encoder_of_class(kind)
    return known


def decoder_for(tag: object, key: str) -> DecodeFunction:
    """The function that rebuilds rows of ``tag``, in the blob of ``key``."""
    if type(tag) is int:
        known = DECODERS.get(tag)
        if known is not None:
            return known
        for span, module, library, requirement in _LIBRARIES:
            if tag in span:
                try:
                    _load(module)
                except Exception as error:
                    # A library that is broken may raise anything; the blob is sound.
                    raise MissingPluginError(
                        f"the payload of {key} needs {library}, which cannot be imported here "
                        f"({type(error).__name__}: {said(error)}): pip install '{requirement}'",
                        plugin=library,
                        distribution=requirement,
                    ) from error
                if tag in DECODERS:
                    return DECODERS[tag]
    raise CorruptEntryError(
        f"the blob of {key} has a row with the unknown tag {shown(tag)}: it is damaged, or a newer laila "
        "wrote it",
        key=key,
    )


class Changes:
    """What :func:`register_type` was told about the past of a class."""

    __slots__ = ("defaults", "removed", "renamed")

    def __init__(self) -> None:
        self.renamed: dict[str, str] = {}
        """Former names of fields or enum members, and what they are called now."""
        self.removed: set[str] = set()
        self.defaults: dict[str, object] = {}

    def copy(self) -> Changes:
        """Return an equal copy."""
        other = Changes()
        other.renamed.update(self.renamed)
        other.removed |= self.removed
        other.defaults.update(self.defaults)
        return other


_UNCHANGED = Changes()


_LATER: Any = object()

if TYPE_CHECKING:

    @overload
    def register_type(
        cls: C,
        *,
        name: str | None = None,
        renamed_from: str | Mapping[str, str] | Iterable[str | Mapping[str, str]] = (),
        removed: Iterable[str] = (),
        defaults: Mapping[str, object] | None = None,
    ) -> C: ...
    @overload
    def register_type(
        *,
        name: str | None = None,
        renamed_from: str | Mapping[str, str] | Iterable[str | Mapping[str, str]] = (),
        removed: Iterable[str] = (),
        defaults: Mapping[str, object] | None = None,
    ) -> Callable[[C], C]: ...


def register_type(
    cls: Any = _LATER,
    *,
    name: str | None = None,
    renamed_from: str | Mapping[str, str] | Iterable[str | Mapping[str, str]] = (),
    removed: Iterable[str] = (),
    defaults: Mapping[str, object] | None = None,
) -> Any:
    """Let instances of ``cls`` be stored field by field without a signature, and be read without one.

    Usable as a decorator, also with arguments: ``@register_type(renamed_from="Old")``. Fields are encoded
    like any payload and set again without running ``__init__``; who can write to a pool can therefore make
    instances with any field values, which is why it is said class by class. Works for attrs classes,
    dataclasses, pydantic models, enums, named tuples, exceptions, and other classes that copy by their
    ``__dict__`` and slots, subclasses of builtins among them.

    What was stored before the class changed is read as the class is now. A field that was added gets its
    default; where it has none, and where a field is gone, remembering raises
    :class:`~laila.errors.PayloadError`
    that names the field, unless it is said here what to do.

    Args:
        cls: The class. Left out where a decorator has arguments.
        name: What the blob says instead of ``module:qualname``, so that the class can move. Registering one
            class under several names is allowed; the first is written.
        renamed_from: What the class was called before, as ``"module:Name"`` or the ``name`` it was given; or
            a
            mapping of the names of its fields (of an enum, its members) to what these were called before; or
            several of both.
        removed: Fields that the class had once, whose values are dropped.
        defaults: What instances get for fields that they were stored without: values, each copied, or
            functions
            without arguments that make them.

    Returns:
        The class itself; the decorator, where no class is given.

    Raises:
        TypeError: ``cls`` is no class, or one that cannot be rebuilt from its fields.
        ValueError: another class was registered under that name; or a field is called renamed or given a
            default
            that the class does not have, or removed although it has it.
    """
    if cls is _LATER:
        return lambda kind: register_type(
            kind, name=name, renamed_from=renamed_from, removed=removed, defaults=defaults
        )
    if not isinstance(cls, type):
        raise TypeError(f"register_type takes a class, not {shown(cls)}")
    from laila.codec.objects import check_changes, check_registrable

    check_registrable(cls)
    aliases: list[str] = []
    changes = changes_of(cls).copy()
    original = (
        [renamed_from] if isinstance(renamed_from, str) or hasattr(renamed_from, "items") else renamed_from
    )
    for former in original:
        if isinstance(former, str):
            aliases.append(former if ":" in former else f"{cls.__module__}:{former}")
            if ":" not in former:
                aliases.append(former)
        else:
            changes.renamed.update((old, new) for new, old in former.items())
    changes.removed.update([removed] if isinstance(removed, str) else removed)
    changes.defaults.update(defaults or {})
    check_changes(cls, changes)
    text = class_path(cls) if name is None else name
    for alias in (text, *aliases):
        other = _types.get(alias)
        # The same class defined again (a reloaded module, a notebook cell) takes the place of its former
        # self.
        if other is not None and other is not cls and class_path(other) != class_path(cls):
            raise ValueError(
                f"{shown(alias)} is already registered, for {type_name(other)}; pass another name="
            )
    for alias in (text, *aliases):
        _types[alias] = cls
    _names.setdefault(cls, text)
    if changes.renamed or changes.removed or changes.defaults:
        _changes[cls] = changes
    _count()
    return cls


def changes_of(cls: type) -> Changes:
    """Return the registered changes of ``cls``."""
    known = _changes.get(cls)
    if known is None and (visitors := _elsewhere()) is not None:
        known = visitors.changes_of(cls)
    return known or _UNCHANGED


def register_codec(
    cls: type, *, name: str, encode: Callable[[Any], object], decode: Callable[[Any], object]
) -> None:
    """Store instances of exactly ``cls`` as whatever ``encode(obj)`` gives.

    And read them by ``decode(that)``.

    ``encode`` returns any payload (arrays stay out of band); ``decode`` gets an equal one back and must bear
    any input, since it runs without a signature: it raises ``ValueError`` or ``TypeError`` for what it cannot
    use. ``name`` stands in the blob, is the same for ever and should begin with the distribution that owns
    it.

    Raises:
        ValueError: the name belongs to another class, or the class to another codec.
    """
    known = _codecs_by_type.get(cls)
    if cls in ENCODERS or (known is not None and known[0] != name):
        raise ValueError(f"{type_name(cls)} already has a codec")
    if name in _codecs_by_name and known is None:
        raise ValueError(f"a codec named {shown(name)} is already registered")
    _codecs_by_type[cls] = (name, encode)
    _codecs_by_name[name] = decode
    _count()


def known_name(cls: type) -> str | None:
    """How a blob names ``cls`` without a signature: as it was registered, or as laila knows it; or None."""
    known = _names.get(cls)
    if known is None and (visitors := _elsewhere()) is not None:
        known = visitors.name_of(cls)
    if known is None:
        from laila.codec.known import name_of_known

        known = name_of_known(cls)
    return known


def known_type(name: str) -> type | None:
    """The class that a blob may name so without a signature, or None."""
    known = _types.get(name)
    if known is None and (visitors := _elsewhere()) is not None:
        known = visitors.type_named(name)
    if known is None:
        from laila.codec.known import known_class

        known = known_class(name)
    return known


def load_for(module: str) -> None:
    """Load the codec module for the library of ``module``, if there is one."""
    known = _MODULES.get(module.partition(".")[0])
    if known is not None and (known in _OF_PYTHON or module.partition(".")[0] in sys.modules):
        try:
            _load(known)
        except Exception:  # noqa: BLE001 - whatever a broken library raises
            return  # then there is no codec for it


def codec_of(cls: type) -> tuple[str, Callable[[Any], object]] | None:
    """The name and encode function of the codec registered for ``cls``, or None."""
    known = _codecs_by_type.get(cls)
    if known is None and (visitors := _elsewhere()) is not None and (codec := visitors.codec_of(cls)):
        known = codec[:2]
    return known


def codec_named(name: str) -> Callable[[Any], object] | None:
    """The decode function of the codec registered under ``name``, or None."""
    known = _codecs_by_name.get(name)
    if known is None and (visitors := _elsewhere()) is not None and (codec := visitors.codec_named(name)):
        known = codec[2]
    return known


# ---------------------------------------------------------------------------------------- for other processes

_version = 0


def _nobody() -> None:
    return None


_elsewhere: Callable[[], Visitors | None] = _nobody


def _count() -> None:
    global _version
    _version += 1


def version() -> int:
    """A number that changes when something is registered."""
    return _version


def registered() -> list[tuple[type, tuple[str, ...], Codec | None]]:
    """Each class that was registered or has a codec: its names, the first as it is written, and the codec."""
    names: dict[type, list[str]] = {cls: [] for cls in _codecs_by_type}
    for name, cls in list(_types.items()):
        names.setdefault(cls, []).append(name)
    result: list[tuple[type, tuple[str, ...], Codec | None]] = []
    for cls, every in names.items():
        written = [name for name in every if name == _names.get(cls)]
        codec = _codecs_by_type.get(cls)
        result.append(
            (cls, tuple(dict.fromkeys(written + every)), codec and (*codec, _codecs_by_name[codec[0]]))
        )
    return result


def look_elsewhere(where: Callable[[], Visitors | None]) -> None:
    """Look for what is not registered here in what ``where()`` gives."""
    global _elsewhere
    _elsewhere = where
