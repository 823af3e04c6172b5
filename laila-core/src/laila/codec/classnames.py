"""How a row names a class, and how the class is found again.

A class that was not registered is named by its module and its name. It is looked up only if a signature
allows it. A class that no import finds is in the row itself, pickled by value.
"""

from __future__ import annotations

import sys

from laila.codec import registry
from laila.codec.advice import BY_FIELDS
from laila.codec.decoder import Decoder, expect
from laila.errors import PayloadError
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from laila.codec.encoder import Encoder

__all__ = ["class_from_row", "class_named", "class_of_row", "is_importable", "name_of"]


def is_importable(kind: type) -> bool:
    """Whether another process finds the class by its name."""
    known: object = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        known = getattr(known, name, None)
    return known is kind or (
        kind.__module__ == "__main__" and _of_submitter(registry.class_path(kind)) is kind
    )


def _of_submitter(path: str) -> type | None:
    """The class of that name in the script of the process whose task runs here."""
    visiting = sys.modules.get("laila.codec.visiting")
    if visiting is None or not visiting.is_visited():
        return None
    from laila.codec.dynamic import class_of_submitter

    return class_of_submitter(path)


def name_of(kind: type, encoder: Encoder) -> str:
    """How the blob calls ``kind``; noted as in need of a signature unless it was registered."""
    name = encoder.names.get(kind)
    if name is None:
        name = registry.known_name(kind)
        if name is None:
            encoder.sign(kind, BY_FIELDS)
            name = registry.class_path(kind)
        encoder.names[kind] = name
    return name


def class_of_row(kind: type, encoder: Encoder) -> object:
    """``kind`` as a row names it: by name, or itself (pickled by value) where no import finds it."""
    if registry.known_name(kind) is None and not is_importable(kind):
        return kind
    return name_of(kind, encoder)


def class_from_row(named: object, decoder: Decoder, check: Callable[[type], bool]) -> type:
    """The class that :func:`class_of_row` put into a row; ``check`` says whether it is of the right kind."""
    if not isinstance(named, type):
        return class_named(named, decoder, check)
    decoder.demand_trust(registry.type_name(named), registrable=False)
    if not check(named):
        raise TypeError(f"{shown(named)} where another kind of class belongs")
    return named


def class_named(name: object, decoder: Decoder, check: Callable[[type], bool]) -> type:
    """The class that a blob names: a registered one, or one looked up because the signature verified."""
    text = expect(name, str)
    known = decoder.classes.get((text, check))
    if known is not None:
        return known
    known = registry.known_type(text)
    if known is None:
        decoder.demand_trust(text, registrable=True)
        known = _look_up(text, decoder)
    if not check(known):
        raise PayloadError(
            f"the payload of {decoder.blob.key} holds instances of {shown(text)}, which is another kind of "
            "class by now; "
            "register the class that takes its place: laila.register_type(cls, renamed_from=…)",
            path=text,
        )
    decoder.classes[text, check] = known
    return known


def _look_up(text: str, decoder: Decoder) -> type:
    from importlib import import_module

    module, _, qualname = text.partition(":")
    try:
        result: object = import_module(module)
        for part in qualname.split("."):
            result = getattr(result, part)
    except (ImportError, AttributeError, ValueError) as error:
        if module == "__main__":
            known = _of_submitter(text)
            if known is not None:
                return known
            raise PayloadError(
                f"the payload of {decoder.blob.key} holds instances of {text}, a class that a script or a "
                "notebook defined, and this program has not. Define it here, too, before; or move it into a "
                f"module and register it there: laila.register_type(cls, renamed_from={shown(text)}). Tasks "
                "in other processes know the classes that their submitter has registered",
                path=text,
            ) from error
        raise PayloadError(
            f"the payload of {decoder.blob.key} holds instances of {text}, which is not there any more "
            f"({said(error)}). If the "
            "class was moved or renamed, register it under its old name too: laila.register_type(cls, "
            f"renamed_from={shown(text)})",
            path=text,
        ) from error
    if not isinstance(result, type):
        raise PayloadError(
            f"{text}, which the payload of {decoder.blob.key} names as a class, is none", path=text
        )
    return result
