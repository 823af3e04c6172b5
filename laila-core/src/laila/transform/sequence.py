"""TransformationSequence: the transformations that a pool applies to blobs, and undoes."""

from __future__ import annotations

from laila.blob.blob import Blob
from laila.blob.buffer import Buffer, byte_view
from laila.errors import TransformationError
from laila.showing import shown
from laila.tracebacks import given_secrets
from laila.transform.base import Transformation, corrupt, make_transformation, shown_name, stated_size
from laila.transform.limits import most_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from laila.blob.head import BlobHead
    from laila.transform.base import Read

    Item = str | Transformation | Iterable[object]

__all__ = ["TransformationSequence"]


class TransformationSequence:
    """Transformations in the order of their application.

    Items are names (``"zstd"``), transformation objects, or pairs of a name and its options in the form of
    :meth:`snapshot`. Immutable; safe to share between threads; ``repr`` shows no key. Two sequences are equal
    if they apply the same transformations with the same keys.
    """

    __slots__ = ("_items",)

    @given_secrets
    def __init__(self, items: Iterable[Item] | TransformationSequence = ()) -> None:
        if isinstance(items, str):
            name = shown_name(items)
            raise TransformationError(f"transformations is a list, such as ['zstd'], not {name}", name=name)
        self._items = tuple(_item(item) for item in items)
        names = [item.name for item in self._items]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise TransformationError(f"{shown(twice)} is given twice: once is enough", name=twice)

    def __iter__(self) -> Iterator[Transformation]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"TransformationSequence({list(self._items)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TransformationSequence):
            return NotImplemented
        if [item.name for item in self._items] != [item.name for item in other._items]:
            return False
        return [item.fingerprint() for item in self._items] == [item.fingerprint() for item in other._items]

    def __hash__(self) -> int:
        return hash(tuple(item.name for item in self._items))

    def snapshot(self) -> list[list[object]]:
        """List the steps, without keys. The constructor takes the list back.

        Returns:
            ``[name, options]`` for each step, all of which JSON can hold.
        """
        return [[item.name, item.options()] for item in self._items]

    def apply(self, blob: Blob) -> Blob:
        """Wrap a blob into an outer blob with its id, a digest and one buffer.

        Args:
            blob: The blob.

        Returns:
            The outer blob; ``blob`` itself if the sequence is empty.

        Raises:
            SecretError: a key is needed and is not here.
            TransformationError: a step cannot be done.
        """
        if not self._items:
            return blob
        if blob.transformations:
            names = ", ".join(name for name, _ in blob.transformations)
            raise TransformationError(f"the blob of {blob.key} is already transformed ({names})", name=names)
        plain = data = byte_view(bytes(blob))
        digest = blob.digest
        steps = []
        for item in [item.bind(key=blob.key) for item in self._items]:
            steps.append((item.name, {**item.params(), "size": data.nbytes}))
            data = byte_view(item.apply(data, key=blob.key))
            digest = item.digest(digest)
        if plain.nbytes > most_from(data.nbytes):
            names = ", ".join(item.name for item in self._items)
            raise TransformationError(
                f"{blob.key} has {plain.nbytes} bytes, and {data.nbytes} after {names}: nobody would read so "
                "few that unfold to so many; compress it once",
                name=names,
            )
        return Blob(blob.key, b"", (Buffer(data),), transformations=tuple(steps), digest=digest)

    def invert(self, blob: Blob) -> Blob:
        """Undo what a blob says was done to it. Only keys are taken from this sequence.

        Args:
            blob: The blob as it is stored.

        Returns:
            The plain blob.

        Raises:
            CorruptEntryError: the data is not what was written.
            SecretError: the key is not here.
            TransformationError: a transformation is not known or not installed.
        """
        if not blob.transformations:
            return blob
        if blob.tree or len(blob.buffers) != 1 or blob.buffers[0].dtype is not None:
            raise corrupt(blob.key, "transformed", "is not one buffer")
        names = tuple(name for name, _ in blob.transformations)
        steps = self._steps(blob)
        data = blob.buffers[0].data
        most = most_from(data.nbytes)
        for item, params in steps:
            if type(size := params.get("size")) is int and size > most:
                what = f"would become {size} bytes, and {data.nbytes} unfold to {most} at most"
                raise corrupt(blob.key, item.name, what)
        for item, params in reversed(steps):
            data = byte_view(item.invert(data, key=blob.key, params=params))
        inner = Blob.from_bytes(data, key=blob.key)
        if inner.transformations:
            raise corrupt(blob.key, "transformed", "is transformed twice")
        digest = inner.digest
        for item, _ in steps:
            digest = item.digest(digest)
        if digest != blob.digest:
            raise corrupt(blob.key, "transformed", "does not match its digest")
        inner.undone = names
        return inner

    def _steps(self, blob: Blob | BlobHead) -> list[tuple[Transformation, Mapping[str, object]]]:
        """Return the functions that undo each step of a transformed blob, with the step's parameters."""
        names = [name for name, _ in blob.transformations]
        if len(set(names)) != len(names):
            # Decompressing what was decompressed makes anything out of nothing; no sequence does so.
            raise corrupt(blob.key, "transformed", "was transformed twice in one way")
        return [
            (self._for(name, params).bind(key=blob.key, params=params), params)
            for name, params in blob.transformations
        ]

    def reader(self, head: BlobHead, read: Read) -> tuple[Read, int]:
        """Return what reads parts of the plain blob in a transformed one, without the rest of it.

        Args:
            head: The head of the transformed blob.
            read: Reads ranges of it; see :meth:`Transformation.reader`.

        Returns:
            The function that reads ranges of the plain blob, and the size of that in bytes.

        Raises:
            CorruptEntryError: the blob is not what was written.
            SecretError: the key is not here.
            TransformationError: a step has a form that cannot be read in part.
        """
        start, stop = head.tree_span
        if start != stop or len(head.table) != 1 or head.table[0][1] is not None:
            raise corrupt(head.key, "transformed", "is not one buffer")
        (offset,), size = head.offsets(), head.table[0][0]

        def read_buffer(ranges: Sequence[tuple[int, int]]) -> Sequence[bytes | bytearray | memoryview]:
            return read([(offset + start, offset + stop) for start, stop in ranges])

        found: Read = read_buffer
        for item, params in reversed(self._steps(head)):
            found = item.reader(found, size, key=head.key, params=params)
            size = stated_size(params, head.key, item.name, whole=False)
        return found, size

    def digest_as(
        self, steps: Iterable[tuple[str, Mapping[str, object]]], digest: bytes, *, key: str
    ) -> bytes:
        """Compute the digest that a blob shows after some steps. Only keys are taken from this sequence.

        Args:
            steps: Name and params of each step.
            digest: The digest of the content.
            key: The key under which the blob is stored.

        Returns:
            The digest to show.

        Raises:
            SecretError: the key of a step is not here.
            TransformationError: a step is not known.
        """
        for name, params in steps:
            digest = self._for(name, params).bind(key=key, params=params).digest(digest)
        return digest

    def is_keyed(self, steps: Iterable[tuple[str, Mapping[str, object]]]) -> bool:
        """Say whether the digest of a blob after some steps tells nothing without a key.

        Args:
            steps: Name and params of each step.

        Returns:
            True if a step shows a keyed digest.

        Raises:
            TransformationError: a step is not known.
        """
        return any(
            type(self._for(name, params)).digest is not Transformation.digest for name, params in steps
        )

    def _for(self, name: str, params: Mapping[str, object]) -> Transformation:
        """Return the transformation that undoes a step.

        It is an item of this sequence if the name matches, so that its key is used.
        """
        fitting = [item for item in self._items if item.name == name]
        for item in fitting:
            if "key" in params and item.params().get("key") == params["key"]:
                return item
        return fitting[0] if fitting else make_transformation(name)


def _item(item: Item) -> Transformation:
    if isinstance(item, Transformation):
        return item
    if isinstance(item, str):
        return make_transformation(item)
    if (
        isinstance(item, (list, tuple))
        and len(item) == 2
        and isinstance(item[0], str)
        and isinstance(item[1], dict)
    ):
        return make_transformation(item[0], item[1])
    raise TransformationError(
        f"a transformation is a name, a Transformation or a pair [name, options], not {shown_name(item)}",
        name=shown_name(item),
    )
