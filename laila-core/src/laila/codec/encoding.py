"""Any payload as a blob of rows: written, read again where that is in doubt, and signed where it must be."""

from __future__ import annotations

from functools import partial

from laila.blob.blob import Blob
from laila.blob.head import check_notes
from laila.codec import registry
from laila.codec.encoder import Encoder
from laila.codec.walking import KeepRows
from laila.errors import PayloadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["encode_rows"]

_MOST_AT_ONCE = 512
_ATTEMPTS = 4


def encode_rows(
    payload: object,
    key: str,
    nickname: str | None,
    user: bytes | None,
    pickle: bool,
    copy: bool,
    created: float,
    verify: bool = False,
    borrow: bool = False,
    notes: Mapping[str, bytes] | None = None,
) -> Blob:
    """Encode what is not plain; see :func:`laila.codec.encode`."""

    def attempt(batch: int) -> tuple[Blob, Encoder]:
        make = partial(
            Encoder,
            pickle=pickle,
            copy=copy,
            borrow=borrow,
            batch=batch,
            whole_dicts=whole_dicts,
            rebuild=rebuild,
        )
        return _build(payload, key, nickname, user, created, make)

    def build(batch: int) -> tuple[Blob, Encoder]:
        for _ in range(_ATTEMPTS - 1):
            try:
                return attempt(batch)
            except PayloadError as error:
                # Another thread added to a container while it was walked.
                if type(error.__cause__) is not RuntimeError or "changed size" not in str(error.__cause__):
                    raise
        return attempt(batch)

    whole_dicts, rebuild = False, True
    blob, encoder = build(_MOST_AT_ONCE)
    if encoder.doubtful or verify:
        from laila.codec import verified

        if encoder.rebuilt and pickle and not verified.is_sound(blob, payload, encoder, deep=verify):
            rebuild = False  # what its recipe cannot make again, its own pickle may
            blob, encoder = build(_MOST_AT_ONCE)
        try:
            place = verified.verify(blob, payload, encoder, deep=verify)
        except PayloadError:
            if not encoder.together:
                raise
            blob, encoder = build(1)  # each by itself, so that the one at fault is known
            place = verified.verify(blob, payload, encoder, deep=verify)
        if place is not None and place[1] == verified.SHARED_ATTRIBUTES:
            whole_dicts = True
            blob, encoder = build(1)
            place = verified.verify(blob, payload, encoder, deep=verify)
        if place is not None:
            # Another thread, or a class that computes what it keeps when it is asked, may have changed it.
            first = blob.tree
            blob, encoder = build(_MOST_AT_ONCE if encoder.together else 1)
            place = verified.verify(blob, payload, encoder, deep=verify)
            if place is not None and (verify or blob.tree == first):
                verified.refuse(place)
    if notes:
        check_notes(notes)
        blob.notes = notes
    if encoder.signed_types:
        from laila.codec.trust import sign_blob

        sign_blob(blob, encoder.signed_types)
    return blob


def _build(
    payload: object,
    key: str,
    nickname: str | None,
    user: bytes | None,
    created: float,
    make: Callable[..., Encoder],
) -> tuple[Blob, Encoder]:
    encoder = make()
    try:
        tree = encoder.run(payload)
    except KeepRows:
        encoder = make(keep=True)
        tree = encoder.run(payload)
        if encoder.pickled:
            # The order of walking a set also decides which pickle holds a shared object.
            encoder = make(keep=True, ordered=True)
            tree = encoder.run(payload)
    size = len(tree) + sum(buffer.nbytes for buffer in encoder.buffers)
    encoder.check_work(size)
    codec = "signed" if encoder.signed_types else "rows"
    meta = (created, registry.type_name(type(payload)), size, codec, user)
    return Blob(key, tree, tuple(encoder.buffers), nickname, meta), encoder
