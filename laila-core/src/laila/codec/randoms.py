"""Rows of numpy's random generators: their state, which goes on where it stood.

What a state may be is checked here: some generators take a position on trust and read behind their memory.
"""

from __future__ import annotations

import numpy as np

from laila.codec import tags
from laila.codec.arrays import memory_of, plain_array
from laila.codec.containers import only
from laila.codec.decoder import Decoder, expect
from laila.codec.registry import DECODERS, ENCODERS
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]

__all__: list[str] = []

_BITS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        *(np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM),
        *(np.random.Philox, np.random.SFC64),
    )
}
_MAX_POOL = 4096
_MAX_BITS, _MAX_DEPTH, _MAX_ENTROPY_WORK = 1 << 16, 4, 1_000_000
_STATES: dict[str, dict[str, tuple[type[Any], int]]] = {
    "MT19937": {"key": (np.uint32, 624), "pos": (int, 625)},
    "PCG64": {"state": (int, 1 << 128), "inc": (int, 1 << 128)},
    "PCG64DXSM": {"state": (int, 1 << 128), "inc": (int, 1 << 128)},
    "Philox": {"counter": (np.uint64, 4), "key": (np.uint64, 2)},
    "SFC64": {"state": (np.uint64, 4)},
}
"""Per generator and field of its inner state: an array's item type and length, or an int and its bound."""
_REST: dict[str, tuple[type[Any], int]] = {"has_uint32": (int, 2), "uinteger": (int, 1 << 32)}
_RESTS = {
    "MT19937": {},
    "Philox": {"buffer": (np.uint64, 4), "buffer_pos": (int, 5), **_REST},
    **dict.fromkeys(("PCG64", "PCG64DXSM", "SFC64"), _REST),
}


def _checked(fields: object, wanted: dict[str, tuple[type[Any], int]]) -> dict[str, Any]:
    state = expect(fields, dict)
    if state.keys() != wanted.keys():
        raise ValueError("a state of other fields")
    for name, (kind, bound) in wanted.items():
        value = state[name]
        if kind is int:
            if not 0 <= expect(value, int) < bound:
                raise ValueError(f"a state whose {name} is out of range")
        elif plain_array(value).shape != (bound,) or value.dtype != kind:
            raise ValueError(f"a state whose {name} is of another type or length")
    return state


def _state(name: str, fields: object) -> dict[str, Any]:
    """The state of a bit generator called ``name``; raises ``ValueError`` for what it would not survive."""
    if len(expect(fields, dict)) > len(_RESTS[name]) + 2:
        raise ValueError("a state of other fields")
    state = dict(fields)  # type: ignore[call-overload]
    inner = _checked(state.pop("state", None), _STATES[name])
    if state.pop("bit_generator", None) != name:
        raise ValueError("the state of another generator")
    return {"bit_generator": name, "state": inner, **_checked(state, _RESTS[name])}


def _encode_bits(value: Any, encoder: Encoder) -> Row:
    name = type(value).__name__
    state = value.state
    for field, (kind, _) in (*_STATES[name].items(), *_RESTS[name].items()):
        place = state["state"] if field in state["state"] else state
        if kind is int:
            place[field] = int(place[field])
        else:
            place[field].flags.writeable = False  # it is a copy
    try:
        seed = value.seed_seq
    except AttributeError:
        seed = None  # seeded in the way of RandomState
    return [tags.RANDOM, name, seed, state]


def _encode_generator(value: Any, encoder: Encoder) -> Row:
    return [tags.RANDOM, "Generator", value.bit_generator]


def _encode_random_state(value: Any, encoder: Encoder) -> Row:
    state = value.get_state(legacy=False)
    return [tags.RANDOM, "RandomState", value._bit_generator, bool(state["has_gauss"]), float(state["gauss"])]


def _work_of(entropy: object, depth: int = 0) -> int:
    """What numpy takes to make words of entropy: quadratic in the size of an int.

    Raises ``ValueError`` for what is far more than any generator can use.
    """
    if type(entropy) is int:
        if entropy.bit_length() > _MAX_BITS:
            raise ValueError(f"entropy of more than {_MAX_BITS} bits in one number")
        return 4 + (entropy.bit_length() >> 5) ** 2
    if type(entropy) in (list, tuple):
        if depth > _MAX_DEPTH or len(entropy) > _MAX_BITS:  # type: ignore[arg-type]  # a sequence
            raise ValueError("entropy that is too much, or nested too deep")
        work = 0
        for part in entropy:  # type: ignore[attr-defined]
            work += _work_of(part, depth + 1)
            if work > _MAX_ENTROPY_WORK:
                raise ValueError("entropy that takes too long to use")
        return work
    return 4 + (len(entropy) if isinstance(entropy, np.ndarray) and entropy.ndim else 0)


def _encode_seed(value: Any, encoder: Encoder) -> Row:
    try:
        for words in (value.entropy, tuple(value.spawn_key)):
            _work_of(words)
    except ValueError as error:
        encoder.refuse(f"a seed sequence of {said(error)}", error)
    if value.pool_size > _MAX_POOL:
        encoder.refuse(f"a seed sequence with a pool of more than {_MAX_POOL} words")
    spawned = int(value.n_children_spawned)
    return [tags.RANDOM, "SeedSequence", value.entropy, tuple(value.spawn_key), int(value.pool_size), spawned]


def _decode_random(row: Row, decoder: Decoder) -> object:
    if len(row) < 2:
        raise ValueError("a random generator without its name")
    name = expect(row[1], str)
    if name == "Generator":
        _, bits = only(row, 2)
        return np.random.Generator(_bit_generator(bits))
    if name == "RandomState":
        _, bits, has_gauss, gauss = only(row, 4)
        held = _bit_generator(bits)
        array: Any = np.random.RandomState(held)
        array.set_state(
            {**held.state, "has_gauss": int(expect(has_gauss, bool)), "gauss": expect(gauss, float)}
        )
        return array
    if name == "SeedSequence":
        return _seed(row, decoder)
    _, seed, state = only(row, 3)
    kind = _BITS[name]
    made: Any = kind(np.random.SeedSequence(0))
    checked = _state(name, state)
    if seed is not None and not isinstance(seed, np.random.bit_generator.ISeedSequence):
        raise TypeError("a generator seeded by something else")
    made.__setstate__((checked, seed))
    return made


def _bit_generator(value: object) -> Any:
    if type(value) not in _BITS.values():
        raise TypeError(f"{type(value).__name__} where a bit generator belongs")
    return value


def _seed(row: Row, decoder: Decoder) -> object:
    _, entropy, spawn_key, pool_size, spawned = only(row, 5)
    size, count = expect(pool_size, int), expect(spawned, int)
    for words in (entropy, spawn_key):
        decoder.spend(_work_of(words))
    keys = [expect(n, int) for n in expect(spawn_key, tuple)]
    if not 4 <= size <= _MAX_POOL or not 0 <= count < 1 << 32 or any(n < 0 for n in keys):
        raise ValueError("a seed sequence that cannot be")
    if isinstance(entropy, np.ndarray):
        decoder.again("seed", memory_of(plain_array(entropy)), 10 * entropy.size)
    elif entropy is not None and type(entropy) not in (int, list, tuple):
        raise TypeError("entropy of another type")
    original: Any = entropy
    return np.random.SeedSequence(original, spawn_key=keys, pool_size=size, n_children_spawned=count)


ENCODERS.update(dict.fromkeys(_BITS.values(), _encode_bits))
ENCODERS[np.random.Generator] = _encode_generator
ENCODERS[np.random.RandomState] = _encode_random_state
ENCODERS[np.random.SeedSequence] = _encode_seed
DECODERS[tags.RANDOM] = _decode_random
