"""Attributes that an instance of a library's class has in its ``__dict__`` besides what the library keeps."""

from __future__ import annotations

from laila.codec import registry
from laila.codec.decoder import WORK_OF_ATTRIBUTE, Decoder, expect
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Any

    from laila.codec.encoder import Encoder

__all__ = ["set_attributes", "sign_attributes"]


def _hides(kind: type, name: str) -> bool:
    """Whether an attribute called ``name`` would stand in the place of a method or property of ``kind``."""
    if name[:2] == "__" and name[-2:] == "__":
        return True
    held = next((base.__dict__[name] for base in kind.__mro__ if name in base.__dict__), None)
    return callable(held) or hasattr(type(held), "__get__")


def sign_attributes(kind: type, attributes: dict[Any, object], encoder: Encoder) -> None:
    """Have the blob signed where :func:`set_attributes` would ask for it; refuse names that are no text."""
    for name in attributes:
        if type(name) is not str:
            encoder.refuse(
                f"an attribute of {registry.type_name(kind)} is called {shown(name)}, which is no text"
            )
        if _hides(kind, name):
            encoder.sign(
                kind,
                "by its attributes",
                f"its attribute {shown(name)} stands in the place of one of its class: that would need a "
                "signature, which pickle=False forbids",
            )


def set_attributes(
    instance: Any,
    attributes: Any,
    decoder: Decoder,
    *,
    known: Container[str] = (),
    own: Container[str] = (),
) -> None:
    """Set ``attributes`` on ``instance``; without a signature they hide nothing of its class.

    Args:
        instance: The instance, as the library made it.
        attributes: A dict with text for keys, out of a row.
        decoder: The reading that met them.
        known: Names that the class itself uses for dicts, and that may be set to one.
        own: Names that the library uses for state of its own, which need a signature, too.
    """
    kind = type(instance)
    decoder.again("attributes", attributes, WORK_OF_ATTRIBUTE * len(expect(attributes, dict)))
    for name, held in attributes.items():
        text = expect(name, str)
        if text in known:
            expect(held, dict)
        elif not decoder.trusted and (text in own or _hides(kind, text)):
            decoder.demand_trust(
                f"an attribute of {registry.type_name(kind)} in the place of its own {shown(text)}",
                registrable=False,
            )
        instance.__dict__[text] = held
