"""Rows of scikit-learn's Bunch, which data sets and results come in: a dict whose keys are attributes."""

from __future__ import annotations

from sklearn.utils import Bunch

from laila.codec import tags
from laila.codec.attributes import set_attributes, sign_attributes
from laila.codec.containers import dict_of, pairs_of
from laila.codec.registry import DECODERS, ENCODERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.decoder import Decoder
    from laila.codec.encoder import Encoder

    Row = list[object]

__all__: list[str] = []

_OWN = "_deprecated_key_to_warnings"


def _encode_bunch(value: Any, encoder: Encoder) -> Row:
    attributes = {name: held for name, held in vars(value).items() if name != _OWN or held}
    sign_attributes(Bunch, attributes, encoder)
    return [tags.BUNCH, attributes or None, *pairs_of(dict(dict.items(value)))]


def _decode_bunch(row: Row, decoder: Decoder) -> object:
    if len(row) < 2:
        raise ValueError("a Bunch of too few fields")
    result = Bunch()
    dict.update(result, dict_of(row, 2, decoder))
    if row[1] is not None:
        set_attributes(result, row[1], decoder, known=(_OWN,))
    return result


ENCODERS[Bunch] = _encode_bunch
DECODERS[tags.BUNCH] = _decode_bunch
